"""Every step from one version of RapidPro's specification to the next, before and after."""

from __future__ import annotations

import copy
import json
from pathlib import Path
from typing import Any

import pytest

from domain.errors import RejectedInput
from flows.importers.rapidpro import templates
from flows.importers.rapidpro.legacy_expressions import translated
from flows.importers.rapidpro.migrations import LATEST, legacy, migrated, parsed, steps

FOLDER = Path(__file__).parent / "rapidpro" / "migrations"
STEPS = {".".join(map(str, version)): step for version, step in steps()}
CASES = [
    pytest.param(version, case, id=f"{version}-{number}")
    for version in STEPS
    for number, case in enumerate(json.loads((FOLDER / f"{version}.json").read_text()))
]


def test_every_step_has_its_file() -> None:
    """And nothing else lies there."""
    assert {path.stem for path in FOLDER.glob("*.json")} == {*STEPS, "13.0.0"}
    assert max(version for version, _ in steps()) == LATEST


@pytest.mark.parametrize(("version", "case"), CASES)
def test_a_step_gives_what_is_expected(version: str, case: dict[str, Any]) -> None:
    """The next version's form; a step that is done twice changes nothing more."""
    after = STEPS[version](copy.deepcopy(case["before"]))
    assert after == case["after"]
    if version not in ("13.3.0", "13.4.0"):  # these cannot know that they were there before
        assert STEPS[version](copy.deepcopy(after)) == after


def test_action_sets_and_rule_sets_become_nodes() -> None:
    """The legacy form, whole."""
    [case] = json.loads((FOLDER / "13.0.0.json").read_text())
    before = copy.deepcopy(case["before"])
    assert legacy.to_13(before, "flow") == case["after"]
    assert before == case["before"]


def test_only_later_steps_are_done() -> None:
    """A definition of the latest version stays as it is, and the argument is never changed."""
    [case, *_] = json.loads((FOLDER / "13.3.0.json").read_text())
    before = copy.deepcopy(case["before"])
    assert migrated(before, LATEST) == before
    assert migrated(before, (13, 2, 0))["nodes"][0]["actions"][1]["value"] == "@webhook.json"
    assert before == case["before"]


def test_a_split_that_was_written_by_hand_stays() -> None:
    """Failure first, or ways that are not the default."""
    [case, *_] = json.loads((FOLDER / "14.1.0.json").read_text())
    router = case["before"]["nodes"][0]["router"]
    router["cases"].reverse()
    assert STEPS["14.1.0"](copy.deepcopy(case["before"])) == case["before"]
    router["cases"].reverse()
    router["cases"][1]["category_uuid"] = "c2"
    assert STEPS["14.1.0"](copy.deepcopy(case["before"])) == case["before"]


def test_versions_are_read() -> None:
    """As texts and as numbers."""
    assert [parsed(given, "v") for given in ("13", 13, "13.1", 11.12, "14.4.2")] == [
        (13, 0, 0),
        (13, 0, 0),
        (13, 1, 0),
        (11, 12, 0),
        (14, 4, 2),
    ]
    with pytest.raises(RejectedInput, match="is not a version"):
        parsed("13.x", "flows[0].spec_version")


@pytest.mark.parametrize(
    ("old", "new"),
    [
        ("Hi @contact, @contact.first_name", "Hi @contact, @contact.first_name"),
        ("@contact.age @contact.tel_e164", '@fields.age @(default(urn_parts(urns.tel).path, ""))'),
        (
            "@flow.age @flow.age.category @flow.age.text",
            "@results.age @results.age.category_localized @results.age.input",
        ),
        ("@step @step.value @step.text", "@input @input @input.text"),
        (
            "@child.x @parent.x.category @parent.contact.name",
            "@child.results.x @parent.results.x.category_localized @parent.contact.name",
        ),
        ("@extra.0.name @extra.flow.x", '@(legacy_extra["0"].name) @parent.results.x'),
        ("bo@example.com @@flow @unknown.x", "bo@example.com @@flow @unknown.x"),
        (
            "@date.today @(date.today + 7)",
            '@(format_date(today())) @(format_date(datetime_add(today(), 7, "D")))',
        ),
        ('@(UPPER(LEFT(contact.name, 3)) & "a""b")', '@(upper(text_slice(contact.name, 0, 3)) & "a\\"b")'),
        ("@(WORD(step.value, 2)) @(WORD(step.value, -1))", "@(word(input, 1)) @(word(input, -1))"),
        ('@(FIELD(flow.x, 2, ","))', '@(field(results.x, 1, ","))'),
        ("@(SUM(1, 2) * 3 = 9)", "@((1 + 2) * 3 = 9)"),
        ("@(IF(flow.a <> 1, TRUE(), FALSE))", "@(if(results.a != 1, true, false))"),
        ("@(flow.a & flow.b = 1)", "@(results.a & (results.b = 1))"),
        ("@(YEAR(date.now) - flow.age)", '@(legacy_add(format_date(now(), "YYYY"), -results.age))'),
        ("@(date.now - 2)", '@(datetime_add(now(), -2, "D"))'),
        ("@(contact.age + 5)", "@(legacy_add(fields.age, 5))"),
        ("@((5 + contact.age) / 2 - 1)", "@(legacy_add(5, fields.age) / 2 - 1)"),
        ("@(LEN(step.value) + 2)", "@(text_length(input) + 2)"),
        (
            "@(contact.day + TIME(9, 30, 0))",
            "@(replace_time(fields.day, time_from_parts(9, 30, 0)))",
        ),
        (
            "@(date.now - TIME(0, 30, 0))",
            '@(datetime_add(now(), -(format_time(time_from_parts(0, 30, 0), "tt") * 60 + '
            'format_time(time_from_parts(0, 30, 0), "m")), "m"))',
        ),
        ('@("")', ""),
        ("@(not an expression", "@(not an expression"),
        ("@(1 +)", "@(1 +)"),
        (f"@({'(' * 100}1{')' * 100})", f"@({'(' * 100}1{')' * 100})"),
    ],
)
def test_old_expressions_are_translated(old: str, new: str) -> None:
    """What cannot be read stays as it was written."""
    assert translated(old) == new


def test_values_in_addresses_are_encoded() -> None:
    """As the old engine did by itself."""
    assert translated("https://example.com/?a=@contact&b=@(1+1)", for_address=True) == (
        "https://example.com/?a=@(url_encode(contact))&b=@(url_encode(1 + 1))"
    )


def test_names_in_quotes_and_behind_dots_are_no_references() -> None:
    """Only what stands for itself is renamed."""
    changed = templates.references('a + b.a + "a" + a_b', lambda name, behind: "z" if name == "a" else None)
    assert changed == 'z + b.a + "a" + a_b'
