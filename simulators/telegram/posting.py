"""Putting a bot's message into a chat: the object on the wire, the history, and telling whoever is there.

This is the hot path of load tests; it builds one dict per message and shares the rest.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from simulators.telegram import markup as markups
from simulators.telegram.places import Place
from simulators.telegram.state import Bot, Chat, Message, Wire
from simulators.world import Reached

if TYPE_CHECKING:
    from simulators.telegram.network import Telegram

CONTENT_KINDS = (
    "text",
    "photo",
    "video",
    "animation",
    "document",
    "audio",
    "voice",
    "video_note",
    "sticker",
    "venue",
    "location",
    "contact",
    "poll",
    "dice",
    "invoice",
)


def post(
    tg: Telegram,
    bot: Bot,
    place: Place,
    content: Mapping[str, Any],
    *,
    markup: Wire | None = None,
    reply_to: Message | None = None,
    protected: bool = False,
    head: Mapping[str, Any] | None = None,
) -> Message:
    """Send `content` (`{"text": …, "entities": …}`) as `bot`. `head`: further fields, such as `forward_origin`."""
    chat = place.chat
    message_id = next_id(bot, chat)
    wire: Wire = {"message_id": message_id}
    if chat is not None and chat.type == "channel":
        wire["sender_chat"] = chat.wire
    else:
        wire["from"] = bot.user
    wire["chat"] = place.wire
    wire["date"] = tg.world.clock.now_s()
    if head:
        wire.update(head)
    if reply_to is not None:
        wire["reply_to_message"] = quoted(reply_to)
    if protected or (chat is not None and chat.protected):
        wire["has_protected_content"] = True
        protected = True
    wire.update(content)
    if markup is not None:
        if "inline_keyboard" in markup:
            wire["reply_markup"] = markup
        elif place.private or (chat is not None and chat.type != "channel"):
            place.dialog.keyboard = None if "remove_keyboard" in markup else markup
    message = Message(message_id, wire, bot.id, protected)
    place.history.add(message)
    announce(tg, bot, place, message, markup)
    if chat is not None and chat.type == "channel":
        tell_other_bots(tg, chat, bot.id, "channel_post", wire)
    return message


def next_id(bot: Bot, chat: Chat | None) -> int:
    """One counter per account for private chats and basic groups, one per supergroup or channel."""
    if chat is not None and chat.shared_history:
        chat.last_message_id += 1
        return chat.last_message_id
    return bot.next_message_id()


def quoted(message: Message) -> Wire:
    """A message as it stands inside another's `reply_to_message`: without the one that it answers itself."""
    if "reply_to_message" not in message.wire:
        return message.wire
    return {key: value for key, value in message.wire.items() if key != "reply_to_message"}


def kind_of(wire: Mapping[str, Any]) -> str:
    for kind in CONTENT_KINDS:
        if kind in wire:
            return kind
    return "service"


def announce(tg: Telegram, bot: Bot, place: Place, message: Message, markup: Wire | None) -> None:
    """The message is on the screens of those who are in the chat: `to` is the chat's id."""
    wire = message.wire
    tg.world.reached(
        Reached(
            network=tg.name,
            endpoint=bot.token,
            person=str(place.id),
            external_id=str(message.id),
            kind=kind_of(wire),
            text=wire.get("text") or wire.get("caption") or "",
            buttons=markups.tappable(markup),
            content=wire,
        )
    )


def replace(tg: Telegram, bot: Bot, place: Place, message: Message, wire: Wire) -> None:
    """An edit: the new object takes the old one's place, and screens change."""
    message.wire = wire
    fields = {
        "endpoint": bot.token,
        "to": str(place.id),
        "external_id": str(message.id),
        "text": wire.get("text") or wire.get("caption") or "",
        "buttons": markups.tappable(wire.get("reply_markup")),
        "content": wire,
    }
    tg.world.log.add(tg.name, "edit", fields)
    tg.world.show("edited", tg.name, **fields)


def remove(tg: Telegram, bot: Bot, place: Place, message_id: int) -> None:
    place.history.pop(message_id)
    for pinned in (place.dialog.pinned, place.chat.pinned if place.chat is not None else []):
        if message_id in pinned:
            pinned.remove(message_id)
    fields = {"endpoint": bot.token, "to": str(place.id), "external_id": str(message_id)}
    tg.world.log.add(tg.name, "delete", fields)
    tg.world.show("deleted", tg.name, **fields)


def tell_other_bots(tg: Telegram, chat: Chat, author_id: int, kind: str, wire: Wire) -> list[int]:
    """Other bots in a channel see its posts; gives the update ids."""
    ids: list[int] = []
    for user_id, member in chat.members.items():
        other = tg.bots_by_id.get(user_id)
        if other is not None and user_id != author_id and member.admin:
            update_id = other.updates.push(kind, wire, chat.id)
            if update_id is not None:
                ids.append(update_id)
    return ids
