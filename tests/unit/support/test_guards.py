"""The guards around the suite are tried on small suites of their own, in child processes."""

from __future__ import annotations

import asyncio
import os
import socket
import subprocess
import sys
from collections.abc import Callable, Coroutine
from pathlib import Path

import psutil
import pytest
import uvloop

from tests.support.canaries import CHUNK, NEEDLES, leaking_files
from tests.support.network import LeftTheMachine, is_local
from tests.support.run import Run, end

ROOT = Path(__file__).resolve().parents[3]
Suite = Callable[..., subprocess.CompletedProcess[str]]

CONFTEST = """
pytest_plugins = ["tests.support.run", "tests.support.network", "tests.support.canaries"]
"""
FOREIGN = ("192.0.2.1", 80)  # an address that is reserved for documents: nobody is there


@pytest.fixture
def suite(tmp_path: Path) -> Suite:
    """Runs a test file (its source) under the guards: (source, workers) -> the finished process."""

    def play(source: str, *, workers: int = 0) -> subprocess.CompletedProcess[str]:
        (tmp_path / "conftest.py").write_text(CONFTEST)
        (tmp_path / "test_it.py").write_text(source)
        command = [sys.executable, "-m", "pytest", "-q", "-c", os.devnull, f"--rootdir={tmp_path}"]
        if workers:
            command += ["-p", "xdist.plugin", "-n", str(workers)]
        return subprocess.run(
            [*command, "-p", "no:cacheprovider", str(tmp_path)],
            cwd=tmp_path,
            env=os.environ | {"PYTHONPATH": str(ROOT), "PYTEST_DISABLE_PLUGIN_AUTOLOAD": "1"},
            capture_output=True,
            text=True,
            check=False,
        )

    return play


LEAKS = """
import logging, sys
from urllib.parse import quote
from tests.canary import *
def test_log():
    logging.getLogger('bot').error('no answer for %s', CANARY_PHONE)
def test_output():
    print('sent', CANARY_TEXT)
def test_error_output():
    sys.stderr.write('https://example.com/bot' + quote(CANARY_TOKEN, safe='') + '/getMe')
def test_child(process_logs):
    (process_logs / 'server.err').write_text('KeyError: ' + CANARY_PHONE[1:])
"""


@pytest.mark.parametrize("workers", [0, 2])
def test_a_leak_fails_the_run_though_all_tests_passed(suite: Suite, workers: int) -> None:
    """Log, standard output, standard error and a child's output are searched; the value is not repeated."""
    done = suite(LEAKS, workers=workers)
    assert done.returncode == pytest.ExitCode.TESTS_FAILED, done.stdout + done.stderr
    assert "4 passed" in done.stdout
    for culprit in ("::test_log: ", "::test_output: ", "::test_error_output: ", "server.err: "):
        assert culprit in done.stdout
    assert not any(needle.decode() in done.stdout for needle in NEEDLES)


def test_a_silent_suite_passes(suite: Suite) -> None:
    """Using canaries is fine as long as nobody tells."""
    done = suite(
        "from tests.canary import *\ndef test_quiet():\n    print('message sent', len(CANARY_TEXT))\n"
    )
    assert done.returncode == 0, done.stdout


def test_a_canary_across_two_chunks_is_found(tmp_path: Path) -> None:
    (tmp_path / "long.log").write_bytes(b"." * (CHUNK - 3) + NEEDLES[0] + b"." * CHUNK)
    (tmp_path / "clean.log").write_bytes(b"." * (CHUNK + 3))
    assert list(leaking_files(tmp_path)) == [tmp_path / "long.log"]


ESCAPES = """
import contextlib, socket
def test_connection():
    with contextlib.suppress(OSError):
        socket.create_connection(('192.0.2.1', 80), timeout=1)
def test_datagram():
    with contextlib.suppress(OSError), socket.socket(type=socket.SOCK_DGRAM) as one:
        one.sendto(b'', ('192.0.2.1', 53))
def test_name():
    with contextlib.suppress(OSError):
        socket.getaddrinfo('chat.example.com', 443)
def test_home():
    with socket.create_server(('127.0.0.1', 0)) as server:
        socket.create_connection(server.getsockname()).close()
"""


def test_leaving_this_machine_fails_the_test_that_did(suite: Suite) -> None:
    """The error is swallowed, as a retry loop would do, and the test fails all the same."""
    done = suite(ESCAPES)
    assert done.returncode == pytest.ExitCode.TESTS_FAILED
    assert "4 passed, 3 errors" in done.stdout
    assert done.stdout.count("Failed: left this machine: ") >= 3


async def raw_socket(loop: asyncio.AbstractEventLoop) -> None:
    with socket.socket() as plain:
        plain.setblocking(False)
        await loop.sock_connect(plain, FOREIGN)


async def connection(loop: asyncio.AbstractEventLoop) -> None:
    await loop.create_connection(asyncio.Protocol, *FOREIGN)


async def name_lookup(loop: asyncio.AbstractEventLoop) -> None:
    await loop.getaddrinfo("chat.example.com", 443)


@pytest.mark.parametrize("way_out", [raw_socket, connection, name_lookup])
@pytest.mark.parametrize("make_loop", [asyncio.new_event_loop, uvloop.new_event_loop])
def test_event_loops_are_guarded_too(
    make_loop: Callable[[], asyncio.AbstractEventLoop],
    way_out: Callable[[asyncio.AbstractEventLoop], Coroutine[None, None, None]],
    stays_on_this_machine: list[str],
) -> None:
    """Neither loop finds a way around the guard."""
    loop = make_loop()
    with pytest.raises(LeftTheMachine):
        loop.run_until_complete(way_out(loop))
    loop.run_until_complete(loop.shutdown_default_executor())
    loop.close()
    assert len(stays_on_this_machine) == 1
    stays_on_this_machine.clear()


@pytest.mark.parametrize(
    ("host", "local"),
    [
        ("127.0.0.1", True),
        ("127.9.9.9", True),
        ("::1", True),
        ("localhost", True),
        (None, True),
        ("192.0.2.1", False),
        ("10.0.0.1", False),
        ("localhost.example.com", False),
        (b"api.example.com", False),
    ],
)
def test_what_is_local(host: object, local: bool) -> None:
    assert is_local(host) is local


def test_recorded_processes_end_with_the_run(tmp_path: Path) -> None:
    """A process that a killed runner left behind is ended; one whose id was given to another is not touched."""
    run = Run(tmp_path / "run", is_controller=True)
    run.folder.mkdir()
    left, other = (
        subprocess.Popen([sys.executable, "-c", "import signal; signal.pause()"]) for _ in range(2)
    )
    run.record(left.pid)
    with (run.folder / "processes").open("a") as file:
        file.write(f"{other.pid} 12345.0\n")
    end(run.folder)
    assert not psutil.pid_exists(left.pid)
    left.wait(timeout=10)
    assert psutil.Process(other.pid).is_running()
    assert not run.folder.exists()
    other.kill()
    other.wait(timeout=10)
