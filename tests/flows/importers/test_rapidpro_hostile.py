"""Files that are broken or meant to break us: refused with their place or imported, in bounded time, never a crash."""

from __future__ import annotations

import copy
import json
import random
import time
import uuid
from pathlib import Path
from typing import Any

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from domain.errors import RejectedInput
from flows import compiler, document, importers

FOLDER = Path(__file__).parent / "rapidpro"
SOURCES = [json.loads(path.read_text()) for path in sorted(FOLDER.glob("[0-9]*.json"))]
JUNK: list[Any] = [
    None,
    True,
    0,
    -1,
    10**30,
    1e308,
    "",
    " ",
    "x",
    "@(",
    "@results.x.y",
    "\x00\x07\ud800",
    "{{ x }}",
    "a" * 5_000,
    [],
    {},
    [[]],
    [{}],
    {"uuid": 1},
    {"": ""},
    ["x", 1, None],
]


def places(data: Any) -> list[tuple[Any, Any]]:
    """Every (container, key) in a piece of data."""
    found: list[tuple[Any, Any]] = []
    ahead = [data]
    while ahead:
        each = ahead.pop()
        keys: Any = (
            each.keys() if isinstance(each, dict) else range(len(each)) if isinstance(each, list) else ()
        )
        for key in keys:
            found.append((each, key))
            ahead.append(each[key])
    return found


def imported_or_refused(text: str) -> bool:
    """Whether it was imported; then every document of it loads and compiles. A refusal names a place."""
    try:
        imported = importers.read(text, "rapidpro")
    except RejectedInput as error:
        if not (error.where and error.what):
            raise AssertionError("a refusal without place or reason") from error
        return False
    for flow in imported.flows:
        compiler.compile(document.load(flow.text, flow.id), 0)
    return True


@settings(max_examples=600, deadline=None)
@given(st.integers(min_value=0, max_value=2**32))
@example(8793758)  # half a character in an action's uuid
@example(482890087)  # a hint longer than a comment may be
def test_wrong_values_anywhere_are_refused_or_survived(seed: int) -> None:
    """One to three values of a good file replaced, removed or doubled."""
    chance = random.Random(seed)
    data = copy.deepcopy(chance.choice(SOURCES))
    for _ in range(chance.randint(1, 3)):
        container, key = chance.choice(places(data) or [({"x": 1}, "x")])
        match chance.randrange(4):
            case 0 if isinstance(container, dict):
                container.pop(key, None)
            case 1 if isinstance(container, list):
                container.append(copy.deepcopy(container[key]))
            case _:
                container[key] = copy.deepcopy(chance.choice(JUNK))
    imported_or_refused(json.dumps(data))


@settings(max_examples=200, deadline=None)
@given(
    st.recursive(
        st.none() | st.booleans() | st.floats() | st.text(),
        lambda inner: (
            st.lists(inner)
            | st.dictionaries(
                st.text()
                | st.sampled_from(
                    ["flows", "nodes", "uuid", "action_sets", "definition", "router", "spec_version"]
                ),
                inner,
            )
        ),
    )
)
def test_any_json_is_refused_or_survived(data: Any) -> None:
    """Whatever somebody takes for an export."""
    imported_or_refused(json.dumps(data))


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("", "not readable as JSON"),
        ("{", "not readable as JSON"),
        ("[" * 100_000, "levels deep"),
        ("[" * 200 + "]" * 200, "levels deep"),
        ('{"flows": []}', "holds no flow"),
        ('{"flows": {}}', "must be a list"),
        ("[]", "holds no flow"),
        ("3", "must be an object"),
        ('{"uuid": "x", "name": "y"}', "is no flow definition"),
        ('{"uuid": "x", "nodes": [], "spec_version": "15.0"}', "is newer than"),
        ('{"uuid": "x", "nodes": [], "spec_version": "11.12"}', "before 12"),
        ('{"uuid": "x", "nodes": [], "spec_version": "thirteen"}', "is not a version"),
        ('{"uuid": "x", "nodes": [], "expire_after_minutes": NaN}', "not readable as JSON"),
        ('{"nodes": []}', "is missing"),
        ('{"uuid": "x", "nodes": 3}', "must be a list"),
    ],
)
def test_what_is_no_export_is_refused_with_a_reason(text: str, said: str) -> None:
    """In words, with the place."""
    with pytest.raises(RejectedInput, match=said):
        importers.read(text, "rapidpro")


def broken(change: Any) -> str:
    """The refusal of the first definition after a change."""
    data = copy.deepcopy(SOURCES[0])
    change(data["flows"][0])
    with pytest.raises(RejectedInput) as caught:
        importers.read(json.dumps(data), "rapidpro")
    return str(caught.value)


def test_references_that_lead_nowhere_are_named() -> None:
    """Node, exit, category: with the path of the one who asks for it."""

    def to(path: list[Any], value: Any) -> Any:
        def change(flow: dict[str, Any]) -> None:
            at: Any = flow
            for part in path[:-1]:
                at = at[part]
            at[path[-1]] = value

        return change

    assert "flows[0].nodes[0].exits[0].destination_uuid: there is no node gone" in broken(
        to(["nodes", 0, "exits", 0, "destination_uuid"], "gone")
    )
    router: list[Any] = ["nodes", 1, "router"]
    assert "router.cases[0].category_uuid: there is no category gone" in broken(
        to([*router, "cases", 0, "category_uuid"], "gone")
    )
    assert "router.categories[0].exit_uuid: there is no exit gone" in broken(
        to([*router, "categories", 0, "exit_uuid"], "gone")
    )
    assert "router.wait.timeout.category_uuid" in broken(
        to([*router, "wait", "timeout", "category_uuid"], "gone")
    )
    assert "nodes[0].actions[0].type" in broken(to(["nodes", 0, "actions", 0, "type"], 3 * [""]))


def test_ids_that_are_there_twice_are_named() -> None:
    """Of flows, nodes and actions."""
    assert "is there twice" in broken(lambda flow: flow["nodes"].append(flow["nodes"][0]))
    assert "is there twice" in broken(
        lambda flow: flow["nodes"][0]["actions"].append(flow["nodes"][0]["actions"][0])
    )
    data = copy.deepcopy(SOURCES[0])
    data["flows"] *= 2
    with pytest.raises(RejectedInput, match="two flows have the uuid"):
        importers.read(json.dumps(data), "rapidpro")


def large(nodes: int, text: str = "Hi @contact.name") -> dict[str, Any]:
    """A flow of so many nodes, in one great circle."""
    ids = [str(uuid.UUID(int=number)) for number in range(nodes)]
    return {
        "uuid": "f",
        "name": "Large",
        "spec_version": "13.1.0",
        "language": "eng",
        "nodes": [
            {
                "uuid": one,
                "actions": [{"uuid": f"action {number}", "type": "send_msg", "text": text}],
                "exits": [{"uuid": f"exit {number}", "destination_uuid": ids[(number + 1) % nodes]}],
            }
            for number, one in enumerate(ids)
        ],
    }


def test_too_many_nodes_are_refused_and_the_most_are_read_quickly() -> None:
    """RapidPro's own limit is a thousand; in a circle they go round without end, which the proof says."""
    with pytest.raises(RejectedInput, match="has 1001 entries; at most 1000"):
        importers.read(json.dumps(large(1_001)), "rapidpro")
    began = time.process_time()
    assert imported_or_refused(json.dumps(large(1_000)))
    assert time.process_time() - began < 20


def test_ten_megabytes_end_in_bounded_time() -> None:
    """Long texts are shortened and named; what becomes too long for a flow is refused."""
    began = time.process_time()
    assert not imported_or_refused(json.dumps(large(1_000, "@(upper(contact.name)) " * 450)))
    assert time.process_time() - began < 30
    with pytest.raises(RejectedInput, match="at most"):
        importers.read(" " * (importers.MAX_SOURCE + 1), "rapidpro")


def test_an_unknown_format_is_refused() -> None:
    """With the known ones."""
    with pytest.raises(RejectedInput, match="known are rapidpro"):
        importers.read("{}", "fax")
