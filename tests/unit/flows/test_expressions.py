"""Templates: what they can show, and that nothing else can be done with them."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Any

import pytest

from domain.contacts import ContactView
from domain.effects import SendMessage
from domain.errors import RejectedInput
from domain.messages import text_of
from flows import engine
from flows.business import sample
from flows.document import DocumentRejected
from flows.expressions import template

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
        variables={"place": {"lat": 41.9}, "list": ["x", {"y": 1}]},
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
        ("{{ contact.fields.missing | default('a te') }}", "a te"),
        ("{{ contact.fields.missing | default(contact.last_name) }}", "Rossi"),
        ("x{{ contact.fields.missing }}{{ session.nothing.deep }}y", "xy"),
        ("{{ contact.fields.age }}", "42"),
        ("{{ contact.fields.price | number(2) }}", "1.234,50"),
        ("{{ contact.fields.price | round }}", "1234"),
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
        ("50% {sconto} }} %}", "50% {sconto} }} %}"),
    ],
)
def test_what_templates_show(flow: Callable[..., Any], source: str, text: str) -> None:
    """Paths and filters give what a person expects; what is missing or of another kind gives nothing."""
    assert render(flow, source) == text


def test_english_has_its_own_forms(flow: Callable[..., Any]) -> None:
    """Numbers, truths and weekdays follow the session's language."""
    source = (
        "{{ contact.fields.price | number(1) }} {{ contact.fields.ok }} {{ contact.fields.day | weekday }}"
    )
    assert render(flow, source, language="en") == "1,234.5 yes Saturday"


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
    "{{ 'x' | replace('x', 'yy') }}",
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
    started = time.perf_counter()
    with pytest.raises(RejectedInput, match=r"steps\.a\.send"):
        template(source, where="steps.a.send")
    assert time.perf_counter() - started < 0.2  # seconds


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
