"""`wait`: does nothing for a while: for a span, until a moment, until an hour of the contact's day, until the business
opens.

```yaml
pause: {wait: 2 days, on_message: menu, next: morning}
morning: {wait: {until: "09:00", days: [mon, tue, wed, thu, fri], at_least: 1 hour}, next: eve}
eve: {wait: {until: "2026-12-24 18:00"}, next: visit}
visit: {wait: {until: "{{ contact.fields.visit }}", before: 1 day, at: "10:00"}, otherwise: menu, next: menu}
menu: {send: {it: Ciao!, en: Hello!}, next: open}
open: {wait: {until: open}, next: end}
```

Hours and dates are those of the contact's time zone, else of the business's. A moment that has passed does not wait at
all. Where the clock is put forward an hour that does not exist is taken by the clock of before (02:30 becomes 03:30);
where it is put back, of the two equal hours the first one counts.
"""

from collections.abc import Callable
from dataclasses import dataclass
from datetime import UTC, date, datetime, time, timedelta, tzinfo
from typing import TYPE_CHECKING, Annotated, Any, ClassVar, Literal

from pydantic import (
    AfterValidator,
    BaseModel,
    ConfigDict,
    Field,
    PlainSerializer,
    PlainValidator,
    TypeAdapter,
    model_validator,
)

from domain import durations
from domain.messages import Received
from flows.expressions import Template
from flows.state import TIME
from flows.steps import Duration, StepDocument, StepId, StepRun, step
from flows.texts import local_text

if TYPE_CHECKING:
    from flows.compiler import Maker
    from flows.turns import Turn

Day = Literal["mon", "tue", "wed", "thu", "fri", "sat", "sun"]
DAYS: tuple[Day, ...] = ("mon", "tue", "wed", "thu", "fri", "sat", "sun")
OPEN = "open"
AT = "09:00"  # of a date without an hour: nobody wants to be written to at midnight
AHEAD = 366  # days that are looked through for an hour that fits


def _hour(text: str) -> time | None:
    """`09:00`."""
    hours, colon, minutes = text.partition(":")
    fits = (
        colon
        and len(minutes) == 2
        and 1 <= len(hours) <= 2
        and (hours + minutes).isdecimal()
        and text.isascii()
    )
    return time(int(hours), int(minutes)) if fits and int(hours) < 24 and int(minutes) < 60 else None


def moment(text: str) -> datetime | date | None:
    """`2026-12-24`, `2026-12-24 18:00`, `2026-12-24T18:00:00+01:00`: ISO 8601 as answers and fields hold it."""
    if len(text) < 10 or text[4] != "-" or text[7] != "-":
        return None
    try:
        return date.fromisoformat(text) if len(text) == 10 else datetime.fromisoformat(text)
    except ValueError:
        return None


def _until(text: str) -> str:
    if (
        "{{" not in text
        and not text.startswith("@")
        and text != OPEN
        and _hour(text) is None
        and moment(text) is None
    ):
        raise ValueError(f"{text!r} is neither an hour (09:00), nor a date (2026-12-24 18:00), nor {OPEN}")
    return text


def _at(text: str) -> str:
    if _hour(text) is None:
        raise ValueError(f"{text!r} is no hour such as 09:00")
    return text


class Until(BaseModel):
    """`until`: an hour, a date (with or without an hour), a text with placeholders that gives one, or `open`.

    `days` narrows hours to days of the week; `at_least` is waited in any case, before the hour is looked for; `at` is
    the hour of a date that has none; `before` and `after` shift a date (`before: 1 day`: the day before).
    """

    model_config = ConfigDict(frozen=True, extra="forbid", hide_input_in_errors=True)
    until: Annotated[str, Field(min_length=1, max_length=500), AfterValidator(_until)]
    days: Annotated[tuple[Day, ...], Field(min_length=1, max_length=7)] = DAYS
    at_least: Duration | None = None
    at: Annotated[str, AfterValidator(_at)] = AT
    before: Duration | None = None
    after: Duration | None = None

    @model_validator(mode="after")
    def _fitting(self) -> "Until":
        dated = moment(self.until) is not None
        daily = self.until == OPEN or _hour(self.until) is not None
        if dated and self.days != DAYS:
            raise ValueError("days belong to an hour; a date has its own day")
        if daily and (self.before or self.after):
            raise ValueError("before and after belong to a date")
        return self


_span: TypeAdapter[str] = TypeAdapter(Duration)


def _wait(data: Any) -> str | Until:
    """One of the two by its looks, so that only what is wrong with that one is said."""
    return Until.model_validate(data) if isinstance(data, (dict, Until)) else _span.validate_python(data)


def _plain(wait: str | Until) -> Any:
    return wait if isinstance(wait, str) else wait.model_dump(mode="json", exclude_defaults=True)


@step("wait")
class Wait(StepDocument):
    """A message in the meantime leads to `on_message`, or is left to the triggers: what they start is gone through, and
    the wait goes on. `otherwise`: where to go when `until` gives no date, such as an empty field; without it the flow
    goes on at once."""

    waits: ClassVar[str] = TIME

    wait: Annotated[
        str | Until,
        PlainValidator(_wait, json_schema_input_type=Duration | Until),
        PlainSerializer(_plain),
    ]
    on_message: StepId | None = None
    otherwise: StepId | None = None

    @model_validator(mode="after")
    def _changing(self) -> "Wait":
        if self.otherwise is not None and not (isinstance(self.wait, Until) and _changes(self.wait.until)):
            raise ValueError("otherwise is for an until that is filled in while the flow runs")
        return self

    def waiting(self) -> str:
        """A moment may have passed, a shop may be open: such a step is no rest in a circle of steps."""
        sure = isinstance(self.wait, str) or _hour(self.wait.until) is not None
        return TIME if sure else ""

    def prepare(self, maker: "Maker") -> "WaitRun":
        maker.exit("next", self.next)
        if self.on_message is not None:
            maker.exit("on_message", self.on_message)
        if self.otherwise is not None:
            maker.exit("otherwise", self.otherwise)
        return WaitRun(_due(self.wait, maker), self.on_message, self.otherwise or self.next, self.next)


def _changes(until: str) -> bool:
    return "{{" in until or until.startswith("@")


def _due(wait: str | Until, maker: "Maker") -> Callable[["Turn"], int | None]:
    """The function that gives the time to go on (ms UTC); None when there is none."""
    if isinstance(wait, str):
        span = durations.parse(wait)
        return lambda turn: turn.now + span
    until = maker.value("wait.until", local_text(wait.until))
    if until.constant is not None and until.constant.startswith("@"):
        raise ValueError("@… is an expression only in flows with `expressions: excellent`")
    days = frozenset(DAYS.index(day) for day in wait.days)
    at = _hour(wait.at)
    assert at is not None
    shift = _ms(wait.after) - _ms(wait.before)
    return _Moment(until, days, _ms(wait.at_least), at, shift)


def _ms(span: str | None) -> int:
    return durations.parse(span) if span else 0


@dataclass(frozen=True, slots=True)
class _Moment:
    until: Template
    days: frozenset[int]
    at_least: int  # ms
    at: time
    shift: int  # ms

    def __call__(self, turn: "Turn") -> int | None:
        text = self.until.render(turn).strip()
        earliest = turn.now + self.at_least
        if text == OPEN:
            return _opening(turn, earliest, self.days)
        if (hour := _hour(text)) is not None:
            return next_hour(hour, self.days, earliest, turn.zone())
        due = self._dated(moment(text), turn.zone())
        return None if due is None or due > turn.now + durations.MAX_MS else max(due, earliest)

    def _dated(self, moment: datetime | date | None, zone: tzinfo) -> int | None:
        if moment is None:
            return None
        try:
            if not isinstance(moment, datetime):
                moment = datetime.combine(moment, self.at)
            local = moment.astimezone(zone) if moment.tzinfo else moment.replace(tzinfo=zone)
            # a day before is the same hour of the day before, also when the clocks change in between
            days, rest = divmod(self.shift, durations.DAY)
            return _utc(local + timedelta(days=days)) + rest
        except (OverflowError, ValueError):
            return None


def next_hour(hour: time, days: frozenset[int], after: int, zone: tzinfo) -> int | None:
    """The first time after `after` (ms UTC) at which clocks in the zone show that hour, on one of the days (0 is
    Monday)."""
    first = datetime.fromtimestamp(after / 1000, zone).date()
    for ahead in range(AHEAD):
        day = first + timedelta(days=ahead)
        if day.weekday() in days and (due := _utc(datetime.combine(day, hour, zone))) > after:
            return due
    return None


def _opening(turn: "Turn", earliest: int, days: frozenset[int]) -> int | None:
    """When the business is open next: at once while it is. Its hours are those of its own zone."""
    zone = turn.business_zone()
    first = datetime.fromtimestamp(earliest / 1000, zone).date()
    for ahead in range(-1, 8):  # from yesterday on: some shops close after midnight
        day = first + timedelta(days=ahead)
        if day.weekday() not in days:
            continue
        for span in turn.business.opening_hours.get(DAYS[day.weekday()], ()):
            opens, closes = (_hour(part.strip()) for part in span.split("-", 1))
            if opens is None or closes is None:
                continue
            last = day if closes > opens else day + timedelta(days=1)
            start, end = _utc(datetime.combine(day, opens, zone)), _utc(datetime.combine(last, closes, zone))
            if earliest < end:
                return max(start, earliest)
    return None


def _utc(moment: datetime) -> int:
    return int(moment.astimezone(UTC).timestamp() * 1000)


@dataclass(frozen=True, slots=True)
class WaitRun(StepRun):
    due_at: Callable[["Turn"], int | None]
    on_message: str | None
    otherwise: str | None
    next: str | None

    def enter(self, turn: "Turn") -> None:
        due = self.due_at(turn)
        if due is None:
            turn.go(self.otherwise)
        elif due <= turn.now:
            turn.go(self.next)
        else:
            turn.wait_until(due)

    def answer(self, turn: "Turn", received: Received) -> None:
        if self.on_message is not None:
            turn.go(self.on_message)

    def due(self, turn: "Turn") -> None:
        turn.go(self.next)
