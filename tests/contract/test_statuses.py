"""What platforms tell of our messages: any order and any repetition comes to the same row, and is told once (2.8)."""

from __future__ import annotations

import random
from collections.abc import Callable
from itertools import permutations
from typing import Any

import pytest
from sqlalchemy import Connection, text

from bot import outbox, settling, statuses
from bot.outbox import Outgoing
from bot.settling import Outcome, Result
from bot.statuses import ORPHAN_LIFE_MS, StatusOf
from domain.events import DeliveryStatus
from domain.ids import IdMaker
from domain.messages import MessageClass, MessageStatus, Text
from storage.database import Database, rows_of

START = 1_797_000_000_000
WORKSPACE, CHANNEL, OTHER_CHANNEL = 11, 21, 22
AFTER = {"sent": 1_000, "delivered": 2_000, "read": 3_000, "failed": 4_000}
COLUMNS = "status, status_rank, reason, code, external_id, pricing, sent_at, delivered_at, read_at, failed_at"


class Desk:
    def __init__(self, database: Database) -> None:
        self.database = database
        self.now = START
        self.new_id = IdMaker(1, lambda: self.now).next
        self.told: list[Outcome] = []

    def hear(self, _: Connection, outcomes: list[Outcome], **__: Any) -> None:
        self.told += outcomes

    async def message(self, *, turn: int = 0, run: int = 7, size: int = 1) -> int:
        """A message on its way (or a turn of them); gives the first one's id."""
        items = [
            Outgoing(
                id=self.new_id(),
                workspace_id=WORKSPACE,
                channel_id=CHANNEL,
                address="15550100",
                content=Text("Ciao"),
                conversation_id=0 if run else 31,
                run_id=run,
                turn_id=turn,
                position=n,
                message_class=MessageClass.marketing if run else MessageClass.reply,
            )
            for n in range(size)
        ]
        await self.do(lambda c: outbox.enqueue(c, items, now=self.now))
        await self.do(lambda c: outbox.mark(c, [items[0].id], now=self.now))
        return items[0].id

    async def settle(self, message: int, state: str, attempt: int = 1, **values: Any) -> None:
        result = Result(id=message, attempt=attempt, state=state, at=self.now, **values)
        await self.do(lambda c: settling.settle(c, [result], new_id=self.new_id, now=self.now))

    async def tells(self, *events: DeliveryStatus, channel: int = CHANNEL) -> None:
        told = [StatusOf(WORKSPACE, channel, event) for event in events]
        await self.do(lambda c: statuses.record(c, told, new_id=self.new_id, now=self.now))

    async def do(self, work: Callable[[Connection], Any]) -> Any:
        return await self.database.write(work)

    async def rows(self, sql: str, **values: Any) -> list[Any]:
        return list(await self.database.read(lambda c: rows_of(c, sql, values)))

    async def row(self, message: int) -> Any:
        return (await self.rows(f"SELECT {COLUMNS} FROM message WHERE id = :id", id=message))[0]


@pytest.fixture
async def desk(store: Database, monkeypatch: pytest.MonkeyPatch) -> Desk:
    made = Desk(store)
    monkeypatch.setattr(settling, "_settlers", [made.hear])
    return made


def says(status: str, message: int = 0, external: str = "wamid.A") -> DeliveryStatus:
    failed = status == "failed"
    return DeliveryStatus(
        key=f"status:{external}:{status}",
        external_id=external,
        status=MessageStatus(status),
        message_id=message,
        reason="unreachable" if failed else "",
        code="131026" if failed else "",
        occurred_at=START + AFTER[status],
        pricing={"category": "marketing"} if status == "sent" else {},
    )


def axis(desk: Desk) -> list[tuple[str, str]]:
    return [(one.state, one.previous) for one in desk.told]


async def test_any_order_and_repetition_gives_the_same_row(desk: Desk) -> None:
    """All orders of three statuses, in one delivery and in many, doubled at random; told of each once."""
    rows = set()
    dice = random.Random(7)
    for names in permutations(("sent", "delivered", "read")):
        for together in (False, True):
            desk.told.clear()
            message = await desk.message()
            await desk.settle(message, "sent", external_id=f"wamid.{message}")
            events = [says(name, message, f"wamid.{message}") for name in names]
            events = [one for one in events for _ in range(dice.randint(1, 3))]
            if together:
                await desk.tells(*events)
            else:
                for event in events:
                    await desk.tells(event)
            row = await desk.row(message)
            rows.add(tuple(row)[:4] + tuple(row)[5:])
            assert row.external_id == f"wamid.{message}"
            assert axis(desk)[0] == ("sent", "")
            assert sorted(axis(desk)[1:]) == [("delivered", ""), ("read", "")]
    assert len(rows) == 1, rows
    (row,) = rows
    assert row[:2] == ("read", 9)


@pytest.mark.parametrize("names", list(permutations(("sent", "failed", "delivered"))))
async def test_delivered_after_failed_is_believed_in_any_order(desk: Desk, names: tuple[str, ...]) -> None:
    message = await desk.message()
    await desk.settle(message, "sent", external_id="wamid.A")
    for name in names:
        await desk.tells(says(name))
    row = await desk.row(message)
    assert (row.status, row.reason, row.code) == ("delivered", "", "")
    assert (row.delivered_at, row.failed_at) == (START + 2_000, START + 4_000)


async def test_failed_after_sent_is_told_as_a_correction(desk: Desk) -> None:
    message = await desk.message()
    await desk.settle(message, "sent", external_id="wamid.A")
    await desk.tells(says("failed"), says("failed"))
    await desk.tells(says("failed"))
    row = await desk.row(message)
    assert (row.status, row.reason, row.code) == ("failed", "unreachable", "131026")
    assert axis(desk) == [("sent", ""), ("failed", "sent")]


async def test_a_status_settles_what_nobody_knew(desk: Desk) -> None:
    for name, expected in (("sent", "sent"), ("delivered", "sent"), ("failed", "failed")):
        desk.told.clear()
        message = await desk.message()
        await desk.settle(message, "unknown")
        await desk.tells(says(name, message, f"wamid.{name}"))
        told = [one for one in axis(desk) if one[0] != "delivered"]
        assert told == [("unknown", ""), (expected, "unknown")]
        assert (await desk.row(message)).status == name


async def test_a_status_before_our_own_answer_makes_it_known(desk: Desk) -> None:
    """The platform's word came, its answer to the request never did: delivered is what it is, and told as sent."""
    for state in ("unknown", "retry"):
        desk.told.clear()
        message = await desk.message()
        await desk.tells(says("delivered", message, f"wamid.{state}"))
        await desk.settle(message, state)
        assert (await desk.row(message)).status == "delivered"
        assert axis(desk) == [("delivered", ""), ("sent", "")]
        assert await desk.rows("SELECT 1 FROM outbox") == []


async def test_what_arrived_is_not_sent_once_more_and_the_turn_goes_on(desk: Desk) -> None:
    """An answer waits for its second try; a status proves that the first one arrived."""
    message = await desk.message(run=0, turn=5, size=2)
    await desk.settle(message, "unknown", retry_at=desk.now + 60_000)
    assert [row.state for row in await desk.rows("SELECT state FROM outbox ORDER BY id")] == [1, 0]
    await desk.tells(says("delivered", message))
    rows = await desk.rows("SELECT id, state FROM outbox")
    assert [row.state for row in rows] == [1]
    assert rows[0].id != message


async def test_the_next_of_a_turn_waits_for_delivered_at_most_three_seconds(desk: Desk) -> None:
    message = await desk.message(run=0, turn=5, size=2)
    await desk.settle(message, "sent", ordered=True, external_id="wamid.A")
    waits = "SELECT not_before FROM outbox"
    assert (await desk.rows(waits))[0].not_before == desk.now + settling.ORDER_WAIT_MS
    await desk.tells(says("sent"))
    assert (await desk.rows(waits))[0].not_before == desk.now + settling.ORDER_WAIT_MS
    await desk.tells(says("delivered"))
    assert (await desk.rows(waits))[0].not_before == 0


async def test_one_that_comes_before_its_message_waits_ten_minutes_for_it(desk: Desk) -> None:
    message = await desk.message()
    await desk.tells(says("sent"), says("delivered"), says("delivered"))
    await desk.tells(says("delivered"))
    assert len(await desk.rows("SELECT 1 FROM status_orphan")) == 2
    assert (await desk.row(message)).status == "queued"
    await desk.settle(message, "sent", external_id="wamid.A")
    known = [(CHANNEL, "wamid.A")]
    for _ in range(2):
        await desk.do(lambda c: statuses.adopt(c, known, new_id=desk.new_id, now=desk.now))
    row = await desk.row(message)
    assert (row.status, row.delivered_at) == ("delivered", START + 2_000)
    assert await desk.rows("SELECT 1 FROM status_orphan") == []
    assert axis(desk) == [("sent", ""), ("delivered", "")]


async def test_one_whose_message_never_comes_is_forgotten(desk: Desk) -> None:
    await desk.tells(says("sent"))
    desk.now += ORPHAN_LIFE_MS
    assert await desk.do(lambda c: statuses.forget_orphans(c, now=desk.now)) == 0
    desk.now += 1
    assert await desk.do(lambda c: statuses.forget_orphans(c, now=desk.now)) == 1
    assert await desk.rows("SELECT 1 FROM status_orphan") == []


async def test_it_speaks_of_its_own_channels_messages_only(desk: Desk) -> None:
    """Neither by our id, which anybody could echo, nor by the platform's."""
    message = await desk.message()
    await desk.settle(message, "sent", external_id="wamid.A")
    await desk.tells(says("read", message), channel=OTHER_CHANNEL)
    assert (await desk.row(message)).status == "sent"


async def test_a_message_from_a_person_has_no_status(desk: Desk) -> None:
    message = await desk.message()
    await desk.do(
        lambda c: c.execute(
            text("UPDATE message SET direction = 'in', external_id = 'wamid.A' WHERE id = :i"), {"i": message}
        )
    )
    await desk.tells(says("read", message), says("read"))
    assert (await desk.row(message)).status == "queued"


async def test_many_at_once(desk: Desk) -> None:
    """A hundred messages' statuses in one delivery, mixed: each finds its own."""
    ids = [await desk.message() for _ in range(30)]
    for number, message in enumerate(ids):
        if number % 2:
            await desk.settle(message, "sent", external_id=f"wamid.{message}")
    events = [
        says(name, 0 if number % 2 else message, f"wamid.{message}")
        for number, message in enumerate(ids)
        for name in ("sent", "delivered", *(["read"] if number % 3 else []))
    ]
    random.Random(3).shuffle(events)
    await desk.tells(*events)
    found = {row.id: row.status for row in await desk.rows("SELECT id, status FROM message")}
    assert found == {m: "read" if n % 3 else "delivered" for n, m in enumerate(ids)}
    assert await desk.rows("SELECT 1 FROM status_orphan") == []
