"""`postal_code`: the postal code of the business's country, or of the question's `country`.

In Italy `00184`, `CAP 00184` → `"00184"`; in the United Kingdom `sw1a1aa` → `"SW1A 1AA"`; in the Netherlands `1012ab` →
`"1012 AB"`. Countries that are not listed take any code of 3 to 10 letters and figures. Only the form is checked.
"""

from __future__ import annotations

import re
from functools import cache

from domain.messages import Received
from domain.operators import in_words
from flows.answers import AnswerType, Invalid, Reading, Valid, answer, words_of

MAX_INPUT = 30  # characters

_FORMS = {  # groups are joined by the country's own sign
    "IT": r"((?:0[0-9]|[1-8][0-9]|9[0-8])[0-9]{3})", "SM": r"(4789[0-9])", "VA": r"(00120)",
    "DE": r"([0-9]{5})", "FR": r"([0-9]{5})", "ES": r"((?:0[1-9]|[1-4][0-9]|5[0-2])[0-9]{3})", "FI": r"([0-9]{5})",
    "HR": r"([0-9]{5})", "TR": r"([0-9]{5})", "MX": r"([0-9]{5})", "US": r"([0-9]{5})(?:-?([0-9]{4}))?",
    "AT": r"([1-9][0-9]{3})", "BE": r"([1-9][0-9]{3})", "CH": r"([1-9][0-9]{3})", "LI": r"(94[89][0-9])",
    "DK": r"([0-9]{4})", "NO": r"([0-9]{4})", "HU": r"([1-9][0-9]{3})", "SI": r"([1-9][0-9]{3})",
    "BG": r"([1-9][0-9]{3})", "LU": r"([1-9][0-9]{3})", "AL": r"([1-9][0-9]{3})", "AU": r"([0-9]{4})",
    "NL": r"([1-9][0-9]{3})([A-Z]{2})", "PT": r"([1-9][0-9]{3})-?([0-9]{3})", "PL": r"([0-9]{2})-?([0-9]{3})",
    "SE": r"([1-9][0-9]{2})([0-9]{2})", "CZ": r"([1-7][0-9]{2})([0-9]{2})", "SK": r"([089][0-9]{2})([0-9]{2})",
    "GR": r"([1-8][0-9]{2})([0-9]{2})", "RO": r"([0-9]{6})", "IN": r"([1-9][0-9]{5})", "BR": r"([0-9]{5})-?([0-9]{3})",
    "JP": r"([0-9]{3})-?([0-9]{4})", "CA": r"([A-CEGHJ-NPR-TVXY][0-9][A-Z])([0-9][A-Z][0-9])",
    "GB": r"([A-Z]{1,2}[0-9][A-Z0-9]?)([0-9][A-Z]{2})", "IE": r"([A-Z][0-9][0-9W])([A-Z0-9]{4})",
}  # fmt: skip
_BETWEEN = {"US": "-", "PT": "-", "PL": "-", "BR": "-", "JP": "-"}  # a space elsewhere
_OTHER = re.compile(r"(?=[A-Z-]*[0-9])[A-Z0-9](?:[A-Z0-9-]{1,8})[A-Z0-9]\Z", re.ASCII)
_NAME = re.compile(
    r"(?:IL |THE |MY |MIO )*(?:C\.?A\.?P\.?|ZIP(?: CODE)?|POSTCODE|POSTAL CODE|CODICE POSTALE)[:. ]+"
)


@answer
class PostalCode(AnswerType):
    """Gives the code as the country writes it."""

    key = "postal_code"
    label = in_words("codice postale", "postal code")
    reasons = ("postal_code",)
    takes = frozenset(("country",))

    def read(self, received: Received, reading: Reading) -> Valid | Invalid:
        text = words_of(received)
        if not text or len(text) > MAX_INPUT:
            return Invalid("postal_code")
        code = normal(_NAME.sub("", " ".join(text.upper().split())).strip(" .!"), reading.region)
        return Invalid("postal_code") if code is None else Valid(code, text)


def normal(code: str, country: str) -> str | None:
    """The code as the country writes it; None for what is none. `code` is in upper case."""
    form = _form(country)
    if form is None:
        return code if _OTHER.match(code.replace(" ", "")) else None
    found = form.match(code.replace(" ", ""))
    if found is None or (country == "IT" and code.startswith("0000")):
        return None
    return _BETWEEN.get(country, " ").join(part for part in found.groups() if part)


@cache
def _form(country: str) -> re.Pattern[str] | None:
    """Made when the country's first code comes: nearly all codes are of one or two countries."""
    form = _FORMS.get(country)
    return None if form is None else re.compile(form + r"\Z", re.ASCII)


def pattern(country: str) -> str | None:
    """The expression that finds a country's code in a text in upper case, without groups; None where none is listed."""
    form = _FORMS.get(country)
    return None if form is None else re.sub(r"\((?!\?)", "(?:", form).replace(")(?:", ") ?(?:")
