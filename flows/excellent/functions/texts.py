"""Text: pieces, words, case, replacing, encoding."""

from __future__ import annotations

import html
import re
import unicodedata
from decimal import Decimal
from typing import Any
from urllib.parse import quote

import re2

from domain.operators.matches_pattern import MAX_PATTERN, compiled
from flows.excellent.evaluation import Evaluation
from flows.excellent.functions import function
from flows.excellent.tokens import words_by
from flows.excellent.values import MAX_TEXT, Fault

PATTERN = 1_200  # price: RE2 may take eight milliseconds to read a pattern of 500 characters


@function("integer")
def char(evaluation: Evaluation, code: int) -> Any:
    """`char(33)` → !"""
    if not 0 < code < 0x110000 or 0xD800 <= code <= 0xDFFF:
        return Fault("error calling char: there is no such character")
    return chr(code)


@function("text")
def code(evaluation: Evaluation, value: str) -> Any:
    """`code("a")` → 97."""
    return Decimal(ord(value[0])) if value else Fault("error calling code: text is empty")


@function("text, [text]", per_character=1)
def split(evaluation: Evaluation, value: str, delimiters: str | None = None) -> Any:
    """`split("a b c")` → [a, b, c]; its words, or what stands between delimiters."""
    return words_by(value, delimiters)


@function("text, [text]")
def trim(evaluation: Evaluation, value: str, characters: str | None = None) -> str:
    """Without white space, or those characters, at both ends."""
    return value.strip(characters)


@function("text, [text]")
def trim_left(evaluation: Evaluation, value: str, characters: str | None = None) -> str:
    """The same at the start."""
    return value.lstrip(characters)


@function("text, [text]")
def trim_right(evaluation: Evaluation, value: str, characters: str | None = None) -> str:
    """The same at the end."""
    return value.rstrip(characters)


_WORD = re.compile(r"[^\W_]+(?:'[^\W_]+)*")


@function("text", per_character=1)
def title(evaluation: Evaluation, value: str) -> str:
    """`title("ANNA rossi")` → Anna Rossi."""
    return _WORD.sub(lambda found: found[0][:1].upper() + found[0][1:].lower(), value)


@function("text, integer, [text]", per_character=1)
def word(evaluation: Evaluation, value: str, index: int, delimiters: str | None = None) -> Any:
    """`word("bee cat dog", 0)` → bee; negative numbers count from the end."""
    found = words_by(value, delimiters)
    if not -len(found) <= index < len(found):
        return Fault(f"error calling word: index {index} out of range for {len(found)} words")
    return found[index]


@function("text, integer, [integer], [text]", per_character=1)
def word_slice(
    evaluation: Evaluation, value: str, start: int, end: int = -1, delimiters: str | None = None
) -> Any:
    """`word_slice("bee cat dog", 1, -1)` → cat dog; a negative end means the last word."""
    if start < 0:
        return Fault("error calling word_slice: start must not be negative")
    found = words_by(value, delimiters)
    return " ".join(found[start:] if end < 0 else found[start:end])


@function("text, [text]", per_character=1)
def word_count(evaluation: Evaluation, value: str, delimiters: str | None = None) -> Decimal:
    """`word_count("foo bar")` → 2."""
    return Decimal(len(words_by(value, delimiters)))


@function("text")
def remove_first_word(evaluation: Evaluation, value: str) -> str:
    """`remove_first_word("Hi there. You!")` → there. You!"""
    return "".join(value.split(None, 1)[1:])


@function("text, integer, text")
def field(evaluation: Evaluation, value: str, index: int, delimiter: str) -> Any:
    """`field("a,b,c", 1, ",")` → b; a space stands for any white space; nothing behind the last."""
    if index < 0:
        return Fault("error calling field: index must not be negative")
    if delimiter == "":
        found = list(value[: index + 1])
    else:
        found = re.split(" +", value.strip(" ")) if delimiter == " " else value.split(delimiter)
    return found[index].strip() if index < len(found) else ""


@function("text", per_character=1)
def clean(evaluation: Evaluation, value: str) -> str:
    """Without characters that cannot be printed."""
    return "".join(
        one for one in value if unicodedata.category(one) not in ("Cc", "Cf", "Zl", "Zp") or one == "\u200d"
    )


@function("text, integer, [integer]")
def text_slice(evaluation: Evaluation, value: str, start: int, end: int | None = None) -> str:
    """`text_slice("hello", 1, 3)` → el."""
    return value[start:end]


@function("text", per_character=1)
def lower(evaluation: Evaluation, value: str) -> str:
    """In lower case."""
    return value.lower()


@function("text", per_character=1)
def upper(evaluation: Evaluation, value: str) -> str:
    """In upper case, letter by letter: ß stays, as there."""
    if value.isascii():
        return value.upper()
    return "".join(large if len(large := one.upper()) == 1 else one for one in value)


@function("text, text, [integer]", price=PATTERN)
def regex_match(evaluation: Evaluation, value: str, pattern: str, group: int = 0) -> Any:
    """`regex_match("Bob Smith", "(\\w+) (\\w+)", 2)` → Smith. RE2, without case; nothing when not found."""
    if len(pattern) > MAX_PATTERN:
        return Fault(f"error calling regex_match: a pattern has at most {MAX_PATTERN} characters")
    try:
        program = compiled(f"(?mi){pattern}")
    except re2.error:
        return Fault("error calling regex_match: invalid regular expression")
    if not 0 <= group <= program.groups:
        return Fault("error calling regex_match: invalid regular expression group")
    found = program.search(value)
    return "" if found is None else found.group(group) or ""


@function("text")
def text_length(evaluation: Evaluation, value: str) -> Decimal:
    """`text_length("abc")` → 3."""
    return Decimal(len(value))


@function("text, text")
def text_compare(evaluation: Evaluation, first: str, second: str) -> Decimal:
    """-1, 0 or 1, as in a dictionary."""
    return Decimal((first > second) - (first < second))


@function("text, integer")
def repeat(evaluation: Evaluation, value: str, count: int) -> Any:
    """`repeat("*", 8)`."""
    if count < 0:
        return Fault("error calling repeat: the count must not be negative")
    if len(value) * count > MAX_TEXT:
        return Fault(f"error calling repeat: text longer than {MAX_TEXT} characters")
    return evaluation.made(value * count)


@function("text, text, text, [integer]")
def replace(evaluation: Evaluation, value: str, needle: str, replacement: str, count: int = -1) -> Any:
    """`replace("foo bar", "foo", "zap")`."""
    times = min(value.count(needle), count if count >= 0 else MAX_TEXT)
    if len(value) + times * (len(replacement) - len(needle)) > MAX_TEXT:
        return Fault(f"error calling replace: text longer than {MAX_TEXT} characters")
    return evaluation.made(value.replace(needle, replacement, times))


@function("text", per_character=1)
def url_encode(evaluation: Evaluation, value: str) -> str:
    """`url_encode("two & words")` → two%20%26%20words."""
    return quote(value, safe="-_.~")


@function("text", per_character=1)
def html_decode(evaluation: Evaluation, value: str) -> str:
    """`html_decode("Red &amp; Blue")`."""
    return html.unescape(value)


@function("text")
def read_chars(evaluation: Evaluation, value: str) -> Any:
    """`read_chars("abcdef")` → a b c , d e f: in threes or fours where that goes, for voices that read."""
    letters = value.removeprefix("+")
    if len(letters) == 9:  # as US social security numbers are said
        groups = [letters[:3], letters[3:5], letters[5:]]
    elif letters and len(letters) % 3 == 0 and len(letters) > 3:
        groups = [letters[at : at + 3] for at in range(0, len(letters), 3)]
    elif letters and len(letters) % 4 == 0:
        groups = [letters[at : at + 4] for at in range(0, len(letters), 4)]
    else:
        return evaluation.made(" ".join(letters) if len(letters) == 3 else " , ".join(letters))
    return evaluation.made(" , ".join(" ".join(group) for group in groups))
