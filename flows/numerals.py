"""Numbers as people write them in Italian and English: in figures, in words, and mixed.

`ventuno`, `milleduecento`, `10mila`, `due e mezzo`, `tre virgola cinque`, `un paio`, `twenty-one`, `a hundred and
five`, `1.234,50`, `1,234.50`, `1 234,50`, `1,5 milioni`. Both languages are understood whatever the session's; the
language decides one thing only: what a single mark before three figures means (`1.234` is 1234 in Italian, 1.234 in
English).

A closed grammar: the whole text must be a number, else the answer is None. "siamo in tre", "3 o 4", "circa 20" are no
numbers; nor are figures of other scripts, powers (`1e9`) and fractions (`1/2`).
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from decimal import Decimal
from functools import cache

MAX_INPUT = 120  # characters: the longest number below a billion has 95 in Italian
MAX_FIGURES = 15  # before the decimal mark: what a 64-bit float holds exactly

_IT_SMALL = (
    "zero uno due tre quattro cinque sei sette otto nove dieci undici dodici tredici quattordici quindici sedici "
    "diciassette diciotto diciannove"
).split()
_IT_TENS = "venti trenta quaranta cinquanta sessanta settanta ottanta novanta".split()
_EN_SMALL = (
    "zero one two three four five six seven eight nine ten eleven twelve thirteen fourteen fifteen sixteen "
    "seventeen eighteen nineteen"
).split()
_EN_TENS = "twenty thirty forty fifty sixty seventy eighty ninety".split()
_SPECIAL = {
    "nessuno": 0, "nessuna": 0, "none": 0, "nil": 0, "un paio": 2, "una coppia": 2, "a couple": 2, "a pair": 2,
    "una dozzina": 12, "mezza dozzina": 6, "a dozen": 12, "one dozen": 12, "half a dozen": 6,
}  # fmt: skip
_HALF = {"mezzo", "mezza", "half", "un mezzo", "una meta", "a half", "one half"}
_AND_A_HALF = (" e mezzo", " e mezza", " and a half")
_POINTS = (" virgola ", " punto ", " comma ", " point ")
_FACTORS = {
    "k": 10**3, "mila": 10**3, "thousand": 10**3,
    "mln": 10**6, "milione": 10**6, "milioni": 10**6, "million": 10**6,
}  # fmt: skip

_UNACCENTED = str.maketrans("àáâèéêìíîòóôùúû’‘−", "aaaeeeiiiooouuu''-")
_LARGE_IT = re.compile(r"(?:(.+?)(?:milione|milioni))?(?:(.*?)(mila|mille))?(.*)", re.ASCII)
_PLAIN = re.compile(r"[+-]?([0-9]{1,15})(?:([.,])([0-9]{1,9}))?\Z", re.ASCII)
_GROUPED = re.compile(
    r"[+-]?(?!0)[0-9]{1,3}(?:([.,' ])[0-9]{3})(?:\1[0-9]{3}){0,3}(?:(?!\1)[.,][0-9]{1,9})?\Z", re.ASCII
)
_SCALED = re.compile(r"([+-]?[0-9][0-9.,]{0,11}) ?([a-z]{1,8})\Z", re.ASCII)


def simple(text: str) -> str:
    """Lower case without accents, single spaces (also for the narrow and unbreakable ones), plain signs."""
    return " ".join(text.lower().split()).translate(_UNACCENTED)


def number(text: str, language: str) -> Decimal | None:
    """The number that the whole text is; None when it is none."""
    if len(text) > MAX_INPUT:
        return None
    text = simple(text)
    if (found := figures(text, language)) is not None:
        return found
    for sign in ("meno ", "minus ", "negative "):
        if text.startswith(sign):
            positive = number(text[len(sign) :], language)
            return None if positive is None or positive < 0 else -positive
    if scaled := _SCALED.match(text):
        factor = _FACTORS.get(scaled[2])
        base = figures(scaled[1], language) if factor else None
        if base is not None and factor:
            return base * factor if abs(base * factor) < 10**MAX_FIGURES else None
    return _spoken(text)


def figures(text: str, language: str) -> Decimal | None:
    """A number in figures, with or without marks between thousands."""
    grouped, plain = _GROUPED.match(text), _PLAIN.match(text)
    if grouped and not (plain and _is_decimal(grouped[1], language)):
        return Decimal(text.replace(grouped[1], "").replace(",", "."))
    return Decimal(text.replace(",", ".")) if plain else None


def whole(words: Sequence[str]) -> int | None:
    """A whole number from 0 up, in words or figures; the words come from `simple`."""
    text = " ".join(words)
    if text.isascii() and text.isdigit():
        return int(text) if len(text) <= MAX_FIGURES else None
    return _whole(text)


def _is_decimal(mark: str, language: str) -> bool:
    """Whether a single mark before three digits (`1.234`) begins the decimals: the comma does in Italian."""
    return mark == ("," if language == "it" else ".")


def _spoken(text: str) -> Decimal | None:
    if text in _HALF:
        return Decimal("0.5")
    for ending in _AND_A_HALF:
        if text.endswith(ending):
            said = text[: -len(ending)].split()
            count = whole(said)
            if count is None or (count >= 100 and said[-1] not in _FACTORS):
                return None  # "duecento e mezzo" says no number that people agree on
            return count + Decimal("0.5") * _FACTORS.get(said[-1], 1)
    for point in _POINTS:
        if point in text:
            before, _, after = text.partition(point)
            count, decimals = whole(before.split()), _decimals(after.split())
            return None if count is None or not decimals else Decimal(f"{count}.{decimals}")
    count = _whole(text)
    return None if count is None else Decimal(count)


def _decimals(words: list[str]) -> str:
    """`cinque` → 5, `venticinque` → 25, `zero cinque` → 05, `two five` → 25; empty when it is neither."""
    if len(words) == 1:
        count = whole(words)
        return str(count) if count is not None and count < 100 else ""
    counts = [whole([word]) for word in words[:6]]
    fits = len(words) <= 6 and all(count is not None and count < 10 for count in counts)
    return "".join(map(str, counts)) if fits else ""


def _whole(text: str) -> int | None:
    if not text or len(text) > MAX_INPUT:
        return None
    if text in _SPECIAL:
        return _SPECIAL[text]
    english = _english(text.replace("-", " ").split())
    return _italian(text) if english is None else english


def _italian(text: str) -> int | None:
    """Italian numbers are one word; those who write them as several are understood, too."""
    words = text.split()
    joined = "".join(
        word
        for place, word in enumerate(words)
        if not (word == "e" and words[place - 1 : place] in _MILLIONS)
    )
    found = _LARGE_IT.match(joined)
    if found is None:
        return None
    known = _italian_below_1000()
    millions, thousands, mille, rest = found.groups()
    total = 0
    if millions is not None:
        if millions not in known or not known[millions]:
            return None
        total += known[millions] * 10**6
    if mille is not None:
        count = 1 if mille == "mille" and not thousands else known.get(thousands or "", 0)
        if not count or (mille == "mille" and thousands) or (mille == "mila" and count == 1):
            return None
        total += count * 1000
    if rest:
        if rest not in known or (total and not known[rest]):
            return None
        total += known[rest]
    return total if rest or total else None


_MILLIONS = (["milione"], ["milioni"])


@cache
def _italian_below_1000() -> dict[str, int]:
    below = dict.fromkeys(("un", "una", "un'"), 1) | {word: number for number, word in enumerate(_IT_SMALL)}
    for place, ten in enumerate(_IT_TENS, 2):
        below[ten] = place * 10
        for unit, word in enumerate(_IT_SMALL[1:10], 1):
            below[(ten[:-1] if unit in (1, 8) else ten) + word] = place * 10 + unit
        below[ten[:-1] + "un"] = place * 10 + 1  # ventun euro
    all_known = dict(below)
    for hundred in range(1, 10):
        start = ("" if hundred == 1 else _IT_SMALL[hundred]) + "cento"
        all_known[start] = hundred * 100
        for word, value in below.items():
            if value and word not in ("un", "una", "un'"):
                all_known[start + word] = hundred * 100 + value
                if word.startswith("o"):
                    all_known[start[:-1] + word] = hundred * 100 + value  # centottanta
    return all_known


def _english(words: list[str]) -> int | None:
    if words[:1] in (["a"], ["an"]) and len(words) > 1 and words[1] in ("hundred", "thousand", "million"):
        words = ["one", *words[1:]]
    total = 0
    for scale, factor in (("million", 10**6), ("thousand", 1000)):
        if scale in words:
            place = words.index(scale)
            count = _english_below_1000().get(" ".join(words[:place]))
            if not count:
                return None
            total += count * factor
            words = words[place + 1 :]
            if not words:
                return total
            if words[0] == "and":
                words = words[1:]
    if len(words) > 3 and words[1:3] == ["hundred", "and"]:
        words = [*words[:2], *words[3:]]
    last = _english_below_1000().get(" ".join(words))
    return None if last is None or (total and not last) else total + last


@cache
def _english_below_1000() -> dict[str, int]:
    below = {word: number for number, word in enumerate(_EN_SMALL)}
    for place, ten in enumerate(_EN_TENS, 2):
        below[ten] = place * 10
        below |= {f"{ten} {word}": place * 10 + unit for unit, word in enumerate(_EN_SMALL[1:10], 1)}
    all_known = dict(below)
    for hundred, word in enumerate(_EN_SMALL[1:], 1):  # up to nineteen hundred
        if hundred == 10:
            continue
        all_known[f"{word} hundred"] = hundred * 100
        all_known |= {
            f"{word} hundred {rest}": hundred * 100 + value for rest, value in below.items() if value
        }
    return all_known
