"""People inside: what becomes of a session in another version of its flow, rule by rule."""

from __future__ import annotations

from typing import Any

import pytest

from domain.contacts import ContactView
from domain.effects import Effect, SendMessage, SetTimer
from domain.events import MessageReceived, Origin, Person, Place, TimerDue
from domain.messages import Received, ReceivedText, Tap, text_of
from flows import business, compiler, document, engine, moving, state
from flows.engine import Transition
from flows.state import SessionState
from flows.versions import CompiledFlow

FLOW = """
flow: form
languages: [it]
start: name
steps:
  name: {ask: name, text: Come ti chiami?, save: session.name, timeout: {after: 1 hour, goto: bye}, next: pick}
  pick:
    choose: Che cosa?
    options: [{id: a, text: Uno}, {id: b, text: Due}]
    save: session.pick
    next: agree
  agree: {consent: marketing, double_opt_in: true, exits: {yes: pause, no: pause}}
  pause: {wait: 2 days, next: call}
  call: {sub_flow: child, scope: own, outcomes: {far: bye}, next: bye}
  bye: {send: "Ciao {{ session.name | default('tu') }}", next: end}
"""
CHILD = """
flow: child
languages: [it]
start: where
steps:
  where: {ask: text, text: Da dove?, next: end}
"""
NOW, HOUR, DAY = 1_797_000_000_000, 3_600_000, 86_400_000
COMMON: dict[str, Any] = {
    "contact": ContactView(),
    "seed": 7,
    "channel_kind": "telegram",
    "business": business.sample(),
}


def flow(text: str, version: int) -> CompiledFlow:
    return compiler.compile(document.load(text, "flow"), version)


class Session:
    """One session that is driven through versions; the child is version 50."""

    def __init__(self, text: str = FLOW, version: int = 1) -> None:
        self.flow = flow(text, version)
        self.library: dict[str, CompiledFlow] = {"form": self.flow, "child": flow(CHILD, 50)}
        self.library["form@1"], self.library["child@50"] = self.flow, self.library["child"]
        self.now = NOW
        self.take(engine.start(self.flow, now=self.now, library=self.library, **COMMON))

    def take(self, transition: Transition) -> Transition:
        self.state = state.decode(state.encode(transition.state))
        self.effects: list[Effect] = transition.effects
        self.ended = transition.ended
        return transition

    @property
    def said(self) -> list[str]:
        return [text_of(effect.content) for effect in self.effects if isinstance(effect, SendMessage)]

    @property
    def timers(self) -> list[SetTimer]:
        return [effect for effect in self.effects if isinstance(effect, SetTimer)]

    def current(self) -> CompiledFlow:
        return self.library[f"{self.state.flow}@{self.state.version}"]

    def hears(self, *contents: str | Received) -> Session:
        for content in contents:
            event = MessageReceived(
                key="e",
                person=Person(ids=()),
                origin=Origin(Place.private, "1"),
                content=ReceivedText(content) if isinstance(content, str) else content,
            )
            self.take(
                engine.advance(
                    self.current(), self.state, event, now=self.now, library=self.library, **COMMON
                )
            )
        return self

    def due(self, timer: SetTimer, version: int = 0) -> Transition:
        event = TimerDue(
            key="t",
            timer_id=1,
            conversation_id=1,
            session_id=1,
            step_id=timer.step_id,
            visit=timer.visit,
            purpose=timer.purpose,
            version=version,
        )
        return self.take(
            engine.advance(self.current(), self.state, event, now=self.now, library=self.library, **COMMON)
        )

    def move(self, to: CompiledFlow, *, restart: bool = False, **mapping: str) -> Transition:
        before = self.state
        self.library[f"{to.key}@{to.version}"] = to
        transition = engine.move(
            self.current(),
            before,
            to,
            mapping=mapping,
            restart=restart,
            now=self.now,
            library=self.library,
            **COMMON,
        )
        assert state.encode(before) == state.encode(self.state), "the given state is not changed"
        return self.take(transition)


def test_the_same_question_goes_on_quietly() -> None:
    """Another wording, another way on: not asked again; the answer counts in the new version."""
    session = Session()
    timers = session.timers
    new = flow(FLOW.replace("Come ti chiami?", "Chi sei?").replace("next: pick", "next: bye"), 2)
    moved = session.move(new)
    assert (moved.handled, session.effects, session.state.version) == (True, [], 2)
    session.hears("Anna")
    assert session.said == ["Ciao Anna"]
    assert timers, "set in version 1"


def test_the_timer_of_before_still_counts() -> None:
    """Also under another step id, and also when the timer names the version that set it."""
    for version in (0, 1):
        session = Session()
        [timer] = session.timers
        session.move(flow(FLOW.replace("name:", "who:").replace("start: name", "start: who"), 2), name="who")
        assert (session.state.step, session.effects) == ("who", [])
        session.due(timer, version)
        assert session.said == ["Ciao tu"]


def test_a_timer_goes_through_two_moves() -> None:
    session = Session()
    [timer] = session.timers
    for number, old, new in ((2, "name", "who"), (3, "who", "person")):
        text = FLOW.replace("name:", f"{new}:").replace("start: name", f"start: {new}")
        mapping: dict[str, Any] = {old: new}
        session.move(flow(text, number), **mapping)
    session.due(timer, 1)
    assert session.said == ["Ciao tu"]


def test_another_time_allowed_starts_anew_and_the_old_timer_is_stale() -> None:
    session = Session()
    [old] = session.timers
    session.now += 10 * 60_000
    session.move(flow(FLOW.replace("1 hour", "2 hours"), 2))
    [timer] = session.timers
    assert (timer.due_at, session.said) == (session.now + 2 * HOUR, [])
    assert not session.due(old).handled
    assert session.due(timer).handled


def test_no_time_limit_any_more() -> None:
    session = Session()
    [old] = session.timers
    session.move(flow(FLOW.replace(", timeout: {after: 1 hour, goto: bye}", ""), 2))
    assert session.effects == []
    assert not session.due(old).handled
    assert session.hears("Anna").said == ["Che cosa?"]


@pytest.mark.parametrize(
    ("old", "new", "quiet"),
    [
        ("ask: name", "ask: email", False),
        ("ask: name", "ask: name, tries: 3", True),
        ("ask: name", "ask: name, skip: true", True),
        ("save: session.name", "save: session.other", True),
    ],
)
def test_what_kind_of_answer_decides(old: str, new: str, quiet: bool) -> None:
    session = Session()
    moved = session.move(flow(FLOW.replace(old, new), 2))
    assert moved.handled
    assert session.said == ([] if quiet else ["Come ti chiami?"])
    assert session.state.waiting == "answer"


@pytest.mark.parametrize(
    ("options", "quiet"),
    [
        ("[{id: a, text: Primo}, {id: b, text: Due}]", True),
        ("[{id: c, text: Tre}, {id: b, text: Due}, {id: a, text: Uno}]", True),
        ("[{id: a, text: Uno}, {id: c, text: Tre}]", False),
    ],
)
def test_buttons_on_the_screen_still_work(options: str, quiet: bool) -> None:
    """Options may come; one that goes has the question asked again."""
    session = Session().hears("Anna")
    session.move(flow(FLOW.replace("[{id: a, text: Uno}, {id: b, text: Due}]", options), 2))
    assert session.said == ([] if quiet else ["Che cosa?"])
    session.hears(Tap("a", "Uno"))
    assert session.state.variables == {"name": "Anna", "pick": "a"}, "what was answered is kept"


def test_a_consent_goes_on_in_its_second_question() -> None:
    session = Session().hears("Anna", "Uno", "sì")
    assert session.state.stage == "confirming"
    session.move(flow(FLOW.replace("{yes: pause, no: pause}", "{yes: bye, no: pause}"), 2))
    assert session.effects == []
    session.hears(Tap("confirm", ""))
    assert session.said == ["Ciao Anna"]


def test_a_consent_of_another_purpose_is_asked() -> None:
    text = FLOW.replace("consent: marketing", "consent: news")
    session = Session().hears("Anna", "Uno", "sì")
    COMMON["business"].purposes["news"] = COMMON["business"].purposes["marketing"]
    session.move(flow(text, 2))
    assert (len(session.said), session.state.stage) == (1, "")


def test_a_wait_goes_on_or_begins_anew() -> None:
    session = Session().hears("Anna", "Uno", "no")
    [timer] = session.timers
    session.now += DAY
    session.move(flow(FLOW.replace("wait: 2 days, next: call", "wait: 2 days, next: bye"), 2))
    assert session.effects == []
    session.move(flow(FLOW.replace("2 days", "3 days"), 3))
    [anew] = session.timers
    assert anew.due_at == session.now + 3 * DAY
    assert not session.due(timer).handled
    assert session.due(anew).handled


def test_a_step_that_is_gone_and_not_mapped_stays() -> None:
    session = Session().hears("Anna")
    text = FLOW.replace("pick", "choice")
    assert not session.move(flow(text, 2)).handled
    assert (session.state.version, session.state.step) == (1, "pick")
    assert session.move(flow(text, 2), pick="choice").handled
    assert (session.state.version, session.state.step, session.said) == (2, "choice", [])
    assert session.state.asked == ["name", "choice"], "back goes on working"


def test_mapped_to_a_step_of_another_kind_enters_it() -> None:
    session = Session()
    session.move(flow(FLOW, 2), name="bye")
    assert (session.said, session.ended) == (["Ciao tu"], True)


def test_there_already_is_nothing_to_do() -> None:
    session = Session()
    assert not session.move(session.flow).handled
    assert not session.move(flow(CHILD, 51)).handled


def inside() -> Session:
    session = Session().hears("Anna", "Uno", "no")
    session.due(session.timers[0])
    assert (session.state.flow, session.said) == ("child", ["Da dove?"])
    return session


def test_the_caller_moves_while_somebody_is_inside_what_it_called() -> None:
    session = inside()
    moved = session.move(flow(FLOW.replace("call", "place").replace("Ciao {{", "Addio {{"), 2), call="place")
    assert (moved.handled, session.effects) == (True, [])
    assert [(frame.version, frame.step) for frame in session.state.stack] == [(2, "place")]
    assert session.hears("Torino").said == ["Addio Anna"], "the caller's own variables came back"


def test_a_caller_whose_step_calls_nothing_any_more_stays() -> None:
    session = inside()
    text = FLOW.replace(
        "{sub_flow: child, scope: own, outcomes: {far: bye}, next: bye}", "{send: Niente, next: bye}"
    )
    assert not session.move(flow(text, 2)).handled
    assert session.hears("Torino").said == ["Ciao Anna"]


def test_the_called_flow_moves_and_comes_back() -> None:
    session = inside()
    session.move(flow(CHILD.replace("Da dove?", "Di dove sei?"), 51))
    assert (session.state.flow, session.state.version, session.effects) == ("child", 51, [])
    assert session.hears("Torino").said == ["Ciao Anna"]


def test_restart_begins_anew_and_loses_no_answer() -> None:
    session = Session().hears("Anna")
    session.move(flow(FLOW, 2), restart=True)
    assert (session.said, session.state.step) == (["Come ti chiami?"], "name")
    assert session.state.variables == {"name": "Anna"}


def test_restart_of_the_caller_leaves_what_it_called() -> None:
    session = inside()
    session.move(flow(FLOW, 2), restart=True)
    assert (session.state.flow, session.state.stack, session.said) == ("form", [], ["Come ti chiami?"])
    assert session.state.variables == {"name": "Anna", "pick": "a"}


def test_restart_of_the_called_flow_keeps_the_caller() -> None:
    session = inside()
    session.move(flow(CHILD.replace("Da dove?", "Di dove?"), 51), restart=True)
    assert session.said == ["Di dove?"]
    assert session.hears("Torino").said == ["Ciao Anna"]


def test_a_call_on_its_way_is_waited_for() -> None:
    """It would be made twice: the session stays unless its step is still a call; then the answer is taken there."""
    text = FLOW.replace("start: name", "start: ask").replace(
        "steps:\n",
        "steps:\n  ask: {http: https://shop.example.com/a, next: bye, error: bye}\n",
    )
    session = Session(text)
    assert session.state.waiting == "call"
    assert not session.move(flow(FLOW, 2), ask="name").handled
    assert not session.move(flow(FLOW, 2), restart=True).handled
    assert session.move(flow(text, 3)).handled
    assert session.state.stays_at("ask", session.state.visit, 1)


def test_outlook_says_what_would_become_of_people() -> None:
    old, new = flow(FLOW, 1), flow(FLOW.replace("ask: name", "ask: email").replace("pick", "choice"), 2)
    told = {
        step: moving.outlook(old, step, new, {}, restart=False) for step in ("name", "pick", "pause", "agree")
    }
    assert told == {
        "name": ("asked_again", "name"),
        "pick": ("stays", ""),
        "pause": ("goes_on", "pause"),
        "agree": ("goes_on", "agree"),
    }
    assert moving.outlook(old, "pick", new, {"pick": "choice"}, restart=False) == ("goes_on", "choice")
    assert moving.outlook(old, "name", new, {}, restart=True) == ("restarts", "name")
    assert moving.outlook(old, "call", new, {}, restart=False, calls=True) == ("goes_on", "call")
    assert moving.outlook(old, "call", new, {"call": "bye"}, restart=False, calls=True) == ("stays", "")
    assert moving.outlook(None, "name", new, {}, restart=False) == ("asked_again", "name")


def test_a_language_that_the_new_version_lacks() -> None:
    text = FLOW.replace("languages: [it]", "languages: [en]")
    session = Session()
    session.move(flow(text, 2))
    assert session.state.language == "en"


def test_states_of_before_the_field_are_read() -> None:
    assert state.decode(b'{"flow": "a", "version": 1, "step": "b", "visit": 3}').stays_at("b", 3)
    assert not SessionState("a", 1, step="b", visit=3).stays_at("", 3)
