// Messages as elements. Both networks hand over the same plain shape:
//   { key, mine, service, head, text: Node[], foot, quote, media: {kind, url, name}, place, card, taps: [[tap]],
//     list: {button, sections}, cards: [{…same}], at: ms, note, wide }
//   tap = { label, run() } or { label, href }
// Text from outside becomes text nodes only, never markup.

import { say } from "./words.js";

export function element(tag, options = {}, ...children) {
  const made = document.createElement(tag);
  for (const [key, value] of Object.entries(options)) {
    if (value === undefined || value === null) continue;
    if (key === "class") made.className = value;
    else if (key === "run") made.addEventListener("click", value);
    else made.setAttribute(key, value);
  }
  made.append(...children.filter((child) => child !== null && child !== undefined));
  return made;
}

// Bring `log` up to `messages`, touching only what changed, so that a screen reader hears only what is new.
export function draw(log, messages, emptyText) {
  const known = new Map([...log.children].map((child) => [child.dataset.key, child]));
  const atEnd = log.scrollHeight - log.scrollTop - log.clientHeight < 80;
  let before = null;
  for (const message of messages) {
    const print = JSON.stringify(message, (key, value) => (value instanceof Node ? value.outerHTML ?? value.data : value));
    let child = known.get(message.key);
    known.delete(message.key);
    if (!child || child.dataset.print !== print) {
      const fresh = bubble(message);
      fresh.dataset.key = message.key;
      fresh.dataset.print = print;
      if (child) child.replaceWith(fresh);
      child = fresh;
    }
    const place = before ? before.nextSibling : log.firstChild;
    if (place !== child) log.insertBefore(child, place);
    before = child;
  }
  for (const gone of known.values()) gone.remove();
  if (messages.length === 0) log.append(element("p", { class: "empty" }, emptyText));
  if (atEnd) log.scrollTop = log.scrollHeight;
}

function bubble(message) {
  const made = element("article", { class: `bubble ${message.mine ? "mine" : ""} ${message.service ? "service" : ""} ${message.wide ? "wide" : ""}` });
  made.append(...inner(message));
  if (message.cards?.length) {
    made.append(element("div", { class: "cards", tabindex: "0" }, ...message.cards.map((card) => element("section", {}, ...inner(card)))));
  }
  if (!message.service) made.append(element("p", { class: "stamp" }, stamp(message)));
  return made;
}

function* parts(message) {
  if (message.quote) yield element("p", { class: "quote" }, message.quote);
  if (message.head) yield element("p", { class: "head" }, message.head);
  if (message.media) yield media(message.media);
  if (message.place) yield place(message.place);
  if (message.card) yield element("p", {}, `☎ ${message.card}`);
  if (message.text?.length) yield element("p", {}, ...message.text);
  if (message.foot) yield element("p", { class: "foot" }, message.foot);
  for (const row of message.taps ?? []) yield element("div", { class: "taps" }, ...row.map(tap));
  if (message.list) yield element("div", { class: "taps" }, listButton(message.list));
}

const inner = (message) => [...parts(message)];

function tap(one) {
  if (one.href) return element("a", { href: one.href, target: "_blank", rel: "noopener noreferrer" }, one.label);
  return element("button", { type: "button", run: one.run }, one.label);
}

function listButton(list) {
  return element("button", { type: "button", "aria-haspopup": "dialog", run: () => openList(list) }, `☰ ${list.button}`);
}

function openList(list) {
  const dialog = document.getElementById("list-dialog");
  document.getElementById("list-title").textContent = list.button;
  const rows = document.getElementById("list-rows");
  rows.replaceChildren();
  for (const section of list.sections) {
    if (section.title) rows.append(element("h3", {}, section.title));
    for (const row of section.rows) {
      const choose = () => { dialog.close(); row.run(); };
      rows.append(element("button", { type: "button", run: choose }, row.label, row.note ? element("small", {}, row.note) : null));
    }
  }
  dialog.showModal();
}

function media({ kind, url, name }) {
  if (!url) return element("p", { class: "head" }, `📎 ${name ?? kind}`);
  if (kind === "image") return element("img", { src: url, alt: name ?? say("photo"), loading: "lazy" });
  if (kind === "video") return element("video", { src: url, controls: "", preload: "metadata" });
  if (kind === "audio") return element("audio", { src: url, controls: "", preload: "metadata" });
  return element("a", { href: url, download: name ?? "", rel: "noopener" }, `📎 ${name ?? say("document")}`);
}

function place({ latitude, longitude, name }) {
  return element("p", {}, `📍 ${name ? `${name} · ` : ""}${Number(latitude).toFixed(4)}, ${Number(longitude).toFixed(4)}`);
}

function stamp(message) {
  const time = new Date(message.at).toLocaleTimeString(document.documentElement.lang, { hour: "2-digit", minute: "2-digit" });
  return message.note ? `${message.note} · ${time}` : time;
}
