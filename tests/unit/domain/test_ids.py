"""Ids: never twice, never back, in order of time; their text form names its kind."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from domain import ids
from domain.errors import RejectedInput
from domain.ids import EPOCH_MS, MAX_NODE, PREFIXES, IdMaker

NUMBERS = st.integers(0, (1 << 63) - 1)


@settings(deadline=None)
@given(steps=st.lists(st.integers(-5_000, 5_000), min_size=1, max_size=300), node=st.integers(0, MAX_NODE))
def test_each_is_greater_than_all_before_whatever_the_clock_does(steps: list[int], node: int) -> None:
    clock = [EPOCH_MS + 10_000_000]

    def now() -> int:
        return clock[0]

    maker = IdMaker(node, now)
    made = []
    for step in steps:
        clock[0] += step
        made.append(maker.next())
    assert made == sorted(set(made))
    assert all(0 <= one < 1 << 63 for one in made)


def test_more_than_a_milliseconds_worth_borrows_from_the_next() -> None:
    maker = IdMaker(3, lambda: EPOCH_MS + 1_000)
    made = [maker.next() for _ in range(10_000)]
    assert len(set(made)) == 10_000
    assert made == sorted(made)
    assert ids.made_at(made[-1]) == EPOCH_MS + 1_002


def test_two_processes_never_make_the_same() -> None:
    first, second = (IdMaker(node, lambda: EPOCH_MS + 5) for node in (0, MAX_NODE))
    assert not {first.next() for _ in range(5_000)} & {second.next() for _ in range(5_000)}


@pytest.fixture
def eager_switching() -> Iterator[None]:
    """Threads change places as often as the interpreter allows."""
    before = sys.getswitchinterval()
    sys.setswitchinterval(1e-6)
    yield
    sys.setswitchinterval(before)


@pytest.mark.usefixtures("eager_switching")
def test_the_event_loop_and_the_writer_may_share_a_maker() -> None:
    clock = iter(range(EPOCH_MS, EPOCH_MS + 10**9))
    maker = IdMaker(1, lambda: next(clock) // 50)
    with ThreadPoolExecutor(4) as threads:
        parts = list(threads.map(lambda _: [maker.next() for _ in range(5_000)], range(4)))
    made = [one for part in parts for one in part]
    assert len(set(made)) == len(made)
    assert all(part == sorted(part) for part in parts)


@pytest.mark.parametrize("node", [-1, MAX_NODE + 1])
def test_a_node_outside_its_bits_is_refused(node: int) -> None:
    with pytest.raises(ValueError, match="outside"):
        IdMaker(node, lambda: 0)


@given(ms=st.integers(EPOCH_MS, EPOCH_MS + (1 << 41) - 1), node=st.integers(0, MAX_NODE))
def test_an_id_tells_its_time_and_lies_above_the_bound_of_it(ms: int, node: int) -> None:
    made = IdMaker(node, lambda: ms).next()
    assert ids.made_at(made) == ms
    assert ids.first_id_at(ms) <= made < ids.first_id_at(ms + 1)
    assert ids.first_id_at(0) == 0


@given(number=NUMBERS, kind=st.sampled_from(sorted(PREFIXES)))
def test_the_text_form_comes_back_and_sorts_like_the_number(number: int, kind: str) -> None:
    shown = ids.to_text(kind, number)
    assert shown.startswith(PREFIXES[kind] + "_")
    assert len(shown) == 4 + ids.TEXT_LENGTH
    assert ids.from_text(kind, shown) == number
    other = number ^ 1
    assert (ids.to_text(kind, other) < shown) == (other < number)


def test_prefixes_are_single() -> None:
    assert len(set(PREFIXES.values())) == len(PREFIXES)


@pytest.mark.parametrize(
    "bad",
    [
        *(
            "",
            "con_",
            "con_0",
            "con_000000000000",
            "con_00000000000000",
            "cha_0000000000007",
            "0000000000007",
        ),
        *(
            "con_000000000000u",
            "con_000000000000A",
            "con_z000000000000",
            "con_ 00000000000",
            "con_٠000000000000",
        ),
    ],
)
def test_what_is_no_id_of_the_kind_is_refused_by_name(bad: str) -> None:
    with pytest.raises(RejectedInput, match="not a contact id") as refused:
        ids.from_text("contact", bad, where="contact")
    assert refused.value.where == "contact"
