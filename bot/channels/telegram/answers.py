"""What the Bot API's answers mean: a receipt, or an error that says who must act and whether it was executed. Pure.

Telegram has no error codes beyond HTTP's: the description is matched, lower-cased, against the table below, first
hit first. Sentences are the server's own (github.com/tdlib/telegram-bot-api); words in capitals come from further
inside. There is no idempotency key, so an answer that may follow an executed call is `unknown`, unless doing the
call twice does no harm.
"""

from __future__ import annotations

import re
from typing import Any

import msgspec
from msgspec import Struct, field

from bot.channels.base import ApiCall, MediaNeed, Receipt, Uploaded
from bot.channels.telegram.outbound import METHODS, SLOT, is_person
from domain.errors import SendError, SendFailure
from domain.events import storable
from domain.messages import MediaKind

MAX_DETAIL = 300  # characters of Telegram's description that are kept
_TOKEN = re.compile(r"\d+:[A-Za-z0-9_-]{3,}")


class _Parameters(Struct):
    retry_after: float | None = None
    migrate_to_chat_id: int | None = None


class _Answer(Struct):
    ok: bool
    result: msgspec.Raw = msgspec.Raw(b"null")
    error_code: int = 0
    description: str = ""
    parameters: _Parameters = field(default_factory=_Parameters)


class _Sent(Struct):
    message_id: int


class _Taken(Struct):
    """What nearly every answer is: one message was made."""

    ok: bool
    result: _Sent


_taken = msgspec.json.Decoder(_Taken)
_answer = msgspec.json.Decoder(_Answer)
_sent = msgspec.json.Decoder(_Sent)
_several = msgspec.json.Decoder(list[_Sent])
_UNREADABLE = (msgspec.MsgspecError, ValueError, RecursionError)

# (HTTP status or None for any, part of the lower-cased description, reason, what has to wait)
_TABLE: tuple[tuple[int | None, str, SendFailure, str], ...] = (
    (403, "blocked by the user", SendFailure.blocked_by_contact, "address"),
    (None, "user_is_blocked", SendFailure.blocked_by_contact, "address"),
    (403, "not enough rights", SendFailure.rights, "address"),
    (
        403,
        "",
        SendFailure.unreachable,
        "address",
    ),  # deactivated, never started, kicked, not a member, deleted
    (401, "", SendFailure.auth, "channel"),
    (404, "method not found", SendFailure.rejected, "message"),  # a self-hosted server older than the method
    (404, "", SendFailure.auth, "channel"),
    (409, "", SendFailure.unavailable, "channel"),  # somebody else polls this bot, or a webhook is set
    (413, "", SendFailure.media_invalid, "message"),
    (400, "message is not modified", SendFailure.stale, "message"),
    (400, "message to edit not found", SendFailure.stale, "message"),
    (400, "message can't be edited", SendFailure.stale, "message"),
    (400, "message to delete not found", SendFailure.stale, "message"),
    (400, "message can't be deleted", SendFailure.stale, "message"),
    (400, "message to be replied not found", SendFailure.stale, "message"),
    (400, "message to react not found", SendFailure.stale, "message"),
    (400, "query is too old", SendFailure.stale, "message"),
    (400, "query id is invalid", SendFailure.stale, "message"),
    (400, "query_id_invalid", SendFailure.stale, "message"),
    (400, "chat not found", SendFailure.unreachable, "address"),  # also "private chat not found"
    (400, "user not found", SendFailure.unreachable, "address"),
    (400, "peer_id_invalid", SendFailure.unreachable, "address"),
    (400, "input_user_deactivated", SendFailure.unreachable, "address"),
    (400, "message thread not found", SendFailure.unreachable, "address"),
    (400, "topic_closed", SendFailure.rights, "address"),
    (400, "topic_deleted", SendFailure.unreachable, "address"),
    (400, "business_peer_invalid", SendFailure.unreachable, "address"),
    (400, "business connection not found", SendFailure.rights, "address"),
    (400, "business_connection", SendFailure.rights, "address"),
    (400, "not enough rights", SendFailure.rights, "address"),
    (400, "need administrator rights", SendFailure.rights, "address"),
    (400, "have no write access", SendFailure.rights, "address"),
    (400, "have no rights to send", SendFailure.rights, "address"),
    (400, "chat_admin_required", SendFailure.rights, "address"),
    (400, "chat_write_forbidden", SendFailure.rights, "address"),
    (400, "chat_send_", SendFailure.rights, "address"),  # CHAT_SEND_PHOTOS_FORBIDDEN and its kin
    (400, "voice_messages_forbidden", SendFailure.rejected, "address"),
    (400, "file identifier", SendFailure.media_invalid, "message"),
    (400, "file_id", SendFailure.media_invalid, "message"),
    (400, "file is too big", SendFailure.media_invalid, "message"),
    (400, "file must be non-empty", SendFailure.media_invalid, "message"),
    (400, "http url", SendFailure.media_invalid, "message"),
    (400, "wrong type of the web page content", SendFailure.media_invalid, "message"),
    (400, "webpage_", SendFailure.media_invalid, "message"),
    (400, "image_process_failed", SendFailure.media_invalid, "message"),
    (400, "photo_", SendFailure.media_invalid, "message"),
    (400, "video_", SendFailure.media_invalid, "message"),
    (400, "can't use file of type", SendFailure.media_invalid, "message"),
    (400, "", SendFailure.rejected, "message"),
)


def explain(call: ApiCall, status: int, body: bytes) -> Receipt | SendError:
    """What an answer means; see `Channel.explain`."""
    if status == 200 and not call.needs_media and (taken := _one_message(body)) is not None:
        return taken
    try:
        answer = _answer.decode(body)
    except _UNREADABLE:
        return _no_answer(call, status)
    if answer.ok and 200 <= status < 300:
        return _receipt(call, answer.result)
    return _error(call, answer.error_code or status, answer)


def no_answer(call: ApiCall, detail: str) -> SendError:
    """The request was written and no readable answer came."""
    if call.idempotent:
        return SendError(SendFailure.unavailable, detail, retryable=True, scope="channel")
    return SendError(SendFailure.unknown, detail)


def _no_answer(call: ApiCall, status: int) -> SendError:
    """A body that is not the Bot API's: a proxy's page. Only a refusal by the front (4xx) tells that nothing ran."""
    if status == 429:
        return SendError(SendFailure.rate_limited, "HTTP 429", retryable=True, scope="channel", code="429")
    if status == 413:
        return SendError(SendFailure.media_invalid, "HTTP 413: too large for Telegram", code="413")
    if status in (401, 404):
        return SendError(SendFailure.auth, f"HTTP {status}", scope="channel", code=str(status))
    return no_answer(call, f"HTTP {status} without an answer of the Bot API")


def _error(call: ApiCall, status: int, answer: _Answer) -> SendError:
    detail = _TOKEN.sub("…", storable(answer.description))[:MAX_DETAIL]
    parameters, code = answer.parameters, str(status)
    if status == 429:
        wait = max(0.0, parameters.retry_after) if parameters.retry_after is not None else None
        scope = "channel" if is_person(str(call.payload.get("chat_id", ""))) else "address"
        return SendError(
            SendFailure.rate_limited, detail, retryable=True, retry_after=wait, scope=scope, code=code
        )
    if parameters.migrate_to_chat_id is not None:
        moved = str(parameters.migrate_to_chat_id)
        return SendError(
            SendFailure.moved, detail, retryable=True, scope="address", code=code, new_address=moved
        )
    if status >= 500 or status < 400:
        return no_answer(call, detail or f"HTTP {status}")
    words = detail.lower()
    for expected, part, reason, scope in _TABLE:
        if expected in (None, status) and part in words:
            retryable = reason is SendFailure.unavailable
            return SendError(reason, detail, retryable=retryable, scope=scope, code=code)
    return SendError(SendFailure.rejected, detail, code=code)


# --- receipts ---------------------------------------------------------------------------------------------------


def _one_message(body: bytes) -> Receipt | None:
    try:
        taken = _taken.decode(body)
    except _UNREADABLE:
        return None
    external_id = str(taken.result.message_id)
    return Receipt(external_id=external_id, external_ids=(external_id,)) if taken.ok else None


def _receipt(call: ApiCall, result: msgspec.Raw) -> Receipt:
    """Which messages were made; True, and objects that are no message, make none."""
    raw = bytes(result)
    external_ids: tuple[str, ...] = ()
    try:
        if raw.startswith(b"{"):
            external_ids = (str(_sent.decode(raw).message_id),)
        elif raw.startswith(b"["):
            external_ids = tuple(str(message.message_id) for message in _several.decode(raw))
    except _UNREADABLE:
        return Receipt()
    uploaded = _uploaded(call.needs_media, msgspec.json.decode(raw)) if call.needs_media else ()
    return Receipt(external_id=next(iter(external_ids), ""), external_ids=external_ids, uploaded=uploaded)


def _uploaded(needs: tuple[MediaNeed, ...], result: Any) -> tuple[Uploaded, ...]:
    """The ids under which the files of this call can be sent again, for good and by this bot only."""
    messages = result if isinstance(result, list) else [result]
    found = []
    for need in needs:
        position = int(need.slot.removeprefix(SLOT))
        file_id = _file_id(messages[position], need.media) if position < len(messages) else None
        if file_id is not None:
            found.append(Uploaded(need.media_id, file_id))
    return tuple(found)


def _file_id(message: dict[str, Any], kind: MediaKind) -> str | None:
    """None when Telegram made another kind of it (a GIF without sound …): that id would not fit the method."""
    file = message.get(METHODS[kind][1])
    if isinstance(file, list):  # sizes of a photo, the largest last
        file = file[-1] if file else None
    file_id = file.get("file_id") if isinstance(file, dict) else None
    return file_id if isinstance(file_id, str) else None
