"""WhatsApp deliveries: who may deliver, what each item becomes, and that no item spoils its neighbours."""

from __future__ import annotations

import hmac
import json
from collections import Counter
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from bot.channels.base import Credentials, Delivery
from bot.channels.whatsapp import inbound
from domain import events
from domain.errors import NotAllowed, SignatureInvalid
from domain.events import (
    AccountNotice,
    DeliveryStatus,
    Echo,
    IdentityChanged,
    MessageDeleted,
    MessageEdited,
    MessageReceived,
    PlatformEvent,
    Preference,
    Unrecognised,
)
from domain.ids import to_text
from domain.messages import MessageStatus, Notice, ReceivedText

PAYLOADS = Path(__file__).parent / "payloads"
SAMPLES = Path(__file__).parents[3] / ".." / "shared" / "samples" / "whatsapp"
SECRET = "TEST-app-secret-0c1d2e3f"
CREDENTIALS = Credentials({"app_secret": SECRET, "verify_token": "TEST-verify-üñ"})

# By the beginning of a sample's name: what its items become.
BECOMES: dict[str, type[Any]] = {
    "account_": AccountNotice,
    "batch-": MessageReceived,
    "calls-": Unrecognised,
    "echo_edit": MessageEdited,
    "echo_revoke": MessageDeleted,
    "echo_text": Echo,
    "message_template_": AccountNotice,
    "messages-unknown-type": Unrecognised,
    "messages_edit": MessageEdited,
    "messages_revoke": MessageDeleted,
    "messages_system_customer_identity_changed": AccountNotice,
    "messages_system_user_changed_number": IdentityChanged,
    "messages_": MessageReceived,
    "status": DeliveryStatus,
    "template_category_update": AccountNotice,
    "unknown-field": Unrecognised,
    "user_preferences": Preference,
}


def sample(name: str) -> bytes:
    if not SAMPLES.is_dir():
        pytest.skip("the collected samples are not beside this checkout")
    return (SAMPLES / name).read_bytes()


def delivery(*items: dict[str, Any], field: str = "messages", name: str = "messages", **value: Any) -> bytes:
    """A delivery with these items, as Meta writes it: everything but ASCII escaped."""
    change = {"metadata": {"phone_number_id": "100"}, name: list(items), **value}
    return json.dumps({"entry": [{"id": "600", "changes": [{"field": field, "value": change}]}]}).encode()


def text(body: str, n: int = 1) -> dict[str, Any]:
    return {
        "from": "12025550143",
        "id": f"wamid.T{n}",
        "timestamp": "1790000000",
        "type": "text",
        "text": {"body": body},
    }


# --- who may deliver ----------------------------------------------------------------------------------------------


def test_the_published_vector_is_accepted() -> None:
    body = b'{"object":"whatsapp_business_account","entry":[]}'
    signature = "sha256=9b2d8b19c705a607026e5f0cc6d90279cb03844286e03d40b296d99c9a3a9504"
    inbound.verify(
        Delivery({inbound.SIGNATURE_HEADER: signature}, body), Credentials({"app_secret": "testsecret"})
    )


def test_the_signature_covers_the_exact_bytes() -> None:
    body = json.dumps({"text": "più è ☃"}).encode()
    signed = Delivery({inbound.SIGNATURE_HEADER: signature_of(body)}, body)
    inbound.verify(signed, CREDENTIALS)
    written_anew = json.dumps(json.loads(body), ensure_ascii=False).encode()
    with pytest.raises(SignatureInvalid):
        inbound.verify(Delivery(signed.headers, written_anew), CREDENTIALS)


def signature_of(body: bytes, secret: str = SECRET) -> str:
    return "sha256=" + hmac.digest(secret.encode(), body, "sha256").hex()


@pytest.mark.parametrize(
    "forged",
    [
        None,
        "",
        "sha256=",
        "sha256=ü☃\udcff",
        "sha1=" + "0" * 40,
        signature_of(b"{}").upper(),
        "sha256=" + signature_of(b"{}").removeprefix("sha256=").upper(),
        signature_of(b"{}").removeprefix("sha256="),
        signature_of(b"{}") + " ",
        signature_of(b"{}", "another secret"),
        "x" * 100_000,
    ],
)
def test_a_header_that_is_not_the_signature_is_refused(forged: str | None) -> None:
    headers = {} if forged is None else {inbound.SIGNATURE_HEADER: forged}
    with pytest.raises(SignatureInvalid):
        inbound.verify(Delivery(headers, b"{}"), CREDENTIALS)


def test_a_channel_without_secrets_lets_nobody_in() -> None:
    bare = Credentials({"app_secret": "", "verify_token": ""})
    with pytest.raises(SignatureInvalid):
        inbound.verify(Delivery({inbound.SIGNATURE_HEADER: signature_of(b"{}", "")}, b"{}"), bare)
    with pytest.raises(NotAllowed):
        inbound.handshake({"hub.mode": "subscribe", "hub.verify_token": "", "hub.challenge": "1"}, bare)


def test_the_handshake_gives_the_challenge_back() -> None:
    query = {
        "hub.mode": "subscribe",
        "hub.challenge": "1158201444",
        "hub.verify_token": CREDENTIALS["verify_token"],
    }
    assert inbound.handshake(query, CREDENTIALS) == "1158201444"


@pytest.mark.parametrize(
    "change", [{"hub.mode": "unsubscribe"}, {"hub.verify_token": "guess"}, {"hub.verify_token": "\udcff"}]
)
def test_a_handshake_with_another_token_or_mode_is_refused(change: dict[str, str]) -> None:
    query = {
        "hub.mode": "subscribe",
        "hub.challenge": "1",
        "hub.verify_token": CREDENTIALS["verify_token"],
        **change,
    }
    with pytest.raises(NotAllowed):
        inbound.handshake(query, CREDENTIALS)
    with pytest.raises(NotAllowed):
        inbound.handshake({}, CREDENTIALS)


# --- what items become --------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "path", [p for p in sorted(PAYLOADS.glob("*.json")) if ".expected" not in p.name], ids=lambda p: p.stem
)
def test_a_payload_becomes_the_expected_events(path: Path) -> None:
    expected = json.loads(path.with_suffix(".expected.json").read_bytes())
    found = [json.loads(events.encode(event)) for event in inbound.parse(path.read_bytes())]
    assert found == expected


def test_every_collected_sample_becomes_what_its_name_says() -> None:
    if not SAMPLES.is_dir():
        pytest.skip("the collected samples are not beside this checkout")
    for path in sorted(SAMPLES.glob("*.json")):
        found = inbound.parse(path.read_bytes())
        wanted = next(kind for start, kind in BECOMES.items() if path.name.startswith(start))
        assert found, path.name
        assert isinstance(found[0], wanted), (path.name, found[0])
        assert not any(isinstance(e, Unrecognised) and e.malformed for e in found), path.name
        assert [events.decode(events.encode(e)) for e in found] == found, path.name


def test_a_batch_loses_nothing() -> None:
    found = inbound.parse(sample("batch-2entries-3messages-1status.json"))
    assert [type(event).__name__ for event in found] == [
        "MessageReceived",
        "MessageReceived",
        "DeliveryStatus",
        "MessageReceived",
    ]
    assert len({event.key for event in found}) == 4


def test_every_item_names_the_number_that_it_belongs_to() -> None:
    found = inbound.parse((PAYLOADS / "batch_of_good_and_bad.json").read_bytes())
    texts = {e.content.text: e.account for e in found if isinstance(e, MessageReceived)}  # type: ignore[union-attr]
    assert texts == {"uno": "100200300400500", "tre": "100200300400500", "quattro": "100200300400501"}


def test_statuses_keep_their_own_times_and_keys() -> None:
    found = [e for e in inbound.parse((PAYLOADS / "statuses_out_of_order.json").read_bytes())]
    assert [(e.status, e.occurred_at) for e in found if isinstance(e, DeliveryStatus)] == [
        (MessageStatus.read, 1790000109000),
        (MessageStatus.delivered, 1790000105000),
        (MessageStatus.sent, 1790000101000),
    ]
    assert len({event.key for event in found}) == 3


def test_a_person_without_a_phone_number_is_known_by_user_id_alone() -> None:
    (event,) = inbound.parse((PAYLOADS / "text_without_phone.json").read_bytes())
    assert isinstance(event, MessageReceived)
    assert [i.kind for i in event.person.ids] == ["wa_bsuid", "wa_parent_bsuid"]
    assert event.person.phone is None
    assert event.origin.address == event.person.ids[0].value


def test_a_failure_without_contacts_is_a_failure() -> None:
    (event,) = inbound.parse((PAYLOADS / "status_failed_capped.json").read_bytes())
    assert isinstance(event, DeliveryStatus)
    assert (event.status, event.reason, event.code) == (MessageStatus.failed, "capped", "131049")


def test_the_contact_of_somebody_else_is_not_mixed_in() -> None:
    others = [
        {"wa_id": "12025550199", "user_id": "US.9", "profile": {"name": "Altra Persona"}},
        {"wa_id": "12025550143", "user_id": "US.1", "profile": {"name": "Giulia"}},
    ]
    (event,) = inbound.parse(delivery(text("ciao"), contacts=others))
    assert isinstance(event, MessageReceived)
    assert event.person.first_name == "Giulia"
    assert event.person.ids[0].value == "US.1"
    (event,) = inbound.parse(delivery(text("ciao"), contacts=others[:1]))
    assert isinstance(event, MessageReceived)
    assert [i.value for i in event.person.ids] == ["12025550143"]


def test_the_same_item_in_another_envelope_is_the_same_event() -> None:
    alone = inbound.parse(delivery(text("ciao")))
    beside = inbound.parse(delivery(text("prima", 2), text("ciao"), contacts=[{"wa_id": "12025550143"}]))
    assert alone[0].key == beside[1].key


def test_an_account_field_is_the_same_event_only_with_the_same_value() -> None:
    def key(event: str, time: int) -> str:
        value = {"event": event}
        entry = {"id": "600", "time": time, "changes": [{"field": "account_update", "value": value}]}
        return inbound.parse(json.dumps({"entry": [entry]}).encode())[0].key

    assert key("A", 1) == key("A", 1)
    assert len({key("A", 1), key("A", 2), key("B", 1)}) == 3


@pytest.mark.parametrize(
    ("told", "milliseconds"),
    [
        ("1790000000", 1790000000000),
        (1790000000, 1790000000000),
        ("1790000000123", 1790000000123),
        ("", 0),
        ("soon", 0),
        ("-5", 0),
        (None, 0),
        ("9" * 30, 0),
        ("٣", 0),
    ],
)
def test_times_are_seconds_unless_they_cannot_be(told: object, milliseconds: int) -> None:
    (event,) = inbound.parse(delivery({**text("ciao"), "timestamp": told}))
    assert isinstance(event, MessageReceived)
    assert event.occurred_at == milliseconds


def test_our_message_id_comes_back_with_the_status() -> None:
    item = {
        "id": "wamid.O",
        "status": "sent",
        "timestamp": "1790000000",
        "biz_opaque_callback_data": to_text("message", 99),
    }
    (event,) = inbound.parse(delivery(item, name="statuses"))
    assert isinstance(event, DeliveryStatus)
    assert event.message_id == 99


def test_a_stop_button_of_a_template_counts_and_a_menu_entry_does_not() -> None:
    button = {**text(""), "type": "button", "button": {"payload": "stop", "text": "Niente più offerte"}}
    choice = {"type": "button_reply", "button_reply": {"id": "stop", "title": "Stop"}}
    menu = {**text("", 2), "type": "interactive", "interactive": choice}
    first, second = inbound.parse(delivery(button, menu))
    assert isinstance(first, MessageReceived)
    assert isinstance(second, MessageReceived)
    assert first.opt_out
    assert not second.opt_out


def test_a_kind_that_whatsapp_could_not_pass_on_still_reaches_the_conversation() -> None:
    (event,) = inbound.parse((PAYLOADS / "media_too_large.json").read_bytes())
    assert isinstance(event, MessageReceived)
    assert event.content == Notice("video", "File size exceeds 100 MB")


# --- bad neighbours -----------------------------------------------------------------------------------------------

HOSTILE: list[Any] = [
    None,
    7,
    "x",
    [],
    {},
    {"type": "text"},
    {"id": 5, "type": "text"},
    {**text("x"), "text": {"body": None}},
    {**text("x"), "text": []},
    {**text("x"), "id": ""},
    {"id": "wamid.N", "type": "text", "text": {"body": "from nobody"}},
    {**text("x"), "timestamp": []},
    {**text("x"), "type": "location", "location": {"latitude": "north", "longitude": 1}},
    {**text("x"), "type": "location", "location": {"latitude": 91, "longitude": 1}},
    {**text("x"), "type": "interactive", "interactive": {"type": "button_reply"}},
    {**text("x"), "type": "system", "system": {"type": "user_changed_number"}},
    {**text("x"), "type": "edit", "edit": {"original_message_id": "a"}},
    {
        **text("x"),
        "type": "interactive",
        "interactive": {"type": "nfm_reply", "nfm_reply": {"response_json": "[" * 5000 + "]" * 5000}},
    },
]


@pytest.mark.parametrize("bad", HOSTILE, ids=range(len(HOSTILE)))
def test_one_unreadable_item_costs_no_neighbour(bad: Any) -> None:
    good = [text(f"m{n}", n) for n in range(99)]
    found = inbound.parse(delivery(*good[:50], bad, *good[50:]))
    assert [type(e).__name__ for e in found].count("MessageReceived") == 99
    (odd,) = [e for e in found if isinstance(e, Unrecognised)]
    assert odd.malformed
    assert odd.problem
    assert odd.account == "100"


@pytest.mark.parametrize(
    "broken",
    [
        rb"a\u0000b",
        rb"a\ud83db",
        rb"a\ude00b",
        rb"a\ud83d\ud83db",
        b"a\xffb",
        rb"\\u0000",
        rb"\ud83d\ude00",
        rb"\\ud83d",
    ],
)
def test_text_that_no_column_holds_is_mended_and_answered(broken: bytes) -> None:
    body = delivery(text("before", 1), text("HERE", 2), text("after", 3)).replace(b"HERE", broken)
    found = inbound.parse(body)
    assert [type(e).__name__ for e in found] == ["MessageReceived"] * 3
    content = found[1].content  # type: ignore[union-attr]
    assert isinstance(content, ReceivedText)
    assert events.storable(content.text) == content.text
    expected = {rb"\\u0000": "\\u0000", rb"\ud83d\ude00": "😀", rb"\\ud83d": "\\ud83d"}
    if broken in expected:
        assert content.text == expected[broken]
    else:
        assert "\ufffd" in content.text


def test_great_depth_in_one_item_costs_no_neighbour() -> None:
    deep = {**text("x", 2), "type": "order", "order": "DEEP"}
    body = delivery(text("before", 1), deep, text("after", 3))
    body = body.replace(b'"DEEP"', b'{"product_items":[' + b"[" * 100_000 + b"]" * 100_000 + b"]}")
    found = inbound.parse(body)
    assert [e.key for e in found if isinstance(e, MessageReceived)] == ["msg:wamid.T1", "msg:wamid.T3"]
    assert isinstance(found[1], Unrecognised)
    assert found[1].malformed


def test_integers_beyond_any_column_are_kept_as_text() -> None:
    item = {
        **text("x"),
        "type": "order",
        "order": {"catalog_id": "1", "product_items": [{"quantity": 10**30}]},
    }
    (event,) = inbound.parse(delivery(item))
    assert isinstance(event, MessageReceived)
    assert events.decode(events.encode(event)) == event
    assert event.content.data["items"] == [{"quantity": str(10**30)}]  # type: ignore[union-attr]


@pytest.mark.parametrize("name", ["metadata", "contacts", "statuses", "errors"])
def test_a_broken_member_of_the_value_costs_no_message(name: str) -> None:
    broken: dict[str, Any] = {name: 5}
    found = inbound.parse(delivery(text("ciao"), **broken))
    assert [type(e).__name__ for e in found].count("MessageReceived") == 1
    assert any(isinstance(e, Unrecognised) and e.malformed and e.what == name for e in found)


@pytest.mark.parametrize(
    "body",
    [b"", b"null", b"[]", b"{}", b"{", b"\xef\xbb\xbf{}", b'{"entry":5}', b"\x00", b'"x"', b"{" * 200_000],
)
def test_a_body_that_is_no_delivery_is_kept_and_not_refused(body: bytes) -> None:
    found = inbound.parse(body)
    assert all(isinstance(e, Unrecognised) and e.malformed for e in found)
    assert all(len(e.raw.encode()) <= inbound.MAX_RAW for e in found if isinstance(e, Unrecognised))


def test_what_is_kept_of_an_unreadable_item_is_bounded() -> None:
    found = inbound.parse(delivery({"type": "text", "huge": "é" * 200_000}))
    assert isinstance(found[0], Unrecognised)
    assert len(found[0].raw.encode()) <= 64 * 1024


VALUES = st.recursive(
    st.none()
    | st.booleans()
    | st.integers(-(2**80), 2**80)
    | st.floats(allow_nan=False, allow_infinity=False)
    | st.text(max_size=8),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=5), inner, max_size=3),
    max_leaves=6,
)


def known_bodies() -> list[Any]:
    paths = [p for p in sorted(PAYLOADS.glob("*.json")) if ".expected" not in p.name]
    return [json.loads(p.read_bytes()) for p in paths]


BODIES = known_bodies()


def places(value: Any, path: tuple[Any, ...] = ()) -> list[tuple[Any, ...]]:
    """The path of every value inside a JSON document."""
    inner = value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else ()
    return [path, *(p for key, item in inner for p in places(item, (*path, key)))]


def replaced(value: Any, path: tuple[Any, ...], new: Any) -> Any:
    if not path:
        return new
    copy = dict(value) if isinstance(value, dict) else list(value)
    copy[path[0]] = replaced(value[path[0]], path[1:], new)
    return copy


@given(st.data())
@settings(max_examples=300, deadline=None)
def test_any_change_anywhere_leaves_the_neighbours_whole(data: st.DataObject) -> None:
    original = data.draw(st.sampled_from(BODIES))
    path = data.draw(st.sampled_from(places(original["entry"])))
    mutated = replaced(original["entry"], path, data.draw(VALUES))
    good = json.loads(delivery(text("vicino", 777)))["entry"]
    entries = [*good, *mutated] if isinstance(mutated, list) else good
    found = inbound.parse(json.dumps({"entry": entries}).encode())
    assert found[0].key == "msg:wamid.T777"
    for event in found:
        assert event.key
        assert events.decode(events.encode(event)) == event


@given(st.binary(max_size=200))
@settings(max_examples=200, deadline=None)
def test_any_bytes_are_taken_without_an_error(body: bytes) -> None:
    assert all(isinstance(event, Unrecognised) for event in inbound.parse(body))


def test_a_thousand_updates_in_one_delivery_are_all_read() -> None:
    found: list[PlatformEvent] = inbound.parse(delivery(*(text(f"m{n}", n) for n in range(1000))))
    assert Counter(type(e).__name__ for e in found) == {"MessageReceived": 1000}
    assert len({e.key for e in found}) == 1000
