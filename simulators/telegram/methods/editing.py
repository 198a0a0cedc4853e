"""Changing and deleting what was sent."""

from __future__ import annotations

from typing import Any

from simulators.telegram.calls import Call, method
from simulators.telegram.errors import NOT_MODIFIED, bad
from simulators.telegram.methods.forwarding import message_ids
from simulators.telegram.methods.media import KINDS, album_item, read_caption
from simulators.telegram.methods.sending import CAPTION_LIMIT, TEXT_LIMIT
from simulators.telegram.methods.texts import read_text
from simulators.telegram.places import Place
from simulators.telegram.posting import kind_of, remove, replace
from simulators.telegram.state import Message, Wire

DELETE_WITHIN_S = 48 * 3600
MEDIA_FIELDS = (*KINDS, "has_media_spoiler")
SERVICE_FIELDS = (
    "new_chat_members",
    "left_chat_member",
    "migrate_to_chat_id",
    "migrate_from_chat_id",
    "pinned_message",
)


def _editable(call: Call) -> tuple[Place, Message]:
    """The bot's own message that a call names, or one in a channel where it may edit others'."""
    place = call.accessible()
    message = call.message(place, "message to edit not found")
    own = message.bot_id == call.bot.id
    if not own and not (
        place.chat is not None and place.chat.type == "channel" and _may(call, place, "can_edit_messages")
    ):
        raise bad("message can't be edited")
    if kind_of(message.wire) == "service" or "forward_origin" in message.wire:
        raise bad("message can't be edited")
    return place, message


def _may(call: Call, place: Place, right: str) -> bool:
    return place.chat is not None and place.chat.member(call.bot.id).may(right)


def _changed(call: Call, place: Place, message: Message, wire: Wire, markup: Wire | None) -> Wire:
    """Put the new message in its place; the buttons stay only if they were sent again."""
    wire.pop("reply_markup", None)
    if markup is not None:
        if "inline_keyboard" not in markup:
            raise bad("inline keyboard expected")
        if markup["inline_keyboard"]:
            wire["reply_markup"] = markup
    if _bare(wire) == _bare(message.wire):
        raise bad(NOT_MODIFIED)
    wire["edit_date"] = call.tg.world.clock.now_s()
    replace(call.tg, call.bot, place, message, wire)
    return wire


def _bare(wire: Wire) -> Wire:
    return {key: value for key, value in wire.items() if key != "edit_date"}


def _inline(call: Call) -> bool:
    """Messages sent through inline mode have no place in this world; the call names one or gives too little."""
    if call.params.has("inline_message_id"):
        raise bad("MESSAGE_ID_INVALID")
    if not call.params.has("message_id") and call.params.has("chat_id"):
        raise bad("message identifier is not specified")
    return False


@method("editMessageText")
def edit_message_text(call: Call) -> Wire:
    _inline(call)
    content = read_text(call)
    markup = call.markup()
    place, message = _editable(call)
    if "text" not in message.wire:
        raise bad("there is no text in the message to edit")
    if len(content["text"]) > TEXT_LIMIT:
        raise bad("MESSAGE_TOO_LONG")
    kept = {
        key: value
        for key, value in message.wire.items()
        if key not in ("text", "entities", "link_preview_options")
    }
    return _changed(call, place, message, {**kept, **content}, markup)


@method("editMessageCaption")
def edit_message_caption(call: Call) -> Wire:
    _inline(call)
    caption = read_caption(call.params.values, call)
    markup = call.markup()
    place, message = _editable(call)
    if kind_of(message.wire) not in ("photo", "video", "animation", "document", "audio", "voice"):
        raise bad("there is no caption in the message to edit")
    if caption.length > CAPTION_LIMIT:
        raise bad("message caption is too long")
    dropped = ("caption", "caption_entities", "show_caption_above_media")
    kept = {key: value for key, value in message.wire.items() if key not in dropped}
    return _changed(call, place, message, {**kept, **caption.content}, markup)


@method("editMessageMedia")
async def edit_message_media(call: Call) -> Wire:
    _inline(call)
    given: Any = call.params.json("media", "can't parse media JSON object")
    kinds = ("photo", "video", "animation", "audio", "document")
    _, content, caption = await album_item(call, given, kinds)
    markup = call.markup()
    place, message = _editable(call)
    if caption.length > CAPTION_LIMIT:
        raise bad("message caption is too long")
    dropped = (*MEDIA_FIELDS, "text", "entities", "caption", "caption_entities", "show_caption_above_media")
    kept = {key: value for key, value in message.wire.items() if key not in dropped}
    return _changed(call, place, message, {**kept, **content, **caption.content}, markup)


@method("editMessageReplyMarkup")
def edit_message_reply_markup(call: Call) -> Wire:
    _inline(call)
    markup = call.markup()
    place, message = _editable(call)
    return _changed(call, place, message, dict(message.wire), markup)


@method("deleteMessage")
def delete_message(call: Call) -> bool:
    if not call.params.integer("message_id"):
        raise bad("message identifier is not specified")
    place = call.accessible()
    message = call.message(place, "message to delete not found")
    if not _deletable(call, place, message):
        raise bad("message can't be deleted")
    remove(call.tg, call.bot, place, message.id)
    return True


@method("deleteMessages")
def delete_messages(call: Call) -> bool:
    """Those that are there and may be deleted go; the others are passed over."""
    ids = message_ids(call)
    place = call.accessible()
    for message_id in ids:
        message = place.history.get(message_id)
        if message is not None and _deletable(call, place, message):
            remove(call.tg, call.bot, place, message_id)
    return True


def _deletable(call: Call, place: Place, message: Message) -> bool:
    """Within 48 hours: its own, or anything in a private chat; with the right in a group or channel, anything."""
    if place.chat is not None and _may(call, place, "can_delete_messages"):
        return True
    if any(field in message.wire for field in SERVICE_FIELDS) and place.chat is not None:
        return False
    age = call.tg.world.clock.now() - message.wire["date"]
    if age > DELETE_WITHIN_S:
        return False
    if place.chat is not None and place.chat.type == "channel":
        return message.bot_id == call.bot.id and _may(call, place, "can_post_messages")
    return place.private or message.bot_id == call.bot.id
