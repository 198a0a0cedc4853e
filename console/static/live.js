// Refreshes the parts of a page that change: every element with `data-live` and an id is replaced by the same one of the
// page as it is now. Without this script the page is complete; it is only as new as its last load.
"use strict";
(() => {
  const parts = () => document.querySelectorAll("[data-live][id]");
  if (!parts().length) return;
  const PAUSE = 2000; // milliseconds after each answer
  const refresh = async () => {
    if (!document.hidden) {
      try {
        const answer = await fetch(location.href, { headers: { "X-Live": "1" }, cache: "no-store" });
        if (answer.redirected) return location.reload(); // signed out
        if (answer.ok) {
          const fresh = new DOMParser().parseFromString(await answer.text(), "text/html");
          for (const old of parts()) {
            const now = fresh.getElementById(old.id);
            const inUse = old.contains(document.activeElement) && document.activeElement !== document.body;
            if (!now || inUse) continue;
            // What a person has opened stays open; only the rest of the difference counts.
            const opened = old.querySelectorAll("details");
            now.querySelectorAll("details").forEach((one, n) => { if (opened[n]) one.open = opened[n].open; });
            if (now.innerHTML !== old.innerHTML) old.replaceWith(document.adoptNode(now));
          }
        }
      } catch {
        // The server is away for a moment: the page stays as it is, the next round tries again.
      }
    }
    setTimeout(refresh, PAUSE);
  };
  setTimeout(refresh, PAUSE);
})();
