"""Which flow an occasion starts, and what it may interrupt.

Who wins, from above; within a row `priority` decides, then the more precise trigger, then the order of the flows:

1. STOP, the platforms' opt-outs, `/privacy`, `/mydata`, `/forget`: no flow hears them.
2. `deep_link`, then `referral`: the person came in through the door once more, whatever session waits.
3. `/start` without a link that anybody asks for: a keyword `/start`, else `first_message`, else `fallback`.
4. `keyword` with `interrupts: true`, unless the question that waits offers the same words (`engine.is_choice`).
5. The session that waits for an answer.
6. `keyword` (exact before prefix, contains, regex, fuzzy), then `campaign_reply`, `first_message`, `fallback`: where no
   session waits, or one that waits only for a time, which goes on when that has come.

What is no message (a tag, a field, consent, feedback, an event, a schedule …) starts a flow where no session waits, or
with `interrupts: true`; `no_answer` ends a question that waits by itself. A flow with `interruptible: false` is left in
peace by all of them while somebody is inside; STOP, the built-in words and people of the business end it all the same.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from domain.events import MessageReceived
from domain.messages import ReceivedText, Tap
from flows.options import plain
from flows.triggers import ELSE, FIRST, WORDS, Fit, Occasion, Trigger
from flows.triggers.keyword import START, KeywordTrigger
from flows.versions import CompiledFlow


@dataclass(frozen=True, slots=True)
class Match:
    """The flow to start. `kind` is the trigger's type; `value` what it matched; `variables` the session's first ones;
    `language` that of the words, where the author said so."""

    flow: CompiledFlow
    kind: str
    value: str
    trigger: Trigger
    variables: Mapping[str, Any]
    language: str = ""


@dataclass(frozen=True, slots=True)
class _Entry:
    order: int
    flow: CompiledFlow
    trigger: Trigger


class Doors:
    """Everything that may start a flow on one channel, in order; made once for the flows that are published there."""

    __slots__ = ("_exact", "_kinds", "_others", "_types")

    def __init__(self, flows: Iterable[CompiledFlow], channel_kind: str) -> None:
        found = [
            (flow, trigger)
            for flow in flows
            for trigger in flow.document.triggers
            if not trigger.channels or channel_kind in trigger.channels
        ]
        found.sort(key=lambda one: (-one[1].rank, -one[1].priority, -one[1].precision))
        self._kinds: dict[str, list[_Entry]] = {}
        self._exact: dict[
            str, list[_Entry]
        ] = {}  # exact keywords by their words: most triggers, found at once
        self._others: list[_Entry] = []  # what else hears messages
        for order, (flow, trigger) in enumerate(found):
            entry = _Entry(order, flow, trigger)
            self._kinds.setdefault(trigger.hears, []).append(entry)
            if isinstance(trigger, KeywordTrigger) and trigger.match == "exact":
                for words in trigger.folded:
                    self._exact.setdefault(words, []).append(entry)
            elif trigger.hears == "message":
                self._others.append(entry)
        self._types = {entry.trigger.type for entry in self._others}

    def of_kind(self, hears: str) -> list[tuple[CompiledFlow, Trigger]]:
        """The triggers that hear one kind of occasion, in order; empty: nobody cares, and it need not be raised."""
        return [(entry.flow, entry.trigger) for entry in self._kinds.get(hears, ())]

    def wants(self, type: str) -> bool:
        """Whether there is a trigger of that type for messages (see `of_kind` for the others)."""
        return type in self._types

    def hears(self, *kinds: str) -> bool:
        """Whether anybody hears one of these kinds of occasions."""
        return any(kind in self._kinds for kind in kinds)

    def find(self, occasion: Occasion, *, session_waiting: bool) -> Match | None:
        """The flow that the occasion starts, or None."""
        if occasion.kind != "message":
            return _first(self._kinds.get(occasion.kind, ()), occasion, session_waiting)
        if occasion.start and not _came_by_link(self._others, occasion):
            return self._by_start(occasion)
        best: _Entry | None = None
        for entry in self._exact.get(occasion.words, ()):
            if not session_waiting or entry.trigger.may_interrupt:
                best = entry
                break
        for entry in self._others:
            if best is not None and entry.order > best.order:
                break
            if session_waiting and not entry.trigger.may_interrupt:
                continue
            fit = entry.trigger.fits(occasion)
            if fit is not None:
                return _match(entry, fit)
        fit = best.trigger.fits(occasion) if best is not None else None
        return _match(best, fit) if best is not None and fit is not None else None

    def _by_start(self, occasion: Occasion) -> Match | None:
        for entry in self._exact.get(START, ()):
            return _match(entry, Fit(START))
        for rank in (FIRST, ELSE):
            for entry in self._others:
                if entry.trigger.rank == rank and (fit := entry.trigger.fits(occasion)) is not None:
                    return _match(entry, fit)
        return None


def _first(entries: Sequence[_Entry], occasion: Occasion, session_waiting: bool) -> Match | None:
    for entry in entries:
        if session_waiting and not entry.trigger.may_interrupt:
            continue
        fit = entry.trigger.fits(occasion)
        if fit is not None:
            return _match(entry, fit)
    return None


def _came_by_link(entries: Sequence[_Entry], occasion: Occasion) -> bool:
    return any(entry.trigger.rank > WORDS and entry.trigger.fits(occasion) is not None for entry in entries)


def _match(entry: _Entry, fit: Fit) -> Match:
    return Match(entry.flow, entry.trigger.type, fit.value, entry.trigger, fit.variables, fit.language)


def heard(
    event: MessageReceived, *, first_message: bool, campaign: tuple[str, ...] = (), answered_after: int = 0
) -> Occasion:
    """A message as triggers see it. `first_message`: the contact never wrote here before; `campaign`: name and id of
    the one that is answered, `answered_after` ms."""
    content = event.content
    text = ""
    match content:
        case ReceivedText(text=written):
            text = written
        case Tap(title=title):
            text = title
    start = isinstance(content, ReceivedText) and text.split(" ", 1)[0] == START
    variables: dict[str, Any] = {}
    if event.deep_link:
        variables["deep_link"] = event.deep_link
    if event.referral is not None:
        variables["referral"] = event.referral.source_id or event.referral.source
    return Occasion(
        kind="message",
        text=text,
        words=plain(text) if text else "",
        deep_link=event.deep_link or "",
        referral=event.referral,
        first=first_message,
        start=start,
        campaign=campaign,
        value=answered_after,
        data=variables,
    )
