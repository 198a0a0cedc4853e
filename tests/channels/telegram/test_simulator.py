"""Channel and simulated Telegram together: what we send reaches the person, what people do reaches us.

The simulator is strict about parameters, lengths and markup, so a call that it takes is a call of the Bot API.
"""

from __future__ import annotations

import os
from collections.abc import AsyncIterator
from dataclasses import dataclass
from typing import Any

import pytest
from aiohttp import ClientSession
from aiohttp.test_utils import TestServer

from bot.channels.base import ApiCall, Credentials, Receipt, StoredFile, channel_of
from bot.channels.telegram.client import TelegramClient
from bot.channels.telegram.facade import TelegramManagement, bot
from bot.channels.telegram.polling import Batch, fetch
from domain.errors import SendError, SendFailure
from domain.events import MessageReceived, OutletChanged, PlatformEvent, Reachability
from domain.messages import (
    Album,
    Button,
    CallbackAnswer,
    ContactCard,
    ContactRequest,
    Content,
    LocationContent,
    LocationRequest,
    Media,
    MediaKind,
    MediaSource,
    Poll,
    PollVote,
    Reaction,
    ReadAndTyping,
    ReceivedContact,
    ReceivedLocation,
    ReceivedMedia,
    ReceivedText,
    Tap,
    Text,
)
from simulators.app import build_app
from simulators.control import SimulatorControl

TOKEN = "110201543:TEST-channel"
PNG = bytes.fromhex(
    "89504e470d0a1a0a0000000d49484452000000010000000108060000001f15c4890000000d49444154789c6360606060"
    "000000050001a5f645400000000049454e44ae426082"
)
FILES = {
    1: StoredFile(PNG, "pane.png", "image/png"),
    2: StoredFile(os.urandom(64) * 40, "menu.pdf", "application/pdf"),
    3: StoredFile(b"\0\0\0\x18ftypmp42" + bytes(500), "forno.mp4", "video/mp4"),
    4: StoredFile(b"OggS" + bytes(500), "voce.ogg", "audio/ogg"),
    5: StoredFile(b"ID3" + bytes(500), "canto.mp3", "audio/mpeg"),
    6: StoredFile(b"RIFF\0\0\0\0WEBPVP8 " + bytes(500), "evviva.webp", "image/webp"),
}


@dataclass
class Town:
    """A bot of ours, Anna, and the simulator's control."""

    sim: SimulatorControl
    client: TelegramClient
    session: ClientSession
    origin: str
    anna: int
    offset: int = 0

    async def send(self, content: Content, *, to: int | None = None, own_id: int = 9) -> list[Receipt]:
        calls = channel_of("telegram").render(content, address=str(to or self.anna), own_id=own_id)
        return [await self.client.send(call, FILES) for call in calls]

    async def shown(self, chat: int | None = None) -> list[dict[str, Any]]:
        """Messages of the bot as the person sees them, oldest first."""
        messages = await self.sim.telegram_messages(TOKEN, chat or self.anna)
        return [message for message in messages if message.get("from", {}).get("is_bot", True)]

    async def acts(self, do: str, **spec: Any) -> list[PlatformEvent]:
        """What comes in when Anna does something."""
        await self.sim.telegram_act(TOKEN, self.anna, do, **spec)
        return await self.incoming()

    async def incoming(self) -> list[PlatformEvent]:
        batch: Batch = await fetch(self.client, self.offset, wait_s=0)
        self.offset = batch.next_offset
        return [event for update in batch.updates for event in channel_of("telegram").parse(update)]


@pytest.fixture
async def town() -> AsyncIterator[Town]:
    server = TestServer(build_app())
    await server.start_server(access_log=None)
    origin = str(server.make_url("")).rstrip("/")
    credentials = Credentials({"token": TOKEN, "webhook_secret": "TEST-secret"}, ("110201543",))
    async with SimulatorControl(origin) as sim, ClientSession() as session:
        await sim.freeze()  # a virtual clock: getUpdates' three seconds between equal offsets cost nothing
        await sim.telegram_bot(TOKEN, username="forno_example_bot", name="Forno")
        anna = await sim.telegram_person(first_name="Anna", language_code="it", phone_number="447700900123")
        town = Town(sim, TelegramClient(credentials, session, origin=origin), session, origin, anna)
        await town.acts("start")
        yield town
    await server.close()


PLACE = LocationContent(45.07, 7.68)
STORED: list[tuple[MediaKind, int]] = [
    (MediaKind.image, 1),
    (MediaKind.document, 2),
    (MediaKind.video, 3),
    (MediaKind.animation, 3),
    (MediaKind.video_note, 3),
    (MediaKind.voice, 4),
    (MediaKind.audio, 5),
    (MediaKind.sticker, 6),
]
CONTENTS: list[tuple[Content, str]] = [
    (Text("Ciao <Anna> & co."), "text"),
    (Text("*Ciao* _Anna_ ~no~ `x < y`", markup=True, preview_links=False), "text"),
    (Text("Scegli", (Button("a", "Sì"), Button("site", "Sito", url="https://example.com"))), "reply_markup"),
    (PLACE, "location"),
    (LocationContent(45.07, 7.68, name="Forno", address="Via di Prova 1"), "venue"),
    (ContactCard("Anna Prova", "+447700900123", email="anna@example.com"), "contact"),
    (ContactRequest("Il tuo numero?", "Condividi"), "text"),
    (LocationRequest("Dove sei?", "Invia"), "text"),
    (Poll("Quando?", ("Oggi", "Domani"), several=True), "poll"),
]


@pytest.mark.parametrize(("content", "field"), CONTENTS)
async def test_every_content_reaches_the_person(town: Town, content: Content, field: str) -> None:
    """The receipt names the message that the person sees."""
    (receipt,) = await town.send(content)
    message = (await town.shown())[-1]
    assert receipt.external_id == str(message["message_id"])
    assert field in message


@pytest.mark.parametrize(("kind", "media_id"), STORED)
async def test_a_stored_file_is_uploaded_once(town: Town, kind: MediaKind, media_id: int) -> None:
    """The receipt's id sends the same file again, and what the person got can be fetched back."""
    (receipt,) = await town.send(Media(kind, MediaSource(media_id=media_id)))
    (uploaded,) = receipt.uploaded
    assert uploaded.media_id == media_id
    (again,) = await town.send(Media(kind, MediaSource(platform_id=uploaded.platform_id)))
    assert again.uploaded == ()
    fetched = await town.client.download(uploaded.platform_id, max_bytes=20_000_000)
    assert fetched.data == FILES[media_id].data


async def test_formatted_text_is_read_by_telegram_as_meant(town: Town) -> None:
    """Marks become entities, the rest stays text."""
    await town.send(Text("*Ciao* a < b `x*y`", markup=True))
    message = (await town.shown())[-1]
    assert message["text"] == "Ciao a < b x*y"
    assert [(e["type"], e["offset"], e["length"]) for e in message["entities"]] == [
        ("bold", 0, 4),
        ("code", 11, 3),
    ]


async def test_an_album_arrives_together(town: Town) -> None:
    """One group, its ids in order, both files kept for the next time."""
    photo, video = Media(MediaKind.image, MediaSource(media_id=1), "due"), MediaSource(media_id=3)
    (receipt,) = await town.send(Album((photo, Media(MediaKind.video, video))))
    first, second = (await town.shown())[-2:]
    assert first["media_group_id"] == second["media_group_id"]
    assert receipt.external_ids == (str(first["message_id"]), str(second["message_id"]))
    assert [uploaded.media_id for uploaded in receipt.uploaded] == [1, 3]


async def test_a_tap_comes_back_with_option_title_and_our_message(town: Town) -> None:
    """And its waiting mark can be ended, once; a second answer is late but harmless."""
    own_id = 2**62 + 12345
    (sent,) = await town.send(Text("Scegli", (Button("price", "Prezzi"),)), own_id=own_id)
    (event,) = await town.acts("tap", text="Prezzi")
    assert isinstance(event, MessageReceived)
    tap = event.content
    assert isinstance(tap, Tap)
    assert (tap.option_id, tap.title, tap.message_id) == ("price", "Prezzi", own_id)
    assert tap.message_external_id == sent.external_id
    assert tap.callback_id is not None
    answer = channel_of("telegram").render_ephemeral(CallbackAnswer(tap.callback_id), address=str(town.anna))
    assert answer is not None
    await town.client.send(answer)
    with pytest.raises(SendError) as late:
        await town.client.send(answer)
    assert late.value.reason is SendFailure.stale


async def test_what_people_do_comes_in(town: Town) -> None:
    """Words, links, numbers, places, files, votes, reactions: each as its own event."""
    (event,) = await town.acts("start", payload="promo-1")
    assert isinstance(event, MessageReceived)
    assert event.deep_link == "promo-1"
    (event,) = await town.acts("say", text="STOP")
    assert isinstance(event, MessageReceived)
    assert (event.content, event.opt_out) == (ReceivedText("STOP"), True)
    await town.send(ContactRequest("Il tuo numero?", "Condividi"))
    (event,) = await town.acts("contact")
    assert isinstance(event, MessageReceived)
    assert isinstance(event.content, ReceivedContact)
    assert (event.content.phone, event.content.own) == ("+447700900123", True)
    (event,) = await town.acts("location", latitude=45.0, longitude=7.0)
    assert isinstance(event, MessageReceived)
    assert isinstance(event.content, ReceivedLocation)
    items = [{"kind": "photo"}, {"kind": "photo"}]
    first, second = await town.acts("album", items=items, caption="due")
    assert isinstance(first, MessageReceived)
    assert isinstance(second, MessageReceived)
    assert isinstance(first.content, ReceivedMedia)
    assert first.album == second.album is not None
    await town.send(Poll("Quando?", ("Oggi", "Domani"), anonymous=False))
    poll = (await town.shown())[-1]
    votes = await town.acts("vote", options=[1], message_id=poll["message_id"])
    assert [
        v.content.options for v in votes if isinstance(v, MessageReceived) and isinstance(v.content, PollVote)
    ] == [(1,)]


async def test_blocked_and_back(town: Town) -> None:
    """We hear of it at once, and sending says so too."""
    (event,) = await town.acts("block")
    assert isinstance(event, Reachability)
    assert not event.reachable
    with pytest.raises(SendError) as raised:
        await town.send(Text("Ciao"))
    assert (raised.value.reason, raised.value.scope) == (SendFailure.blocked_by_contact, "address")
    (event,) = await town.acts("unblock")
    assert isinstance(event, Reachability)
    assert event.reachable
    await town.sim.telegram_act(TOKEN, town.anna, "delete_account")
    with pytest.raises(SendError) as raised:
        await town.send(Text("Ciao"))
    assert raised.value.reason is SendFailure.unreachable


async def test_posts_on_a_channel_with_a_button(town: Town) -> None:
    """Becoming admin connects the channel; readers' taps come in with their person."""
    channel = await town.sim.telegram_chat("channel", "Novità", username="novita_example")
    await town.sim.telegram_admin(channel, TOKEN)
    (event,) = await town.incoming()
    assert isinstance(event, OutletChanged)
    assert (event.origin.address, event.member, event.can_post) == (str(channel), True, True)
    (receipt,) = await town.send(Text("Saldi!", (Button("want", "Lo voglio"),)), to=channel)
    assert (await town.shown(channel))[-1]["message_id"] == int(receipt.external_id)
    (tap,) = await town.acts("tap", text="Lo voglio", chat=channel)
    assert isinstance(tap, MessageReceived)
    assert tap.person.ids[0].value == str(town.anna)
    assert tap.origin.address == str(channel)
    edit = ApiCall(
        method="editMessageText",
        payload={"chat_id": channel, "message_id": int(receipt.external_id), "text": "Saldi!!"},
        idempotent=True,
    )
    await town.client.send(edit)
    with pytest.raises(SendError) as same:
        await town.client.send(edit)
    assert same.value.reason is SendFailure.stale


async def test_a_group_that_moved_says_where(town: Town) -> None:
    """The error holds the new address, and the group itself tells it too."""
    group = await town.sim.telegram_chat("group", "Amici")
    await town.sim.telegram_admin(group, TOKEN)
    await town.incoming()
    new = (await town.sim.call("POST", f"/telegram/chats/{group}/upgrade"))["id"]
    with pytest.raises(SendError) as raised:
        await town.send(Text("Ciao"), to=group)
    assert (raised.value.reason, raised.value.new_address) == (SendFailure.moved, str(new))
    moved = [
        event for event in await town.incoming() if isinstance(event, OutletChanged) and event.new_address
    ]
    assert {(event.origin.address, event.new_address) for event in moved} == {(str(group), str(new))}


@pytest.mark.parametrize(
    ("fault", "reason", "retryable"),
    [
        ({"kind": "429", "retry_after": 17}, SendFailure.rate_limited, True),
        ({"kind": "500", "when": "after"}, SendFailure.unknown, False),
        ({"kind": "502_html", "when": "before"}, SendFailure.unknown, False),
        ({"kind": "reset", "when": "after"}, SendFailure.unknown, False),
        ({"kind": "garbage", "when": "after"}, SendFailure.unknown, False),
    ],
)
async def test_faults_are_told_for_what_they_are(
    town: Town, fault: dict[str, Any], reason: SendFailure, retryable: bool
) -> None:
    """Only a refusal is safe to repeat; after any other the message may be with the person."""
    await town.sim.fault(
        "telegram", fault["kind"], times=1, **{k: v for k, v in fault.items() if k != "kind"}
    )
    before = len(await town.shown())
    with pytest.raises(SendError) as raised:
        await town.send(Text("Ciao"))
    assert (raised.value.reason, raised.value.retryable) == (reason, retryable)
    assert raised.value.retry_after == fault.get("retry_after")
    arrived = len(await town.shown()) - before
    assert arrived == (1 if fault.get("when") == "after" else 0)


async def test_typing_and_reactions(town: Town) -> None:
    """Both are calls that make no message."""
    (event,) = await town.acts("say", text="buono!")
    assert isinstance(event, MessageReceived)
    (receipt,) = await town.send(Reaction(event.external_id, "👍"))
    assert receipt == Receipt()
    typing = channel_of("telegram").render_ephemeral(ReadAndTyping(event.external_id), address=str(town.anna))
    assert typing is not None
    assert await town.client.send(typing) == Receipt()


async def test_management_by_the_library(town: Town) -> None:
    """python-telegram-bot on our session: who we are, the webhook and its health, and any other method."""
    credentials = Credentials({"token": TOKEN, "webhook_secret": "TEST-secret"})
    management = channel_of("telegram").management(credentials, town.session, origin=town.origin)
    assert isinstance(management, TelegramManagement)
    account = await management.identify()
    assert (account.id, account.name, account.username) == ("110201543", "Forno", "forno_example_bot")
    url = f"{town.origin}/webhooks/telegram/cha_1"
    await management.register_webhook(url)
    assert (await management.webhook_health()).url == url
    with pytest.raises(SendError) as conflict:
        await fetch(town.client, 0, wait_s=0)
    assert (conflict.value.reason, conflict.value.code) == (SendFailure.unavailable, "409")
    await management.remove_webhook()
    assert (await management.webhook_health()).url == ""
    library = bot(credentials, town.session, origin=town.origin)
    assert await library.set_my_commands([("stop", "Basta messaggi")])
    assert [command.command for command in await library.get_my_commands()] == ["stop"]
    photo = await library.send_photo(town.anna, PNG)
    assert photo.photo


async def test_management_with_a_wrong_token(town: Town) -> None:
    """The library's errors come out as ours."""
    wrong = Credentials({"token": "110201543:TEST-revoked", "webhook_secret": "TEST-secret"})
    with pytest.raises(SendError) as raised:
        await channel_of("telegram").management(wrong, town.session, origin=town.origin).identify()
    assert (raised.value.reason, raised.value.scope) == (SendFailure.auth, "channel")
    await town.sim.fault("telegram", "429", method="getMe", times=1, retry_after=9)
    right = Credentials({"token": TOKEN, "webhook_secret": "TEST-secret"})
    with pytest.raises(SendError) as raised:
        await channel_of("telegram").management(right, town.session, origin=town.origin).identify()
    assert (raised.value.reason, raised.value.retry_after) == (SendFailure.rate_limited, 9)
