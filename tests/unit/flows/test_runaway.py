"""Flows that would never end stop by themselves, soon, and tell a person; idle sessions expire."""

from __future__ import annotations

import time
from typing import Any

import pytest

from domain.contacts import ContactView
from domain.effects import AddNote, PatchContact, SendMessage, SessionFailed
from domain.events import TimerDue
from flows import engine, state
from flows.business import sample
from flows.engine import MAX_QUIET, MAX_STEPS, Transition
from flows.rehearsal import Rehearsal
from flows.state import EXPIRE
from flows.turns import MAX_REPEATS
from flows.versions import CompiledFlow
from tests.unit.flows.conftest import make_flow, said

NOW = 1_797_000_000_000
DAY = 86_400_000
CPU_S = 1.0  # of one event, whatever the flow does

HEAVY = " ".join("{{ session.x | default('y') | upper | lower | title | truncate(4000) }}" for _ in range(12))
WIDE = {"any": [{"subject": "session.x", "op": "contains", "value": f"n{n}"} for n in range(199)]}
PATTERN = {"subject": "session.x", "op": "matches_pattern", "value": "(a|aa|aaa|b*)*c(d|e)+[^x]{1,50}$"}


def play(*flows: CompiledFlow, **more: Any) -> Rehearsal:
    rehearsal = Rehearsal(
        flows,
        channel_kind="telegram",
        language="it",
        contact=ContactView(id=1),
        business=sample(),
        **more,
    )
    rehearsal.begin()
    return rehearsal


def circle(step: dict[str, Any]) -> dict[str, Any]:
    return {"start": {"set": {"session.x": "ab" * 450}, "next": "a"}, "a": step}


@pytest.mark.parametrize(
    "flows",
    [
        [circle({"goto": "a"})],
        [circle({"send": "x", "next": "a"})],
        [circle({"send": HEAVY, "next": "a"})],
        [circle({"note": HEAVY, "next": "a"})],
        [circle({"set": {f"session.v{n}": HEAVY for n in range(40)}, "next": "a"})],
        [circle({"set": {"session.x": {"append": {"value": "session.x"}}}, "next": "a"})],
        [circle({"branch": [{"when": WIDE, "goto": "a"}] * 50, "otherwise": "a"})],
        [circle({"branch": [{"when": PATTERN, "goto": "a"}] * 50, "otherwise": "a"})],
        [circle({"tag": ["{{ session.x }}"] * 20, "next": "a"})],
        [circle({"wait": {"until": "2020-01-01"}, "next": "a"})],
        [circle({"split": [{"name": "l", "goto": "a"}, {"name": "r", "goto": "a"}], "sticky": False})],
        [
            {"a": {"sub_flow": "other", "exits": {"failed": "a"}, "next": "a"}},
            {"a": {"goto": {"flow": "tested"}}},
        ],
        [{"a": {"goto": {"flow": "other"}}}, {"a": {"goto": {"flow": "tested"}}}],
        [
            {"a": {"sub_flow": "other", "scope": "own", "next": "a"}},
            {"a": {"sub_flow": "tested", "next": "a"}},
        ],
        [{"a": {"sub_flow": "other", "exits": {"failed": "a"}, "next": "a"}}, {"a": {"return": True}}],
    ],
)
def test_a_circle_without_input_stops_within_a_second(flows: list[dict[str, Any]]) -> None:
    """The session fails once, says which limit, and says nothing to the contact."""
    made = [make_flow(steps, key=key) for steps, key in zip(flows, ("tested", "other"), strict=False)]
    before = time.process_time()
    rehearsal = play(*made)
    assert time.process_time() - before < CPU_S
    assert rehearsal.outcome == "failed"
    assert [type(effect) for effect in rehearsal.effects].count(SessionFailed) == 1
    assert not any(isinstance(effect, SendMessage) for effect in rehearsal.effects)


def test_a_failure_over_and_over_stops_too() -> None:
    """A caller that tries a failing sub-flow again and again is within the steps of one event."""
    caller = make_flow({"a": {"sub_flow": "other", "exits": {"failed": "a"}, "next": "end"}})
    broken = make_flow({"a": {"sub_flow": "nowhere", "next": "end"}}, key="other")
    rehearsal = play(caller, broken)
    assert rehearsal.outcome == "failed"
    failed = [effect for effect in rehearsal.effects if isinstance(effect, SessionFailed)]
    assert [effect.problem for effect in failed] == [f"more than {MAX_STEPS} steps without waiting"]


def test_waits_in_a_circle_stop_when_nobody_answers() -> None:
    """A circle over time is allowed, but not for ever without a word of the contact."""
    flow = make_flow({"a": {"wait": "1 hour", "next": "b"}, "b": {"tag": "t", "next": "a"}}, languages=["it"])
    rehearsal = play(flow)
    rehearsal.pass_time(MAX_QUIET // 2 * 3_600_000)
    assert rehearsal.outcome == "failed"
    assert any(isinstance(effect, PatchContact) for effect in rehearsal.effects)


def test_the_same_text_over_and_over_stops() -> None:
    """Two programs that answer each other: the same question, refused twenty times in a row, fails for a person."""
    rehearsal = play(make_flow({"a": {"ask": "email", "text": "E-mail?", "next": "end"}}))
    for _ in range(MAX_REPEATS + 1):
        assert rehearsal.state is not None
        rehearsal.answer(said("away").content)
    assert rehearsal.outcome == "failed"


def test_what_the_contact_says_counts_anew() -> None:
    """A conversation with a person may go on for long."""
    flow = make_flow({"a": {"ask": "text", "text": "{{ result.a | default('?') }}", "next": "a"}})
    rehearsal = play(flow)
    for number in range(MAX_QUIET + 50):
        rehearsal.answer(said(f"word {number}").content)
    assert rehearsal.state is not None
    assert rehearsal.state.quiet == 1


# --- expiry


ASK = {"a": {"ask": "text", "text": "?", "next": "b"}, "b": {"ask": "text", "text": "!", "next": "end"}}


def test_an_idle_session_expires() -> None:
    """Thirty days after the last thing that happened, by a single timer; the last word counts, not the first."""
    rehearsal = play(make_flow(ASK))
    rehearsal.pass_time(29 * DAY)
    rehearsal.answer(said("x").content)
    rehearsal.pass_time(29 * DAY)
    assert not rehearsal.ended
    rehearsal.pass_time(2 * DAY)
    assert rehearsal.ended
    assert rehearsal.outcome == "expired"
    assert rehearsal.messages == []


def test_the_author_says_how_long() -> None:
    """`expires` of the flow; no shorter than it is written."""
    rehearsal = play(make_flow(ASK, expires="2 days"))
    rehearsal.pass_time(2 * DAY - 1)
    assert not rehearsal.ended
    rehearsal.pass_time(1)
    assert rehearsal.outcome == "expired"


@pytest.mark.parametrize(
    "step",
    [
        {"wait": "90 days", "next": "b"},
        {"ask": "text", "text": "?", "timeout": {"after": "90 days", "goto": "b"}, "next": "b"},
    ],
)
def test_what_waits_for_its_own_time_is_not_idle(step: dict[str, Any]) -> None:
    """Waits and timeouts of the author's come at their time, however long."""
    rehearsal = play(make_flow({"a": step, "b": {"end": "came"}}))
    rehearsal.pass_time(91 * DAY)
    assert rehearsal.outcome == "came"


def test_expiry_asks_for_one_wake_up() -> None:
    """Only the start asks for a timer; a wake-up that came too early asks again."""
    flow = make_flow(ASK)
    given: dict[str, Any] = {
        "contact": ContactView(),
        "seed": 1,
        "channel_kind": "telegram",
        "business": sample(),
    }
    first = engine.start(flow, now=NOW, **given)
    assert first.expires_at == NOW + 30 * DAY
    second = engine.advance(flow, first.state, said("x"), now=NOW + DAY, **given)
    assert second.expires_at == 0
    woken = engine.advance(flow, second.state, _expiry(second), now=NOW + 30 * DAY, **given)
    assert (woken.ended, woken.expires_at) == (False, NOW + 31 * DAY)
    assert state.encode(woken.state) == state.encode(second.state)
    assert (
        engine.advance(flow, second.state, _expiry(second), now=NOW + 31 * DAY, **given).outcome == "expired"
    )
    over = engine.start(make_flow({"a": {"send": "x", "next": "end"}}), now=NOW, **given)
    assert over.expires_at == 0


def _expiry(at: Transition) -> TimerDue:
    return TimerDue(
        key="t", timer_id=1, conversation_id=1, session_id=1, step_id="a", visit=1, purpose=EXPIRE
    )


# --- failure of sub-flows


def test_the_caller_of_a_caller_may_catch() -> None:
    """The innermost exit `failed` counts; scopes of both are put back, the way is known, people can read why."""
    top = make_flow(
        {
            "a": {"set": {"session.x": "top"}, "next": "b"},
            "b": {"sub_flow": "middle", "scope": "own", "exits": {"failed": "c"}, "next": "end"},
            "c": {"ask": "text", "text": "{{ session.x }} {{ child.flow }}", "next": "end"},
        }
    )
    middle = make_flow({"a": {"sub_flow": "low", "scope": "own", "next": "end"}}, key="middle")
    low = make_flow({"a": {"send": "x", "next": "b"}, "b": {"goto": {"flow": "nowhere"}}}, key="low")
    rehearsal = play(top, middle, low)
    assert rehearsal.state is not None
    assert rehearsal.state.stack == []
    assert rehearsal.state.variables == {"x": "top"}
    texts = [getattr(content, "text", "") for content in rehearsal.messages]
    assert texts == ["top middle"]
    assert [effect.text for effect in rehearsal.effects if isinstance(effect, AddNote)] == [
        "low, step b: there is no flow 'nowhere'"
    ]


@pytest.mark.parametrize(
    ("step", "outcome"),
    [
        ({"hand_over": True}, "handed_over"),
        ({"goto": {"flow": "nowhere"}}, "failed"),
        ({"ask": "text", "text": "?", "next": "end"}, "expired"),
    ],
)
def test_a_session_that_ends_inside_keeps_what_is_outside(step: dict[str, Any], outcome: str) -> None:
    """However it ends inside sub-flows, what is kept of it are the variables and results of the first flow."""
    top = make_flow(
        {
            "a": {"ask": "text", "text": "?", "save": "session.x", "next": "b"},
            "b": {"sub_flow": "middle", "scope": "own", "give": {"y": 1}, "next": "end"},
        }
    )
    middle = make_flow({"a": {"sub_flow": "low", "scope": "own", "next": "end"}}, key="middle")
    rehearsal = play(top, middle, make_flow({"a": step}, key="low"))
    rehearsal.answer(said("tea").content)
    rehearsal.pass_time(31 * DAY)
    assert rehearsal.outcome == outcome
    assert rehearsal.last_state is not None
    assert rehearsal.last_state.variables == {"x": "tea"}
    assert rehearsal.last_state.results["a"].value == "tea"
    assert rehearsal.last_state.stack == []
