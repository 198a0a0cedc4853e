"""Typebot exports behave as they did: each definition is imported, checked, and talks as its dialogues say."""

from __future__ import annotations

import copy
import json
import random
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from domain.errors import RejectedInput
from flows import compiler, dialogues, document, importers, inspection
from flows.business import sample

FOLDER = Path(__file__).parent / "typebot"
EXPORTS = sorted(FOLDER.glob("*.json"))

# What is told of each definition beside its flows: the source's own type and its id there.
LOST = {
    "12_what_cannot_be_carried": [
        ("Code", "code"),
        ("Email", "mail"),
        ("Google Sheets", "sheet"),
        ("OpenAI", "ai"),
        ("Return", "ret"),
        ("Set variable", "sv"),
        ("choice input", "dyn"),
        ("payment input", "pay"),
        ("reply event", "ev-reply"),
        ("Condition", "ca"),
    ],
}


@pytest.mark.parametrize("path", EXPORTS, ids=lambda path: path.stem)
def test_imported_flows_are_sound_and_talk_as_before(path: Path) -> None:
    """No error is found in them, their dialogues pass, and nothing is lost without a word."""
    imported = importers.read(path.read_text(), "typebot")
    flows = [compiler.compile(document.load(flow.text, flow.id), 1) for flow in imported.flows]
    library = {flow.key: flow for flow in flows}
    found = [f for flow in flows for f in inspection.check(flow, library, business=sample())]
    assert [finding.sentence() for finding in found if finding.severity == "error"] == []
    test = path.with_suffix(".test.yaml")
    results = dialogues.run(test.read_text(), test.name, flows)
    assert all(result.passed for result in results), "\n".join(map(str, results))
    assert sorted((one.what, one.where) for one in imported.unsupported) == sorted(LOST.get(path.stem, []))


def test_what_is_lost_is_named_in_the_flow_too() -> None:
    """Whoever reads the flow sees what stood there."""
    imported = importers.read((FOLDER / "12_what_cannot_be_carried.json").read_text(), "typebot")
    text = imported.flows[0].text
    assert all(name in text for name in ("payment input", "Google Sheets", "Code"))


def test_the_importer_is_deterministic() -> None:
    """The same export gives the same text: importing again after a change shows that change alone."""
    text = (FOLDER / "04_conditions.json").read_text()
    assert importers.read(text, "typebot") == importers.read(text, "typebot")


def test_places_on_the_canvas_are_kept() -> None:
    """What its author arranged stays arranged."""
    imported = importers.read((FOLDER / "03_score.json").read_text(), "typebot")
    flow = document.load(imported.flows[0].text, "score")
    assert flow.canvas["large"] == (300, 0)
    assert set(flow.canvas) == set(flow.steps)


def test_definitions_are_ten_at_least() -> None:
    """And each has dialogues."""
    assert len(EXPORTS) >= 10
    assert all(json.loads(path.read_text()) for path in EXPORTS)


JUNK: list[Any] = [
    *(
        None,
        True,
        -1,
        1e300,
        10**30,
        "",
        "x",
        "e1",
        "g1",
        "\x00",
        "\ud800",
        "no",
        "1:2",
        "a\n\nb \n c",
        "  lead",
    ),
    *(
        "{{",
        "{{Name}}",
        "{{=1+1=}}",
        "{% raw %}",
        "&a *b",
        "!!python/object:os.system",
        "#c",
        "? y",
        "'q'",
        "|",
        "@x",
    ),
    *([], {}, ["a"], {"a": 1}),
]


@pytest.mark.parametrize("seed", range(200))
def test_a_spoiled_export_is_refused_or_gives_flows_that_load(seed: int) -> None:
    """Whatever stands in an export: a clear refusal, or documents that compile and can be checked."""
    dice = random.Random(seed)
    data = json.loads(dice.choice(EXPORTS).read_text())
    for _ in range(dice.choice((1, 1, 2, 4))):
        data = spoiled(data, dice)
    try:
        imported = importers.read(json.dumps(data), "typebot")
    except RejectedInput:
        return
    flows = [compiler.compile(document.load(flow.text, flow.id), 1) for flow in imported.flows]
    for flow in flows:
        inspection.check(flow, {each.key: each for each in flows})


def spoiled(data: Any, dice: random.Random) -> Any:
    """The data with something else at one place, or without it."""
    places = list(_places(data, ()))
    *way, last = dice.choice(places[1:] or [((),)])
    around = data
    for key in way:
        around = around[key]
    if isinstance(around, dict) and dice.random() < 0.15:
        del around[last]
    elif isinstance(around, (dict, list)):
        around[last] = copy.deepcopy(dice.choice(JUNK))
    return data


def _places(data: Any, way: tuple[Any, ...]) -> Iterator[tuple[Any, ...]]:
    yield way
    inner = data.items() if isinstance(data, dict) else enumerate(data) if isinstance(data, list) else ()
    for key, value in inner:
        yield from _places(value, (*way, key))
