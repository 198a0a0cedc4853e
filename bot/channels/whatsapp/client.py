"""The Graph API on the wire: bytes out, status and bytes back, and what no connection means. Messages go by the
process's `Poster` when there is one, everything else (and all of it, behind a proxy) over one aiohttp session.

Nothing here retries: the sender has the only retries. The token stands in one header and nowhere else: not in a URL,
an error or a log. Redirects are refused, because they would carry it to another host.
"""

from __future__ import annotations

import copy
from collections.abc import Mapping
from typing import Any, NamedTuple

import aiohttp
import msgspec
from aiohttp import ClientSession, ClientTimeout, FormData
from msgspec import Struct
from yarl import URL

from bot.channels.base import (
    Account,
    ApiCall,
    Credentials,
    Downloaded,
    MediaNeed,
    Receipt,
    StoredFile,
    Uploaded,
    WebhookHealth,
    named,
)
from bot.channels.posting import NoAnswer, NotConnected, Poster, Target, Times
from bot.channels.whatsapp import limits
from bot.channels.whatsapp.outbound import explain
from domain.errors import SendError, SendFailure

DEFAULT_VERSION = "v25.0"
CONNECT_S = 5.0
SEND_TIMEOUT = ClientTimeout(
    total=30, sock_connect=CONNECT_S
)  # an answer that takes longer has been seen from nobody
FILE_TIMEOUT = ClientTimeout(total=120, sock_connect=5)  # 100 MB on a slow line
MAX_ANSWER = 1024 * 1024  # bytes; a page of 100 templates has about 300 kB
MAX_PAGES = 100  # of 100: more templates than an account may have
UPLOAD_LIFE_S = 29 * 86400  # they keep it 30 days
MEDIA_HOSTS = ("fbsbx.com", "fbcdn.net", "facebook.com", "whatsapp.net")  # who may see the token
PHONE_FIELDS = (
    "id,display_phone_number,verified_name,quality_rating,throughput,code_verification_status,name_status,"
    "platform_type,account_mode,status,health_status"
)
TEMPLATE_FIELDS = "id,name,status,category,language,components,quality_score,parameter_format"

_RARE = ApiCall(method="", payload={})  # what `explain` is asked about where no message is sent
_object = msgspec.json.Decoder(dict[str, Any])


class _Answered(NamedTuple):
    """An HTTP answer. `retry_after`: seconds, where the platform (or a proxy before it) names them."""

    status: int
    body: bytes
    retry_after: float | None


class _Media(Struct):
    url: str
    mime_type: str | None = None


class _Page(Struct):
    data: list[dict[str, Any]]
    paging: dict[str, Any] | None = None


class WhatsAppClient:
    """One connected number on a session that somebody else owns."""

    def __init__(
        self, credentials: Credentials, session: ClientSession, *, origin: str, poster: Poster | None = None
    ) -> None:
        self._session = session
        self._poster = poster
        self._origin = URL(origin).origin()
        self._base = f"{origin.rstrip('/')}/{credentials.get('api_version') or DEFAULT_VERSION}/"
        self._number = credentials["phone_number_id"]
        self._business = credentials["business_account_id"]
        self._verify_token = credentials.get("verify_token")
        token = credentials["access_token"]
        self._headers = {"Authorization": f"Bearer {token}", "User-Agent": "passaparola"}
        self._json_headers = {**self._headers, "Content-Type": "application/json"}
        self._methods: dict[str, URL] = {}
        self._targets: dict[str, Target] = {}

    # --- the way of every message -----------------------------------------------------------------------------------

    async def send(self, call: ApiCall, files: Mapping[int, StoredFile] | None = None) -> Receipt:
        """Uploads what is missing, then makes the call once. The SendError says whether it can have been executed."""
        payload = call.payload
        uploaded: tuple[Uploaded, ...] = ()
        if call.needs_media:
            payload, uploaded = await self._with_files(call, files or {})
        answered = await self._post(call.method, msgspec.json.encode(payload))
        answer = explain(call, answered.status, answered.body)
        if isinstance(answer, SendError):
            if answer.retryable and answered.retry_after is not None:
                answer.retry_after = answered.retry_after
            raise answer
        return msgspec.structs.replace(answer, uploaded=uploaded) if uploaded else answer

    async def request(self, method: str, body: bytes) -> tuple[int, bytes]:
        """The seam: JSON bytes to `POST /{version}/{phone number id}/{method}`. Raises SendError without an answer."""
        answered = await self._post(method, body)
        return answered.status, answered.body

    async def _post(self, method: str, body: bytes) -> _Answered:
        url = self._methods.get(method)
        if url is None:
            url = self._methods[method] = self._url(f"{self._number}/{method}")
        if self._poster is not None:
            return await self._post_fast(self._poster, url, method, body)
        return await self._call("POST", url, data=body, headers=self._json_headers)

    async def _post_fast(self, poster: Poster, url: URL, method: str, body: bytes) -> _Answered:
        times = Times(CONNECT_S, SEND_TIMEOUT.total or 0.0, SEND_TIMEOUT.total or 0.0)
        try:
            target = self._targets.get(method)
            if target is None:
                target = self._targets[method] = Target(url, self._json_headers)
            answer = await poster.post(target, body, times, max_answer=MAX_ANSWER)
        except NotConnected as error:
            raise SendError(SendFailure.not_connected, str(error), retryable=True, scope="channel") from None
        except NoAnswer as error:
            raise SendError(SendFailure.unknown, str(error)) from None
        wait = _seconds(answer.header("retry-after")) if answer.status >= 400 else None
        return _Answered(answer.status, answer.body, wait)

    # --- files that go out ------------------------------------------------------------------------------------------

    async def upload(self, file: StoredFile, need: MediaNeed) -> str:
        """Gives the platform a file; its id there is good for 30 days. A SendError is certain: nothing was sent yet."""
        size, most = len(file.data), limits.MEDIA[need.media].max_bytes
        if size > most:
            raise SendError(SendFailure.media_invalid, f"a file of {size} bytes; WhatsApp takes {most}")
        filename, mime = named(file, need)
        form = FormData()
        form.add_field("messaging_product", "whatsapp")
        form.add_field("type", mime)
        form.add_field("file", file.data, filename=filename, content_type=mime)
        try:
            url = self._url(f"{self._number}/media")
            answered = await self._call("POST", url, data=form, headers=self._headers, timeout=FILE_TIMEOUT)
            found = _readable(answered)
        except SendError as error:
            raise _harmless(error) from error.__cause__  # a file that no message points at
        platform_id = found.get("id")
        if not isinstance(platform_id, str):
            raise SendError(SendFailure.unavailable, "the upload gave no id", retryable=True)
        return platform_id

    async def _with_files(
        self, call: ApiCall, files: Mapping[int, StoredFile]
    ) -> tuple[dict[str, Any], tuple[Uploaded, ...]]:
        payload = copy.deepcopy(call.payload)
        ids: dict[int, str] = {}
        for need in call.needs_media:
            if need.media_id not in ids:
                file = files.get(need.media_id)
                if file is None:
                    raise SendError(SendFailure.media_invalid, f"stored file {need.media_id} is not there")
                ids[need.media_id] = await self.upload(file, need)
            _place(payload, need.slot)["id"] = ids[need.media_id]
        return payload, tuple(Uploaded(each, platform_id, UPLOAD_LIFE_S) for each, platform_id in ids.items())

    # --- files that came in -----------------------------------------------------------------------------------------

    async def download(self, platform_id: str, *, max_bytes: int) -> Downloaded:
        """A file that somebody sent: first its address, good for 5 minutes, then its bytes."""
        try:
            media = msgspec.convert(await self._get(platform_id, {"phone_number_id": self._number}), _Media)
        except msgspec.ValidationError as error:
            raise SendError(
                SendFailure.media_invalid, "the platform names no address for the file"
            ) from error
        except SendError as error:
            if error.code == "100":  # no such object: here that means the file, not the number
                raise SendError(SendFailure.media_invalid, "the file is gone", code=error.code) from error
            raise
        url = URL(media.url)
        if not self._may_see_token(url):
            raise SendError(SendFailure.media_invalid, f"the file lies on an unexpected host: {url.host}")
        try:
            answered = await self._call(
                "GET", url, headers=self._headers, timeout=FILE_TIMEOUT, limit=max_bytes
            )
        except SendError as error:
            raise _harmless(error) from error.__cause__
        if answered.status >= 500:
            raise SendError(SendFailure.unavailable, f"HTTP {answered.status} for a file", retryable=True)
        if answered.status != 200:
            raise SendError(SendFailure.media_invalid, f"the file is gone (HTTP {answered.status})")
        return Downloaded(data=answered.body, mime=media.mime_type)

    def _may_see_token(self, url: URL) -> bool:
        if not url.absolute or url.scheme not in ("https", "http"):
            return False
        if url.origin() == self._origin:
            return True
        host = url.host or ""
        return url.scheme == "https" and any(
            host == known or host.endswith(f".{known}") for known in MEDIA_HOSTS
        )

    # --- the rare calls ---------------------------------------------------------------------------------------------

    async def identify(self) -> Account:
        """The number as the platform has it, with quality, throughput and health in `detail`."""
        found = await self._get(self._number, {"fields": PHONE_FIELDS})
        name = found.get("verified_name") or found.get("display_phone_number") or ""
        return Account(id=str(found.get("id", self._number)), name=str(name), detail=found)

    async def register_webhook(self, url: str) -> None:
        """Has this number's deliveries sent to `url`, and the account's unless another number of ours has them."""
        override = {"override_callback_uri": url, "verify_token": self._verify_token}
        if not any(each.get("override_callback_uri") for each in await self.subscribed_apps()):
            await self._change("POST", f"{self._business}/subscribed_apps", override)
        await self._change("POST", self._number, {"webhook_configuration": override})

    async def remove_webhook(self) -> None:
        """Takes back what `register_webhook` asked for; other numbers of the account keep theirs."""
        own = (await self.webhook_health()).url
        await self._change("POST", self._number, {"webhook_configuration": {"override_callback_uri": ""}})
        if own and any(each.get("override_callback_uri") == own for each in await self.subscribed_apps()):
            await self._change("DELETE", f"{self._business}/subscribed_apps", {})

    async def webhook_health(self) -> WebhookHealth:
        """Where this number's deliveries go: its own address, else its account's, else its app's. Meta tells neither
        what waits nor what failed."""
        found = (await self._get(self._number, {"fields": "webhook_configuration"})).get(
            "webhook_configuration"
        )
        if not isinstance(found, dict):
            return WebhookHealth(url="")
        levels = ("phone_number", "whatsapp_business_account", "application")
        return WebhookHealth(url=next((str(found[level]) for level in levels if found.get(level)), ""))

    async def subscribed_apps(self) -> list[dict[str, Any]]:
        """The apps that hear of the business account, each with its own callback where it has one."""
        return await self._listed(f"{self._business}/subscribed_apps", {})

    async def templates(self) -> list[dict[str, Any]]:
        """Every template of the business account: `{id, name, status, category, language, components, …}`."""
        path = f"{self._business}/message_templates"
        return await self._listed(path, {"fields": TEMPLATE_FIELDS, "limit": "100"})

    async def _listed(self, path: str, query: Mapping[str, str]) -> list[dict[str, Any]]:
        found: list[dict[str, Any]] = []
        after = ""
        for _ in range(MAX_PAGES):
            answer = await self._get(path, {**query, "after": after} if after else query)
            try:
                page = msgspec.convert(answer, _Page)
            except msgspec.ValidationError as error:
                raise SendError(SendFailure.unavailable, "an unreadable list", retryable=True) from error
            found += page.data
            after = _next_cursor(page)
            if not after:
                break
        return found

    # --- bytes ------------------------------------------------------------------------------------------------------

    def _url(self, path: str) -> URL:
        return URL(self._base + path, encoded=True)

    async def _get(self, path: str, query: Mapping[str, str]) -> dict[str, Any]:
        try:
            url = URL(self._base + path).with_query(query)
            return _readable(await self._call("GET", url, headers=self._headers))
        except SendError as error:
            raise _harmless(error) from error.__cause__

    async def _change(self, verb: str, path: str, body: Mapping[str, Any]) -> None:
        data = msgspec.json.encode(body) if body else None
        try:
            _readable(await self._call(verb, self._url(path), data=data, headers=self._json_headers))
        except SendError as error:
            raise _harmless(error) from error.__cause__  # all of these may be asked for twice

    async def _call(
        self,
        verb: str,
        url: URL,
        *,
        headers: Mapping[str, str],
        data: bytes | FormData | None = None,
        timeout: ClientTimeout = SEND_TIMEOUT,  # noqa: ASYNC109  the session's limits for its connection
        limit: int = MAX_ANSWER,
    ) -> _Answered:
        try:
            async with self._session.request(
                verb, url, data=data, headers=headers, timeout=timeout, allow_redirects=False
            ) as response:
                body = await _read(response, limit)
                return _Answered(response.status, body, _seconds(response.headers.get("Retry-After")))
        except (aiohttp.ClientConnectorError, aiohttp.ConnectionTimeoutError, aiohttp.InvalidURL) as error:
            # The text of the error would name hosts and paths; its name says enough.
            why = type(error).__name__
            raise SendError(SendFailure.not_connected, why, retryable=True, scope="channel") from error
        except (aiohttp.ClientError, OSError, TimeoutError) as error:
            raise SendError(SendFailure.unknown, type(error).__name__) from error
        except _TooLarge as error:
            reason = SendFailure.media_invalid if verb == "GET" else SendFailure.unknown
            raise SendError(reason, f"the answer is larger than {limit} bytes") from error


class _TooLarge(Exception):
    """An answer is larger than its limit."""


async def _read(response: aiohttp.ClientResponse, limit: int) -> bytes:
    """The whole body, or _TooLarge as soon as it is known to be more than `limit` bytes."""
    length = response.content_length
    if length is not None and length <= limit:
        return await response.read()
    if length is not None:
        raise _TooLarge
    parts, size = [], 0
    async for part in response.content.iter_any():
        size += len(part)
        if size > limit:
            raise _TooLarge
        parts.append(part)
    return b"".join(parts)


def _readable(answered: _Answered) -> dict[str, Any]:
    """The JSON object of a good answer; the table's error for any other."""
    try:
        found = _object.decode(answered.body)
    except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError):
        found = {}
    if answered.status == 200 and found and "error" not in found:
        return found
    problem = explain(_RARE, answered.status, answered.body)
    if isinstance(problem, SendError):
        raise problem
    return found


def _harmless(error: SendError) -> SendError:
    """The error of a call that may be made twice: there, an unknown outcome only means "try again"."""
    if error.reason is not SendFailure.unknown:
        return error
    return SendError(SendFailure.unavailable, error.detail, retryable=True, code=error.code)


def _seconds(header: str | None) -> float | None:
    """Seconds of a `Retry-After`; its other form, a date, is not used by this API."""
    return float(header) if header is not None and header.isascii() and header.isdigit() else None


def _place(payload: dict[str, Any], slot: str) -> dict[str, Any]:
    """The object in a payload that a slot names: `template.components.0.parameters.0.image`."""
    place: Any = payload
    for step in slot.split("."):
        place = place[int(step)] if isinstance(place, list) else place[step]
    found: dict[str, Any] = place
    return found


def _next_cursor(page: _Page) -> str:
    paging = page.paging or {}
    cursors = paging.get("cursors")
    after = cursors.get("after") if isinstance(cursors, dict) else None
    return str(after) if after and paging.get("next") else ""
