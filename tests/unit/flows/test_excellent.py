"""RapidPro's expressions: what each operator, function and test gives, that nothing costs much, that nothing raises."""

from __future__ import annotations

import json
import time
import tracemalloc
from collections.abc import Iterator
from dataclasses import replace
from datetime import datetime
from pathlib import Path
from typing import Any
from zoneinfo import ZoneInfo

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from domain.contacts import ContactView
from domain.errors import RejectedInput
from flows import compiler, document, excellent
from flows.business import sample
from flows.channel import sample as channel
from flows.excellent.context import environment_of, root_of
from flows.excellent.evaluation import Evaluation
from flows.excellent.functions import registry
from flows.excellent.values import Fault, lift
from flows.state import Input, Result, SessionState
from flows.turns import Runaway, Turn

FOLDER = Path(__file__).parent / "excellent"
NOW = datetime(2026, 4, 11, 13, 24, 30, 123456, ZoneInfo("America/Guayaquil"))
PLACES = (
    "Italia > Lazio", "Italia > Puglia", "Italia > Lazio > Roma", "Italia > Lombardia > Milano",
    "Italia > Lazio > Roma > Trastevere",
)  # fmt: skip


def turn(**contact: Any) -> Turn:
    """A turn of somebody in Ecuador, in the middle of a flow."""
    given_contact: dict[str, Any] = {
        "id": 7,
        "name": "Bob McTest",
        "first_name": "Bob",
        "language": "en",
        "timezone": "America/Guayaquil",
        "phone": "+15550100123",
        "tags": {"testers"},
        "fields": {"age": 41, "born": "1985-02-03", "city": "Kigali"},
        "identities": [{"kind": "telegram_user", "value": "4711"}],
        "created_at": 1_767_409_445_000,
    }
    text = '{"flow": "tested", "start": "a", "steps": {"a": {"end": "x"}}, "languages": ["en"]}'
    state = SessionState(flow="tested", version=1, step="a", visit=1, language="en")
    state.results = {
        "colour": Result("red", "Red", "I like red", {"shade": "dark"}),
        "score": Result(9, "Number", "nine"),
    }
    state.variables = {
        "step_size": 3,
        "globals": {"shop_name": "Bottega"},
        "webhook": {"status": 200, "json": {"price": 12.5}},
        "legacy_extra": {"old": "yes"},
        "trigger": {"keyword": "join"},
    }
    at = int(NOW.timestamp()) * 1000
    state.last = Input("media", "I like red", attachments=("image/jpeg:https://example.com/a.jpg",), at=at)
    return Turn(
        compiler.compile(document.load(text, "tested"), 1),
        state,
        contact=ContactView(**(given_contact | contact)),
        now=at,
        seed=7,
        channel=channel("telegram"),
        library={},
        business=sample(),
    )


def evaluation(on: Turn) -> Evaluation:
    """With the places that tests name, and a time of day that is easy to recognise."""
    return Evaluation(replace(environment_of(on), now=NOW, places=PLACES), root_of(on), seed=7)


def rows() -> Iterator[Any]:
    for path in sorted(FOLDER.glob("*.txt")):
        for number, line in enumerate(path.read_text().splitlines(), 1):
            if line and not line.startswith("# "):
                source, _, expected = line.rpartition(" →")
                yield pytest.param(source, expected[1:], id=f"{path.stem}-{number}")


@pytest.mark.parametrize(("source", "expected"), list(rows()))
def test_table(source: str, expected: str) -> None:
    """Each row of the tables gives what stands behind its arrow."""
    found = excellent.template(source, where="row").told(evaluation(turn()))
    shown = "ERROR" if found.faults and not found.text else found.text.replace("\n", "\\n")
    assert shown == expected, found.faults


@pytest.mark.parametrize(
    ("contact", "expected"),
    [
        ({"phone": "+12065550100"}, "+12065550134"),
        ({"phone": None, "identities": [{"kind": "wa_phone", "value": "12065550100"}]}, "+12065550134"),
        ({"phone": None, "identities": [{"kind": "tel", "value": "+12065550100"}]}, "+12065550134"),
        ({"phone": "+1999"}, ""),
        ({"phone": "nonsense"}, ""),
        ({"phone": None}, ""),
    ],
)
def test_a_number_without_its_country_is_of_the_contacts(contact: dict[str, Any], expected: str) -> None:
    """Else of the business's, which is in Italy here."""
    on = turn(**contact)
    compiled = excellent.template('@(has_phone("call 206 555 0134").match)', where="x")
    assert compiled.told(Evaluation(environment_of(on), root_of(on), seed=7)).text == expected


def test_every_function_stands_in_a_table() -> None:
    """No function without a row."""
    written = " ".join(path.read_text() for path in FOLDER.glob("*.txt")).lower()
    missing = [name for name in registry() if f"{name}(" not in written]
    assert not missing


def test_what_rapidpro_documents_is_there() -> None:
    """Every function and test that RapidPro's documentation lists is a function here."""
    listed = """
        text boolean number date datetime time array object json parse_json and or if default is_error char code split
        trim trim_left trim_right title word word_slice word_count remove_first_word field clean text_slice lower upper
        regex_match text_length text_compare repeat replace percent url_encode html_decode read_chars abs round round_up
        round_down max min mean mod rand rand_between format_number now today date_from_parts datetime_from_epoch
        parse_datetime datetime_diff datetime_add replace_time tz tz_offset epoch weekday week_number parse_time
        time_from_parts format_date format_datetime format_time slice contains join reverse sort sum unique concat
        filter foreach foreach_value count keys extract extract_object format format_location format_urn urn_parts
        attachment_parts prompt has_text has_only_text has_phrase has_only_phrase has_any_word has_all_words
        has_beginning has_pattern has_number has_number_eq has_number_lt has_number_lte has_number_gt has_number_gte
        has_number_between has_date has_date_eq has_date_lt has_date_gt has_time has_email has_phone has_group has_state
        has_district has_ward has_error has_category has_intent has_top_intent has_value
    """
    assert set(listed.split()) <= set(registry())


@pytest.mark.parametrize(
    ("source", "what"),
    [
        ("Hi @(1 +)", "character 9: something is missing"),
        ("line\nline @(1 ? 2)", r"line 2, character 10: '\?' does not belong here"),
        ('@("a" "b")', "character 7: '\"b\"' does not belong here"),
        ("@(a.)", "a name is missing"),
        ("@(f(1,,2))", "does not belong here"),
        ("@(array(1)[0)", r"'\]' is missing"),
        ("@((x, 1) => x)", "character"),
        ("@(" + "(" * 500 + "1" + ")" * 500 + ")", "nested deeper than 60"),
        ("@(" + "-" * 1_000 + "1)", "nested deeper than 60"),
        ("@(" + "1+" * 1_500 + "1)", "nested deeper than 60|at most 2000 parts"),
        ("@(" + "abs(" * 200 + "1" + ")" * 200 + ")", "nested deeper than 60"),
        ("@(a" + ".a" * 2_000 + ")", "at most 2000 parts|nested deeper"),
        ("@(a" + "[0]" * 600 + ")", "nested deeper than 60"),
        ("@(a" + "()" * 900 + ")", "nested deeper than 60"),
        ("@(upper(" + "1," * 3_000 + "1))", "at most 2000 parts"),
        ("@(1)" * 2_000, "at most 200 expressions"),
        ("@contact.name " * 700, "at most 200 expressions"),
        ("@(" + "9" * 9_990 + ")", ""),
        ("x" * 10_001, "at most 10000 characters"),
    ],
)
def test_refused_with_place_and_reason(source: str, what: str) -> None:
    """What cannot be read, and what is out of proportion, is refused within 200 ms; a long number is an error value."""
    started = time.perf_counter()
    if what:
        with pytest.raises(RejectedInput, match=rf"steps\.a\.send: (expression, )?.*({what})"):
            excellent.template(source, where="steps.a.send")
    else:
        assert isinstance(excellent.template(source, where="x").value(evaluation(turn())), Fault)
    assert time.perf_counter() - started < 0.2  # seconds


LONG = 'repeat("ab ", 3333)'
ITEMS = 'split(repeat("ab ", 900))'
GROWN = 'foreach(split(repeat("a ", 900)), (x) => repeat(x, 10000))'
COSTLY = [
    f"@(foreach({ITEMS}, (x) => foreach({ITEMS}, (y) => x & y)))",
    f"@({GROWN})",
    f"@(json({GROWN}))",
    f"@(word_count({LONG}) + word_count({LONG}) + word_count({LONG}) + word_count({LONG}))",
    f"@(foreach({ITEMS}, (x) => word_count({LONG})))",
    f'@(foreach({ITEMS}, (x) => regex_match({LONG}, "(a|b| )*c" & x)))',
    f'@(foreach({ITEMS}, (x) => has_phone({LONG} & x & "+15550100123")))',
    f'@(foreach({ITEMS}, (x) => parse_datetime({LONG}, "YYYY-MM-DD")))',
    f'@(foreach({ITEMS}, (x) => regex_match("a", "((a{{1,30}}){{1,30}}b)" & rand())))',
    f"@(foreach({ITEMS}, (x) => has_all_words({LONG}, {LONG})))",
    f"@(sort({ITEMS}) & sort({ITEMS}) & unique({ITEMS}))",
    "@(((f) => f(f, 2))((f, n) => f(f, n ^ 2)))",
    '@(((x) => ((y) => ((z) => z & z)(y & y & y & y))(x & x & x & x))(repeat("a", 600)))',
    "@(((a) => ((b) => ((c) => ((d) => json(d))(array(c, c, c, c, c, c, c, c)))(array(b, b, b, b, b, b, b, b)))"
    '(array(a, a, a, a, a, a, a, a)))(split(repeat("a ", 900))))',
    "@(((a) => ((b) => ((c) => ((d) => d = d)(array(c, c, c, c, c, c, c, c)))(array(b, b, b, b, b, b, b, b)))"
    '(array(a, a, a, a, a, a, a, a)))(split(repeat("a ", 900))))',
    '@(repeat(repeat("a", 9999), 9999))',
    '@(replace(repeat("a", 9999), "", repeat("b", 9999)))',
    "@(9 ^ 9 ^ 9 ^ 9)",
    "@(0.000000001 ^ 1000)",
    "@(1.000000000001 ^ 1000)",
    "@(2 ^ 0.123456789)",
    "@(round(" + "9" * 35 + ".5, 20))",
    '@(parse_json("' + "[" * 3_000 + "]" * 3_000 + '"))',
    '@(html_decode(repeat("&amp;", 1900)))',
    '@(title(repeat("a\'b ", 2400)))',
    '@(format_datetime(now(), repeat("ffffff", 1000)))',
    '@(has_pattern(repeat("a", 10000), "(((a{1,30}){1,30}){1,30})"))',
    '@(has_pattern(repeat("a", 10000), "((((a*)*)*)*)*b"))',
    '@(has_number(repeat("9,", 5000)))',
    '@(has_number(repeat("-", 10000)))',
    '@(has_email(repeat("a.", 5000)))',
    '@(has_email(repeat("a@a.", 2500)))',
    '@(has_date(repeat("1-1-", 2500)))',
    '@(read_chars(repeat("a", 9999)))',
    '@(clean(repeat("é", 9999)))',
    '@(word_count(repeat("é 😀", 3333)))',
]


@pytest.mark.parametrize("source", COSTLY, ids=range(len(COSTLY)))
def test_nothing_costs_much(source: str) -> None:
    """Whatever an author writes takes less than 50 ms of CPU and 20 MB."""
    compiled = excellent.template(source, where="x")
    on = turn()
    compiled.value(evaluation(on))  # tables of libraries are read once
    before = time.process_time()
    compiled.value(evaluation(on))
    assert time.process_time() - before < 0.05  # seconds
    tracemalloc.start()
    try:
        compiled.value(evaluation(on))
        assert tracemalloc.get_traced_memory()[1] < 20_000_000  # bytes
    finally:
        tracemalloc.stop()


PIECES = st.sampled_from(
    '@ @( ( ) [ ] . , + - * / ^ & = != < <= > >= => " 1 2.5 -7 x y contact fields results.colour input null true '
    'upper if foreach array object json default split word has_phrase date now "a" "5/12/2026" (x) => array(1,2)'.split(
        " "
    )
)
SOURCES = st.one_of(
    st.text(max_size=60),
    st.lists(PIECES, max_size=25).map(" ".join),
    st.lists(PIECES, max_size=25).map("".join),
)
PLAIN = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=20),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=5), inner, max_size=4),
    max_leaves=15,
)


@settings(max_examples=400, deadline=None)
@given(SOURCES)
@example('@("\\')
@example("@((x)=>")
@example("@(1=>2)")
def test_any_text_compiles_or_is_refused(source: str) -> None:
    """No text makes the compiler fail, and what compiles renders."""
    try:
        compiled = excellent.template(source, where="x")
    except RejectedInput:
        return
    compiled.render(turn())


CALLS = [
    "@({0}(fields.a))", "@({0}(fields.a, fields.b))", "@({0}(fields.a, fields.b, fields.c))",
    "@({0}(fields.a, (x) => x))", "@({0}())", "@({0}(fields.a, upper, fields.b))",
]  # fmt: skip


@settings(max_examples=150, deadline=None)
@given(st.sampled_from(sorted(registry())), PLAIN, PLAIN, PLAIN)
def test_any_function_takes_any_data(name: str, a: Any, b: Any, c: Any) -> None:
    """Whatever a contact's fields hold, each function gives a value, and operators do, too."""
    on = turn(fields={"a": a, "b": b, "c": c})
    for call in [
        *CALLS,
        "@(fields.a + fields.b)",
        "@(fields.a < fields.b)",
        "@(fields.a ^ fields.b & fields.c = 1)",
    ]:
        compiled = excellent.template(call.replace("{0}", name), where="x")
        json.dumps(compiled.evaluate(on), allow_nan=False)
        compiled.render(on)
        compiled.told(evaluation(on))


def test_a_turn_pays_for_its_expressions() -> None:
    """Many dear expressions in one turn end the session, not the worker."""
    on = turn()
    dear = excellent.template(COSTLY[0], where="x")
    started = time.process_time()
    with pytest.raises(Runaway, match="take too long"):
        list(map(dear.evaluate, [on] * 1_000))
    assert time.process_time() - started < 2  # seconds


def test_the_same_turn_has_the_same_chance() -> None:
    """`rand` follows the turn's seed: a replay gives the same."""
    compiled = excellent.template("@(rand()) @(rand_between(1, 1000000))", where="x")
    first = turn()
    assert compiled.render(first) == compiled.render(turn())
    other = turn()
    other.seed = 8
    assert compiled.render(first) != compiled.render(other)


def test_what_a_template_tells_of_itself() -> None:
    """Paths in our own words for inspection, names that nobody knows for whoever imports."""
    compiled = excellent.template(
        "@results.age @(default(results.city, 'x'))".replace("'", '"') + " @(foo + bar(1) + fields.a)",
        where="x",
    )
    assert compiled.reads >= {"result.age", "contact.fields.a"}
    assert "result.city" in compiled.paths - compiled.reads
    assert compiled.unknown == {"foo", "bar()"}
    assert compiled.constant is None
    assert excellent.template("a@@example.com", where="x").constant == "a@example.com"


def test_values_are_escaped_where_marks_count() -> None:
    """The contact's own asterisks stay asterisks; the author's are marks."""
    compiled = excellent.template("*Hi* @contact.name", where="x")
    assert compiled.render(turn(name="*Bob*"), markup=True) == "*Hi* \\*Bob\\*"
    assert compiled.render(turn(name="a b"), escape=str.upper) == "*Hi* A B"


def test_a_lone_expression_keeps_its_kind() -> None:
    """`evaluate` gives plain data where the text is one expression, else the text; `operand` errors, too."""
    assert excellent.template("@(1 + 1)", where="x").evaluate(turn()) == 2
    assert excellent.template("@(1 + 1)!", where="x").evaluate(turn()) == "2!"
    assert excellent.template("plain", where="x").evaluate(turn()) == "plain"
    kept = '@(object("a", array(1, 2.5, null), "b", today(), "c", results.colour, "d", upper))'
    found = excellent.template(kept, where="x").evaluate(turn())
    assert found == {"a": [1, 2.5, None], "b": "2026-04-11", "c": "red", "d": None}
    assert excellent.template("@(1 / 0)", where="x").evaluate(turn()) is None
    assert isinstance(excellent.template("@(1 / 0)", where="x").operand(turn()), Fault)


def test_plain_data_becomes_values() -> None:
    """What JSON cannot hold exactly, or holds too deep, is an error and no crash."""
    assert isinstance(lift(10**40), Fault)
    assert isinstance(lift(float("inf")), Fault)
    deep: Any = 1
    for _ in range(100):
        deep = [deep]
    lift(deep)
