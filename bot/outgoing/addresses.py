"""Which addresses may be called: the deny list of networks, ports, and hosts that are never asked for a flow. Pure.

`ipaddress.is_global` is not enough: it takes `64:ff9b::a9fe:a9fe`, `2002:a9fe:a9fe::`, `::127.0.0.1`, `fec0::1` and
`224.0.0.1` for addresses of the internet. Addresses that carry an IPv4 address inside are refused with their whole
network (NAT64, 6to4, Teredo, IPv4-compatible) or opened and judged as what they carry (IPv4-mapped).
"""

from __future__ import annotations

import ipaddress
import re
from collections.abc import Iterable

from domain.errors import RejectedInput

IPAddress = ipaddress.IPv4Address | ipaddress.IPv6Address

# https://www.iana.org/assignments/iana-ipv4-special-registry, https://www.iana.org/assignments/iana-ipv6-special-registry
_V4 = (
    "0.0.0.0/8",  # this network
    "10.0.0.0/8",  # private
    "100.64.0.0/10",  # carriers' shared space
    "127.0.0.0/8",  # loopback
    "169.254.0.0/16",  # link-local, and the clouds' metadata services in it
    "172.16.0.0/12",  # private
    "192.0.0.0/24",  # protocol assignments
    "192.0.2.0/24",  # documentation
    "192.88.99.0/24",  # 6to4 relays
    "192.168.0.0/16",  # private
    "198.18.0.0/15",  # benchmarks
    "198.51.100.0/24",  # documentation
    "203.0.113.0/24",  # documentation
    "224.0.0.0/4",  # multicast
    "240.0.0.0/4",  # reserved, and broadcast
)
_V6 = (
    "::/96",  # unspecified, loopback, IPv4-compatible
    "64:ff9b::/96",  # NAT64
    "64:ff9b:1::/48",  # NAT64, local
    "100::/64",  # discard
    "2001::/23",  # protocol assignments, Teredo among them
    "2001:db8::/32",  # documentation
    "2002::/16",  # 6to4
    "3fff::/20",  # documentation
    "5f00::/16",  # segment routing
    "fc00::/7",  # private
    "fe80::/10",  # link-local
    "fec0::/10",  # site-local
    "ff00::/8",  # multicast
)
_DENIED = (
    tuple(ipaddress.IPv4Network(net) for net in _V4),
    tuple(ipaddress.IPv6Network(net) for net in _V6),
)
# What an allowed name must not lead to: whoever can change a name's address would reach the machine's credentials.
_LINK_LOCAL = (ipaddress.IPv4Network("169.254.0.0/16"), ipaddress.IPv6Network("fe80::/10"))

PORTS = frozenset((80, 443, 8080, 8443))
# A call to a platform in a flow would speak with our own address and, at worst, with somebody's token.
PROVIDERS = (
    "api.telegram.org",
    "graph.facebook.com",
    "graph.instagram.com",
    "graph.whatsapp.com",
    "lookaside.fbsbx.com",
)
_NAME = re.compile(r"[a-z0-9_]([a-z0-9_-]{0,62})(\.[a-z0-9_]([a-z0-9_-]{0,62}))*")


def parsed(text: str) -> IPAddress | None:
    """The address in a text, opened when it is IPv4-mapped; None for a name. A zone (`%eth0`) is taken off."""
    try:
        address = ipaddress.ip_address(text.partition("%")[0])
    except ValueError:
        return None
    return getattr(address, "ipv4_mapped", None) or address


def is_denied(text: str) -> bool:
    """Whether an address is none of the public internet; what is no address at all is denied too."""
    address = parsed(text)
    if address is None:
        return True
    return any(address in network for network in _DENIED[address.version == 6])


def is_link_local(text: str) -> bool:
    """Whether an address is the link's own: metadata services of clouds live there."""
    address = parsed(text)
    return address is None or any(
        address in network for network in _LINK_LOCAL if network.version == address.version
    )


def normal(host: str) -> str:
    """A host's name as it is compared: lower case, ASCII, without a closing point."""
    name = host.strip().rstrip(".").lower()
    if not name.isascii():
        try:
            name = name.encode("idna").decode()
        except UnicodeError:
            return ""
    return name


def is_provider(host: str) -> bool:
    """Whether it is a platform's API."""
    name = normal(host)
    return any(name == one or name.endswith("." + one) for one in PROVIDERS)


def allow_list(entries: Iterable[str], *, where: str) -> frozenset[tuple[str, int]]:
    """(host, port) of `erp.local:8443`, `10.0.0.5:80`, `[fd00::5]:80`. Raises RejectedInput naming the wrong one."""
    allowed = set()
    for entry in entries:
        host, colon, port = entry.strip().rpartition(":")
        bare = host[1:-1] if host.startswith("[") and host.endswith("]") else host
        name = normal(bare)
        is_name = bool(_NAME.fullmatch(name)) and len(name) <= 253
        fits = bool(colon) and port.isdecimal() and 0 < int(port) <= 65_535
        if not fits or not (is_name or parsed(bare) is not None):
            raise RejectedInput(f"{entry.strip()!r} must look like erp.example.com:8443", where=where)
        allowed.add((name, int(port)))
    return frozenset(allowed)
