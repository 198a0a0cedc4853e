"""Filters of our templates: `{{ contact.fields.price | times(2) | money('EUR') }}`.

Each is a function of (turn, value, arguments …). What is of another kind than the filter is for gives nothing
(TypeError, ValueError, ArithmeticError are caught where filters are applied). Values of people come as they are kept:
numbers, texts, lists, `{amount, currency}`, days as `2026-12-05`, hours as `09:30`, moments as ISO 8601 or ms UTC. What
is shown follows the session's language. Bounded: MAX_VALUE characters, MAX_LIST items, numbers below 10**15.

Arithmetic is by filters, too (`plus`, `minus`, `times`, `divided_by`, `modulo`): from left to right, one operation
each, so that a template stays a list of paths that a form can show.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Mapping
from datetime import UTC, date, datetime, time, timedelta
from decimal import ROUND_HALF_UP, Context, Decimal
from types import MappingProxyType
from typing import TYPE_CHECKING, Any
from urllib.parse import quote

from domain.comparisons import is_number
from flows import amounts, numerals
from flows.calendar_words import add_months
from flows.expressions import MAX_LIST, MAX_VALUE, shown

if TYPE_CHECKING:
    from flows.turns import Turn

Filter = Callable[..., Any]

MAX_NUMBER = 10**15  # what a float holds exactly, to the unit
CODE = "ABCDEFGHJKLMNPQRSTUVWXYZ23456789"  # no I, O, 0, 1
MAX_PIECE = 200  # characters of a text that is put in or between
_EXACT = Context(prec=34)


# --- text -------------------------------------------------------------------------------------------------------------


def _text(turn: Turn, value: Any) -> str:
    return shown(value, turn.language)[:MAX_VALUE]


def _default(turn: Turn, value: Any, other: Any = "") -> Any:
    return other if value is None or value == "" else value


def _truncate(turn: Turn, value: Any, length: int = 80) -> str:
    text = _text(turn, value)
    return text if len(text) <= length else text[: max(int(length) - 1, 0)].rstrip() + "…"


def _replace(turn: Turn, value: Any, old: Any, new: Any = "") -> str:
    wanted = str(old)[:MAX_PIECE]
    return (
        _text(turn, value).replace(wanted, _text(turn, new)[:MAX_PIECE])[:MAX_VALUE]
        if wanted
        else _text(turn, value)
    )


def _split(turn: Turn, value: Any, between: str | None = None) -> list[str]:
    parts = _text(turn, value).split(str(between)[:MAX_PIECE] if between else None, MAX_LIST)
    return [part.strip() for part in parts[:MAX_LIST] if part.strip()]


def _pluralise(turn: Turn, value: Any, one: Any, many: Any) -> str:
    return f"{_text(turn, value)} {_text(turn, one if _exact(turn, value) == 1 else many)}"


def _code(turn: Turn, value: Any, length: int = 8) -> str:
    """`7KQ2M9XD`: letters and figures that are not taken for one another, from a keyed hash. Nothing for no value.
    Of ten thousand people two have the same eight signs with a chance of one in twenty thousand."""
    if value is None or value == "":
        return ""
    key = turn.channel.key.encode()[:64]
    digest = int.from_bytes(hashlib.blake2b(_text(turn, value).encode(), key=key, digest_size=10).digest())
    return "".join(CODE[(digest >> shift) & 31] for shift in range(0, 5 * min(max(int(length), 4), 16), 5))


def _phone(turn: Turn, value: Any, form: str = "international") -> str:
    import phonenumbers  # metadata is large: only flows that show a number pay for it

    try:
        parsed = phonenumbers.parse(value, turn.business.region)
    except phonenumbers.NumberParseException:
        return _text(turn, value)
    wanted = phonenumbers.PhoneNumberFormat
    form_of = {"national": wanted.NATIONAL, "e164": wanted.E164}.get(form, wanted.INTERNATIONAL)
    return phonenumbers.format_number(parsed, form_of)


TEXTS: Mapping[str, Filter] = {
    "default": _default,  # default('a te'): instead of what is missing or empty
    "upper": lambda turn, value: _text(turn, value).upper(),  # in capitals
    "lower": lambda turn, value: _text(turn, value).lower(),  # in small letters
    "capitalize": lambda turn, value: _text(turn, value).capitalize(),  # first letter a capital
    "title": lambda turn, value: _text(turn, value).title(),  # every word with a capital
    "trim": lambda turn, value: _text(turn, value).strip(),  # without white space at both ends
    "truncate": _truncate,  # truncate(80): at most so many characters, the last one … when something is left out
    "replace": _replace,  # replace('-', ' '); without the second argument it is taken out
    "split": _split,  # split(','): a list of trimmed parts; without argument at white space
    "pluralise": _pluralise,  # 3 | pluralise('posto', 'posti') → 3 posti
    "url_encode": lambda turn, value: quote(_text(turn, value), safe="")[:MAX_VALUE],  # for a web address
    "code": _code,  # code(8): a short code that nobody can guess, always the same for the same value
    "phone": _phone,  # phone('national') leaves the country code out, phone('e164') is for machines
    "yes_no": lambda turn, value: shown(bool(value), turn.language),  # sì or no, yes or no
}


# --- numbers and money ------------------------------------------------------------------------------------------------


def _exact(turn: Turn, value: Any) -> Decimal:
    """The number that a value is or spells. Raises ValueError."""
    if isinstance(value, dict):
        value = value.get("amount")
    found: Decimal | None = None
    if is_number(value):
        found = Decimal(repr(value))
    elif isinstance(value, str) and len(value) <= numerals.MAX_INPUT:
        machine = value.strip().removeprefix("-").replace(".", "", 1)
        plain = machine.isascii() and machine.isdigit()
        found = Decimal(value.strip()) if plain else numerals.figures(value.strip().lower(), turn.language)
    if found is None or abs(found) >= MAX_NUMBER:
        raise ValueError("no number")
    return found


def _plain(value: Decimal) -> int | float:
    """As values are kept: whole numbers as int. Raises ValueError past MAX_NUMBER."""
    if abs(value) >= MAX_NUMBER:
        raise ValueError("number out of range")
    whole = value.to_integral_value()
    return int(whole) if value == whole else float(round(value, 9))


def _arithmetic(act: Callable[[Decimal, Decimal], Decimal]) -> Filter:
    def filtered(turn: Turn, value: Any, other: Any) -> int | float:
        return _plain(act(_exact(turn, value), _exact(turn, other)))

    return filtered


def _modulo(first: Decimal, second: Decimal) -> Decimal:
    """The remainder, with the sign of the second: how far a week has gone."""
    remainder = _EXACT.remainder(first, second)
    return remainder + second if remainder and (remainder < 0) != (second < 0) else remainder


def _round(turn: Turn, value: Any, digits: int = 0) -> int | float:
    return _plain(_rounded(_exact(turn, value), digits))


def _rounded(value: Decimal, digits: int) -> Decimal:
    return value.quantize(Decimal(1).scaleb(-min(max(int(digits), 0), 9)), rounding=ROUND_HALF_UP)


def _number(turn: Turn, value: Any, digits: int = 0) -> str:
    return _local(turn, f"{_rounded(_exact(turn, value), digits):,f}")


def _local(turn: Turn, english: str) -> str:
    """`1,234.50` as the session's language writes it."""
    return english.translate(str.maketrans(",.", ".,")) if turn.language == "it" else english


def _percent(turn: Turn, value: Any, digits: int = 0) -> str:
    return f"{_local(turn, f'{_rounded(_exact(turn, value) * 100, digits):,f}')}%"


_SIGNS = {"EUR": "€", "USD": "$", "GBP": "£", "JPY": "¥"}


def _money(turn: Turn, value: Any, currency: str = "") -> str:
    """`1.234,50 €` in Italian, `€1,234.50` in English; the currency is the value's own, else the one named."""
    own = value.get("currency") if isinstance(value, dict) else None
    code = str(own or currency or "EUR")[:3].upper()
    shown_amount = f"{abs(_rounded(_exact(turn, value), amounts.digits(code))):,f}"
    minus = "-" if _exact(turn, value) < 0 else ""
    sign = _SIGNS.get(code, code)
    if turn.language == "it":
        return f"{minus}{_local(turn, shown_amount)} {sign}"
    return f"{minus}{sign}{shown_amount}" if code in _SIGNS else f"{minus}{shown_amount} {code}"


NUMBERS: Mapping[str, Filter] = {
    "number": _number,  # 1234.5 | number(2) → 1.234,50 in Italian, 1,234.50 in English
    "round": _round,  # round(2): to so many decimals, halves away from zero
    "percent": _percent,  # 0.15 | percent → 15%
    "money": _money,  # 1234.5 | money('EUR') → 1.234,50 € in Italian, €1,234.50 in English
    "plus": _arithmetic(_EXACT.add),  # plus(2)
    "minus": _arithmetic(_EXACT.subtract),  # minus(2)
    "times": _arithmetic(_EXACT.multiply),  # times(2)
    "divided_by": _arithmetic(_EXACT.divide),  # divided_by(2)
    "modulo": _arithmetic(_modulo),  # modulo(7): the remainder, with the argument's sign
    "at_least": _arithmetic(max),  # at_least(0): the greater of the two
    "at_most": _arithmetic(min),  # at_most(10): the smaller of the two
    "absolute": lambda turn, value: _plain(abs(_exact(turn, value))),  # without its sign
}


# --- days and hours ---------------------------------------------------------------------------------------------------


def _moment(turn: Turn, value: Any) -> datetime:
    """A value as a moment at the contact's place; a day is its midnight. Raises ValueError."""
    if is_number(value):
        return datetime.fromtimestamp(value / 1000, turn.zone())
    if len(value) == 10:
        return datetime.combine(date.fromisoformat(value), time(), turn.zone())
    found = datetime.fromisoformat(value)
    return found.replace(tzinfo=turn.zone()) if found.tzinfo is None else found.astimezone(turn.zone())


def _clock(turn: Turn, value: Any) -> time:
    if isinstance(value, str) and len(value) <= 8:
        return time.fromisoformat(value)
    return _moment(turn, value).time()


def _date(turn: Turn, value: Any, form: str = "") -> str:
    """`05/12/2026`; `date('words')` → sabato 5 dicembre 2026, `date('short')` → 5 dicembre, `date('iso')`."""
    day = _moment(turn, value).date()
    month = turn.words("months")[day.month - 1]
    weekday = turn.words("weekdays")[day.weekday()]
    match form:
        case "iso":
            return day.isoformat()
        case "words" if turn.language == "it":
            return f"{weekday} {_day_of_month(day, '°')} {month} {day.year}"
        case "words":
            return f"{weekday}, {day.day} {month} {day.year}"
        case "short":
            return f"{_day_of_month(day, '°' if turn.language == 'it' else '')} {month}"
    return f"{day.day:02}/{day.month:02}/{day.year:04}"


def _day_of_month(day: date, first: str) -> str:
    """The first of a month is an ordinal in Italian."""
    return f"1{first}" if day.day == 1 else str(day.day)


def _relative(turn: Turn, value: Any) -> str:
    """`oggi`, `domani`, `fra 3 giorni`, `2 giorni fa`; `today`, `tomorrow`, `in 3 days`, `2 days ago`."""
    days = _days_until(turn, value)
    named = turn.words("days_near").get(days)
    if named is not None:
        return str(named)
    return str(turn.words("days_ahead" if days > 0 else "days_ago")).format(abs(days))


def _days_until(turn: Turn, value: Any) -> int:
    return (_moment(turn, value).date() - turn.today()).days


def _added(**units: int) -> Filter:
    """Adds to a day or a moment; gives the same form as it was given."""

    def filtered(turn: Turn, value: Any, count: Any) -> str:
        span = timedelta(**units) * int(_exact(turn, count))
        if isinstance(value, str) and len(value) == 10 and "hours" not in units and "minutes" not in units:
            return (date.fromisoformat(value) + span).isoformat()
        moment = _moment(turn, value)
        if "days" in units or "weeks" in units:
            return _iso(moment + span)  # the same hour, also over a change of the clocks
        return _iso((moment.astimezone(UTC) + span).astimezone(turn.zone()))

    return filtered


def _add_months(turn: Turn, value: Any, count: Any) -> str:
    months = int(_exact(turn, count))
    moment = _moment(turn, value)
    day = add_months(moment.date(), months)
    only_day = isinstance(value, str) and len(value) == 10
    return day.isoformat() if only_day else _iso(datetime.combine(day, moment.time(), turn.zone()))


def _iso(moment: datetime) -> str:
    return moment.isoformat(timespec="minutes" if not moment.second else "seconds")


DATES: Mapping[str, Filter] = {
    "date": _date,
    "time": lambda turn, value: _clock(turn, value).strftime("%H:%M"),  # 09:30
    "datetime": lambda turn, value: f"{_date(turn, value)} {_moment(turn, value):%H:%M}",  # 05/12/2026 09:30
    "weekday": lambda turn, value: turn.words("weekdays")[_moment(turn, value).weekday()],  # sabato, Saturday
    "month": lambda turn, value: turn.words("months")[_moment(turn, value).month - 1],  # dicembre, December
    "year": lambda turn, value: _moment(turn, value).year,  # 2026
    "relative_day": _relative,
    "days_until": _days_until,  # a number: negative for the past
    "add_days": _added(days=1),  # add_days(3), add_days(-1): of a day a day, of a moment a moment
    "add_weeks": _added(weeks=1),  # add_weeks(2)
    "add_months": _add_months,  # add_months(1): the same day, or the month's last
    "add_hours": _added(hours=1),  # add_hours(2)
    "add_minutes": _added(minutes=1),  # add_minutes(30)
}


# --- lists ------------------------------------------------------------------------------------------------------------


def _items(value: Any) -> list[Any]:
    """The items of a list; a text is one. Raises TypeError."""
    if isinstance(value, str):
        return [value] if value else []
    return sorted(value)[:MAX_LIST] if isinstance(value, (set, frozenset)) else list(value or ())[:MAX_LIST]


def _first(turn: Turn, value: Any) -> Any:
    return (
        value.split()[0] if isinstance(value, str) and value.split() else _items(value)[0] if value else None
    )


def _last(turn: Turn, value: Any) -> Any:
    return (
        value.split()[-1]
        if isinstance(value, str) and value.split()
        else _items(value)[-1]
        if value
        else None
    )


def _nth(turn: Turn, value: Any, number: Any) -> Any:
    items = value.split() if isinstance(value, str) else _items(value)
    at = int(number)
    return items[at - 1] if 1 <= at <= len(items) else None


def _join(turn: Turn, value: Any, between: str = ", ", last: str | None = None) -> str:
    items = [_text(turn, item) for item in _items(value)]
    joint = str(between)[:20]
    if last is None or len(items) < 2:
        return joint.join(items)[:MAX_VALUE]
    return f"{joint.join(items[:-1])}{str(last)[:20]}{items[-1]}"[:MAX_VALUE]


def _unique(turn: Turn, value: Any) -> list[Any]:
    found: dict[str, Any] = {}
    for item in _items(value):
        found.setdefault(_text(turn, item), item)
    return list(found.values())


def _sort(turn: Turn, value: Any) -> list[Any]:
    items = _items(value)
    if all(is_number(item) for item in items):
        return sorted(items)
    return sorted(items, key=lambda item: _text(turn, item).casefold())


def _lines(mark: Callable[[int], str]) -> Filter:
    def filtered(turn: Turn, value: Any) -> str:
        items = enumerate(_items(value), 1)
        return "\n".join(f"{mark(number)} {_text(turn, item)}" for number, item in items)[:MAX_VALUE]

    return filtered


def _exact_items(turn: Turn, value: Any) -> list[Decimal]:
    return [_exact(turn, item) for item in _items(value)]


LISTS: Mapping[str, Filter] = {
    "first": _first,  # the first item of a list, the first word of a text
    "last": _last,  # the last item of a list, the last word of a text
    "nth": _nth,  # nth(1) is the first
    "join": _join,  # join(', ', ' e ') → red, green e blue
    "length": lambda turn, value: len(value),  # how many characters or items
    "sort": _sort,  # numbers by size, all else by the alphabet
    "reverse": lambda turn, value: _items(value)[::-1],  # from the last to the first
    "unique": _unique,  # each item once
    "sum": lambda turn, value: _plain(sum(_exact_items(turn, value), Decimal(0))),  # of a list of numbers
    "smallest": lambda turn, value: _plain(min(_exact_items(turn, value))),  # of a list of numbers
    "greatest": lambda turn, value: _plain(max(_exact_items(turn, value))),  # of a list of numbers
    "bullets": _lines(lambda number: "•"),  # one line each
    "numbered": _lines(lambda number: f"{number}."),  # one line each, with its number
}

FILTERS: Mapping[str, Filter] = MappingProxyType({**TEXTS, **NUMBERS, **DATES, **LISTS})
