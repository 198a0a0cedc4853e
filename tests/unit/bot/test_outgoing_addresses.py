"""Where calls may go: the deny list, names that are never called, the owner's own list."""

from __future__ import annotations

import pytest

from bot.outgoing import addresses
from bot.outgoing.limits import BURST, RATE, UNDER_WAY, Limits
from domain.errors import RejectedInput

DENIED = """
0.0.0.0 0.1.2.3 10.0.0.1 10.255.255.255 100.64.0.1 100.127.255.255 127.0.0.1 127.255.255.254 169.254.169.254
169.254.0.1 172.16.0.1 172.31.255.255 192.0.0.192 192.0.2.7 192.88.99.1 192.168.1.1 198.18.0.1 198.19.255.255
198.51.100.4 203.0.113.9 224.0.0.1 239.255.255.255 240.0.0.1 255.255.255.255
:: ::1 ::127.0.0.1 ::8.8.8.8 ::ffff:127.0.0.1 ::ffff:169.254.169.254 ::ffff:a9fe:a9fe 64:ff9b::a9fe:a9fe
64:ff9b::7f00:1 64:ff9b:1::1 100::1 2001::1 2001:1ff::1 2001:db8::1 2002:a9fe:a9fe:: 2002:7f00:1:: 3fff::1 5f00::1
fc00::1 fd12:3456::1 fe80::1 fe80::1%eth0 fec0::1 ff02::1 ff0e::1
""".split()
ALLOWED = """
1.1.1.1 8.8.8.8 9.255.255.255 11.0.0.1 100.63.255.255 100.128.0.1 126.255.255.255 128.0.0.1 169.253.255.255
169.255.0.1 172.15.255.255 172.32.0.1 192.0.1.1 192.167.255.255 192.169.0.1 198.17.255.255 198.20.0.1 223.255.255.255
::ffff:8.8.8.8 2001:200::1 2001:4860:4860::8888 2606:4700::1111 2a00:1450::1
""".split()


@pytest.mark.parametrize("address", DENIED)
def test_addresses_that_are_none_of_the_internet_are_denied(address: str) -> None:
    """Also those that hide an IPv4 address in an IPv6 one."""
    assert addresses.is_denied(address)


@pytest.mark.parametrize("address", ALLOWED)
def test_addresses_of_the_internet_are_allowed(address: str) -> None:
    """The neighbours of every denied network among them."""
    assert not addresses.is_denied(address)


@pytest.mark.parametrize("text", ["", "localhost", "0x7f000001", "2130706433", "127.1", "not an address"])
def test_what_is_no_address_is_denied(text: str) -> None:
    """The check at connect time sees addresses only; anything else there is a fault."""
    assert addresses.is_denied(text)


@pytest.mark.parametrize(
    "host",
    [
        "api.telegram.org",
        "API.Telegram.org.",
        "graph.facebook.com",
        "x.graph.facebook.com",
        "graph.whatsapp.com",
    ],
)
def test_platforms_are_never_called(host: str) -> None:
    assert addresses.is_provider(host)


@pytest.mark.parametrize("host", ["telegram.org.example.com", "api-telegram.org", "example.com"])
def test_others_are_no_platforms(host: str) -> None:
    assert not addresses.is_provider(host)


def test_the_owners_list() -> None:
    """Names and addresses with a port."""
    found = addresses.allow_list(["ERP.local:8443", " 10.0.0.5:80 ", "[fd00::5]:8080"], where="X")
    assert found == {("erp.local", 8443), ("10.0.0.5", 80), ("fd00::5", 8080)}


@pytest.mark.parametrize(
    "entry", ["erp.local", "erp.local:", ":80", "erp.local:0", "erp local:80", "a/b:80", "*:80"]
)
def test_a_wrong_entry_is_named(entry: str) -> None:
    with pytest.raises(RejectedInput, match="must look like"):
        addresses.allow_list([entry], where="X")


def test_a_workspace_that_asks_too_often_waits_and_others_do_not() -> None:
    """The bucket lets a burst through, then one call after the other."""
    now = 0.0
    limits = Limits(lambda: now)
    waits = [limits.wait(1) for _ in range(BURST + 3)]
    assert waits[:BURST] == [0.0] * BURST
    assert waits[BURST:] == pytest.approx([1 / RATE, 2 / RATE, 3 / RATE])
    assert limits.wait(2) == 0.0
    now = 1000.0
    assert limits.wait(1) == 0.0


def test_calls_under_way_are_counted() -> None:
    limits = Limits(lambda: 0.0)
    assert [limits.enter(1) for _ in range(UNDER_WAY + 1)] == [True] * UNDER_WAY + [False]
    limits.leave(1)
    assert limits.enter(1)
    assert limits.enter(2)
