"""From the text of an expression to a closure: a scanner and a parser by precedence, once per version.

From the tightest: `.name` `[…]` `(…)`, unary `-`, `^`, `*` `/`, `+` `-`, `&`, `<` `<=` `>` `>=`, `=` `!=`; all
of them from left to right. `(a, b) => …` is a lambda. Texts stand in double quotes with JSON's escapes; a doubled
quote is one, as in older flows.

Bounded: MAX_PARTS tokens, MAX_DEPTH of the tree. What is wrong is `Refused` with its place.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from typing import NamedTuple

from flows.excellent import operations
from flows.excellent.operations import Node
from flows.excellent.values import Fault, Function, number

MAX_PARTS = 2_000  # tokens of one expression
MAX_DEPTH = 60  # of its tree: one frame of Python for each level, and some more for a call
MAX_PARAMETERS = 20  # of a lambda

Lookup = Callable[[str], Function | None]

_TOKEN = re.compile(
    r"""\s*(?:
      (?P<number>[0-9]+(?:\.[0-9]+)?|\.[0-9]+)
    | (?P<text>"(?:[^"\\]|\\.|"")*")
    | (?P<name>[^\W\d]\w*)
    | (?P<mark>=>|!=|<>|<=|>=|[-+*/^&=<>().,\[\]])
    )""",
    re.VERBOSE | re.DOTALL,
)
_SPACE = re.compile(r"\s*")
_ESCAPE = re.compile(r'\\(?:u([0-9a-fA-F]{4})|U([0-9a-fA-F]{8})|(.))|""', re.DOTALL)
_ESCAPES = {"n": "\n", "t": "\t", "r": "\r"}
_STRENGTH = {
    "=": 1,
    "!=": 1,
    "<>": 1,
    "<": 2,
    "<=": 2,
    ">": 2,
    ">=": 2,
    "&": 3,
    "+": 4,
    "-": 4,
    "*": 5,
    "/": 5,
    "^": 6,
}
_CONSTANTS = {"true": True, "false": False, "null": None}


class Refused(Exception):
    """What is wrong and where: `at` counts the characters of the source from 0."""

    def __init__(self, what: str, at: int) -> None:
        super().__init__(what)
        self.what = what
        self.at = at


class _Token(NamedTuple):
    kind: str
    text: str
    at: int


class Part(NamedTuple):
    """A compiled part: how to evaluate it, how deep its tree is, and its path when it is a plain one."""

    run: Node
    depth: int
    path: tuple[str, ...] | None = None


def parse(source: str, offset: int, functions: Lookup) -> tuple[Part, Notes]:
    """The closure of an expression and what it refers to. `offset`: where in its text it begins. Raises Refused."""
    parser = _Parser(_tokens(source, offset), functions)
    return parser.whole(), parser.notes


class Notes:
    """What an expression refers to: paths of the context (those within `default(…)` apart), unknown names."""

    def __init__(self) -> None:
        self.reads: set[tuple[str, ...]] = set()
        self.defaulted: set[tuple[str, ...]] = set()
        self.unknown: set[str] = set()


def _tokens(source: str, offset: int) -> list[_Token]:
    found = []
    at, end = 0, len(source)
    while True:
        at = _SPACE.match(source, at).end()  # type: ignore[union-attr]  # it matches anywhere
        if at >= end:
            found.append(_Token("end", "", offset + end))
            return found
        match = _TOKEN.match(source, at)
        if match is None:
            what = (
                "a text that is not closed" if source[at] == '"' else f"{source[at]!r} does not belong here"
            )
            raise Refused(what, offset + at)
        if len(found) >= MAX_PARTS:
            raise Refused(f"an expression has at most {MAX_PARTS} parts", offset + at)
        found.append(_Token(str(match.lastgroup), match[str(match.lastgroup)], offset + at))
        at = match.end()


class _Parser:
    def __init__(self, tokens: list[_Token], functions: Lookup) -> None:
        self._tokens = tokens
        self._next = 0
        self._functions = functions
        self._bound: list[str] = []  # parameters of the lambdas around
        self._level = 0
        self._excused = 0  # inside a function that deals with errors
        self.notes = Notes()

    def whole(self) -> Part:
        part = self._expression(0)
        token = self._peek()
        if token.kind != "end":
            raise Refused(f"{token.text!r} does not belong here", token.at)
        return part

    def _expression(self, strength: int) -> Part:
        self._level += 1
        if self._level > MAX_DEPTH:
            raise Refused(f"nested deeper than {MAX_DEPTH} levels", self._peek().at)
        left = self._operand()
        while (own := _STRENGTH.get(self._peek().text, 0)) > strength and self._peek().kind == "mark":
            sign = self._take()
            right = self._expression(own)
            left = self._part(operations.binary(sign.text, left.run, right.run), sign.at, left, right)
        self._level -= 1
        return left

    def _operand(self) -> Part:
        token = self._peek()
        if token.text == "-" and token.kind == "mark":
            self._take()
            self._level += 1
            if self._level > MAX_DEPTH:
                raise Refused(f"nested deeper than {MAX_DEPTH} levels", token.at)
            inner = self._operand()
            self._level -= 1
            return self._part(operations.negated(inner.run), token.at, inner)
        return self._followed(self._atom())

    def _followed(self, part: Part) -> Part:
        """What stands behind an atom: properties, items, calls."""
        while True:
            token = self._peek()
            if token.kind == "number" and token.text.startswith("."):  # the `.0` of `array.0`
                self._take()
                part = self._property(part, token.text[1:], token.at)
            elif token.kind != "mark" or token.text not in (".", "[", "("):
                self._noted(part)
                return part
            elif token.text == ".":
                self._take()
                name = self._take()
                if name.kind not in ("name", "number") or "." in name.text:
                    raise Refused("a name is missing behind the point", name.at)
                part = self._property(part, name.text, token.at)
            elif token.text == "[":
                self._noted(part)
                self._take()
                key = self._expression(0)
                self._expected("]")
                part = self._part(operations.item_of(part.run, key.run), token.at, part, key)
            else:
                self._noted(part)
                part = self._called(part.run, part)

    def _property(self, part: Part, name: str, at: int) -> Part:
        path = (*part.path, name) if part.path else None
        return self._part(operations.property_of(part.run, name), at, part)._replace(path=path)

    def _noted(self, part: Part) -> None:
        if part.path is not None:
            (self.notes.defaulted if self._excused else self.notes.reads).add(part.path)

    def _atom(self) -> Part:
        token = self._take()
        if token.kind == "number":
            value = number(token.text)
            return Part(lambda evaluation: value, 1)
        if token.kind == "text":
            written = _unescaped(token)
            return Part(lambda evaluation: written, 1)
        if token.kind == "name":
            return self._named(token)
        if token.kind == "mark" and token.text == "(":
            if self._is_lambda():
                return self._lambda(token)
            inner = self._expression(0)
            self._expected(")")
            return inner._replace(path=None)
        raise Refused(
            f"{token.text!r} does not belong here" if token.text else "something is missing at the end",
            token.at,
        )

    def _named(self, token: _Token) -> Part:
        name = token.text.lower()
        if name in self._bound:
            return Part(lambda evaluation: evaluation.scope[name], 1)
        calls = self._peek().text == "(" and self._peek().kind == "mark"
        if name in _CONSTANTS and not calls:
            value = _CONSTANTS[name]
            return Part(lambda evaluation: value, 1)
        function = self._functions(name)
        if calls:
            if function is None:
                self.notes.unknown.add(f"{name}()")
                fault = Fault(f"{name[:64]} is not a function")
                return self._called(lambda evaluation: fault, None)
            return self._called(lambda evaluation: function, None, tolerant=name in operations.TOLERANT)
        return Part(operations.named(name, function), 1, (name,))

    def _called(self, function: Node, part: Part | None, *, tolerant: bool = False) -> Part:
        opening = self._take()
        self._excused += tolerant
        arguments: list[Part] = []
        while self._peek().text != ")" or self._peek().kind != "mark":
            if arguments:
                self._expected(",")
            arguments.append(self._expression(0))
        self._take()
        self._excused -= tolerant
        nodes = [argument.run for argument in arguments]
        around = [part] if part is not None else []
        return self._part(operations.call(function, nodes), opening.at, *around, *arguments)

    def _is_lambda(self) -> bool:
        """Whether `(` begins the parameters of a lambda: names and commas up to `) =>`."""
        at = self._next
        while self._tokens[at].kind == "name" or self._tokens[at].text == ",":
            at += 1
        return self._tokens[at].text == ")" and self._tokens[min(at + 1, len(self._tokens) - 1)].text == "=>"

    def _lambda(self, opening: _Token) -> Part:
        names: list[str] = []
        while self._peek().text != ")":
            if names:
                self._expected(",")
            name = self._take()
            if name.kind != "name":
                raise Refused("a name of a parameter is missing", name.at)
            names.append(name.text.lower())
        if len(names) > MAX_PARAMETERS:
            raise Refused(f"a function has at most {MAX_PARAMETERS} parameters", opening.at)
        self._take()
        self._take()
        self._bound.extend(names)
        body = self._expression(0)
        del self._bound[len(self._bound) - len(names) :]
        return self._part(operations.function(names, body.run), opening.at, body)

    def _part(self, run: Node, at: int, *inner: Part) -> Part:
        depth = 1 + max((part.depth for part in inner), default=0)
        if depth > MAX_DEPTH:
            raise Refused(f"nested deeper than {MAX_DEPTH} levels", at)
        return Part(run, depth)

    def _peek(self) -> _Token:
        return self._tokens[self._next]

    def _take(self) -> _Token:
        token = self._tokens[self._next]
        if token.kind != "end":
            self._next += 1
        return token

    def _expected(self, mark: str) -> None:
        token = self._take()
        if token.kind != "mark" or token.text != mark:
            found = f"in place of {token.text!r}" if token.text else "at the end"
            raise Refused(f"{mark!r} is missing {found}", token.at)


def _unescaped(token: _Token) -> str:
    def one(match: re.Match[str]) -> str:
        code = match[1] or match[2]
        if code is not None:
            return chr(int(code, 16)) if int(code, 16) < 0x110000 else "\ufffd"
        return '"' if match[3] is None else _ESCAPES.get(match[3], _kept(match[3]))

    made = _ESCAPE.sub(one, token.text[1:-1])
    return "".join("\ufffd" if "\ud800" <= c <= "\udfff" else c for c in made)


def _kept(letter: str) -> str:
    """What a backslash before another letter gives: both, so that patterns may be written plainly ("\\d+")."""
    return letter if letter in '"\\/' else f"\\{letter}"
