"""What all sending methods share: the order of checks, replies, and the options of a message."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from simulators.telegram import markup as markups
from simulators.telegram import places
from simulators.telegram.calls import Call
from simulators.telegram.errors import bad
from simulators.telegram.params import to_int
from simulators.telegram.places import Place
from simulators.telegram.posting import post
from simulators.telegram.state import Message, Wire

CAPTION_LIMIT = 1024
TEXT_LIMIT = 4096


def reply_parameters(call: Call) -> Mapping[str, Any] | None:
    """`reply_parameters`, or the older `reply_to_message_id` in its shape."""
    values = call.params.values
    if values.get("reply_parameters"):
        given = call.params.json("reply_parameters", "can't parse reply parameters JSON object")
        if not isinstance(given, dict):
            raise bad("object expected as reply parameters")
        return given if to_int(given.get("message_id")) else None
    message_id = call.params.integer("reply_to_message_id") if "reply_to_message_id" in values else 0
    if not message_id:
        return None
    return {
        "message_id": message_id,
        "allow_sending_without_reply": call.params.flag("allow_sending_without_reply"),
    }


def replied_to(place: Place, given: Mapping[str, Any] | None) -> Message | None:
    """The message that is answered; raises 400 when it is gone, unless the call does not mind."""
    if given is None:
        return None
    found = place.history.get(to_int(given["message_id"]))
    if found is None and not given.get("allow_sending_without_reply"):
        raise bad("message to be replied not found")
    return found


def send(
    call: Call,
    place: Place,
    kind: str,
    content: Wire,
    *,
    markup: Wire | None,
    reply: Mapping[str, Any] | None,
    head: Mapping[str, Any] | None = None,
) -> Wire:
    """Rights, reply, flood, and off it goes: the sent Message."""
    params = call.params
    places.check_send(call.bot, place, kind)
    markups.check_place(markup, place.private)
    if "message_thread_id" in params.values and (topic := topic_of(call, place)):
        head = {**(head or {}), **topic}
    answered = replied_to(place, reply)
    spend(call, place)
    if params.values.get("message_effect_id") and place.private:
        content["effect_id"] = params.text("message_effect_id")
    return post(
        call.tg,
        call.bot,
        place,
        content,
        markup=markup,
        reply_to=answered,
        protected="protect_content" in params.values and params.flag("protect_content"),
        head=head,
    ).wire


def topic_of(call: Call, place: Place) -> Wire:
    """The topic of a forum that the call names; raises 400 when there is none of that number."""
    number = call.params.integer("message_thread_id")
    if not number:
        return {}
    if place.chat is None or number not in place.chat.topics:
        raise bad("message thread not found")
    return {"message_thread_id": number, "is_topic_message": True}


def spend(call: Call, place: Place, count: int = 1) -> None:
    paid = "allow_paid_broadcast" in call.params.values and call.params.flag("allow_paid_broadcast")
    call.tg.limits.spend(call.bot, place.id, count, paid=paid)
