// Refreshes the parts of a page that change: every element with `data-live` and an id is replaced by the same one of the
// page as it is now. The server tells when there is news (`/console/live`); without that, and besides, the page looks by
// itself. Without this script the page is complete; it is only as new as its last load.
"use strict";
(() => {
  const parts = () => document.querySelectorAll("[data-live][id]");
  if (!parts().length) return;
  const ALONE = 2000; // milliseconds after each answer
  const TOLD = 10000; // the same while the server tells of news: one may get lost
  let stream = null;
  let timer = 0;
  let busy = false;
  let again = false;

  const replace = (html) => {
    const fresh = new DOMParser().parseFromString(html, "text/html");
    for (const old of parts()) {
      const now = fresh.getElementById(old.id);
      const inUse = old.contains(document.activeElement) && document.activeElement !== document.body;
      if (!now || inUse) continue;
      // What a person has opened stays open; only the rest of the difference counts.
      const opened = old.querySelectorAll("details");
      now.querySelectorAll("details").forEach((one, n) => { if (opened[n]) one.open = opened[n].open; });
      if (now.innerHTML !== old.innerHTML) old.replaceWith(document.adoptNode(now));
    }
  };

  const look = async () => {
    clearTimeout(timer);
    again = busy; // news that comes while we look may be younger than what we get
    if (busy) return;
    busy = true;
    if (!document.hidden) {
      try {
        const answer = await fetch(location.href, { headers: { "X-Live": "1" }, cache: "no-store" });
        if (answer.redirected) return location.reload(); // signed out
        if (answer.ok) replace(await answer.text());
      } catch {
        // The server is away for a moment: the page stays as it is, the next round tries again.
      }
    }
    busy = false;
    timer = setTimeout(look, again ? 0 : stream && stream.readyState === 1 ? TOLD : ALONE);
    again = false;
  };

  // Only while the page is seen: a browser opens few connections to one server, and other tabs want them.
  const listen = () => {
    if (document.hidden) {
      if (stream) stream.close();
      stream = null;
    } else if (window.EventSource && !stream) {
      stream = new EventSource("/console/live");
      stream.addEventListener("news", look);
    }
  };
  document.addEventListener("visibilitychange", () => { listen(); if (!document.hidden) look(); });
  addEventListener("pagehide", () => { if (stream) stream.close(); stream = null; });
  listen();
  timer = setTimeout(look, ALONE);
})();
