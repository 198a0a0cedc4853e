"""Ways into an answer: what they read, what they refuse, and that nothing in an answer can make them dear."""

from __future__ import annotations

import time
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from domain.errors import RejectedInput
from flows import paths

DATA: dict[str, Any] = {
    "order": {
        "status": "sent",
        "items": [{"name": "tea", "tags": ["a", "b"]}, {"name": "cups", "tags": []}, {"name": "pot"}],
        "odd.name": {"7": "seven", "*": "star"},
        "none": None,
        "no": False,
    }
}


@pytest.mark.parametrize(
    ("way", "value"),
    [
        ("$", DATA),
        ("order.status", "sent"),
        ("$.order.status", "sent"),
        ('$["order"].status', "sent"),
        ("order.items[0].name", "tea"),
        ("order.items[-1].name", "pot"),
        ("order.items.1.name", "cups"),
        ("order.items[9].name", None),
        ("order.items[*].name", ["tea", "cups", "pot"]),
        ("order.items.*.name", ["tea", "cups", "pot"]),
        ("order.items[*].tags[*]", ["a", "b"]),
        ("order.items[*].gone", []),
        ('order["odd.name"].7', "seven"),
        ('order["odd.name"]["*"]', "star"),
        ("order.none", None),
        ("order.no", False),
        ("order.status.deeper", None),
        ("nothing.at.all", None),
        ("order.items", DATA["order"]["items"]),
    ],
)
def test_what_a_way_reads(way: str, value: Any) -> None:
    assert paths.path(way, where="save").read(DATA) == value


@pytest.mark.parametrize(
    "way",
    [
        "",
        ".",
        "a.",
        ".a",
        "a..b",
        "a[",
        "a[]",
        "a[x]",
        "a[1",
        "a b",
        "a[1]b",
        "a[-]",
        "a[0:2]",
        "a[?(@.b)]",
        "..a",
        "a" * 201,
        ".".join("a" * 21),
        "a['b']",
        "$$",
        "a.$",
    ],
)
def test_what_is_no_way_is_refused(way: str) -> None:
    with pytest.raises(RejectedInput) as refused:
        paths.path(way, where="save")
    assert refused.value.where == "save"


def test_a_star_takes_a_hundred() -> None:
    """And stops there: a list of a million costs what is taken of it."""
    data = {"a": [{"b": list(range(1_000))}] * 100_000}
    began = time.perf_counter()
    assert paths.path("a[*].b[*]", where="save").read(data) == list(range(100))
    assert time.perf_counter() - began < 0.05


def test_values_are_made_fit_to_be_kept() -> None:
    """Numbers that no database holds, text with NUL, nesting without end."""
    deep: Any = "x"
    for _ in range(100):
        deep = [deep]
    data = {"big": 2**70, "nan": float("nan"), "inf": float("inf"), "nul": "a\0b", "deep": deep}
    read = paths.path("$", where="save").read(data)
    assert (read["big"], read["nan"], read["inf"], read["nul"]) == (
        str(2**70),
        None,
        None,
        "a\N{REPLACEMENT CHARACTER}b",
    )
    assert str(read["deep"]).count("[") == paths.MAX_DEPTH - 1


_json = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=5),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=3), inner, max_size=4),
    max_leaves=20,
)


@given(_json, st.text(alphabet='ab01.[]*"$- ', max_size=12))
def test_any_way_into_anything_gives_a_value_or_is_refused(data: Any, way: str) -> None:
    try:
        made = paths.path(way, where="save")
    except RejectedInput:
        return
    made.read(data)
