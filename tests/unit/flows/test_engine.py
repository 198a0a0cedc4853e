"""The engine's promises: deterministic, no caller's value changed, stale timers ignored, always an end or a wait."""

from __future__ import annotations

import copy
import time
from collections.abc import Callable
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from domain import effects
from domain.contacts import ContactView
from domain.effects import PatchContact, RecordConsent, SendMessage, SessionFailed, SetTimer
from domain.events import Event, MessageEdited, MessageReceived, Origin, Place, SessionCommand, TimerDue
from domain.messages import (
    ContactRequest,
    FormAnswer,
    Notice,
    Payment,
    PollVote,
    Received,
    ReceivedContact,
    ReceivedLocation,
    ReceivedReaction,
    ReceivedText,
    Tap,
    Text,
)
from flows import engine, inspection, state
from flows.business import sample
from flows.engine import Transition
from flows.state import SessionState
from flows.versions import CompiledFlow
from tests.unit.flows.conftest import make_flow, said

NOW = 1_797_000_000_000
DAY = 86_400_000
BUSINESS = sample()
ANY_CONTACT = ContactView()


def start(flow: CompiledFlow, contact: ContactView = ANY_CONTACT, **more: Any) -> Transition:
    given = {"now": NOW, "seed": 1, "channel_kind": "telegram", "business": BUSINESS, **more}
    return engine.start(flow, contact=contact, **given)


def advance(flow: CompiledFlow, before: Transition, event: Event, **more: Any) -> Transition:
    given = {"now": NOW, "seed": 1, "channel_kind": "telegram", "business": BUSINESS, **more}
    return engine.advance(flow, before.state, event, contact=before.contact, **given)


def timer(at: Transition, purpose: str = "answer", *, visit: int | None = None) -> TimerDue:
    return TimerDue(
        key="t",
        timer_id=1,
        conversation_id=1,
        session_id=1,
        step_id=at.state.step,
        visit=at.state.visit if visit is None else visit,
        purpose=purpose,
    )


ASK = {
    "a": {
        "ask": "email",
        "text": "E-mail?",
        "save": "contact.email",
        "timeout": {"after": "1 day", "goto": "b"},
        "next": "b",
    },
    "b": {"ask": "text", "text": "Altro?", "next": "end"},
}


def test_messages_of_a_turn_come_in_order() -> None:
    """What is said, saved and timed stands in the order in which the flow did it."""
    flow = make_flow(
        {"a": {"send": "1", "next": "b"}, "b": {"send": "2", "next": "c"}, "c": {"ask": "text", "text": "3"}}
    )
    texts = [effect.content.text for effect in start(flow).effects if isinstance(effect, SendMessage)]  # type: ignore[union-attr]
    assert texts == ["1", "2", "3"]


def test_same_input_same_transition() -> None:
    """Version, state, event, time and seed decide everything; effects and state are equal byte for byte."""
    flow = make_flow(
        {"a": {"send": ["x", "y", "z"], "next": "b"}, "b": {"ask": "name", "text": ["?", "??"], "next": "a"}}
    )
    seen = set()
    for _ in range(5):
        first = start(flow, seed=7)
        second = advance(flow, first, said("anna"), seed=8)
        seen.add((state.encode(second.state), effects.encode(second.effects)))
    assert len(seen) == 1
    wordings = {effects.encode(start(flow, seed=seed).effects) for seed in range(20)}
    assert len(wordings) == 3 * 2


def test_nothing_of_the_callers_is_changed() -> None:
    """State and contact that are passed in stay as they were."""
    steps = {
        "a": {"ask": "text", "text": "?", "save": "session.x", "next": "b"},
        "b": {"tag": "t", "next": "c"},
        "c": {"set": {"contact.fields.y": 1, "contact.name": "Z"}, "next": "d"},
        "d": {"consent": "marketing", "exits": {"yes": "a", "no": "a"}},
    }
    flow = make_flow(steps)
    contact = ContactView(fields={"k": 1}, tags={"u"}, consents={"other": "granted"})
    before = start(flow, contact)
    state_before, contact_before = copy.deepcopy(before.state), copy.deepcopy(contact)
    after = engine.advance(
        flow,
        before.state,
        said("x"),
        contact=contact,
        now=NOW,
        seed=1,
        channel_kind="telegram",
        business=BUSINESS,
    )
    assert after.state.step == "d"
    assert before.state == state_before
    assert contact == contact_before
    assert after.contact.tags == {"u", "t"}


def test_a_timer_wakes_only_the_stay_it_was_set_for() -> None:
    """A timer of an earlier stay, another step or another purpose changes nothing."""
    flow = make_flow(ASK)
    first = start(flow)
    assert [effect for effect in first.effects if isinstance(effect, SetTimer)] == [
        SetTimer("a", 1, "answer", due_at=NOW + DAY, after_sent=DAY)
    ]
    again = advance(flow, first, said("no e-mail"))
    for stale in (timer(first, visit=1), timer(again, "wait"), timer(again, visit=9)):
        assert not advance(flow, again, stale).handled
    due = advance(flow, again, timer(again))
    assert due.state.step == "b"
    assert due.state.results["a"].category == "timeout"
    assert not advance(flow, due, timer(again)).handled


@pytest.mark.parametrize(
    "content",
    [ReceivedReaction("m", "👍"), Notice("pinned"), PollVote("p", (1,))],
)
def test_what_is_no_answer_is_left_alone(content: Received) -> None:
    """Reactions, notices and votes neither count as an answer nor as a try."""
    flow = make_flow(ASK)
    before = start(flow)
    after = advance(flow, before, said(content))
    assert not after.handled
    assert after.state is before.state
    assert after.effects == []


def test_other_events_are_not_for_the_session() -> None:
    """An edit advances nothing."""
    flow = make_flow(ASK)
    edit = MessageEdited(
        key="e",
        person=None,
        origin=Origin(Place.private, "1"),
        external_id="m",
        content=ReceivedText("a@example.com"),
    )
    assert not advance(flow, start(flow), edit).handled


def test_a_button_of_an_older_message_is_no_answer() -> None:
    """A second tap, or one on a question of before, neither answers nor counts as a try."""
    steps = {
        "a": {"choose": "?", "options": [{"id": "x", "text": "X"}], "next": "b"},
        "b": {"ask": "text", "text": "?", "tries": 1, "otherwise": "c", "next": "end"},
        "c": {"end": "gave_up"},
    }
    flow = make_flow(steps)
    moved = advance(flow, start(flow), said(Tap("x", "X")))
    assert moved.state.step == "b"
    assert not advance(flow, moved, said(Tap("x", "X"))).handled


@pytest.mark.parametrize(("what", "outcome"), [("stop", "stopped"), ("expire", "expired")])
def test_a_session_can_be_ended_from_outside(what: str, outcome: str) -> None:
    """Stop and expiry end it silently."""
    flow = make_flow(ASK)
    after = advance(flow, start(flow), SessionCommand(key="c", conversation_id=1, what=what))
    assert (after.ended, after.outcome, after.effects, after.waiting) == (True, outcome, [], "")
    assert not advance(
        flow, start(flow), SessionCommand(key="c", conversation_id=1, what="take_over")
    ).handled


def test_too_many_steps_fail_the_session_and_say_nothing() -> None:
    """An endless loop is cut, the contact hears no half turn, and what they gave is kept."""
    steps = {
        "a": {"ask": "email", "text": "?", "save": "contact.email", "next": "b"},
        "b": {"send": "x", "next": "c"},
        "c": {"goto": "b"},
    }
    flow = make_flow(steps)
    after = advance(flow, start(flow), said("anna@example.com"))
    assert after.outcome == "failed"
    assert [type(effect) for effect in after.effects] == [PatchContact, SessionFailed]


def test_a_hundred_steps_are_allowed() -> None:
    """The limit is where it says."""
    steps = {f"s{i}": {"set": {"session.x": i}, "next": f"s{i + 1}"} for i in range(99)}
    assert start(make_flow({**steps, "s99": {"end": True}})).outcome == "completed"
    steps["s99"] = {"set": {"session.x": 1}, "next": "s100"}
    assert start(make_flow({**steps, "s100": {"end": True}})).outcome == "failed"


def test_a_missing_step_fails_the_session() -> None:
    """A target that does not exist is told, with the step's name."""
    after = start(make_flow({"a": {"send": "x", "next": "nowhere"}}))
    assert after.effects == [SessionFailed("nowhere", "the flow 'tested' has no such step")]


def test_sessions_stay_on_their_versions() -> None:
    """Inside a sub-flow both flows' versions are pinned: the published ones may have moved on."""
    child_1 = make_flow({"q": {"ask": "text", "text": "?", "next": "end"}}, key="child", version=11)
    parent_1 = make_flow(
        {"a": {"sub_flow": "child", "next": "b"}, "b": {"send": "old", "next": "end"}},
        key="parent",
        version=1,
    )
    parent_2 = make_flow({"z": {"send": "new", "next": "end"}}, key="parent", version=2)
    before = start(parent_1, library={"parent": parent_1, "child": child_1})
    assert before.state.versions() == [("child", 11), ("parent", 1)]
    library = {"parent": parent_2, "child": child_1, "parent@1": parent_1}
    after = advance(child_1, before, said("x"), library=library)
    assert [effect.content for effect in after.effects if isinstance(effect, SendMessage)] == [Text("old")]
    lost = advance(child_1, before, said("x"), library={"parent": parent_2, "child": child_1})
    assert lost.outcome == "failed"


def test_language_is_the_contacts_then_the_platforms_then_the_flows() -> None:
    """Each is used when the flow is written in it."""
    flow = make_flow({"a": {"send": {"it": "i", "en": "e"}, "next": "b"}, "b": {"ask": "text", "text": "?"}})
    assert start(flow, ContactView(language="en"), language="it").state.language == "en"
    assert start(flow, ContactView(language="fr"), language="en-GB").state.language == "en"
    assert start(flow, language="zh-hans").state.language == "it"


def test_the_phone_question_uses_the_platforms_button() -> None:
    """The request for one's own number goes out as such, with the other ways in words."""
    flow = make_flow({"a": {"ask": "phone", "text": "Telefono?", "skip": True, "next": "end"}})
    [sent] = [effect.content for effect in start(flow).effects if isinstance(effect, SendMessage)]
    assert sent == ContactRequest("Telefono?\nOppure scrivi: salta", "Invia il mio numero")


def test_consent_is_recorded_with_the_exact_words() -> None:
    """The ledger gets wording, version, language and step."""
    flow = make_flow(
        {"c": {"consent": "marketing", "double_opt_in": True, "exits": {"yes": "end", "no": "end"}}}
    )
    before = start(flow, language="en")
    wording = BUSINESS.purposes["marketing"].wording["en"]
    assert before.effects[0] == RecordConsent(
        "marketing", "asked", wording, "1", "en", "c", double_opt_in=True
    )
    granted = advance(flow, before, said(Tap("yes")))
    confirmed = advance(flow, granted, said(Tap("confirm")))
    actions = [
        effect.action
        for turn in (granted, confirmed)
        for effect in turn.effects
        if isinstance(effect, RecordConsent)
    ]
    assert actions == ["granted", "confirmed"]
    assert confirmed.contact.consents == {"marketing": "confirmed"}


def test_variables_are_bounded() -> None:
    """A flow cannot hoard."""
    steps = {
        f"s{i}": {"set": {f"session.v{i}_{j}": 1 for j in range(50)}, "next": f"s{i + 1}"} for i in range(5)
    }
    after = start(make_flow({**steps, "s5": {"end": True}}))
    assert after.outcome == "failed"
    assert isinstance(after.effects[-1], SessionFailed)
    assert "variables" in after.effects[-1].problem


EVERYTHING = {
    "welcome": {
        "send": {"it": "Ciao {{ contact.first_name | default('a te') }}", "en": "Hi"},
        "next": "name",
    },
    "name": {
        "ask": "name",
        "text": "Nome?",
        "save": "contact.name",
        "tries": 3,
        "otherwise": "person",
        "next": "email",
    },
    "email": {"ask": "email", "text": "E-mail?", "skip": True, "back": True, "tries": 2, "next": "phone"},
    "phone": {
        "ask": "phone",
        "text": "Telefono?",
        "back": True,
        "timeout": {"after": "1 day", "goto": "pause"},
        "next": "day",
    },
    "day": {
        "ask": "date",
        "text": "Quando?",
        "save": "session.day",
        "back": True,
        "skip": "sure",
        "next": "sure",
    },
    "sure": {"ask": "yes_no", "text": "Il {{ session.day | default('?') }}?", "next": "place"},
    "place": {"ask": "location", "text": "Dove?", "skip": True, "next": "number"},
    "number": {"ask": "number", "text": "Quanti?", "min": 0, "max": 9, "tries": 2, "next": "which"},
    "which": {
        "choose": "Quale?",
        "options": [
            {"id": "a", "text": "A"},
            {"id": "b", "text": "B", "goto": "name"},
            {"id": "c", "text": "C", "goto": "consent"},
        ],
        "back": True,
        "next": "known",
    },
    "known": {
        "branch": [{"when": {"subject": "result.email", "op": "is_set"}, "goto": "consent"}],
        "otherwise": "sub",
    },
    "sub": {"sub_flow": "child", "exits": {"again": "which"}, "next": "consent"},
    "consent": {
        "consent": "marketing",
        "double_opt_in": True,
        "tries": 2,
        "exits": {"yes": "mark", "no": "pause"},
    },
    "mark": {"tag": "lead", "next": "pause"},
    "pause": {"wait": "2 days", "on_message": "which", "next": "person"},
    "person": {"hand_over": "sales"},
}
CHILD = {"q": {"ask": "text", "text": "?", "skip": "again", "next": "end"}, "again": {"end": "again"}}
FLOW = make_flow(EVERYTHING, key="everything", version=3)
LIBRARY = {"everything": FLOW, "child": make_flow(CHILD, key="child", version=4)}

GOOD = [
    "Anna",
    "anna@example.com",
    "+12125550123",
    "domani",
    "sì",
    "3",
    "a",
    "b",
    "c",
    "salta",
    "indietro",
    "no",
    "confermo",
]
CONTENT: st.SearchStrategy[Received] = st.one_of(
    st.sampled_from(GOOD).map(ReceivedText),
    st.sampled_from(["a", "b", "c", "yes", "no", "confirm", "_skip", "_back", "gone"]).map(Tap),
    st.text(max_size=30).map(ReceivedText),
    st.builds(ReceivedLocation, st.floats(), st.floats()),
    st.builds(ReceivedContact, st.none() | st.text(max_size=20), own=st.booleans()),
    st.just(FormAnswer("f", {})),
    st.just(Payment("EUR", 1)),
)
MOVES = st.lists(st.one_of(CONTENT, st.just("timer"), st.just("stale timer")), max_size=40)


@settings(max_examples=150, deadline=None)
@given(MOVES, st.integers(min_value=0, max_value=1 << 62))
def test_whatever_is_sent_a_session_waits_or_is_over(moves: list[Any], seed: int) -> None:
    """No sequence of answers and timers breaks a session: it waits where it says, or has ended; every state survives
    being written and read, and a question that waits has said something."""
    now = NOW
    turn = start(FLOW, library=LIBRARY, seed=seed)
    for move in moves:
        assert_well(turn)
        if turn.ended:
            return
        now += 60_000
        session = state.decode(state.encode(turn.state))
        assert session == turn.state
        event: Event = said(move) if not isinstance(move, str) else timer(turn, turn.waiting)
        if move == "stale timer":
            event = timer(turn, turn.waiting, visit=turn.state.visit - 1)
        turn = engine.advance(
            LIBRARY[session.flow],
            session,
            event,
            contact=turn.contact,
            now=now,
            seed=seed,
            channel_kind="whatsapp",
            business=BUSINESS,
            library=LIBRARY,
        )


def assert_well(turn: Transition) -> None:
    assert turn.outcome != "failed", turn.effects
    assert turn.ended == (turn.waiting == "")
    assert len(turn.effects) <= 200
    if turn.handled and turn.waiting == "answer":
        assert any(isinstance(effect, SendMessage) for effect in turn.effects)
    if turn.handled and turn.waiting == "wait":
        assert any(isinstance(effect, SetTimer) for effect in turn.effects)
    assert isinstance(turn.state, SessionState)
    effects.decode(effects.encode(turn.effects))


IDS = [f"s{number}" for number in range(6)]
TARGET = st.sampled_from([*IDS, "end"])
STEP = st.one_of(
    st.builds(lambda to: {"send": "x {{ session.v | default('?') }}", "next": to}, TARGET),
    st.builds(lambda to: {"set": {"session.v": {"add": 1}}, "next": to}, TARGET),
    st.builds(lambda to: {"tag": "t", "next": to}, TARGET),
    st.builds(lambda to: {"wait": "1 hour", "next": to}, TARGET),
    st.builds(lambda to: {"sub_flow": "child", "next": to}, TARGET),
    st.builds(
        lambda to, other: {"ask": "number", "text": "?", "tries": 2, "otherwise": other, "next": to},
        TARGET,
        TARGET,
    ),
    st.builds(
        lambda to, other: {"ask": "text", "text": "?", "skip": other, "back": True, "next": to},
        TARGET,
        TARGET,
    ),
    st.builds(
        lambda to, other: {"choose": "?", "options": [{"id": "a", "text": "A", "goto": to}], "next": other},
        TARGET,
        TARGET,
    ),
    st.builds(lambda to, other: {"consent": "marketing", "exits": {"yes": to, "no": other}}, TARGET, TARGET),
    st.builds(
        lambda to, other: {
            "branch": [{"when": {"subject": "session.v", "op": "greater", "value": 2}, "goto": to}],
            "otherwise": other,
        },
        TARGET,
        TARGET,
    ),
    st.just({"end": True}),
    st.just({"goto": {"flow": "child"}}),
)


@settings(max_examples=200, deadline=None)
@given(st.tuples(*[STEP for _ in IDS]), st.lists(st.one_of(CONTENT, st.just("timer")), max_size=15))
def test_a_flow_without_errors_never_fails(steps: tuple[dict[str, Any], ...], moves: list[Any]) -> None:
    """Whatever flow passes inspection without an error runs, whatever is sent: no missing step, no endless loop."""
    flow = make_flow(dict(zip(IDS, steps, strict=True)), version=9)
    library = {"tested": flow, "child": LIBRARY["child"]}
    if any(finding.severity == "error" for finding in inspection.check(flow, library)):
        return
    turn = start(flow, library=library)
    for move in moves:
        assert turn.outcome != "failed", turn.effects
        if turn.ended:
            return
        event: Event = timer(turn, turn.waiting) if isinstance(move, str) else said(move)
        turn = advance(library[turn.state.flow], turn, event, library=library)


def test_a_button_that_asked_for_a_number_goes_with_the_next_text() -> None:
    """It stands where people write until a text without choices takes it away; asked again, it stays."""
    steps = {
        "a": {"ask": "phone", "text": "Numero?", "next": "b"},
        "b": {"choose": "Va bene?", "options": [{"id": "y", "text": "Sì"}], "next": "c"},
        "c": {"send": "Grazie", "next": "d"},
        "d": {"send": "A presto", "next": "end"},
    }
    flow = make_flow(steps)

    def ends(turn: Transition) -> list[bool]:
        said = [effect.content for effect in turn.effects if isinstance(effect, SendMessage)]
        return [isinstance(content, Text) and content.ends_request for content in said]

    asked = advance(flow, start(flow), said("non è un numero"))
    assert ends(asked) == [False]
    chosen = advance(flow, asked, said("+44 7700 900123"))
    assert ends(chosen) == [False]
    assert ends(advance(flow, chosen, said("Sì"))) == [True, False]


def test_a_turn_is_cheap() -> None:
    """A turn with its state read and written costs well below a fifth of a millisecond of CPU (a tenth is the aim;
    the rest is room for a busy machine)."""
    words = ("anna rossi", "wrong", "anna@example.com", "+12125550123", "domani", "sì", "salta", "3")
    answers = [said(each) for each in words]
    turns = 0
    started = time.process_time()
    for _ in range(100):
        turn = start(FLOW, library=LIBRARY)
        for answer in answers:
            session = state.decode(state.encode(turn.state))
            turn = engine.advance(
                FLOW,
                session,
                answer,
                contact=turn.contact,
                now=NOW,
                seed=turns,
                channel_kind="telegram",
                business=BUSINESS,
                library=LIBRARY,
            )
            turns += 1
    assert turn.state.step == "which"
    assert (time.process_time() - started) / turns < 0.000_2  # seconds


def test_events_reach_the_engine_as_they_are_kept(event: Callable[..., MessageReceived]) -> None:
    """An event that was stored and read gives the same transition as the fresh one."""
    from domain import events

    flow = make_flow(ASK)
    fresh = event("anna@example.com")
    stored = events.decode(events.encode(fresh))
    assert advance(flow, start(flow), stored) == advance(flow, start(flow), fresh)
