"""Content becomes the calls that show it, or is refused with a reason; nothing is shortened."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from bot.channels.base import channel_of, media_ids, registry, with_platform_ids
from bot.channels.telegram import callback_data
from bot.channels.telegram.config import CAPABILITIES
from bot.channels.telegram.outbound import render, render_ephemeral
from domain.errors import SendError, SendFailure
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
    PreCheckoutAnswer,
    Reaction,
    ReadAndTyping,
    Template,
    Text,
    escape_markup,
)

ANNA = "4400100"
PHOTO = MediaSource(platform_id="AgAC-TEST")
STORED = MediaSource(media_id=7, filename="menu.pdf", mime="application/pdf")

CASES: list[tuple[str, Content, dict[str, Any]]] = [
    ("plain text", Text("Ciao <Anna>"), {"sendMessage": {"text": "Ciao <Anna>"}}),
    (
        "formatted text",
        Text("*Ciao* <Anna>", markup=True),
        {"sendMessage": {"text": "<b>Ciao</b> &lt;Anna&gt;", "parse_mode": "HTML"}},
    ),
    ("formatted text without marks", Text("a < b \\*", markup=True), {"sendMessage": {"text": "a < b *"}}),
    (
        "an answer without preview",
        Text("Ecco", preview_links=False, reply_to="51"),
        {
            "sendMessage": {
                "text": "Ecco",
                "link_preview_options": {"is_disabled": True},
                "reply_parameters": {"message_id": 51, "allow_sending_without_reply": True},
            }
        },
    ),
    (
        "buttons",
        Text("Scegli", (Button("price", "Prezzi"), Button("site", "Sito", url="https://example.com"))),
        {
            "sendMessage": {
                "text": "Scegli",
                "reply_markup": {
                    "inline_keyboard": [
                        [
                            {"text": "Prezzi", "callback_data": "~AAAAAAAAAAkprice"},
                            {"text": "Sito", "url": "https://example.com"},
                        ]
                    ]
                },
            }
        },
    ),
    (
        "descriptions go below the text",
        Text("*Scegli*", (Button("a", "Base", description="2 ore, 10_€"), Button("b", "Oro")), markup=True),
        {
            "sendMessage": {
                "text": "<b>Scegli</b>\n\nBase: 2 ore, 10_€",
                "parse_mode": "HTML",
                "reply_markup": {
                    "inline_keyboard": [
                        [
                            {"text": "Base", "callback_data": "~AAAAAAAAAAka"},
                            {"text": "Oro", "callback_data": "~AAAAAAAAAAkb"},
                        ]
                    ]
                },
            }
        },
    ),
    (
        "a photo with a caption",
        Media(MediaKind.image, PHOTO, "*Pane*", markup=True),
        {"sendPhoto": {"photo": "AgAC-TEST", "caption": "<b>Pane</b>", "parse_mode": "HTML"}},
    ),
    (
        "a document of ours",
        Media(MediaKind.document, STORED, "Il menù"),
        {"sendDocument": {"document": "attach://file0", "caption": "Il menù"}},
    ),
    (
        "a video by its address",
        Media(MediaKind.video, MediaSource(url="https://example.com/a.mp4")),
        {"sendVideo": {"video": "https://example.com/a.mp4"}},
    ),
    (
        "a sticker cannot carry words",
        Media(MediaKind.sticker, PHOTO, "Evviva"),
        {"sendSticker": {"sticker": "AgAC-TEST"}, "sendMessage": {"text": "Evviva"}},
    ),
    (
        "an album",
        Album((Media(MediaKind.image, PHOTO, "due"), Media(MediaKind.video, STORED))),
        {
            "sendMediaGroup": {
                "media": [
                    {"type": "photo", "media": "AgAC-TEST", "caption": "due"},
                    {"type": "video", "media": "attach://file1"},
                ]
            }
        },
    ),
    (
        "files that cannot stand together go one by one",
        Album((Media(MediaKind.image, PHOTO, "foto"), Media(MediaKind.voice, PHOTO))),
        {"sendPhoto": {"photo": "AgAC-TEST", "caption": "foto"}, "sendVoice": {"voice": "AgAC-TEST"}},
    ),
    ("an album of one", Album((Media(MediaKind.audio, PHOTO),)), {"sendAudio": {"audio": "AgAC-TEST"}}),
    ("a place", LocationContent(45.07, 7.68), {"sendLocation": {"latitude": 45.07, "longitude": 7.68}}),
    (
        "a place with a name",
        LocationContent(45.07, 7.68, name="Forno"),
        {"sendVenue": {"latitude": 45.07, "longitude": 7.68, "title": "Forno", "address": "Forno"}},
    ),
    (
        "a card",
        ContactCard("Anna; Prova", "+447700900123", email="anna@example.com"),
        {
            "sendContact": {
                "phone_number": "+447700900123",
                "first_name": "Anna; Prova",
                "vcard": "BEGIN:VCARD\nVERSION:3.0\nFN:Anna\\; Prova\nTEL:+447700900123\n"
                "EMAIL:anna@example.com\nEND:VCARD",
            }
        },
    ),
    (
        "a request for the number",
        ContactRequest("Il tuo numero?", "Condividi"),
        {
            "sendMessage": {
                "text": "Il tuo numero?",
                "reply_markup": {
                    "keyboard": [[{"text": "Condividi", "request_contact": True}]],
                    "resize_keyboard": True,
                    "one_time_keyboard": True,
                },
            }
        },
    ),
    (
        "a text after the request for the number",
        Text("Grazie!", ends_request=True),
        {"sendMessage": {"text": "Grazie!", "reply_markup": {"remove_keyboard": True}}},
    ),
    (
        "a poll",
        Poll("Quando?", ("Oggi", "Domani"), anonymous=False, several=True),
        {
            "sendPoll": {
                "question": "Quando?",
                "options": [{"text": "Oggi"}, {"text": "Domani"}],
                "is_anonymous": False,
                "allows_multiple_answers": True,
            }
        },
    ),
    (
        "a reaction",
        Reaction("51", "👍"),
        {"setMessageReaction": {"message_id": 51, "reaction": [{"type": "emoji", "emoji": "👍"}]}},
    ),
    ("a reaction taken back", Reaction("51", ""), {"setMessageReaction": {"message_id": 51, "reaction": []}}),
]


@pytest.mark.parametrize(
    ("content", "expected"), [case[1:] for case in CASES], ids=[case[0] for case in CASES]
)
def test_content_becomes_calls(content: Content, expected: dict[str, Any]) -> None:
    """Method and parameters are those of core.telegram.org/bots/api."""
    calls = render(content, address=ANNA, own_id=9)
    assert {call.method: call.payload for call in calls} == {
        method: {"chat_id": 4400100, **payload} for method, payload in expected.items()
    }
    assert [call.method for call in calls] == list(expected)


REFUSED: list[tuple[str, Content]] = [
    ("is empty", Text("  ")),
    ("4097 characters", Text("x" * 4097)),
    ("has no title", Text("Scegli", (Button("a", " "),))),
    ("option id", Text("Scegli", (Button("x" * 65, "A"),))),
    ("option id", Text("Scegli", (Button("", "A"),))),
    ("101 buttons", Text("Scegli", tuple(Button(str(n), str(n)) for n in range(101)))),
    ("album of 11", Album(tuple(Media(MediaKind.image, PHOTO) for _ in range(11)))),
    ("album is empty", Album(())),
    ("latitude", LocationContent(91.0, 0.0)),
    ("latitude", LocationContent(float("nan"), 0.0)),
    ("2 to 12 options", Poll("Quando?", ("Oggi",))),
    ("question", Poll("x" * 301, ("a", "b"))),
    ("option of a poll", Poll("Quando?", ("a", "x" * 101))),
    ("not a message", Reaction("wamid.x", "👍")),
]


@pytest.mark.parametrize(("reason", "content"), REFUSED)
def test_what_does_not_fit_is_refused_with_its_reason(reason: str, content: Content) -> None:
    """The sender learns that this content is refused for everybody, and the owner why."""
    with pytest.raises(SendError, match=reason) as raised:
        render(content, address=ANNA)
    assert raised.value.reason is SendFailure.rejected
    assert not raised.value.retryable


def test_files_without_a_way_to_them_are_refused() -> None:
    """No address, an address of another protocol, or a kind that Telegram does not fetch."""
    for kind, source in (
        (MediaKind.image, MediaSource()),
        (MediaKind.image, MediaSource(url="file:///etc/passwd")),
        (MediaKind.video_note, MediaSource(url="https://example.com/a.mp4")),
    ):
        with pytest.raises(SendError) as raised:
            render(Media(kind, source), address=ANNA)
        assert raised.value.reason is SendFailure.media_invalid


def test_templates_are_for_other_channels() -> None:
    """A template has no text that we could be sure of."""
    with pytest.raises(SendError) as raised:
        render(Template("ordine", "it"), address=ANNA)
    assert raised.value.reason is SendFailure.template_invalid


def test_requests_need_a_private_chat() -> None:
    """Telegram has the buttons for number and place in private chats only."""
    for content in (ContactRequest("Il numero?", "Ecco"), LocationRequest("Dove?", "Qui")):
        with pytest.raises(SendError, match="private"):
            render(content, address="-1001700000001")


def test_a_long_caption_follows_as_text_with_the_buttons() -> None:
    """1,025 characters do not fit below a photo: the words come after it, whole."""
    media = Media(MediaKind.image, STORED, "x" * 1025, (Button("a", "Sì"),))
    photo, words = render(media, address=ANNA)
    assert photo.payload == {"chat_id": 4400100, "photo": "attach://file0"}
    assert photo.needs_media[0].media_id == 7
    assert len(words.payload["text"]) == 1025
    assert words.payload["reply_markup"]["inline_keyboard"][0][0]["text"] == "Sì"
    assert words.needs_media == ()


def test_length_counts_what_is_shown() -> None:
    """Tags do not count: 4,096 bold letters fit."""
    (call,) = render(Text(f"*{'x' * 4096}*", markup=True), address=ANNA)
    assert len(call.payload["text"]) == 4096 + len("<b></b>")


def test_addresses() -> None:
    """A person, a group's topic, a channel by name, a business account's chat."""
    text = Text("Ciao")

    def parameters(address: str, topic: str | None = None) -> dict[str, Any]:
        return render(text, address=address, topic=topic)[0].payload

    assert parameters("-1001700000001", "7") == {
        "chat_id": -1001700000001,
        "message_thread_id": 7,
        "text": "Ciao",
    }
    assert parameters("@novita_example") == {"chat_id": "@novita_example", "text": "Ciao"}
    assert parameters("business:biz-7:4400100") == {
        "business_connection_id": "biz-7",
        "chat_id": 4400100,
        "text": "Ciao",
    }
    for address in ("", "anna", "business:biz", "+447700900123x"):
        with pytest.raises(SendError) as raised:
            parameters(address)
        assert raised.value.reason is SendFailure.unreachable
    with pytest.raises(SendError) as raised:
        parameters("-1001700000001", "generale")
    assert raised.value.reason is SendFailure.unreachable


@pytest.mark.parametrize(
    ("titles", "rows"),
    [
        (["Sì", "No"], [2]),
        ([f"{hour}:00" for hour in range(17, 23)], [4, 2]),
        (["Antipasti", "Primi", "Dolci"], [3]),
        (["Prenota un tavolo", "Vedi il menù di oggi"], [1, 1]),
    ],
)
def test_rows_hold_what_a_phone_shows(titles: list[str], rows: list[int]) -> None:
    """Short titles stand side by side, long ones alone: none is shortened by the phone."""
    content = Text("Scegli", tuple(Button(str(n), title) for n, title in enumerate(titles)))
    keyboard = render(content, address=ANNA)[0].payload["reply_markup"]["inline_keyboard"]
    assert [len(row) for row in keyboard] == rows


def test_ephemerals() -> None:
    """Typing, the end of a tap's waiting mark, the answer to a payment."""
    typing = render_ephemeral(ReadAndTyping("51"), address=ANNA)
    assert typing is not None
    assert (typing.method, typing.payload) == ("sendChatAction", {"chat_id": 4400100, "action": "typing"})
    assert render_ephemeral(ReadAndTyping("51", typing=False), address=ANNA) is None
    tap = render_ephemeral(CallbackAnswer("99"), address=ANNA)
    assert tap is not None
    assert (tap.method, tap.payload) == ("answerCallbackQuery", {"callback_query_id": "99"})
    paid = render_ephemeral(PreCheckoutAnswer("7", ok=False, reason="Esaurito"), address=ANNA)
    assert paid is not None
    assert paid.payload == {"pre_checkout_query_id": "7", "ok": False, "error_message": "Esaurito"}


@given(st.integers(0, 2**63 - 1), st.text(min_size=1, max_size=64).filter(lambda text: text.isprintable()))
def test_a_tap_brings_back_option_and_message(own_id: int, option_id: str) -> None:
    """Whatever fits into 64 bytes comes back; our message's id comes with it where there is room."""
    data = callback_data.join(callback_data.reference(own_id), option_id)
    size = len(option_id.encode())
    if data is None:
        assert size > callback_data.MAX_BYTES or (
            size > callback_data.MAX_ID_BYTES and option_id.startswith("~")
        )
        return
    assert len(data.encode()) <= callback_data.MAX_BYTES
    number, back = callback_data.split(data)
    assert back == option_id
    assert number == (own_id if size <= callback_data.MAX_ID_BYTES else 0)


@given(st.text(alphabet=st.sampled_from("ab *_~`<>&\\\n"), min_size=1, max_size=80), st.booleans())
def test_no_text_breaks_the_html(text: str, markup: bool) -> None:
    """Whatever a person's value holds, escaped into a formatted text it is shown as it is."""
    content = Text(f"*Ciao* {escape_markup(text)}" if markup else f"Ciao {text}", markup=markup)
    payload = render(content, address=ANNA)[0].payload
    if "parse_mode" in payload:
        shown = payload["text"].removeprefix("<b>Ciao</b> ")
        assert shown.replace("&lt;", "<").replace("&gt;", ">").replace("&amp;", "&") == text
    else:
        assert payload["text"] == f"Ciao {text}"


def test_cached_files_are_sent_by_their_id() -> None:
    """A stored file that this bot sent before is not uploaded again."""
    album = Album((Media(MediaKind.document, STORED), Media(MediaKind.document, MediaSource(media_id=8))))
    assert media_ids(album) == (7, 8)
    cached = with_platform_ids(album, {7: "BQAC-TEST"})
    (call,) = render(cached, address=ANNA)
    assert [part["media"] for part in call.payload["media"]] == ["BQAC-TEST", "attach://file1"]
    assert [need.media_id for need in call.needs_media] == [8]


def test_the_channel_is_registered_and_its_pace_follows_the_owner() -> None:
    """The registry finds the package; the token's first part is the account."""
    telegram = channel_of("telegram")
    assert "telegram" in registry()
    assert telegram.account_ids({"token": "110201543:TEST-a"}) == ("110201543",)
    assert telegram.capabilities({}) is CAPABILITIES
    assert telegram.capabilities({"bulk_per_second": "1000"}).pace.per_channel.per_second == 1000
    assert telegram.rate_scope("4400100") == "address"
    assert telegram.rate_scope("business:biz-7:4400100") == "address"
    assert telegram.rate_scope("-1001700000001") == telegram.rate_scope("@novita_example") == "group"


@pytest.mark.parametrize(
    "data",
    ["~", "~abc", "~ééééééééééééé", "~=============", "~BAAAAAAAAA=x", "~BAAAAAAAAABx", "~__________8x"],
)
def test_data_that_is_not_ours_is_the_option_itself(data: str) -> None:
    """Buttons of posts that others made may hold anything."""
    assert callback_data.split(data) == (0, data)
