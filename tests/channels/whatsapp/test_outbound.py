"""What goes out on WhatsApp: the payload of each content, how choices degrade, what is refused, what answers mean."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from bot.channels.base import ApiCall, Ordering, Receipt, channel_of, with_platform_ids
from bot.channels.whatsapp import errors, limits, outbound
from domain.errors import SendError, SendFailure
from domain.ids import to_text
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
    Reaction,
    ReadAndTyping,
    Template,
    TemplateParameter,
    Text,
)

ERRORS = Path(__file__).parents[3] / ".." / "shared" / "samples" / "whatsapp-errors.json"
PHONE, USER_ID = "+12025550143", "US.70000000000000000001"
SEND = ApiCall(method="messages", payload={})


def parts(content: Content, *, address: str = PHONE, language: str = "it") -> list[dict[str, Any]]:
    """The payloads without what stands in every one of them."""
    calls = outbound.render(content, address=address, language=language)
    common = ("messaging_product", "recipient_type", "to", "recipient")
    return [{k: v for k, v in call.payload.items() if k not in common} for call in calls]


def part(content: Content) -> dict[str, Any]:
    (only,) = parts(content)
    return only


def refusal(content: Content, *, address: str = PHONE) -> SendError:
    with pytest.raises(SendError) as caught:
        outbound.render(content, address=address)
    assert not caught.value.retryable
    return caught.value


def options(*titles: str) -> tuple[Button, ...]:
    return tuple(Button(f"o{n}", title) for n, title in enumerate(titles, start=1))


# --- the envelope -------------------------------------------------------------------------------------------------


def test_a_text_is_one_call_with_our_id_in_it() -> None:
    (call,) = outbound.render(Text("Ciao", reply_to="wamid.A"), address=PHONE, own_id=7)
    assert call == ApiCall(
        method="messages",
        payload={
            "messaging_product": "whatsapp",
            "recipient_type": "individual",
            "to": PHONE,
            "biz_opaque_callback_data": to_text("message", 7),
            "context": {"message_id": "wamid.A"},
            "type": "text",
            "text": {"body": "Ciao"},
        },
    )


@pytest.mark.parametrize(
    ("address", "recipient"),
    [
        ("+12025550143", {"recipient_type": "individual", "to": "+12025550143"}),
        ("12025550143", {"recipient_type": "individual", "to": "+12025550143"}),
        (USER_ID, {"recipient_type": "individual", "recipient": USER_ID}),
        ("US.ENT.8000", {"recipient_type": "individual", "recipient": "US.ENT.8000"}),
        ("group:Y2FwX2dyb3Vw", {"recipient_type": "group", "to": "Y2FwX2dyb3Vw"}),
    ],
)
def test_an_address_is_a_phone_a_user_id_or_a_group(address: str, recipient: dict[str, str]) -> None:
    (call,) = outbound.render(Text("Ciao"), address=address)
    assert {k: v for k, v in call.payload.items() if k in ("recipient_type", "to", "recipient")} == recipient


@pytest.mark.parametrize("address", ["", "me", "+", "+39 333", "@nick", "US.", "+1202555014３"])
def test_any_other_address_is_refused(address: str) -> None:
    assert refusal(Text("Ciao"), address=address).reason is SendFailure.rejected


# --- each kind of content -----------------------------------------------------------------------------------------

IMAGE = MediaSource(url="https://example.com/a.jpg", mime="image/jpeg")
GOLDENS: list[tuple[str, Content, list[dict[str, Any]]]] = [
    (
        "link in a text",
        Text("Vedi https://example.com"),
        [{"type": "text", "text": {"body": "Vedi https://example.com", "preview_url": True}}],
    ),
    (
        "link without preview",
        Text("Vedi https://example.com", preview_links=False),
        [{"type": "text", "text": {"body": "Vedi https://example.com"}}],
    ),
    ("markup", Text("*Ciao* `x`", markup=True), [{"type": "text", "text": {"body": "*Ciao* ```x```"}}]),
    (
        "image by address",
        Media(MediaKind.image, IMAGE, caption="Ecco"),
        [{"type": "image", "image": {"link": "https://example.com/a.jpg", "caption": "Ecco"}}],
    ),
    (
        "document by id",
        Media(MediaKind.document, MediaSource(platform_id="77", filename="menu.pdf")),
        [{"type": "document", "document": {"id": "77", "filename": "menu.pdf"}}],
    ),
    (
        "voice note",
        Media(MediaKind.voice, MediaSource(platform_id="78", mime="audio/ogg; codecs=opus")),
        [{"type": "audio", "audio": {"id": "78", "voice": True}}],
    ),
    (
        "audio has no caption, so it follows",
        Media(MediaKind.audio, MediaSource(platform_id="79"), caption="Ascolta"),
        [{"type": "audio", "audio": {"id": "79"}}, {"type": "text", "text": {"body": "Ascolta"}}],
    ),
    (
        "a caption too long for a file follows",
        Media(MediaKind.image, MediaSource(platform_id="80"), caption="x" * 1025),
        [{"type": "image", "image": {"id": "80"}}, {"type": "text", "text": {"body": "x" * 1025}}],
    ),
    (
        "an animation is a video",
        Media(MediaKind.animation, MediaSource(platform_id="81")),
        [{"type": "video", "video": {"id": "81"}}],
    ),
    (
        "a picture of another type is a document",
        Media(MediaKind.image, MediaSource(platform_id="82", mime="image/webp", filename="a.webp")),
        [{"type": "document", "document": {"id": "82", "filename": "a.webp"}}],
    ),
    (
        "a voice note of another type is audio",
        Media(MediaKind.voice, MediaSource(platform_id="83", mime="audio/mpeg")),
        [{"type": "audio", "audio": {"id": "83"}}],
    ),
    (
        "album",
        Album(
            (
                Media(MediaKind.image, MediaSource(platform_id="1"), caption="Due"),
                Media(MediaKind.video, MediaSource(platform_id="2")),
            )
        ),
        [{"type": "image", "image": {"id": "1", "caption": "Due"}}, {"type": "video", "video": {"id": "2"}}],
    ),
    (
        "location",
        LocationContent(45.4642, 9.19, "Duomo", "Piazza del Duomo"),
        [
            {
                "type": "location",
                "location": {
                    "latitude": 45.4642,
                    "longitude": 9.19,
                    "name": "Duomo",
                    "address": "Piazza del Duomo",
                },
            }
        ],
    ),
    (
        "contact card",
        ContactCard("Anna Esempio", "+447700900123", email="anna@example.com", company="Bar"),
        [
            {
                "type": "contacts",
                "contacts": [
                    {
                        "name": {"formatted_name": "Anna Esempio", "first_name": "Anna"},
                        "phones": [{"phone": "+447700900123", "type": "WORK", "wa_id": "447700900123"}],
                        "emails": [{"email": "anna@example.com", "type": "WORK"}],
                        "org": {"company": "Bar"},
                    }
                ],
            }
        ],
    ),
    (
        "contact request",
        ContactRequest("Il tuo numero?", "Condividi"),
        [
            {
                "type": "interactive",
                "interactive": {
                    "type": "contact_request",
                    "body": {"text": "Il tuo numero?"},
                    "action": {"name": "request_contact_info"},
                },
            }
        ],
    ),
    (
        "location request",
        LocationRequest("Dove sei?", "Condividi"),
        [
            {
                "type": "interactive",
                "interactive": {
                    "type": "location_request_message",
                    "body": {"text": "Dove sei?"},
                    "action": {"name": "send_location"},
                },
            }
        ],
    ),
    (
        "reaction",
        Reaction("wamid.A", ""),
        [{"type": "reaction", "reaction": {"message_id": "wamid.A", "emoji": ""}}],
    ),
    (
        "template without values",
        Template("saldi", "it"),
        [{"type": "template", "template": {"name": "saldi", "language": {"code": "it"}}}],
    ),
    (
        "template with everything",
        Template(
            "ordine_1",
            "en_US",
            category="utility",
            header=(TemplateParameter(media=MediaKind.image, source=MediaSource(platform_id="9")),),
            body=(TemplateParameter("Anna", name="first_name"), TemplateParameter("A-1", name="order")),
            buttons={
                "0": TemplateParameter("stop:12"),
                "1": TemplateParameter("abc", name="url"),
                "2": TemplateParameter("SALE", name="copy_code"),
            },
        ),
        [
            {
                "type": "template",
                "template": {
                    "name": "ordine_1",
                    "language": {"code": "en_US"},
                    "components": [
                        {"type": "header", "parameters": [{"type": "image", "image": {"id": "9"}}]},
                        {
                            "type": "body",
                            "parameters": [
                                {"type": "text", "text": "Anna", "parameter_name": "first_name"},
                                {"type": "text", "text": "A-1", "parameter_name": "order"},
                            ],
                        },
                        {
                            "type": "button",
                            "sub_type": "quick_reply",
                            "index": "0",
                            "parameters": [{"type": "payload", "payload": "stop:12"}],
                        },
                        {
                            "type": "button",
                            "sub_type": "url",
                            "index": "1",
                            "parameters": [{"type": "text", "text": "abc"}],
                        },
                        {
                            "type": "button",
                            "sub_type": "copy_code",
                            "index": "2",
                            "parameters": [{"type": "coupon_code", "coupon_code": "SALE"}],
                        },
                    ],
                },
            }
        ],
    ),
    (
        "template by position",
        Template("saluto", "it", header=(TemplateParameter("Roma"),), body=(TemplateParameter("Anna"),)),
        [
            {
                "type": "template",
                "template": {
                    "name": "saluto",
                    "language": {"code": "it"},
                    "components": [
                        {"type": "header", "parameters": [{"type": "text", "text": "Roma"}]},
                        {"type": "body", "parameters": [{"type": "text", "text": "Anna"}]},
                    ],
                },
            }
        ],
    ),
]


@pytest.mark.parametrize(("content", "expected"), [g[1:] for g in GOLDENS], ids=[g[0] for g in GOLDENS])
def test_content_becomes_this_payload(content: Content, expected: list[dict[str, Any]]) -> None:
    assert parts(content) == expected


# --- choices ------------------------------------------------------------------------------------------------------


def test_three_short_answers_are_buttons() -> None:
    assert part(Text("Scegli", options("Uno", "Due", "x" * 20)))["interactive"] == {
        "type": "button",
        "body": {"text": "Scegli"},
        "action": {
            "buttons": [
                {"type": "reply", "reply": {"id": "o1", "title": "Uno"}},
                {"type": "reply", "reply": {"id": "o2", "title": "Due"}},
                {"type": "reply", "reply": {"id": "o3", "title": "x" * 20}},
            ]
        },
    }


@pytest.mark.parametrize(
    "content",
    [
        Text("Scegli", options("1", "2", "3", "4")),
        Text("Scegli", options("x" * 21)),
        Text("Scegli", options("Uguale", "Uguale")),
        Text("Scegli", (Button("a", "Uno", description="con una spiegazione"),)),
        Text("x" * 1025, options("Uno")),
        Text("Scegli", options(*(f"Scelta {n}" for n in range(10)))),
    ],
)
def test_what_buttons_cannot_hold_is_a_list(content: Text) -> None:
    interactive = part(content)["interactive"]
    assert interactive["type"] == "list"
    assert interactive["action"]["button"] == "Scegli"
    (section,) = interactive["action"]["sections"]
    assert [(r["id"], r["title"], r.get("description")) for r in section["rows"]] == [
        (b.id, b.title, b.description) for b in content.buttons
    ]


def test_what_a_list_cannot_hold_is_numbered_text() -> None:
    eleven = options(*(f"Scelta {n}" for n in range(1, 12)))
    body = part(Text("Quale?", eleven))["text"]["body"]
    assert body.startswith("Quale?\n\n1. Scelta 1\n2. Scelta 2\n")
    assert body.endswith("11. Scelta 11\n\nRispondi con il numero.")
    assert "1. " + "x" * 25 in part(Text("Quale?", options("x" * 25)))["text"]["body"]
    described = (Button("a", "Uno", description="y" * 73),)
    assert f"1. Uno – {'y' * 73}" in part(Text("Quale?", described))["text"]["body"]


def test_an_id_that_no_button_holds_is_never_cut() -> None:
    assert part(Text("Scegli", (Button("i" * 256, "Uno"),)))["interactive"]["type"] == "button"
    numbered = part(Text("Scegli", (Button("i" * 257, "Uno"),)))
    assert numbered["type"] == "text"


def test_the_opener_of_a_list_can_be_given_and_speaks_the_persons_language() -> None:
    four = options("1", "2", "3", "4")
    assert part(Text("Scegli", four, list_title="Menù"))["interactive"]["action"]["button"] == "Menù"
    (english,) = parts(Text("Pick", four), language="en")
    assert english["interactive"]["action"]["button"] == "Choose"
    assert "21 characters" in refusal(Text("Scegli", four, list_title="x" * 21)).detail


def test_a_single_link_is_a_link_button() -> None:
    link = Button("l", "Apri", url="https://example.com/x")
    assert part(Text("Il menù", (link,)))["interactive"] == {
        "type": "cta_url",
        "body": {"text": "Il menù"},
        "action": {
            "name": "cta_url",
            "parameters": {"display_text": "Apri", "url": "https://example.com/x"},
        },
    }


def test_links_beside_other_choices_stand_in_the_text() -> None:
    link = Button("l", "Apri", url="https://example.com/x")
    mixed = part(Text("Il menù", (link, *options("Sì", "No"))))["interactive"]
    assert mixed["body"]["text"] == "Il menù\n\nApri: https://example.com/x"
    assert len(mixed["action"]["buttons"]) == 2
    both = part(Text("Il menù", (link, Button("m", "Altro", url="https://example.com/y"))))
    assert both["text"]["body"] == "Il menù\n\nApri: https://example.com/x\nAltro: https://example.com/y"


def test_a_picture_with_answers_is_one_message() -> None:
    content = Media(
        MediaKind.image, MediaSource(platform_id="1"), caption="Ti piace?", buttons=options("Sì", "No")
    )
    interactive = part(content)["interactive"]
    assert interactive["header"] == {"type": "image", "image": {"id": "1"}}
    assert interactive["body"] == {"text": "Ti piace?"}
    assert len(interactive["action"]["buttons"]) == 2


@pytest.mark.parametrize(
    ("content", "kinds"),
    [
        (
            Media(MediaKind.audio, MediaSource(platform_id="1"), caption="Ti piace?", buttons=options("Sì")),
            ["audio", "interactive"],
        ),
        (
            Media(MediaKind.image, MediaSource(platform_id="1"), buttons=options("Sì")),
            ["image", "interactive"],
        ),
        (
            Media(
                MediaKind.image,
                MediaSource(platform_id="1"),
                caption="Quale?",
                buttons=options("1", "2", "3", "4"),
            ),
            ["image", "interactive"],
        ),
    ],
)
def test_where_a_file_cannot_carry_choices_they_follow(content: Media, kinds: list[str]) -> None:
    assert [p["type"] for p in parts(content)] == kinds


def test_a_poll_is_a_choice() -> None:
    interactive = part(Poll("Quando?", ("Oggi", "Domani")))["interactive"]
    assert [b["reply"] for b in interactive["action"]["buttons"]] == [
        {"id": "1", "title": "Oggi"},
        {"id": "2", "title": "Domani"},
    ]


TITLES = st.lists(st.text(min_size=1, max_size=40), min_size=1, max_size=15)


@given(
    TITLES,
    st.text(st.characters(exclude_characters="*_~`\\", exclude_categories=["Cs"]), min_size=1, max_size=2000),
)
def test_no_choice_is_ever_lost_or_cut(titles: list[str], text: str) -> None:
    (call,) = outbound.render(Text(text, options(*titles)), address=PHONE)
    sent = json.dumps(call.payload, ensure_ascii=False)
    for title in titles:
        assert json.dumps(title, ensure_ascii=False)[1:-1] in sent
    assert json.dumps(text, ensure_ascii=False)[1:-1] in sent


# --- files --------------------------------------------------------------------------------------------------------


def test_a_stored_file_is_asked_for_where_it_belongs() -> None:
    stored = MediaSource(media_id=5, filename="a.jpg", mime="image/jpeg")
    plain = Media(MediaKind.image, stored, caption="Ecco")
    with_buttons = Media(MediaKind.image, stored, caption="Ecco", buttons=options("Sì"))
    template = Template(
        "saldi", "it", header=(TemplateParameter(media=MediaKind.image, source=stored),), body=()
    )
    for content, slot in (
        (plain, "image"),
        (with_buttons, "interactive.header.image"),
        (template, "template.components.0.parameters.0.image"),
    ):
        (call,) = outbound.render(content, address=PHONE)
        (need,) = call.needs_media
        assert (need.media_id, need.slot, need.media) == (5, slot, MediaKind.image)
        (ready,) = outbound.render(with_platform_ids(content, {5: "meta-5"}), address=PHONE)
        assert not ready.needs_media
        assert '"id": "meta-5"' in json.dumps(ready.payload)


def test_a_file_without_a_place_is_refused() -> None:
    assert refusal(Media(MediaKind.image, MediaSource())).reason is SendFailure.media_invalid
    file = MediaSource(url="file:///etc/passwd")
    assert refusal(Media(MediaKind.image, file)).reason is SendFailure.media_invalid


# --- what is refused before it is sent ----------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("content", "says"),
    [
        (Text(""), "the text is empty"),
        (Text("x" * 4097), "4097 characters; WhatsApp takes 4096"),
        (Text("", options("Sì")), "the text is empty"),
        (Text("Ciao", (Button("a", "Uno"), Button("a", "Due"))), "the same id"),
        (Text("Ciao", (Button("a", ""),)), "no title"),
        (Text("x" * 4000, options(*("y" * 30 for _ in range(12)))), "WhatsApp takes 4096"),
        (ContactRequest("x" * 1025, "Sì"), "WhatsApp takes 1024"),
        (LocationRequest("", "Sì"), "empty"),
        (Album(()), "2 to 10"),
        (LocationContent(91, 0), "globe"),
        (ContactCard("", "+447700900123"), "name"),
        (Template("Saldi Estivi", "it"), "a-z"),
        (Template("saldi", ""), "language"),
        (Template("saldi", "it", body=(TemplateParameter(""),)), "empty"),
        (
            Template("saldi", "it", body=(TemplateParameter("a\nb", name="who"),)),
            "value who has a line break",
        ),
        (Template("saldi", "it", body=(TemplateParameter("a     b"),)), "blanks"),
        (Template("saldi", "it", buttons={"x": TemplateParameter("p")}), "button x"),
        (Template("saldi", "it", buttons={"0": TemplateParameter("p", name="phone")}), "quick_reply"),
        (
            Template("saldi", "it", header=(TemplateParameter(media=MediaKind.audio, source=IMAGE),)),
            "no audio",
        ),
    ],
)
def test_what_whatsapp_would_refuse_is_refused_with_the_reason(content: Content, says: str) -> None:
    assert says in refusal(content).detail


def test_an_authentication_template_needs_a_phone_number() -> None:
    code = Template("codice", "it", category="authentication", body=(TemplateParameter("123456"),))
    assert outbound.render(code, address=PHONE)
    assert "phone number" in refusal(code, address=USER_ID).detail


def test_rendering_changes_nothing_and_gives_the_same_twice() -> None:
    for _, content, _ in GOLDENS:
        first = outbound.render(content, address=PHONE, own_id=3)
        assert outbound.render(content, address=PHONE, own_id=3) == first


# --- ephemerals ---------------------------------------------------------------------------------------------------


def test_read_and_typing_are_one_call_about_their_message() -> None:
    call = outbound.render_ephemeral(ReadAndTyping("wamid.IN"))
    assert call is not None
    assert call.idempotent
    assert call.payload == {
        "messaging_product": "whatsapp",
        "status": "read",
        "message_id": "wamid.IN",
        "typing_indicator": {"type": "text"},
    }
    assert outbound.render_ephemeral(ReadAndTyping()) is None
    assert outbound.render_ephemeral(CallbackAnswer("x")) is None


# --- answers ------------------------------------------------------------------------------------------------------


def answered(code: int, *, http: int = 400, subcode: int | None = None, details: str = "why") -> SendError:
    error: dict[str, Any] = {"code": code, "message": f"(#{code}) x", "error_data": {"details": details}}
    if subcode is not None:
        error["error_subcode"] = subcode
    found = outbound.explain(SEND, http, json.dumps({"error": error}).encode())
    assert isinstance(found, SendError)
    assert found.code == str(code)
    return found


def test_a_taken_message_gives_its_id_and_what_whatsapp_calls_the_person() -> None:
    body = {
        "messaging_product": "whatsapp",
        "contacts": [{"input": PHONE, "wa_id": "12025550143", "user_id": USER_ID}],
        "messages": [{"id": "wamid.X", "message_status": "accepted"}],
    }
    assert outbound.explain(SEND, 200, json.dumps(body).encode()) == Receipt(
        external_id="wamid.X",
        extra={"wa_id": "12025550143", "user_id": USER_ID, "message_status": "accepted"},
    )
    assert outbound.explain(SEND, 200, b'{"success":true}') == Receipt()


def test_an_odd_answer_still_tells_that_the_message_was_taken_or_why_not() -> None:
    odd = b'{"messages":[{"id":"wamid.X"}],"contacts":null}'
    assert outbound.explain(SEND, 200, odd) == Receipt(external_id="wamid.X")
    refused = outbound.explain(SEND, 400, b'{"error":{"code":131047,"error_data":"too late"}}')
    assert isinstance(refused, SendError)
    assert (refused.reason, refused.detail) == (SendFailure.window_closed, "too late")


# code: reason, may the same be sent again, who waits
TABLE: dict[int, tuple[SendFailure, bool, str]] = {
    130429: (SendFailure.rate_limited, True, "channel"),
    80007: (SendFailure.rate_limited, True, "channel"),
    131056: (SendFailure.rate_limited, True, "address"),
    131016: (SendFailure.unavailable, True, "channel"),
    131000: (SendFailure.unavailable, True, "channel"),
    131026: (SendFailure.unreachable, False, "address"),
    131047: (SendFailure.window_closed, False, "address"),
    131049: (SendFailure.capped, False, "address"),
    131050: (SendFailure.opted_out, False, "address"),
    131053: (SendFailure.media_invalid, True, "message"),
    132000: (SendFailure.template_invalid, False, "message"),
    132001: (SendFailure.template_invalid, False, "message"),
    132005: (SendFailure.rejected, False, "message"),
    132015: (SendFailure.template_invalid, False, "message"),
    134101: (SendFailure.template_invalid, True, "message"),
    131048: (SendFailure.sender_limit, False, "channel"),
    190: (SendFailure.auth, False, "channel"),
    0: (SendFailure.auth, False, "channel"),
    200: (SendFailure.auth, False, "channel"),
    299: (SendFailure.auth, False, "channel"),
    368: (SendFailure.auth, False, "channel"),
    131042: (SendFailure.auth, False, "channel"),
    100: (SendFailure.rejected, False, "message"),
    131009: (SendFailure.rejected, False, "message"),
    999999: (SendFailure.rejected, False, "message"),
}


@pytest.mark.parametrize("code", TABLE)
def test_a_code_means_the_same_whatever_the_http_status_below_500(code: int) -> None:
    for http in (400, 401, 403, 404, 429):
        error = answered(code, http=http)
        assert (error.reason, error.retryable, error.scope) == TABLE[code]


def test_waits_are_as_long_as_whatsapp_asks() -> None:
    pair = answered(131056)
    assert [pair.retry_after * pair.growth**n for n in range(3)] == [4, 16, 64]  # type: ignore[operator]
    assert answered(131049).retry_after == 24 * 3600
    assert answered(131057).retry_after == 60
    assert answered(134101).retry_after == 600
    assert answered(132069).retry_after == 3600


def test_an_unknown_object_is_a_matter_of_the_connection() -> None:
    assert answered(100, subcode=33).reason is SendFailure.auth
    assert answered(100, subcode=2494010).reason is SendFailure.rejected


def test_something_went_wrong_with_a_5xx_is_unknown() -> None:
    assert answered(131000, http=500).reason is SendFailure.unknown
    assert answered(1, http=500).reason is SendFailure.unknown
    assert answered(131016, http=500).reason is SendFailure.unavailable


@pytest.mark.parametrize(
    ("http", "body", "reason"),
    [
        (502, b"<html>Bad gateway</html>", SendFailure.unknown),
        (500, b"", SendFailure.unknown),
        (504, b"{", SendFailure.unknown),
        (503, b"<html/>", SendFailure.unavailable),
        (429, b"slow down", SendFailure.rate_limited),
        (401, b"", SendFailure.auth),
        (404, b"<html/>", SendFailure.rejected),
        (302, b"", SendFailure.unknown),
        (200, b"<html>sign in to the hotel's network</html>", SendFailure.unknown),
        (200, b"{}", SendFailure.unknown),
        (200, b'{"messages":[]}', SendFailure.unknown),
        (200, b'{"messages":[{"id":7}]}', SendFailure.unknown),
        (200, b"\xff\xfe", SendFailure.unknown),
        (500, b'{"error":{"message":"?"}}', SendFailure.unknown),
        (500, b'{"error":"?"}', SendFailure.unknown),
        (200, b"[" * 100_000, SendFailure.unknown),
    ],
)
def test_an_answer_that_is_not_metas_says_only_what_is_certain(
    http: int, body: bytes, reason: SendFailure
) -> None:
    found = outbound.explain(SEND, http, body)
    assert isinstance(found, SendError)
    assert found.reason is reason
    assert found.retryable == (reason in (SendFailure.unavailable, SendFailure.rate_limited))


@given(st.integers(100, 599), st.binary(max_size=60))
def test_any_answer_is_explained(http: int, body: bytes) -> None:
    assert isinstance(outbound.explain(SEND, http, body), (Receipt, SendError))


def test_what_is_logged_of_an_error_names_no_person_and_no_token() -> None:
    details = f"Recipient {PHONE} refused, token EAAG{'x' * 60}, also (202) 555-0177. " + "y" * 900
    error = answered(131009, details=details)
    assert "2025550143" not in str(error)
    assert "555-0177" not in str(error)
    assert "EAAG" not in str(error)
    assert len(error.detail) <= 500


def test_every_known_code_has_its_meaning() -> None:
    if not ERRORS.is_file():
        pytest.skip("the collected error codes are not beside this checkout")
    listed = json.loads(ERRORS.read_bytes())["errors"]
    classes = {
        "retry": {
            SendFailure.unavailable,
            SendFailure.rate_limited,
            SendFailure.media_invalid,
            SendFailure.template_invalid,
        },
        "retry_pair": {SendFailure.rate_limited},
        "defer24h": {SendFailure.capped},
        "contact": {SendFailure.unreachable, SendFailure.opted_out},
        "message": {
            SendFailure.rejected,
            SendFailure.window_closed,
            SendFailure.unreachable,
            SendFailure.media_invalid,
        },
        "template": {SendFailure.template_invalid},
        "sender_limit": {SendFailure.sender_limit},
        "channel": {SendFailure.auth},
    }
    for each in listed:
        code = 250 if each["code"] == "200-299" else each["code"]
        meaning = errors.meaning(code)
        assert meaning.reason in classes[each["cls"]], each
        assert meaning.retryable == each["cls"].startswith("retry"), each


# --- the channel --------------------------------------------------------------------------------------------------


def test_the_channel_says_what_it_can() -> None:
    channel = channel_of("whatsapp")
    can = channel.capabilities({})
    assert (can.window_hours, can.ordering, can.text_length) == (24, Ordering.delivered, 4096)
    assert can.pace.per_address is not None
    assert (can.pace.per_address.burst, round(1 / can.pace.per_address.per_second)) == (45, 6)
    assert can.pace.replies_per_channel is not None
    assert can.pace.replies_per_channel.per_second == limits.STANDARD_RATE
    fast = channel.capabilities({"messages_per_second": "1000"}).pace
    assert fast.per_channel.per_second == 800
    assert channel.rate_scope("group:x") == "group"
    assert channel.rate_scope(PHONE) == "address"
    values = {"phone_number_id": "100", "business_account_id": "600"}
    assert channel.account_ids(values) == ("100", "600")


@pytest.mark.parametrize(
    "change",
    [
        {"phone_number_id": "+39"},
        {"access_token": "two words"},
        {"app_secret": "sécret-sécret"},
        {"extra": "1"},
    ],
)
def test_a_wrong_setting_is_refused_and_secrets_are_never_shown(change: dict[str, str]) -> None:
    config = channel_of("whatsapp").config
    values = {
        "phone_number_id": "100200300400500",
        "business_account_id": "600700800900100",
        "access_token": " TEST-token-1234\n",
        "app_secret": "TEST-app-secret",
        "verify_token": "TEST-verify",
    }
    good = config.model_validate(values)
    assert "TEST-token" not in repr(good)
    assert good.access_token.get_secret_value() == "TEST-token-1234"  # type: ignore[attr-defined]
    with pytest.raises(ValueError):  # noqa: PT011  pydantic's own, with the field's name
        config.model_validate({**values, **change})
