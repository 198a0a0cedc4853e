"""`python -m simulators`: run both networks on one port until a signal comes or the parent process goes."""

from __future__ import annotations

import argparse
import asyncio
import gc
import json
import os
import signal
import sys
from pathlib import Path
from typing import Any

from aiohttp import web

from simulators.app import build_app
from simulators.log import DEFAULT_LIMIT
from simulators.seed import plant
from simulators.world import WORLD, ControlError

# How often a child looks whether its parent is still there.
PARENT_CHECK_S = 0.5
# Open requests (long polling, streams, hanging faults) are cut off after this when a signal comes.
SHUTDOWN_S = 0.5


def main() -> int:
    """Parse the arguments, run, and give the exit status: 0 ended by signal, 1 could not start, 2 usage."""
    arguments = _parse()
    try:
        seed = json.loads(arguments.seed.read_text("utf-8")) if arguments.seed else {}
    except (OSError, ValueError) as error:
        print(f"simulators: cannot read {arguments.seed}: {error}", file=sys.stderr)
        return 1
    try:
        import uvloop
    except ImportError:
        return asyncio.run(run(arguments, seed))
    return uvloop.run(run(arguments, seed))


def _parse() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m simulators", description=__doc__)
    parser.add_argument("--host", default="127.0.0.1")
    parser.add_argument("--port", type=int, default=0, help="0: the system chooses one (the default)")
    parser.add_argument(
        "--print-url", action="store_true", help="print only the URL, without the words before it"
    )
    parser.add_argument(
        "--seed", type=Path, help="JSON file with bots, numbers, people and chats to begin with"
    )
    parser.add_argument("--chance", type=int, default=0, help="seed of everything random")
    parser.add_argument("--log-limit", type=int, default=DEFAULT_LIMIT, help="entries kept in the event log")
    parser.add_argument(
        "--no-limits", action="store_true", help="switch the rate limits of both networks off"
    )
    parser.add_argument("--exit-with-parent", type=int, metavar="PID", help="end when this process is gone")
    return parser.parse_args()


async def run(arguments: argparse.Namespace, seed: dict[str, Any]) -> int:
    """Serve until SIGTERM, SIGINT or the parent's end."""
    stop = asyncio.Event()
    loop = asyncio.get_running_loop()
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, stop.set)
    # What was imported stays, and hardly anything made here forms cycles: looking for those was a tenth of the CPU that
    # a measurement takes here.
    gc.freeze()
    gc.set_threshold(50_000, 20, 50)
    app = build_app(seed=arguments.chance, log_limit=arguments.log_limit)
    runner = web.AppRunner(app, access_log=None, shutdown_timeout=SHUTDOWN_S, handler_cancellation=True)
    await runner.setup()
    try:
        site = web.TCPSite(runner, arguments.host, arguments.port, backlog=1024)
        await site.start()
        host, port = runner.addresses[0][:2]
        app[WORLD].origin = f"http://{host}:{port}"
        if arguments.no_limits:
            for network in app[WORLD].networks.values():
                network.set_limits({"enabled": False})
        plant(app[WORLD], seed)
        print(
            app[WORLD].origin if arguments.print_url else f"simulators ready {app[WORLD].origin}", flush=True
        )
        await _until_over(stop, arguments.exit_with_parent)
    except OSError as error:
        print(
            f"simulators: cannot listen on {arguments.host}:{arguments.port}: {error.strerror}",
            file=sys.stderr,
        )
        return 1
    except ControlError as error:
        print(f"simulators: {arguments.seed}: {error}", file=sys.stderr)
        return 1
    finally:
        await runner.cleanup()
    return 0


async def _until_over(stop: asyncio.Event, parent: int | None) -> None:
    while not stop.is_set():
        if parent is not None and not _is_there(parent):
            return
        try:
            await asyncio.wait_for(stop.wait(), PARENT_CHECK_S if parent is not None else None)
        except TimeoutError:
            continue


def _is_there(pid: int) -> bool:
    # A dead parent that nobody has waited for yet still has its pid; being handed to another parent tells it too.
    if os.getppid() == pid:
        return True
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    except PermissionError:
        return True
    return not _is_zombie(pid)


def _is_zombie(pid: int) -> bool:
    try:
        return Path(f"/proc/{pid}/stat").read_text("utf-8").rpartition(")")[2].split()[0] == "Z"
    except (OSError, IndexError):
        return False


if __name__ == "__main__":
    sys.exit(main())
