"""Triggers: which flow an event starts, and what may interrupt a session that waits.

Order of trust: deep link, keyword, first message, fallback; within one kind, the order of the flows. A waiting
session hears what is written itself, except for
* a deep link that some flow asks for, and `/start`: the person came in through the door once more;
* keywords of a trigger with `interrupts: true`.
First message and fallback never interrupt.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from domain.events import Event, MessageReceived
from domain.messages import ReceivedText, Tap
from flows.document import Trigger
from flows.options import plain
from flows.versions import CompiledFlow

START = "/start"  # what Telegram sends when somebody opens the bot


@dataclass(frozen=True, slots=True)
class Match:
    """The flow to start. `kind` is deep_link, keyword, first_message or fallback; `value` the payload or words."""

    flow: CompiledFlow
    kind: str
    value: str


def find(
    flows: Sequence[CompiledFlow],
    event: Event,
    *,
    first_message: bool,
    session_waiting: bool,
    channel_kind: str,
) -> Match | None:
    """The flow that the event starts, or None. `flows` are those published on the channel, in their order of trust;
    `first_message`: the contact never wrote here before; `session_waiting`: a session waits in this conversation."""
    if not isinstance(event, MessageReceived):
        return None
    here = [
        (flow, trigger)
        for flow in flows
        for trigger in flow.document.triggers
        if not trigger.channels or channel_kind in trigger.channels
    ]
    return (
        _by_deep_link(here, event)
        or _by_start(here, event)
        or _by_keyword(here, event, session_waiting)
        or (None if session_waiting else _unspecific(here, event, first_message))
    )


Here = list[tuple[CompiledFlow, Trigger]]


def _by_deep_link(here: Here, event: MessageReceived) -> Match | None:
    if not event.deep_link:
        return None
    for flow, trigger in here:
        if trigger.deep_link is not None and _fits(trigger.deep_link, event.deep_link):
            return Match(flow, "deep_link", event.deep_link)
    return None


def _by_start(here: Here, event: MessageReceived) -> Match | None:
    """`/start`: the flow with that keyword, else the one for first messages, else the fallback."""
    content = event.content
    if not isinstance(content, ReceivedText) or content.text.split(" ", 1)[0] != START:
        return None
    by_word = next((flow for flow, trigger in here if START in trigger.keyword), None)
    if by_word is not None:
        return Match(by_word, "keyword", START)
    return _unspecific(here, event, True)


def _by_keyword(here: Here, event: MessageReceived, session_waiting: bool) -> Match | None:
    words = _words(event)
    if not words:
        return None
    for flow, trigger in here:
        if words not in flow.keywords or (session_waiting and not trigger.interrupts):
            continue
        if any(plain(keyword) == words for keyword in trigger.keyword):
            return Match(flow, "keyword", words)
    return None


def _unspecific(here: Here, event: MessageReceived, first_message: bool) -> Match | None:
    kinds = ("first_message", "fallback") if first_message else ("fallback",)
    for kind in kinds:
        for flow, trigger in here:
            if trigger.kind == kind:
                return Match(flow, kind, _words(event))
    return None


def _words(event: MessageReceived) -> str:
    match event.content:
        case ReceivedText(text=text) | Tap(title=text):
            return plain(text)
        case _:
            return ""


def _fits(pattern: str, payload: str) -> bool:
    """Whether `promo-*` fits; * stands for anything. Each piece is looked for once, so it is linear."""
    first, *middle = pattern.split("*")
    if not middle:
        return payload == first
    last = middle.pop()
    if len(payload) < len(first) + len(last) or not (payload.startswith(first) and payload.endswith(last)):
        return False
    at, end = len(first), len(payload) - len(last)
    for piece in middle:
        at = payload.find(piece, at, end)
        if at < 0:
            return False
        at += len(piece)
    return True
