"""Numbers in a text: the first one is what counts, in the figures of any script.

A point is the decimal mark and commas group thousands, as in RapidPro; a comma that cannot group (`1,5` and
`1.234,50`) is the decimal mark, as people in most of Europe write it.
"""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Callable
from decimal import Decimal

from flows.excellent.environment import Environment
from flows.excellent.values import Fault, number
from flows.matchers import Match, register

MAX_LOOKED_AT = 1_000  # characters
_FOUND = re.compile(
    r"(?<![\w.,])[-+]?(?:[0-9][0-9.,]*|[.,][0-9]+)|(?:(?<=[^\W\d])|(?<=[^\W\d][.,]))[0-9][0-9.,]*", re.ASCII
)
_GROUPED = re.compile(r"[0-9]{1,3}(?:,[0-9]{3})+(?:\.[0-9]+)?\Z", re.ASCII)


def first(text: str) -> Decimal | None:
    """The first number in a text."""
    text = text[:MAX_LOOKED_AT]
    if not text.isascii():
        text = "".join(_figure(one) for one in text)
    for found in _FOUND.finditer(text):
        value = _read(found[0])
        if value is not None:
            return value
    return None


def _figure(one: str) -> str:
    return str(unicodedata.decimal(one)) if not one.isascii() and one.isdecimal() else one


def _read(spelled: str) -> Decimal | None:
    spelled = spelled.rstrip(".,")
    sign, digits = ("-", spelled[1:]) if spelled.startswith("-") else ("", spelled.lstrip("+"))
    if _GROUPED.match(digits):
        digits = digits.replace(",", "")
    elif digits.count(",") == 1 and digits.count(".") != 1:
        digits = digits.replace(".", "").replace(",", ".")
    elif "," in digits and digits.rfind(",") > digits.rfind("."):
        digits = digits.replace(".", "").replace(",", ".", 1)
    else:
        digits = digits.replace(",", "")
    value = number(sign + digits)
    return None if isinstance(value, Fault) else value


def _tested(text: str, fits: Callable[[Decimal], bool]) -> Match | None:
    value = first(text)
    return Match(value) if value is not None and fits(value) else None


@register("has_number", "text", it="contiene un numero", en="has a number")
def has_number(environment: Environment, text: str) -> Match | None:
    """Any number."""
    return _tested(text, lambda value: True)


@register("has_number_eq", "text, number", it="numero uguale a", en="has a number equal to")
def has_number_eq(environment: Environment, text: str, wanted: Decimal) -> Match | None:
    """The number is that one."""
    return _tested(text, lambda value: value == wanted)


@register("has_number_lt", "text, number", it="numero minore di", en="has a number below")
def has_number_lt(environment: Environment, text: str, most: Decimal) -> Match | None:
    """The number is less."""
    return _tested(text, lambda value: value < most)


@register("has_number_lte", "text, number", it="numero al massimo", en="has a number at most")
def has_number_lte(environment: Environment, text: str, most: Decimal) -> Match | None:
    """The number is less or that one."""
    return _tested(text, lambda value: value <= most)


@register("has_number_gt", "text, number", it="numero maggiore di", en="has a number above")
def has_number_gt(environment: Environment, text: str, least: Decimal) -> Match | None:
    """The number is greater."""
    return _tested(text, lambda value: value > least)


@register("has_number_gte", "text, number", it="numero almeno", en="has a number at least")
def has_number_gte(environment: Environment, text: str, least: Decimal) -> Match | None:
    """The number is greater or that one."""
    return _tested(text, lambda value: value >= least)


@register("has_number_between", "text, number, number", it="numero tra", en="has a number between")
def has_number_between(environment: Environment, text: str, least: Decimal, most: Decimal) -> Match | None:
    """Both ends count."""
    return _tested(text, lambda value: least <= value <= most)
