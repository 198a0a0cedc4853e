"""The page of limits tells what the code does: every limit, with its number, a reason and what happens past it."""

from __future__ import annotations

from pathlib import Path

import pytest

from checks import limits

ROOT = Path(__file__).resolve().parents[2]


@pytest.fixture
def house(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A house with one room, one limit, and the line that tells of it."""
    room = tmp_path / "bot"
    room.mkdir()
    (room / "inbox.py").write_text("MAX_WAITING = 2 * 1_000  # a second of work\n")
    table = tmp_path / "limits.txt"
    table.write_text("# Taking in\nbot/inbox.py MAX_WAITING | events that wait | come back\n")
    monkeypatch.setattr(limits, "TABLE", table)
    limits.constants.cache_clear()
    return tmp_path


def test_every_limit_of_the_code_is_listed() -> None:
    assert list(limits.problems(ROOT)) == []


def test_numbers_and_reasons_come_from_the_code(house: Path) -> None:
    assert list(limits.problems(house)) == []
    assert (
        "| events that wait | 2,000 | come back | a second of work | `bot/inbox.py` `MAX_WAITING` |"
        in limits.page(house)
    )


@pytest.mark.parametrize(
    ("source", "said"),
    [
        ("", "which is not there"),
        ("MAX_WAITING = 2_000\n", "has no reason"),
        ("MAX_WAITING = 2_000  # why\nMAX_SIZE = 5  # why\n", "the limit MAX_SIZE stands in no line"),
        ("MAX_WAITING = 2_000  # why\nSEEN_LIFE_MS = 5\n", "the limit SEEN_LIFE_MS stands in no line"),
    ],
)
def test_what_is_not_told_is_found(house: Path, source: str, said: str) -> None:
    (house / "bot" / "inbox.py").write_text(source)
    limits.constants.cache_clear()
    (problem,) = limits.problems(house)
    assert said in problem


@pytest.mark.parametrize(
    ("name", "value", "said"),
    [
        ("MAX_BODY", 4_000_000, "4,000,000"),
        ("SEEN_LIFE_MS", 8 * 86_400_000, "8 days"),
        ("LIFE_MS", 86_400_000, "24 hours"),
        ("ORPHAN_LIFE_MS", 600_000, "10 minutes"),
        ("BODY_S", 15.0, "15 s"),
        ("ANSWER_S", 0.1, "100 ms"),
        ("RETRY_MS", (1_000, 5_000, 120_000), "1 s, 5 s, 2 minutes"),
        ("STRANGER_PER_SECOND", 1.5, "1.5"),
    ],
)
def test_numbers_are_shown_as_people_read_them(name: str, value: object, said: str) -> None:
    assert limits.shown(name, value) == said
