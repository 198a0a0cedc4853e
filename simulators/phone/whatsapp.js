// WhatsApp for the phone page: which numbers there are, what a thread looks like, what a person can do.

import { base64Of, get, post } from "./server.js";
import { element } from "./bubbles.js";
import { say } from "./words.js";

export const network = "whatsapp";

export async function places() {
  const { numbers } = await get("/sim/whatsapp/numbers");
  return numbers.map((number) => ({
    id: `whatsapp ${number.phone_number_id}`, network, group: "numbers", endpoint: number.phone_number_id,
    name: number.verified_name, note: number.display_phone_number,
  }));
}

export async function people() {
  const found = (await get("/sim/whatsapp/people?limit=200")).people;
  return found.map((person) => ({ id: person.id, name: person.name || `+${person.phone ?? person.id}`, off: person.phone_off }));
}

export async function makePerson(name, phone) {
  return (await post("/sim/whatsapp/people", phone ? { name, phone } : { name })).id;
}

export async function thread(place, person) {
  const path = `/sim/whatsapp/people/${encodeURIComponent(person)}/messages?number=${encodeURIComponent(place.endpoint)}`;
  const { messages, window_until: until, typing } = await get(path);
  const shown = messages.filter((one) => one.direction === "in" || one.reached);
  return {
    messages: withReactions(shown).map((one) => neutral(place, person, one)),
    keyboard: null, typing, note: until > Date.now() ? say("windowOpen") : say("windowClosed"),
  };
}

export const act = (place, person, action) => post("/sim/whatsapp/act", { number: place.endpoint, person, ...action });

export const attachments = (place, person) => [
  { label: say("photo"), run: () => act(place, person, { do: "media", kind: "image" }) },
  { label: say("file"), pick: (file) => sendFile(place, person, file) },
  { label: say("location"), run: () => act(place, person, { do: "location" }) },
  { label: say("contact"), run: () => act(place, person, { do: "contact" }) },
];

export const menu = (place, person) => [
  ["stopMarketing", "stop_marketing"], ["resumeMarketing", "resume_marketing"], ["block", "block"], ["unblock", "unblock"],
  ["phoneOff", "phone_off"], ["phoneOn", "phone_on"],
].map(([word, name]) => ({ label: say(word), run: () => act(place, person, { do: name }) }));

async function sendFile(place, person, file) {
  const kind = file.type === "image/webp" ? "sticker" : ["image", "video", "audio"].find((one) => file.type.startsWith(one)) ?? "document";
  const details = { kind, mime_type: file.type || "application/octet-stream", name: file.name, voice: false };
  return act(place, person, { do: "media", ...details, content_base64: await base64Of(file) });
}

// A reaction shows at the message that it is about.
function withReactions(messages) {
  const byId = new Map(messages.map((one) => [one.external_id, { ...one }]));
  for (const one of messages.filter((each) => each.type === "reaction")) {
    const target = byId.get(one.content.reaction.message_id);
    if (target) {
      target.reaction = one.content.reaction.emoji ?? "";
      byId.delete(one.external_id);
    }
  }
  return [...byId.values()];
}

function neutral(place, person, one) {
  const content = one.content;
  const part = content[one.type] ?? {};
  const shown = { key: one.external_id, mine: one.direction === "in", at: one.at, text: format(one.text), note: note(one) };
  if (content.header) Object.assign(shown, header(content.header));
  if (content.footer) shown.foot = content.footer;
  if (["image", "video", "audio", "document", "sticker"].includes(one.type)) shown.media = mediaOf(one.type, part);
  if (one.type === "location") Object.assign(shown, { place: part, text: [] });
  if (one.type === "contacts" && Array.isArray(part)) {
    shown.card = part.map((card) => `${card.name?.formatted_name ?? ""} ${card.phones?.[0]?.phone ?? ""}`.trim()).join(", ");
    shown.text = [];
  }
  if (["unsupported", "order", "edit", "revoke", "request_welcome"].includes(one.type) && !one.text) {
    shown.text = [say(one.type === "order" ? "order" : "unsupported")];
  }
  if (content.cards) {
    shown.wide = true;
    shown.cards = content.cards.map((card) => ({ ...header(card.header ?? {}), text: format(card.text), taps: taps(place, person, one, card.buttons) }));
  } else if (content.list_button) {
    shown.list = { button: content.list_button, sections: sections(place, person, one) };
  } else {
    shown.taps = taps(place, person, one, one.buttons);
  }
  return shown;
}

function note(one) {
  const parts = [one.reaction, one.status === "read" && one.direction === "in" ? `✓✓ ${say("read")}` : ""];
  return parts.filter(Boolean).join(" ");
}

function header(given) {
  if (!given.type) return {};
  if (given.type === "text") return { head: given.text };
  if (given.type === "location") return { place: given.location };
  return { media: mediaOf(given.type, given[given.type]) };
}

function mediaOf(kind, part) {
  const url = part.id ? `/sim/whatsapp/media/${encodeURIComponent(part.id)}` : part.link;
  return { kind: kind === "sticker" ? "image" : kind, url, name: part.filename };
}

function taps(place, person, message, buttons) {
  return (buttons ?? []).map((button) => [tap(place, person, message, button)]);
}

function tap(place, person, message, button) {
  if (button.url) return { label: `↗ ${button.text}`, href: button.url };
  const label = { location: `📍 ${say("sendLocation")}`, contact: `☎ ${say("shareContact")}` }[button.kind] ?? button.text;
  const wanted = button.id || button.text;
  return { label, run: () => act(place, person, { do: "tap", button: wanted, external_id: message.external_id }) };
}

function sections(place, person, message) {
  const found = new Map();
  for (const button of message.buttons) {
    const title = button.section ?? "";
    if (!found.has(title)) found.set(title, { title, rows: [] });
    const run = () => act(place, person, { do: "tap", button: button.id, external_id: message.external_id });
    found.get(title).rows.push({ label: button.text, note: button.description, run });
  }
  return [...found.values()];
}

// *bold* _italic_ ~struck~ ```fixed```, as the app shows them.
const MARKS = /```([^`]+)```|\*([^*\n]+)\*|_([^_\n]+)_|~([^~\n]+)~/g;

function format(text) {
  const nodes = [];
  let from = 0;
  for (const match of (text ?? "").matchAll(MARKS)) {
    if (match.index > from) nodes.push(text.slice(from, match.index));
    const at = match.slice(1).findIndex((part) => part !== undefined);
    nodes.push(element(["code", "strong", "em", "s"][at], {}, match[at + 1]));
    from = match.index + match[0].length;
  }
  if (from < (text ?? "").length) nodes.push(text.slice(from));
  return nodes;
}
