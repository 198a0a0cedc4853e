"""The client tells apart what certainly did not happen from what nobody knows, and never shows the token."""

from __future__ import annotations

import asyncio
import traceback
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager

import pytest
from aiohttp import ClientSession, web
from aiohttp.test_utils import TestServer, unused_port

from bot.channels.base import ApiCall, Credentials, MediaNeed, StoredFile
from bot.channels.posting import Poster
from bot.channels.telegram import client as client_module
from bot.channels.telegram.client import TelegramClient
from bot.channels.telegram.polling import fetch
from domain.errors import SendError, SendFailure
from domain.messages import MediaKind
from tests.canary import CANARY_TOKEN

CREDENTIALS = Credentials({"token": CANARY_TOKEN, "webhook_secret": "TEST-secret"})
SEND = ApiCall(method="sendMessage", payload={"chat_id": 4400100, "text": "Ciao"})
ANSWER = ApiCall(method="answerCallbackQuery", payload={"callback_query_id": "1"}, idempotent=True)
Handler = Callable[[web.Request], Awaitable[web.StreamResponse]]
straight = True  # messages go by the poster; behind a proxy they go by aiohttp


@pytest.fixture(params=["poster", "aiohttp"], autouse=True)
def way(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> None:
    """Both ways say the same."""
    monkeypatch.setattr(f"{__name__}.straight", request.param == "poster", raising=True)


@asynccontextmanager
async def connected(
    origin: str, *, read_s: float = 5.0, credentials: Credentials = CREDENTIALS
) -> AsyncIterator[TelegramClient]:
    """A client of that origin."""
    async with ClientSession() as session, closing() as poster:
        yield TelegramClient(credentials, session, origin=origin, poster=poster, read_s=read_s)


@asynccontextmanager
async def closing() -> AsyncIterator[Poster | None]:
    """The poster, or none."""
    poster = Poster(lines=10) if straight else None
    yield poster
    if poster is not None:
        await poster.close()


@asynccontextmanager
async def serving(
    handler: Handler, *, read_s: float = 5.0, credentials: Credentials = CREDENTIALS
) -> AsyncIterator[TelegramClient]:
    """A client of a server that answers everything with `handler`."""
    app = web.Application(client_max_size=8_000_000)
    app.router.add_route("*", "/{path:.*}", handler)
    server = TestServer(app)
    await server.start_server(access_log=None)  # it would log addresses, and they hold the token
    try:
        async with connected(str(server.make_url("")), read_s=read_s, credentials=credentials) as client:
            yield client
    finally:
        await server.close()


async def failing(client: TelegramClient, call: ApiCall = SEND) -> SendError:
    """The error of one call; neither its text nor its traceback may hold the token."""
    with pytest.raises(SendError) as raised:
        await client.send(call)
    shown = "".join(traceback.format_exception(raised.value)) + repr(raised.value)
    assert CANARY_TOKEN not in shown
    return raised.value


async def test_a_call_is_one_post_of_json() -> None:
    """The method is part of the path, the parameters are the body."""
    seen = []

    async def handler(request: web.Request) -> web.Response:
        seen.append((request.method, request.path, request.content_type, await request.json()))
        return web.json_response({"ok": True, "result": {"message_id": 7}})

    async with serving(handler) as client:
        receipt = await client.send(SEND)
    assert receipt.external_id == "7"
    path = f"/bot{CANARY_TOKEN}/sendMessage"
    assert seen == [("POST", path, "application/json", {"chat_id": 4400100, "text": "Ciao"})]


async def test_paid_broadcasts_are_asked_for_on_sends_only() -> None:
    """With the owner's consent every send may pass 30 a second; answers to taps have no such parameter."""
    seen = []

    async def handler(request: web.Request) -> web.Response:
        seen.append(await request.json())
        return web.json_response({"ok": True, "result": True})

    paying = Credentials({"token": CANARY_TOKEN, "paid_broadcast": "true"})
    async with serving(handler, credentials=paying) as client:
        await client.send(SEND)
        await client.send(ANSWER)
    assert seen == [SEND.payload | {"allow_paid_broadcast": True}, ANSWER.payload]


async def test_no_connection_means_not_sent() -> None:
    """Nobody listens: certainly not executed, may be tried again."""
    async with connected(f"http://127.0.0.1:{unused_port()}") as client:
        error = await failing(client)
    assert (error.reason, error.retryable) == (SendFailure.not_connected, True)


async def test_a_reset_after_the_request_is_unknown() -> None:
    """The request was read and the connection died: it may have been executed."""

    async def handler(request: web.Request) -> web.Response:
        await request.read()
        assert request.transport is not None
        request.transport.abort()
        return web.Response()

    async with serving(handler) as client:
        assert (await failing(client)).reason is SendFailure.unknown
        harmless = await failing(client, ANSWER)
    assert (harmless.reason, harmless.retryable) == (SendFailure.unavailable, True)


async def test_silence_after_the_request_is_unknown() -> None:
    """No answer within the time for reading."""
    gone = asyncio.Event()

    async def handler(request: web.Request) -> web.Response:
        await gone.wait()
        return web.Response()

    async with serving(handler, read_s=0.05) as client:
        assert (await failing(client)).reason is SendFailure.unknown
        gone.set()


async def test_an_endless_answer_is_cut_off(monkeypatch: pytest.MonkeyPatch) -> None:
    """Memory is bounded also when the other side is not Telegram."""
    monkeypatch.setattr(client_module, "MAX_ANSWER", 10_000)

    async def handler(request: web.Request) -> web.StreamResponse:
        response = web.StreamResponse()
        await response.prepare(request)
        for _ in range(100):
            await response.write(b"x" * 1000)
        return response

    async with serving(handler) as client:
        assert (await failing(client)).reason is SendFailure.unknown


async def test_redirects_are_not_followed() -> None:
    """A redirect would carry the message to somebody else."""

    async def handler(request: web.Request) -> web.Response:
        assert not request.path.startswith("/elsewhere")
        return web.Response(status=307, headers={"Location": "/elsewhere"})

    async with serving(handler) as client:
        assert (await failing(client)).reason is SendFailure.unknown


async def test_a_stored_file_goes_as_a_part_of_the_request() -> None:
    """Multipart: values that are not text as JSON, the bytes under the name that the payload refers to."""
    seen: dict[str, object] = {}

    async def handler(request: web.Request) -> web.Response:
        form = await request.post()
        file = form["file0"]
        assert isinstance(file, web.FileField)
        seen.update(chat=form["chat_id"], photo=form["photo"], markup=form["reply_markup"])
        seen.update(name=file.filename, mime=file.content_type, size=len(file.file.read()))
        return web.json_response(
            {"ok": True, "result": {"message_id": 7, "photo": [{"file_id": "AgAC-TEST"}]}}
        )

    call = ApiCall(
        method="sendPhoto",
        payload={"chat_id": 4400100, "photo": "attach://file0", "reply_markup": {"inline_keyboard": []}},
        needs_media=(MediaNeed(9, "file0", MediaKind.image),),
    )
    async with serving(handler) as client:
        receipt = await client.send(call, {9: StoredFile(b"x" * 2_000_000, "pane.jpg", "image/jpeg")})
        with pytest.raises(SendError, match="missing"):
            await client.send(call, {})
    assert [(up.media_id, up.platform_id) for up in receipt.uploaded] == [(9, "AgAC-TEST")]
    assert seen == {
        "chat": "4400100",
        "photo": "attach://file0",
        "markup": '{"inline_keyboard":[]}',
        "name": "pane.jpg",
        "mime": "image/jpeg",
        "size": 2_000_000,
    }


@pytest.mark.parametrize(
    ("path", "status", "size", "reason"),
    [
        ("photos/a b.jpg", 200, 100, None),
        ("photos/a.jpg", 200, 5000, SendFailure.media_invalid),
        ("photos/a.jpg", 404, 0, SendFailure.media_invalid),
        ("photos/a.jpg", 502, 0, SendFailure.unavailable),
        ("../../etc/passwd", 200, 100, SendFailure.media_invalid),
        ("/var/lib/telegram/a.jpg", 200, 100, SendFailure.media_invalid),
    ],
)
async def test_downloads(path: str, status: int, size: int, reason: SendFailure | None) -> None:
    """getFile, then the bytes, within a limit; a path that leaves the bot's folder is not asked for."""

    async def handler(request: web.Request) -> web.Response:
        if request.path.endswith("/getFile"):
            return web.json_response({"ok": True, "result": {"file_id": "x", "file_path": path}})
        assert request.path == f"/file/bot{CANARY_TOKEN}/{path}"
        return web.Response(body=b"x" * size, status=status, content_type="image/jpeg")

    async with serving(handler) as client:
        if reason is None:
            file = await client.download("x", max_bytes=1000)
            assert (len(file.data), file.mime, file.filename) == (100, "image/jpeg", "a b.jpg")
        else:
            with pytest.raises(SendError) as raised:
                await client.download("x", max_bytes=1000)
            assert raised.value.reason is reason
            assert CANARY_TOKEN not in "".join(traceback.format_exception(raised.value))


async def test_a_batch_of_updates_and_the_offset_that_confirms_it() -> None:
    """Broken characters in one update do not keep the others; an empty batch keeps the offset."""
    bodies = [
        b'{"ok":true,"result":[{"update_id":41,"message":{}},{"update_id":43,"text":"\\ud83d"}]}',
        b'{"ok":true,"result":[]}',
    ]

    async def handler(request: web.Request) -> web.Response:
        return web.Response(body=bodies.pop(0), content_type="application/json")

    async with serving(handler) as client:
        batch = await fetch(client, 0)
        assert len(batch.updates) == 2
        assert batch.next_offset == 44
        assert (await fetch(client, 44)).next_offset == 44


@pytest.mark.parametrize(
    ("status", "body", "reason"),
    [
        (409, b'{"ok":false,"error_code":409,"description":"Conflict"}', SendFailure.unavailable),
        (401, b'{"ok":false,"error_code":401,"description":"Unauthorized"}', SendFailure.auth),
        (502, b"<html>", SendFailure.unavailable),
        (200, b'{"ok":true,"result":[{"no":"number"}]}', SendFailure.unavailable),
    ],
)
async def test_a_poll_that_fails_can_be_asked_again(status: int, body: bytes, reason: SendFailure) -> None:
    """Asking changes nothing: no outcome of it is unknown."""

    async def handler(request: web.Request) -> web.Response:
        return web.Response(body=body, status=status)

    async with serving(handler) as client:
        with pytest.raises(SendError) as raised:
            await fetch(client, 0)
    assert raised.value.reason is reason
