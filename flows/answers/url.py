"""`url`: the address of a web page, checked for form only (nothing is fetched).

`example.com/shop` → `"https://example.com/shop"`; `HTTP://Example.org` → `"http://example.org"`. E-mail
addresses, other schemes (`javascript:`), names and passwords before an @, and bare words with a full stop ("va
bene.ciao") are refused.
"""

from __future__ import annotations

import re
from urllib.parse import urlsplit

from domain.messages import Received
from domain.operators import in_words
from flows.answers import AnswerType, Invalid, Reading, Valid, answer, words_of

MAX_URL = 2_000  # characters: what browsers and platforms take

_HOST = re.compile(r"(?:[^\W_](?:[\w-]{0,61}[^\W_])?\.)+[^\W\d_](?:[\w-]{0,61}[^\W_])\Z")
_SCHEME = re.compile(r"([a-z][a-z0-9+.-]*)://", re.IGNORECASE | re.ASCII)
_FORBIDDEN = re.compile(r"[\s\x00-\x1f\x7f\\<>\"{}|^`]")
_KNOWN_ENDINGS = frozenset(  # of those with more than two letters; a longer word behind a full stop is mostly a word
    "com org net info biz edu gov mil int eu name pro mobi travel museum cat jobs tel xyz online site shop store blog "
    "app dev club cloud tech page link live life news media agency studio design art bio bar cafe pizza restaurant "
    "hotel salon beauty fit yoga photo photos gallery digital company group team work services solutions email web "
    "wiki space website world top icu vip events wine boutique fashion style house homes realestate school academy "
    "church family health care clinic dental doctor law legal consulting engineering farm garden florist tours".split()
)


@answer
class Url(AnswerType):
    """Gives the whole address with its scheme; host in lower case."""

    key = "url"
    label = in_words("indirizzo web", "web address")
    reasons = ("url",)

    def read(self, received: Received, reading: Reading) -> Valid | Invalid:
        text = words_of(received)
        if not text or len(text) > MAX_URL:
            return Invalid("url")
        address = _normal(text.strip("<>()[]\"'“”«».,;! "))
        return Invalid("url") if address is None else Valid(address, text)


def _normal(text: str) -> str | None:
    if _FORBIDDEN.search(text):
        return None
    scheme = _SCHEME.match(text)
    try:
        parts = urlsplit(text if scheme else f"https://{text}")
        host, port = (parts.hostname or "").removesuffix("."), parts.port
    except ValueError:  # a port that is no number, half an IPv6 address
        return None
    if (
        parts.scheme not in ("http", "https")
        or "@" in parts.netloc
        or len(host) > 253
        or not _HOST.match(host)
    ):
        return None
    ending = host.rpartition(".")[2]
    known = scheme or host.startswith("www.") or len(ending) == 2 or ending in _KNOWN_ENDINGS
    if not known:
        return None
    place = f"{host}:{port}" if port else host
    return parts._replace(netloc=place).geturl()
