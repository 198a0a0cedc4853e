"""Pacing: never above the rates in any window, replies before bulk, a 429 stops what it names, memory has an end."""

from __future__ import annotations

from itertools import count

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from bot import pacing
from bot.channels.base import Pace, Rate
from bot.pacing import Pacing

CHANNEL, PERSON, GROUP = Rate(30.0, 30), Rate(1.0, 3), Rate(20 / 60, 20)
TELEGRAM = Pace(
    per_channel=CHANNEL, replies_per_channel=None, per_address=PERSON, replies_wait=False, per_group=GROUP
)
STRICT = Pace(per_channel=Rate(5.0, 2), replies_per_channel=Rate(8.0, 4), per_address=PERSON, per_group=GROUP)

# A try: after so many seconds, to one of a few addresses, in a lane.
TRIES = st.lists(
    st.tuples(st.floats(0.0, 3.0, width=32), st.integers(0, 4), st.sampled_from([0, 1, 2])), max_size=120
)


def scope_of(address: int) -> str:
    return "group" if address >= 3 else "address"


def passed(pace: Pace, tries: list[tuple[float, int, int]]) -> list[tuple[float, int, int]]:
    """(time, address, lane) of what was let go."""
    now = 1_000.0
    gone = []
    gate = Pacing(pace, now)
    for step, address, lane in tries:
        now += step
        if gate.release(str(address), scope_of(address), lane, now):
            gone.append((now, address, lane))
    return gone


def holds(times: list[float], rate: Rate) -> None:
    """In no window more than its rate and burst."""
    for first in range(len(times)):
        for last in range(first, len(times)):
            allowed = rate.burst + (times[last] - times[first]) * rate.per_second
            assert last - first + 1 <= allowed + 1e-6, (times[first : last + 1], rate)


@settings(max_examples=150, deadline=None)
@given(tries=TRIES)
def test_no_window_is_ever_above_rate_and_burst(tries: list[tuple[float, int, int]]) -> None:
    gone = passed(STRICT, tries)
    holds([t for t, _, lane in gone if lane], STRICT.per_channel)
    assert STRICT.replies_per_channel is not None
    holds([t for t, _, lane in gone if not lane], STRICT.replies_per_channel)
    for address in range(5):
        limit = GROUP if scope_of(address) == "group" else PERSON
        holds([t for t, a, _ in gone if a == address], limit)


@settings(max_examples=100, deadline=None)
@given(tries=TRIES)
def test_replies_are_never_held_by_bulk_where_the_platform_counts_them_apart(
    tries: list[tuple[float, int, int]],
) -> None:
    """To persons every reply goes at once, whatever bulk has used; groups keep to their limit."""
    gone = passed(TELEGRAM, tries)
    asked = [(a, lane) for _, a, lane in tries if lane == 0 and a < 3]
    assert len([1 for _, a, lane in gone if lane == 0 and a < 3]) == len(asked)
    holds([t for t, _, lane in gone if lane], CHANNEL)
    for group in (3, 4):
        holds([t for t, a, _ in gone if a == group], GROUP)


def test_bulk_gives_way_to_replies() -> None:
    """What replies use is not there for bulk: the platform counts them together."""
    gate = Pacing(TELEGRAM, 0.0)
    for number in range(30):
        assert gate.release(f"{number}", "address", 0, 0.0)
    assert not gate.open(2, 0.0)
    assert not gate.release("99", "address", 2, 0.0)
    assert gate.open(0, 0.0)
    assert gate.release("99", "address", 2, 1.0)


def test_the_full_rate_is_reached() -> None:
    """Ten seconds of slices let go a burst and ten seconds' worth, not less."""
    gate, clock, gone = Pacing(TELEGRAM, 0.0), 0.0, 0
    names = count()
    while clock < 10.0:
        while gate.release(f"{next(names)}", "address", 2, clock):
            gone += 1
        clock += pacing.SLICE_S
    assert 325 <= gone <= 330


@settings(max_examples=100, deadline=None)
@given(tries=TRIES, lane=st.sampled_from([0, 1, 2]), address=st.integers(0, 4))
def test_the_pause_is_long_enough_and_not_longer(
    tries: list[tuple[float, int, int]], lane: int, address: int
) -> None:
    gate, now = Pacing(STRICT, 0.0), 0.0
    for step, to, in_lane in tries:
        now += step
        gate.release(str(to), scope_of(to), in_lane, now)
    where = (str(address), scope_of(address), lane)
    pause = gate.pause_s(*where, now)
    if pause > 0.01:
        assert not gate.release(*where, now + pause - 0.01)
    assert gate.release(*where, now + pause + 1e-6)


@pytest.mark.parametrize(
    ("scope", "lane", "reply_same", "bulk_same", "reply_other", "bulk_other"),
    [
        ("address", 0, False, False, True, True),
        ("address", 2, False, False, True, True),
        ("channel", 2, True, False, True, False),
        ("channel", 1, True, False, True, False),
        ("channel", 0, False, False, False, False),
    ],
)
def test_a_429_stops_exactly_its_scope(
    scope: str, lane: int, reply_same: bool, bulk_same: bool, reply_other: bool, bulk_other: bool
) -> None:
    def state(at: float) -> list[bool]:
        gate = Pacing(TELEGRAM, 0.0)
        gate.stop(scope, "7", lane, 10.0, 5.0)
        tries = [("7", 0), ("7", 2), ("8", 0), ("8", 2)]
        before = [gate.pause_s(a, "address", n, at) for a, n in tries]
        gone = [gate.release(a, "address", n, at) for a, n in tries]
        assert [pause == 0.0 for pause in before] == gone
        return gone

    assert state(14.9) == [reply_same, bulk_same, reply_other, bulk_other]
    assert state(15.0) == [True] * 4


def test_answers_that_got_a_429_keep_to_the_channels_rate_for_a_while() -> None:
    """A thousand that wait do not run into the limit together again, a second later; then it is Telegram's to say."""
    gate, names, gone = Pacing(TELEGRAM, 0.0), count(), 0
    for _ in range(100):
        assert gate.release(f"{next(names)}", "address", 0, 0.0)
    gate.stop("channel", "7", 0, 1.0, 0.0)
    clock = 1.0
    while clock < 11.0:
        while gate.release(f"{next(names)}", "address", 0, clock):
            gone += 1
        assert not gate.open(0, clock)
        clock += gate.pause_s(f"{next(names)}", "address", 0, clock)
    assert 325 <= gone <= 331
    after = 1.0 + pacing.SLOWED_S
    for _ in range(100):
        assert gate.release(f"{next(names)}", "address", 0, after)


def test_somebody_who_writes_too_fast_holds_up_nobody_else() -> None:
    """The platform does not say whose 429 it is: after more than a chat may get, it stops that chat alone."""
    gate, names = Pacing(TELEGRAM, 0.0), count(10)
    for _ in range(6):
        assert gate.release("7", "address", 0, 0.0)
    gate.stop("channel", "7", 0, 5.0, 0.5)
    assert not gate.release("7", "address", 0, 5.0)
    for _ in range(100):
        assert gate.release(f"{next(names)}", "address", 0, 0.5)
    gate.stop("channel", "10", 0, 5.0, 0.6)
    assert not gate.open(0, 5.0)


def test_a_429_of_one_chat_or_of_bulk_slows_no_answers() -> None:
    """Only an answer's own 429 tells that answers are too many."""
    gate, names = Pacing(TELEGRAM, 0.0), count(10)
    gate.stop("address", "7", 0, 1.0, 0.0)
    gate.stop("channel", "7", 2, 1.0, 0.0)
    for _ in range(100):
        assert gate.release(f"{next(names)}", "address", 0, 0.5)


def test_a_shorter_429_does_not_end_a_longer_one() -> None:
    gate = Pacing(TELEGRAM, 0.0)
    for scope in ("address", "channel"):
        gate.stop(scope, "7", 0, 60.0, 0.0)
        gate.stop(scope, "7", 0, 1.0, 0.0)
    assert not gate.release("7", "address", 0, 59.0)
    assert not gate.release("8", "address", 2, 59.0)
    assert gate.release("7", "address", 0, 60.0)


def test_a_refusal_takes_no_tokens() -> None:
    """A message that waits for its address leaves the channel's tokens to others."""
    gate = Pacing(STRICT, 0.0)
    assert gate.release("7", "address", 2, 0.0)
    gate.stop("address", "7", 2, 100.0, 0.0)
    for _ in range(50):
        assert not gate.release("7", "address", 2, 0.0)
    assert gate.release("8", "address", 2, 0.0)


def test_a_new_owner_starts_empty_and_remembers_the_last_minute() -> None:
    gate = Pacing(TELEGRAM, 0.0, fresh=False)
    assert not gate.release("1", "address", 2, 0.0)
    for _ in range(20):
        gate.remember("-100", "group", 2, 0.0)
    assert gate.release("1", "address", 2, 0.04)
    assert not gate.release("-100", "group", 2, 1.0)
    assert gate.release("-100", "group", 2, 3.1)


def test_a_clock_that_steps_back_gives_nothing_and_takes_nothing() -> None:
    gate = Pacing(STRICT, 100.0)
    while gate.release("1", "address", 1, 100.0):
        pass
    for back in (99.0, 0.0, 99.9):
        assert not gate.release("2", "address", 1, back)
    assert gate.release("2", "address", 1, 100.3)


def test_memory_follows_the_busy_addresses_only(monkeypatch: pytest.MonkeyPatch) -> None:
    """Quiet addresses are forgotten, stopped ones when their time is over, also where addresses have no rate."""
    monkeypatch.setattr(pacing, "ADDRESSES", 100)
    unpaced = Pace(per_channel=Rate(1e6, 1_000), replies_per_channel=None, per_address=None, per_group=None)
    for pace in (TELEGRAM, unpaced):
        gate, now = Pacing(pace, 0.0), 0.0
        for number in range(5_000):
            now += 0.1
            gate.release(f"{number}", "address", 0, now)
            gate.stop("address", f"{number}", 0, 1.0, now)
            assert len(gate._addresses) + len(gate._stopped) <= 101
        assert not gate.release("4999", "address", 0, now + 0.5), "what is stopped stays so"


def test_forgetting_gives_nobody_tokens(monkeypatch: pytest.MonkeyPatch) -> None:
    """Only an address whose bucket is full again is forgotten: it starts full anew."""
    monkeypatch.setattr(pacing, "ADDRESSES", 10)
    gate = Pacing(STRICT, 0.0)
    for _ in range(3):
        gate.remember("busy", "address", 0, 0.0)
    for number in range(50):
        gate.remember(f"{number}", "address", 0, 0.0)
    assert not gate.release("busy", "address", 0, 0.9)


def test_busy_addresses_are_not_looked_through_for_every_new_one(monkeypatch: pytest.MonkeyPatch) -> None:
    """Looks come at twice as many as the last one left, so the work for each new address does not grow; and when it is
    quiet again, nothing is left of the many."""
    monkeypatch.setattr(pacing, "ADDRESSES", 10)
    gate, looks = Pacing(STRICT, 0.0), set()
    for number in range(10_000):
        gate.remember(f"{number}", "address", 0, 0.0)
        looks.add(gate._look_at)
    assert looks == {10 * 2**n for n in range(11)}
    for number in range(10_000, 20_000):
        gate.remember(f"{number}", "address", 0, number * 10.0)
    assert len(gate._addresses) <= 10
