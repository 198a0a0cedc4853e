"""Every update becomes the event that it means, and none can stop the others."""

from __future__ import annotations

import copy
import json
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from bot.channels.base import Credentials, Delivery, channel_of
from bot.channels.telegram.inbound import MAX_RAW, parse, verify
from domain import events
from domain.errors import NotAllowed, SignatureInvalid
from domain.events import MessageReceived, Unrecognised
from domain.messages import (
    FormAnswer,
    Notice,
    Payment,
    PollVote,
    ReceivedContact,
    ReceivedLocation,
    ReceivedMedia,
    ReceivedText,
    Tap,
)

PAYLOADS = sorted(
    path
    for path in (Path(__file__).parent / "payloads").glob("*.json")
    if not path.stem.endswith(".expected")
)
SAMPLES = Path(__file__).parents[4] / "shared" / "samples" / "telegram"
SAMPLE_EVENTS: dict[str, type] = {
    "business_connection_enabled_rights": events.AccountNotice,
    "business_message_text": ReceivedText,
    "callback_query_channel_post_button": Tap,
    "callback_query_inline_message": Tap,
    "callback_query_keyboard": Tap,
    "channel_post_text": events.OutletActivity,
    "chat_join_request_channel": events.OutletActivity,
    "chat_member_joined_after_request": events.OutletActivity,
    "chat_member_joined_channel_by_named_link": events.OutletActivity,
    "chat_member_left_channel": events.OutletActivity,
    "deleted_business_messages": events.MessageDeleted,
    "edited_channel_post_text": events.OutletActivity,
    "edited_message_text": events.MessageEdited,
    "message_contact_of_somebody_else": ReceivedContact,
    "message_contact_own_number": ReceivedContact,
    "message_document": ReceivedMedia,
    "message_emoji_utf16_offsets": ReceivedText,
    "message_entities_bold_code": ReceivedText,
    "message_entities_bold_italic": ReceivedText,
    "message_entities_bold_italic_code": ReceivedText,
    "message_entities_bold_italic_underline": ReceivedText,
    "message_entities_bold_italic_underline_strikethrough": ReceivedText,
    "message_entities_mention_email_url": ReceivedText,
    "message_group_mention": ReceivedText,
    "message_live_location": ReceivedLocation,
    "message_location": ReceivedLocation,
    "message_new_chat_members_bot_added": Notice,
    "message_photo_album_1_of_2": ReceivedMedia,
    "message_photo_album_2_of_2": ReceivedMedia,
    "message_private_plain": ReceivedText,
    "message_reaction_count_channel": events.OutletActivity,
    "message_start_deep_link": ReceivedText,
    "message_start_plain": ReceivedText,
    "message_successful_payment": Payment,
    "message_users_shared": FormAnswer,
    "message_voice": ReceivedMedia,
    "message_web_app_data": FormAnswer,
    "my_chat_member_added_as_channel_admin": events.OutletChanged,
    "my_chat_member_blocked_by_user": events.Reachability,
    "my_chat_member_bot_promoted_supergroup": events.OutletChanged,
    "my_chat_member_removed_from_channel": events.OutletChanged,
    "my_chat_member_unblocked_by_user": events.Reachability,
    "poll_anonymous_state": events.OutletActivity,
    "poll_answer_retracted": PollVote,
}


@pytest.mark.parametrize("path", PAYLOADS, ids=lambda path: path.stem)
def test_our_payloads_become_the_events_beside_them(path: Path) -> None:
    """`<name>.json` is what Telegram posts, `<name>.expected.json` the events that it means."""
    expected = json.loads(path.with_name(f"{path.stem}.expected.json").read_bytes())
    assert [json.loads(events.encode(event)) for event in parse(path.read_bytes())] == expected


@pytest.mark.parametrize("path", PAYLOADS, ids=lambda path: path.stem)
def test_events_survive_being_stored(path: Path) -> None:
    """What parse gives can be written as JSON and read back the same."""
    for event in parse(path.read_bytes()):
        assert events.decode(events.encode(event)) == event


@pytest.mark.skipif(not SAMPLES.is_dir(), reason=f"the collection of real updates is not at {SAMPLES}")
def test_real_updates_become_the_kind_of_event_that_they_are() -> None:
    """Every update that was collected from the wild is recognised, none is malformed."""
    found = {}
    for path in SAMPLES.glob("*.json"):
        (event,) = parse(path.read_bytes())
        found[path.stem] = type(event.content) if isinstance(event, MessageReceived) else type(event)
    assert found == SAMPLE_EVENTS


def test_somebody_elses_card_is_not_the_senders_number() -> None:
    """Only Telegram's user id on the card makes it the sender's own."""
    body = (Path(__file__).parent / "payloads" / "contact_own_without_plus.json").read_bytes()
    (own,) = parse(body)
    (other,) = parse(body.replace(b'"user_id": 4400100', b'"user_id": 4400101'))
    assert isinstance(own, MessageReceived)
    assert isinstance(own.content, ReceivedContact)
    assert own.content.own
    assert isinstance(other, MessageReceived)
    assert isinstance(other.content, ReceivedContact)
    assert not other.content.own


def test_what_cannot_be_read_is_kept_within_a_limit() -> None:
    """A huge unknown body does not become a huge row."""
    (event,) = parse(b'{"update_id": 5, "news": "' + b"x" * 200_000 + b'"}')
    assert isinstance(event, Unrecognised)
    assert (event.key, event.what, event.malformed) == ("upd:5", "news", False)
    assert len(event.raw) <= MAX_RAW


@pytest.mark.parametrize(
    "body",
    [
        b"",
        b"null",
        b"[]",
        b'"x"',
        b"{}",
        b"\xff\xfe",
        b"{" * 100_000,
        b"[" * 100_000,
        b'{"update_id": true}',
        b'{"update_id": 1e400}',
        b'{"update_id": ' + b"9" * 5000 + b"}",
        b'{"update_id": -1, "message": {}}',
    ],
)
def test_no_body_raises(body: bytes) -> None:
    """What is no update at all is kept and shown to a person, under a key of its own."""
    (event,) = parse(body)
    assert isinstance(event, Unrecognised)
    assert event.malformed
    events.decode(events.encode(event))


odd_values = st.one_of(
    st.none(),
    st.booleans(),
    st.integers(),
    st.sampled_from([2**63, -(2**63) - 1, 2**100, 0, -1]),
    st.floats(allow_nan=False, allow_infinity=False),
    st.text(max_size=20),
    st.sampled_from(["\x00", "\ud800", "x\udfff", "ة", "a" * 5000]),
    st.just([]),
    st.just({}),
    st.lists(st.none(), max_size=3),
    st.sampled_from([1, 50, 500, 5000]).map(lambda depth: _nested(depth)),
)


def _nested(depth: int) -> Any:
    value: Any = []
    for _ in range(depth):
        value = [value]
    return value


def _places(value: Any, path: tuple[Any, ...] = ()) -> list[tuple[Any, ...]]:
    places = [path]
    children = (
        value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else ()
    )
    for key, child in children:
        places += _places(child, (*path, key))
    return places


BASES = [update for path in PAYLOADS if isinstance(update := json.loads(path.read_bytes()), dict)]
TARGETS = [(base, path) for base in BASES for path in _places(base) if path]


@settings(max_examples=600, deadline=None)
@given(target=st.sampled_from(TARGETS), value=odd_values)
def test_one_wrong_value_anywhere_never_raises(target: tuple[Any, tuple[Any, ...]], value: Any) -> None:
    """A wrong type, width or depth at any place of any known update gives an event that can be stored, or none."""
    base, path = target
    update = copy.deepcopy(base)
    holder = update
    for key in path[:-1]:
        holder = holder[key]
    holder[path[-1]] = value
    try:
        body = json.dumps(update).encode()
    except RecursionError:  # deeper than Python writes; the literal bodies above cover it
        return
    for event in parse(body):
        text = events.encode(event).decode()
        assert "\\u0000" not in text.replace("\\\\", "")
        assert events.decode(text) == event
        assert event.key


@settings(max_examples=300, deadline=None)
@given(st.binary(max_size=200))
def test_noise_never_raises(noise: bytes) -> None:
    """Any bytes give one malformed event (or, by chance, a real one)."""
    for event in parse(noise):
        events.decode(events.encode(event))


def test_only_our_secret_opens() -> None:
    """A missing, wrong, longer, or oddly encoded secret is refused, and so is everything while none is set."""
    credentials = Credentials({"token": "110201543:TEST-a", "webhook_secret": "TEST-secret"})
    header = "x-telegram-bot-api-secret-token"
    verify(Delivery({header: "TEST-secret"}, b"{}"), credentials)
    for given_headers in (
        {},
        {header: ""},
        {header: "TEST-secre"},
        {header: "TEST-secrett"},
        {header: "\udcff\ud800"},
    ):
        with pytest.raises(SignatureInvalid):
            verify(Delivery(given_headers, b"{}"), credentials)
    with pytest.raises(SignatureInvalid):
        verify(Delivery({header: ""}, b"{}"), Credentials({"token": "110201543:TEST-a"}))


def test_there_is_no_handshake() -> None:
    """Telegram never asks an endpoint with GET: whoever does is turned away."""
    with pytest.raises(NotAllowed):
        channel_of("telegram").handshake({"hub.mode": "subscribe"}, Credentials({}))
