// The page: who writes to whom, the conversation between them, live. Networks are modules of one shape:
//   places(), people(), makePerson(name, phone), thread(place, person), act(place, person, action), attachments, menu

import { draw, element } from "./bubbles.js";
import * as telegram from "./telegram.js";
import * as whatsapp from "./whatsapp.js";
import { say, setLanguage, translatePage } from "./words.js";

const NETWORKS = { telegram, whatsapp };
const GROUPS = ["bots", "numbers", "channels"];
const FILE_MAX = 15 * 1024 * 1024;
const TYPING_MS = 6000;
const SCREEN_MS = 60; // many events in one moment are one redraw

const at = (id) => document.getElementById(id);
let places = [];
let place = null;
let person = null;
let typingTimer = 0;
let redrawTimer = 0;
let noticeTimer = 0;

async function start() {
  translatePage();
  listen();
  await loadPlaces();
  follow();
}

// --- choosing --------------------------------------------------------------------------------------------------------

async function loadPlaces() {
  const found = await Promise.all(Object.values(NETWORKS).map((network) => network.places().catch(() => [])));
  places = found.flat();
  const select = at("place");
  select.replaceChildren(...GROUPS.map((group) => groupOf(group)).filter(Boolean));
  select.disabled = places.length === 0;
  const wanted = place?.id ?? localStorage.getItem("place");
  place = places.find((one) => one.id === wanted) ?? places[0] ?? null;
  if (place) select.value = place.id;
  await loadPeople();
}

function groupOf(group) {
  const own = places.filter((one) => one.group === group);
  const options = own.map((one) => element("option", { value: one.id }, `${one.name} · ${one.note}`));
  return own.length ? element("optgroup", { label: say(group) }, ...options) : null;
}

async function loadPeople() {
  const select = at("person");
  if (!place) {
    select.replaceChildren();
    person = null;
    await redraw();
    return;
  }
  const network = NETWORKS[place.network];
  let people = await network.people();
  if (people.length === 0) {
    // A newcomer can write at once, without making anybody first.
    await network.makePerson("Anna Esempio", "");
    people = await network.people();
  }
  select.replaceChildren(...people.map((one) => element("option", { value: one.id }, one.name)));
  const wanted = localStorage.getItem(`person ${place.network}`);
  person = people.find((one) => one.id === wanted)?.id ?? people[0].id;
  select.value = person;
  await redraw();
}

async function choosePlace(id) {
  place = places.find((one) => one.id === id) ?? null;
  localStorage.setItem("place", id);
  await loadPeople();
}

async function choosePerson(id) {
  person = id;
  localStorage.setItem(`person ${place.network}`, id);
  await redraw();
}

async function createPerson(event) {
  event.preventDefault();
  await attempt(async () => {
    const id = await NETWORKS[place.network].makePerson(at("person-name").value.trim(), at("person-phone").value.trim());
    localStorage.setItem(`person ${place.network}`, id);
    at("person-dialog").close();
    await loadPeople();
    at("text").focus();
  });
}

// --- the conversation ------------------------------------------------------------------------------------------------

async function redraw() {
  at("phone").dataset.network = place?.network ?? "";
  document.body.dataset.network = place?.network ?? "";
  at("chat-name").textContent = place?.name ?? say("title");
  at("composer").hidden = !place;
  at("menu").hidden = !place;
  at("new-person").disabled = !place;
  if (!place) {
    at("chat-note").textContent = "";
    draw(at("log"), [], say("nobody"));
    return;
  }
  const now = `${place.id} ${person}`;
  const thread = await NETWORKS[place.network].thread(place, person);
  if (now !== `${place?.id} ${person}`) return; // another conversation was chosen meanwhile
  if (at("log").dataset.now !== now) {
    // Message numbers repeat between conversations: nothing of the other one may stay.
    at("log").dataset.now = now;
    at("log").replaceChildren();
    stopTyping();
  }
  draw(at("log"), safe(thread.messages), say(place.kind === "inChannel" ? "emptyChannel" : "empty"));
  at("composer").hidden = Boolean(thread.readOnly);
  if (!typingTimer) at("chat-note").textContent = thread.note ?? "";
  if (thread.typing) showTyping();
  const keyRows = thread.start ? [[{ label: say("start"), run: () => NETWORKS[place.network].act(place, person, { do: "start" }) }]] : thread.keyboard;
  drawKeys(keyRows ?? []);
  fillMenu("menu", NETWORKS[place.network].menu(place, person));
  fillMenu("attach", NETWORKS[place.network].attachments(place, person));
}

// Every tap of a message reports what goes wrong instead of failing in silence.
function safe(messages) {
  const wrap = (one) => (one.run ? { ...one, run: () => attempt(one.run) } : one);
  const rows = (found) => found?.map((row) => row.map(wrap));
  const sections = (list) => list && { ...list, sections: list.sections.map((one) => ({ ...one, rows: one.rows.map(wrap) })) };
  const each = (one) => ({ ...one, taps: rows(one.taps), list: sections(one.list), cards: one.cards?.map(each) });
  return messages.map(each);
}

function drawKeys(rows) {
  const print = JSON.stringify(rows.map((row) => row.map((key) => key.label)));
  const keys = at("keys");
  keys.setAttribute("aria-label", say("keyboard"));
  if (keys.dataset.print === print && keys.dataset.place === `${place.id} ${person}`) return;
  keys.dataset.print = print;
  keys.dataset.place = `${place.id} ${person}`;
  keys.replaceChildren(...rows.map((row) => element("div", {}, ...row.map((key) => element("button", { type: "button", run: () => attempt(key.run) }, key.label)))));
}

function fillMenu(id, items) {
  at(`${id}-items`).replaceChildren(...items.map((item) => {
    const run = () => {
      at(id).open = false;
      if (item.pick) pickFile(item.pick);
      else attempt(item.run);
    };
    return element("li", {}, element("button", { type: "button", run }, item.label));
  }));
}

function pickFile(send) {
  const input = at("file");
  input.value = "";
  input.onchange = () => {
    const file = input.files[0];
    if (!file) return;
    if (file.size > FILE_MAX) notify(say("tooBig"));
    else attempt(() => send(file));
  };
  input.click();
}

async function sendText(event) {
  event.preventDefault();
  const field = at("text");
  const text = field.value.trim();
  if (!text || !place) return;
  field.value = "";
  await attempt(() => NETWORKS[place.network].act(place, person, { do: "say", text }));
  field.focus();
}

async function attempt(run) {
  try {
    await run();
    soon();
  } catch (error) {
    notify(error.message);
  }
}

function notify(sentence) {
  at("notice").textContent = sentence;
  clearTimeout(noticeTimer);
  noticeTimer = setTimeout(() => { at("notice").textContent = ""; }, 8000);
}

function showTyping() {
  at("chat-note").textContent = say("typing");
  clearTimeout(typingTimer);
  typingTimer = setTimeout(() => { typingTimer = 0; soon(); }, TYPING_MS);
}

function stopTyping() {
  clearTimeout(typingTimer);
  typingTimer = 0;
}

// --- live ------------------------------------------------------------------------------------------------------------

function soon() {
  if (redrawTimer) return;
  redrawTimer = setTimeout(() => {
    redrawTimer = 0;
    redraw().catch((error) => notify(error.message));
  }, SCREEN_MS);
}

function concerns(data) {
  if (!place || data.network !== place.network) return false;
  const to = String(data.to ?? data.chat ?? "");
  return place.chat ? to === String(place.chat) : data.endpoint === place.endpoint && to === person;
}

function follow() {
  const stream = new EventSource("/sim/stream");
  const on = (kind, run) => stream.addEventListener(kind, (event) => run(JSON.parse(event.data)));
  for (const kind of ["message", "said", "edited", "deleted", "seen", "status"]) {
    on(kind, (data) => {
      if (!concerns(data)) return;
      if (kind === "message") stopTyping();
      soon();
    });
  }
  on("typing", (data) => { if (concerns(data)) showTyping(); });
  on("toast", (data) => { if (concerns(data) && data.text) notify(data.text); });
  for (const kind of ["endpoint", "chat"]) on(kind, () => loadPlaces().catch((error) => notify(error.message)));
  stream.onopen = () => { at("notice").textContent = ""; loadPlaces().catch((error) => notify(error.message)); };
  stream.onerror = () => notify(say("lost"));
}

function listen() {
  at("place").addEventListener("change", (event) => attempt(() => choosePlace(event.target.value)));
  at("person").addEventListener("change", (event) => attempt(() => choosePerson(event.target.value)));
  at("new-person").addEventListener("click", () => { at("person-form").reset(); at("person-dialog").showModal(); });
  at("person-form").addEventListener("submit", createPerson);
  at("composer").addEventListener("submit", sendText);
  at("text").addEventListener("keydown", (event) => {
    if (event.key === "Enter" && !event.shiftKey && !event.isComposing) sendText(event);
  });
  at("language").addEventListener("click", () => { setLanguage(say("otherCode")); loadPlaces().catch((error) => notify(error.message)); });
  for (const button of document.querySelectorAll("[data-close]")) button.addEventListener("click", () => button.closest("dialog").close());
  document.addEventListener("keydown", (event) => {
    if (event.key === "Escape") for (const menu of document.querySelectorAll("details.menu[open]")) menu.open = false;
  });
  document.addEventListener("click", (event) => {
    for (const menu of document.querySelectorAll("details.menu[open]")) if (!menu.contains(event.target)) menu.open = false;
  });
}

start().catch((error) => notify(error.message));
