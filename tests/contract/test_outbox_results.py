"""Results on their way into the store: with the next slice, in time, and none takes the others with it."""

from __future__ import annotations

from collections.abc import AsyncIterator, Sequence
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import Connection

from bot import outbox, settling
from bot.channel_sender import FEW
from bot.outbox import Item
from bot.results import Results
from bot.settling import Result
from domain.errors import Conflict, Unavailable
from domain.messages import MessageClass
from storage import leases
from tests.contract.test_outbox_sender import LEASE, queue, sender_of
from tests.support.core import Core


@pytest.fixture
async def core(store_url: str) -> AsyncIterator[Core]:
    made = await Core.open(store_url)
    await made.do(lambda c: leases.take(c, [LEASE[0]], "here"))
    yield made
    await made.database.close()


class Told:
    """What the owner of the results heard."""

    def __init__(self, core: Core) -> None:
        self.settled: list[int] = []
        self.results = Results(core.runtime, settled=self._hear, released=core.handed.offer)

    def _hear(self, batch: Sequence[Result]) -> None:
        self.settled += [result.id for result in batch]


async def sent(core: Core, count: int, kind: MessageClass = MessageClass.reply) -> list[Result]:
    """The results of so many messages that have just been sent."""
    items = await queue(core, count, kind)
    marked = await core.do(lambda c: outbox.mark(c, [item.id for item in items], now=core.now))
    return [
        Result(
            id=item.id,
            attempt=marked[item.id],
            state="sent",
            at=core.now,
            external_id=str(item.id),
            item=item,
        )
        for item in items
    ]


def counting(core: Core, monkeypatch: pytest.MonkeyPatch) -> list[object]:
    """A list that grows by one for every writing transaction."""
    transactions: list[object] = []
    write = core.database.write

    async def counted(work: Any, **options: Any) -> Any:
        transactions.append(work)
        return await write(work, **options)

    monkeypatch.setattr(core.database, "write", counted)
    return transactions


async def test_results_settle_with_the_next_slice(
    core: Core, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """One transaction for both; with an answer only a few of them go."""
    mine = sender_of(core, tmp_path)
    for kind, left in ((MessageClass.service, 5), (MessageClass.marketing, 0)):
        results = await sent(core, FEW + 5)
        slice_ = await queue(core, 1, kind)
        with monkeypatch.context() as patched:
            patched.setattr(mine, "_start", lambda work: work.close())
            patched.setattr("bot.results.GATHER_S", 60.0)  # however slow this machine is
            transactions = counting(core, patched)
            for result in results:
                mine._results.record(result, bulk=True)
            await mine._send(slice_)
            assert len(transactions) == 1
            assert mine._results.settled == FEW + 5 - left
        mine._results._pressing.set()
        await mine._results.drain()
        assert mine._results.settled == FEW + 5
        mine._results.settled = 0


async def test_a_slice_that_fails_leaves_the_results_to_themselves(core: Core, tmp_path: Path) -> None:
    """The channel has another sender by now: nothing is marked, and what was sent is settled all the same."""
    mine = sender_of(core, tmp_path)
    results = await sent(core, 3)
    slice_ = await queue(core, 2, MessageClass.reply)
    await core.do(lambda c: leases.release(c, [LEASE[0]], "here"))
    await core.do(lambda c: leases.take(c, [LEASE[0]], "there"))
    for result in results:
        mine._results.record(result, bulk=True)
    with pytest.raises(Conflict):
        await mine._send(slice_)
    await mine._results.drain()
    rows = await core.rows("SELECT id, state FROM outbox ORDER BY id")
    assert [tuple(row) for row in rows] == [(item.id, outbox.QUEUED) for item in slice_]


async def test_one_result_does_not_take_the_others_with_it(
    core: Core, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A fault of ours over one message: the channel goes on, the others are settled, the one stays where it is."""
    mine = sender_of(core, tmp_path)
    told = Told(core)
    mine._results = told.results
    results = await sent(core, 4)
    slice_: list[Item] = await queue(core, 1, MessageClass.service)
    bad = results[1].id
    real = settling.settle

    def settle(connection: Connection, batch: Sequence[Result], **options: Any) -> settling.Settled:
        if any(result.id == bad for result in batch):
            raise RuntimeError("a fault")
        return real(connection, batch, **options)

    monkeypatch.setattr(settling, "settle", settle)
    for result in results:
        told.results.record(result, bulk=True)
    with pytest.raises(Unavailable):  # the channel waits a moment and tries again
        await mine._send(slice_)
    await told.results.drain()
    assert sorted(told.settled) == sorted(result.id for result in results)
    rows = await core.rows("SELECT id, state FROM outbox ORDER BY id")
    assert [tuple(row) for row in rows] == [(bad, outbox.SENDING), (slice_[0].id, outbox.QUEUED)]
    told.results.record((await sent(core, 1))[0])
    await told.results.drain()
    assert told.results.settled == 4


async def test_what_was_sent_settles_once_and_by_its_attempt(core: Core) -> None:
    """The short way counts only for the attempt that is under way; the rest takes the careful way."""
    first, second, third = await sent(core, 3)
    older = Result(id=second.id, attempt=0, state="sent", at=core.now, item=second.item)
    settled = await core.do(
        lambda c: settling.settle(c, [first, older, third], new_id=core.new_id, now=core.now)
    )
    assert [outcome.message_id for outcome in settled.outcomes] == [first.id, third.id]
    again = await core.do(
        lambda c: settling.settle(c, [first, second, second], new_id=core.new_id, now=core.now)
    )
    assert [outcome.message_id for outcome in again.outcomes] == [second.id]
    rows = await core.rows("SELECT status, external_id FROM message ORDER BY id")
    assert [tuple(row) for row in rows] == [("sent", str(r.id)) for r in (first, second, third)]
    assert await core.rows("SELECT id FROM outbox") == []
