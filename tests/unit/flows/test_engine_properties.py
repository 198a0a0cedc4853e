"""Random flows over all step types, random events: whatever is well-formed ends or waits, within its limits.

The steps are those of the golden files, put together anew with their exits led anywhere, so that a step type is in
here as soon as it has its golden file.
"""

from __future__ import annotations

import copy
import json
from pathlib import Path
from typing import Any

import msgspec
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from domain import effects
from domain.contacts import ContactView
from domain.effects import CallHttp, SessionFailed, SetTimer
from domain.events import Event, HttpAnswered, SessionCommand, TimerDue
from domain.messages import (
    FormAnswer,
    MediaKind,
    PollVote,
    Received,
    ReceivedAlbum,
    ReceivedContact,
    ReceivedLocation,
    ReceivedMedia,
    ReceivedReaction,
    ReceivedText,
    Tap,
)
from flows import compiler, document, engine, state
from flows.business import sample
from flows.engine import MAX_STEPS, Transition
from flows.steps import registry
from flows.turns import MAX_EFFECTS, MAX_STACK
from flows.versions import CompiledFlow
from tests.unit.flows.conftest import said

GOLDEN = Path(__file__).parents[2] / "flows" / "steps"
TARGETS = frozenset(
    ("next", "goto", "otherwise", "on_message", "error", "unavailable", "helped", "timeout", "skip")
)
NAMED = frozenset(("exits", "on"))
FLOWS = ("tested", "child", "other")
NOW = 1_797_000_000_000

Steps = list[tuple[dict[str, Any], frozenset[str]]]


def _harvest() -> dict[str, dict[str, Steps]]:
    """Every step of the golden files by the language of its flow and its type, with the ids that it knew."""
    found: dict[str, dict[str, Steps]] = {"templates": {}, "excellent": {}}
    for path in sorted(GOLDEN.glob("*.json")):
        for case in json.loads(path.read_text()):
            for flow in (case["flow"], *case.get("library", [])):
                written = found[flow.get("expressions", "templates")]
                for step in flow["steps"].values():
                    kind = next(key for key in step if key in registry())
                    written.setdefault(kind, []).append((step, frozenset((*flow["steps"], "end"))))
    return found


STEPS = _harvest()


def _led(data: Any, ids: frozenset[str], targets: st.SearchStrategy[str], draw: Any, key: str = "") -> Any:
    """The step with every exit led to a random step."""
    if isinstance(data, str):
        return draw(targets) if key in TARGETS and data in ids else data
    if isinstance(data, list):
        return [_led(item, ids, targets, draw) for item in data]
    if isinstance(data, dict):
        if key == "goto":  # of another flow
            return {"flow": draw(st.sampled_from(FLOWS))}
        inner = "goto" if key in NAMED else ""
        led = {name: _led(item, ids, targets, draw, inner or name) for name, item in data.items()}
        return {**led, "sub_flow": draw(st.sampled_from(FLOWS))} if "sub_flow" in led else led
    return data


@st.composite
def flows(draw: Any) -> dict[str, CompiledFlow]:
    """Three flows that may call each other."""
    library = {}
    for version, key in enumerate(FLOWS, 1):
        written = draw(st.sampled_from(("templates", "templates", "excellent")))
        ids = [f"s{n}" for n in range(draw(st.integers(1, 8)))]
        targets = st.sampled_from([*ids, "end"])
        steps = {}
        for each in ids:
            kind = draw(st.sampled_from(sorted(STEPS[written])))
            step, known = draw(st.sampled_from(STEPS[written][kind]))
            steps[each] = _led(step, known, targets, draw)
        data = {"flow": key, "languages": ["it", "en"], "start": ids[0], "steps": steps}
        text = json.dumps({**data, "expressions": written})
        library[key] = compiler.compile(document.load(text, key), version)
    return library


WORDS = st.one_of(
    st.sampled_from(
        ("sì", "no", "salta", "indietro", "anna@example.com", "3", "Anna Rossi", "1", "2", "+44 7700 900123")
    ),
    st.sampled_from(("domani alle 9", "12,50 €", "12345", "*", "/start", "", " ", "\x00", "x" * 4_096)),
    st.text(max_size=30),
)
CONTENTS: st.SearchStrategy[Received] = st.one_of(
    st.builds(ReceivedText, WORDS),
    st.builds(Tap, st.sampled_from(("yes", "no", "price", "menu", "_skip", "_back", "1", "5")), WORDS),
    st.builds(ReceivedLocation, st.floats(-91, 91), st.floats(-181, 181), WORDS),
    st.builds(ReceivedMedia, st.sampled_from(list(MediaKind)), st.just("f"), caption=WORDS),
    st.just(ReceivedAlbum((ReceivedMedia(MediaKind.image, "f"),), "album")),
    st.builds(ReceivedContact, st.sampled_from((None, "+447700900123", "x")), WORDS, own=st.booleans()),
    st.just(ReceivedReaction("m", "👍")),
    st.just(PollVote("p", (0,))),
    st.just(FormAnswer("f", {"a": [1, {"b": None}]})),
)
CONTACTS = st.builds(
    ContactView,
    id=st.integers(0, 1 << 62),
    name=WORDS,
    language=st.sampled_from((None, "it", "en", "pt-br")),
    timezone=st.sampled_from((None, "Europe/Rome", "Pacific/Apia", "nowhere")),
    email=st.sampled_from((None, "a@example.com")),
    fields=st.dictionaries(
        st.sampled_from(("age", "visit", "city", "score", "stage", "guests", "likes")),
        st.one_of(
            st.none(), st.booleans(), st.integers(), st.floats(allow_nan=False), WORDS, st.lists(WORDS)
        ),
    ),
    tags=st.sets(st.sampled_from(("vip", "price", "cold"))),
)
ANSWERS = st.tuples(
    st.sampled_from((0, 200, 204, 404, 500)),
    st.sampled_from(
        (
            "",
            "{}",
            '{"status": "sent", "choices": [{"message": {"content": "Hi"}}]}',
            "[1",
            "null",
            "[[]]" * 9,
        )
    ),
    st.sampled_from(("", "timeout", "unknown")),
)
MOVES = st.one_of(
    st.tuples(st.just("say"), CONTENTS),
    st.tuples(st.just("say"), CONTENTS),
    st.tuples(st.just("time"), st.integers(0, 3)),
    st.tuples(st.just("http"), ANSWERS),
    st.tuples(st.just("command"), st.sampled_from(("resume", "resume", "expire", "stop"))),
)


@given(
    flows(),
    CONTACTS,
    st.lists(MOVES, max_size=10),
    st.integers(0, 1 << 62),
    st.sampled_from(("telegram", "whatsapp")),
)
@settings(max_examples=150, deadline=None, suppress_health_check=list(HealthCheck))
def test_whatever_is_well_formed_ends_or_waits(
    library: dict[str, CompiledFlow], contact: ContactView, moves: list[Any], seed: int, channel: str
) -> None:
    """No exception; deterministic; nothing of the caller's changed; state as JSON and back; limits kept."""
    given: dict[str, Any] = {
        "seed": seed,
        "channel_kind": channel,
        "business": sample(),
        "library": library,
    }
    at = _twice(lambda person: engine.start(library["tested"], contact=person, now=NOW, **given), contact)
    timers = [effect for effect in at.effects if isinstance(effect, SetTimer)]
    calls = [effect for effect in at.effects if isinstance(effect, CallHttp)]
    now = NOW
    for move in moves:
        if at.ended:
            break
        event, now = _event(move, timers, calls, now)
        before = at.state
        flow = next(each for each in library.values() if each.version == before.version)
        kept = state.encode(before)
        at = _twice(
            lambda person, flow=flow, kept=kept, event=event, now=now: engine.advance(
                flow, state.decode(kept), event, contact=person, now=now, **given
            ),
            at.contact,
        )
        engine.advance(flow, before, event, contact=at.contact, now=now, **given)
        assert state.encode(before) == kept, "the caller's state was changed"
        timers += [effect for effect in at.effects if isinstance(effect, SetTimer)]
        calls += [effect for effect in at.effects if isinstance(effect, CallHttp)]


def _twice(act: Any, contact: ContactView) -> Transition:
    """The same twice over, on a contact that must stay as it was."""
    as_it_was = copy.deepcopy(contact)
    first: Transition = act(contact)
    second: Transition = act(copy.deepcopy(as_it_was))
    assert contact == as_it_was, "the caller's contact was changed"
    assert _bytes(first) == _bytes(second), "not deterministic"
    assert state.encode(state.decode(state.encode(first.state))) == state.encode(first.state)
    assert first.ended or first.state.waiting in ("answer", "wait", "call")
    assert len(first.effects) <= MAX_EFFECTS + 1
    assert len(first.state.stack) <= MAX_STACK
    assert sum(1 for _, what, _ in first.path if what == "entered") <= MAX_STEPS
    failed = [effect for effect in first.effects if isinstance(effect, SessionFailed)]
    assert len(failed) == (
        1 if first.ended and first.outcome == "failed" and first.effects[-1:] == failed else 0
    )
    return first


def _bytes(transition: Transition) -> bytes:
    shown = (
        state.encode(transition.state),
        effects.encode(transition.effects),
        transition.outcome,
        transition.handled,
        transition.path,
        transition.expires_at,
        sorted(transition.contact.tags),
        msgspec.structs.replace(transition.contact, tags=set()),
    )
    return msgspec.json.encode(shown)


def _event(move: Any, timers: list[SetTimer], calls: list[CallHttp], now: int) -> tuple[Event, int]:
    what, value = move
    own: dict[str, Any] = {"key": "k", "conversation_id": 1}
    if what == "time" and timers:
        timer = timers[-1 - value % len(timers)]
        now = max(now, timer.due_at)
        due = TimerDue(
            **own,
            timer_id=1,
            session_id=1,
            step_id=timer.step_id,
            visit=timer.visit,
            purpose="expire" if value == 3 else timer.purpose,
        )
        return due, now
    if what == "http" and calls:
        status, body, problem = value
        call = calls[-1]
        return HttpAnswered(
            **own,
            session_id=1,
            step_id=call.step_id,
            visit=call.visit,
            status=status,
            body=body,
            problem=problem,
        ), now
    if what == "command":
        return SessionCommand(**own, what=value), now
    return said(value if what == "say" else ReceivedText("x")), now


def test_all_step_types_are_among_them() -> None:
    """A type without a step here is one without a golden file."""
    missing = set(registry()) - set(STEPS["templates"]) - set(STEPS["excellent"])
    assert not missing, missing
