"""Real processes for tests: the simulators and our server as children, killed, stopped and started again.

Everything that is started is recorded with the run (`tests.support.run`), prints into the run's `logs/` folder (which
is searched for canaries), listens on a free port of this machine, and is ended by its id. Waiting looks at the process
or its port every few milliseconds and has a deadline.
"""

from __future__ import annotations

import asyncio
import json
import os
import resource
import signal
import subprocess
import sys
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Self

import aiohttp

from simulators.control import SimulatorControl
from tests.support.run import Run
from tests.support.town import free_port

ROOT = Path(__file__).resolve().parents[2]
READY_S = 45.0  # a start takes one to two seconds on an idle machine, but suites share two cores
LOOK_S = 0.005


class Child:
    """A process that a test has started."""

    def __init__(self, run: Run, name: str, arguments: list[str], environment: Mapping[str, str]) -> None:
        self.log = run.logs / f"{name}-{os.getpid()}-{time.monotonic_ns()}.log"
        kept = {key: value for key, value in os.environ.items() if not key.startswith("PASSAPAROLA_")}
        with self.log.open("wb") as output:
            self._process = subprocess.Popen(
                arguments, stdout=output, stderr=subprocess.STDOUT, cwd=ROOT, env={**kept, **environment}
            )
        run.record(self._process.pid)

    @property
    def status(self) -> int | None:
        """The exit status as a shell shows it (137 for kill -9); None while it runs."""
        status = self._process.poll()
        return 128 - status if status is not None and status < 0 else status

    @property
    def printed(self) -> str:
        """What it has printed so far."""
        return self.log.read_text(errors="replace")

    def send(self, number: signal.Signals) -> None:
        self._process.send_signal(number)

    def limit_files(self, size: int) -> None:
        """No file of the process may grow past so many bytes (RLIMIT_FSIZE): to it the disk is full there."""
        hard = resource.prlimit(self._process.pid, resource.RLIMIT_FSIZE)[1]
        resource.prlimit(self._process.pid, resource.RLIMIT_FSIZE, (size, hard))

    @property
    def pid(self) -> int:
        """For looking at its memory, open files and threads."""
        return self._process.pid

    async def ended(self, within_s: float = READY_S) -> int:
        """Its exit status once it has ended; fails the test when it runs on."""
        deadline = time.monotonic() + within_s
        while (status := self.status) is None:
            if time.monotonic() > deadline:
                raise AssertionError(
                    f"{self.log.name} still runs after {within_s:.0f} s:\n{self.printed[-4000:]}"
                )
            await asyncio.sleep(LOOK_S)
        return status

    def end(self) -> None:
        """Ends it at once, if it still runs."""
        if self._process.poll() is None:
            self._process.kill()
        self._process.wait()


class Simulators:
    """`python -m simulators` as a process; `control` speaks to it."""

    def __init__(self, run: Run, folder: Path, seed: Mapping[str, Any]) -> None:
        self._run = run
        self._seed = folder / "seed.json"
        self._seed.write_text(json.dumps(seed))
        self.origin = ""
        self.control: SimulatorControl
        self.child: Child

    async def __aenter__(self) -> Self:
        arguments = ["-m", "simulators", "--no-limits", "--print-url", "--seed", str(self._seed)]
        self.child = Child(self._run, "simulators", [sys.executable, *arguments], {})
        deadline = time.monotonic() + READY_S
        while "\n" not in self.child.printed:
            running = self.child.status is None and time.monotonic() < deadline
            assert running, self.child.printed
            await asyncio.sleep(LOOK_S)
        self.origin = self.child.printed.split()[0]
        self.control = SimulatorControl(self.origin)
        return self

    async def __aexit__(self, *_: object) -> None:
        await self.control.close()
        self.child.end()


class Server:
    """`passaparola serve`, as often as a test starts it, always on the same port and data.

    `folder` is the data folder; `url` a database URL or "" for the file in it; `roles` as on the command line. One
    without the role `web` answers on its port too: how it fares.
    """

    def __init__(
        self,
        run: Run,
        folder: Path,
        origin: str,
        *,
        url: str = "",
        settings: Mapping[str, str] | None = None,
        roles: str = "all",
    ) -> None:
        self._run = run
        self._arguments = ["-m", "config.cli", "serve", "--roles", roles]
        self.port = free_port()
        self.environment = {
            "PASSAPAROLA_DATA_DIR": str(folder),
            "PASSAPAROLA_DATABASE_URL": url or f"sqlite:///{folder / 'passaparola.sqlite3'}",
            "PASSAPAROLA_PORT": str(self.port),
            "PASSAPAROLA_HEALTH_PORT": str(self.port),
            "PASSAPAROLA_PUBLIC_URL": f"http://127.0.0.1:{self.port}",
            "PASSAPAROLA_TELEGRAM_API_URL": origin,
            "PASSAPAROLA_WHATSAPP_API_URL": origin,
            **(settings or {}),
        }
        self.child: Child | None = None

    @property
    def base_url(self) -> str:
        return f"http://127.0.0.1:{self.port}"

    def launch(self, *, crash_at: str = "") -> Child:
        """Starts it; it may not answer yet."""
        environment = {**self.environment, **({"PASSAPAROLA_CRASH_AT": crash_at} if crash_at else {})}
        self.child = Child(self._run, "server", [sys.executable, *self._arguments], environment)
        return self.child

    async def start(self, *, crash_at: str = "") -> Child:
        """Starts it; returns once it answers, or has ended."""
        child = self.launch(crash_at=crash_at)
        deadline = time.monotonic() + READY_S
        while child.status is None and not await self._answers():
            assert time.monotonic() < deadline, f"no answer within {READY_S:.0f} s:\n{child.printed[-4000:]}"
            await asyncio.sleep(LOOK_S * 8)
        return child

    async def _answers(self) -> bool:
        try:
            async with (
                aiohttp.ClientSession(timeout=aiohttp.ClientTimeout(total=2)) as session,
                session.get(f"{self.base_url}/healthz"),
            ):
                return True
        except (aiohttp.ClientError, TimeoutError):
            return False

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, *_: object) -> None:
        if self.child is not None:
            self.child.end()
