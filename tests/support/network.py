"""A test that leaves this machine fails, also when the code under test swallows the error.

An audit hook sees every connect, datagram and name lookup of Python's sockets, asyncio's and uvloop's
connections included (both connect through them). What is not loopback or a unix socket is refused on the
spot, and the test that did it fails at its end. Child processes are not covered: tests start those with
loopback addresses only.
"""

from __future__ import annotations

import ipaddress
import socket
import sys
from collections.abc import Iterator

import pytest

_attempts: list[str] = []
_guarding = False


class LeftTheMachine(ConnectionRefusedError):
    """A test tried to reach another machine."""


def is_local(host: object) -> bool:
    """Whether a host as given to connect() or getaddrinfo() stays here; of names only localhost does."""
    if isinstance(host, bytes):
        host = host.decode(errors="replace")
    if host in (None, "", "localhost"):
        return True
    try:
        return ipaddress.ip_address(str(host).split("%")[0]).is_loopback
    except ValueError:
        return False


def _is_address(host: object) -> bool:
    try:
        ipaddress.ip_address(str(host))
    except ValueError:
        return False
    return True


def _audit(event: str, arguments: tuple[object, ...]) -> None:
    if not _guarding or not event.startswith("socket."):
        return
    if event in ("socket.connect", "socket.sendto"):
        connection, address = arguments[0], arguments[1]
        if not isinstance(connection, socket.socket) or connection.family not in (
            socket.AF_INET,
            socket.AF_INET6,
        ):
            return
        if isinstance(address, tuple) and not is_local(address[0]):
            _refuse(f"{event} to {address[0]}")
    elif event in ("socket.getaddrinfo", "socket.gethostbyname"):
        host = arguments[0]
        if not is_local(host) and not _is_address(host):  # an address in numbers is parsed, not asked for
            _refuse(f"name lookup of {host!r}")


def _refuse(attempt: str) -> None:
    _attempts.append(attempt)
    raise LeftTheMachine(f"tests stay on this machine: {attempt}")


sys.addaudithook(_audit)


@pytest.fixture(autouse=True)
def stays_on_this_machine() -> Iterator[list[str]]:
    """Refuses and reports every way out; gives the attempts, which only the guard's own tests clear."""
    global _guarding
    _attempts.clear()
    _guarding = True
    yield _attempts
    _guarding = False
    if _attempts:
        pytest.fail("left this machine: " + "; ".join(dict.fromkeys(_attempts)))
