"""`money`: an amount with its currency; `min` and `max` bound the amount, `currency` insists on one currency.

`1.234,50 €`, `€ 1234.50`, `1234 euro e 50` → `{"amount": 1234.5, "currency": "EUR"}`; `$20` → `{"amount": 20,
"currency": "USD"}`; `cinquanta centesimi` → `{"amount": 0.5, "currency": "EUR"}`. An amount alone is in the
question's currency, else in that of the business's country. The amount is a JSON number whose shortest form is
exact: at most two places (none for yen), at most 999,999,999,999.99, so that `round(amount * 100)` is the exact
number of cents.
"""

from __future__ import annotations

import re
from decimal import Decimal

from domain.messages import Received
from domain.operators import in_words
from flows.amounts import digits
from flows.answers import AnswerType, Invalid, Reading, Valid, answer, plain_number, within, words_of
from flows.numerals import number, simple, whole

MAX_INPUT = 120  # characters: an amount in words
MAX_AMOUNT = 10**12  # below it a float holds every cent

_EURO = "AT BE BG CY DE EE ES FI FR GR HR IE IT LT LU LV MT NL PT SI SK SM VA MC AD ME XK"
_OF_REGION = dict.fromkeys(_EURO.split(), "EUR") | {
    "US": "USD", "GB": "GBP", "CH": "CHF", "LI": "CHF", "CA": "CAD", "AU": "AUD", "NZ": "NZD", "JP": "JPY",
    "SE": "SEK", "NO": "NOK", "DK": "DKK", "PL": "PLN", "CZ": "CZK", "HU": "HUF", "RO": "RON", "TR": "TRY",
    "BR": "BRL", "MX": "MXN", "AR": "ARS", "IN": "INR", "AL": "ALL", "RS": "RSD",
}  # fmt: skip
_NAMES = {
    "€": "EUR", "euro": "EUR", "euri": "EUR", "euros": "EUR", "eur": "EUR",
    "us$": "USD", "usd": "USD", "dollaro": "$", "dollari": "$", "dollar": "$", "dollars": "$",
    "bucks": "$", "$": "$", "£": "GBP", "quid": "GBP", "gbp": "GBP", "pound": "GBP", "pounds": "GBP",
    "sterlina": "GBP", "sterline": "GBP",
    "chf": "CHF", "fr": "CHF", "franco": "CHF", "franchi": "CHF", "franc": "CHF", "francs": "CHF",
    "¥": "JPY", "jpy": "JPY", "yen": "JPY",
} | {code.lower(): code for code in _OF_REGION.values()}  # fmt: skip
_DOLLARS = ("USD", "CAD", "AUD", "NZD")
_CENTS = ("centesimo", "centesimi", "cent", "cents", "penny", "pence")

_TOKENS = re.compile(
    r"us\$|[€$£¥]|[a-z]+|[+-]?[0-9](?:[0-9.,']*[0-9])?(?: [0-9]{3}(?![0-9]))*(?:[.,][0-9]{1,2})?|\S"
)


@answer
class Money(AnswerType):
    """Gives `{"amount": …, "currency": "EUR"}` (ISO 4217). Nothing below zero, unless `min` allows it."""

    key = "money"
    label = in_words("importo", "amount of money")
    reasons = ("money", "currency", "range")
    takes = frozenset(("min", "max", "currency"))
    bounds = "number"

    def read(self, received: Received, reading: Reading) -> Valid | Invalid:
        text = words_of(received)
        if not text or len(text) > MAX_INPUT:
            return Invalid("money")
        usual = reading.currency or _OF_REGION.get(reading.region, "")
        found = _read(simple(text).strip(" .!?;").replace(".-", "").replace(",-", ""), reading.language)
        if found is None:
            return Invalid("money")
        amount, named = found
        if named == "$":
            named = usual if usual in _DOLLARS else "USD"
        if (reading.currency and named not in ("", reading.currency)) or not (named or usual):
            return Invalid("currency")
        currency = named or usual
        if amount != round(amount, digits(currency)):
            return Invalid("money")
        if (
            abs(amount) >= MAX_AMOUNT
            or (amount < 0 and reading.minimum is None)
            or not within(amount, reading)
        ):
            return Invalid("range")
        return Valid({"amount": plain_number(amount), "currency": currency}, text)


def _read(text: str, language: str) -> tuple[Decimal, str] | None:
    """The amount and the currency that was named ("" when none was)."""
    tokens = _TOKENS.findall(text)
    marks = [place for place, token in enumerate(tokens) if token in _NAMES]
    if len(marks) > 1:
        return None
    cents = 1 if tokens and tokens[-1] in _CENTS else 0
    if not marks:
        if cents:
            return _only_cents(tokens[:-1])
        amount = number(text, language)
        return None if amount is None else (amount, "")
    place, currency = marks[0], _NAMES[tokens[marks[0]]]
    before, after = tokens[:place], tokens[place + 1 :]
    if before[-1:] == ["di"]:  # due milioni di euro
        before = before[:-1]
    if before and after:
        return _with_cents(before, after[: len(after) - cents], currency, language, said=bool(cents))
    if cents:
        return None
    amount = number(" ".join(before or after).replace("- ", "-"), language)
    return None if amount is None else (amount, currency)


def _with_cents(
    before: list[str], after: list[str], currency: str, language: str, *, said: bool
) -> tuple[Decimal, str] | None:
    """`20 euro e 50`, `twenty dollars and fifty cents`. Below ten "cents" must be said: `3 euro e 5` may be 3.50."""
    amount = number(" ".join(before), language)
    linked = after[:1] in (["e"], ["and"])
    cents = 50 if after in (["e", "mezzo"], ["and", "a", "half"]) else whole(after[1:] if linked else after)
    if amount is None or amount != int(amount) or amount < 0 or cents is None or not (linked or said):
        return None
    return (amount + Decimal(cents) / 100, currency) if (0 if said else 10) <= cents < 100 else None


def _only_cents(words: list[str]) -> tuple[Decimal, str] | None:
    cents = whole(words)
    return None if cents is None or cents >= 100 else (Decimal(cents) / 100, "")
