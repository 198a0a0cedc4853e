"""Replay: a conversation that has been is played again, on the version that it ran on or on another.

Every session is played from its start: the engine is given again what it was given then (`turns.Recorded`), and what it
gives now is held against what it gave then. On the same version both are equal to the state's last letter, or something
of ours has changed; on another version the first difference is what the change of the flow would have meant for this
person. After it the ways part, and nothing more is compared. Nothing is sent and nothing is written.

Conversations are personal: whoever calls this checks the right to read them, and notes it in the audit log.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from itertools import groupby
from typing import Any, NamedTuple

import msgspec
from msgspec import Struct
from sqlalchemy import Connection, text

from bot import flow_history, turns
from bot.channel_store import referral_key_of
from bot.flow_history import Versions
from bot.turns import Recorded, Turn
from domain import effects as vocabulary
from domain.effects import Effect, SendMessage, SetTimer
from domain.errors import NotFound
from domain.events import Event, HttpAnswered, MessageReceived, SessionCommand, TimerDue
from domain.messages import Content, text_of
from flows import compiler, document, engine, state
from flows.business import BusinessView
from flows.state import SessionState
from flows.versions import CompiledFlow
from storage.sealing import Sealer

MAX_TURNS = 2_000  # of a conversation, the newest: some years of a talkative person, a second of work

OLD = {
    "it": "registrata da una versione precedente di Passaparola, non si può ripetere",
    "en": "recorded by an older version of Passaparola, it cannot be replayed",
}
NO_START = {
    "it": "il suo inizio non è più conservato (o precede gli ultimi 2.000 turni)",
    "en": "its beginning is not kept any more (or lies before the last 2,000 turns)",
}
NO_VERSION = {
    "it": "la versione su cui si svolse, o quella di un flusso che chiamò, non c'è più o non si legge",
    "en": "the version that it ran on, or that of a flow it called, is gone or cannot be read",
}
NO_BUSINESS = {
    "it": "i dati dell'attività di allora non sono noti",
    "en": "the business as it was then is not known",
}
OTHER_FLOW = {
    "it": "è un altro flusso, o non ha questa versione",
    "en": "it is another flow, or has no such version",
}


class Difference(Struct, frozen=True, kw_only=True):
    """Where the ways part. `turn` counts from 1; `step`: where the session stood; `heard`: the event, in short.

    `what`: said | did | ended | state (only the session's own state differs). `then`, `now`: lines for people.
    """

    turn: int
    at: int
    step: str
    heard: str
    what: str
    then: tuple[str, ...]
    now: tuple[str, ...]


class Replayed(Struct, frozen=True, kw_only=True):
    """A session played again. `number`: the version that it was played on, 0: a file; `same`: no difference found;
    `problem`: why it could not be played (to the end)."""

    session_id: int
    flow: str
    number: int
    turns: int
    same: bool
    difference: Difference | None = None
    problem: Mapping[str, str] | None = None


class Kept(NamedTuple):
    """What is kept of a conversation, and all that playing it again needs: read by `of_conversation`."""

    turns: Sequence[Turn]
    versions: Versions
    names: Mapping[int, tuple[str, int]]  # every version's flow and number
    published: Mapping[str, int]  # the version of each flow that is published now
    businesses: Mapping[str, BusinessView]
    referral_key: str


def of_conversation(
    connection: Connection,
    *,
    workspace_id: int,
    conversation_id: int,
    session_id: int = 0,
    number: int = 0,
    sealer: Sealer,
) -> Kept:
    """What is kept of a conversation (`session_id`: of that session of it). `number`: a version that it will be played
    on. Raises NotFound for what is not there."""
    known = connection.execute(
        text("SELECT 1 FROM conversation WHERE workspace_id = :workspace AND id = :id"),
        {"workspace": workspace_id, "id": conversation_id},
    ).first()
    if known is None:
        raise NotFound("there is no such conversation")
    found = turns.of_conversation(
        connection, workspace_id, conversation_id, session_id=session_id, limit=MAX_TURNS, sealer=sealer
    )
    if session_id and not found:
        raise NotFound("there is no such session in this conversation")
    rows = connection.execute(
        text(
            "SELECT v.id, f.key, v.number, f.current_version_id FROM flow_version v JOIN flow f ON f.id = v.flow_id "
            "AND f.workspace_id = v.workspace_id WHERE v.workspace_id = :workspace"
        ),
        {"workspace": workspace_id},
    ).all()
    published = {row.key: row.id for row in rows if row.id == row.current_version_id}
    wanted = {row.id for row in rows if row.number == number} | set(published.values()) | _version_ids(found)
    return Kept(
        found,
        flow_history.versions(connection, workspace_id, wanted),
        {row.id: (row.key, row.number) for row in rows},
        published,
        turns.businesses(connection, workspace_id),
        referral_key_of(sealer, workspace_id),  # turns do not hold it
    )


def play(kept: Kept, *, number: int = 0, source: str = "") -> list[Replayed]:
    """Plays the sessions again, the oldest first; pure, and up to a second of work.

    `number` 0 and no `source`: on the versions that they ran on; else on that version of their flow, or on the document
    in `source`. Raises RejectedInput for a source that cannot be read.
    """
    stage = _Stage(kept, number, source)
    by_session = sorted(kept.turns, key=lambda turn: (turn.session_id, turn.id))
    return [stage.play(list(group)) for _, group in groupby(by_session, key=lambda turn: turn.session_id)]


class _Library(Mapping[str, CompiledFlow]):
    """The flows that can be called, as they were; `instead` takes the place of its key."""

    def __init__(self, versions: Versions, recorded: Mapping[str, int], instead: CompiledFlow | None) -> None:
        self._versions = versions
        self._recorded = recorded
        self._instead = instead

    def __getitem__(self, key: str) -> CompiledFlow:
        name, _, version = key.partition("@")
        if self._instead is not None and name == self._instead.key:
            return self._instead
        found = self._versions.get(int(version) if version.isdecimal() else self._recorded.get(name, 0))
        if found is None:
            raise KeyError(key)
        return found

    def __iter__(self) -> Iterator[str]:
        return iter(self._recorded)

    def __len__(self) -> int:
        return len(self._recorded)


class _Unknown(Exception):
    """The session cannot be played (on)."""

    def __init__(self, why: Mapping[str, str]) -> None:
        super().__init__(why["en"])
        self.why = why


class _Stage:
    """What all sessions of one replay share: versions, businesses, the version to play on instead."""

    def __init__(self, kept: Kept, number: int, source: str) -> None:
        self._kept = kept
        self._number = number
        self._ids = {name: version_id for version_id, name in kept.names.items()}
        self._source = compiler.compile(document.load(source, "document"), 0) if source else None

    def play(self, played: Sequence[Turn]) -> Replayed:
        """Plays one session."""
        first = played[0].recorded
        key, number = self._kept.names.get(first.flow if first is not None else 0, ("", 0))
        shown: dict[str, Any] = {"session_id": played[0].session_id, "flow": key, "number": number}
        count = 0
        try:
            instead = self._instead(key)
            if instead is not None:
                shown["number"] = self._number
            before: SessionState | None = None
            for count, turn in enumerate(played, 1):
                before, difference = self._turn(turn, count, before, instead)
                if difference is not None:
                    return Replayed(**shown, turns=count, same=False, difference=difference)
        except _Unknown as error:
            return Replayed(**shown, turns=max(count - 1, 0), same=False, problem=error.why)
        return Replayed(**shown, turns=count, same=True)

    def _instead(self, key: str) -> CompiledFlow | None:
        if self._source is not None:
            found: CompiledFlow | None = self._source if self._source.key == key else None
        elif self._number:
            found = self._kept.versions.get(self._ids.get((key, self._number), 0))
        else:
            return None
        if found is None:
            raise _Unknown(OTHER_FLOW)
        return found

    def _turn(
        self, turn: Turn, number: int, before: SessionState | None, instead: CompiledFlow | None
    ) -> tuple[SessionState | None, Difference | None]:
        recorded = turn.recorded
        if recorded is None or recorded.format < turns.FORMAT:
            raise _Unknown(OLD)
        if before is None and turn.before:
            raise _Unknown(NO_START)
        if instead is not None and _move(recorded.event) is not None:
            return before, None  # on one version from beginning to end, there is nothing to move to
        transition = self._transition(recorded, before, instead)
        what = _difference(recorded, transition, exact=instead is None)
        if what is None and instead is None and turns.hash_of(_text(transition.state)) != turn.after:
            what = ("state", ("—",), (_text(transition.state),))
        if what is None:
            return transition.state, None
        stood = before.step if before is not None else ""
        kind, then, now = what
        return None, Difference(
            turn=number,
            at=turn.at,
            step=stood,
            heard=_heard(recorded.event),
            what=kind,
            then=then,
            now=now,
        )

    def _transition(
        self, recorded: Recorded, before: SessionState | None, instead: CompiledFlow | None
    ) -> engine.Transition:
        business = self._kept.businesses.get(recorded.business)
        if business is None:
            raise _Unknown(NO_BUSINESS)
        if recorded.channel is None:
            raise _Unknown(OLD)
        channel = msgspec.structs.replace(recorded.channel, key=self._kept.referral_key)
        called = recorded.library if instead is None else {**self._kept.published, **recorded.library}
        given: dict[str, Any] = {
            "contact": recorded.contact,
            "now": recorded.now,
            "seed": recorded.seed,
            "channel_kind": channel.kind,
            "business": business,
            "library": _Library(self._kept.versions, called, instead),
            "channel": channel,
        }
        if before is None:
            flow = instead or self._version(recorded.flow)
            started: dict[str, Any] = {"language": recorded.language, "variables": dict(recorded.variables)}
            if isinstance(recorded.event, MessageReceived):
                started["received"] = recorded.event.content
            return engine.start(flow, cause=recorded.cause, **started, **given)
        before = state.decode(state.encode(before))  # as it comes from its row
        if (moved := _move(recorded.event)) is not None:
            return engine.move(
                self._kept.versions.get(before.version),
                before,
                self._version(int(moved["version"])),
                mapping=moved.get("map") or {},
                restart=moved.get("how") == "restart",
                **given,
            )
        flow = (
            instead if instead is not None and before.flow == instead.key else self._version(before.version)
        )
        event = recorded.event if instead is None else _of_stay(recorded.event, before)
        return engine.advance(flow, before, event, **given)

    def _version(self, version_id: int) -> CompiledFlow:
        found = self._kept.versions.get(version_id)
        if found is None:
            raise _Unknown(NO_VERSION)
        return found


def _version_ids(found: Sequence[Turn]) -> set[int]:
    wanted: set[int] = set()
    for turn in found:
        if turn.recorded is not None:
            wanted |= {turn.version_id, turn.recorded.flow, *turn.recorded.library.values()}
            if (moved := _move(turn.recorded.event)) is not None:
                wanted.add(int(moved["version"]))
    return wanted


def _move(event: Event) -> dict[str, Any] | None:
    """What a command to move the session says; None for any other event."""
    return event.data if isinstance(event, SessionCommand) and event.what == "move" else None


def _of_stay(event: Event, before: SessionState) -> Event:
    """A timer or an answer to a call names step, visit and version; on another version they have other names."""
    if isinstance(event, TimerDue) and event.purpose == before.waiting:
        return msgspec.structs.replace(event, step_id=before.step, visit=before.visit, version=before.version)
    if isinstance(event, HttpAnswered) and before.waiting == "call":
        return msgspec.structs.replace(event, step_id=before.step, visit=before.visit)
    return event


def _text(one: SessionState) -> str:
    return state.encode(one).decode()


_Lines = tuple[str, ...]


def _difference(
    recorded: Recorded, transition: engine.Transition, *, exact: bool
) -> tuple[str, _Lines, _Lines] | None:
    """What was otherwise; `exact`: names of steps count, too."""
    effects = vocabulary.decode(vocabulary.encode(transition.effects))  # as they come from a row
    said_then, said_now = _said(recorded.effects), _said(effects)
    if said_then != said_now:
        return "said", tuple(map(_line, said_then)), tuple(map(_line, said_now))
    did_then, did_now = _did(recorded.effects, exact), _did(effects, exact)
    if did_then != did_now:
        return "did", did_then, did_now
    if recorded.outcome != transition.outcome:
        return "ended", (recorded.outcome or "—",), (transition.outcome or "—",)
    return None


def _said(effects: Sequence[Effect]) -> list[Content]:
    return [effect.content for effect in effects if isinstance(effect, SendMessage)]


def _line(content: Content) -> str:
    titles = [button.title for button in getattr(content, "buttons", ())]
    words = text_of(content) or type(content).__name__.lower()
    return words + (f"  [{'] ['.join(titles)}]" if titles else "")


_NAMES = ("step_id", "visit", "flow_version_id", "version")  # how versions call the same thing
_encode = msgspec.json.Encoder(order="deterministic").encode


def _did(effects: Sequence[Effect], exact: bool) -> _Lines:
    lines = []
    for effect in effects:
        if isinstance(effect, SendMessage) and not exact:
            continue
        data = msgspec.to_builtins(effect)
        if not exact:
            data = {key: value for key, value in data.items() if key not in _NAMES}
            if isinstance(effect, SetTimer):
                data.pop("after_sent", None)
        lines.append(_encode(data).decode())
    return tuple(lines)


def _heard(event: Event) -> str:
    match event:
        case MessageReceived(content=content):
            return text_of(content) or type(content).__name__.lower()
        case TimerDue(purpose=purpose):
            return f"({purpose}: time is up)"
        case HttpAnswered(status=status):
            return f"(http: {status})"
        case SessionCommand(what=what):
            return f"({what})"
        case _:
            return ""
