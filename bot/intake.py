"""Intake: the one way in. What `append` returned for is committed; nothing else is acknowledged (I1).

Theory of operation. Callers hand over parsed events and wait; while one commit is under way the next batch gathers
(group commit, window 0). One transaction drops what was seen before (I2), stores the rest as open rows, applies
delivery statuses directly (they are idempotent and the peak load), and writes the suppression of everybody who said
STOP, opted out or blocked us, so that after the 200 no marketing starts (I5).

Rows carry one event each, sealed. Unknown kinds are kept as done, raw; a malformed item of a known kind is parked for
a person. Events of our own (timers, commands) enter by `append_own` inside the transaction that causes them.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import msgspec
import structlog
from sqlalchemy import Connection, text

from bot import statuses
from bot.channel_store import ConnectedChannel
from bot.runtime import Runtime, slot_of
from crm import suppression
from domain import events
from domain.crash import crash_point
from domain.errors import Conflict, Unavailable
from domain.events import (
    AccountNotice,
    DeliveryStatus,
    Echo,
    Event,
    IdentityChanged,
    MessageReceived,
    OutletActivity,
    OutletChanged,
    Person,
    Place,
    PlatformEvent,
    Preference,
    Reachability,
    Unrecognised,
)
from storage.bulk_writes import BulkAdd, BulkInsert
from storage.database import Queue
from storage.sealing import Sealer, event_key
from storage.statements import bulk, json_rows, prepared

MAX_WAITING = (
    10_000  # events in memory before their commit: about 20 MB; past it the platform is told to come back
)
MAX_OPEN = 30_000  # events stored and not handled, about a minute's work; past it the platforms are told to come back
# A commit that takes longer: the platforms are told to come back. A PostgreSQL that is away is told within 2 s; a
# SQLite file that somebody else holds (a backup, a person's shell) is waited for, as its busy timeout says.
STUCK_S = {"sqlite": 5.5, "postgresql": 1.8}
MAX_RAW = 64_000  # characters that an event keeps which the store refused
OPEN, PARKED, DONE, WAITING = 0, 1, 2, 3  # WAITING: behind the answer to a call (`holding.py`)

_log = structlog.get_logger("intake")

_SEEN = {"workspace_id": "BIGINT", "channel_id": "BIGINT", "key": "TEXT", "seen_at": "BIGINT"}
_INTAKE = {
    "id": "BIGINT",
    "workspace_id": "BIGINT",
    "channel_id": "BIGINT",
    "slot": "SMALLINT",
    "intake_key": "TEXT",
    "payload": "TEXT",
    "state": "SMALLINT",
    "problem": "TEXT",
    "received_at": "BIGINT",
}
_add_seen = BulkAdd("seen", _SEEN, returning=("channel_id", "key"))
# Keys and rows at once: a row is stored if its key was new. For a batch of which nothing else is to be written.
_INSERT_FRESH = text(
    f"WITH v AS MATERIALIZED ({json_rows({**_INTAKE, 'key': 'TEXT'})}), fresh AS (INSERT INTO seen "
    "(workspace_id, channel_id, key, seen_at) SELECT workspace_id, channel_id, key, CAST(:now AS BIGINT) FROM v "
    "ON CONFLICT DO NOTHING RETURNING channel_id, key) "
    f"INSERT INTO intake ({', '.join(_INTAKE)}, attempts, not_before) "
    f"SELECT {', '.join(f'v.{name}' for name in _INTAKE)}, 0, 0 FROM v JOIN fresh "
    "ON fresh.channel_id = v.channel_id AND fresh.key = v.key"
)
_insert_intake = BulkInsert("intake", _INTAKE, constants={"attempts": "0", "not_before": "0"})


class _Prepared(NamedTuple):
    """One event, ready for its row."""

    seen_key: str
    channel: ConnectedChannel
    event: PlatformEvent
    row: dict[str, Any]


Arrived = Sequence[tuple[ConnectedChannel, PlatformEvent]]
Done = Callable[[Exception | None], None]


class _Waiting(NamedTuple):
    arrived: Arrived
    at: int  # ms UTC
    done: Done


class Intake:
    """Stores events by group commit and wakes the worker."""

    def __init__(self, runtime: Runtime) -> None:
        self._runtime = runtime
        self._waiting: list[_Waiting] = []
        self._size = 0
        self._open = 0  # stored events that nobody has handled: as counted last, and those stored since
        self._flushing: asyncio.Task[None] | None = None
        self._wishes: list[_Waiting] = []  # deliveries with opt-outs, where they go apart
        self._storing_wishes: asyncio.Task[None] | None = None

    async def append(self, arrived: Arrived) -> None:
        """Returns when every event is committed (or was before). Raises Unavailable when none is acknowledged."""
        if not arrived:
            return
        waits: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self.take(arrived, lambda error: _settle(waits, error))
        await waits

    def take(self, arrived: Arrived, done: Done) -> None:
        """Takes events in hand and calls `done(None)` when all are committed, `done(error)` when none is acknowledged.

        Raises Unavailable when too much waits already; `done` is not called then.
        """
        if self._size + len(arrived) > MAX_WAITING:
            raise Unavailable("too many events wait to be stored", retry_after=2.0)
        if self._open > MAX_OPEN and any(_is_work(event) for _, event in arrived):
            raise Unavailable("too many events wait to be handled", retry_after=10.0)
        self._size += len(arrived)
        self._waiting.append(_Waiting(arrived, self._runtime.clock(), done))
        if self._flushing is None or self._flushing.done():
            self._flushing = asyncio.create_task(self._flush())

    async def _flush(self) -> None:
        while self._waiting:
            batch, self._waiting, self._size = self._waiting, [], 0
            if self._runtime.database.dialect.for_update:
                batch, wishes = _apart(batch)
                self._wishes += wishes
                if self._wishes and (self._storing_wishes is None or self._storing_wishes.done()):
                    self._storing_wishes = asyncio.create_task(self._store_wishes())
            if batch and await self._store(batch):
                late, self._waiting, self._size = self._waiting, [], 0
                _refuse(late)

    async def _store_wishes(self) -> None:
        """One commit after the other: those that wait for somebody's rows must not take every connection."""
        while self._wishes:
            batch, self._wishes = self._wishes, []
            if await self._store(batch):
                late, self._wishes = self._wishes, []
                _refuse(late)

    async def _store(self, batch: list[_Waiting]) -> bool:
        """Commits and tells each; whether the store was away."""
        refused: dict[int, Exception] = {}
        away = False
        crash_point("intake.before_commit")
        try:
            await self._commit(batch)
        except Unavailable as error:
            away = True
            refused = dict.fromkeys(range(len(batch)), error)
        except Exception:
            refused = await self._each_alone(batch)
        crash_point("intake.after_commit")
        for number, one in enumerate(batch):
            one.done(refused.get(number))
        if away:  # nobody is woken for what is not there: workers would ask the absent store again and again
            return True
        work = sum(_is_work(event) for one in batch for _, event in one.arrived)
        if work:
            self._open += work
            self._runtime.signals.notify("intake")
        else:
            self._runtime.signals.notify("live")  # statuses: nobody handles them, but open pages show them
        return False

    def count_open(self, connection: Connection) -> None:
        """Counts what is stored and not handled, by the index of open events, up to a little past the limit."""
        count = prepared("SELECT count(*) FROM (SELECT 1 FROM intake WHERE state = 0 LIMIT :most) o")
        self._open = int(connection.execute(count, {"most": MAX_OPEN + 1}).scalar_one())

    async def _each_alone(self, batch: list[_Waiting]) -> dict[int, Exception]:
        """One of them carries what the database refuses, or somebody was first: event by event, so that only that one
        is set aside. Gives the deliveries of which not everything is stored: they come again."""
        refused: dict[int, Exception] = {}
        for number, one in enumerate(batch):
            try:
                for channel, event in one.arrived:
                    await self._alone(channel, event, one)
            except Exception as error:
                refused[number] = error
        return refused

    async def _alone(self, channel: ConnectedChannel, event: PlatformEvent, one: _Waiting) -> None:
        """One event; what the store will never take is kept for a person to see, or its platform would send it, and
        hold back what comes after it, for days."""
        try:
            await self._commit([one._replace(arrived=[(channel, event)])])
        except (Unavailable, Conflict):
            raise
        except Exception as error:
            _log.error("event_set_aside", channel=channel.id, problem=type(error).__name__, exc_info=error)
            await self._commit([one._replace(arrived=[(channel, _set_aside(event, error))])])

    async def _commit(self, batch: list[_Waiting]) -> None:
        runtime = self._runtime
        plain = bool(runtime.database.dialect.for_update) and not any(
            isinstance(event, DeliveryStatus) or suppression.locks_rows(event)
            for one in batch
            for _, event in one.arrived
        )
        store = runtime.database.write(
            lambda connection: (_write_plain if plain else _write)(connection, batch, runtime),
            queue=Queue.live,
            durable=True,
            single=plain,
        )
        try:
            async with asyncio.timeout(STUCK_S[runtime.database.dialect.name]):
                # It goes on though nobody waits: what is stored after all is known when it comes again.
                await store
        except TimeoutError:
            raise Unavailable("the store does not answer") from None


def append_own(
    connection: Connection,
    own: Sequence[tuple[int, int, int, str, Event]],
    *,
    sealer: Sealer,
    new_id: Any,
    now: int,
) -> None:
    """Events of our own, as (workspace id, channel id, slot, intake key, event), within the caller's transaction."""
    rows = []
    for workspace_id, channel_id, slot, key, event in own:
        rows.append(_row(sealer, new_id(), workspace_id, channel_id, slot, key, event, now))
    _insert_intake(connection, rows)


def open_event(sealer: Sealer, row_id: int, payload: str) -> Event:
    """The event of an intake row."""
    return events.decode(sealer.open(payload, table="intake", row=row_id, column="payload"))


def conversation_of(event: Event) -> str:
    """The platform's own name of the conversation that an event belongs to: what has to be kept in order."""
    match event:
        case MessageReceived(person=person, origin=origin) | Reachability(person=person, origin=origin):
            if origin.place is Place.private:
                return _first_id(person) or origin.address
            return f"{origin.address}/{origin.topic or ''}/{_first_id(person)}"
        case Preference(person=person) | Echo(person=person) | events.PreCheckout(person=person):
            return _first_id(person)
        case IdentityChanged(old=old):
            return old[0].value if old else ""
        case events.MessageEdited(person=person, origin=origin):
            if origin.place is Place.private or person is None:
                return origin.address if person is None else _first_id(person)
            return f"{origin.address}/{origin.topic or ''}/{_first_id(person)}"
        case events.MessageDeleted(origin=origin):
            return origin.address
        case OutletChanged(origin=origin) | OutletActivity(origin=origin):
            return f"outlet/{origin.address}"
        case AccountNotice() | Unrecognised():
            return "account"
        case _:
            raise TypeError(f"{type(event).__name__} brings its own conversation")


def _first_id(person: Person) -> str:
    return person.ids[0].value if person.ids else ""


def _prepare(runtime: Runtime, channel: ConnectedChannel, event: PlatformEvent, now: int) -> _Prepared:
    key = runtime.sealer.keyed_hash("conversation", str(channel.id), conversation_of(event))
    row = _row(
        runtime.sealer,
        runtime.new_id(),
        channel.workspace_id,
        channel.id,
        slot_of(channel.id, key),
        key,
        event,
        now,
    )
    if isinstance(event, Unrecognised):
        row["state"] = PARKED if event.malformed else DONE
        row["problem"] = events.storable(
            f"{event.what}: {event.problem}" if event.problem else f"unrecognised: {event.what}"
        )
    return _Prepared(event_key(channel.kind.kind, event.key), channel, event, row)


def _row(
    sealer: Sealer,
    row_id: int,
    workspace_id: int,
    channel_id: int,
    slot: int,
    key: str,
    event: Event,
    now: int,
) -> dict[str, Any]:
    return {
        "id": row_id,
        "workspace_id": workspace_id,
        "channel_id": channel_id,
        "slot": slot,
        "intake_key": key,
        "payload": sealer.seal(_payload(event), table="intake", row=row_id, column="payload"),
        "state": OPEN,
        "problem": "",
        "received_at": now,
    }


def _payload(event: Event) -> bytes:
    """The event's JSON, without NUL or lone surrogates in any text."""
    try:
        payload = events.encode(event)
    except UnicodeEncodeError:
        payload = b"\\u0000"
    if b"\\u0000" in payload:
        cleaned = _clean(msgspec.to_builtins(event))
        payload = msgspec.json.encode(cleaned)
    return payload


def _clean(value: Any) -> Any:
    if isinstance(value, str):
        return events.storable(value)
    if isinstance(value, dict):
        return {_clean(key): _clean(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [_clean(item) for item in value]
    return value


def _write(connection: Connection, batch: list[_Waiting], runtime: Runtime) -> None:
    # Rows are made here and not as the events arrive: ids ascend in the order of acceptance either way, and thirty in
    # a row cost half of thirty now and then.
    prepared: list[_Prepared] = []
    reported: list[statuses.StatusOf] = []
    for waiting in batch:
        for channel, event in waiting.arrived:
            if isinstance(event, DeliveryStatus):
                reported.append(statuses.StatusOf(channel.workspace_id, channel.id, event))
            else:
                prepared.append(_prepare(runtime, channel, event, waiting.at))
    fresh = _drop_seen(connection, prepared, runtime.clock()) if prepared else []
    if fresh:
        _insert_intake(connection, [one.row for one in fresh])
        suppression.suppress_at_intake(
            connection,
            [
                suppression.Accepted(p.channel.workspace_id, p.channel.id, p.event, p.row["received_at"])
                for p in fresh
            ],
            keyed_hash=runtime.sealer.keyed_hash,
        )
    if reported:
        statuses.record(connection, reported, new_id=runtime.new_id, now=runtime.clock())


def _write_plain(connection: Connection, batch: list[_Waiting], runtime: Runtime) -> None:
    """`_write` by one statement, of events that need nothing but their keys and rows."""
    rows: dict[tuple[int, str], dict[str, Any]] = {}
    for waiting in batch:
        for channel, event in waiting.arrived:
            one = _prepare(runtime, channel, event, waiting.at)
            # Of several with one key the first.
            rows.setdefault((channel.id, one.seen_key), {**one.row, "key": one.seen_key})
    ordered = [rows[key] for key in sorted(rows)]  # as in `_drop_seen`
    connection.execute(_INSERT_FRESH, {"rows": bulk(ordered), "now": runtime.clock()})


def _drop_seen(connection: Connection, prepared: list[_Prepared], now: int) -> list[_Prepared]:
    """Those whose key was not there; of several with one key in this batch, the first."""
    # In one order everywhere: two processes that get the same events in other orders would wait for each other.
    rows = sorted((p.channel.id, p.seen_key, p.channel.workspace_id) for p in prepared)
    found = _add_seen.found(
        connection,
        [(workspace_id, channel_id, key, now) for channel_id, key, workspace_id in rows],
        known=[(channel_id, key) for channel_id, key, _ in rows],
    )
    new = {tuple(row) for row in found}
    fresh = []
    for one in prepared:
        if (one.channel.id, one.seen_key) in new:
            new.discard((one.channel.id, one.seen_key))
            fresh.append(one)
    return fresh


def _apart(batch: list[_Waiting]) -> tuple[list[_Waiting], list[_Waiting]]:
    """Deliveries with and without words that lock a person's rows (opt-outs, blocks). Such a row may be held by a
    process that is frozen: that must not keep everybody else's messages from their commit."""
    plain: list[_Waiting] = []
    wishes: list[_Waiting] = []
    for one in batch:
        (wishes if any(suppression.locks_rows(event) for _, event in one.arrived) else plain).append(one)
    return plain, wishes


def _refuse(late: Sequence[_Waiting]) -> None:
    """Who came while the store was away is told as well: one after the other they would wait ever longer in vain."""
    for one in late:
        one.done(Unavailable("the store does not answer"))


def _set_aside(event: PlatformEvent, error: Exception) -> Unrecognised:
    """An event that the store refused, as one that it takes."""
    try:
        raw = events.encode(event).decode()[:MAX_RAW]
    except (ValueError, OverflowError):  # a lone surrogate, a number past 64 bits
        raw = ""
    return Unrecognised(
        key=event.key,
        account=event.account,
        occurred_at=0,
        what=type(event).__name__,
        raw=raw,
        problem=f"the store refused it: {type(error).__name__}",
        malformed=True,
    )


def _is_work(event: PlatformEvent) -> bool:
    """Whether it leaves something to do for the worker: statuses are applied as they are stored."""
    return not isinstance(event, DeliveryStatus)


def _settle(future: asyncio.Future[None], error: Exception | None) -> None:
    if future.done():
        return
    if error is None:
        future.set_result(None)
        return
    future.set_exception(error)
    future.exception()  # a caller that went away leaves no warning
