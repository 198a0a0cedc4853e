"""Deliveries that a test posts itself, as fast and as many at a time as it likes, with a log that the checker reads.

The simulators deliver like the platforms, with few connections and growing pauses after a refusal. Overload, full disks
and slow clients need somebody who does not wait: a `Poster` posts Telegram texts to our endpoint and keeps, like the
simulators' log, what was answered. `MIRROR` is a flow that gives back every text, so that the order of replies shows.
"""

from __future__ import annotations

import asyncio
import hashlib
import hmac
import time
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Self

import aiohttp
import msgspec

from tests.support.town import BUSINESS, NUMBER, WEBHOOK_SECRET

MIRROR = """
flow: mirror
title: {it: Specchio, en: Mirror}
languages: [it, en]
triggers: [fallback]
start: hear
steps:
  hear:
    ask: text
    text: "Hai detto {{ session.said | default('') }}"
    save: session.said
    next: hear
"""
PATIENCE_S = 30.0  # past it a delivery counts as not answered, as it does for Telegram after a minute


@dataclass(frozen=True)
class Answered:
    """What came of a delivery: status (0: no answer), the seconds of Retry-After ("" without), ms until the answer."""

    update_id: int
    status: int
    retry_after: str
    ms: float


class Poster:
    """Posts to one endpoint. `log` has an entry for each attempt, as the simulators keep them."""

    def __init__(self, url: str, *, secret: str = WEBHOOK_SECRET, first: int = 1) -> None:
        self.url = url
        self.log: list[dict[str, Any]] = []
        self.answers: list[Answered] = []
        self._next = first
        self._headers = {"X-Telegram-Bot-Api-Secret-Token": secret, "Content-Type": "application/json"}
        self._session: aiohttp.ClientSession

    async def __aenter__(self) -> Self:
        self._session = aiohttp.ClientSession(
            connector=aiohttp.TCPConnector(limit=0),
            timeout=aiohttp.ClientTimeout(total=PATIENCE_S),
            cookie_jar=aiohttp.DummyCookieJar(),
        )
        return self

    async def __aexit__(self, *_: object) -> None:
        await self._session.close()

    def update(self, person: int, text: str) -> tuple[int, bytes]:
        """A new update: its id and its bytes."""
        update_id, self._next = self._next, self._next + 1
        user = {"id": person, "first_name": "Anna", "language_code": "it"}
        message = {
            "message_id": update_id,
            "from": {**user, "is_bot": False},
            "chat": {"id": person, "type": "private", "first_name": "Anna"},
            "date": int(time.time()),
            "text": text,
        }
        return update_id, msgspec.json.encode({"update_id": update_id, "message": message})

    async def say(self, person: int, text: str) -> Answered:
        """One text, one attempt."""
        return await self.post(*self.update(person, text))

    async def post(self, update_id: int, body: bytes) -> Answered:
        """One attempt to deliver."""
        started = time.perf_counter()
        status, retry_after = 0, ""
        try:
            async with self._session.post(self.url, data=body, headers=self.headers(body)) as response:
                status, retry_after = response.status, response.headers.get("Retry-After", "")
                await response.read()
        except (aiohttp.ClientError, OSError, TimeoutError):
            status = 0
        answered = Answered(update_id, status, retry_after, (time.perf_counter() - started) * 1000)
        self.answers.append(answered)
        self.log.append(
            {
                "kind": "delivery",
                "n": -len(self.log) - 1,  # apart from the simulators' own entries
                "at": time.time_ns() // 1_000_000,
                "status": status,
                **self.named(update_id),
            }
        )
        return answered

    def headers(self, body: bytes) -> dict[str, str]:
        """What proves that the platform sent it."""
        return self._headers

    def named(self, update_id: int) -> dict[str, Any]:
        """The delivery's network and names, as the simulators' log has them."""
        return {"network": "telegram", "update_id": update_id}

    async def insist(self, update_id: int, body: bytes, *, within_s: float = 60.0) -> Answered:
        """As a platform does: again after the pause that was asked for (at least 50 ms), until it is taken."""
        deadline = time.monotonic() + within_s
        while (answered := await self.post(update_id, body)).status != 200:
            assert time.monotonic() < deadline, (
                f"update {update_id} not taken within {within_s:.0f} s: {answered}"
            )
            await asyncio.sleep(0.05 if answered.status == 0 else float(answered.retry_after or 1))
        return answered

    def statuses(self) -> dict[int, int]:
        """How often each status was answered."""
        return dict(Counter(one.status for one in self.answers))

    def p99_ms(self) -> float:
        """Of all answers."""
        return percentile([one.ms for one in self.answers], 0.99)


class BatchPoster(Poster):
    """Posts as WhatsApp does: one delivery with a message from each of many people."""

    def __init__(self, url: str, *, secret: str) -> None:
        super().__init__(url)
        self._key = secret.encode()
        self._sizes: dict[int, int] = {}

    def batch(self, people: Sequence[str], text: str) -> tuple[int, bytes]:
        """A new delivery, by its number, and its bytes."""
        number, self._next = self._next, self._next + 1
        self._sizes[number] = len(people)
        now = str(int(time.time()))
        value = {
            "messaging_product": "whatsapp",
            "metadata": {"display_phone_number": "15555550001", "phone_number_id": NUMBER},
            "contacts": [{"profile": {"name": "Anna"}, "wa_id": person} for person in people],
            "messages": [
                {
                    "from": person,
                    "id": f"wamid.FLOOD{number}x{place}",
                    "timestamp": now,
                    "type": "text",
                    "text": {"body": text},
                }
                for place, person in enumerate(people)
            ],
        }
        entry = {"id": BUSINESS, "changes": [{"field": "messages", "value": value}]}
        return number, msgspec.json.encode({"object": "whatsapp_business_account", "entry": [entry]})

    def headers(self, body: bytes) -> dict[str, str]:
        signature = hmac.new(self._key, body, hashlib.sha256).hexdigest()
        return {"X-Hub-Signature-256": f"sha256={signature}", "Content-Type": "application/json"}

    def named(self, update_id: int) -> dict[str, Any]:
        ids = [f"wamid.FLOOD{update_id}x{place}" for place in range(self._sizes[update_id])]
        return {"network": "whatsapp", "ids": ids}


def percentile(values: Iterable[float], share: float) -> float:
    """The value below which `share` of them lie; 0 of none."""
    ordered = sorted(values)
    return ordered[min(len(ordered) - 1, int(len(ordered) * share))] if ordered else 0.0


def mirrored(log: Iterable[Mapping[str, Any]]) -> dict[str, list[str]]:
    """What the mirror gave back to each person, in order, from the simulators' log; a first text only starts it."""
    said: dict[str, list[str]] = {}
    for entry in log:
        text = str(entry["text"]) if entry["kind"] == "message" else ""
        given = text.removeprefix("Hai detto ")
        if given and given != text:
            said.setdefault(entry["to"], []).append(given)
    return said
