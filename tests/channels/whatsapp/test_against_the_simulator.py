"""The whole way with the simulated WhatsApp: what we send arrives as meant, what people do comes in as meant."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from typing import Any

import pytest
from aiohttp import ClientSession, web
from aiohttp.test_utils import TestServer

from bot.channels.base import Credentials, Delivery, Receipt, StoredFile, channel_of
from bot.channels.whatsapp import inbound
from bot.channels.whatsapp.client import WhatsAppClient
from domain.errors import SendError, SendFailure
from domain.events import (
    AccountNotice,
    DeliveryStatus,
    Echo,
    IdentityChanged,
    MessageReceived,
    PlatformEvent,
    Preference,
)
from domain.messages import (
    Album,
    Button,
    ContactCard,
    ContactRequest,
    Content,
    FormAnswer,
    LocationContent,
    LocationRequest,
    Media,
    MediaKind,
    MediaSource,
    MessageStatus,
    Poll,
    Reaction,
    ReadAndTyping,
    ReceivedContact,
    ReceivedLocation,
    ReceivedMedia,
    ReceivedText,
    Tap,
    Template,
    TemplateParameter,
    Text,
)
from simulators.app import build_app
from simulators.control import SimulatorControl

NUMBER, ACCOUNT, SECRET = "100200300400500", "600700800900100", "TEST-app-secret"
PHONE, USER_ID = "+12025550143", "US.70000000000000000001"
PATIENCE_S = 10.0
PNG = bytes.fromhex(
    "89504e470d0a1a0a0000000d49484452000000010000000108060000001f15c4890000000d49444154789c6360000002000154a24f5d"
    "0000000049454e44ae426082"
)


class World:
    """One connected number, one person, and everything that the simulator delivered to us."""

    def __init__(self, sim: SimulatorControl, client: WhatsAppClient, credentials: Credentials) -> None:
        self.sim = sim
        self.client = client
        self.credentials = credentials
        self.events: list[PlatformEvent] = []
        self.person = ""
        self.url = ""
        self._arrived = asyncio.Event()

    async def webhook(self, request: web.Request) -> web.Response:
        """The endpoint, without a store behind it."""
        if request.method == "GET":
            return web.Response(text=inbound.handshake(request.query, self.credentials))
        body = await request.read()
        headers = {inbound.SIGNATURE_HEADER: request.headers.get(inbound.SIGNATURE_HEADER, "")}
        inbound.verify(Delivery(headers, body), self.credentials)
        self.events += inbound.parse(body)
        self._arrived.set()
        return web.Response()

    async def wait_for(self, kind: type[Any], **fields: Any) -> Any:
        """The first event of that kind with those fields, also of those that came before."""
        async with asyncio.timeout(PATIENCE_S):
            while True:
                for event in self.events:
                    if isinstance(event, kind) and all(getattr(event, k) == v for k, v in fields.items()):
                        return event
                self._arrived.clear()
                await self._arrived.wait()

    async def wait_for_content(self, kind: type[Any]) -> Any:
        """The content of the first message of that kind."""
        async with asyncio.timeout(PATIENCE_S):
            while True:
                for event in self.events:
                    if isinstance(event, MessageReceived) and isinstance(event.content, kind):
                        return event.content
                self._arrived.clear()
                await self._arrived.wait()

    async def act(self, do: str, **spec: Any) -> Any:
        return await self.sim.whatsapp_act(NUMBER, self.person, do, **spec)

    async def send(
        self, content: Content, *, own_id: int = 0, address: str = PHONE, **files: Any
    ) -> list[Receipt]:
        channel = channel_of("whatsapp")
        calls = channel.render(content, address=address, own_id=own_id, language="it")
        return [await self.client.send(call, files.get("files", {})) for call in calls]

    async def shown(self) -> list[dict[str, Any]]:
        """What stands in the person's chat, from us, oldest first."""
        found = await self.sim.call("GET", f"/whatsapp/people/{self.person}/messages", number=NUMBER)
        return [each for each in found["messages"] if each["direction"] == "out"]


@pytest.fixture
async def world() -> AsyncIterator[World]:
    server = TestServer(build_app(seed=1))
    await server.start_server()
    origin = str(server.make_url(""))
    credentials = Credentials(
        {
            "phone_number_id": NUMBER,
            "business_account_id": ACCOUNT,
            "access_token": "TEST-token-1234",
            "app_secret": SECRET,
            "verify_token": "TEST-verify",
        }
    )
    async with SimulatorControl(origin) as sim, ClientSession() as session:
        world = World(sim, WhatsAppClient(credentials, session, origin=origin), credentials)
        app = web.Application()
        app.router.add_route("*", "/webhook", world.webhook)
        endpoint = TestServer(app)
        await endpoint.start_server()
        world.url = str(endpoint.make_url("/webhook"))
        await sim.whatsapp_number(
            phone_number_id=NUMBER,
            business_account_id=ACCOUNT,
            display_phone_number="+1 202-555-0100",
            access_token="TEST-token-1234",
            app_secret=SECRET,
            callback_url=world.url,
            verify_token="TEST-verify",
        )
        await sim.call("POST", "/whatsapp/knobs", {"status_delay_ms": 0})
        world.person = await sim.whatsapp_person(phone=PHONE, bsuid=USER_ID, name="Giulia Prova")
        await world.act("say", text="Ciao")  # opens the window
        yield world
        await endpoint.close()
    await server.close()


def options(*titles: str) -> tuple[Button, ...]:
    return tuple(Button(f"o{n}", title) for n, title in enumerate(titles, start=1))


STORED = MediaSource(media_id=5, filename="a.png", mime="image/png")
FILES = {5: StoredFile(PNG, "a.png", "image/png"), 6: StoredFile(b"%PDF-1.4", "menu.pdf", "application/pdf")}
KINDS: list[tuple[Content, list[str]]] = [
    (Text("Ciao"), ["text"]),
    (Text("Scegli", options("Uno", "Due")), ["interactive"]),
    (Text("Scegli", options("1", "2", "3", "4")), ["interactive"]),
    (Text("Scegli", options(*(f"Scelta {n}" for n in range(11)))), ["text"]),
    (Text("Il menù", (Button("l", "Apri", url="https://example.com/x"),)), ["interactive"]),
    (Media(MediaKind.image, STORED, caption="Ecco"), ["image"]),
    (Media(MediaKind.image, STORED, caption="Ti piace?", buttons=options("Sì", "No")), ["interactive"]),
    (Media(MediaKind.document, MediaSource(media_id=6), caption="Il menù"), ["document"]),
    (Album((Media(MediaKind.image, STORED), Media(MediaKind.image, STORED))), ["image", "image"]),
    (LocationContent(45.4642, 9.19, "Duomo"), ["location"]),
    (ContactCard("Anna Esempio", "+447700900123", email="anna@example.com"), ["contacts"]),
    (ContactRequest("Il tuo numero?", "Condividi"), ["interactive"]),
    (LocationRequest("Dove sei?", "Condividi"), ["interactive"]),
    (Poll("Quando?", ("Oggi", "Domani")), ["interactive"]),
]


@pytest.mark.parametrize(
    ("content", "types"), KINDS, ids=[f"{type(k[0]).__name__}-{n}" for n, k in enumerate(KINDS)]
)
@pytest.mark.parametrize("address", [PHONE, USER_ID], ids=["phone", "user_id"])
async def test_each_kind_of_content_arrives(
    world: World, content: Content, types: list[str], address: str
) -> None:
    receipts = await world.send(content, own_id=42, address=address, files=FILES)
    assert all(receipt.external_id.startswith("wamid.") for receipt in receipts)
    for receipt in receipts:
        status = await world.wait_for(
            DeliveryStatus, external_id=receipt.external_id, status=MessageStatus.delivered
        )
        assert status.message_id == 42
        assert status.account == NUMBER
    assert [each["type"] for each in await world.shown()] == types


async def test_a_template_with_all_its_parts_arrives(world: World) -> None:
    components = [
        {"type": "HEADER", "format": "IMAGE", "example": {"header_handle": ["4::x"]}},
        {
            "type": "BODY",
            "text": "Ciao {{first_name}}, il tuo ordine {{order_id}} parte oggi.",
            "example": {
                "body_text_named_params": [
                    {"param_name": "first_name", "example": "Anna"},
                    {"param_name": "order_id", "example": "A-1"},
                ]
            },
        },
        {
            "type": "BUTTONS",
            "buttons": [
                {"type": "QUICK_REPLY", "text": "Stop"},
                {"type": "URL", "text": "Segui", "url": "https://example.com/t/{{1}}", "example": ["abc"]},
            ],
        },
    ]
    await world.sim.call(
        "POST",
        "/whatsapp/templates",
        {
            "business_account_id": ACCOUNT,
            "name": "ordine",
            "language": "it",
            "category": "UTILITY",
            "parameter_format": "named",
            "components": components,
        },
    )
    template = Template(
        "ordine",
        "it",
        category="utility",
        header=(TemplateParameter(media=MediaKind.image, source=STORED),),
        body=(TemplateParameter("Giulia", name="first_name"), TemplateParameter("A-7", name="order_id")),
        buttons={"0": TemplateParameter("p-stop"), "1": TemplateParameter("abc", name="url")},
    )
    (receipt,) = await world.send(template, own_id=9, files=FILES)
    status = await world.wait_for(
        DeliveryStatus, external_id=receipt.external_id, status=MessageStatus.delivered
    )
    assert status.message_id == 9
    (shown,) = await world.shown()
    assert "Ciao Giulia, il tuo ordine A-7 parte oggi." in shown["text"]
    await world.act("tap", button="Stop")
    stop = await world.wait_for(MessageReceived, opt_out=True)
    assert stop.content == Tap("p-stop", "Stop", message_external_id=receipt.external_id)
    (known,) = [each for each in await world.client.templates() if each["name"] == "ordine"]
    assert (known["status"], known["category"], known["language"]) == ("APPROVED", "UTILITY", "it")


async def test_a_reaction_and_the_read_mark_reach_the_persons_message(world: World) -> None:
    first = await world.wait_for(MessageReceived)
    channel = channel_of("whatsapp")
    call = channel.render_ephemeral(ReadAndTyping(first.external_id), address=PHONE)
    assert call is not None
    assert await world.client.send(call) == Receipt()
    (receipt,) = await world.send(Reaction(first.external_id, "👍"))
    assert receipt.external_id


async def test_what_people_do_comes_in_as_what_they_meant(world: World) -> None:
    (asked,) = await world.send(Text("Scegli", options("Uno", "Due")))
    await world.act("tap", button="o2")
    tap = await world.wait_for(MessageReceived, reply_to=asked.external_id)
    assert tap.content == Tap("o2", "Due", message_external_id=asked.external_id)
    (asked,) = await world.send(Text("Scegli", options("1", "2", "3", "4")))
    await world.act("list", button="o4")
    row = await world.wait_for(MessageReceived, reply_to=asked.external_id)
    assert row.content == Tap("o4", "4", message_external_id=asked.external_id)
    await world.send(ContactRequest("Il tuo numero?", "Condividi"))
    for do, spec, kind in (
        ("contact", {}, ReceivedContact),
        ("location", {"latitude": 45.0, "longitude": 9.0}, ReceivedLocation),
        ("nfm", {"data": {"rating": "5"}}, FormAnswer),
    ):
        await world.act(do, **spec)
        assert await world.wait_for_content(kind)
    for event in world.events:
        if isinstance(event, MessageReceived):
            assert [i.kind for i in event.person.ids] == ["wa_bsuid", "wa_phone"]
            assert event.person.phone == PHONE


async def test_a_received_file_can_be_fetched(world: World) -> None:
    await world.act("media", kind="image", caption="Guarda")
    content = await world.wait_for_content(ReceivedMedia)
    found = await world.client.download(content.platform_id, max_bytes=10_000)
    assert found.data.startswith(b"\x89PNG")
    assert found.mime == "image/png"


async def test_a_person_without_a_phone_number_is_answered_by_user_id(world: World) -> None:
    await world.sim.call("POST", "/whatsapp/knobs", {"bsuid_mode": "bsuid"})
    await world.act("say", text="senza numero")
    event = await world.wait_for(MessageReceived, content=ReceivedText("senza numero"))
    assert [i.kind for i in event.person.ids] == ["wa_bsuid"]
    assert event.origin.address == USER_ID
    (receipt,) = await world.send(Text("Ciao"), own_id=3, address=event.origin.address)
    status = await world.wait_for(
        DeliveryStatus, external_id=receipt.external_id, status=MessageStatus.delivered
    )
    assert (status.message_id, status.address) == (3, USER_ID)


async def test_opting_out_on_the_platform_comes_in_as_a_preference(world: World) -> None:
    await world.act("stop_marketing")
    event = await world.wait_for(Preference, wanted=False)
    assert event.person.phone == PHONE
    await world.act("resume_marketing")
    await world.wait_for(Preference, wanted=True)


async def test_a_new_number_moves_the_identity(world: World) -> None:
    await world.act("change_number", phone="+12025550188")
    event = await world.wait_for(IdentityChanged)
    assert "12025550143" in [i.value for i in event.old]
    assert "12025550188" in [i.value for i in event.new]


async def test_account_news_are_told_with_their_gravity(world: World) -> None:
    await world.sim.call("POST", "/whatsapp/events", {"number": NUMBER, "event": "quality", "quality": "RED"})
    assert (await world.wait_for(AccountNotice, what="number_quality")).severity == "warning"
    await world.sim.call("POST", "/whatsapp/events", {"number": NUMBER, "event": "restriction"})
    assert (await world.wait_for(AccountNotice, what="account")).stops_channel
    spec = {"number": NUMBER, "event": "echo", "person": world.person, "text": "Rispondo io"}
    await world.sim.call("POST", "/whatsapp/events", spec)
    assert (await world.wait_for(Echo)).content == ReceivedText("Rispondo io")


# --- failures -----------------------------------------------------------------------------------------------------


async def refused(world: World, content: Content) -> SendError:
    with pytest.raises(SendError) as caught:
        await world.send(content)
    return caught.value


async def test_the_closed_window_is_told_at_once_or_later(world: World) -> None:
    await world.sim.freeze()
    await world.sim.call("POST", "/whatsapp/knobs", {"window_check": "sync"})
    await world.sim.advance(25 * 3600)
    assert (await refused(world, Text("Ciao"))).reason is SendFailure.window_closed
    await world.sim.call("POST", "/whatsapp/knobs", {"window_check": "async"})
    (receipt,) = await world.send(Text("Ciao"), own_id=8)
    await world.sim.advance(60)
    status = await world.wait_for(DeliveryStatus, external_id=receipt.external_id)
    assert (status.status, status.reason, status.message_id) == (MessageStatus.failed, "window_closed", 8)


async def test_who_is_not_on_whatsapp_is_unreachable(world: World) -> None:
    await world.sim.whatsapp_person(phone="+12025550155", name="Nessuno", on_whatsapp=False)
    await world.sim.call("POST", "/whatsapp/knobs", {"window_check": "off"})
    (receipt,) = await world.send(Text("Ciao"), address="+12025550155")
    status = await world.wait_for(DeliveryStatus, external_id=receipt.external_id)
    assert (status.status, status.reason) == (MessageStatus.failed, "unreachable")


async def test_a_missing_template_and_a_wrong_token_are_named(world: World) -> None:
    assert (await refused(world, Template("nessuno", "it"))).reason is SendFailure.template_invalid
    await world.sim.whatsapp_number(
        phone_number_id=NUMBER,
        business_account_id=ACCOUNT,
        access_token="TEST-token-1234",
        token_revoked=True,
    )
    error = await refused(world, Text("Ciao"))
    assert (error.reason, error.scope, error.code) == (SendFailure.auth, "channel", "190")


async def test_the_pair_limit_makes_this_person_wait(world: World) -> None:
    errors = []
    for _ in range(60):
        try:
            await world.send(Text("Ciao"))
        except SendError as error:
            errors.append(error)
            break
    (limited,) = errors
    assert (limited.reason, limited.scope, limited.retry_after, limited.code) == (
        SendFailure.rate_limited,
        "address",
        4.0,
        "131056",
    )


@pytest.mark.parametrize(
    ("kind", "when", "reason"),
    [
        ("429", "before", SendFailure.rate_limited),
        ("500", "after", SendFailure.unknown),
        ("502_html", "after", SendFailure.unknown),
        ("garbage", "after", SendFailure.unknown),
        ("reset", "after", SendFailure.unknown),
    ],
)
async def test_what_may_have_arrived_is_unknown_and_its_status_tells(
    world: World, kind: str, when: str, reason: SendFailure
) -> None:
    await world.sim.fault("whatsapp", kind, when=when, method="messages")
    with pytest.raises(SendError) as caught:
        await world.send(Text("Ciao"), own_id=77)
    assert caught.value.reason is reason
    if when == "after":
        status = await world.wait_for(DeliveryStatus, message_id=77)
        assert status.external_id


# --- connecting ---------------------------------------------------------------------------------------------------


async def test_connecting_and_disconnecting_sets_the_numbers_own_callback(world: World) -> None:
    account = await world.client.identify()
    assert account.id == NUMBER
    assert account.detail["health_status"]["can_send_message"] == "AVAILABLE"
    for _ in range(2):  # a second time does no harm
        await world.client.register_webhook(world.url)
        assert (await world.client.webhook_health()).url == world.url
    (app,) = await world.client.subscribed_apps()
    assert app["override_callback_uri"] == world.url
    await world.client.remove_webhook()
    assert (
        await world.client.webhook_health()
    ).url == world.url  # what remains is the app's own, from the dashboard
    assert await world.client.subscribed_apps() == []


async def test_a_number_leaves_the_accounts_callback_to_the_one_that_has_it(world: World) -> None:
    await world.client.register_webhook(world.url)
    other = Credentials({**world.credentials.values, "phone_number_id": "100200300400501"})
    await world.sim.whatsapp_number(
        phone_number_id="100200300400501", business_account_id=ACCOUNT, access_token="TEST-token-1234"
    )
    second = WhatsAppClient(other, world.client._session, origin=str(world.sim.base_url))
    await second.register_webhook(world.url + "?second")
    await second.remove_webhook()
    (app,) = await world.client.subscribed_apps()
    assert app["override_callback_uri"] == world.url
