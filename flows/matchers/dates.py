"""Dates and times in a text, written as people of the business's country do (day first, but in the United States)."""

from __future__ import annotations

from collections.abc import Callable
from datetime import date

from flows.excellent import dates
from flows.excellent.environment import Environment
from flows.matchers import Match, register


def _tested(environment: Environment, text: str, fits: Callable[[date], bool]) -> Match | None:
    """A date that fits, as a moment at the contact's place: where the text has no time of day, that of now."""
    found = dates.read(text, environment, fill=environment.now.time())
    if found is not None and 1 < found.year < 9999:  # what was written with an offset is a day here
        found = found.astimezone(environment.zone)
    return Match(found) if found is not None and fits(found.date()) else None


@register("has_date", "text", it="contiene una data", en="has a date")
def has_date(environment: Environment, text: str) -> Match | None:
    """Any date."""
    return _tested(environment, text, lambda day: True)


@register("has_date_eq", "text, date", it="la data è", en="has a date equal to")
def has_date_eq(environment: Environment, text: str, wanted: date) -> Match | None:
    """That day."""
    return _tested(environment, text, lambda day: day == wanted)


@register("has_date_lt", "text, date", it="data prima del", en="has a date before")
def has_date_lt(environment: Environment, text: str, before: date) -> Match | None:
    """A day before that one."""
    return _tested(environment, text, lambda day: day < before)


@register("has_date_gt", "text, date", it="data dopo il", en="has a date after")
def has_date_gt(environment: Environment, text: str, after: date) -> Match | None:
    """A day after that one."""
    return _tested(environment, text, lambda day: day > after)


@register("has_time", "text", it="contiene un'ora", en="has a time")
def has_time(environment: Environment, text: str) -> Match | None:
    """`10:30`, `10 PM`, `10:30:45`."""
    found = dates.read_time(text)
    return None if found is None else Match(found)
