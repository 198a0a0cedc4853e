"""`tax_code`: an Italian codice fiscale or partita IVA, with its check character.

`rssmra85t10a562s` → `"RSSMRA85T10A562S"`, category `codice_fiscale` (also with letters in place of figures, as
the tax office writes when two people would have the same: omocodia); `IT 12345678903` → `"12345678903"`, category
`partita_iva`.
"""

from __future__ import annotations

import re

from domain.messages import Received
from domain.operators import in_words
from flows.answers import AnswerType, Invalid, Reading, Valid, answer, words_of

MAX_INPUT = 60  # characters

# D.M. 23 December 1976 (codice fiscale) and D.P.R. 633/1972, art. 35 (partita IVA): shapes and check characters.
_PERSON = re.compile(
    r"[A-Z]{6}[0-9LMNPQRSTUV]{2}[ABCDEHLMPRST][0-9LMNPQRSTUV]{2}[A-Z][0-9LMNPQRSTUV]{3}[A-Z]\Z", re.ASCII
)
_FIRM = re.compile(r"(?:IT)?([0-9]{11})\Z", re.ASCII)
_NAME = re.compile(
    r"(?:IL |LA |MIO |MIA )*(?:CODICE FISCALE|C\.?F\.?|PARTITA IVA|P\.? ?IVA|VAT(?: NUMBER)?)[:. ]+"
)
_ODD = (1, 0, 5, 7, 9, 13, 15, 17, 19, 21, 2, 4, 18, 20, 11, 3, 6, 8, 12, 14, 16, 10, 22, 25, 24, 23)
_FIGURES = dict(zip("LMNPQRSTUV", "0123456789", strict=True))  # omocodia
_LONG_MONTHS = {
    "A": 31,
    "B": 29,
    "C": 31,
    "D": 30,
    "E": 31,
    "H": 30,
    "L": 31,
    "M": 31,
    "P": 30,
    "R": 31,
    "S": 30,
    "T": 31,
}


@answer
class TaxCode(AnswerType):
    """Gives the code in capitals, without spaces. `check_digit` is the reason where only the last sign is wrong."""

    key = "tax_code"
    label = in_words("codice fiscale o partita IVA", "Italian tax code or VAT number")
    reasons = ("tax_code", "check_digit")

    def read(self, received: Received, reading: Reading) -> Valid | Invalid:
        text = words_of(received)
        if not text or len(text) > MAX_INPUT:
            return Invalid("tax_code")
        named = _NAME.sub("", " ".join(text.upper().split()))
        code = named.replace(" ", "").replace("-", "").strip(".!")
        if _PERSON.match(code) and _born(code):
            fits = _check_character(code[:15]) == code[15]
            return Valid(code, text, "codice_fiscale") if fits else Invalid("check_digit")
        firm = _FIRM.match(code)
        if firm is None or firm[1] == "0" * 11:
            return Invalid("tax_code")
        return Valid(firm[1], text, "partita_iva") if _sum(firm[1]) % 10 == 0 else Invalid("check_digit")


def _born(code: str) -> bool:
    """Whether there is such a day of birth; 40 is added to that of women."""
    day = int("".join(_FIGURES.get(sign, sign) for sign in code[9:11])) % 40
    return 1 <= day <= _LONG_MONTHS[code[8]] and int(_FIGURES.get(code[9], code[9])) <= 7


def _check_character(code: str) -> str:
    total = 0
    for place, sign in enumerate(code, 1):
        value = ord(sign) - (48 if sign.isdigit() else 65)
        total += _ODD[value] if place % 2 else value
    return chr(65 + total % 26)


def _sum(code: str) -> int:
    """Luhn's sum, in which every second figure counts twice."""
    figures = [int(sign) for sign in code]
    doubled = [2 * figure - (9 if figure > 4 else 0) for figure in figures[1::2]]
    return sum(figures[0::2]) + sum(doubled)
