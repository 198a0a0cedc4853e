"""Expressions of the specifications before 13, translated: `@flow.age` → `@results.age`, `@(UPPER(contact))` → ….

The old language was that of a spreadsheet: `@contact.age` were the contact's fields, functions counted from 1, `&`
bound less than anything, `"` was doubled within texts, and a number added to a date meant days. The translation reads
the old tree and writes a new one; an expression that cannot be read stays as it was written, as RapidPro does.

Bounded: MAX_DEPTH of the tree, otherwise linear.
"""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Sequence
from typing import NamedTuple

from flows.importers.rapidpro.templates import rewritten

ROOTS = frozenset(("channel", "child", "contact", "date", "extra", "flow", "parent", "step"))
NEW_ROOTS = frozenset(
    "contact fields urns results locals input run child parent webhook globals trigger legacy_extra node".split()
)
SCHEMES = frozenset(
    "discord ext facebook fcm freshchat instagram jiochat line mailto rocketchat slack tel telegram twitter twitterid"
    " viber vk webchat wechat whatsapp".split()
)
MAX_DEPTH = 50


def translated(
    template: str, *, raw_dates: bool = False, for_address: bool = False, or_itself: bool = False
) -> str:
    """The template in the new language. `raw_dates`: days stay values, to be compared with; `for_address`: values
    are encoded for a URL; `or_itself`: an expression in error stands for its own text."""

    def shown(inside: Part, source: str) -> str:
        text = inside.text
        if inside.kind == "day" and not raw_dates:
            text = f"format_date({text})"
        if or_itself:
            text = f"if(is_error({text}), {json.dumps(source, ensure_ascii=False)}, {text})"
        if for_address:
            text = f"url_encode({text})"
        return f"@{text}" if _is_path(text) else f"@({text})"

    def path(found: str) -> str:
        return shown(_path(found), f"@{found}")

    def expression(inside: str) -> str:
        if inside.strip() == '""':  # how authors said "nothing" to an editor that wanted something
            return ""
        try:
            return shown(_Parser(inside).whole(), f"@({inside})")
        except _Unreadable:
            return f"@({inside})"

    return rewritten(template, ROOTS, path=path, expression=expression)


class Part(NamedTuple):
    """A translated part: `strength` of its outermost operator, `kind` of its value: number, day, datetime, time, ""."""

    text: str
    strength: int
    kind: str = ""


ATOM = 9
_OLD = {"&": 1, "=": 2, "<>": 2, "<": 3, "<=": 3, ">": 3, ">=": 3, "+": 4, "-": 4, "*": 5, "/": 5, "^": 6}
_NEW = {"=": 1, "!=": 1, "<": 2, "<=": 2, ">": 2, ">=": 2, "&": 3, "+": 4, "-": 4, "*": 5, "/": 5, "^": 6}
_TOKEN = re.compile(
    r'\s*(?:(?P<text>"(?:[^"]|"")*")|(?P<number>\d+(?:\.\d+)?)|(?P<name>[^\W\d]\w*(?:\.\w+)*)'
    r"|(?P<mark><>|<=|>=|[-+*/^&=<>(),]))"
)


class _Unreadable(Exception):
    """Not an expression of the old language."""


class _Parser:
    """Reads an old expression by precedence and writes the new one on the way."""

    def __init__(self, source: str) -> None:
        self._tokens: list[tuple[str, str]] = []
        at = 0
        source = source.rstrip()
        while at < len(source):
            found = _TOKEN.match(source, at)
            if found is None:
                raise _Unreadable
            self._tokens.append((str(found.lastgroup), found[str(found.lastgroup)]))
            at = found.end()
        self._at = 0
        self._depth = 0

    def whole(self) -> Part:
        part = self._operation(0)
        if self._at != len(self._tokens):
            raise _Unreadable
        return part

    def _operation(self, least: int) -> Part:
        self._depth += 1
        if self._depth > MAX_DEPTH:
            raise _Unreadable
        left = self._single()
        while (mark := self._mark()) in _OLD and _OLD[mark] > least:
            self._at += 1
            left = _operated(mark, left, self._operation(_OLD[mark]))
        self._depth -= 1
        return left

    def _single(self) -> Part:
        kind, text = self._take()
        match kind:
            case "text":
                return Part(json.dumps(text[1:-1].replace('""', '"'), ensure_ascii=False), ATOM)
            case "number":
                return Part(text, ATOM, "number")
            case "name":
                if self._mark() == "(":
                    return _called(text.lower(), self._arguments())
                if text.lower() in ("true", "false"):
                    return Part(text.lower(), ATOM)
                return _path(text)
            case _ if text == "-":
                part = self._operation(6)
                return Part(f"-{_within(part, 7)}", 7, part.kind)
            case _ if text == "(":
                part = self._operation(0)
                self._expect(")")
                return part
        raise _Unreadable

    def _arguments(self) -> list[Part]:
        self._expect("(")
        arguments: list[Part] = []
        while self._mark() != ")":
            if arguments:
                self._expect(",")
            arguments.append(self._operation(0))
        self._expect(")")
        return arguments

    def _mark(self) -> str:
        return self._tokens[self._at][1] if self._at < len(self._tokens) else ""

    def _take(self) -> tuple[str, str]:
        if self._at >= len(self._tokens):
            raise _Unreadable
        self._at += 1
        return self._tokens[self._at - 1]

    def _expect(self, mark: str) -> None:
        if self._take() != ("mark", mark):
            raise _Unreadable


def _operated(mark: str, left: Part, right: Part) -> Part:
    if mark in "+-":
        by = right.text if mark == "+" else f"-{_within(right, 7)}"
        if right.kind == "time":
            return _with_time(mark, left, right.text)
        if left.kind in ("day", "datetime"):
            return Part(f'datetime_add({left.text}, {by}, "D")', ATOM, left.kind)
        if left.kind != "number" or right.kind != "number":  # a field may hold a number or a date
            return Part(f"legacy_add({left.text}, {by})", ATOM)
    new = "!=" if mark == "<>" else mark
    strength = _NEW[new]
    kind = "number" if mark in "+-*/^" else ""
    return Part(f"{_within(left, strength)} {new} {_within(right, strength + 1)}", strength, kind)


def _with_time(mark: str, left: Part, time: str) -> Part:
    """A day at a time of day; hours and minutes later or earlier than a moment."""
    if mark == "+" and left.kind != "datetime":
        return Part(f"replace_time({left.text}, {time})", ATOM, "datetime")
    minutes = f'format_time({time}, "tt") * 60 + format_time({time}, "m")'
    by = minutes if mark == "+" else f"-({minutes})"
    return Part(f'datetime_add({left.text}, {by}, "m")', ATOM, "datetime")


def _within(part: Part, strength: int) -> str:
    """The part's text where something of this strength stands around it."""
    return part.text if part.strength >= strength else f"({part.text})"


# --- what names stand for -----------------------------------------------------------------------------------------

_RESULT = {"value": "value", "category": "category_localized", "text": "input", "time": "created_on"}
_DAYS = {
    "": Part("now()", ATOM, "datetime"),
    "now": Part("now()", ATOM, "datetime"),
    "today": Part("today()", ATOM, "day"),
    "tomorrow": Part('datetime_add(now(), 1, "D")', ATOM, "day"),
    "yesterday": Part('datetime_add(now(), -1, "D")', ATOM, "day"),
}


def _path(name: str) -> Part:
    root, *rest = name.lower().split(".")
    match root:
        case "date":
            return _DAYS.get(".".join(rest), Part(name.lower(), ATOM))
        case "flow" | "step" if rest[:1] == ["contact"]:
            return _contact("", rest[1:])
        case "parent" | "child" if rest[:1] == ["contact"]:
            return _contact(f"{root}.", rest[1:])
        case "contact":
            return _contact("", rest)
        case "flow":
            return _result("results", rest)
        case "parent" | "child":
            return _result(f"{root}.results", rest)
        case "extra" if rest[:1] == ["flow"]:
            return _result("parent.results", rest[1:])
        case "extra":
            return _dotted("legacy_extra", rest)
        case "step":
            return _step(rest)
        case "channel":
            return Part("contact.channel.name" if rest == ["name"] else "contact.channel.address", ATOM)
    return Part(name.lower(), ATOM)


def _contact(owner: str, rest: list[str]) -> Part:
    match rest:
        case []:
            return Part(f"{owner}contact", ATOM)
        case ["uuid" | "id" | "name" | "first_name" | "language" | "created_on" as key]:
            return Part(f"{owner}contact.{key}", ATOM)
        case ["groups"]:
            return Part(f'join({owner}contact.groups, ",")', ATOM)
        case ["tel"]:
            return Part(f"format_urn({owner}urns.tel)", ATOM)
        case ["tel_e164"]:
            return Part(f'default(urn_parts({owner}urns.tel).path, "")', ATOM)
        case [scheme] if scheme in SCHEMES:
            return Part(f'default(urn_parts({owner}urns.{scheme}).path, "")', ATOM)
        case [scheme, "display"] if scheme in SCHEMES:
            return Part(f"format_urn({owner}urns.{scheme})", ATOM)
        case [scheme, ("path" | "scheme") as key] if scheme in SCHEMES:
            return Part(f"urn_parts({owner}urns.{scheme}).{key}", ATOM)
        case [scheme, "urn"] if scheme in SCHEMES:
            return Part(f"{owner}urns.{scheme}", ATOM)
    return _dotted(f"{owner}fields", rest)


def _result(root: str, rest: list[str]) -> Part:
    match rest:
        case [key, part] if part in _RESULT:
            return _dotted(root, [key, _RESULT[part]])
    return _dotted(root, rest)


def _step(rest: list[str]) -> Part:
    match rest:
        case [] | ["value"]:
            return Part("input", ATOM)
        case ["text"]:
            return Part("input.text", ATOM)
        case ["time"]:
            return Part("input.created_on", ATOM)
        case ["attachments"]:
            return Part('foreach(foreach(input.attachments, attachment_parts), extract, "url")', ATOM)
        case ["attachments", number] if number.isdigit():
            return Part(f"attachment_parts(input.attachments[{number}]).url", ATOM)
    return _dotted("input", rest)


def _dotted(root: str, rest: Sequence[str]) -> Part:
    """A path; a part that begins with a figure stands in brackets."""
    return Part(root + "".join(f'["{key}"]' if key[:1].isdigit() else f".{key}" for key in rest), ATOM)


def _is_path(text: str) -> bool:
    return re.fullmatch(r"[^\W\d]\w*(?:\.\w+)*", text) is not None and text.split(".")[0] in NEW_ROOTS


# --- functions ----------------------------------------------------------------------------------------------------

_RENAMED = {
    "average": "mean",
    "date": "date_from_parts",
    "datedif": "datetime_diff",
    "datevalue": "date",
    "format_date": "format_datetime",
    "int": "round_down",
    "len": "text_length",
    "proper": "title",
    "randbetween": "rand_between",
    "read_digits": "read_chars",
    "regex_group": "regex_match",
    "rept": "repeat",
    "rounddown": "round_down",
    "roundup": "round_up",
    "substitute": "replace",
    "time": "time_from_parts",
    "timevalue": "time",
    "trunc": "round_down",
    "unichar": "char",
    "unicode": "code",
}
_KINDS = {
    **dict.fromkeys(
        "abs epoch max mean min mod rand rand_between round round_down round_up text_length weekday word_count".split(),
        "number",
    ),
    **dict.fromkeys(("date_from_parts", "date", "today"), "day"),
    **dict.fromkeys(("now", "datetime_add", "replace_time"), "datetime"),
    **dict.fromkeys(("time", "time_from_parts"), "time"),
}
_FORMATS = {"day": "D", "month": "M", "year": "YYYY", "hour": "tt", "minute": "m", "second": "s"}


def _called(name: str, arguments: list[Part]) -> Part:
    special = _SPECIAL.get(name)
    if special is not None:
        try:
            return special(arguments)
        except IndexError:  # too few arguments: the new engine says so, as the old one did
            pass
    if name in _FORMATS and len(arguments) == 1:
        function = "format_date" if name in ("day", "month", "year") else "format_datetime"
        return Part(f'{function}({arguments[0].text}, "{_FORMATS[name]}")', ATOM)
    new = _RENAMED.get(name, name)
    return Part(f"{new}({', '.join(argument.text for argument in arguments)})", ATOM, _KINDS.get(new, ""))


def _less_one(part: Part) -> str:
    """Counting from 0 in place of 1; from the end stays as it is."""
    number = part.text.lstrip("-")
    if number.isdigit():
        return part.text if part.text.startswith("-") else str(int(number) - 1)
    return f"{_within(part, 4)} - 1"


def _by_spaces(arguments: list[Part], at: int) -> list[str]:
    """The old last argument of the word functions: whether words are divided by spaces alone."""
    if len(arguments) <= at:
        return []
    return ['" \\t"' if arguments[at].text.lower() == "true" else "null"]


def _joined(mark: str, strength: int) -> Callable[[list[Part]], Part]:
    def make(arguments: list[Part]) -> Part:
        if not arguments:
            return Part('""', ATOM)
        text = f" {mark} ".join(_within(part, strength + 1) for part in arguments)
        return Part(text, strength if len(arguments) > 1 else ATOM, "number" if mark == "+" else "")

    return make


def _call(name: str, *arguments: str, kind: str = "") -> Part:
    return Part(f"{name}({', '.join(arguments)})", ATOM, kind)


_SPECIAL: dict[str, Callable[[list[Part]], Part]] = {
    "concatenate": _joined("&", 3),
    "sum": _joined("+", 4),
    "days": lambda a: _call("datetime_diff", a[1].text, a[0].text, '"D"', kind="number"),
    "edate": lambda a: _call("datetime_add", a[0].text, a[1].text, '"M"', kind="datetime"),
    "exp": lambda a: Part(f"2.718281828459045 ^ {_within(a[0], 7)}", 6, "number"),
    "false": lambda a: Part("false", ATOM),
    "true": lambda a: Part("true", ATOM),
    "field": lambda a: _call("field", a[0].text, _less_one(a[1]), *(part.text for part in a[2:])),
    "first_word": lambda a: _call("word", a[0].text, "0"),
    "fixed": lambda a: _call("format_number", a[0].text, *([part.text for part in a[1:]] or ["2"])),
    "left": lambda a: _call("text_slice", a[0].text, "0", a[1].text),
    "power": lambda a: Part(f"{_within(a[0], 6)} ^ {_within(a[1], 7)}", 6, "number"),
    "right": lambda a: _call("text_slice", a[0].text, f"-{_within(a[1], 7)}"),
    "weekday": lambda a: Part(f"weekday({a[0].text}) + 1", 4, "number"),
    "word": lambda a: _call("word", a[0].text, _less_one(a[1]), *_by_spaces(a, 2)),
    "word_count": lambda a: _call("word_count", a[0].text, *_by_spaces(a, 1), kind="number"),
    "word_slice": lambda a: _call(
        "word_slice",
        a[0].text,
        _less_one(a[1]),
        *([_less_one(a[2])] if len(a) > 2 else []),
        *_by_spaces(a, 3),
    ),
}
