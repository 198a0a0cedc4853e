"""The WhatsApp client against servers that behave badly: what is certain, what is unknown, and where the token goes."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator, Awaitable, Callable
from typing import Any

import pytest
from aiohttp import ClientSession, ClientTimeout, web
from aiohttp.test_utils import TestServer

from bot.channels.base import ApiCall, Credentials, MediaNeed, StoredFile
from bot.channels.posting import Poster
from bot.channels.whatsapp import client as client_module
from bot.channels.whatsapp import outbound
from bot.channels.whatsapp.client import WhatsAppClient
from domain.errors import SendError, SendFailure
from domain.messages import Media, MediaKind, MediaSource, Text
from tests.canary import CANARY_PHONE, CANARY_SECRET

NUMBER, ACCOUNT = "100200300400500", "600700800900100"
CREDENTIALS = Credentials(
    {
        "phone_number_id": NUMBER,
        "business_account_id": ACCOUNT,
        "access_token": CANARY_SECRET,
        "app_secret": "TEST-app-secret",
        "verify_token": "TEST-verify",
    }
)
(CALL,) = outbound.render(Text("Ciao"), address=CANARY_PHONE)
Handler = Callable[[web.Request], Awaitable[web.StreamResponse]]


class Graph:
    """A server whose every answer a test gives; keeps what it was asked."""

    def __init__(self) -> None:
        self.handler: Handler | None = None
        self.requests: list[tuple[str, str, dict[str, str], bytes]] = []

    async def answer(self, request: web.Request) -> web.StreamResponse:
        body = await request.read()
        self.requests.append((request.method, request.path_qs, dict(request.headers), body))
        assert self.handler is not None
        return await self.handler(request)

    def says(self, status: int, body: Any, **headers: str) -> None:
        raw = body if isinstance(body, bytes) else json.dumps(body).encode()

        async def handler(_: web.Request) -> web.StreamResponse:
            return web.Response(status=status, body=raw, headers=headers)

        self.handler = handler


@pytest.fixture
async def graph() -> AsyncIterator[tuple[Graph, TestServer]]:
    graph = Graph()
    app = web.Application()
    app.router.add_route("*", "/{path:.*}", graph.answer)
    server = TestServer(app)
    await server.start_server()
    yield graph, server
    await server.close()


@pytest.fixture
async def session() -> AsyncIterator[ClientSession]:
    async with ClientSession() as session:
        yield session


@pytest.fixture
def meta(graph: tuple[Graph, TestServer]) -> Graph:
    return graph[0]


@pytest.fixture(params=["poster", "aiohttp"])
async def poster(request: pytest.FixtureRequest) -> AsyncIterator[Poster | None]:
    """Messages go by the poster; behind a proxy they go by aiohttp. Both ways say the same."""
    made = Poster(lines=10) if request.param == "poster" else None
    yield made
    if made is not None:
        await made.close()


@pytest.fixture
def client(graph: tuple[Graph, TestServer], session: ClientSession, poster: Poster | None) -> WhatsAppClient:
    return WhatsAppClient(CREDENTIALS, session, origin=str(graph[1].make_url("")), poster=poster)


async def failure(awaitable: Awaitable[object]) -> SendError:
    with pytest.raises(SendError) as caught:
        await awaitable
    chain: BaseException | None = caught.value
    while chain is not None:
        assert CANARY_SECRET not in str(chain)
        assert CANARY_PHONE not in str(chain)
        chain = chain.__cause__
    return caught.value


async def test_the_token_goes_in_the_header_and_nowhere_else(client: WhatsAppClient, meta: Graph) -> None:
    meta.says(200, {"messages": [{"id": "wamid.X"}]})
    receipt = await client.send(CALL)
    assert receipt.external_id == "wamid.X"
    ((method, path, headers, body),) = meta.requests
    assert (method, path) == ("POST", f"/v25.0/{NUMBER}/messages")
    assert headers["Authorization"] == f"Bearer {CANARY_SECRET}"
    assert headers["Content-Type"] == "application/json"
    assert json.loads(body) == CALL.payload
    assert CANARY_SECRET not in path
    assert CANARY_SECRET.encode() not in body
    assert CANARY_SECRET not in repr(CREDENTIALS)


async def test_the_version_of_the_channel_is_used(
    graph: tuple[Graph, TestServer], session: ClientSession
) -> None:
    newer = Credentials({**CREDENTIALS.values, "api_version": "v26.0"})
    graph[0].says(200, {"messages": [{"id": "wamid.X"}]})
    await WhatsAppClient(newer, session, origin=str(graph[1].make_url("/"))).send(CALL)
    assert graph[0].requests[0][1] == f"/v26.0/{NUMBER}/messages"


async def test_no_connection_is_certainly_not_sent(
    session: ClientSession, poster: Poster | None, unused_tcp_port: int
) -> None:
    away = WhatsAppClient(CREDENTIALS, session, origin=f"http://127.0.0.1:{unused_tcp_port}", poster=poster)
    error = await failure(away.send(CALL))
    assert (error.reason, error.retryable, error.scope) == (SendFailure.not_connected, True, "channel")


async def test_a_connection_cut_after_the_request_is_unknown(client: WhatsAppClient, meta: Graph) -> None:
    async def cut(request: web.Request) -> web.StreamResponse:
        assert request.transport is not None
        request.transport.abort()
        return web.Response()

    meta.handler = cut
    error = await failure(client.send(CALL))
    assert (error.reason, error.retryable) == (SendFailure.unknown, False)


async def test_no_answer_in_time_is_unknown(
    client: WhatsAppClient, meta: Graph, monkeypatch: pytest.MonkeyPatch
) -> None:
    ended = asyncio.Event()

    async def silent(_: web.Request) -> web.StreamResponse:
        await ended.wait()
        return web.Response()

    meta.handler = silent
    short = ClientTimeout(total=0.05)
    monkeypatch.setattr(client_module, "SEND_TIMEOUT", short)
    monkeypatch.setattr(
        client_module.WhatsAppClient._call, "__kwdefaults__", {"timeout": short, "limit": 9, "data": None}
    )
    error = await failure(client.send(CALL))
    ended.set()
    assert (error.reason, error.retryable) == (SendFailure.unknown, False)


@pytest.mark.parametrize(
    ("status", "body", "reason"),
    [
        (502, b"<html>Bad gateway</html>", SendFailure.unknown),
        (200, b"<html>sign in</html>", SendFailure.unknown),
        (200, b"x" * (client_module.MAX_ANSWER + 1), SendFailure.unknown),
        (
            400,
            {"error": {"code": 131026, "message": f"not reached: {CANARY_PHONE}"}},
            SendFailure.unreachable,
        ),
        (401, {"error": {"code": 190, "message": f"bad token {CANARY_SECRET}"}}, SendFailure.auth),
    ],
)
async def test_an_answer_is_read_by_the_table(
    client: WhatsAppClient, meta: Graph, status: int, body: Any, reason: SendFailure
) -> None:
    meta.says(status, body)
    assert (await failure(client.send(CALL))).reason is reason


async def test_a_retry_after_of_the_platform_is_obeyed(client: WhatsAppClient, meta: Graph) -> None:
    meta.says(429, {"error": {"code": 4, "message": "slow"}}, **{"Retry-After": "3"})
    assert (await failure(client.send(CALL))).retry_after == 3


async def test_a_redirect_does_not_carry_the_token_away(client: WhatsAppClient, meta: Graph) -> None:
    meta.says(302, b"", Location="/elsewhere")
    assert (await failure(client.send(CALL))).reason is SendFailure.unknown
    assert len(meta.requests) == 1


# --- files ----------------------------------------------------------------------------------------------------------

FILE = StoredFile(b"\xff\xd8jpeg", "a.jpg", "image/jpeg")


async def test_a_file_is_uploaded_once_and_the_message_points_at_it(
    client: WhatsAppClient, meta: Graph
) -> None:
    async def handler(request: web.Request) -> web.StreamResponse:
        return web.json_response(
            {"id": "m1"} if request.path.endswith("/media") else {"messages": [{"id": "w"}]}
        )

    meta.handler = handler
    (call,) = outbound.render(
        Media(MediaKind.image, MediaSource(media_id=5), caption="Ecco"), address=CANARY_PHONE
    )
    receipt = await client.send(call, {5: FILE})
    upload, send = meta.requests
    assert upload[1] == f"/v25.0/{NUMBER}/media"
    assert b"\xff\xd8jpeg" in upload[3]
    assert b"image/jpeg" in upload[3]
    assert json.loads(send[3])["image"] == {"id": "m1", "caption": "Ecco"}
    ((known),) = receipt.uploaded
    assert (known.media_id, known.platform_id) == (5, "m1")
    assert known.expires_s is not None
    assert known.expires_s < 30 * 86400
    assert "id" not in call.payload["image"]  # the call can be made again


async def test_a_failed_upload_is_certainly_not_sent(client: WhatsAppClient, meta: Graph) -> None:
    (call,) = outbound.render(Media(MediaKind.image, MediaSource(media_id=5)), address=CANARY_PHONE)
    meta.says(502, b"<html/>")
    error = await failure(client.send(call, {5: FILE}))
    assert (error.reason, error.retryable) == (SendFailure.unavailable, True)
    assert (await failure(client.send(call, {}))).reason is SendFailure.media_invalid
    too_large = StoredFile(b"x" * (5 * 1024 * 1024 + 1), "a.jpg", "image/jpeg")
    assert (await failure(client.send(call, {5: too_large}))).reason is SendFailure.media_invalid
    assert len(meta.requests) == 1


async def test_a_received_file_is_fetched_in_two_steps(client: WhatsAppClient, meta: Graph) -> None:
    async def handler(request: web.Request) -> web.StreamResponse:
        if request.path == "/v25.0/77":
            return web.json_response(
                {"url": f"http://{request.host}/file", "mime_type": "image/png", "id": "77"}
            )
        return web.Response(body=b"png" * 100)

    meta.handler = handler
    found = await client.download("77", max_bytes=300)
    assert (found.data, found.mime) == (b"png" * 100, "image/png")
    assert meta.requests[0][1] == f"/v25.0/77?phone_number_id={NUMBER}"
    assert (await failure(client.download("77", max_bytes=299))).reason is SendFailure.media_invalid


async def test_a_file_without_a_length_is_still_bounded(client: WhatsAppClient, meta: Graph) -> None:
    async def handler(request: web.Request) -> web.StreamResponse:
        if request.path == "/v25.0/77":
            return web.json_response({"url": f"http://{request.host}/file"})
        response = web.StreamResponse()
        await response.prepare(request)
        for _ in range(4):
            await response.write(b"x" * 100)
        return response

    meta.handler = handler
    assert len((await client.download("77", max_bytes=400)).data) == 400
    assert (await failure(client.download("77", max_bytes=399))).reason is SendFailure.media_invalid


@pytest.mark.parametrize(
    "url",
    [
        "https://example.com/file",
        "http://lookaside.fbsbx.com/x",
        "https://evilfbsbx.com/x",
        "/relative",
        "ftp://lookaside.fbsbx.com/x",
        "https://lookaside.fbsbx.com.example.com/x",
        "http://127.0.0.1:1/x",
    ],
)
async def test_a_file_on_a_strange_host_never_sees_the_token(
    client: WhatsAppClient, meta: Graph, url: str
) -> None:
    meta.says(200, {"url": url})
    assert (await failure(client.download("77", max_bytes=1))).reason is SendFailure.media_invalid
    assert len(meta.requests) == 1


async def test_a_file_that_is_gone_does_not_stop_the_channel(client: WhatsAppClient, meta: Graph) -> None:
    meta.says(400, {"error": {"code": 100, "error_subcode": 33, "message": "does not exist"}})
    assert (await failure(client.download("77", max_bytes=1))).reason is SendFailure.media_invalid


async def test_a_failed_question_may_be_asked_again(client: WhatsAppClient, meta: Graph) -> None:
    meta.says(502, b"<html/>")
    for question in (client.identify(), client.templates(), client.download("77", max_bytes=1)):
        error = await failure(question)
        assert (error.reason, error.retryable) == (SendFailure.unavailable, True)


async def test_templates_are_read_page_by_page(client: WhatsAppClient, meta: Graph) -> None:
    async def handler(request: web.Request) -> web.StreamResponse:
        after = request.query.get("after")
        page: dict[str, Any] = {"data": [{"name": after or "first"}]}
        if after is None:
            page["paging"] = {"cursors": {"after": "second"}, "next": "https://graph.example.com/…"}
        return web.json_response(page)

    meta.handler = handler
    assert [each["name"] for each in await client.templates()] == ["first", "second"]


def test_a_stored_file_is_placed_where_the_slot_says() -> None:
    payload: dict[str, Any] = {"template": {"components": [{"parameters": [{"image": {}}]}]}}
    need = MediaNeed(1, "template.components.0.parameters.0.image", MediaKind.image)
    client_module._place(payload, need.slot)["id"] = "m"
    assert payload["template"]["components"][0]["parameters"][0] == {"image": {"id": "m"}}
    assert isinstance(ApiCall(method="messages", payload=payload), ApiCall)
