"""What each operator makes of texts, numbers, dates, lists and nothing: the table that the SQL twins follow."""

from __future__ import annotations

from typing import Any

import pytest

from domain import durations, predicates
from domain.errors import RejectedInput
from domain.operators import operator, registry

NOW = 1_797_000_000_000  # 2026-12-11T14:40:00Z
DAY = 86_400_000

HOLDS: list[tuple[str, Any, Any]] = [
    ("equals", "Roma", "roma"),
    ("equals", "ÀÉÎ", "àéî"),
    ("equals", "İzmir", "izmir"),
    ("equals", 5, 5.0),
    ("equals", "5.0", 5),
    ("equals", 5.0, "5"),
    ("equals", True, True),
    ("equals", "2026-12-05", "2026-12-05"),
    ("not_equals", None, "it"),
    ("not_equals", "", "it"),
    ("not_equals", ["it"], "it"),
    ("not_equals", "5", "5.0"),
    ("contains", "Anna ROSSI", "ross"),
    ("starts_with", "+15550100", "+1555"),
    ("is_set", 0, None),
    ("is_set", False, None),
    ("is_set", {"vip"}, None),
    ("is_not_set", None, None),
    ("is_not_set", "", None),
    ("is_not_set", [], None),
    ("greater", 19, 18),
    ("greater", "18.5", 18),
    ("less", -1, 0),
    ("at_least", 18, 18),
    ("at_most", "18", 18),
    ("between", 18, [18, 30]),
    ("between", 30.0, [18, 30]),
    ("one_of", "VISIT", ["price", "visit"]),
    ("one_of", "2", [1, 2]),
    ("has_tag", {"vip", "new"}, "vip"),
    ("has_tag", ["a", "b"], "b"),
    ("before", "2026-12-04", "2026-12-05"),
    ("before", "2026-12-04T23:59:59Z", "2026-12-05"),
    ("before", "2026-12-05", "2026-12-05T00:00:01Z"),
    ("before", NOW - 1, "2026-12-12"),
    ("after", "2026-12-06", "2026-12-05"),
    ("after", "2026-12-06T00:00:00Z", "2026-12-05"),
    ("after", "2026-12-05T10:00:01Z", "2026-12-05T10:00:00Z"),
    ("before", "2026-12-11", "now"),
    ("after", NOW + 60_000, "now"),
    ("within_last", NOW, "30 days"),
    ("within_last", NOW - 30 * DAY, "30 days"),
    ("within_last", "2026-12-11", "1 day"),
    ("matches_pattern", "codice AB1234", "[A-Z]{2}[0-9]{4}"),
    ("matches_pattern", "ciao", "(?i)^CIAO$"),
]

FAILS: list[tuple[str, Any, Any]] = [
    ("equals", None, "x"),
    ("equals", True, 1),
    ("equals", "true", True),
    ("equals", "5", "5.0"),
    ("equals", ["a"], "a"),
    ("equals", " roma", "roma"),
    ("equals", "1e3", 1000),
    ("not_equals", "IT", "it"),
    ("contains", 5, "5"),
    ("contains", None, "a"),
    ("starts_with", "Anna", "nn"),
    ("is_set", "", None),
    ("is_not_set", 0, None),
    ("greater", None, 0),
    ("greater", "many", 0),
    ("greater", 18, 18),
    ("less", True, 5),
    ("at_least", " 18", 18),
    ("at_most", 18.01, 18),
    ("between", 31, [18, 30]),
    ("one_of", None, ["a"]),
    ("has_tag", {"vip"}, "VIP"),
    ("has_tag", "vip", "vip"),
    ("has_tag", None, "vip"),
    ("before", "2026-12-05", "2026-12-05"),
    ("before", "05/12/2026", "2027-01-01"),
    ("before", None, "now"),
    ("after", "2026-12-05T23:59:59Z", "2026-12-05"),
    ("after", "2026-12-05T10:00:00Z", "2026-12-05T10:00:00Z"),
    ("within_last", NOW + 1, "30 days"),
    ("within_last", NOW - 30 * DAY - 1, "30 days"),
    ("within_last", "2026-12-12", "1 day"),
    ("matches_pattern", 1234, "1234"),
    ("matches_pattern", None, ".*"),
]


def holds(op: str, actual: Any, value: Any) -> bool:
    operator(op).check(value, where="value")
    tested = predicates.grounded(predicates.Test("x", op, value), NOW)
    return predicates.matches(tested, {"x": actual})


@pytest.mark.parametrize(("op", "actual", "value"), HOLDS)
def test_holds(op: str, actual: Any, value: Any) -> None:
    """The comparison passes."""
    assert holds(op, actual, value)


@pytest.mark.parametrize(("op", "actual", "value"), FAILS)
def test_does_not_hold(op: str, actual: Any, value: Any) -> None:
    """The comparison does not pass, and nothing is raised."""
    assert not holds(op, actual, value)


def test_table_covers_every_operator() -> None:
    """No operator is without a row on both sides."""
    assert {row[0] for row in HOLDS} == {row[0] for row in FAILS} == set(registry())


@pytest.mark.parametrize(
    ("op", "value"),
    [
        ("equals", None),
        ("equals", ["a"]),
        ("equals", float("nan")),
        ("contains", ""),
        ("contains", 5),
        ("is_set", "x"),
        ("greater", "18"),
        ("greater", True),
        ("between", [30, 18]),
        ("between", [1]),
        ("one_of", []),
        ("one_of", "a"),
        ("has_tag", ["a"]),
        ("before", "05/12/2026"),
        ("before", "2026-02-30"),
        ("within_last", "30"),
        ("within_last", "0 days"),
        ("within_last", "999999 days"),
        ("matches_pattern", "(a"),
        ("matches_pattern", r"(a)\1"),
        ("matches_pattern", "(?=a)"),
        ("matches_pattern", "((a{1000}){1000}){1000}"),
        ("matches_pattern", "a" * 501),
    ],
)
def test_unfit_values_are_refused_with_their_place(op: str, value: Any) -> None:
    """A value that an operator cannot use is refused where it is written."""
    with pytest.raises(RejectedInput, match="value"):
        operator(op).check(value, where="value")


def test_hostile_pattern_is_quick() -> None:
    """A pattern that hangs backtracking engines takes linear time."""
    assert not holds("matches_pattern", "a" * 4_000 + "!", "^(a+)+$")


@pytest.mark.parametrize(
    ("text", "ms"), [("2 days", 2 * DAY), ("30 minuti", 1_800_000), ("1 ora", 3_600_000)]
)
def test_durations(text: str, ms: int) -> None:
    """Spans are read in Italian and English."""
    assert durations.parse(text) == ms


def test_every_operator_says_itself_in_both_languages() -> None:
    """A condition can be shown to a person."""
    for _, _, value in HOLDS:
        for op in registry().values():
            assert set(op.label) == {"it", "en"}
        assert value is None or str(value)
    tree = predicates.parse({"subject": "contact.fields.age", "op": "between", "value": [18, 30]})
    assert predicates.sentence(tree, "it") == "contact.fields.age è fra 18 e 30"
    assert predicates.sentence(tree, "en") == "contact.fields.age is between 18 and 30"
