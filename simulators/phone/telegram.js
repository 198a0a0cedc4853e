// Telegram for the phone page: bots to chat with, channels and groups to look into.

import { base64Of, get, post } from "./server.js";
import { element } from "./bubbles.js";
import { say } from "./words.js";

export const network = "telegram";
const MEDIA = { photo: "image", video: "video", animation: "video", video_note: "video", voice: "audio", audio: "audio", sticker: "image", document: "document" };
const files = new Map();

export async function places() {
  const [{ bots }, { chats }] = await Promise.all([get("/sim/telegram/bots"), get("/sim/telegram/chats")]);
  const found = bots.map((bot) => ({
    id: `telegram ${bot.token}`, network, group: "bots", endpoint: bot.token, name: bot.name, note: `@${bot.username}`,
  }));
  if (!bots.length) return found;
  for (const chat of chats) {
    const kind = chat.type === "channel" ? "inChannel" : "inGroup";
    found.push({ id: `telegram-chat ${chat.id}`, network, group: "channels", endpoint: bots[0].token, chat: chat.id, kind, name: chat.title, note: say(kind) });
  }
  return found;
}

export async function people() {
  const found = (await get("/sim/telegram/people")).people;
  return found.map((person) => ({ id: String(person.id), name: [person.first_name, person.last_name].filter(Boolean).join(" ") }));
}

export async function makePerson(name, phone) {
  const spec = { first_name: name, language_code: document.documentElement.lang };
  if (phone) spec.phone_number = phone;
  return String((await post("/sim/telegram/people", spec)).id);
}

export async function thread(place, person) {
  const id = place.chat ?? person;
  const { messages, keyboard } = await get(`/sim/telegram/chats/${id}/messages?limit=300&token=${encodeURIComponent(place.endpoint)}`);
  await Promise.all(messages.map((wire) => resolveFile(place, wire)));
  return {
    messages: messages.map((wire) => neutral(place, person, wire)),
    keyboard: place.chat ? null : keys(place, person, keyboard), typing: false, note: place.note,
    start: !place.chat && messages.length === 0, readOnly: place.kind === "inChannel",
  };
}

export function act(place, person, action) {
  const spec = { token: place.endpoint, person: Number(person), ...action };
  if (place.chat) spec.chat = place.chat;
  return post("/sim/telegram/act", spec);
}

export const attachments = (place, person) => [
  { label: say("photo"), run: () => act(place, person, { do: "media", kind: "photo" }) },
  { label: say("file"), pick: (file) => sendFile(place, person, file) },
  { label: say("location"), run: () => act(place, person, { do: "location", latitude: 45.4642, longitude: 9.19 }) },
  { label: say("contact"), run: () => act(place, person, { do: "contact" }) },
];

export const menu = (place, person) => (place.chat ? ["join", "leave"] : ["block", "unblock"])
  .map((name) => ({ label: say(name), run: () => act(place, person, { do: name }) }));

async function sendFile(place, person, file) {
  const kind = { image: "photo", video: "video", audio: "audio" }[file.type.split("/")[0]] ?? "document";
  return act(place, person, { do: "media", kind, name: file.name, mime_type: file.type || undefined, content_base64: await base64Of(file) });
}

function fileOf(wire) {
  const kind = Object.keys(MEDIA).find((name) => wire[name]);
  if (!kind) return null;
  const part = Array.isArray(wire[kind]) ? wire[kind].at(-1) : wire[kind];
  return { kind: MEDIA[kind], id: part.file_id, name: part.file_name };
}

// A file is shown from the address that the Bot API gives for it.
async function resolveFile(place, wire) {
  const file = fileOf(wire);
  if (!file || files.has(file.id)) return;
  files.set(file.id, "");
  const answer = await fetch(`/bot${place.endpoint}/getFile?file_id=${encodeURIComponent(file.id)}`).then((one) => one.json(), () => ({}));
  if (answer.ok && answer.result.file_path) files.set(file.id, `/file/bot${place.endpoint}/${answer.result.file_path}`);
}

function neutral(place, person, wire) {
  const mine = !place.chat && wire.from?.id === Number(person);
  const shown = {
    key: String(wire.message_id), mine, at: wire.date * 1000, wide: place.kind === "inChannel",
    text: format(wire.text ?? wire.caption ?? "", wire.entities ?? wire.caption_entities ?? []),
    taps: inline(place, person, wire), note: wire.edit_date ? say("edited") : "",
  };
  const file = fileOf(wire);
  if (file) shown.media = { kind: file.kind, url: files.get(file.id), name: file.name };
  if (wire.location) shown.place = { ...wire.location, name: wire.venue?.title };
  if (wire.contact) shown.card = `${wire.contact.first_name} +${String(wire.contact.phone_number).replace(/^\+/, "")}`;
  if (wire.poll) Object.assign(shown, { head: wire.poll.question, taps: votes(place, person, wire) });
  if (wire.dice) shown.text = [`${wire.dice.emoji} ${wire.dice.value}`];
  if (wire.invoice) shown.head = `${wire.invoice.title} · ${wire.invoice.total_amount} ${wire.invoice.currency}`;
  if (wire.reply_to_message && !mine) shown.quote = (wire.reply_to_message.text ?? wire.reply_to_message.caption ?? "…").slice(0, 80);
  if (place.kind === "inGroup" && wire.from) shown.head = wire.from.first_name;
  if (wire.new_chat_members || wire.left_chat_member || wire.pinned_message || wire.migrate_to_chat_id) {
    const who = (wire.new_chat_members?.[0] ?? wire.left_chat_member)?.first_name ?? "";
    Object.assign(shown, { service: true, head: null, text: [`${wire.left_chat_member ? "− " : "+ "}${who}`] });
  }
  return shown;
}

function inline(place, person, wire) {
  return (wire.reply_markup?.inline_keyboard ?? []).map((row) => row.map((button) => {
    const href = button.url ?? button.web_app?.url ?? button.login_url?.url;
    if (href) return { label: `↗ ${button.text}`, href };
    const action = button.callback_data ? { data: button.callback_data } : { text: button.text };
    return { label: button.text, run: () => act(place, person, { do: button.pay ? "pay" : "tap", ...action, message_id: wire.message_id }) };
  }));
}

function votes(place, person, wire) {
  return wire.poll.options.map((option, index) => [{
    label: `${option.text} · ${option.voter_count ?? 0}`,
    run: () => act(place, person, { do: "vote", options: [index], message_id: wire.message_id }),
  }]);
}

function keys(place, person, keyboard) {
  return (keyboard?.keyboard ?? []).map((row) => row.map((key) => {
    const mark = key.request_contact ? "☎ " : key.request_location ? "📍 " : "";
    return { label: mark + key.text, run: () => act(place, person, { do: "tap", text: key.text }) };
  }));
}

// Entities count in UTF-16 units, as JavaScript does. Nested ones wrap from the outside in.
const TAGS = { bold: "strong", italic: "em", underline: "u", strikethrough: "s", code: "code", pre: "pre", blockquote: "q", expandable_blockquote: "q" };

function format(text, entities, from = 0, to = text.length) {
  const inside = entities.filter((one) => one.offset >= from && one.offset + one.length <= to);
  const sorted = inside.toSorted((a, b) => a.offset - b.offset || b.length - a.length);
  const nodes = [];
  let at = from;
  for (const [index, one] of sorted.entries()) {
    if (one.offset < at) continue;
    if (one.offset > at) nodes.push(text.slice(at, one.offset));
    const rest = sorted.slice(index + 1).filter((each) => each.offset < one.offset + one.length);
    nodes.push(wrapped(one, text, format(text, rest, one.offset, one.offset + one.length)));
    at = one.offset + one.length;
  }
  if (at < to) nodes.push(text.slice(at, to));
  return nodes;
}

function wrapped(entity, text, children) {
  const own = text.slice(entity.offset, entity.offset + entity.length);
  const link = { text_link: entity.url, url: /^https?:/i.test(own) ? own : `https://${own}`, email: `mailto:${own}` }[entity.type];
  if (link) return element("a", { href: link, target: "_blank", rel: "noopener noreferrer" }, ...children);
  if (entity.type === "spoiler") return element("span", { class: "spoiler", tabindex: "0" }, ...children);
  return element(TAGS[entity.type] ?? "span", {}, ...children);
}
