"""Every answer of the Bot API says who must act, and whether the call can have been executed."""

from __future__ import annotations

import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from bot.channels.base import ApiCall, MediaNeed, Receipt, Uploaded
from bot.channels.telegram.answers import explain
from domain.errors import SendError, SendFailure
from domain.messages import MediaKind

SEND = ApiCall(method="sendMessage", payload={"chat_id": 4400100, "text": "Ciao"})
TO_GROUP = ApiCall(method="sendMessage", payload={"chat_id": -1001700000001, "text": "Ciao"})
EDIT = ApiCall(method="editMessageText", payload={"chat_id": 4400100}, idempotent=True)


def refusal(code: int, description: str, **parameters: Any) -> bytes:
    body: dict[str, Any] = {"ok": False, "error_code": code, "description": description}
    return json.dumps(body | ({"parameters": parameters} if parameters else {})).encode()


def failure(call: ApiCall, status: int, body: bytes) -> SendError:
    outcome = explain(call, status, body)
    assert isinstance(outcome, SendError)
    return outcome


F = SendFailure
# The server's own sentences: github.com/tdlib/telegram-bot-api, Client.cpp
TABLE = [
    (403, "Forbidden: bot was blocked by the user", F.blocked_by_contact, "address"),
    (403, "Forbidden: user is deactivated", F.unreachable, "address"),
    (403, "Forbidden: bot can't initiate conversation with a user", F.unreachable, "address"),
    (403, "Forbidden: the bot can't send messages to the bot", F.unreachable, "address"),
    (403, "Forbidden: bot was kicked from the supergroup chat", F.unreachable, "address"),
    (403, "Forbidden: bot is not a member of the channel chat", F.unreachable, "address"),
    (403, "Forbidden: the group chat was deleted", F.unreachable, "address"),
    (400, "Bad Request: chat not found", F.unreachable, "address"),
    (400, "Bad Request: private chat not found", F.unreachable, "address"),
    (400, "Bad Request: need administrator rights in the channel chat", F.rights, "address"),
    (400, "Bad Request: not enough rights to send text messages to the chat", F.rights, "address"),
    (400, "Bad Request: have no write access to the chat", F.rights, "address"),
    (400, "Bad Request: CHAT_ADMIN_REQUIRED", F.rights, "address"),
    (400, "Bad Request: CHAT_SEND_PHOTOS_FORBIDDEN", F.rights, "address"),
    (400, "Bad Request: message text is empty", F.rejected, "message"),
    (400, "Bad Request: message is too long", F.rejected, "message"),
    (400, "Bad Request: MESSAGE_TOO_LONG", F.rejected, "message"),
    (400, "Bad Request: message caption is too long", F.rejected, "message"),
    (
        400,
        'Bad Request: can\'t parse entities: Unsupported start tag "br" at byte offset 4',
        F.rejected,
        "message",
    ),
    (400, "Bad Request: BUTTON_DATA_INVALID", F.rejected, "message"),
    (400, "Bad Request: BUTTON_URL_INVALID", F.rejected, "message"),
    (400, "Bad Request: wrong file identifier/HTTP URL specified", F.media_invalid, "message"),
    (
        400,
        "Bad Request: wrong remote file identifier specified: Wrong string length",
        F.media_invalid,
        "message",
    ),
    (400, "Bad Request: failed to get HTTP URL content", F.media_invalid, "message"),
    (400, "Bad Request: wrong type of the web page content", F.media_invalid, "message"),
    (400, "Bad Request: IMAGE_PROCESS_FAILED", F.media_invalid, "message"),
    (400, "Bad Request: PHOTO_INVALID_DIMENSIONS", F.media_invalid, "message"),
    (400, "Bad Request: file is too big", F.media_invalid, "message"),
    (413, "Request Entity Too Large", F.media_invalid, "message"),
    (
        400,
        "Bad Request: message is not modified: specified new message content and reply markup are exactly "
        "the same as a current content and reply markup of the message",
        F.stale,
        "message",
    ),
    (400, "Bad Request: message to edit not found", F.stale, "message"),
    (400, "Bad Request: message can't be edited", F.stale, "message"),
    (400, "Bad Request: message to delete not found", F.stale, "message"),
    (
        400,
        "Bad Request: query is too old and response timeout expired or query ID is invalid",
        F.stale,
        "message",
    ),
    (401, "Unauthorized", F.auth, "channel"),
    (401, "Unauthorized: invalid token specified", F.auth, "channel"),
    (404, "Not Found", F.auth, "channel"),
    (404, "Not Found: method not found", F.rejected, "message"),
    (400, "Bad Request: a sentence of next year", F.rejected, "message"),
    (418, "A status of next year", F.rejected, "message"),
]


@pytest.mark.parametrize(("status", "description", "reason", "scope"), TABLE)
def test_refusals(status: int, description: str, reason: SendFailure, scope: str) -> None:
    """None of these was executed, and none is better the second time."""
    error = failure(SEND, status, refusal(status, description))
    assert (error.reason, error.scope, error.retryable) == (reason, scope, False)
    assert error.code == str(status)
    assert error.detail == description


def test_too_many_requests() -> None:
    """Told to wait: never executed. A group's limit is the group's, a person's is taken for the bot's."""
    body = refusal(429, "Too Many Requests: retry after 37", retry_after=37)
    error = failure(SEND, 429, body)
    assert (error.reason, error.retryable, error.retry_after, error.scope) == (
        F.rate_limited,
        True,
        37,
        "channel",
    )
    assert failure(TO_GROUP, 429, body).scope == "address"
    assert failure(SEND, 429, b"slow down").retryable


def test_a_moved_group_tells_its_new_address() -> None:
    """The same message may go to the new address at once."""
    text = "Bad Request: group chat was upgraded to a supergroup chat"
    error = failure(TO_GROUP, 400, refusal(400, text, migrate_to_chat_id=-1001700000009))
    assert (error.reason, error.new_address, error.retryable) == (F.moved, "-1001700000009", True)


@pytest.mark.parametrize(
    ("status", "body"),
    [
        (500, refusal(500, "Internal Server Error: restart")),
        (502, b"<html>502 Bad Gateway</html>"),
        (504, b""),
        (200, b'{"ok":true,"result":{"message_id":'),
        (200, b"hello"),
        (302, b""),
    ],
)
def test_outcomes_that_nobody_knows(status: int, body: bytes) -> None:
    """A send may have been executed; a call that may be done twice is simply tried again."""
    error = failure(SEND, status, body)
    assert (error.reason, error.retryable) == (F.unknown, False)
    error = failure(EDIT, status, body)
    assert (error.reason, error.retryable) == (F.unavailable, True)


def test_somebody_else_polls() -> None:
    """409 is a matter of who owns the bot: later again."""
    text = "Conflict: terminated by other getUpdates request; make sure that only one bot instance is running"
    error = failure(EDIT, 409, refusal(409, text))
    assert (error.reason, error.retryable, error.scope) == (F.unavailable, True, "channel")


def test_no_token_in_an_error() -> None:
    """Should a proxy quote the address, the token is cut out."""
    error = failure(SEND, 400, refusal(400, "Bad Request: POST /bot110201543:TEST-secret/sendMessage"))
    assert "TEST-secret" not in str(error)


def test_receipts() -> None:
    """One message, several, or none; and the ids of files that were uploaded with it."""
    sent = explain(SEND, 200, b'{"ok":true,"result":{"message_id":77,"chat":{"id":1,"type":"private"}}}')
    assert sent == Receipt(external_id="77", external_ids=("77",))
    assert explain(EDIT, 200, b'{"ok":true,"result":true}') == Receipt()
    needs = (
        MediaNeed(7, "file0", MediaKind.image),
        MediaNeed(8, "file1", MediaKind.video),
        MediaNeed(9, "file2", MediaKind.video),
    )
    album = ApiCall(method="sendMediaGroup", payload={}, needs_media=needs)
    result = [
        {"message_id": 5, "photo": [{"file_id": "s"}, {"file_id": "l"}]},
        {"message_id": 6, "video": {"file_id": "v"}},
        {"message_id": 7, "document": {"file_id": "another kind than asked for"}},
    ]
    assert explain(album, 200, json.dumps({"ok": True, "result": result}).encode()) == Receipt(
        external_id="5",
        external_ids=("5", "6", "7"),
        uploaded=(Uploaded(7, "l"), Uploaded(8, "v")),
    )


@given(
    st.integers(100, 599),
    st.one_of(st.binary(max_size=60), st.text(max_size=60).map(lambda t: refusal(400, t))),
)
def test_any_answer_is_explained(status: int, body: bytes) -> None:
    """Noise, other servers' pages, any status: always a receipt or an error, never an exception."""
    explain(SEND, status, body)
