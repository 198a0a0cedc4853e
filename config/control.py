"""The control socket: how a command speaks with the server that has the same SQLite file open.

A Unix socket `control.sock` in DATA_DIR, mode 600. Where its path would be longer than a socket's path may be, it lies
in a private temporary folder whose name stands in the file `control.path`. One request a connection: a line
`{"command": …, "arguments": {…}}`; answers are lines: any number of `{"progress": {done, total, what}}`, then one
`{"result": {…}}` or `{"error": {kind, what, where}}`. Whoever may open the socket may do everything: it is the owner's.
"""

from __future__ import annotations

import asyncio
import contextlib
import os
import shutil
import socket
import stat
import tempfile
from collections.abc import AsyncIterator, Callable, Mapping
from contextlib import asynccontextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

import msgspec
import structlog

from domain.errors import (
    AppError,
    Conflict,
    NotAllowed,
    NotFound,
    RejectedInput,
    SendError,
    SendFailure,
    Unavailable,
)

if TYPE_CHECKING:
    from config.bootstrap import App

SOCKET, POINTER = "control.sock", "control.path"
MAX_PATH = 100  # bytes; systems take 104 to 108
MAX_LINE = 64 << 20  # bytes: five hundred flows in one request
AT_ONCE = 8  # commands at the same time; a person has two hands
REQUEST_S = 30.0  # for the request to arrive

Progress = Callable[[int, int, str], None]

_encode = msgspec.json.Encoder().encode
_log = structlog.get_logger("control")
_KINDS: dict[str, Callable[[str], AppError]] = {
    "RejectedInput": RejectedInput,
    "NotFound": NotFound,
    "NotAllowed": NotAllowed,
    "Conflict": Conflict,
    "Unavailable": Unavailable,
}


# --- the server's end -------------------------------------------------------------------------------------------------


@asynccontextmanager
async def serve(app: App) -> AsyncIterator[Path]:
    """Answers commands for the application while the block runs; gives the socket's path."""
    folder = app.settings.data_dir.absolute()
    folder.mkdir(parents=True, exist_ok=True, mode=0o700)
    path, private = folder / SOCKET, None
    if len(os.fsencode(path)) > MAX_PATH:
        private = Path(tempfile.mkdtemp(prefix="passaparola-"))
        path = private / SOCKET
    path.unlink(
        missing_ok=True
    )  # what a killed server left; that none runs was proven by the lock on the database
    bound = socket.socket(socket.AF_UNIX)
    before = os.umask(0o177)
    try:
        bound.bind(str(path))
    finally:
        os.umask(before)
    (folder / POINTER).write_text(f"{path}\n")
    slots = asyncio.Semaphore(AT_ONCE)
    server = await asyncio.start_unix_server(
        lambda r, w: _answer(app, slots, r, w), sock=bound, limit=MAX_LINE
    )
    try:
        yield path
    finally:
        server.close()
        path.unlink(missing_ok=True)
        (folder / POINTER).unlink(missing_ok=True)
        if private is not None:
            shutil.rmtree(private, ignore_errors=True)


async def _answer(
    app: App, slots: asyncio.Semaphore, reader: asyncio.StreamReader, writer: asyncio.StreamWriter
) -> None:
    def progress(done: int, total: int, what: str) -> None:
        writer.write(_encode({"progress": {"done": done, "total": total, "what": what}}) + b"\n")

    try:
        async with slots:
            answer = await _run(app, reader, progress)
        writer.write(_encode(answer) + b"\n")
        await writer.drain()
    except (ConnectionError, TimeoutError):
        pass  # whoever asked is gone; what was begun is done
    finally:
        writer.close()
        with contextlib.suppress(ConnectionError):
            await writer.wait_closed()


async def _run(app: App, reader: asyncio.StreamReader, progress: Progress) -> dict[str, Any]:
    from config.operations import run

    try:
        async with asyncio.timeout(REQUEST_S):
            line = await reader.readline()
        request = msgspec.json.decode(line)
        context = await context_of(app, progress)
        return {"result": await run(context, str(request["command"]), dict(request["arguments"]))}
    except AppError as error:
        return {"error": told(error)}
    except (msgspec.DecodeError, ValueError, KeyError, TypeError) as error:
        _log.warning("control_request_refused", problem=type(error).__name__, exc_info=error)
        return {"error": told(RejectedInput("the server does not understand the request"))}
    except Exception as error:  # one command's fault must not be the server's
        _log.error("control_command_failed", problem=type(error).__name__, exc_info=error)
        return {"error": told(Unavailable("the server could not do it; its log says why"))}


async def context_of(app: App, progress: Progress) -> Any:
    """What operations are handed, for the installation's business."""
    from config.business import ensure_workspace
    from config.operations import Context

    workspace_id = await app.database.write(lambda connection: ensure_workspace(connection, now=app.clock()))
    return Context(app, workspace_id, progress)


# --- the command's end ------------------------------------------------------------------------------------------------


def socket_of(data_dir: Path) -> Path | None:
    """Where a server of this folder would listen; None when none does."""
    try:
        path = Path((data_dir / POINTER).read_text().strip())
        mode = path.stat()
    except OSError:
        return None
    return path if stat.S_ISSOCK(mode.st_mode) and mode.st_uid == os.getuid() else None


async def ask(path: Path, command: str, arguments: Mapping[str, Any], progress: Progress) -> dict[str, Any]:
    """The server's result. Raises what the operation raised, and ConnectionError when nobody listens."""
    reader, writer = await asyncio.open_unix_connection(str(path), limit=MAX_LINE)
    try:
        writer.write(_encode({"command": command, "arguments": dict(arguments)}) + b"\n")
        await writer.drain()
        async for line in reader:
            answer = msgspec.json.decode(line)
            if "progress" in answer:
                told = answer["progress"]
                progress(told["done"], told["total"], told["what"])
            elif "error" in answer:
                raise understood(answer["error"])
            else:
                result: dict[str, Any] = answer["result"]
                return result
    finally:
        writer.close()
        with contextlib.suppress(ConnectionError):
            await writer.wait_closed()
    raise Unavailable("the server ended before it answered; look whether it was done")


def told(error: AppError) -> dict[str, str]:
    """An error as plain data."""
    where = error.where if isinstance(error, RejectedInput) else ""
    what = error.what if isinstance(error, RejectedInput) else str(error)
    kind = next((kind.__name__ for kind in type(error).__mro__ if kind.__name__ in _KINDS), "")
    if isinstance(error, SendError):
        kind, what, where = "SendError", error.detail, error.reason.value
    return {"kind": kind, "what": what, "where": where}


def understood(error: Mapping[str, str]) -> AppError:
    """The error that `told` made data of."""
    kind, what, where = error["kind"], error["what"], error["where"]
    if kind == "SendError":
        return SendError(SendFailure(where), what)
    if kind == "RejectedInput":
        return RejectedInput(what, where=where)
    return _KINDS.get(kind, AppError)(what)
