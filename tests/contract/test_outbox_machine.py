"""Whatever happens to the outbox, in whatever order: turns leave in order, no marketing message goes out again when
nobody knows about it, an answer at most twice and then marked so, and outcomes are told once (I3, I4, I8)."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from itertools import pairwise
from typing import Any, TypeVar, cast

import pytest
from hypothesis import HealthCheck, Phase, given, settings
from hypothesis import strategies as st
from sqlalchemy import Connection, text

from bot import outbox, settling, statuses
from bot.outbox import HELD, QUEUED, REPLY_LIFE_MS, SENDING, Outgoing
from bot.settling import Outcome, Result
from domain.events import DeliveryStatus
from domain.ids import IdMaker
from domain.messages import MessageClass, MessageStatus, Text
from storage.database import Database, parse_url
from storage.direct import DirectConnection
from storage.sqlite import sqlite_engine
from storage.statements import bulk, insert_rows

T = TypeVar("T")
START = 1_797_000_000_000
WORKSPACE, CHANNEL = 11, 21
ARRIVED = {"sent", "delivered", "read"}
OPEN = {"held", "queued"}
ACTIONS = (
    *("enqueue", "mark", "mark", "answer", "answer", "answer"),
    *("answers", "again", "crash", "take_over", "late", "status", "refuse", "wait"),
)
TIMER = {"id": "BIGINT", "turn_id": "BIGINT", "due_at": "BIGINT", "after_sent": "BIGINT"}


class Walk:
    """Does what it is told and keeps its own account: what was on the wire, and what the platform truly took."""

    def __init__(self, do: Callable[[Callable[[Connection], T]], T]) -> None:
        self.do: Callable[[Callable[[Connection], Any]], Any] = do
        self.now = START
        self.new_id = IdMaker(1, lambda: self.now).next
        self.turns: dict[int, list[int]] = {}
        self.lane: dict[int, MessageClass] = {}
        self.bulk: set[int] = set()  # of a run: never again when unknown
        self.wire: dict[
            tuple[int, int], bool
        ] = {}  # (message, attempt) on its way → whether the platform takes it
        self.former: dict[tuple[int, int], bool] = {}  # the same, of a process that lost the channel
        self.took: dict[int, int] = {}  # message → how often the platform took it
        self.marked: dict[int, int] = {}  # message → attempts
        self.items: dict[int, outbox.Item] = {}  # as the sender read them
        self.settled: list[Result] = []
        self.told: dict[int, list[Outcome]] = {}

    def hear(self, _: Connection, outcomes: list[Outcome], **__: Any) -> None:
        for one in outcomes:
            self.told.setdefault(one.message_id, []).append(one)

    def step(self, action: str, number: int) -> None:
        getattr(self, action)(number)
        self.check()

    # --- what may happen

    def enqueue(self, number: int) -> None:
        """A turn of one to four messages and a timer that counts from its end, or a few messages of a run. Some turns
        stand behind the youngest that still has to leave: they are one line, under the name of the first."""
        kind = [MessageClass.reply, MessageClass.service, MessageClass.marketing][number % 3]
        run = 7 if kind is MessageClass.marketing and number % 2 else 0
        turn = 0 if run else self.new_id()
        leaving = [row.turn_id for row in self.rows()[0] if row.turn_id]
        behind = max(leaving, default=0) if turn and number % 5 > 2 else 0
        size = 1 + number % 4
        expires = self.now + REPLY_LIFE_MS if number % 5 < 3 else None
        items = [
            Outgoing(
                id=self.new_id(),
                workspace_id=WORKSPACE,
                channel_id=CHANNEL,
                address="1001",
                content=Text("Ciao"),
                turn_id=turn,
                behind=behind,
                position=position,
                run_id=run,
                message_class=kind,
                expires_at=expires,
            )
            for position in range(size)
        ]
        heads = self.do(lambda c: outbox.enqueue(c, items, now=self.now))
        expected = items if run else [] if behind else items[:1]
        assert [head.id for head in heads] == [item.id for item in expected]
        self.lane |= {item.id: kind for item in items}
        self.bulk |= {item.id for item in items if run}
        if turn:
            line = behind or turn
            self.turns.setdefault(line, []).extend(item.id for item in items)
            self.do(lambda c: self.set_timer(c, line))

    def set_timer(self, connection: Connection, turn: int) -> None:
        fixed = {
            **dict.fromkeys(("workspace_id", "channel_id", "slot", "conversation_id", "session_id"), "0"),
            **dict.fromkeys(("intake_key", "step_id", "purpose"), "''"),
            "visit": "1",
            "state": "0",
        }
        statement = insert_rows("timer", TIMER, constants=fixed)
        row = {"id": self.new_id(), "turn_id": turn, "due_at": START + 10**12, "after_sent": 60_000}
        connection.execute(text(statement), {"rows": bulk([row])})

    def mark(self, number: int) -> None:
        def mark(connection: Connection) -> tuple[list[outbox.Item], dict[int, int]]:
            due = outbox.due(connection, CHANNEL, now=self.now, limit=1 + number % 6)
            return due, outbox.mark(connection, [item.id for item in due], now=self.now)

        due, marked = self.do(mark)
        self.items |= {item.id: item for item in due}
        assert [item.id for item in due] == sorted(marked, key=lambda i: (outbox.LANE[self.lane[i]], i))
        for message, attempt in marked.items():
            assert attempt == self.marked.get(message, 0) + 1
            self.marked[message] = attempt
            self.wire[message, attempt] = (number + message + attempt) % 3 > 0

    def result(self, number: int, wire: dict[tuple[int, int], bool]) -> Result | None:
        """A true answer for something on its way: "sent" when it was taken; "unknown" may be either."""
        if not wire:
            return None
        message, attempt = sorted(wire)[number % len(wire)]
        taken = wire.pop((message, attempt))
        self.took[message] = self.took.get(message, 0) + taken
        state = ["sent", "unknown"][number % 4 == 0] if taken else ["failed", "retry", "unknown"][number % 3]
        return Result(
            id=message,
            attempt=attempt,
            state=state,
            at=self.now,
            external_id=f"x{message}.{attempt}" if state == "sent" else "",
            reason="" if state == "sent" else "unavailable",
            retry_at=self.now + 1_000 * (number % 5) if state == "retry" else 0,
            rest="skip" if state == "failed" and number % 2 else "release",
            item=self.items[message] if state == "sent" else None,
        )

    def answer(self, number: int) -> None:
        result = self.result(number, self.wire)
        if result is not None:
            self.settle([result])

    def answers(self, number: int) -> None:
        """Several in one transaction, some of them twice."""
        found = [one for n in range(3) if (one := self.result(number + n, self.wire)) is not None]
        self.settle([*found, *found[:1]])

    def settle(self, results: list[Result]) -> None:
        self.settled += results
        self.do(lambda c: settling.settle(c, results, new_id=self.new_id, now=self.now))

    def again(self, number: int) -> None:
        """A result that was applied before changes nothing and tells nobody."""
        if not self.settled:
            return
        result = self.settled[number % len(self.settled)]
        before, told = self.rows(), {key: len(value) for key, value in self.told.items()}
        self.do(lambda c: settling.settle(c, [result], new_id=self.new_id, now=self.now))
        assert self.rows() == before
        assert {key: len(value) for key, value in self.told.items()} == told

    def crash(self, _: int) -> None:
        """The process is gone, or frozen: nobody is told, what it wrote is on its way."""
        self.former |= self.wire
        self.wire = {}

    def take_over(self, _: int) -> None:
        """The next owner knows nothing of what stands as `sending`."""
        self.crash(0)
        left = self.do(lambda c: outbox.orphans(c, CHANNEL))
        self.settle([Result(id=o.id, attempt=o.attempt, state="unknown", at=self.now) for o in left])
        assert self.do(lambda c: outbox.orphans(c, CHANNEL)) == []

    def late(self, number: int) -> None:
        """The former owner was only slow: what it says is true and counts."""
        result = self.result(number, self.former)
        if result is not None:
            self.settle([result])

    def status(self, number: int) -> None:
        """The platform tells of a message that it took: perhaps before its own answer reaches us."""
        on_way = {message for (message, _), taken in {**self.wire, **self.former}.items() if taken}
        known = sorted(on_way | {message for message, times in self.took.items() if times})
        if not known:
            return
        name = [MessageStatus.sent, MessageStatus.delivered, MessageStatus.read][number % 3]
        event = DeliveryStatus(
            key="s", external_id="", status=name, message_id=known[number % len(known)], occurred_at=self.now
        )
        told = statuses.StatusOf(WORKSPACE, CHANNEL, event)
        self.do(lambda c: statuses.record(c, [told], new_id=self.new_id, now=self.now))

    def refuse(self, number: int) -> None:
        """The gate says no to something that waits."""
        due = self.do(lambda c: outbox.due(c, CHANNEL, now=self.now, limit=1))
        state = ["skipped", "expired"][number % 2]
        self.settle(
            [
                Result(id=i.id, attempt=i.attempt, state=state, at=self.now, reason="no", rest="skip")
                for i in due
            ]
        )

    def wait(self, number: int) -> None:
        self.now += [10, 1_000, 5_000, 60_000, 20 * 60_000][number % 5]

    # --- what must always hold

    def rows(self) -> tuple[list[Any], ...]:
        def read(connection: Connection) -> tuple[list[Any], ...]:
            return tuple(
                list(connection.execute(text(sql)).all())
                for sql in (
                    "SELECT id, turn_id, state, attempt, not_before, tries FROM outbox ORDER BY id",
                    "SELECT id, status, status_rank, possibly_twice, external_id, sent_at, failed_at, reason "
                    "FROM message ORDER BY id",
                    "SELECT turn_id, due_at FROM timer ORDER BY id",
                )
            )

        found: tuple[list[Any], ...] = self.do(read)
        return found

    def check(self) -> None:
        waiting, messages, timers = self.rows()
        out = {row.id: row for row in waiting}
        for turn, ids in self.turns.items():
            left = [out[i] for i in ids if i in out]
            assert all(row.state == HELD for row in left[1:]), "only the head of a turn may go"
            assert not left or left[0].state in (QUEUED, SENDING), "somebody released the head"
            assert [row.id for row in left] == ids[len(ids) - len(left) :], "a turn is used up from its front"
            assert (turn in {row.turn_id for row in timers}) == bool(left), "timeouts start at the turn's end"
        assert all(START + 60_000 <= row.due_at <= self.now + 60_000 for row in timers if not row.turn_id)
        for row in messages:
            assert (row.id in out) == (row.status in OPEN | ARRIVED and row.id in out), row
            assert row.id in out or row.status not in OPEN, f"{row} was forgotten"
            self.check_copies(row)
            self.check_told(row, row.id in out)

    def check_copies(self, row: Any) -> None:
        copies = self.took.get(row.id, 0)
        if row.id in self.bulk or self.lane[row.id] is MessageClass.marketing:
            assert copies <= 1, "marketing went out again"
            assert not row.possibly_twice
        assert copies <= 2
        assert copies < 2 or row.possibly_twice, "twice, and nobody can see it"
        if row.status in ARRIVED:
            on_way = any(
                message == row.id and taken for (message, _), taken in {**self.wire, **self.former}.items()
            )
            assert copies or on_way, "nobody took it"
        if row.status in ("skipped", "expired", "failed") and not row.possibly_twice:
            assert not copies, "it was taken"

    def check_told(self, row: Any, waiting: bool) -> None:
        """Those who own runs heard one first outcome, and corrections that begin where the last ended."""
        if row.id not in self.bulk:
            assert row.id not in self.told
            return
        axis = [one for one in self.told.get(row.id, []) if one.state not in ("delivered", "read")]
        assert len(axis) == len({one.state for one in axis}), axis
        for before, after in pairwise(axis):
            assert after.previous == before.state, axis
        assert not axis or axis[0].previous == "", axis
        assert bool(axis) != waiting, f"{row}: {axis}"
        if axis and row.status in {*ARRIVED, "unknown", "failed", "skipped", "expired"}:
            assert ("sent" if row.status in ARRIVED else row.status) == axis[-1].state
        second = [one.state for one in self.told.get(row.id, []) if one.state in ("delivered", "read")]
        assert len(second) == len(set(second))


WALKS = st.lists(st.tuples(st.sampled_from(ACTIONS), st.integers(0, 59)), min_size=5, max_size=60)


def follow(walk: Walk, steps: list[tuple[str, int]]) -> None:
    for action, number in [("enqueue", 3), ("enqueue", 5), *steps]:
        walk.step(action, number)
    # In the end everything is told: nothing stays on its way for ever.
    walk.step("take_over", 0)
    for _ in range(60):
        walk.now += 60_000
        walk.step("mark", 5)
        while walk.wire:
            message, attempt = next(iter(walk.wire))
            walk.took[message] = walk.took.get(message, 0) + walk.wire.pop((message, attempt))
            taken = walk.took[message] > 0
            walk.settle(
                [
                    Result(
                        id=message,
                        attempt=attempt,
                        state="sent" if taken else "failed",
                        at=walk.now,
                        item=walk.items[message] if taken else None,
                    )
                ]
            )
            walk.check()
        if not walk.rows()[0]:
            break
    assert walk.rows()[0] == [], "everything has left"


@pytest.fixture
def listening(monkeypatch: pytest.MonkeyPatch) -> Callable[[Walk], None]:
    """Makes a walk the only one that hears outcomes."""
    return lambda walk: monkeypatch.setattr(settling, "_settlers", [walk.hear])


PHASES = [Phase.explicit, Phase.reuse, Phase.generate]  # shrinking walks that end in seconds takes minutes
COMMON = {"deadline": None, "phases": PHASES, "suppress_health_check": list(HealthCheck)}


def empty(connection: Connection) -> None:
    for table in ("outbox", "message", "timer"):
        connection.execute(text(f"DELETE FROM {table}"))


@settings(max_examples=100, **COMMON)  # type: ignore[arg-type]
@given(steps=WALKS)
def test_any_order_of_events_keeps_order_and_counts(
    steps: list[tuple[str, int]], a_file: str, listening: Callable[[Walk], None]
) -> None:
    engine = sqlite_engine(parse_url(a_file))
    try:
        with engine.connect() as connection:
            raw: Any = connection.connection.driver_connection
            raw.execute("PRAGMA synchronous = OFF")

            def do(work: Callable[[Connection], T]) -> T:
                with connection.begin():
                    return work(cast(Connection, DirectConnection(connection)))

            do(empty)
            walk = Walk(do)
            listening(walk)
            follow(walk, steps)
    finally:
        engine.dispose()


@settings(max_examples=5, **COMMON)  # type: ignore[arg-type]
@given(steps=WALKS)
def test_the_same_on_postgresql(
    steps: list[tuple[str, int]], migrated_postgres_url: str, listening: Callable[[Walk], None]
) -> None:
    with asyncio.Runner() as runner:
        database = runner.run(Database.open(migrated_postgres_url))

        def do(work: Callable[[Connection], T]) -> T:
            return runner.run(database.write(work, durable=False))

        try:
            do(empty)
            walk = Walk(do)
            listening(walk)
            follow(walk, steps)
        finally:
            runner.run(database.close())
