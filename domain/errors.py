"""What can go wrong, named by who must act.

Every message names *what* was wrong and *where*; none carries a token, a phone number or message text.
"""

from __future__ import annotations

from collections.abc import Iterable
from enum import StrEnum


class AppError(Exception):
    """Base of all errors that we raise on purpose. `str(error)` is fit for the person who can act."""


class RejectedInput(AppError):
    """The caller sent something we do not take (HTTP 4xx, exit status 1).

    `where` is a path into the input (`steps.email.save`, `--token`, `settings.PORT`), empty when it is the whole.
    """

    def __init__(self, what: str, *, where: str = "") -> None:
        super().__init__(f"{where}: {what}" if where else what)
        self.what = what
        self.where = where


class SignatureInvalid(AppError):
    """A webhook that its platform did not sign with our secret (401)."""


class NotAllowed(AppError):
    """The caller is known but may not do this (403)."""


class NotFound(AppError):
    """No such thing in this workspace (404; never 403, so that foreign ids reveal nothing)."""


class Conflict(AppError):
    """The thing changed in the meantime, or exists already (409)."""


class Unavailable(AppError):
    """Something that we need is away for now (503): a store, a platform, a full queue."""

    def __init__(self, what: str, *, retry_after: float = 5.0) -> None:
        super().__init__(what)
        self.retry_after = retry_after  # seconds


class FlowError(AppError):
    """A flow could not go on at a step: the session fails and a person is told."""

    def __init__(self, what: str, *, step_id: str) -> None:
        super().__init__(f"step {step_id}: {what}")
        self.what = what
        self.step_id = step_id


class SendFailure(StrEnum):
    """The closed list of reasons why a send can fail. Each channel owns one table vendor code -> reason."""

    rate_limited = "rate_limited"  # told to wait; certainly not sent
    unreachable = "unreachable"  # this person or chat cannot be reached (gone, deleted, not on the network)
    blocked_by_contact = "blocked_by_contact"  # the person blocked us
    opted_out = "opted_out"  # the platform says that the person does not want marketing
    capped = "capped"  # the platform's own cap for this person; later, not now
    window_closed = "window_closed"  # outside the platform's answer window
    template_invalid = "template_invalid"  # missing, paused or wrongly filled template
    media_invalid = "media_invalid"  # the platform could not take the file
    moved = "moved"  # the chat has a new address (see `SendError.new_address`)
    rights = "rights"  # the bot lacks a right in the chat or channel
    auth = "auth"  # our token or account is refused: the whole channel stops
    sender_limit = "sender_limit"  # our number or account has used up its limit
    rejected = "rejected"  # this content is refused, for everybody
    stale = "stale"  # too late to matter (old callback, unchanged edit): harmless
    unavailable = "unavailable"  # the platform is in trouble and certainly did not take it
    not_connected = "not_connected"  # no connection was made; certainly not sent
    unknown = "unknown"  # written, but nobody knows whether it was taken


class SendError(AppError):
    """One attempt failed.

    `retryable`: the same request may be sent again, it was certainly not executed.
    `retry_after`: seconds to wait before that (None: the caller's back-off), times `growth` for every further attempt.
    `scope`: what has to wait: "message", "address" (this person or chat), "channel".
    """

    def __init__(
        self,
        reason: SendFailure,
        detail: str = "",
        *,
        retryable: bool = False,
        retry_after: float | None = None,
        scope: str = "message",
        code: str = "",
        new_address: str | None = None,
        growth: float = 1.0,
    ) -> None:
        super().__init__(f"{reason}: {detail}" if detail else str(reason))
        self.reason = reason
        self.detail = detail  # redacted, fit for the channel log
        self.retryable = retryable
        self.retry_after = retry_after
        self.scope = scope
        self.code = code  # the vendor's own code, as text
        self.new_address = new_address
        self.growth = growth


def meant(word: str, known: Iterable[str]) -> str:
    """`perhaps default is meant; ` for a slip such as `defalt`, to stand before the list of what is known; else ""."""
    from difflib import get_close_matches  # only mistakes need it

    nearest = get_close_matches(word, list(known), 1, cutoff=0.7)  # nxt is next, exits is not
    return f"perhaps {nearest[0]} is meant; " if nearest else ""
