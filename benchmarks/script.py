"""The people of the form: what they write, and what walking through it together costs the program that answers.

`/start`, name, e-mail, phone, consent: every message of a person gets one answer, and one in ten writes a wrong e-mail
first. The words waited for are in every form that is compared.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass
from typing import Any

from benchmarks.children import Child
from simulators.control import SimulatorControl

SCRIPT: list[dict[str, Any]] = [
    {"do": "start"},
    {"wait_for": "your name", "do": "say", "text": "Anna Rossi"},
    {"every": 10, "wait_for": "e-mail", "do": "say", "text": "anna@@example"},
    {"wait_for": "e-mail", "do": "say", "text": "anna{n}@example.com"},
    {"wait_for": "number", "do": "say", "text": "+44 7700 900123"},
    {"wait_for": {"button": "Yes"}, "do": "tap", "text": "Yes"},
    {"wait_for": "all done"},
]
STEPS = 5  # of a person who writes no wrong e-mail
THINK_S = [0.05, 0.15]  # between an answer and the next message, where people come one after the other
CROWD = 400  # people at once at saturation
# Telegram opens twenty connections a second to a server that has work for them, up to its 100 (ours) or 40 (a peer's).
WARM_S = 6.0
WAIT_S = 30.0  # for an answer; nobody may wait in vain
LIMIT_S = 90.0


@dataclass(frozen=True)
class Walk:
    """What one walk of many people showed. Times are from a person's message to its answer; CPU is the server's."""

    steps: int
    elapsed_s: float
    cpu_s: float
    p50_ms: float
    p99_ms: float
    lost: int = 0  # people who waited in vain for an answer

    @property
    def per_s(self) -> float:
        """Steps per second, from the first message to the last answer."""
        return self.steps / self.elapsed_s

    @property
    def cpu_us(self) -> float:
        """CPU of a step, all threads of the server."""
        return self.cpu_s / self.steps * 1e6


async def walk(
    control: SimulatorControl,
    server: Child,
    token: str,
    *,
    people: int,
    steps_per_s: float = 0,
    may_lose: bool = False,
) -> Walk:
    """So many new people walk through the form of one bot: all at once, or so that there are `steps_per_s`.

    Raises AssertionError when somebody waits in vain for an answer, unless that may happen: then they are counted.
    """
    paced: dict[str, Any] = {"rate_per_s": steps_per_s / STEPS, "think_s": THINK_S} if steps_per_s else {}
    cpu = server.cpu_s()
    number = await control.play("telegram", token, SCRIPT, people=people, timeout_s=WAIT_S, **paced)
    report = await control.play_finished(number, timeout_s=LIMIT_S)
    used = server.cpu_s() - cpu
    lost, answers = report["failed"], report["answers"]
    assert may_lose or not lost, f"people who got no answer: {report['failures'][:3]}"
    return Walk(answers["count"], report["elapsed_s"], used, answers["p50_ms"], answers["p99_ms"], lost)


async def warm(walks: Sequence[Callable[[], Awaitable[Walk]]], *, seconds: float) -> None:
    """Has all programs walked through at the same time, again and again: until the platform has opened its connections,
    the statements are compiled, and the interpreter has learned what it can."""
    ends = time.perf_counter() + seconds

    async def one(walked: Callable[[], Awaitable[Walk]]) -> None:
        while time.perf_counter() < ends:
            await walked()

    await asyncio.gather(*map(one, walks))
