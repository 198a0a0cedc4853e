"""What a channel's sender takes from the outbox: answers before bulk, whatever fills its memory."""

from __future__ import annotations

from collections.abc import AsyncIterator, Mapping
from pathlib import Path
from typing import Any

import pytest

from bot import channel_sender, outbox
from bot.channel_sender import ChannelSender
from bot.channels.base import ApiCall, Downloaded, Receipt, StoredFile
from bot.media import MediaStore
from bot.outbox import Outgoing
from bot.results import Results
from domain.errors import Conflict
from domain.messages import MessageClass, Text
from storage import leases
from tests.support.core import WORKSPACE, Core

LEASE = ("channel:1", 1)


class Line:
    """A platform that takes everything."""

    async def send(self, call: ApiCall, files: Mapping[int, StoredFile] | None = None) -> Receipt:
        return Receipt(external_id="1")

    async def request(self, method: str, body: bytes) -> tuple[int, bytes]:
        return 200, b"{}"

    async def download(self, platform_id: str, *, max_bytes: int) -> Downloaded:
        raise AssertionError("nobody asked for a file")


@pytest.fixture
async def core(store_url: str) -> AsyncIterator[Core]:
    made = await Core.open(store_url)
    await made.do(lambda c: leases.take(c, [LEASE[0]], "here"))
    yield made
    await made.database.close()


def sender_of(core: Core, folder: Path) -> ChannelSender:
    channel = core.channels.get(core.channel_id)
    assert channel is not None
    files = MediaStore(folder, core.database, core.sealer, core.new_id, lambda: core.now)
    results = Results(core.runtime, settled=lambda batch: None, released=core.handed.offer)
    return ChannelSender(results, core.runtime, channel, Line(), files, [], LEASE)


async def queue(core: Core, count: int, kind: MessageClass) -> list[outbox.Item]:
    items = [
        Outgoing(
            id=core.new_id(),
            workspace_id=WORKSPACE,
            channel_id=core.channel_id,
            address=f"{5_000 + n}",
            content=Text("Ciao"),
            message_class=kind,
        )
        for n in range(count)
    ]
    heads: Any = await core.do(lambda c: outbox.enqueue(c, items, now=core.now))
    return list(heads)


async def test_an_answer_passes_all_bulk_that_waits(
    core: Core, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Handed over or found in the table, also when bulk has filled the memory and stands still after a 429."""
    monkeypatch.setattr(channel_sender, "READY", 40)
    mine = sender_of(core, tmp_path)
    for item in await queue(core, 60, MessageClass.marketing):
        mine.offer(item)
    assert len(mine._ready) == 40
    mine._pacing.stop("channel", "5000", 2, 3_600.0, core.runtime.monotonic())
    (handed,) = await queue(core, 1, MessageClass.reply)
    mine.offer(handed)
    (found,) = await queue(core, 1, MessageClass.reply)
    await mine._look()
    assert [item.id for item in mine._select()] == [handed.id, found.id]
    assert mine._select() == []


async def test_memory_has_an_end_the_table_holds_the_rest(
    core: Core, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(channel_sender, "READY", 40)
    mine = sender_of(core, tmp_path)
    for kind, most in ((MessageClass.service, 40), (MessageClass.reply, 80)):
        for item in await queue(core, 100, kind):
            mine.offer(item)
        assert len(mine._ready) == most
    taken = [item.lane for _ in range(4) for item in mine._select()]
    assert taken == sorted(taken), "replies first"
    assert len(mine.busy) == len(taken) <= 200


async def test_an_item_that_is_on_its_way_is_not_taken_twice(core: Core, tmp_path: Path) -> None:
    mine = sender_of(core, tmp_path)
    (item,) = await queue(core, 1, MessageClass.reply)
    mine.offer(item)
    mine.offer(item)
    assert len(mine._select()) == 1
    mine.offer(item)
    await mine._look()
    assert mine._select() == []
    assert len(await core.do(lambda c: mine._mark(c, [item]))) == 1
    assert await core.do(lambda c: mine._mark(c, [item])) == {}, "only what is queued is marked"


async def test_a_sender_that_lost_its_channel_marks_nothing(core: Core, tmp_path: Path) -> None:
    """Another one has taken the channel over: what this one still holds in memory is not its any more."""
    mine = sender_of(core, tmp_path)
    items = await queue(core, 2, MessageClass.reply)
    await core.do(lambda c: leases.release(c, [LEASE[0]], "here"))
    await core.do(lambda c: leases.take(c, [LEASE[0]], "there"))
    with pytest.raises(Conflict):
        await mine._send(items)
    assert not mine.busy
    assert {row.state for row in await core.rows("SELECT state FROM outbox")} == {outbox.QUEUED}


@pytest.mark.parametrize(
    ("kind", "frozen_ms", "leaves"),
    [
        (MessageClass.marketing, 1_900, True),
        (MessageClass.marketing, 2_100, False),
        (MessageClass.reply, 14_000, True),
        (MessageClass.reply, 16_000, False),
    ],
)
async def test_frozen_between_mark_and_bytes(
    core: Core, tmp_path: Path, kind: MessageClass, frozen_ms: int, leaves: bool
) -> None:
    """Late bytes could reach somebody who has opted out, or twice after a takeover: then the gate is asked again."""
    mine = sender_of(core, tmp_path)
    (item,) = await queue(core, 1, kind)
    marked = await core.do(lambda c: outbox.mark(c, [item.id], now=core.now, lease=LEASE))
    marked_at = core.now
    core.now += frozen_ms
    await mine._attempt(item, marked[item.id], marked_at)
    await mine._results.drain()
    left = await core.rows("SELECT state, tries FROM outbox")
    assert left == ([] if leaves else [(outbox.QUEUED, 0)])
