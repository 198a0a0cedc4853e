"""Many messages, one after the other: what the process holds does not grow with what it has handled."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import aiohttp
import psutil
import pytest

from domain import ids
from simulators.control import SimulatorControl
from storage.database import Database
from tests.canary import CANARY_SECRET
from tests.faults.conftest import Counted
from tests.faults.deliveries import encoded, signed
from tests.faults.test_kill import drained, rows
from tests.faults.test_overload import flooded_server
from tests.support.posting import MIRROR, Poster
from tests.support.run import Run
from tests.support.town import BUSINESS, NUMBER, Town, until

FIRST = 5_400_000
MESSAGES = 200_000
WARM_UP = 60_000  # caches of statements, flows, the store's pages
EVERY = 10_000  # between two looks
WRITERS = 40  # people who write at a time
TEXTS = 60  # that each of them says between two looks
STATUSES = 100  # in one delivery
MB_PER_10K = 1.0


async def test_nothing_is_left_of_a_thousand_messages(town: Town, counted: Counted) -> None:
    """As many tasks afterwards as before, and nothing waits anywhere."""
    channel = await town.telegram()
    await town.publish(MIRROR, "mirror")
    people = town.crowd(FIRST, WRITERS)
    async with Poster(town.webhook(channel)) as poster:
        await _converse(poster, people, 5)
        await town.settle()
        before = len(asyncio.all_tasks())
        await _converse(poster, people, 20)
        await town.settle()

        async def quiet() -> bool:
            return len(asyncio.all_tasks()) <= before + 2  # the platform's side may hold a connection more

        await until(quiet, "tasks have ended", lambda: f"{before} → {len(asyncio.all_tasks())}")
    assert not town.app.live.failed()
    assert not any(town.app.database.waiting().values())
    counted("soak, short", deliveries=len(poster.answers), tasks=before)


@dataclass
class Looks:
    """What a process held, look by look: messages so far → MB, open files, threads."""

    process: psutil.Process
    taken: list[tuple[int, float, int, int]] = field(default_factory=list)

    def look(self, messages: int) -> None:
        with self.process.oneshot():
            mb = self.process.memory_info().rss / 1e6
        self.taken.append((messages, mb, self.process.num_fds(), self.process.num_threads()))

    def mb_per_10k(self) -> float:
        """The slope of the line that fits best, after the warm-up."""
        points = [(one[0] / 10_000, one[1]) for one in self.taken if one[0] >= WARM_UP]
        mean_x = sum(x for x, _ in points) / len(points)
        mean_y = sum(y for _, y in points) / len(points)
        return sum((x - mean_x) * (y - mean_y) for x, y in points) / sum((x - mean_x) ** 2 for x, _ in points)


@pytest.mark.chaos
@pytest.mark.timeout(420)
async def test_two_hundred_thousand_messages(run: Run, tmp_path: Path, counted: Counted) -> None:
    """Conversations on Telegram (each text and its answer), and statuses of WhatsApp, a hundred in a delivery."""
    async with flooded_server(run, tmp_path) as (simulators, server, store, poster, people):
        child, control = server.child, simulators.control
        assert child is not None
        messages = await _whatsapp_messages(control, store)
        [channel] = await rows(store, "SELECT id FROM channel WHERE kind = 'whatsapp'")
        url = f"{server.base_url}/webhooks/whatsapp/{ids.to_text('channel', channel.id)}"
        looks, done, started = Looks(psutil.Process(child.pid)), 0, time.monotonic()
        async with aiohttp.ClientSession() as session:
            while done < MESSAGES:
                done += await _converse(poster, people[:WRITERS], TEXTS) * 2
                done += await _report(session, url, messages, EVERY - TEXTS * WRITERS * 2)
                await until(lambda: drained(store), "drained", within_s=60, every_s=0.05)
                looks.look(done)
        _, first_mb, files, threads = next(one for one in looks.taken if one[0] >= WARM_UP)
        _, last_mb, last_files, last_threads = looks.taken[-1]
        counted(
            "soak",
            messages=done,
            seconds=round(time.monotonic() - started),
            mb_after_warm_up=round(first_mb, 1),
            mb_at_the_end=round(last_mb, 1),
            mb_per_10k=round(looks.mb_per_10k(), 3),
            files=last_files,
            threads=last_threads,
        )
        assert looks.mb_per_10k() < MB_PER_10K, looks.taken
        assert last_files <= files + 10
        assert last_threads <= threads
        [parked] = (await rows(store, "SELECT count(*) FROM intake WHERE state = 1"))[0]
        assert parked == 0


async def _converse(poster: Poster, people: Sequence[int], texts: int) -> int:
    """Everybody says so many texts, one after the other; gives how many were said in all."""

    async def talk(person: int) -> None:
        for number in range(texts):
            await poster.insist(*poster.update(person, str(number)))

    await asyncio.gather(*(talk(person) for person in people))
    return texts * len(people)


async def _whatsapp_messages(control: SimulatorControl, store: Database) -> list[tuple[str, str]]:
    """Messages of ours that arrived at people on WhatsApp: (person, external id)."""

    async def registered() -> bool:
        return bool(await control.log(kind="handshake"))

    await until(registered, "the number knows our endpoint", within_s=90)
    for _ in range(50):
        person = await control.whatsapp_person(name="Anna")
        await control.whatsapp_act(NUMBER, person, "say", text="ciao")
    await until(lambda: drained(store), "drained", within_s=60)

    async def answered() -> bool:
        return len(await sent()) == 50

    async def sent() -> list[Any]:
        return await rows(
            store,
            "SELECT c.address, m.external_id FROM message m JOIN conversation c ON c.id = m.conversation_id "
            "WHERE m.direction = 'out' AND m.external_id LIKE 'wamid%'",
        )

    await until(answered, "everybody was answered", within_s=60)
    return [(row.address, row.external_id) for row in await sent()]


async def _report(
    session: aiohttp.ClientSession, url: str, messages: Sequence[tuple[str, str]], count: int
) -> int:
    """So many statuses, a hundred in a delivery; gives how many."""
    at, deliveries = int(time.time()), -(-count // STATUSES)
    kinds = ("sent", "delivered", "read")
    for delivery in range(deliveries):
        statuses = []
        for number in range(STATUSES):
            person, external_id = messages[(delivery * STATUSES + number) % len(messages)]
            kind = kinds[(delivery + number) % 3]
            statuses.append({"id": external_id, "status": kind, "timestamp": str(at), "recipient_id": person})
        value = {
            "messaging_product": "whatsapp",
            "metadata": {"display_phone_number": "15555550001", "phone_number_id": NUMBER},
            "statuses": statuses,
        }
        change = {"id": BUSINESS, "changes": [{"field": "messages", "value": value}]}
        body = encoded({"object": "whatsapp_business_account", "entry": [change]})
        async with session.post(url, data=body, headers=signed(body, CANARY_SECRET)) as response:
            assert response.status == 200, response.status
    return deliveries * STATUSES
