"""Long polling's patience: with the platform it grows, with our own store it does not."""

from __future__ import annotations

import asyncio
from types import SimpleNamespace
from typing import Any

import pytest

from bot import polling
from domain.errors import SendError, SendFailure, Unavailable


class Ended(Exception):
    """The test has seen enough."""


class Kind:
    """A platform with one update after another; `failures` refusals come first."""

    def __init__(self, failures: int) -> None:
        self.failures = failures
        self.asked: list[int] = []

    async def fetch(self, _client: object, offset: int) -> Any:
        self.asked.append(offset)
        if self.failures:
            self.failures -= 1
            raise SendError(SendFailure.unavailable, "not reached", retryable=True)
        return SimpleNamespace(updates=(b"update",), next_offset=offset + 1)

    def parse(self, body: bytes) -> list[bytes]:
        return [body]


class Store:
    """Takes a batch after `refusals`; ends the test with the third one."""

    def __init__(self, refusals: int) -> None:
        self.refusals = refusals
        self.taken: list[list[Any]] = []

    async def append(self, events: list[Any]) -> None:
        if self.refusals:
            self.refusals -= 1
            raise Unavailable("the store does not answer", retry_after=10.0)
        self.taken.append(events)
        if len(self.taken) == 3:
            raise Ended


async def polled(
    kind: Kind, store: Store, monkeypatch: pytest.MonkeyPatch, told: list[list[str]] | None = None
) -> list[float]:
    """The waits of a poller until the third batch; `told` gets what is said to fail during each of them."""
    waits: list[float] = []
    told = [] if told is None else told

    async def sleep(seconds: float) -> None:
        waits.append(seconds)
        told.append([str(problem) for _, problem in pollers.failing()])

    async def request(*_arguments: object) -> None:
        return None

    channel: Any = SimpleNamespace(id=7, kind=kind)
    unused: Any = None
    pollers = polling.Pollers(
        unused,
        unused,
        store,  # type: ignore[arg-type]
        lambda _channel: SimpleNamespace(request=request),
        webhooks_reach_us=False,
    )
    monkeypatch.setattr(asyncio, "sleep", sleep)
    with pytest.raises(Ended):
        await pollers._poll(channel)
    assert pollers.failing() == []
    return waits


async def test_a_platform_that_fails_is_asked_more_and_more_seldom(monkeypatch: pytest.MonkeyPatch) -> None:
    waits = await polled(Kind(failures=8), Store(refusals=0), monkeypatch)
    assert waits == [0.5, 1.0, 2.0, 5.0, 10.0, 30.0, 30.0, 30.0]


async def test_a_platform_that_goes_on_failing_is_named_until_it_answers(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """A hiccup is no news; a wrong token, a second program with the same bot or no network is, after 10 s."""
    told: list[list[str]] = []
    await polled(Kind(failures=6), Store(refusals=0), monkeypatch, told)
    assert told == [[]] * 4 + [["unavailable: not reached"]] * 2


async def test_a_store_that_was_away_long_has_the_batch_a_second_after_it_is_back(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """And the batch stays in hand: its offset is not confirmed, nor asked for again."""
    kind, store = Kind(failures=0), Store(refusals=100)
    waits = await polled(kind, store, monkeypatch)
    assert waits == [polling.STORE_S] * 100
    assert polling.STORE_S <= 1
    assert kind.asked == [0, 1, 2]
    assert [len(batch) for batch in store.taken] == [1, 1, 1]
