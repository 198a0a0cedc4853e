"""Copies and forwards."""

from __future__ import annotations

from itertools import pairwise

from simulators.telegram import places
from simulators.telegram.calls import Call, method
from simulators.telegram.errors import bad
from simulators.telegram.methods.media import read_caption
from simulators.telegram.methods.sending import CAPTION_LIMIT, reply_parameters, send, spend
from simulators.telegram.places import Place
from simulators.telegram.posting import CONTENT_KINDS, kind_of, post
from simulators.telegram.state import Message, Wire

IDS_LIMIT = 100
# What of a message is its content, to be taken over by a copy.
CONTENT_FIELDS = (
    *CONTENT_KINDS,
    "entities",
    "caption",
    "caption_entities",
    "show_caption_above_media",
    "has_media_spoiler",
    "link_preview_options",
)
NOT_COPIED = ("service", "invoice")


def message_ids(call: Call) -> list[int]:
    """`message_ids`: 1–100, strictly rising."""
    given = call.params.json("message_ids", "can't parse message identifiers JSON object")
    if not isinstance(given, list) or not given:
        raise bad("message identifiers are not specified")
    if len(given) > IDS_LIMIT:
        raise bad("too many message identifiers specified")
    ids: list[int] = []
    for each in given:
        try:
            ids.append(int(each))
        except (TypeError, ValueError) as error:
            raise bad("invalid message identifier specified") from error
    if any(later <= earlier for earlier, later in pairwise(ids)):
        raise bad("message identifiers must be in a strictly increasing order")
    return ids


def _source(call: Call) -> Place:
    source = call.place("from_chat_id")
    places.check_access(call.bot, source)
    return source


def _content(message: Message) -> Wire:
    return {field: message.wire[field] for field in CONTENT_FIELDS if field in message.wire}


@method("copyMessage")
def copy_message(call: Call) -> Wire:
    """A new message with the same content; the caption may be another, buttons never come along. Gives only the id."""
    reply, markup = reply_parameters(call), call.markup()
    source = _source(call)
    message = call.message(source, "message to copy not found")
    kind = kind_of(message.wire)
    if kind in NOT_COPIED:
        raise bad("message can't be copied")
    if message.protected:
        raise bad("message has protected content and can't be copied")
    content = _content(message)
    if call.params.has("caption") and kind not in ("text", "sticker", "poll", "location", "contact"):
        caption = read_caption(call.params.values, call)
        if caption.length > CAPTION_LIMIT:
            raise bad("message caption is too long")
        content.pop("caption", None)
        content.pop("caption_entities", None)
        content |= caption.content
    sent = send(call, call.place(), kind, content, markup=markup, reply=reply)
    return {"message_id": sent["message_id"]}


@method("forwardMessage")
def forward_message(call: Call) -> Wire:
    source = _source(call)
    message = call.message(source, "message to forward not found")
    _check_forward(message)
    place = call.place()
    return send(
        call, place, kind_of(message.wire), _content(message), markup=None, reply=None, head=_origin(message)
    )


def _check_forward(message: Message) -> None:
    if message.protected:
        raise bad("message has protected content and can't be forwarded")
    if kind_of(message.wire) == "service":
        raise bad("message can't be forwarded")


def _origin(message: Message) -> Wire:
    wire = message.wire
    if "forward_origin" in wire:
        return {"forward_origin": wire["forward_origin"]}
    if "sender_chat" in wire:
        origin = {
            "type": "channel",
            "chat": wire["sender_chat"],
            "message_id": message.id,
            "date": wire["date"],
        }
    else:
        origin = {"type": "user", "sender_user": wire["from"], "date": wire["date"]}
    return {"forward_origin": origin}


@method("copyMessages")
def copy_messages(call: Call) -> list[Wire]:
    """Those that can be copied; albums stay albums. Missing ones are passed over, unless all are."""
    return _many(call, "copy")


@method("forwardMessages")
def forward_messages(call: Call) -> list[Wire]:
    return _many(call, "forward")


def _many(call: Call, verb: str) -> list[Wire]:
    ids = message_ids(call)
    source = _source(call)
    place = call.place()
    found = [message for each in ids if (message := source.history.get(each)) is not None]
    usable = [each for each in found if not each.protected and kind_of(each.wire) not in NOT_COPIED]
    if not usable:
        raise bad(f"there are no messages to {verb}")
    for message in usable:
        places.check_send(call.bot, place, kind_of(message.wire))
    spend(call, place, len(usable))
    groups: dict[str, str] = {}
    sent: list[Wire] = []
    for message in usable:
        head = _origin(message) if verb == "forward" else {}
        album = message.wire.get("media_group_id")
        if album is not None:
            head["media_group_id"] = groups.setdefault(
                album, str(call.tg.world.rng.randrange(10**16, 10**17))
            )
        new = post(
            call.tg,
            call.bot,
            place,
            _content(message),
            protected=call.params.flag("protect_content"),
            head=head,
        )
        sent.append({"message_id": new.id})
    return sent
