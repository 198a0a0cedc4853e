"""Values in money, as rows keep them: a whole number of the currency's smallest unit."""

from __future__ import annotations

import re
from decimal import ROUND_HALF_UP, Decimal
from typing import Any

from domain.comparisons import is_number
from flows import numerals

CURRENCY = r"^[A-Z]{3}$"
MAX_AMOUNT = 10**15  # of the smallest unit: what figures hold exactly everywhere

# ISO 4217: currencies whose smallest unit is not a hundredth. https://www.six-group.com/en/products-services/financial-information/data-standards.html
_UNITS = {
    **dict.fromkeys("BIF CLP DJF GNF ISK JPY KMF KRW PYG RWF UGX UYI VND VUV XAF XOF XPF".split(), 0),
    **dict.fromkeys("BHD IQD JOD KWD LYD OMR TND".split(), 3),
}
_SIGNS = str.maketrans(dict.fromkeys("€$£ \u00a0\u202f"))


def digits(currency: str) -> int:
    """How many decimals the currency has."""
    return _UNITS.get(currency, 2)


def amount(value: Any, currency: str, language: str) -> tuple[int, str] | None:
    """The value in the smallest unit, and its currency; None when it is no amount. Takes numbers, texts as people write
    them (`1.234,50 €`) and answers of the kind money (`{amount, currency}`), which say their currency themselves."""
    if isinstance(value, dict):
        named = value.get("currency")
        currency = named if isinstance(named, str) and re.fullmatch(CURRENCY, named) else currency
        value = value.get("amount")
    number = _number(value, currency, language)
    if number is None:
        return None
    units = int((number * 10 ** digits(currency)).to_integral_value(ROUND_HALF_UP))
    return (units, currency) if abs(units) <= MAX_AMOUNT else None


def plain(units: int, currency: str) -> str:
    """`4990`, EUR → `49.90 EUR`."""
    places = digits(currency)
    return f"{Decimal(units).scaleb(-places):.{places}f} {currency}"


def _number(value: Any, currency: str, language: str) -> Decimal | None:
    if is_number(value):
        return Decimal(str(value))
    if not isinstance(value, str) or len(value) > numerals.MAX_INPUT:
        return None
    text = value.upper().replace(currency, "").translate(_SIGNS).strip().lower()
    return numerals.figures(text, language) if text else None
