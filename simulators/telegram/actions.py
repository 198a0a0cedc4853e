"""What people do: each action changes the world as the app would and gives the updates that the bot gets of it.

`act(tg, bot, person, {"do": …})` is the one door, for the control API, the phone page and scripted people alike.
"""

from __future__ import annotations

import base64
import binascii
from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Any

from simulators.telegram import objects, text
from simulators.telegram.files import Stored, image_size, plain_png
from simulators.telegram.payments import Checkout
from simulators.telegram.places import Place, shared
from simulators.telegram.posting import next_id, quoted
from simulators.telegram.state import Bot, Callback, Chat, Dialog, InviteLink, Member, Message, Person, Wire
from simulators.wire import decimal, whole
from simulators.world import ControlError

if TYPE_CHECKING:
    from simulators.telegram.network import Telegram

Action = Mapping[str, Any]
Doing = Callable[["Telegram", Bot, Person, Action], list[int]]

DOINGS: dict[str, Doing] = {}

# Taps kept for their answer; older ones are past their 150 s long before.
CALLBACKS_LIMIT = 100_000
MEDIA_KINDS = ("photo", "video", "document", "audio", "voice", "animation", "sticker", "video_note")


def doing(name: str) -> Callable[[Doing], Doing]:
    def register(run: Doing) -> Doing:
        DOINGS[name] = run
        return run

    return register


def act(tg: Telegram, bot: Bot, person: Person, action: Action) -> list[int]:
    """Do it; gives the ids of the updates that this bot got (none where it did not want the kind)."""
    run = DOINGS.get(str(action.get("do")))
    if run is None:
        raise ControlError(f"do: one of {', '.join(sorted(DOINGS))} expected, got {action.get('do')!r}")
    if person.deleted and action["do"] != "delete_account":
        raise ControlError(f"person {person.id} has deleted the account", 409)
    ids = run(tg, bot, person, action)
    tg.world.acted(tg.name, bot.token, str(person.id), {**action, "update_ids": ids})
    return ids


# --- writing --------------------------------------------------------------------------------------------------------


def _open_dialog(tg: Telegram, bot: Bot, person: Person) -> tuple[Dialog, list[int]]:
    """The private chat, started; whoever had blocked the bot unblocks it by writing."""
    dialog = bot.dialog(person.id)
    bot.met.add(person.id)
    ids = _set_blocked(tg, bot, person, False) if dialog.blocked else []
    dialog.started = True
    return dialog, ids


def _write(
    tg: Telegram, bot: Bot, person: Person, action: Action, content: Wire, head: Wire | None = None
) -> list[int]:
    """A message of the person with this content, in the private chat or in `chat`."""
    if action.get("chat") is not None:
        return _write_in_chat(tg, bot, person, action, tg.chat(action["chat"]), content, head)
    dialog, ids = _open_dialog(tg, bot, person)
    message_id = bot.next_message_id()
    wire: Wire = {
        "message_id": message_id,
        "from": person.user,
        "chat": person.chat,
        "date": tg.world.clock.now_s(),
    }
    wire |= head or {}
    answered = _answered(dialog.history.messages, action)
    if answered is not None:
        wire["reply_to_message"] = quoted(answered)
    wire |= content
    dialog.history.add(Message(message_id, wire))
    tg.world.show(
        "said", tg.name, endpoint=bot.token, to=str(person.id), external_id=str(message_id), content=wire
    )
    return ids + _pushed(bot.updates.push("message", wire, person.id))


def _pushed(update_id: int | None) -> list[int]:
    return [] if update_id is None else [update_id]


def _answered(messages: Mapping[int, Message], action: Action) -> Message | None:
    if action.get("reply_to") is None:
        return None
    found = messages.get(whole(action, "reply_to"))
    if found is None:
        raise ControlError(f"reply_to: there is no message {action['reply_to']}")
    return found


def _write_in_chat(
    tg: Telegram, bot: Bot, person: Person, action: Action, chat: Chat, content: Wire, head: Wire | None
) -> list[int]:
    """A message in a group, seen by every bot that may see it, or a post in a channel."""
    if chat.migrated_to is not None:
        chat = tg.chats[chat.migrated_to]
    member = chat.member(person.id)
    if not member.inside or (chat.type == "channel" and not member.admin):
        raise ControlError(f"person {person.id} cannot write in {chat.title}", 409)
    ids: list[int] = []
    wire: Wire = {}
    for user_id, standing in list(chat.members.items()):
        reader = tg.bots_by_id.get(user_id)
        if reader is None or not standing.inside:
            continue
        place = shared(reader, chat)
        if not wire or not chat.shared_history:
            wire = _shared_message(tg, reader, person, chat, place, action, content, head)
        if chat.type == "channel":
            seen = reader.updates.push("channel_post", wire, chat.id) if standing.admin else None
        else:
            reader.met.add(person.id)
            seen = reader.updates.push("message", wire, chat.id) if _may_see(reader, standing, wire) else None
        if reader is bot:
            ids += _pushed(seen)
    return ids


def _shared_message(
    tg: Telegram,
    bot: Bot,
    person: Person,
    chat: Chat,
    place: Place,
    action: Action,
    content: Wire,
    head: Wire | None,
) -> Wire:
    message_id = next_id(bot, chat)
    wire: Wire = {"message_id": message_id}
    if chat.type == "channel":
        wire["sender_chat"] = chat.wire
    else:
        wire["from"] = person.user
    wire |= {"chat": chat.wire, "date": tg.world.clock.now_s(), **(head or {}), **_topic(chat, action)}
    if chat.type == "channel":
        wire["author_signature"] = person.first_name
    answered = _answered(place.history.messages, action)
    if answered is not None:
        wire["reply_to_message"] = quoted(answered)
    wire |= content
    place.history.add(Message(message_id, wire))
    tg.world.show(
        "said", tg.name, endpoint=bot.token, to=str(chat.id), external_id=str(message_id), content=wire
    )
    return wire


def _topic(chat: Chat, action: Action) -> Wire:
    """`{topic: id}` in a forum; without it the message is in General."""
    if action.get("topic") is None:
        return {}
    if whole(action, "topic") not in chat.topics:
        raise ControlError(f"topic: there is no topic {action['topic']}")
    return {"message_thread_id": whole(action, "topic"), "is_topic_message": True}


def _may_see(bot: Bot, standing: Member, wire: Wire) -> bool:
    """Privacy mode: without admin rights a bot sees commands, mentions of it and answers to it."""
    if bot.can_read_all_group_messages or standing.admin:
        return True
    answered = wire.get("reply_to_message", {}).get("from", {})
    if answered.get("id") == bot.id:
        return True
    said = str(wire.get("text") or wire.get("caption") or "")
    return said.startswith("/") or f"@{bot.username.lower()}" in said.lower()


@doing("start")
def _start(tg: Telegram, bot: Bot, person: Person, action: Action) -> list[int]:
    """`{payload?}`: the Start button or a deep link."""
    payload = action.get("payload")
    said = f"/start {payload}" if payload else "/start"
    return _write(
        tg, bot, person, {}, {"text": said, "entities": [{"offset": 0, "length": 6, "type": "bot_command"}]}
    )


@doing("say")
def _say(tg: Telegram, bot: Bot, person: Person, action: Action) -> list[int]:
    """`{text, chat?, topic?, reply_to?}`."""
    said = str(action.get("text", ""))
    if not said.strip():
        raise ControlError("text: something to say expected")
    content: Wire = {"text": said}
    entities = text.found(said)
    if entities:
        content["entities"] = entities
    return _write(tg, bot, person, action, content)


@doing("contact")
def _contact(tg: Telegram, bot: Bot, person: Person, action: Action) -> list[int]:
    """`{phone_number?, user_id?, first_name?, last_name?}`: the own card, or somebody else's when one is named."""
    phone = action.get("phone_number") or person.phone_number or f"1555{person.id % 10_000_000:07d}"
    card: Wire = {
        "phone_number": str(phone),
        "first_name": str(action.get("first_name") or person.first_name),
    }
    last_name = action.get("last_name") or (person.last_name if "first_name" not in action else None)
    if last_name:
        card["last_name"] = str(last_name)
    if "first_name" not in action or "user_id" in action:
        card["user_id"] = whole(action, "user_id", person.id)
    return _write(tg, bot, person, action, {"contact": card})


@doing("location")
def _location(tg: Telegram, bot: Bot, person: Person, action: Action) -> list[int]:
    """`{latitude, longitude, live_period?, title?, address?}`; with a title it is a venue."""
    place: Wire = {"latitude": decimal(action, "latitude"), "longitude": decimal(action, "longitude")}
    if action.get("live_period"):
        place |= {"live_period": whole(action, "live_period"), "heading": 90, "horizontal_accuracy": 12.0}
    if action.get("title"):
        venue = {"location": place, "title": str(action["title"]), "address": str(action.get("address", ""))}
        return _write(tg, bot, person, action, {"venue": venue, "location": place})
    return _write(tg, bot, person, action, {"location": place})


@doing("media")
def _media(tg: Telegram, bot: Bot, person: Person, action: Action) -> list[int]:
    """`{kind: photo | video | document | …, content_base64?, name?, mime_type?, size?, duration?, caption?}`."""
    return _write(tg, bot, person, action, _media_content(tg, bot, action))


@doing("album")
def _album(tg: Telegram, bot: Bot, person: Person, action: Action) -> list[int]:
    """`{items: [as for media, 2 to 10], caption?}`: one update each, the same media_group_id."""
    items = action.get("items")
    if not isinstance(items, list) or not 2 <= len(items) <= 10:
        raise ControlError("items: a list of 2 to 10 expected")
    group_id = str(tg.world.rng.randrange(10**16, 10**17))
    ids: list[int] = []
    if not all(isinstance(item, dict) for item in items):
        raise ControlError("items: objects expected, as for media")
    for number, item in enumerate(items):
        caption = {"caption": action["caption"]} if number == 0 and action.get("caption") else {}
        content = _media_content(tg, bot, {"kind": "photo", "shade": 40 + 20 * number, **item, **caption})
        ids += _write(tg, bot, person, action, content, {"media_group_id": group_id})
    return ids


def _media_content(tg: Telegram, bot: Bot, action: Action) -> Wire:
    kind = action.get("kind", "photo")
    if kind not in MEDIA_KINDS:
        raise ControlError(f"kind: one of {', '.join(MEDIA_KINDS)} expected, got {kind!r}")
    content: Wire = {kind: tg.files.wire(bot, _file(tg, kind, action))}
    if kind == "animation":
        content["document"] = {key: content[kind][key] for key in ("file_id", "file_unique_id", "file_size")}
    caption = action.get("caption")
    if caption:
        content["caption"] = str(caption)
        entities = text.found(str(caption))
        if entities:
            content["caption_entities"] = entities
    return content


def _file(tg: Telegram, kind: str, action: Action) -> Stored:
    try:
        given = (
            base64.b64decode(action["content_base64"], validate=True) if "content_base64" in action else None
        )
    except (binascii.Error, TypeError, ValueError) as error:
        raise ControlError("content_base64: base64 expected") from error
    if kind in ("photo", "sticker"):
        content = given if given is not None else plain_png(320, 240, whole(action, "shade", 200) % 256)
        width, height = image_size(content) or (320, 240)
    else:
        content = given if given is not None else f"simulated {kind}".encode()
        width, height = whole(action, "width", 0), whole(action, "height", 0)
    name = str(action.get("name") or "")
    return tg.files.keep(
        kind,
        content,
        name,
        action.get("mime_type"),
        size=whole(action, "size") if action.get("size") is not None else None,
        width=width,
        height=height,
        duration=whole(action, "duration", 3),
    )


@doing("edit")
def _edit(tg: Telegram, bot: Bot, person: Person, action: Action) -> list[int]:
    """`{text | caption | latitude + longitude, message_id?, chat?}`: the person's message, the latest by default."""
    if action.get("chat") is not None:
        chat = tg.chat(action["chat"])
        place = shared(bot, chat)
        history, kind = place.history, "edited_channel_post" if chat.type == "channel" else "edited_message"
    else:
        history, kind = bot.dialog(person.id).history, "edited_message"
    wanted = whole(action, "message_id") if action.get("message_id") is not None else None
    message = next(
        (
            each
            for each in history.latest()
            if (wanted is None or each.id == wanted)
            and (each.wire.get("from", {}).get("id") == person.id or kind == "edited_channel_post")
        ),
        None,
    )
    if message is None:
        raise ControlError("message_id: the person has no such message")
    changed: Wire = {**message.wire, "edit_date": tg.world.clock.now_s()}
    if "latitude" in action and "location" in message.wire:
        moved = {"latitude": decimal(action, "latitude"), "longitude": decimal(action, "longitude")}
        changed["location"] = {**message.wire["location"], **moved}
    for name, entities_name in (("text", "entities"), ("caption", "caption_entities")):
        if name in action:
            changed[name] = str(action[name])
            changed.pop(entities_name, None)
            entities = text.found(changed[name])
            if entities:
                changed[entities_name] = entities
    message.wire = changed
    return _pushed(bot.updates.push(kind, changed, changed["chat"]["id"]))


# --- buttons --------------------------------------------------------------------------------------------------------


@doing("tap")
def _tap(tg: Telegram, bot: Bot, person: Person, action: Action) -> list[int]:
    """`{text | data | index, message_id?, chat?}`: a button of the latest message that has it, or of the keyboard."""
    place_chat = tg.chat(action["chat"]) if action.get("chat") is not None else None
    if place_chat is not None:
        history, dialog = shared(bot, place_chat).history, None
    else:
        dialog = bot.dialog(person.id)
        history = dialog.history
    wanted = whole(action, "message_id") if action.get("message_id") is not None else None
    for message in history.latest():
        if wanted is not None and message.id != wanted:
            continue
        button = _button(message.wire.get("reply_markup", {}).get("inline_keyboard", ()), action)
        if button is not None:
            return _tap_inline(tg, bot, person, message, button, place_chat)
    if dialog is not None and dialog.keyboard is not None:
        key = _button(dialog.keyboard.get("keyboard", ()), action)
        if key is not None:
            return _tap_key(tg, bot, person, dialog, key)
    raise ControlError(f"no button like {_described(action)} is on the screen", 409)


def _described(action: Action) -> str:
    return ", ".join(
        f"{name} {action[name]!r}" for name in ("text", "data", "index", "message_id") if name in action
    )


def _button(rows: Any, action: Action) -> Wire | None:
    buttons = [button for row in rows for button in row]
    if "index" in action:
        index = whole(action, "index")
        return buttons[index] if 0 <= index < len(buttons) else None
    for button in buttons:
        if "data" in action and button.get("callback_data") == action["data"]:
            return dict(button)
        if (
            "text" in action
            and "data" not in action
            and button["text"].lower() == str(action["text"]).lower()
        ):
            return dict(button)
    return None


def _tap_inline(
    tg: Telegram, bot: Bot, person: Person, message: Message, button: Wire, chat: Chat | None
) -> list[int]:
    if "callback_data" not in button:
        return []  # a link or a Mini App opens on the phone; the bot hears nothing
    if chat is None:
        _open_dialog(tg, bot, person)
    bot.met.add(person.id)
    now = tg.world.clock.now()
    query = Callback(str(tg.world.rng.randrange(10**18, 9 * 10**18)), person.id, now)
    bot.callbacks[query.id] = query
    if len(bot.callbacks) > CALLBACKS_LIMIT:
        bot.callbacks.popitem(last=False)
    wire: Wire = {
        "id": query.id,
        "from": person.user,
        "message": message.wire,
        "chat_instance": str(-(10**15) - message.wire["chat"]["id"]),
        "data": button["callback_data"],
    }
    return _pushed(bot.updates.push("callback_query", wire, person.id))


def _tap_key(tg: Telegram, bot: Bot, person: Person, dialog: Dialog, key: Wire) -> list[int]:
    asked = next((each.id for each in dialog.history.latest() if each.bot_id is not None), None)
    answer: Action = {} if asked is None else {"reply_to": asked}
    if "request_contact" in key:
        return _contact(tg, bot, person, answer)
    if "request_location" in key:
        return _location(tg, bot, person, {**answer, "latitude": 45.4642, "longitude": 9.19})
    if "request_users" in key:
        return _share_users(tg, bot, person, key["request_users"], answer)
    if "request_chat" in key:
        return _share_chat(tg, bot, person, key["request_chat"], answer)
    return _say(tg, bot, person, {"text": key["text"]})


def _share_users(tg: Telegram, bot: Bot, person: Person, request: Wire, answer: Action) -> list[int]:
    """The person picks somebody: the first other person there is."""
    other = next((each for each in tg.people.values() if each.id != person.id), person)
    user: Wire = {"user_id": other.id}
    if request.get("request_name"):
        user["first_name"] = other.first_name
    shared_users = {"request_id": request.get("request_id", 0), "user_ids": [other.id], "users": [user]}
    return _write(tg, bot, person, answer, {"users_shared": shared_users})


def _share_chat(tg: Telegram, bot: Bot, person: Person, request: Wire, answer: Action) -> list[int]:
    """The person picks the first chat of the wanted kind that they own or run."""
    channel = bool(request.get("chat_is_channel"))
    for chat in tg.chats.values():
        if (chat.type == "channel") == channel and chat.member(person.id).admin:
            picked: Wire = {"request_id": request.get("request_id", 0), "chat_id": chat.id}
            if request.get("request_title"):
                picked["title"] = chat.title
            return _write(tg, bot, person, answer, {"chat_shared": picked})
    raise ControlError("the person has no chat of that kind to share", 409)


@doing("web_app_data")
def _web_app_data(tg: Telegram, bot: Bot, person: Person, action: Action) -> list[int]:
    """`{data, button_text?}`: a Mini App opened from the keyboard sends its data."""
    data = {"button_text": str(action.get("button_text", "Open")), "data": str(action.get("data", ""))}
    return _write(tg, bot, person, {}, {"web_app_data": data})


# --- blocking and leaving -------------------------------------------------------------------------------------------


def _set_blocked(tg: Telegram, bot: Bot, person: Person, blocked: bool) -> list[int]:
    dialog = bot.dialog(person.id)
    if dialog.blocked == blocked:
        return []
    dialog.blocked = blocked
    bot.met.add(person.id)
    standings = Member("member"), Member("kicked")
    old, new = standings if blocked else reversed(standings)
    return _pushed(_tell_my_member(tg, bot, person.chat, "private", person, old, new))


def _tell_my_member(
    tg: Telegram, bot: Bot, chat: Wire, chat_type: str, by: Person, old: Member, new: Member
) -> int | None:
    wire: Wire = {
        "chat": chat,
        "from": by.user,
        "date": tg.world.clock.now_s(),
        "old_chat_member": objects.member(tg, chat_type, bot.id, old),
        "new_chat_member": objects.member(tg, chat_type, bot.id, new),
    }
    return bot.updates.push("my_chat_member", wire, chat["id"])


@doing("block")
def _block(tg: Telegram, bot: Bot, person: Person, action: Action) -> list[int]:
    return _set_blocked(tg, bot, person, True)


@doing("unblock")
def _unblock(tg: Telegram, bot: Bot, person: Person, action: Action) -> list[int]:
    return _set_blocked(tg, bot, person, False)


@doing("delete_account")
def _delete_account(tg: Telegram, bot: Bot, person: Person, action: Action) -> list[int]:
    """Nobody is told; the next message to the person is refused."""
    person.deleted = True
    if person.username:
        tg.usernames.pop(person.username.lower(), None)
    return []


# --- groups and channels --------------------------------------------------------------------------------------------


def enter(
    tg: Telegram, chat: Chat, person: Person, status: str, link: InviteLink | None = None, **extra: Any
) -> dict[int, int]:
    """The person gets a standing in the chat; gives {bot id: update id} of the bots that hear of it."""
    old = chat.member(person.id)
    new = chat.members[person.id] = Member(status)
    return tell_member(tg, chat, person, person.id, old, new, link, **extra)


def tell_member(
    tg: Telegram,
    chat: Chat,
    by: Person | Bot,
    user_id: int,
    old: Member,
    new: Member,
    link: InviteLink | None = None,
    **extra: Any,
) -> dict[int, int]:
    """chat_member goes to the bots that are administrators of the chat (and asked for it)."""
    told: dict[int, int] = {}
    for bot_id, standing in chat.members.items():
        bot = tg.bots_by_id.get(bot_id)
        if bot is None or not standing.admin:
            continue
        bot.met.add(user_id)
        wire: Wire = {
            "chat": chat.wire,
            "from": by.user,
            "date": tg.world.clock.now_s(),
            "old_chat_member": objects.member(tg, chat.type, user_id, old),
            "new_chat_member": objects.member(tg, chat.type, user_id, new),
            **extra,
        }
        if link is not None:
            wire["invite_link"] = objects.invite_link(tg, chat, link, bot)
        update_id = bot.updates.push("chat_member", wire, user_id)
        if update_id is not None:
            told[bot_id] = update_id
    return told


def _link(tg: Telegram, action: Action) -> tuple[Chat, InviteLink | None]:
    """The chat of `{link}` or `{chat}`; a link that is used up, old or revoked lets nobody in."""
    url = action.get("link")
    if url is None:
        return tg.chat(action.get("chat")), None
    for chat in tg.chats.values():
        link = chat.links.get(str(url))
        if link is None:
            continue
        expired = link.expire_date is not None and tg.world.clock.now() >= link.expire_date
        full = link.member_limit is not None and link.joined >= link.member_limit
        if link.is_revoked or expired or full:
            raise ControlError("link: it has expired", 409)
        return chat, link
    raise ControlError("link: there is no such invite link", 404)


@doing("join")
def _join(tg: Telegram, bot: Bot, person: Person, action: Action) -> list[int]:
    """`{chat | link}`."""
    chat, link = _link(tg, action)
    if link is not None and link.creates_join_request:
        raise ControlError("link: it asks for approval; use request_join", 409)
    if chat.member(person.id).inside:
        raise ControlError("the person is a member already", 409)
    if chat.member(person.id).status == "kicked":
        raise ControlError("the person is banned there", 409)
    if link is not None:
        link.joined += 1
    told = enter(tg, chat, person, "member", link)
    ids = [told[bot.id]] if bot.id in told else []
    if chat.type != "channel":
        ids += _service(tg, bot, chat, person, {"new_chat_members": [person.user]})
    return ids


@doing("leave")
def _leave(tg: Telegram, bot: Bot, person: Person, action: Action) -> list[int]:
    """`{chat}`."""
    chat = tg.chat(action.get("chat"))
    old = chat.member(person.id)
    if not old.inside:
        raise ControlError("the person is no member", 409)
    ids = _service(tg, bot, chat, person, {"left_chat_member": person.user}) if chat.type != "channel" else []
    new = chat.members[person.id] = Member("left")
    told = tell_member(tg, chat, person, person.id, old, new)
    return ids + ([told[bot.id]] if bot.id in told else [])


def _service(tg: Telegram, bot: Bot, chat: Chat, person: Person, content: Wire) -> list[int]:
    """A service message in a group: bots see it whatever their privacy."""
    ids: list[int] = []
    wire: Wire = {}
    for user_id, standing in list(chat.members.items()):
        reader = tg.bots_by_id.get(user_id)
        if reader is None or not standing.inside:
            continue
        if not wire or not chat.shared_history:
            wire = _shared_message(tg, reader, person, chat, shared(reader, chat), {}, content, None)
        seen = reader.updates.push("message", wire, chat.id)
        if reader is bot:
            ids += _pushed(seen)
    return ids


@doing("request_join")
def _request_join(tg: Telegram, bot: Bot, person: Person, action: Action) -> list[int]:
    """`{chat | link}`: bots that may invite hear of it and may write to the person until it is processed."""
    chat, link = _link(tg, action)
    if chat.member(person.id).inside:
        raise ControlError("the person is a member already", 409)
    chat.requests[person.id] = link.url if link is not None else ""
    ids: list[int] = []
    for user_id, standing in chat.members.items():
        admin = tg.bots_by_id.get(user_id)
        if admin is None or not standing.may("can_invite_users"):
            continue
        admin.met.add(person.id)
        admin.join_requests.add(person.id)
        wire: Wire = {"chat": chat.wire, "from": person.user, "user_chat_id": person.id}
        wire["date"] = tg.world.clock.now_s()
        if person.bio:
            wire["bio"] = person.bio
        if link is not None:
            wire["invite_link"] = objects.invite_link(tg, chat, link, admin)
        seen = admin.updates.push("chat_join_request", wire, person.id)
        if admin is bot:
            ids += _pushed(seen)
    return ids


@doing("post")
def _post(tg: Telegram, bot: Bot, person: Person, action: Action) -> list[int]:
    """`{chat, text}`: a person who runs the channel posts there."""
    if tg.chat(action.get("chat")).type != "channel":
        raise ControlError("chat: a channel expected; in groups people say things")
    return _say(tg, bot, person, action)


def set_bot_standing(tg: Telegram, chat: Chat, bot: Bot, new: Member, by: Person | None = None) -> list[int]:
    """Somebody who runs the chat changes what the bot is there; gives the ids of the bot's updates."""
    old = chat.member(bot.id)
    chat.members[bot.id] = new
    owner = by or _owner(tg, chat)
    bot.met.add(owner.id)
    ids = _pushed(_tell_my_member(tg, bot, chat.wire, chat.type, owner, old, new))
    if chat.type != "channel" and new.inside and not old.inside:
        ids += _service(tg, bot, chat, owner, {"new_chat_members": [bot.user]})
    tell_member(tg, chat, owner, bot.id, old, new)
    return ids


def _owner(tg: Telegram, chat: Chat) -> Person:
    for user_id, member in chat.members.items():
        if member.status == "creator" and user_id in tg.people:
            return tg.people[user_id]
    owner = tg.people[int(tg.make_person({"first_name": "Owner"}))]
    chat.members[owner.id] = Member("creator")
    return owner


def make_admin(tg: Telegram, chat: Chat, bot: Bot, rights: Mapping[str, Any] | None) -> list[int]:
    """With all rights of the kind of chat except promoting, or with exactly those given."""
    names = objects.rights_for(chat.type)
    if rights is None:
        given = {name: name != "can_promote_members" for name in names}
    else:
        unknown = set(rights) - set(names)
        if unknown:
            raise ControlError(f"rights: {sorted(unknown)[0]} does not exist in a {chat.type}")
        given = {"can_manage_chat": True, **{name: bool(value) for name, value in rights.items()}}
    return set_bot_standing(tg, chat, bot, Member("administrator", given))


def upgrade(tg: Telegram, chat: Chat) -> Chat:
    """A basic group becomes a supergroup: two service messages tell the ids, the old one answers with the new."""
    if chat.type != "group" or chat.migrated_to is not None:
        raise ControlError("only a basic group can be upgraded, once", 409)
    owner = _owner(tg, chat)
    new = tg.make_chat({"type": "supergroup", "title": chat.title})
    new.members, new.permissions = dict(chat.members), dict(chat.permissions)
    for user_id in chat.members:
        bot = tg.bots_by_id.get(user_id)
        if bot is not None:
            _service(tg, bot, chat, owner, {"migrate_to_chat_id": new.id})
            break
    chat.migrated_to = new.id
    for user_id in new.members:
        bot = tg.bots_by_id.get(user_id)
        if bot is not None:
            _service(tg, bot, new, owner, {"migrate_from_chat_id": chat.id})
            break
    return new


# --- reactions, polls, payments -------------------------------------------------------------------------------------


@doing("react")
def _react(tg: Telegram, bot: Bot, person: Person, action: Action) -> list[int]:
    """`{emoji: "👍" | [..] | "" to take it back, message_id, chat?}`."""
    chat = tg.chat(action["chat"]) if action.get("chat") is not None else None
    history = shared(bot, chat).history if chat is not None else bot.dialog(person.id).history
    message = history.get(whole(action, "message_id"))
    if message is None:
        raise ControlError("message_id: there is no such message")
    emoji = action.get("emoji", "")
    chosen = emoji if isinstance(emoji, list) else [str(emoji)]
    new = [{"type": "emoji", "emoji": each} for each in chosen if each]
    old = message.reactions.pop(person.id, [])
    if new:
        message.reactions[person.id] = new
    wire: Wire = {"chat": message.wire["chat"], "message_id": message.id, "date": tg.world.clock.now_s()}
    if chat is None or chat.type != "channel":
        if chat is not None and not chat.member(bot.id).admin:
            return []
        wire |= {"user": person.user, "old_reaction": old, "new_reaction": new}
        return _pushed(bot.updates.push("message_reaction", wire, wire["chat"]["id"]))
    if not chat.member(bot.id).admin:
        return []
    totals: dict[str, int] = {}
    for each in message.reactions.values():
        for reaction in each:
            totals[reaction["emoji"]] = totals.get(reaction["emoji"], 0) + 1
    wire["reactions"] = [
        {"type": {"type": "emoji", "emoji": emoji}, "total_count": count} for emoji, count in totals.items()
    ]
    return _pushed(bot.updates.push("message_reaction_count", wire, chat.id))


@doing("vote")
def _vote(tg: Telegram, bot: Bot, person: Person, action: Action) -> list[int]:
    """`{options: [indexes], [] to retract, poll_id | message_id, chat?}`: poll_answer if not anonymous, and poll."""
    poll = tg.polls.get(action.get("poll_id") or _poll_id(tg, bot, person, action))
    if poll is None or poll.is_closed:
        raise ControlError("there is no open poll like that", 409)
    options = action.get("options")
    if not isinstance(options, list) or not all(
        isinstance(each, int) and 0 <= each < len(poll.options) for each in options
    ):
        raise ControlError(f"options: a list of numbers from 0 to {len(poll.options) - 1} expected")
    if len(options) > 1 and not poll.allows_multiple_answers:
        raise ControlError("options: the poll takes one answer")
    if poll.type == "quiz" and person.id in poll.votes:
        raise ControlError("a quiz is answered once", 409)
    poll.votes.pop(person.id, None)
    if options:
        poll.votes[person.id] = list(options)
    owner = tg.bots[poll.bot_token]
    ids: list[int] = []
    if not poll.is_anonymous:
        answer = {
            "poll_id": poll.id,
            "user": person.user,
            "option_ids": options,
            "option_persistent_ids": [str(index) for index in options],
        }
        ids += _pushed(owner.updates.push("poll_answer", answer, poll.id))
    return ids + _pushed(owner.updates.push("poll", poll.wire(), poll.id))


def _poll_id(tg: Telegram, bot: Bot, person: Person, action: Action) -> str | None:
    chat = tg.chat(action["chat"]) if action.get("chat") is not None else None
    history = shared(bot, chat).history if chat is not None else bot.dialog(person.id).history
    wanted = whole(action, "message_id") if action.get("message_id") is not None else None
    for message in history.latest():
        if "poll" in message.wire and (wanted is None or message.id == wanted):
            return str(message.wire["poll"]["id"])
    return None


@doing("pay")
def _pay(tg: Telegram, bot: Bot, person: Person, action: Action) -> list[int]:
    """`{message_id?}`: pays the latest invoice; the bot must answer the pre_checkout_query within 10 s."""
    dialog = bot.dialog(person.id)
    wanted = whole(action, "message_id") if action.get("message_id") is not None else None
    invoice = next(
        (each for each in dialog.history.latest() if "invoice" in each.wire and wanted in (None, each.id)),
        None,
    )
    if invoice is None:
        raise ControlError("there is no invoice to pay", 409)
    price = invoice.wire["invoice"]
    query_id = str(tg.world.rng.randrange(10**18, 9 * 10**18))
    payload = bot.invoice_payloads.get((person.id, invoice.id), "")

    def paid() -> None:
        content = {
            "currency": price["currency"],
            "total_amount": price["total_amount"],
            "invoice_payload": payload,
            "telegram_payment_charge_id": f"tgch_{query_id}",
            "provider_payment_charge_id": f"prov_{query_id}",
        }
        _write(tg, bot, person, {"reply_to": invoice.id}, {"successful_payment": content})

    def over(reason: str) -> None:
        bot.checkouts.pop(query_id, None)
        tg.world.log.add(
            tg.name, "payment_failed", {"endpoint": bot.token, "to": str(person.id), "text": reason}
        )

    bot.checkouts[query_id] = Checkout(tg.world.clock, paid, over)
    wire = {
        "id": query_id,
        "from": person.user,
        "currency": price["currency"],
        "total_amount": price["total_amount"],
        "invoice_payload": payload,
    }
    return _pushed(bot.updates.push("pre_checkout_query", wire, person.id))
