"""Meta's error codes -> why a send failed and what has to wait. One table for answers and for `failed` statuses.

Decisions hang on `code` alone: titles and subcodes change, and 130429, 131049, 131050 and 131056 all come as HTTP 400.
Codes: https://developers.facebook.com/docs/whatsapp/cloud-api/support/error-codes
"""

from __future__ import annotations

import re
from typing import NamedTuple

from domain.errors import SendError, SendFailure

MINUTE, HOUR, DAY = 60.0, 3600.0, 86400.0  # seconds


# Tokens; long words of a sentence have neither a digit nor forty letters.
_SECRET = re.compile(r"(?=[A-Za-z_-]*\d)[A-Za-z0-9_-]{24,}|[A-Za-z0-9_-]{40,}")
_NUMBER = re.compile(r"\+?\d[\d ().-]{6,}\d")


class Meaning(NamedTuple):
    """What a code means for us; the fields are those of `SendError`."""

    reason: SendFailure
    retryable: bool = False
    retry_after: float | None = None  # seconds
    scope: str = "message"
    growth: float = 1.0


_AUTH = Meaning(SendFailure.auth, scope="channel")
_REJECTED = Meaning(SendFailure.rejected)
_TEMPLATE = Meaning(SendFailure.template_invalid)
_AWAY = Meaning(SendFailure.unavailable, retryable=True, scope="channel")
_THROTTLED = Meaning(SendFailure.rate_limited, retryable=True, scope="channel")
_SENDER_LIMIT = Meaning(SendFailure.sender_limit, scope="channel")
_UNREACHABLE = Meaning(SendFailure.unreachable, scope="address")
_UNKNOWN = Meaning(SendFailure.unknown)

MEANINGS: dict[int, Meaning] = {
    # the platform is in trouble, or asks us to slow down
    1: _AWAY,
    2: _AWAY,
    131000: _AWAY,
    131016: _AWAY,
    133004: _AWAY,
    131057: Meaning(
        SendFailure.unavailable, True, MINUTE, "channel"
    ),  # the number's throughput is being raised
    4: Meaning(
        SendFailure.rate_limited, True, MINUTE, "channel"
    ),  # an app's hourly limit: seconds do not help
    80007: Meaning(SendFailure.rate_limited, True, MINUTE, "channel"),
    613: _THROTTLED,
    130429: _THROTTLED,
    131056: Meaning(SendFailure.rate_limited, True, 4.0, "address", growth=4.0),  # pair limit: 4^n seconds
    132069: Meaning(SendFailure.rate_limited, True, HOUR),  # a form of ours is throttled to 10 an hour
    134101: Meaning(
        SendFailure.template_invalid, True, 10 * MINUTE
    ),  # still being copied, at most 10 minutes
    131053: Meaning(
        SendFailure.media_invalid, True
    ),  # their fetch of a link fails now and then: worth a second try
    # this person
    131026: _UNREACHABLE,  # not on WhatsApp, terms not accepted, app too old
    130472: _UNREACHABLE,  # part of an experiment: gets no marketing
    130497: _UNREACHABLE,  # businesses of our kind may not write to that country
    131021: _UNREACHABLE,  # our own number
    131030: _UNREACHABLE,  # a test number writes to its allow-list only
    131050: Meaning(SendFailure.opted_out, scope="address"),
    131049: Meaning(SendFailure.capped, retry_after=DAY, scope="address"),  # their cap over all businesses
    131047: Meaning(SendFailure.window_closed, scope="address"),
    # this message
    100: _REJECTED,
    131008: _REJECTED,
    131009: _REJECTED,
    131020: _REJECTED,
    131051: _REJECTED,
    131055: _REJECTED,
    131059: _REJECTED,
    131062: _REJECTED,  # authentication templates need a phone number
    132005: _REJECTED,  # too long once this person's values are in: says nothing of the template
    132008: _REJECTED,
    134100: _REJECTED,
    135000: _REJECTED,
    137000: _REJECTED,
    139100: _REJECTED,
    139101: _REJECTED,
    131052: Meaning(SendFailure.media_invalid),
    # the template
    132000: _TEMPLATE,
    132001: _TEMPLATE,
    132007: _TEMPLATE,
    132012: _TEMPLATE,
    132015: _TEMPLATE,  # paused; also what pacing drops
    132016: _TEMPLATE,
    132068: _TEMPLATE,
    131063: _TEMPLATE,
    134102: _TEMPLATE,
    139200: _TEMPLATE,
    # our number or account
    131048: _SENDER_LIMIT,
    131064: _SENDER_LIMIT,
    0: _AUTH,
    3: _AUTH,
    10: _AUTH,
    33: _AUTH,
    190: _AUTH,
    368: _AUTH,
    131005: _AUTH,
    131031: _AUTH,
    131037: _AUTH,
    131042: _AUTH,
    131044: _AUTH,
    131045: _AUTH,
    133000: _AUTH,
    133005: _AUTH,
    133006: _AUTH,
    133008: _AUTH,
    133009: _AUTH,
    133010: _AUTH,
    133015: _AUTH,
    133016: _AUTH,
    134011: _AUTH,
}
# "Something went wrong" with a 5xx does not say whether it went wrong before or after the message was taken; a status
# webhook will. In a `failed` status the same code is certain.
_VAGUE = {1, 131000}
_OBJECT_UNKNOWN = 33  # subcode of 100: the id in the URL is not ours (any more)


def meaning(code: int, *, subcode: int | None = None) -> Meaning:
    """What a code means; codes that nobody told us about refuse this message alone."""
    if code == 100 and subcode == _OBJECT_UNKNOWN:
        return _AUTH
    found = MEANINGS.get(code)
    if found is not None:
        return found
    if 200 <= code <= 299:  # permissions
        return _AUTH
    return _REJECTED


def send_error(code: int, detail: str, *, subcode: int | None = None, http_status: int = 400) -> SendError:
    """The error for a code in an answer to a send."""
    found = _UNKNOWN if code in _VAGUE and http_status >= 500 else meaning(code, subcode=subcode)
    return SendError(
        found.reason,
        detail,
        retryable=found.retryable,
        retry_after=found.retry_after,
        scope=found.scope,
        growth=found.growth,
        code=str(code),
    )


def by_http_status(status: int, detail: str) -> SendError:
    """The error for an answer without one of Meta's codes: a proxy's page, an empty body, cut-off JSON.

    A 5xx may come after the message was taken (a gateway's timeout): that is unknown, not "try again".
    """
    code = f"http_{status}"
    if status == 429:
        return SendError(SendFailure.rate_limited, detail, retryable=True, scope="channel", code=code)
    if status == 503:  # refused before any work was done
        return SendError(SendFailure.unavailable, detail, retryable=True, scope="channel", code=code)
    if status in (401, 403):
        return SendError(SendFailure.auth, detail, scope="channel", code=code)
    if 400 <= status < 500:
        return SendError(SendFailure.rejected, detail, code=code)
    return SendError(SendFailure.unknown, detail, code=code)


def redacted(text: str) -> str:
    """A vendor's sentence without tokens and phone numbers, short enough for the channel log."""
    return _NUMBER.sub("…", _SECRET.sub("…", text))[:500]
