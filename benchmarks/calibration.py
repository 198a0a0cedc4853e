"""How fast this machine is now: fixed pure-Python work and a bare aiohttp echo.

Absolute budgets were set where an echo costs 69 µs of CPU; they are scaled by what it costs in the same run.
"""

from __future__ import annotations

import statistics
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

from benchmarks import loading
from benchmarks.children import Child, child
from benchmarks.machine import cores

REFERENCE_ECHO_US = 69.0
ECHOES = 4_000
COLD_PER_S, COLD_ECHOES = 10.0, 10  # what code costs that runs ten times a second, here as for everybody
BODY = b'{"update_id":1,"message":{"message_id":7,"text":"' + b"x" * 880 + b'"}}'


class Calibration:
    """Echoes of this run; `scale` is what absolute budgets are multiplied with."""

    def __init__(self, server: Child) -> None:
        self._server = server
        self.echo_us: list[float] = []
        self.rates: list[float] = []
        self.python_ms: list[float] = []
        self.cold_us: list[float] = []

    async def cold(self, count: int = COLD_ECHOES) -> None:
        """One round of echoes one by one, ten a second."""
        requests = [loading.request("/webhooks/telegram/echo", BODY)] * count
        before = self._server.cpu_s()
        fired = await loading.fire(self._server.port, requests, connections=1, pause_s=1 / COLD_PER_S)
        assert fired.accepted == count, f"the echo answered {dict(fired.statuses)}"
        self.cold_us.append((self._server.cpu_s() - before) / count * 1e6)

    async def echo(self, count: int = ECHOES) -> float:
        """One round: CPU µs of an echoed request."""
        requests = [loading.request("/webhooks/telegram/echo", BODY)] * count
        before = self._server.cpu_s()
        fired = await loading.fire(self._server.port, requests)
        used = (self._server.cpu_s() - before) / count * 1e6
        assert fired.accepted == count, f"the echo answered {dict(fired.statuses)}"
        self.echo_us.append(used)
        self.rates.append(count / fired.elapsed_s)
        self.python_ms.append(fixed_work())
        return used

    @property
    def scale(self) -> float:
        """How much longer than on the reference machine work takes here."""
        return statistics.median(self.echo_us) / REFERENCE_ECHO_US if self.echo_us else 1.0


@asynccontextmanager
async def calibrated(folder: Path) -> AsyncIterator[Calibration]:
    """An echo server on the core of the program under test."""
    async with child(["benchmarks.serving", "echo"], core=cores()[0], folder=folder) as server:
        calibration = Calibration(server)
        await calibration.echo(500)  # warm
        calibration.echo_us.clear()
        calibration.rates.clear()
        calibration.python_ms.clear()
        yield calibration


def fixed_work() -> float:
    """CPU ms of the same small calculation everywhere."""
    before = time.process_time()
    total = 0
    words: dict[str, int] = {}
    for number in range(60_000):
        total += number * number % 7
        words[str(number % 997)] = total
    return (time.process_time() - before) * 1000
