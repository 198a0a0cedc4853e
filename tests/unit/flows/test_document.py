"""Documents: every fault is named with its line, all at once."""

from __future__ import annotations

import json
import time
from typing import Any

import pytest

from domain.errors import RejectedInput
from flows import compiler
from flows.document import DocumentRejected, load

HEAD = "flow: lead\nstart: a\n"  # two lines
BRANCH = "steps:\n  a:\n    branch:\n      - when: "


@pytest.mark.parametrize(
    ("text", "line", "words"),
    [
        ("steps:\n  a: {send: ciao, nxt: b}", 4, "steps.a.nxt: there is no such key; perhaps next is meant"),
        ("steps:\n  a: {end: true}\nlanguage: [it]", 5, "language: there is no such key; perhaps languages is meant"),
        ("steps:\n  a: {sned: ciao}", 4, "perhaps send is meant; found only sned"),
        ("steps:\n  a: {end: true}\ntriggers: [{keywords: x}]", 5, "perhaps keyword is meant; found only keywords"),
        ("steps:\n  a: {ask: mail, text: x}", 4, "perhaps email is meant; known are"),
        ("steps:\n  a: {send: \"{{ contact.name | defalt('x') }}\"}", 4, "perhaps default is meant; there are"),
        ("steps:\n  a: {end: true}\nlanguages: it", 5, "languages: must be a list, such as [a, b]"),
        ("steps:\n  a: {choose: x, options: [Uno]}", 4, "steps.a.options.0: must be a mapping"),
        ("steps:\n  a: {end: true}\ntriggers: [{schedule: daily, at: 9}]", 5, "triggers.0.at: must be a text"),
        ("steps:\n  a: {ask: text, text: x, skip: [b]}", 4, "steps.a.skip: must be"),
        ("steps:\n  a:\n    say: ciao", 4, "exactly one key names the step's type"),
        ("steps:\n  a: {send: x, ask: text}", 4, "found send and ask"),
        ("steps:\n  a: ciao", 4, "a step is a mapping"),
        ("steps:\n  a: {ask: colour, text: x}", 4, "unknown kind of answer 'colour'"),
        ("steps:\n  a: {ask: text}", 4, "steps.a.text: is missing"),
        ("steps:\n  a:\n    ask: text\n    text: x\n    save: contact.city", 7, "cannot be written"),
        ("steps:\n  a:\n    ask: text\n    text: x\n    save: contact.id", 7, "cannot be written"),
        ("steps:\n  a:\n    ask: text\n    text: x\n    save: session.__x", 7, "cannot be written"),
        ("steps:\n  a: {ask: text, text: x, timeout: {after: soon, goto: b}}", 4, "number and a unit"),
        ("steps:\n  a: {ask: text, text: x, tries: 0}", 4, "steps.a.tries"),
        ("steps:\n  a: {ask: text, text: x, otherwise: b}", 4, "otherwise needs tries"),
        ("steps:\n  a: {ask: choice, text: x}", 4, "options are what"),
        ("steps:\n  a:\n    choose: x\n    options: [{id: y, text: Y}, {id: y, text: Z}]", 4, "same id"),
        ("steps:\n  a: {choose: x, options: []}", 4, "steps.a.options"),
        ("steps:\n  a: {choose: x, options: [{id: _skip, text: Y}]}", 4, "steps.a.options.0.id"),
        ("steps:\n  a: {send: {italiano: x}}", 4, "not a language code"),
        ("steps:\n  a: {send: {}}", 4, "at least one language"),
        ("steps:\n  a: {send: ''}", 4, "not empty"),
        ("steps:\n  a: {send: x, media: {kind: image, url: 'file:///etc/passwd'}}", 4, "web address"),
        ("steps:\n  a: {send: x, links: [{text: x, url: 'javascript:alert(1)'}]}", 4, "web address"),
        (BRANCH + "{subject: contact.x, op: equals, value: 1}\n        goto: b", 6, "contact.fields.x"),
        (BRANCH + "{subject: session.x, op: likes, value: 1}\n        goto: b", 6, "0.when.op: unknown operator"),
        (BRANCH + "{subject: session.x, op: matches_pattern, value: '(a)\\1'}\n        goto: b", 6, "not a pattern"),
        ("steps:\n  a: {set: {contact.email: {add: 1}}}", 4, "is no number"),
        ("steps:\n  a: {set: {}}", 4, "steps.a.set"),
        ("steps:\n  a: {wait: 0 days}", 4, "between 1 second"),
        ("steps:\n  a: {end: true, next: b}", 4, "nothing comes after"),
        ("steps:\n  a: {consent: marketing}", 4, "steps.a.exits: is missing"),
        ("steps:\n  end: {end: true}", 4, "a word of ours"),
        ("steps:\n  a b: {end: true}", 4, "must be an id"),
        ("steps: {}", 3, "steps"),
        ("steps:\n  a: {end: true}\ntriggers: [{keyword: [ciao], fallback: true}]", 5, "a trigger is one of"),
        ("steps:\n  a: {end: true}\ntriggers: [sometimes]", 5, "a trigger is one of"),
        ("steps:\n  a: {end: true}\nlanguages: [Italiano]", 5, "not a language code"),
        ("steps:\n  a: {send: x, links: [{text: y, url: '@z'}]}", 4, "must be a web address"),
        ("steps:\n  a: {send: {media: {kind: image, url: 'ftp://example.com'}}}", 4, "must be a web address"),
        ("steps:\n  a: {send: {media: {kind: image, file: med_1}}}", 4, "not a media id"),
        ("steps:\n  a: {send: {card: {name: A, phone: ''}}}", 4, "steps.a.send.card.phone"),
        ("steps:\n  a: {send: {location: {latitude: 91, longitude: 0}}}", 4, "between -90 and 90"),
        ("steps:\n  a: {send: {poll: {question: x, options: [a]}}}", 4, "at least 2 items"),
        ("steps:\n  a: {send: {album: [{kind: image, url: 'https://example.com'}]}}", 4, "at least 2 items"),
        ("steps:\n  a: {send: x, buttons: [{id: a, text: A}, {id: a, text: B}]}", 4, "two buttons"),
        ("steps:\n  a: {send: {template: {name: n, category: marketing}}}", 4, "needs marketing: the purpose"),
        ("steps:\n  a: {send: {template: {name: n, category: utility}}, marketing: m}", 4, "needs marketing: the"),
        ("steps:\n  a: {send: {album: []}, buttons: [{id: a, text: A}]}", 4, "steps.a.send.album"),
        ("steps:\n  a: {send: {poll: {}, it: x}}", 4, "not several at once"),
        ("steps:\n  a: {wait: {until: '@now'}}", 4, "an expression only in flows"),
        ("steps:\n  a: {sub_flow: b, give: {x: 1}}", 4, "give needs scope: own"),
        ("steps:\n  a: {return: true, next: b}", 4, "nothing comes after it"),
        ("steps:\n  a: {set: {contact.name: {append: x}}}", 4, "contact.name is no list"),
        ("steps:\n  a: {set: {session.x: {value: nowhere.x}}}", 4, "leads nowhere"),
        ("steps:\n  a: {end: true}\nexpires: soon", 5, "expires: must be a number and a unit"),
        ("steps:\n  a: {end: true}\ncolour: red", 5, "colour: there is no such key"),
        ("steps:\n  a: {end: true}\nname: x", 5, "name: there is no such key"),
    ],
)  # fmt: skip
def test_faults_have_their_line(text: str, line: int, words: str) -> None:
    """Each fault is refused before anybody meets it, where it stands and in plain words."""
    started = time.perf_counter()
    with pytest.raises(DocumentRejected) as caught:
        compiler.compile(load(HEAD + text, "lead.yaml"), 0)
    assert time.perf_counter() - started < 0.2  # seconds
    assert str(caught.value).startswith("lead.yaml: line ")
    found = [(problem.line, f"{problem.where}: {problem.what}") for problem in caught.value.problems]
    assert any(at == line and words in said for at, said in found), found


def test_all_faults_come_at_once() -> None:
    """Three faulty steps are three problems, in the order of the text."""
    text = HEAD + "steps:\n  a: {send: ''}\n  b: {end: true}\n  c: {nothing: 1}\n  d: {wait: x}\n"
    with pytest.raises(DocumentRejected) as caught:
        load(text, "f")
    assert [problem.line for problem in caught.value.problems] == [4, 6, 7]


@pytest.mark.parametrize(
    "step",
    [
        {"wait": {"until": "09:00", "days": ["mon"]}, "next": "end"},
        {"wait": "2 days", "next": "end"},
        {"send": {"poll": {"question": {"it": "a", "en": "b"}, "options": ["a", "b"]}}, "next": "end"},
        {
            "send": "x",
            "buttons": [{"id": "a", "text": "b"}],
            "media": {"kind": "image", "file": "med_0000000000007"},
        },
        {
            "send": {
                "template": {
                    "name": "a",
                    "category": "utility",
                    "body": {"b": "c"},
                    "buttons": {"0": {"url": "x"}},
                }
            }
        },
        {"return": "done", "give": {"a": {"value": "contact.tags"}, "b": 1}},
        {"sub_flow": "other", "scope": "own", "give": {"a": "b"}, "next": "end"},
        {
            "set": {
                "session.a": {"append": {"value": "contact.tags"}},
                "session.b": None,
                "session.c": {"add": 2},
            }
        },
        {"split": [{"name": "a", "goto": "a"}, {"name": "b", "weight": 3, "goto": "a"}]},
    ],
)
def test_what_is_written_comes_back(step: dict[str, Any]) -> None:
    """A dump holds what was written and nothing else, and reads as the same step."""
    text = json.dumps({"flow": "f", "start": "a", "steps": {"a": step}})
    flow = load(text, "f")
    dumped = flow.model_dump(mode="json", exclude_defaults=True)
    assert dumped["steps"]["a"] == step
    assert load(json.dumps(dumped), "f").steps == flow.steps


@pytest.mark.parametrize("text", ["", "- a", "ciao", "12"])
def test_not_even_a_flow(text: str) -> None:
    """What is no mapping is refused as such."""
    with pytest.raises(RejectedInput, match="a flow is a mapping"):
        load(text, "f")


def test_the_models_survive_being_written() -> None:
    """A document dumps to plain data that loads to the same document."""
    text = (
        HEAD
        + "steps:\n  a: {send: {it: [Ciao, Salve], en: Hi}, next: b}\n  b: {ask: number, text: Quanti?, min: 1}\n"
    )
    document = load(text, "f")
    step = document.steps["a"]
    assert step.model_dump(exclude_defaults=True) == {
        "send": {"it": ["Ciao", "Salve"], "en": "Hi"},
        "next": "b",
    }
    assert type(step).model_validate(step.model_dump()) == step
    dumped = document.model_dump(mode="json", exclude_defaults=True)
    assert load(json.dumps(dumped), "f").steps == document.steps


def test_every_step_type_has_a_form() -> None:
    """The editor can show a form for each type."""
    from flows.steps import registry

    for kind in registry().values():
        assert kind.type in kind.model_json_schema()["properties"]
        assert kind.__doc__
