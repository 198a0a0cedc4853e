"""`schedule`: at a time, again and again, for everybody whom a condition means.

```yaml
- {schedule: daily, at: "09:00", when: {subject: contact.fields.trial_ends, op: is_set}, purpose: marketing}
- {schedule: weekly, on: [mon, thu], every: 2, at: "18:30", zone: contact}
- {schedule: monthly, on: [1, 15, last], at: "10:00", from: 2026-12-01, until: 2027-06-30}
- {schedule: once, on: [2026-12-24], at: "09:00"}
```

`zone`: `business` (one moment for all), or `contact` (that hour where each person is). `every: 2`: every second day,
week or month. Each person starts once for each date.
A message that nobody asked for is marketing: what the flow says before the person writes belongs to `purpose`
(`marketing` when none is named), and goes to those who agreed to that.
What fell into an outage is made up for, the newest date only; with the flow's `late: ignore` only within ten minutes.
"""

from __future__ import annotations

import calendar
from datetime import UTC, date, datetime, timedelta
from functools import partial
from typing import Annotated, Any, ClassVar, Literal
from zoneinfo import ZoneInfo

from pydantic import BeforeValidator, Field, field_validator, model_validator

from domain import predicates
from domain.comparisons import fold
from domain.contacts import ContactView, value_of
from domain.errors import RejectedInput
from domain.predicates import Predicate
from flows.triggers import Fit, Occasion, Trigger, trigger

MAX_EVERY = 52  # a year of weeks
MAX_DATES = 100  # of `once`, or days of a month
HORIZON = 366 * 5  # days ahead in which the next date is looked for: every 52 months is a little less
# The first hour of a date anywhere on earth is that of UTC+14, the last one that of UTC-12.
FIRST_ZONE = timedelta(hours=14)
_DAYS = {
    **dict.fromkeys(("mon", "lun"), 0),
    **dict.fromkeys(("tue", "mar"), 1),
    **dict.fromkeys(("wed", "mer"), 2),
    **dict.fromkeys(("thu", "gio"), 3),
    **dict.fromkeys(("fri", "ven"), 4),
    **dict.fromkeys(("sat", "sab"), 5),
    **dict.fromkeys(("sun", "dom"), 6),
}
_MONDAY = date(1970, 1, 5)  # weeks are counted from here
LAST = "last"


def _texts(value: Any) -> Any:
    items = value if isinstance(value, list | tuple) else [value]
    return [str(item) for item in items]


@trigger("schedule")
class ScheduleTrigger(Trigger):
    """`schedule` says how often."""

    hears: ClassVar[str] = "schedule"

    schedule: Literal["daily", "weekly", "monthly", "once"]
    at: Annotated[str, Field(pattern=r"^([01][0-9]|2[0-3]):[0-5][0-9]$")]
    on: Annotated[tuple[str, ...], BeforeValidator(_texts), Field(max_length=MAX_DATES)] = ()
    every: Annotated[int, Field(ge=1, le=MAX_EVERY)] = 1
    zone: Literal["business", "contact"] = "business"
    from_: Annotated[date | None, Field(alias="from")] = None
    until: date | None = None
    when: dict[str, Any] | None = None
    purpose: Annotated[str, Field(pattern=r"^[a-z][a-z0-9_-]{0,63}$")] = "marketing"

    @field_validator("when")
    @classmethod
    def _condition(cls, when: dict[str, Any] | None) -> dict[str, Any] | None:
        if when is not None:
            try:
                parsed = predicates.parse(when, where="when")
            except RejectedInput as error:
                raise ValueError(str(error)) from None
            for subject in predicates.subjects(parsed):
                if not subject.startswith(("contact.", "consent.")):
                    raise ValueError(
                        f"{subject}: only contact.… and consent.… are known before a flow begins"
                    )
        return when

    @model_validator(mode="after")
    def _dates(self) -> ScheduleTrigger:
        for item in self.on:
            match self.schedule:
                case "weekly" if fold(item)[:3] in _DAYS:
                    continue
                case "monthly" if item == LAST or (item.isdecimal() and 1 <= int(item) <= 31):
                    continue
                case "once" if _is_date(item):
                    continue
            expected = {
                "daily": "nothing: it is every day",
                "weekly": "days of the week, such as mon or lunedì",
                "monthly": "days of the month from 1 to 31, or last",
                "once": "dates such as 2026-12-24",
            }
            raise ValueError(f"on: {item!r} does not fit; {self.schedule} takes {expected[self.schedule]}")
        if not self.on and self.schedule != "daily":
            raise ValueError(f"{self.schedule} needs on: which days")
        return self

    @property
    def predicate(self) -> Predicate:
        """Whom it means."""
        return predicates.parse(self.when if self.when is not None else {"all": []}, where="when")

    def means(self, contact: ContactView, now: int) -> bool:
        """Whether it means this person; `now` in ms UTC."""
        condition = predicates.grounded(self.predicate, now)
        return predicates.matches(condition, partial(value_of, contact))

    @property
    def gives(self) -> frozenset[str] | None:
        return frozenset({"date"})

    def fits(self, occasion: Occasion) -> Fit | None:
        """Its own occurrence only: `starting` has found it by flow and number."""
        return Fit(occasion.what, {"date": occasion.what})

    # --- when

    def date_after(self, day: date) -> date | None:
        """The first of its dates after a day; None: there is none any more (or none within five years)."""
        begin = max(day + timedelta(days=1), self.from_ or date.min)
        for ahead in range(HORIZON):
            candidate = begin + timedelta(days=ahead)
            if self.until is not None and candidate > self.until:
                return None
            if self._means(candidate):
                return candidate
        return None

    def _means(self, day: date) -> bool:
        anchor = self.from_ or _MONDAY
        match self.schedule:
            case "daily":
                return (day - anchor).days % self.every == 0
            case "weekly":
                weeks = (_monday(day) - _monday(anchor)).days // 7
                return weeks % self.every == 0 and any(
                    _DAYS[fold(item)[:3]] == day.weekday() for item in self.on
                )
            case "monthly":
                months = (day.year - anchor.year) * 12 + day.month - anchor.month
                last = calendar.monthrange(day.year, day.month)[1]
                wanted = {last if item == LAST else int(item) for item in self.on}
                return months % self.every == 0 and day.day in wanted
            case _:
                return day.isoformat() in self.on

    def begins(self, day: date, zone: ZoneInfo) -> int:
        """When the date begins to be dealt with, ms UTC: its hour at the business, or where it comes first on earth."""
        if self.zone == "business":
            return self.moment(day, zone)
        hour, minute = map(int, self.at.split(":"))
        return _ms(datetime(day.year, day.month, day.day, hour, minute, tzinfo=UTC) - FIRST_ZONE)

    def moment(self, day: date, zone: ZoneInfo) -> int:
        """The hour of a date in a zone, ms UTC. An hour that the clocks skip is the one after, one that comes twice the
        first."""
        hour, minute = map(int, self.at.split(":"))
        return _ms(datetime(day.year, day.month, day.day, hour, minute, tzinfo=zone))


def _is_date(text: str) -> bool:
    try:
        return date.fromisoformat(text).isoformat() == text
    except ValueError:
        return False


def _monday(day: date) -> date:
    return day - timedelta(days=day.weekday())


def _ms(moment: datetime) -> int:
    return round(moment.timestamp() * 1_000)
