"""The refusals of the Bot API, word for word, as the official server speaks them."""

from __future__ import annotations

from typing import Any


class ApiError(Exception):
    """An answer `{"ok": false, "error_code", "description", "parameters"?}` with the same HTTP status."""

    def __init__(self, code: int, description: str, parameters: dict[str, Any] | None = None) -> None:
        super().__init__(description)
        self.code = code
        self.description = description
        self.parameters = parameters


def bad(sentence: str, **parameters: Any) -> ApiError:
    """400. The server lowers the first letter of sentences and leaves codes in capitals as they are."""
    return ApiError(400, f"Bad Request: {sentence}", parameters or None)


def forbidden(sentence: str) -> ApiError:
    return ApiError(403, f"Forbidden: {sentence}")


def conflict(sentence: str) -> ApiError:
    return ApiError(409, f"Conflict: {sentence}")


def too_many(retry_after: int) -> ApiError:
    return ApiError(429, f"Too Many Requests: retry after {retry_after}", {"retry_after": retry_after})


UNAUTHORIZED = "Unauthorized"
NO_SUCH_METHOD = "Not Found: method not found"
POLLING_WHILE_WEBHOOK = (
    "can't use getUpdates method while webhook is active; use deleteWebhook to delete the webhook first"
)
OTHER_POLLER = "terminated by other getUpdates request; make sure that only one bot instance is running"
ENDED_BY_WEBHOOK = "terminated by setWebhook request"
NOT_MODIFIED = (
    "message is not modified: specified new message content and reply markup are exactly the same "
    "as a current content and reply markup of the message"
)
QUERY_TOO_OLD = "query is too old and response timeout expired or query ID is invalid"
