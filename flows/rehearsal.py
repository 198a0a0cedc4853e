"""A rehearsal: one contact talks to flows on a virtual clock, without channel, store or network.

`player` (for people and scripts) and `dialogues` (for tests) are two ways to drive it. It applies the effects itself,
as the runtime does, so that what the flow says it did is what counts; timers fire when the clock passes them, and the
platform accepts every message at once.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from typing import Any

import msgspec

from domain import durations
from domain.contacts import ContactView
from domain.effects import CallHttp, Effect, PatchContact, RecordConsent, SendMessage, SetTimer
from domain.errors import RejectedInput
from domain.events import Event, HttpAnswered, MessageReceived, Origin, Person, Place, TimerDue
from domain.messages import (
    Content,
    MediaKind,
    Received,
    ReceivedContact,
    ReceivedLocation,
    ReceivedMedia,
    ReceivedText,
    Tap,
)
from flows import changes, channel, engine, starting, state
from flows.business import BusinessView
from flows.happenings import Happening
from flows.state import Cause
from flows.triggers import Occasion, Trigger
from flows.triggers.no_answer import NoAnswerTrigger
from flows.triggers.schedule import ScheduleTrigger
from flows.versions import CompiledFlow, pinned

START_AT = 1_767_602_400_000  # Monday, 5 January 2026, 08:40 UTC: rehearsals give the same words every day
MAX_CHAIN = 5  # flows that start one another: as where people are (`bot.triggering`)
MAX_TIMERS = 1_000  # fired in one jump of the clock: a reminder every hour for a month


class Rehearsal:
    """One contact, one channel, some flows. `flows` in their order of trust, the first is the one to play."""

    def __init__(
        self,
        flows: Sequence[CompiledFlow],
        *,
        channel_kind: str,
        language: str | None,
        contact: ContactView,
        business: BusinessView,
        now: int = START_AT,
        seed: int = 1,
        new: bool = True,
    ) -> None:
        self.flows = list(flows)
        self.library: Mapping[str, CompiledFlow] = {flow.key: flow for flow in reversed(self.flows)}
        self.channel_kind = channel_kind
        self.channel = channel.sample(channel_kind)
        self.language = language
        self.contact = contact
        self.business = business
        self.now = now
        self.seed = seed
        self.state: state.SessionState | None = None
        self.last_state: state.SessionState | None = None  # of the session that ended last
        self.messages: list[Content] = []  # of the last turn
        self.effects: list[Effect] = []  # of the last turn
        self.faults: list[str] = []  # expressions that went wrong in it
        self.happened: list[Effect] = []  # of all turns: what is neither said nor a timer
        self.outcome = ""  # of the session that ended last
        self.call: CallHttp | None = None  # waits for its answer
        self.last_call: CallHttp | None = None
        self._held: list[Callable[[], object]] = []  # what the contact did while a call was under way
        self._timers: list[SetTimer] = []
        self._silences: list[tuple[int, starting.Match]] = []  # `no_answer` triggers, by when they are due
        self._raised: list[tuple[Occasion, int]] = []  # what the turn changed, with how many flows led to it
        self._doors = starting.Doors(self.flows, channel_kind)
        self._listens = False  # whether triggers are asked at all: dialogues do, players do not
        self._events = 0
        self._wrote = not new  # whether the contact has ever written here

    @property
    def ended(self) -> bool:
        """Whether no session is there."""
        return self.state is None

    def begin(self, flow: CompiledFlow | None = None) -> None:
        """Starts a flow (the first, if none is named) as a turn."""
        self._new_turn()
        self._start(flow or self.flows[0])
        self._react()
        self._react()

    def hear(self, content: Received, *, deep_link: str | None = None) -> bool:
        """The contact sends something: triggers first, then the session. False when neither cared."""
        self._new_turn()
        self._listens = True
        event = self._event(content, deep_link)
        if self.call is not None:
            self._held.append(lambda: self._heard(event, deep_link))
            return True
        return self._heard(event, deep_link)

    def _heard(self, event: MessageReceived, deep_link: str | None) -> bool:
        occasion = starting.heard(event, first_message=not self._wrote)
        found = self._doors.find(occasion, session_waiting=self.state is not None)
        self._wrote = True
        self._silences.clear()
        if found is not None and self._interruptible() and not self._is_choice(found, event.content):
            variables = {**occasion.data, **found.variables}
            self._start(found.flow, variables, event.content, language=found.language)
            heard = True
        else:
            heard = self._advance(event)
        self._await_answer()
        self._react()
        return heard

    def _is_choice(self, found: starting.Match, content: Received) -> bool:
        """Whether a keyword is what the question that waits offers itself."""
        if self.state is None or found.kind != "keyword":
            return False
        flow = pinned(self.library, self.state.flow, self.state.version)
        return flow is not None and engine.is_choice(flow, self.state, content)

    def occur(self, happening: Happening) -> None:
        """Something happens beside messages: it changes the contact and starts what hears it."""
        self._new_turn()
        self._listens = True
        self.contact = patched(self.contact, happening.patch)
        consents = {**self.contact.consents, **happening.consents}
        self.contact = msgspec.structs.replace(self.contact, consents=consents)
        self._raised = [(happening.occasion, 0)]
        self._react()

    def _react(self) -> None:
        """What the turn has changed starts what it starts; a chain of flows that start one another ends."""
        while self._raised and self._listens:
            occasion, chain = self._raised.pop(0)
            found = self._doors.find(occasion, session_waiting=self.state is not None)
            if found is None or not self._means(found.trigger):
                continue
            if chain <= MAX_CHAIN and self._interruptible():
                self._start(found.flow, found.variables, cause=Cause(kind=found.kind, chain=chain))
        self._raised.clear()

    def _interruptible(self) -> bool:
        if self.state is None:
            return True
        inside = [pinned(self.library, flow, version) for flow, version in self.state.versions()]
        return all(flow is None or flow.document.interruptible for flow in inside)

    def _means(self, trigger: Trigger) -> bool:
        return not isinstance(trigger, ScheduleTrigger) or trigger.means(self.contact, self.now)

    def _await_answer(self) -> None:
        if self.messages:
            self._silences = [
                (
                    self.now + trigger.span_ms,
                    starting.Match(flow, trigger.type, trigger.no_answer, trigger, {}),
                )
                for flow, trigger in self._doors.of_kind("no_answer")
                if isinstance(trigger, NoAnswerTrigger)
            ]

    def _silent(self, match: starting.Match) -> None:
        waits = self.state.waiting if self.state is not None else ""
        fits = match.trigger.fits(Occasion(kind="no_answer", value=waits)) is not None
        if fits and (not waits or match.trigger.may_interrupt) and self._interruptible():
            self._start(match.flow, cause=Cause(kind=match.kind, chain=1))
            self._react()

    def answer(self, content: Received) -> bool:
        """The contact sends something to the session alone; triggers are not asked. False when it did not care."""
        self._new_turn()
        event = self._event(content, None)
        if self.call is not None:
            self._held.append(lambda: self._advance(event))
            return True
        return self._advance(event)

    def answer_call(self, status: int, body: str = "", problem: str = "") -> bool:
        """The call that waits comes back; what was held goes on behind it. False when none waits. `status` 0: it
        failed."""
        call = self.call
        if call is None:
            return False
        self._new_turn()
        answer = HttpAnswered(
            key=f"call:{call.visit}",
            occurred_at=self.now,
            conversation_id=0,
            session_id=0,
            step_id=call.step_id,
            visit=call.visit,
            status=status,
            body=body,
            problem=problem or ("" if status else "unreachable"),
        )
        self._advance(answer)
        self._go_on()
        return True

    def _go_on(self) -> None:
        """What was held while a call was under way, until the next one."""
        while self._held and self.call is None:
            self._held.pop(0)()

    def pass_time(self, span_ms: int) -> None:
        """Moves the clock on; what falls due on the way happens at its time, all as one turn."""
        self._new_turn()
        until = self.now + span_ms
        for _ in range(MAX_TIMERS):
            due = min(self._timers, key=lambda timer: timer.due_at, default=None)
            silence = min(self._silences, key=lambda one: one[0], default=None)
            if silence is not None and silence[0] <= min(until, due.due_at if due is not None else until):
                self._silences.remove(silence)
                self.now = max(self.now, silence[0])
                self._silent(silence[1])
                continue
            if due is None or due.due_at > until:
                break
            self._timers.remove(due)
            self.now = max(self.now, due.due_at)
            event = TimerDue(
                key=f"timer:{due.visit}",
                timer_id=0,
                conversation_id=0,
                session_id=0,
                step_id=due.step_id,
                visit=due.visit,
                purpose=due.purpose,
            )
            self._advance(event)
            self._react()
            self._go_on()
        self.now = until

    def _new_turn(self) -> None:
        self.messages, self.effects, self.faults = [], [], []

    def _event(self, content: Received, deep_link: str | None) -> MessageReceived:
        self._events += 1
        return MessageReceived(
            key=f"rehearsal:{self._events}",
            person=Person(ids=()),
            origin=Origin(Place.private, "rehearsal"),
            content=content,
            deep_link=deep_link,
            occurred_at=self.now,
        )

    def _start(
        self,
        flow: CompiledFlow,
        variables: Mapping[str, Any] | None = None,
        received: Received | None = None,
        *,
        language: str = "",
        cause: Cause | None = None,
    ) -> None:
        self._timers.clear()
        transition = engine.start(
            flow,
            contact=self.contact,
            now=self.now,
            seed=self._seed(),
            channel_kind=self.channel_kind,
            business=self.business,
            language=language or self.language,
            variables=variables,
            library=self.library,
            channel=self.channel,
            received=received,
            cause=cause,
        )
        self._take(transition)

    def _advance(self, event: Event) -> bool:
        if self.state is None:
            return False
        flow = pinned(self.library, self.state.flow, self.state.version)
        assert flow is not None, self.state.flow
        before = state.decode(state.encode(self.state))  # as it comes from its row
        transition = engine.advance(
            flow,
            before,
            event,
            contact=self.contact,
            now=self.now,
            seed=self._seed(),
            channel_kind=self.channel_kind,
            business=self.business,
            library=self.library,
            channel=self.channel,
        )
        if transition.handled:
            self._take(transition)
        return transition.handled

    def _seed(self) -> int:
        self.seed += 1
        return self.seed

    def _take(self, transition: engine.Transition) -> None:
        self.call = None
        before = self.contact
        self.effects.extend(transition.effects)
        self.faults.extend(transition.faults)
        for effect in transition.effects:
            self._apply(effect)
        if self._listens:
            cause = transition.state.cause
            chain = 1 + (cause.chain if cause is not None else 0)
            changed = changes.of_turn(before, self.contact, transition.effects)
            self._raised += [(occasion, chain) for occasion in changed]
        if transition.expires_at:
            at = transition.state
            self._timers.append(SetTimer(at.step, at.visit, state.EXPIRE, due_at=transition.expires_at))
        self.state = None if transition.ended else transition.state
        if transition.ended:
            self.last_state = transition.state
            self.outcome = transition.outcome
            self._timers.clear()

    def _apply(self, effect: Effect) -> None:
        match effect:
            case SendMessage(content=content):
                self.messages.append(content)
            case PatchContact():
                self.contact = patched(self.contact, effect)
            case RecordConsent(purpose=purpose, action=action):
                consents = self.contact.consents
                if action != "asked" or purpose not in consents:  # being asked again ends nothing
                    self.contact = msgspec.structs.replace(
                        self.contact, consents={**consents, purpose: action}
                    )
            case SetTimer():
                self._timers.append(effect)
            case CallHttp():
                self.call = self.last_call = effect
            case _:
                self.happened.append(effect)  # for people, who are not here


def patched(contact: ContactView, patch: PatchContact) -> ContactView:
    """The contact after a patch, as its row will be."""
    fields = dict(contact.fields)
    columns: dict[str, Any] = {}
    for key, value in patch.set.items():
        if not key.startswith("fields."):
            columns[key] = "" if value is None and key.endswith("name") else value
        elif value is None:
            fields.pop(key[7:], None)
        else:
            fields[key[7:]] = value
    for key, by in patch.increment.items():
        old = fields.get(key[7:])
        fields[key[7:]] = (old if isinstance(old, (int, float)) and not isinstance(old, bool) else 0) + by
    tags = (contact.tags | set(patch.add_tags)) - set(patch.remove_tags)
    return msgspec.structs.replace(contact, fields=fields, tags=tags, **columns)


def received(data: Mapping[str, Any], shown: Sequence[Content], *, where: str) -> Received:
    """What a contact sends, from its short form: `{"text": …}`, `{"tap": option id or text}`,
    `{"location": {lat, lon}}`, `{"file": {kind, name}}`, `{"contact": {phone}}`.

    `shown` are the messages with buttons a tap may mean. Raises RejectedInput naming `where`.
    """
    match dict(data):
        case {"text": str(text)}:
            return ReceivedText(text)
        case {"tap": (str() | int() | float()) as wanted}:
            return _tap(str(wanted), shown)
        case {
            "location": {
                "lat": (int() | float() | str()) as lat,
                "lon": (int() | float() | str()) as lon,
                **rest,
            }
        }:
            with suppress(ValueError):  # YAML leaves 45.4640 as it is written
                return ReceivedLocation(float(lat), float(lon), name=str(rest.get("name", "")))
        case {"file": {"kind": str(kind), **rest}} if kind in MediaKind.__members__:
            name = str(rest["name"]) if "name" in rest else None
            return ReceivedMedia(MediaKind(kind), platform_id=f"rehearsal-{name or kind}", filename=name)
        case {"contact": {"phone": (str() | int()) as phone, **rest}}:
            return ReceivedContact(str(phone), name=str(rest.get("name", "")), own=True)
    forms = "text, tap, location {lat, lon}, file {kind, name}, contact {phone}"
    raise RejectedInput(f"is none of {forms}", where=where)


def _tap(wanted: str, shown: Sequence[Content]) -> Tap:
    """The button with that id or text, on the newest message first; else a tap on a button from some time ago."""
    for content in reversed(shown):
        for button in getattr(content, "buttons", ()):
            if button.url is None and wanted in (button.id, button.title):
                return Tap(button.id, button.title)
    return Tap(wanted, wanted)


def span(text: Any, *, where: str) -> int:
    """Milliseconds of `2 days`."""
    return durations.parse(text, where=where)
