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
from collections.abc import Sequence
from typing import Any, NamedTuple

import msgspec
from sqlalchemy import Connection, text
from sqlalchemy.exc import DBAPIError

from bot import statuses
from bot.channel_store import ConnectedChannel
from bot.runtime import Runtime, slot_of
from crm import consent
from domain import events
from domain.crash import crash_point
from domain.errors import Unavailable
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
from storage.database import Queue, bulk, insert_rows
from storage.sealing import Sealer, event_key

MAX_WAITING = (
    10_000  # events in memory before their commit: about 20 MB; past it the platform is told to come back
)
STUCK_S = (
    1.8  # a commit that takes longer: the platforms are told to come back before they give up by themselves
)
OPEN, PARKED, DONE = 0, 1, 2

_SEEN = {"workspace_id": "BIGINT", "channel_id": "BIGINT", "key": "TEXT", "seen_at": "BIGINT"}
_INTAKE = {
    "id": "BIGINT",
    "workspace_id": "BIGINT",
    "channel_id": "BIGINT",
    "slot": "SMALLINT",
    "intake_key": "TEXT",
    "payload": "TEXT",
    "state": "SMALLINT",
    "attempts": "SMALLINT",
    "not_before": "BIGINT",
    "problem": "TEXT",
    "received_at": "BIGINT",
}
_INSERT_SEEN = text(insert_rows("seen", _SEEN, conflict="ON CONFLICT DO NOTHING RETURNING channel_id, key"))
_INSERT_INTAKE = text(insert_rows("intake", _INTAKE))


class _Prepared(NamedTuple):
    """One event, ready for its row."""

    seen_key: str
    channel: ConnectedChannel
    event: PlatformEvent
    row: dict[str, Any]


class _Waiting(NamedTuple):
    prepared: list[_Prepared]
    statuses: list[statuses.StatusOf]
    done: asyncio.Future[None]


class Intake:
    """Stores events by group commit and wakes the worker."""

    def __init__(self, runtime: Runtime) -> None:
        self._runtime = runtime
        self._waiting: list[_Waiting] = []
        self._size = 0
        self._flushing: asyncio.Task[None] | None = None

    async def append(self, arrived: Sequence[tuple[ConnectedChannel, PlatformEvent]]) -> None:
        """Returns when every event is committed (or was before). Raises Unavailable when none is acknowledged."""
        if not arrived:
            return
        if self._size + len(arrived) > MAX_WAITING:
            raise Unavailable("too many events wait to be stored", retry_after=2.0)
        now = self._runtime.clock()
        waiting = _Waiting([], [], asyncio.get_running_loop().create_future())
        for channel, event in arrived:
            if isinstance(event, DeliveryStatus):
                waiting.statuses.append(statuses.StatusOf(channel.workspace_id, channel.id, event))
            else:
                waiting.prepared.append(_prepare(self._runtime, channel, event, now))
        self._size += len(arrived)
        self._waiting.append(waiting)
        if self._flushing is None or self._flushing.done():
            self._flushing = asyncio.create_task(self._flush())
        await waiting.done

    async def _flush(self) -> None:
        while self._waiting:
            batch, self._waiting = self._waiting, []
            self._size = 0
            crash_point("intake.before_commit")
            try:
                await self._commit(batch)
            except DBAPIError:
                # One of them carries what the database refuses: each alone, so that only that one is turned away.
                for one in batch:
                    try:
                        await self._commit([one])
                    except Exception as error:
                        _fail(one.done, error)
            except Unavailable as error:
                # Who came meanwhile is told as well: one after the other they would wait ever longer in vain.
                late, self._waiting, self._size = self._waiting, [], 0
                for one in (*batch, *late):
                    _fail(one.done, error)
            except Exception as error:
                for one in batch:
                    _fail(one.done, error)
            crash_point("intake.after_commit")
            for one in batch:
                if not one.done.done():
                    one.done.set_result(None)
            if any(one.prepared for one in batch):  # statuses leave nothing for the worker
                self._runtime.signals.notify("intake")

    async def _commit(self, batch: list[_Waiting]) -> None:
        prepared = [one for waiting in batch for one in waiting.prepared]
        reported = [one for waiting in batch for one in waiting.statuses]
        runtime = self._runtime
        store = runtime.database.write(
            lambda connection: _store(connection, prepared, reported, runtime), queue=Queue.live, durable=True
        )
        try:
            async with asyncio.timeout(STUCK_S):
                await (
                    store
                )  # goes on though nobody waits: what is stored after all is dropped when it comes again
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
    if rows:
        connection.execute(_INSERT_INTAKE, {"rows": bulk(rows)})


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
        "attempts": 0,
        "not_before": 0,
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


def _store(
    connection: Connection, prepared: list[_Prepared], reported: list[statuses.StatusOf], runtime: Runtime
) -> None:
    fresh = _drop_seen(connection, prepared, runtime.clock()) if prepared else []
    if fresh:
        connection.execute(_INSERT_INTAKE, {"rows": bulk(one.row for one in fresh)})
        consent.suppress_at_intake(
            connection,
            [
                consent.Accepted(p.channel.workspace_id, p.channel.id, p.event, p.row["received_at"])
                for p in fresh
            ],
            keyed_hash=runtime.sealer.keyed_hash,
        )
    if reported:
        statuses.record(connection, reported, new_id=runtime.new_id, now=runtime.clock())


def _drop_seen(connection: Connection, prepared: list[_Prepared], now: int) -> list[_Prepared]:
    """Those whose key was not there; of several with one key in this batch, the first."""
    rows = [
        {
            "workspace_id": p.channel.workspace_id,
            "channel_id": p.channel.id,
            "key": p.seen_key,
            "seen_at": now,
        }
        for p in prepared
    ]
    # In one order everywhere: two processes that get the same events in other orders would wait for each other.
    rows.sort(key=lambda row: (row["channel_id"], row["key"]))
    new = {tuple(row) for row in connection.execute(_INSERT_SEEN, {"rows": bulk(rows)}).all()}
    fresh = []
    for one in prepared:
        if (one.channel.id, one.seen_key) in new:
            new.discard((one.channel.id, one.seen_key))
            fresh.append(one)
    return fresh


def _fail(future: asyncio.Future[None], error: Exception) -> None:
    if not future.done():
        future.set_exception(error)
        future.exception()  # a caller that went away leaves no warning
