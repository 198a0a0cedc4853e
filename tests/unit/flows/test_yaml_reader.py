"""YAML by its 1.2 rules: what stays text, what is refused, where, and how quickly."""

from __future__ import annotations

import time
from typing import Any

import pytest

from domain.errors import RejectedInput
from flows.yaml_reader import MAX_SIZE, read


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("no", "no"),
        ("Yes", "Yes"),
        ("on", "on"),
        ("22:30", "22:30"),
        ("012", "012"),
        ("0x1F", "0x1F"),
        ("1e3", "1e3"),
        (".inf", ".inf"),
        (".nan", ".nan"),
        ("1_000", "1_000"),
        ("2026-12-05", "2026-12-05"),
        ("5.50", "5.50"),
        ("+39 333", "+39 333"),
        ("=", "="),
        ("<<", "<<"),
        ("'12'", "12"),
        ('"true"', "true"),
        ("12", 12),
        ("-3", -3),
        ("5.5", 5.5),
        ("true", True),
        ("False", False),
        ("null", None),
        ("~", None),
        ("~e-mail", "~e-mail"),
        ("|\n  a\n  b\n", "a\nb\n"),
    ],
)
def test_scalars(text: str, value: Any) -> None:
    """A value means what version 1.2 says, leading zeros and half-decimals stay as they were written."""
    found = read(f"key: {text}", name="f").data["key"]
    assert found == value
    assert type(found) is type(value)


def test_keys_are_text_and_lines_are_kept() -> None:
    """`yes` and `no` can be keys, and every path knows its line."""
    document = read("a:\n  yes: x\n  no: [1,\n    2]\n", name="f")
    assert document.data == {"a": {"yes": "x", "no": [1, 2]}}
    assert document.lines.of("a", "no") == 3
    assert document.lines.of("a", "no", 1) == 4
    assert document.lines.of("a", "no", 7, "deeper") == 3


LAUGHS = "a: &a [x,x,x,x]\n" + "".join(
    f"{b}: &{b} [*{a},*{a},*{a},*{a}]\n" for a, b in zip("abcdefgh", "bcdefghi", strict=True)
)


@pytest.mark.parametrize(
    ("text", "words"),
    [
        (LAUGHS, "line 1.*aliases"),
        ("a: 1\nb: *x", "line 2"),
        ("a: !!python/object/apply:os.system [id]", "line 1.*tags"),
        ("a: !!int '3'", "tags"),
        ("!x key: 1", "tag"),
        ("a: 1\na: 2", "line 2.*twice"),
        ("? [a, b]\n: c", "key must be a plain text"),
        ("a: 1\n---\nb: 2", "line 2.*one document"),
        ("a: [1, 2", "line"),
        ("a: 'open", "line"),
        ("a: \x00", "not readable"),
        ("a: \ud800", "surrogate"),
        ("[" * 100_000, "levels deep"),
        ("a: " * 50_000, "not readable"),
        ("{a: " * 20_000 + "}" * 20_000, "levels deep"),
        ("a: " + "x" * MAX_SIZE, "at most"),
        ("\tb: 1", "not readable"),
        ("%YAML 9.9\n---\na: 1", "not readable"),
    ],
)
def test_refused_with_line_and_reason(text: str, words: str) -> None:
    """Hostile or broken input is refused at once, with its place."""
    started = time.process_time()
    with pytest.raises(RejectedInput, match=f"(?s)^flow.yaml.*{words}"):
        read(text, name="flow.yaml")
    assert time.process_time() - started < 0.2  # seconds


def test_nothing_is_nothing() -> None:
    """An empty text holds no data."""
    assert read("", name="f").data is None
    assert read("# only a comment\n", name="f").data is None


@pytest.mark.parametrize(
    ("text", "line", "words"),
    [
        ("a:\n\tb: 1", 2, "lines are indented with spaces, not with tabs"),
        ("a: Your e-mail: which?", 1, "a text with a colon in it needs quotation marks"),
        ("a: {it: L'una?: sì, en: 'x'}", 1, "between { and } a text with a comma, a colon"),
        ("a: [one, two\nb: 1", 2, "between [ and ] a text with a comma"),
        ("a:\n    b: 1\n   c: 2", 3, "not indented like its neighbours"),
        ("a: @now", 1, "a text that begins with this sign needs quotation marks"),
        ("a: *bold*", 1, "a text that begins with * or & needs quotation marks"),
        ("a: *bold", 1, "a text that begins so needs quotation marks"),
        ('a: "never closed\nb: 1\n', 3, "a quotation mark is never closed"),
    ],
)
def test_slips_are_told_in_plain_words(text: str, line: int, words: str) -> None:
    """What people get wrong in YAML, told by what to do about it; the line is where it was noticed."""
    with pytest.raises(RejectedInput) as caught:
        read(text, name="f.yaml")
    assert words in caught.value.what
    assert caught.value.where.startswith("f.yaml, line ")
    assert abs(int(caught.value.where.rsplit(" ", 1)[1]) - line) <= 1
