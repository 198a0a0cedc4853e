"""Templates: what they can show, and that nothing else can be done with them."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from domain.contacts import ContactView
from domain.effects import SendMessage
from domain.errors import RejectedInput
from domain.messages import text_of
from flows import engine
from flows.business import sample
from flows.document import DocumentRejected
from flows.expressions import template
from flows.filters import FILTERS

NOW = 1_797_000_000_000

ANNA = ContactView(
    name="Anna Rossi",
    first_name="Anna",
    last_name="Rossi",
    phone="+12125550123",
    tags={"vip", "new"},
    fields={
        "age": 42.0,
        "price": 1234.5,
        "colours": ["red", "blue"],
        "day": "2026-12-05",
        "ok": True,
        "bad": "{{ 7*7 }}",
    },
)


def render(
    flow: Callable[..., Any], source: str, *, language: str = "it", contact: ContactView = ANNA
) -> str:
    compiled = flow({"a": {"send": source, "next": "end"}})
    transition = engine.start(
        compiled,
        contact=contact,
        now=NOW,
        seed=1,
        channel_kind="telegram",
        business=sample(),
        language=language,
        variables={
            "place": {"lat": 41.9},
            "list": ["x", {"y": 1}],
            "paid": {"amount": 20, "currency": "USD"},
        },
    )
    assert transition.outcome == "completed", transition.effects
    return "".join(
        text_of(effect.content) for effect in transition.effects if isinstance(effect, SendMessage)
    )


@pytest.mark.parametrize(
    ("source", "text"),
    [
        ("Ciao {{ contact.first_name }}!", "Ciao Anna!"),
        ("{{ contact.name | upper }}", "ANNA ROSSI"),
        (
            "{{ 'anna ROSSI' | capitalize }}, {{ 'anna ROSSI' | title }}, {{ 'ANNA' | lower }}",
            "Anna rossi, Anna Rossi, anna",
        ),
        ("[{{ '  a b ' | trim }}] {{ '2026-12-05T09:30' | add_minutes(45) | time }}", "[a b] 10:15"),
        ("{{ contact.fields.missing | default('a te') }}", "a te"),
        ("{{ contact.fields.missing | default(contact.last_name) }}", "Rossi"),
        ("x{{ contact.fields.missing }}{{ session.nothing.deep }}y", "xy"),
        ("{{ contact.fields.age }}", "42"),
        ("{{ contact.fields.price | number(2) }}", "1.234,50"),
        ("{{ contact.fields.price | round }}", "1235"),
        ("{{ contact.fields.colours | join(' e ') }}", "red e blue"),
        ("{{ contact.fields.colours | first }} {{ contact.name | last }}", "red Rossi"),
        ("{{ contact.fields.colours | length }}", "2"),
        ("{{ contact.tags }}", "new, vip"),
        ("{{ contact.fields.day | date }} {{ contact.fields.day | weekday }}", "05/12/2026 sabato"),
        ("{{ contact.fields.ok }} {{ contact.fields.ok | yes_no }}", "sì sì"),
        ("{{ contact.phone | phone }}", "+1 212-555-0123"),
        ("{{ contact.name | truncate(6) }}", "Anna…"),
        (
            "{{ session.place.lat }} {{ session.list[0] }} {{ session.list[1].y }}{{ session.list[9] }}",
            "41,9 x 1",
        ),
        ("{{ today }} {{ business.name }} {{ channel.kind }}", "2026-12-11 Bottega Esempio telegram"),
        ("{{ contact.fields.bad }}", "{{ 7*7 }}"),
        ("{{ '{{' }} {% raw %}{{ x }}{% endraw %}{# note #}", "{{ {{ x }}"),
        ("{{ contact.name | date }}ok{{ contact.name | round }}", "ok"),
        ("{{ contact.name | replace('nn', 'N') }} {{ contact.name | replace(' ') }}", "ANa Rossi AnnaRossi"),
        ("{{ 'a, b,,c ' | split(',') | join('|') }} {{ ' a  b ' | split | length }}", "a|b|c 2"),
        ("{{ 1 | pluralise('posto', 'posti') }}, {{ 3 | pluralise('posto', 'posti') }}", "1 posto, 3 posti"),
        ("{{ 'a b&c/è' | url_encode }}", "a%20b%26c%2F%C3%A8"),
        ("{{ '+390612345678' | phone('national') }}", "06 1234 5678"),
        ("{{ contact.fields.age | plus(1) }} {{ contact.fields.age | minus(50) }}", "43 -8"),
        ("{{ 0.1 | plus(0.2) }} {{ 7 | divided_by(2) }} {{ 2 | times('1,5') }}", "0,3 3,5 3"),
        ("{{ 7 | modulo(3) }} {{ 3 | minus(10) | modulo(7) }} {{ 7 | divided_by(0) }}", "1 0 "),
        ("{{ 12 | at_most(10) }} {{ 3 | at_least(5) }} {{ 3 | minus(5) | absolute }}", "10 5 2"),
        ("{{ 1000000000000000 | times(10) }}{{ 'x' | plus(1) }}{{ 1 | plus('') }}", ""),
        ("{{ 0.155 | percent }} {{ 0.155 | percent(1) }}", "16% 15,5%"),
        (
            "{{ 1234.5 | money }} {{ 1234.5 | money('USD') }} {{ 1234.5 | money('JPY') }}",
            "1.234,50 € 1.234,50 $ 1.235 ¥",
        ),
        ("{{ 5 | money('CHF') }} {{ 2 | minus(4.5) | money }}", "5,00 CHF -2,50 €"),
        ("{{ session.paid | money }} {{ session.paid | plus(1) }}", "20,00 $ 21"),
        ("{{ contact.fields.day | date('words') }}", "sabato 5 dicembre 2026"),
        (
            "{{ '2026-05-01' | date('words') }}, {{ '2026-05-01' | date('short') }}",
            "venerdì 1° maggio 2026, 1° maggio",
        ),
        (
            "{{ contact.fields.day | add_days(-5) }} {{ contact.fields.day | add_months(3) | date }}",
            "2026-11-30 05/03/2027",
        ),
        ("{{ '2026-01-31' | add_months(1) }} {{ '2026-01-31' | add_weeks(1) }}", "2026-02-28 2026-02-07"),
        ("{{ '2026-03-28T09:00:00+01:00' | add_days(1) }}", "2026-03-29T09:00+02:00"),
        ("{{ '2026-03-29T01:30:00+01:00' | add_hours(1) | time }}", "03:30"),
        (
            "{{ '2026-12-05T09:30:00Z' | datetime }} {{ '09:30' | time }} {{ '2026-12-05T23:30:00Z' | date }}",
            "05/12/2026 10:30 09:30 06/12/2026",
        ),
        (
            "{{ today | relative_day }} {{ today | add_days(1) | relative_day }}, {{ '2026-12-14' | relative_day }}",
            "oggi domani, fra 3 giorni",
        ),
        (
            "{{ today | add_days(-2) | relative_day }} {{ today | add_days(-2) | days_until }}",
            "2 giorni fa -2",
        ),
        ("{{ now | time }} {{ now | month }} {{ now | year }}", "15:40 dicembre 2026"),
        (
            "{{ contact.fields.colours | sort }} {{ contact.fields.colours | reverse | join('') }}",
            "blue, red bluered",
        ),
        (
            "{{ 'b a b' | split | unique | join(', ', ' e ') }} {{ 'a b' | nth(2) }}{{ 'a b' | nth(0) }}",
            "b e a b",
        ),
        (
            "{{ '1 2,5 3' | split | sum }} {{ '4 2' | split | smallest }} {{ '4 2' | split | greatest }}",
            "6,5 2 4",
        ),
        ("{{ contact.fields.colours | bullets }}", "• red\n• blue"),
        ("{{ contact.fields.colours | numbered }}", "1. red\n2. blue"),
        (
            "{{ conversation.flow }}.{{ conversation.step }} {{ business.region }} {{ business.timezone }}",
            "tested.a IT Europe/Rome",
        ),
        (
            "{{ business.is_open }} {{ business.opening_hours.sat | join }} {{ business.opening_hours.sun }}",
            "sì 09:00-13:00 ",
        ),
        ("{{ business.hours }}", "lun–ven 09:00–13:00, 15:30–19:00; sab 09:00–13:00"),
        ("{{ event.text }}{{ event.kind }}{{ event.attachments | first }}", ""),
        ("50% {sconto} }} %}", "50% {sconto} }} %}"),
    ],
)
def test_what_templates_show(flow: Callable[..., Any], source: str, text: str) -> None:
    """Paths and filters give what a person expects; what is missing or of another kind gives nothing."""
    assert render(flow, source) == text


def test_a_default_counts_for_all_that_stands_before_it() -> None:
    """What it makes up for is not read without a default; what an argument reads still is."""
    found = template("{{ session.day | date('words') | default('soon') }}", where="text")
    assert not found.reads
    assert found.paths == {"session.day"}
    given = template("{{ session.a | plus(session.b) | default(0) }}", where="text")
    assert given.reads == {"session.b"}


def test_codes_are_short_and_nobody_guesses_them(flow: Callable[..., Any]) -> None:
    """The same value has the same code, another one another; without a value there is none."""
    one, other = render(flow, "{{ 'a' | code }}"), render(flow, "{{ 'b' | code(5) }}")
    assert one == render(flow, "{{ 'a' | code }}") != other
    assert (len(one), len(other)) == (8, 5)
    assert set(one + other) <= set("ABCDEFGHJKLMNPQRSTUVWXYZ23456789")
    assert render(flow, "{{ session.none | code }}") == ""


def test_english_has_its_own_forms(flow: Callable[..., Any]) -> None:
    """Numbers, truths and weekdays follow the session's language."""
    source = (
        "{{ contact.fields.price | number(1) }} {{ contact.fields.ok }} {{ contact.fields.day | weekday }}"
    )
    assert render(flow, source, language="en") == "1,234.5 yes Saturday"
    near = "{{ today | add_days(-1) | relative_day }}, {{ '2026-12-13' | relative_day }}"
    dates = "{{ contact.fields.day | date('words') }}, " + near
    assert render(flow, dates, language="en") == "Saturday, 5 December 2026, yesterday, in 2 days"
    assert render(flow, "{{ 1234.5 | money }} {{ 3 | money('CHF') }}", language="en") == "€1,234.50 3.00 CHF"


HOSTILE = [
    "{{ 'a' * 200000000 }}",
    "{{ 10 ** 5000000 }}",
    "{{ 'a' ~ 'b' }}",
    "{{ 1 + 1 }}",
    "{{ -1 }}",
    "{{ not contact.name }}",
    "{{ contact.name == 'x' }}",
    "{{ 'a' if contact.name else 'b' }}",
    "{{ [1, 2] }}",
    "{{ {'a': 1} }}",
    "{{ range(100000000) }}",
    "{{ contact.name.upper() }}",
    "{{ contact.__class__ }}",
    "{{ contact['__class__'] }}",
    "{{ contact.fields._private }}",
    "{{ session.x.__init__.__globals__ }}",
    "{{ ''.__class__.__mro__ }}",
    "{{ config }}",
    "{{ self }}",
    "{{ contact.metadata }}",
    "{{ contact[contact.name] }}",
    "{{ session.x[0:5] }}",
    "{{ 'x' | center(300000000) }}",
    "{{ 'x' | wordwrap(1) }}",
    "{{ 'x' | attr('y') }}",
    "{{ 'x' | format(1) }}",
    "{{ 'x' | pprint }}",
    "{{ contact.name" + " | upper" * 101 + " }}",
    "{{ event.last }}",
    "{{ 'x' | truncate(-contact.id) }}",
    "{{ ['x'] | map('upper') }}",
    "{{ contact.name | default(value='x') }}",
    "{{ contact.name | join(*session.x) }}",
    "{% for x in range(9) %}{% endfor %}",
    "{% set x = 1 %}",
    "{% include '/etc/passwd' %}",
    "{% import 'x' as y %}",
    "{% extends 'x' %}",
    "{% macro m() %}{% endmacro %}",
    "{% if true %}x{% endif %}",
    "{% filter upper %}x{% endfilter %}",
    "{% autoescape true %}{% endautoescape %}",
    "{% block x %}{% endblock %}",
    "{% do x %}",
    "{{ contact.name",
    "{{ }}",
    "{{ " + "(" * 2_000 + "1" + ")" * 2_000 + " }}",
    "{{ contact" + ".a" * 1_900 + " }}",
    "{{ x" + "|upper" * 600 + " }}",
    "{{ 1e999999 }}{{ 9" + "{{ contact.name }}" * 200,
    "{{ contact.name }}" + "x" * 5_000,
    "{{ 'a' is defined }}",
    "{{ 'a' in contact.name }}",
    "{{ lipsum() }}",
    "{{ cycler.__init__ }}",
]


@pytest.mark.parametrize("source", HOSTILE, ids=range(len(HOSTILE)))
def test_hostile_templates_are_refused_at_once(source: str) -> None:
    """Whatever is not a path with our filters is refused when it is saved, quickly and with its place."""
    started = time.process_time()
    with pytest.raises(RejectedInput, match=r"steps\.a\.send"):
        template(source, where="steps.a.send")
    assert time.process_time() - started < 0.2  # seconds


def test_refused_in_a_document_with_line(flow: Callable[..., Any]) -> None:
    """The whole document names every place at once."""
    with pytest.raises(DocumentRejected) as caught:
        flow(
            {
                "a": {"send": "{{ 7*7 }}", "next": "b"},
                "b": {"ask": "text", "text": {"it": "{{ nothing.at.all }}"}},
            }
        )
    assert [problem.where for problem in caught.value.problems] == ["steps.a.send", "steps.b.text.it"]
    assert "mul is not allowed" in str(caught.value)


def test_the_result_is_bounded(flow: Callable[..., Any]) -> None:
    """A contact with huge values cannot make a huge message: the session fails and says why."""
    huge = ContactView(name="x" * 1_000_000)
    assert len(render(flow, "{{ contact.name }}", contact=huge)) == 4_096
    compiled = flow({"a": {"send": "{{ contact.name }}{{ contact.name }}{{ contact.name }}", "next": "end"}})
    transition = engine.start(
        compiled, contact=huge, now=NOW, seed=1, channel_kind="telegram", business=sample()
    )
    assert transition.outcome == "failed"


@pytest.mark.parametrize("name", ["{{ 7*7 }}", "{% for %}", "{{ contact.__class__ }}", "*_`~\\"])
def test_values_are_never_rendered(flow: Callable[..., Any], name: str) -> None:
    """What a contact wrote is shown as it was written."""
    assert render(flow, "{{ contact.name }}", contact=ContactView(name=name)) == name


@pytest.mark.parametrize(
    ("address", "text"),
    [
        ({"line": "Via Roma 10"}, "Via Roma 10"),
        (
            {
                "line": "Via Roma 10",
                "postal_code": "20121",
                "city": "Milano",
                "province": "MI",
                "country": "IT",
            },
            "Via Roma 10, 20121 Milano (MI)",
        ),
        (
            {"line": "10 High Street", "postal_code": "SW1A 1AA", "city": "London", "country": "GB"},
            "10 High Street, London SW1A 1AA",
        ),
        (
            {
                "line": "1 Main St",
                "postal_code": "62701",
                "city": "Springfield",
                "province": "IL",
                "country": "US",
            },
            "1 Main St, Springfield, IL 62701",
        ),
        ({"city": "Milano"}, ""),
    ],
)
def test_an_address_is_shown_as_people_write_it(flow: Callable[..., Any], address: Any, text: str) -> None:
    """What `ask: address` keeps is a mapping; in a text it reads like an address, other mappings show nothing."""
    person = ContactView(fields={"address": address})
    assert render(flow, "{{ contact.fields.address }}", contact=person) == text


PLAIN = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=20) | st.dates().map(str),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=5), inner, max_size=4),
    max_leaves=10,
)


@settings(max_examples=300, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.sampled_from(sorted(FILTERS)), st.sampled_from(["it", "en", "de"]), PLAIN, PLAIN, PLAIN)
def test_any_filter_takes_any_data(
    flow: Callable[..., Any], name: str, language: str, value: Any, first: Any, second: Any
) -> None:
    """Whatever a contact's fields hold, a filter gives something or nothing; no session fails over it."""
    contact = ContactView(fields={"value": value, "first": first, "second": second}, timezone="Europe/Rome")
    for arguments in ("", "(contact.fields.first)", "(contact.fields.first, contact.fields.second)", "(-3)"):
        source = f"[{{{{ contact.fields.value | {name}{arguments} | default('') }}}}]"
        assert len(render(flow, source, language=language, contact=contact)) <= 4_098


def test_many_dear_filters_take_little(flow: Callable[..., Any]) -> None:
    """The dearest filters on the longest lists, as often as a template may have them."""
    long = ["x" * 1_000 + str(number) for number in range(100)]
    contact = ContactView(fields={"long": long})
    for chain in (
        " | sort" * 98,
        " | unique" * 98,
        " | join(', ') | split('x')" * 49,
        " | replace('x', 'yy')" * 98,
    ):
        compiled = flow({"a": {"send": "{{ contact.fields.long" + chain + " | length }}", "next": "end"}})
        started = time.process_time()
        engine.start(
            compiled,
            contact=contact,
            now=NOW,
            seed=1,
            channel_kind="telegram",
            business=sample(),
            language="it",
        )
        assert time.process_time() - started < 0.05  # seconds
