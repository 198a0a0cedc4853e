"""A test that leaves this machine fails, also when the code under test swallows the error.

An audit hook sees every connect, datagram and name lookup of Python's sockets. uvloop has sockets and lookups of
its own, so its connections and lookups are watched at the loop's methods. What is not loopback or a unix socket is
refused on the spot, and the test that did it fails at its end. Child processes are not covered: tests start those
with loopback addresses only.
"""

from __future__ import annotations

import ipaddress
import socket
import sys
from collections.abc import Iterator
from typing import Any

import pytest
import uvloop

_attempts: list[str] = []
_guarding = False


class LeftTheMachine(ConnectionRefusedError):
    """A test tried to reach another machine."""


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


def is_local(host: object) -> bool:
    """Whether a host as given to connect() or getaddrinfo() stays here; of names only localhost does."""
    if host in (None, "", b"", "localhost", b"localhost"):
        return True
    address = _address(host)
    return address is not None and address.is_loopback


def _address(host: object) -> ipaddress.IPv4Address | ipaddress.IPv6Address | None:
    text = host.decode(errors="replace") if isinstance(host, bytes) else str(host)
    try:
        return ipaddress.ip_address(text.split("%")[0])  # an IPv6 address may name its interface
    except ValueError:
        return None


def _audit(event: str, arguments: tuple[Any, ...]) -> None:
    if event in ("socket.connect", "socket.sendto"):
        connection, address = arguments[:2]
        if connection.family in (socket.AF_INET, socket.AF_INET6) and isinstance(address, tuple):
            _connects(address[0])
    elif event in ("socket.getaddrinfo", "socket.gethostbyname"):
        _looks_up(arguments[0])


def _connects(host: object) -> None:
    if not is_local(host):
        _refuse(f"connection to {host!r}")


def _looks_up(host: object) -> None:
    if not is_local(host) and _address(host) is None:  # an address in numbers is parsed, not asked for
        _refuse(f"name lookup of {host!r}")


def _refuse(attempt: str) -> None:
    if _guarding:
        _attempts.append(attempt)
        raise LeftTheMachine(f"tests stay on this machine: {attempt}")


def _watch_uvloop() -> None:
    connect, look_up = uvloop.Loop.create_connection, uvloop.Loop.getaddrinfo

    async def create_connection(loop: Any, factory: Any, host: Any = None, *rest: Any, **options: Any) -> Any:
        _connects(host)
        return await connect(loop, factory, host, *rest, **options)

    async def getaddrinfo(loop: Any, host: Any, *rest: Any, **options: Any) -> Any:
        _looks_up(host)
        return await look_up(loop, host, *rest, **options)

    for watched in (create_connection, getaddrinfo):
        setattr(uvloop.Loop, watched.__name__, watched)


sys.addaudithook(_audit)
_watch_uvloop()
