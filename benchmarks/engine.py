"""`engine`: `advance` alone, with every step type in place: turns per CPU second with the state from and to JSON, a
step of a long turn, and a step of a loop."""

from __future__ import annotations

import json
import time

from benchmarks.calibration import calibrated
from benchmarks.options import Options
from benchmarks.rows import Row, measured
from benchmarks.world import FORM
from domain.contacts import ContactView
from domain.events import MessageReceived, Origin, Person, Place
from domain.messages import Received, ReceivedText, Tap
from flows import compiler, document, engine, state
from flows.business import BusinessView, Purpose
from flows.steps import registry
from flows.versions import CompiledFlow

WALKS = 1_000  # of one round: five turns each
LONG = 100  # steps in one turn
LONG_TURNS = 200
TURNS_PER_S = 10_000.0
STEP_US = 50.0
NOW = 1_797_000_000_000
BUSINESS = BusinessView(
    name="Corner Bakery", purposes={"marketing": Purpose("1", {"en": "May we write to you about offers?"})}
)
ANSWERS: list[Received] = [
    ReceivedText("Anna Rossi"),
    ReceivedText("anna@example.com"),
    ReceivedText("+44 7700 900123"),
    Tap("yes"),
]


async def run(options: Options) -> list[Row]:
    """The form of `pipeline`, a turn of a hundred steps, and one that goes round until it has entered as many."""
    registry()  # all of them, as in a server
    form = compiler.compile(document.load(FORM.read_text(), "form.yaml"), 1)
    long = compiler.compile(document.load(_long(), "long"), 2)
    loop = compiler.compile(document.load(_loop(), "loop"), 3)
    rates, steps, rounds = [], [], []
    async with calibrated(options.folder / "engine-echo") as calibration:
        _walk(form)
        _turn(long)
        _turn(loop)
        for _ in range(options.rounds):
            await calibration.echo()
            rates.append(_rate(form, options.amount(WALKS)))
            steps.append(_step_us(long, options.amount(LONG_TURNS)))
            rounds.append(_step_us(loop, options.amount(LONG_TURNS)))
    least, most = TURNS_PER_S / calibration.scale, STEP_US * calibration.scale
    return [
        measured(
            "turns per CPU second", rates, "turns/s", at_least=least, budget=f"≥ 10,000, here {least:,.0f}"
        ),
        measured("a step in a turn of 100", steps, "µs", at_most=most, budget=f"≤ 50 µs, here {most:.0f} µs"),
        measured(
            "a step in a loop of 100", rounds, "µs", at_most=most, budget=f"≤ 50 µs, here {most:.0f} µs"
        ),
        measured("bare echo beside the engine", calibration.echo_us, "µs"),
        measured("fixed pure-Python work", calibration.python_ms, "ms"),
    ]


def _rate(form: CompiledFlow, walks: int) -> float:
    before = time.process_time()
    turns = sum(_walk(form) for _ in range(walks))
    return turns / (time.process_time() - before)


def _walk(form: CompiledFlow) -> int:
    """One person's way through the form; every turn reads and writes the state as the worker does."""
    transition = engine.start(
        form,
        contact=ContactView(id=1),
        language="en",
        now=NOW,
        seed=1,
        channel_kind="telegram",
        business=BUSINESS,
    )
    kept = state.encode(transition.state)
    for content in ANSWERS:
        transition = engine.advance(
            form,
            state.decode(kept),
            _event(content),
            contact=transition.contact,
            now=NOW,
            seed=1,
            channel_kind="telegram",
            business=BUSINESS,
        )
        kept = state.encode(transition.state)
    assert transition.outcome == "completed", transition.outcome
    return 1 + len(ANSWERS)


def _step_us(flow: CompiledFlow, turns: int) -> float:
    before = time.process_time()
    for _ in range(turns):
        _turn(flow)
    return (time.process_time() - before) / turns / LONG * 1e6


def _turn(flow: CompiledFlow) -> None:
    transition = engine.start(
        flow,
        contact=ContactView(id=1),
        language="en",
        now=NOW,
        seed=1,
        channel_kind="telegram",
        business=BUSINESS,
    )
    state.encode(transition.state)
    assert transition.outcome == "completed", transition.outcome


def _event(content: Received) -> MessageReceived:
    return MessageReceived(key="k", person=Person(ids=()), origin=Origin(Place.private, "1"), content=content)


def _loop() -> str:
    """Counted, remembered, looked at, again and again: four steps a round, twenty-five rounds."""
    steps: dict[str, object] = {
        "count": {"set": {"session.n": {"add": 1}}, "next": "remember"},
        "remember": {
            "set": {"session.last": "round {{ session.n }} of {{ contact.name | default('you') }}"},
            "next": "sort",
        },
        "sort": {
            "route": "{{ session.last }}",
            "rules": [{"test": "has_phrase", "value": "round 100", "goto": "look"}],
            "otherwise": "look",
        },
        "look": {
            "branch": [{"when": {"subject": "session.n", "op": "less", "value": LONG // 4}, "goto": "count"}],
            "otherwise": "end",
        },
    }
    return json.dumps(
        {"flow": "loop", "languages": ["en"], "triggers": ["first_message"], "start": "count", "steps": steps}
    )


def _long() -> str:
    """Values set and branched on, with a few messages between: what an owner's longest turn does."""
    steps: dict[str, object] = {}
    for number in range(LONG):
        following = f"s{number + 1}" if number < LONG - 1 else "end"
        if number % 10 == 9:
            steps[f"s{number}"] = {
                "send": {"en": "Hello {{ session.name | default('you') }}!"},
                "next": following,
            }
        else:
            steps[f"s{number}"] = {"set": {"session.name": f"value {number}"}, "next": following}
    return json.dumps(
        {"flow": "long", "languages": ["en"], "triggers": ["first_message"], "start": "s0", "steps": steps}
    )
