"""The Bot API: bytes out, bytes in, and honest about what is not known. Messages without files go by the process's
`Poster` when there is one, everything else (and all of it, behind a proxy) over one aiohttp session.

The token is part of every address (https://core.telegram.org/bots/api#making-requests), so no address and no text
of aiohttp's errors ever goes into an error, a log or a repr of ours. Nothing is retried here.

Times: connecting at most 10 s, silence at most 30 s, all together 75 s. Shorter ones would make sends unknown
that Telegram is still about to answer.
"""

from __future__ import annotations

import io
from collections.abc import Mapping
from typing import Any
from urllib.parse import quote

import aiohttp
import msgspec
from aiohttp import ClientResponse, ClientSession, ClientTimeout, FormData
from yarl import URL

from bot.channels.base import ApiCall, Credentials, Downloaded, Receipt, StoredFile, named
from bot.channels.posting import NoAnswer, NotConnected, Poster, Target, Times
from bot.channels.telegram.answers import explain, no_answer
from domain.errors import SendError, SendFailure

CONNECT_S, READ_S, TOTAL_S = 10.0, 30.0, 75.0
UPLOAD_S = 300.0  # 50 MB at 170 kB/s
MAX_ANSWER = 4_000_000  # bytes; a batch of 100 updates is below 1 MB
_JSON = {"Content-Type": "application/json"}
# No request was written: name not found, refused, TLS, or no free connection in time.
_NOT_CONNECTED = (aiohttp.ClientConnectorError, aiohttp.ConnectionTimeoutError)

_encode = msgspec.json.Encoder().encode


class TelegramClient:
    """One bot. See `bot.channels.base.Client`."""

    def __init__(
        self,
        credentials: Credentials,
        session: ClientSession,
        *,
        origin: str,
        poster: Poster | None = None,
        read_s: float = READ_S,
    ) -> None:
        self._session = session
        self._poster = poster
        self._times = Times(CONNECT_S, read_s, TOTAL_S)
        self._targets: dict[str, Target] = {}
        self._limits = limits(TOTAL_S, read_s)
        self._upload_limits = limits(UPLOAD_S, read_s)
        self._api = f"{origin.rstrip('/')}/bot{credentials['token']}/"
        self._files = f"{origin.rstrip('/')}/file/bot{credentials['token']}/"
        self._extra = {"allow_paid_broadcast": True} if credentials.get("paid_broadcast") == "true" else {}
        self._urls: dict[str, URL] = {}

    async def send(self, call: ApiCall, files: Mapping[int, StoredFile] | None = None) -> Receipt:
        """Makes the call once. `files` holds the bytes for `call.needs_media`. Raises SendError."""
        payload = call.payload
        if self._extra and call.method.startswith("send") and call.method != "sendChatAction":
            payload = payload | self._extra
        if call.needs_media:
            form = _form(payload, call, files or {})
            status, body = await self._post(call, form, None, self._upload_limits)
        elif self._poster is not None:
            status, body = await self._post_fast(self._poster, call, _encode(payload))
        else:
            status, body = await self._post(call, _encode(payload), _JSON, self._limits)
        outcome = explain(call, status, body)
        if isinstance(outcome, SendError):
            raise outcome
        return outcome

    async def request(
        self, method: str, body: bytes, *, idempotent: bool = False, read_s: float | None = None
    ) -> tuple[int, bytes]:
        """JSON to a method; HTTP status and body back. Raises SendError when there is no answer."""
        times = self._limits if read_s is None else limits(TOTAL_S + read_s, read_s)
        call = ApiCall(method=method, payload={}, idempotent=idempotent)
        return await self._post(call, body, _JSON, times)

    async def call(self, method: str, payload: dict[str, Any]) -> Any:
        """A method that changes nothing (get…); its `result`. Raises SendError."""
        status, body = await self.request(method, _encode(payload), idempotent=True)
        outcome = explain(ApiCall(method=method, payload=payload, idempotent=True), status, body)
        if isinstance(outcome, SendError):
            raise outcome
        return msgspec.json.decode(body)["result"]

    async def download(self, platform_id: str, *, max_bytes: int) -> Downloaded:
        """A file by its file_id. Bots get files up to 20 MB: https://core.telegram.org/bots/api#getfile"""
        found = await self.call("getFile", {"file_id": platform_id})
        path = found.get("file_path") if isinstance(found, dict) else None
        if not isinstance(path, str) or path.startswith("/") or ".." in path.split("/"):
            raise SendError(SendFailure.media_invalid, "Telegram gave no path for the file")
        url = URL(self._files + quote(path), encoded=True)
        failed = ApiCall(method="download", payload={}, idempotent=True)
        try:
            async with self._session.get(url, timeout=self._upload_limits, allow_redirects=False) as response:
                if response.status != 200:
                    raise _download_failed(response.status)
                data = await _read(response, max_bytes)
                if data is None:
                    raise SendError(SendFailure.media_invalid, f"the file has more than {max_bytes} bytes")
                return Downloaded(data, response.content_type, path.rsplit("/", 1)[-1])
        except _NOT_CONNECTED as error:
            raise _not_connected(error) from None
        except (aiohttp.ClientError, TimeoutError, OSError) as error:
            raise no_answer(failed, _name(error)) from None

    async def _post_fast(self, poster: Poster, call: ApiCall, body: bytes) -> tuple[int, bytes]:
        try:
            target = self._targets.get(call.method)
            if target is None:
                target = self._targets[call.method] = Target(self._url(call.method), _JSON)
            answer = await poster.post(target, body, self._times, max_answer=MAX_ANSWER)
        except NotConnected as error:
            raise SendError(SendFailure.not_connected, str(error), retryable=True, scope="channel") from None
        except NoAnswer as error:
            raise no_answer(call, str(error)) from None
        return answer.status, answer.body

    async def _post(
        self, call: ApiCall, data: bytes | FormData, headers: Mapping[str, str] | None, times: ClientTimeout
    ) -> tuple[int, bytes]:
        try:
            async with self._session.post(
                self._url(call.method), data=data, headers=headers, timeout=times, allow_redirects=False
            ) as response:
                answer = await _read(response, MAX_ANSWER)
                if answer is None:
                    raise no_answer(call, f"an answer of more than {MAX_ANSWER} bytes")
                return response.status, answer
        except _NOT_CONNECTED as error:
            raise _not_connected(error) from None
        except (aiohttp.ClientError, TimeoutError, OSError) as error:
            raise no_answer(call, _name(error)) from None

    def _url(self, method: str) -> URL:
        url = self._urls.get(method)
        if url is None:
            url = self._urls[method] = URL(self._api + quote(method), encoded=True)
        return url


def limits(total_s: float, read_s: float) -> ClientTimeout:
    """Times for one request, in seconds; connecting includes the wait for a free connection."""
    return ClientTimeout(total=total_s, connect=CONNECT_S, sock_connect=CONNECT_S, sock_read=read_s)


def _name(error: BaseException) -> str:
    """The error's class: its text holds the address, and the address the token."""
    return type(error).__name__


def _not_connected(error: BaseException) -> SendError:
    return SendError(SendFailure.not_connected, _name(error), retryable=True, scope="channel")


def _download_failed(status: int) -> SendError:
    if status in (401, 403, 404, 410):  # the path is good for an hour: whoever tries again gets a new one
        return SendError(SendFailure.media_invalid, f"the file is gone (HTTP {status})", code=str(status))
    return SendError(
        SendFailure.unavailable, f"HTTP {status}", retryable=True, scope="channel", code=str(status)
    )


async def _read(response: ClientResponse, max_bytes: int) -> bytes | None:
    """The body, None when it is longer. A known small length takes the short way."""
    length = response.content_length
    if length is not None and length <= max_bytes:
        return await response.read()
    chunks: list[bytes] = []
    size = 0
    async for chunk in response.content.iter_chunked(65_536):
        size += len(chunk)
        if size > max_bytes:
            response.close()
            return None
        chunks.append(chunk)
    return b"".join(chunks)


def _form(payload: dict[str, Any], call: ApiCall, files: Mapping[int, StoredFile]) -> FormData:
    """Multipart: https://core.telegram.org/bots/api#sending-files (values that are not text as JSON)."""
    form = FormData()
    for name, value in payload.items():
        form.add_field(name, value if isinstance(value, str) else _encode(value).decode())
    for need in call.needs_media:
        file = files.get(need.media_id)
        if file is None:
            raise SendError(SendFailure.media_invalid, f"the stored file {need.media_id} is missing")
        filename, mime = named(file, need)
        form.add_field(need.slot, io.BytesIO(file.data), filename=filename, content_type=mime)
    return form
