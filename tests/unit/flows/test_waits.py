"""Waits until a moment: zones, clocks that change, hours of the business; and splits by chance."""

from __future__ import annotations

from collections import Counter
from datetime import datetime, time, timedelta
from typing import Any
from zoneinfo import ZoneInfo

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from msgspec.structs import replace

from domain.contacts import ContactView
from domain.effects import SetTimer
from domain.errors import RejectedInput
from flows import engine
from flows.business import sample
from flows.steps.wait import next_hour
from tests.unit.flows.conftest import make_flow

ROME = ZoneInfo("Europe/Rome")
EVERY_DAY = frozenset(range(7))


def ms(text: str, zone: ZoneInfo = ROME, *, fold: int = 0) -> int:
    return int(datetime.fromisoformat(text).replace(tzinfo=zone, fold=fold).timestamp() * 1000)


def due(wait: Any, now: int, **contact: Any) -> int | None:
    """When the step goes on: a time, or None when it does not wait."""
    flow = make_flow({"a": {"wait": wait, "next": "b"}, "b": {"end": True}})
    transition = engine.start(
        flow,
        contact=ContactView(**contact),
        now=now,
        seed=1,
        channel_kind="telegram",
        business=sample(),
    )
    timers = [effect.due_at for effect in transition.effects if isinstance(effect, SetTimer)]
    return timers[0] if timers else None


def test_an_hour_that_the_clock_skips_comes_an_hour_later() -> None:
    """On the last Sunday of March 02:30 does not exist in Rome."""
    assert due({"until": "02:30"}, ms("2026-03-28 12:00")) == ms("2026-03-29 03:30")


def test_an_hour_that_comes_twice_counts_once() -> None:
    """On the last Sunday of October 02:30 comes twice: the first time counts, and then the next day's."""
    first = ms("2026-10-25 02:30")
    assert due({"until": "02:30"}, ms("2026-10-24 12:00")) == first
    assert due({"until": "02:30"}, first) == ms("2026-10-26 02:30")
    assert due({"until": "02:30"}, first + 1_800_000) == ms("2026-10-26 02:30")


def test_the_same_hour_of_the_day_before() -> None:
    """Shifts by days follow the clock on the wall, also over a change of it."""
    wait = {"until": "2026-03-30 09:00", "before": "2 days"}
    assert due(wait, ms("2026-01-01 00:00")) == ms("2026-03-28 09:00")
    wait = {"until": "2026-03-30 09:00", "before": "3 hours"}
    assert due(wait, ms("2026-01-01 00:00")) == ms("2026-03-30 06:00")
    wait = {"until": "2026-03-28", "after": "1 day", "at": "10:30"}
    assert due(wait, ms("2026-01-01 00:00")) == ms("2026-03-29 10:30")


def test_a_moment_with_its_own_offset_keeps_it() -> None:
    """What a service or an answer gives with an offset is that moment, wherever the contact is."""
    wait = {"until": "{{ contact.fields.at }}"}
    found = due(
        wait, ms("2026-01-01 00:00"), fields={"at": "2026-06-01T10:00:00+00:00"}, timezone="Asia/Tokyo"
    )
    assert found == ms("2026-06-01 10:00", ZoneInfo("UTC"))


@pytest.mark.parametrize(
    "value", ["", "soon", "2026-13-01", "99999999", "2026-06-01T", "9999-12-31", None, 7, []]
)
def test_what_is_no_moment_does_not_wait(value: Any) -> None:
    """A field that says nothing, or nonsense, or a time beyond ten years."""
    wait = {"until": "{{ contact.fields.at | default('') }}"}
    assert due(wait, ms("2026-01-01 00:00"), fields={"at": value}) is None


def test_past_moments_go_on_at_once_but_for_what_is_waited_in_any_case() -> None:
    """`at_least` counts also when the date has passed."""
    now = ms("2026-06-01 10:00")
    assert due({"until": "2026-05-01 10:00"}, now) is None
    assert due({"until": "2026-05-01 10:00", "at_least": "1 hour"}, now) == now + 3_600_000
    assert due({"until": "09:00", "at_least": "1 day"}, now) == ms("2026-06-03 09:00")


@pytest.mark.parametrize(
    ("now", "goes_on"),
    [
        ("2026-06-01 09:30", None),
        ("2026-06-01 13:00", "2026-06-01 15:30"),
        ("2026-06-01 14:00", "2026-06-01 15:30"),
        ("2026-06-06 13:00", "2026-06-08 09:00"),
        ("2026-06-06 12:59", None),
    ],
)
def test_until_the_business_opens(now: str, goes_on: str | None) -> None:
    """In the business's own zone, wherever the contact is."""
    assert due({"until": "open"}, ms(now), timezone="Asia/Tokyo") == (ms(goes_on) if goes_on else None)


def test_a_business_without_hours_is_always_open() -> None:
    """Nobody waits for ever for hours that were not given."""
    flow = make_flow({"a": {"wait": {"until": "open"}, "next": "b"}, "b": {"end": True}})
    transition = engine.start(
        flow,
        contact=ContactView(),
        now=ms("2026-06-01 03:00"),
        seed=1,
        channel_kind="telegram",
        business=replace(sample(), opening_hours={}),
    )
    assert transition.ended


@given(
    st.datetimes(datetime.fromisoformat("2025-01-01"), datetime.fromisoformat("2030-01-01")),
    st.times(),
    st.sampled_from(["Europe/Rome", "America/New_York", "Australia/Lord_Howe", "Asia/Kathmandu", "UTC"]),
    st.sets(st.integers(0, 6), min_size=1),
)
@settings(max_examples=200, deadline=None)
def test_the_next_hour_is_ahead_and_shows_on_the_clock(
    now: datetime, hour: time, zone_name: str, days: set[int]
) -> None:
    """Later than now, within eight days, on a day that counts, showing the hour unless the clock skips it."""
    zone = ZoneInfo(zone_name)
    hour = hour.replace(second=0, microsecond=0, tzinfo=None)
    after = int(now.replace(tzinfo=zone).timestamp() * 1000)
    found = next_hour(hour, frozenset(days), after, zone)
    assert found is not None
    assert 0 < found - after <= timedelta(days=8, hours=2).total_seconds() * 1000
    local = datetime.fromtimestamp(found / 1000, zone)
    assert local.weekday() in days
    skipped = datetime.combine(local.date(), hour, zone)
    real = datetime.fromtimestamp(skipped.timestamp(), zone).replace(tzinfo=None) == skipped.replace(
        tzinfo=None
    )
    assert not real or local.time() == hour


@pytest.mark.parametrize(
    ("step", "words"),
    [
        ({"wait": {"until": "25:00"}}, "neither an hour"),
        ({"wait": {"until": "tomorrow"}}, "neither an hour"),
        ({"wait": {"until": "09:00", "before": "1 day"}}, "belong to a date"),
        ({"wait": {"until": "2026-01-01", "days": ["mon"]}}, "days belong to an hour"),
        ({"wait": "2 days", "otherwise": "b"}, "otherwise is for"),
        ({"wait": {"until": "09:00", "at_least": "soon"}}, "number and a unit"),
    ],
)
def test_waits_that_make_no_sense_are_refused(step: dict[str, Any], words: str) -> None:
    """With the reason, when the flow is read."""
    with pytest.raises(RejectedInput, match=words):
        make_flow({"a": {**step, "next": "b"}, "b": {"end": True}})


# --- split

SPLIT: dict[str, Any] = {
    "a": {"split": [{"name": "x", "weight": 70, "goto": "x"}, {"name": "y", "weight": 30, "goto": "y"}]},
    "x": {"end": "x"},
    "y": {"end": "y"},
}


def way(steps: dict[str, Any], contact_id: int, seed: int) -> str:
    return engine.start(
        make_flow(steps),
        contact=ContactView(id=contact_id),
        now=0,
        seed=seed,
        channel_kind="telegram",
        business=sample(),
    ).outcome


def test_a_sticky_split_is_the_contacts_own() -> None:
    """The same way at every visit, whatever the event; over many contacts in the proportion of the weights."""
    flow = make_flow(SPLIT)
    ways = Counter()  # type: ignore[var-annotated]
    for contact_id in range(4_000):
        outcomes = {
            engine.start(
                flow,
                contact=ContactView(id=contact_id << 22),
                now=0,
                seed=seed,
                channel_kind="telegram",
                business=sample(),
            ).outcome
            for seed in (1, 2)
        }
        assert len(outcomes) == 1
        ways.update(outcomes)
    assert 2_680 < ways["x"] < 2_920  # 2,800 ± four standard deviations


def test_another_salt_deals_anew() -> None:
    """Two splits of one contact are independent of each other."""
    salted = {**SPLIT, "a": {**SPLIT["a"], "salt": "second"}}
    both = Counter((way(SPLIT, n, 1), way(salted, n, 1)) for n in range(300))
    assert all(both[pair] > 5 for pair in (("x", "x"), ("x", "y"), ("y", "x"), ("y", "y")))


def test_a_split_that_is_not_sticky_goes_by_the_event() -> None:
    """The same contact, other events: both ways, in the proportion of the weights; the same event, the same way."""
    loose = {**SPLIT, "a": {**SPLIT["a"], "sticky": False}}
    ways = Counter(way(loose, 1, seed << 22) for seed in range(1_000))
    assert 640 < ways["x"] < 760
    assert way(loose, 1, 5) == way(loose, 1, 5)


def test_a_closed_way_is_never_taken() -> None:
    """A weight of 0, at either end."""
    for closed in ([0, 1], [1, 0]):
        named = [{"name": n, "weight": w, "goto": n} for n, w in zip("xy", closed, strict=True)]
        steps = {**SPLIT, "a": {"split": named}}
        assert {way(steps, n, 1) for n in range(50)} == {"y" if closed[0] == 0 else "x"}


@pytest.mark.parametrize(
    ("split", "words"),
    [
        ({"split": [{"name": "x", "goto": "x"}, {"name": "x", "goto": "y"}]}, "same name"),
        ({"split": [{"name": n, "weight": 0, "goto": n} for n in "xy"]}, "nobody could go on"),
        ({"split": [{"name": n, "goto": n} for n in "xy"], "sticky": False, "salt": "s"}, "salt is for"),
        ({"split": [{"name": n, "goto": n} for n in "xy"], "next": "x"}, "next would never"),
    ],
)
def test_splits_that_make_no_sense_are_refused(split: dict[str, Any], words: str) -> None:
    """With the reason, when the flow is read."""
    with pytest.raises(RejectedInput, match=words):
        make_flow({**SPLIT, "a": split})


@pytest.mark.parametrize(
    ("now", "goes_on"),
    [
        ("2026-06-01 17:00", "2026-06-01 18:00"),
        ("2026-06-01 23:00", None),
        ("2026-06-02 01:59", None),
        ("2026-06-02 02:00", "2026-06-08 18:00"),
    ],
)
def test_a_shop_that_closes_after_midnight(now: str, goes_on: str | None) -> None:
    """Hours that end before they begin reach into the next day."""
    flow = make_flow({"a": {"wait": {"until": "open"}, "next": "b"}, "b": {"end": True}})
    transition = engine.start(
        flow,
        contact=ContactView(),
        now=ms(now),
        seed=1,
        channel_kind="telegram",
        business=replace(sample(), opening_hours={"mon": ["18:00-02:00"]}),
    )
    timers = [effect.due_at for effect in transition.effects if isinstance(effect, SetTimer)]
    assert timers == ([ms(goes_on)] if goes_on else [])
