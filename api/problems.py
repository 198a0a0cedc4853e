"""Errors as answers (RFC 9457, application/problem+json): whose fault it was decides the status.

No answer holds a key, a stack or what the database said; what we did not foresee is 500 with no detail, and in the log.
"""

from __future__ import annotations

from typing import Any

import structlog
from aiohttp import web
from pydantic import ValidationError
from sqlalchemy.exc import IntegrityError

from api.models import Fault, Problem
from bot.flow_drafts import DraftChanged
from domain.errors import AppError, Conflict, NotAllowed, NotFound, RejectedInput, SendError, Unavailable

MAX_FAULTS = 20  # of one answer; the first ones are enough to go on with

_TITLES = {
    400: "The request cannot be read",
    401: "A valid API key is needed",
    403: "The key may not do this",
    404: "There is no such thing",
    405: "There is no such method here",
    408: "The request did not arrive in time",
    409: "It cannot be done now",
    413: "Too large",
    415: "Not a type that is taken",
    422: "Something in the request does not fit",
    429: "Too many requests",
    500: "Something went wrong here",
    503: "Not possible for now",
}
_TYPES = {
    400: "malformed",
    401: "unauthorized",
    403: "not_allowed",
    404: "not_found",
    405: "no_such_method",
    408: "timeout",
    409: "conflict",
    413: "too_large",
    415: "unsupported_type",
    422: "rejected_input",
    429: "too_many_requests",
    500: "failed",
    503: "unavailable",
}

_log = structlog.get_logger("api")


class Refused(Exception):
    """An answer that is an error, decided here: status, detail, headers."""

    def __init__(
        self, status: int, detail: str, *, where: str = "", headers: dict[str, str] | None = None
    ) -> None:
        super().__init__(detail)
        self.status = status
        self.detail = detail
        self.where = where
        self.headers = headers or {}


def answer_of(error: Exception) -> web.Response:
    """The answer to an error."""
    match error:
        case Refused():
            return problem(error.status, error.detail, where=error.where, headers=error.headers)
        case ValidationError():
            return _invalid(error)
        case RejectedInput():
            return problem(422, str(error), where=error.where)
        case NotFound():
            return problem(404, str(error))
        case NotAllowed():
            return problem(403, str(error))
        case DraftChanged(differences=found):
            changes = [Fault(where=f"{one.step}.{one.key}".strip("."), what=one.text["en"]) for one in found]
            return problem(409, str(error), errors=changes[:MAX_FAULTS])
        case Conflict():
            return problem(409, str(error))
        case IntegrityError():
            return problem(409, "something of this name or id exists already, or is gone")
        case Unavailable():
            return problem(503, str(error), headers={"Retry-After": str(max(1, round(error.retry_after)))})
        case SendError():
            return problem(422, error.detail or error.reason.value)
        case AppError():
            return problem(422, str(error))
        case web.HTTPException():
            return _http(error)
    _log.error("api_failed", problem=type(error).__name__, exc_info=error)
    return problem(500, "this was not foreseen; the log knows more")


def problem(
    status: int,
    detail: str,
    *,
    where: str = "",
    errors: list[Fault] | None = None,
    headers: dict[str, str] | None = None,
) -> web.Response:
    """A problem as an answer."""
    body = Problem(
        type=f"urn:passaparola:{_TYPES.get(status, 'refused')}",
        title=_TITLES.get(status, "Refused"),
        status=status,
        detail=detail,
        where=where or None,
        errors=errors,
    )
    return web.Response(
        status=status,
        body=body.model_dump_json(exclude_none=True).encode(),
        content_type="application/problem+json",
        headers=headers,
    )


def _invalid(error: ValidationError) -> web.Response:
    faults = [
        Fault(where=".".join(str(part) for part in one["loc"]), what=_said(one))
        for one in error.errors(include_url=False, include_context=False, include_input=False)[:MAX_FAULTS]
    ]
    first = faults[0]
    detail = f"{first.where}: {first.what}" if first.where else first.what
    return problem(422, detail, where=first.where, errors=faults)


def _said(one: Any) -> str:
    if one["type"] == "extra_forbidden":
        return "is not known here"
    if one["type"] == "missing":
        return "is missing"
    message: str = one["msg"]
    return message.removeprefix("Value error, ").removeprefix("Input ")


def _http(error: web.HTTPException) -> web.Response:
    headers = {name: error.headers[name] for name in ("Allow", "Retry-After") if name in error.headers}
    detail = {404: "there is no such path", 405: "this path has other methods"}.get(
        error.status, error.reason.lower()
    )
    return problem(error.status, detail, headers=headers)
