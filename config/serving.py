"""One server process from its first line to its last: what `serve` and `demo` share, and commands without a server.

`serve` runs the application with its control socket until SIGTERM or SIGINT. `perform` runs one operation: beside a
running server through that socket, else directly on the database. On SQLite the direct way takes the server's place
(the lock on the file), so that two never write by turns what each believes to know; on PostgreSQL it is one process
more.
"""

from __future__ import annotations

import asyncio
import signal
import time
from collections.abc import Awaitable, Callable, Collection, Coroutine, Mapping
from contextlib import AsyncExitStack
from typing import TYPE_CHECKING, Any, TypeVar

import structlog

from config import control, logs
from config.settings import Settings
from config.starting import settle_memory
from domain.errors import Conflict, Unavailable

if TYPE_CHECKING:
    from config.bootstrap import App

ANSWER_S = 10.0  # how long a command waits for a server that is just starting or ending
LOOK_S = 0.1
WATCH_S = 1.0

T = TypeVar("T")
Progress = control.Progress

_log = structlog.get_logger("app")


def run(work: Coroutine[Any, Any, T]) -> T:
    """Runs the coroutine on the fast loop where there is one."""
    try:
        import uvloop
    except ImportError:  # Windows
        return asyncio.run(work)
    return uvloop.run(work)


async def serve(
    settings: Settings,
    roles: Collection[str],
    *,
    ready: Callable[[App], Awaitable[None]] | None = None,
    until: asyncio.Future[Any] | None = None,
) -> int:
    """Serves until a signal comes (then 0), `until` is done, or a part of the application has failed (then 1).

    `ready` is called once the application answers. Raises AppError when it cannot start.
    """
    from config.bootstrap import build

    logs.configure(settings.log_level, settings.log_format)
    stopping = asyncio.Event()
    loop = asyncio.get_running_loop()
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, stopping.set)
    watched: list[asyncio.Future[Any]] = [asyncio.create_task(stopping.wait())]
    try:
        async with AsyncExitStack() as stack:
            app = await stack.enter_async_context(build(settings, roles=roles))
            if settings.store_url.startswith("sqlite"):  # on PostgreSQL commands need no server
                await stack.enter_async_context(control.serve(app))
            settle_memory()
            if ready is not None:
                await ready(app)
            watched.append(asyncio.create_task(_failed(app)))
            given = [] if until is None else [until]  # its owner ends it
            await asyncio.wait([*watched, *given], return_when=asyncio.FIRST_COMPLETED)
    finally:
        for task in watched:
            task.cancel()
        await asyncio.gather(*watched, return_exceptions=True)
        for number in (signal.SIGTERM, signal.SIGINT):
            loop.remove_signal_handler(number)
    return 0 if stopping.is_set() else 1


async def _failed(app: App) -> None:
    """Returns when a part of the application has ended by itself: better a restart than half a server."""
    while not (parts := app.live.failed()):  # noqa: ASYNC110 (tasks end without an event)
        await asyncio.sleep(WATCH_S)
    _log.error("part_failed", parts=parts)


async def perform(
    settings: Settings, command: str, arguments: Mapping[str, Any], progress: Progress
) -> dict[str, Any]:
    """One operation, by the running server or directly. Raises AppError."""
    if settings.store_url.startswith("sqlite"):
        return await _on_sqlite(settings, command, arguments, progress)
    return await _directly(settings, command, arguments, progress)


async def _on_sqlite(
    settings: Settings, command: str, arguments: Mapping[str, Any], progress: Progress
) -> dict[str, Any]:
    deadline = time.monotonic() + ANSWER_S
    while True:
        path = control.socket_of(settings.data_dir)
        try:
            if path is not None:
                return await control.ask(path, command, arguments, progress)
        except (ConnectionRefusedError, FileNotFoundError):
            pass  # left by a server that was killed
        try:
            return await _directly(settings, command, arguments, progress)
        except _Locked:
            if time.monotonic() > deadline:
                raise Unavailable("the server is just starting or ending: try again in a moment") from None
            await asyncio.sleep(LOOK_S)


class _Locked(Exception):
    """Another process holds the SQLite file."""


async def _directly(
    settings: Settings, command: str, arguments: Mapping[str, Any], progress: Progress
) -> dict[str, Any]:
    from config.bootstrap import build
    from config.operations import run as run_operation

    logs.configure("warning", settings.log_format)
    app = build(settings, roles=())
    try:
        await app.start()
    except Conflict as error:
        if "another Passaparola server" in str(error):
            raise _Locked from error
        raise
    try:
        return await run_operation(await control.context_of(app, progress), command, arguments)
    finally:
        await app.stop()
