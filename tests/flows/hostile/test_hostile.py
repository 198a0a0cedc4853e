"""Attacks by authors and by contacts: what may not be saved is refused at once, with its line; what may costs little.

The attacks stand in `save.txt` and `run.txt`. Times are CPU times, the best of a few tries, against a limit that is
doubled at most where the machine is slower than the one that the figures were set on.
"""

from __future__ import annotations

import json
import re
import time
import tracemalloc
from collections.abc import Callable, Iterator
from contextlib import suppress
from functools import cache, partial
from pathlib import Path
from typing import Any

import pytest

from domain.contacts import ContactView
from domain.errors import FlowError, RejectedInput
from domain.messages import Received, ReceivedText
from flows import answers, compiler, document, engine, matchers, state
from flows.business import sample
from flows.engine import Transition
from flows.options import plain
from flows.triggers import Occasion, read_trigger
from flows.versions import CompiledFlow
from tests.unit.flows.conftest import make_flow, said

FOLDER = Path(__file__).parent
SAVE_S, RUN_S, RUN_BYTES = 0.2, 0.05, 20_000_000
REFERENCE_S = 0.0065  # what `_fixed_work` takes on the machine that the figures were set on
NOW = 1_797_000_000_000
BIG = "x" * 4_000
WRITTEN = [
    BIG, "ab " * 1_333, "9" * 4_000, "ß" * 4_000, "é" * 2_000 + "e\u0301" * 1_000, "@" * 4_000, "1," * 2_000,
    "12/12/2026 " * 363, "a@a." * 1_000, "domani alle 9 " * 285, "cento" * 800, "⭐" * 4_000, "1.234,50 € " * 360,
    "http://a." * 440, "-" * 4_000, "." * 4_000, "( ) " * 1_000, "٣" * 4_000,
]  # fmt: skip
FIELDS: dict[str, Any] = {
    "big": BIG,
    "words": "ab " * 1_333,
    "digits": "9" * 4_000,
    "list": [BIG] * 100,
    "deep": [[["x"] * 50] * 50] * 4,
    "num": 1e308,
    "date": "2026-12-05",
    "uni": "ß" * 4_000,
    "zalgo": "é" * 2_000,
    "at": "@" * 4_000,
    "commas": ",".join(["a"] * 2_000),
}


@cache
def slowness() -> float:
    """How much slower this machine is, from 1 to 2."""
    return min(2.0, max(1.0, min(_cpu(_fixed_work) for _ in range(5)) / REFERENCE_S))


def _fixed_work() -> None:
    total = 0
    for number in range(200_000):
        total += number % 7


def _cpu(act: Callable[[], Any]) -> float:
    before = time.process_time()
    act()
    return time.process_time() - before


def expanded(text: str) -> str:
    """«ab*3» → ababab, from the inside out; § counts."""
    piece = re.compile(r"«([^«»]*)\*(\d+)»", re.DOTALL)
    while found := piece.search(text):
        part, times = found[1], int(found[2])
        made = "".join(part.replace("§", str(n)) for n in range(times)) if "§" in part else part * times
        text = text[: found.start()] + made + text[found.end() :]
    return text.replace("␀", "\x00").replace("␛", "\x1b").replace("→", "\t")


def sections(name: str) -> Iterator[tuple[str, str]]:
    for part in re.split(r"^=== ", (FOLDER / name).read_text(), flags=re.MULTILINE)[1:]:
        head, _, body = part.partition("\n")
        yield head, body.rstrip("\n")


# --- saving -----------------------------------------------------------------------------------------------------------

SAVED = list(sections("save.txt"))


@pytest.mark.parametrize(("head", "body"), SAVED, ids=[f"{n}-{head}" for n, (head, _) in enumerate(SAVED)])
def test_a_hostile_document_is_refused_at_once(head: str, body: str) -> None:
    """With its line and a reason that is short, in less than 200 ms."""
    line, _, words = head.partition(" | ")
    text = expanded(body)
    message = ""

    def refused() -> None:
        nonlocal message
        with pytest.raises(RejectedInput) as caught:
            compiler.compile(document.load(text, "flow.yaml"), 0)
        message = str(caught.value)

    cost = min(_cpu(refused) for _ in range(3))
    assert re.search(words, message), message
    assert re.search(rf"\bline {line}\b", message), message
    assert len(message) < 10_000
    assert cost < SAVE_S * slowness()


@pytest.mark.parametrize(
    "written", ["no", "22:30", "012", "1e3", "0x10", "2026-01-01", "0o17", "1_000", "yes", "on"]
)
def test_what_yaml_1_2_calls_text_stays_as_it_was_written(written: str) -> None:
    """Word for word, in a text that is said; `~` and nothing are no text."""
    flow = compiler.compile(
        document.load(f"flow: f\nstart: a\nsteps:\n  a: {{send: {written}, next: end}}", "flow.yaml"), 0
    )
    assert engine_start(flow).effects[0].content.text == written  # type: ignore[union-attr]
    with pytest.raises(RejectedInput, match="line 4"):
        document.load("flow: f\nstart: a\nsteps:\n  a: {send: ~, next: end}", "flow.yaml")


@pytest.mark.parametrize("mark", ["\ufeff", "\r\n", "\r"])
def test_other_systems_line_ends_and_byte_order_marks_are_read(mark: str) -> None:
    """As if they were ours."""
    text = "flow: f\nstart: a\nsteps:\n  a: {end: true}\n"
    text = mark + text if mark == "\ufeff" else text.replace("\n", mark)
    assert document.load(text, "flow.yaml").start == "a"


# --- running ----------------------------------------------------------------------------------------------------------


def engine_start(flow: CompiledFlow) -> Transition:
    return engine.start(
        flow,
        contact=ContactView(id=1, name="Anna Rossi", fields=dict(FIELDS)),
        language="it",
        now=NOW,
        seed=1,
        channel_kind="telegram",
        business=sample(),
    )


def answered(flow: CompiledFlow, begun: Transition, content: Received) -> Transition:
    return engine.advance(
        flow,
        state.decode(state.encode(begun.state)),
        said(content),
        contact=ContactView(id=1, fields=dict(FIELDS)),
        now=NOW,
        seed=1,
        channel_kind="telegram",
        business=sample(),
    )


def cheap(act: Callable[[], Any], what: str) -> None:
    """At most 50 ms and 20 MB."""

    def done() -> None:
        with suppress(FlowError):  # a runaway is stopped: that is cheap, too
            act()

    cost = _cpu(done)
    for _ in range(3):
        if cost < RUN_S / 2:
            break
        cost = min(cost, _cpu(done))
    assert cost < RUN_S * slowness(), f"{what}: {cost * 1000:.0f} ms"
    if cost < 0.001:
        return  # what takes no time takes no memory
    tracemalloc.start()
    try:
        done()
        peak = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    assert peak < RUN_BYTES, f"{what}: {peak / 1e6:.1f} MB"


RUN = [(kind, line) for kind, body in sections("run.txt") for line in body.splitlines() if line]


@pytest.mark.parametrize(("kind", "source"), RUN, ids=[f"{n}-{line[:40]}" for n, (_, line) in enumerate(RUN)])
def test_a_hostile_text_costs_little(kind: str, source: str) -> None:
    """Filters and functions that make texts grow, patterns, lambdas within lambdas, big numbers."""
    flow = make_flow({"a": {"send": expanded(source).strip(), "next": "end"}}, expressions=kind)
    cheap(partial(engine_start, flow), source)


@pytest.mark.parametrize("key", sorted(matchers.registry()))
def test_a_hostile_message_costs_little_in_every_test_of_answers(key: str) -> None:
    """Twenty rules of it, each with a long argument."""
    matcher = matchers.matcher(key)
    for argument in (BIG[:600], "ab " * 200, "(x+x+)+y", "9" * 600):
        arguments = [argument] * max(matcher.least, 1) if matcher.most else []
        rule = {"test": key, "value": arguments, "goto": "z"}
        try:
            flow = make_flow(
                {"a": {"listen": [rule] * 20, "otherwise": "z"}, "z": {"end": True}}, expressions="excellent"
            )
        except RejectedInput:
            continue
        begun = engine_start(flow)
        for text in WRITTEN:
            cheap(partial(answered, flow, begun, ReceivedText(text)), f"{key}: {text[:20]}")


@pytest.mark.parametrize("key", sorted(answers.registry()))
def test_a_hostile_message_costs_little_in_every_kind_of_question(key: str) -> None:
    """Dates, numbers, addresses, and the longest list of choices."""
    step: dict[str, Any] = {"ask": key, "text": "?", "next": "end"}
    if "options" in answers.answer_type(key).takes:
        step["options"] = [{"id": f"o{n}", "text": f"scelta {n} {'abc ' * 5}"} for n in range(50)]
    if key == "rating":
        step["max"] = 10
    flow = make_flow({"a": step})
    begun = engine_start(flow)
    for text in WRITTEN:
        cheap(partial(answered, flow, begun, ReceivedText(text)), f"{key}: {text[:20]}")


def test_a_hostile_message_costs_little_among_frequent_questions() -> None:
    """As many entries as there may be, each in ten wordings."""
    entries = [
        {
            "id": f"e{n}",
            "ask": [f"parola{n} quando dove {m} {'abc' * 20} xyz{n}{m}" for m in range(10)],
            "answer": "x",
        }
        for n in range(100)
    ]
    flow = make_flow({"a": {"faq": entries, "text": "?", "next": "end"}})
    begun = engine_start(flow)
    for text in [*WRITTEN, "parola5 quandl dova abcabc" * 150]:
        cheap(partial(answered, flow, begun, ReceivedText(text)), text[:20])


@pytest.mark.parametrize(
    "trigger",
    [
        {"keyword": ["x" * 200] * 100},
        {"keyword": [f"{'ab' * 90}{n}" for n in range(100)], "match": "fuzzy"},
        {"keyword": [f"x{n}" * 20 for n in range(100)], "match": "contains"},
        {"keyword": ["a"] * 100, "match": "contains"},
        {"keyword": ["(x+x+)+y", "(.*)*b", "[^y]*y$", "(x|xx)+z"], "match": "regex"},
        {"deep_link": "*".join("a" * 30)},
    ],
    ids=lambda trigger: f"{next(iter(trigger))}-{trigger.get('match', 'exact')}",
)
def test_a_hostile_message_costs_little_in_triggers(trigger: dict[str, Any]) -> None:
    """Words, patterns, links."""
    read = read_trigger(trigger)
    for text in WRITTEN:
        occasion = Occasion(kind="message", text=text, words=plain(text), deep_link=text)
        cheap(partial(read.fits, occasion), text[:20])


@pytest.mark.parametrize(
    "op", ["contains", "matches_pattern", "starts_with", "equals", "one_of", "before", "greater"]
)
@pytest.mark.parametrize("value", [BIG[:500], "(x+x+)+y", ["x"] * 50, 5, "2026-12-05"], ids=str)
def test_a_hostile_condition_costs_little(op: str, value: Any) -> None:
    """A hundred of them over the longest values."""
    for subject in ("contact.fields.big", "contact.fields.list", "contact.fields.digits"):
        when = {"any": [{"subject": subject, "op": op, "value": value}] * 100}
        steps = {"a": {"branch": [{"when": when, "goto": "z"}], "otherwise": "z"}, "z": {"end": True}}
        try:
            flow = make_flow(json.loads(json.dumps(steps)))
        except RejectedInput:
            continue
        cheap(partial(engine_start, flow), f"{op} {subject}")
