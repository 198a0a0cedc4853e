"""RapidPro's expression language, so that imported flows keep the texts that their authors wrote.

A template is a text with `@contact.name`, `@(expression)` and `@@` for @. `@foo` stays text unless foo is a name of the
context (`ROOTS`), so that e-mail addresses and handles survive. Made once per version into closures; evaluated on a
turn, with an allowance (`evaluation`). What goes wrong while it is evaluated is an empty text, and is noted.

Written from the language's public documentation; decision 0025 says why it stands beside our own templates.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from typing import TYPE_CHECKING, Any, NamedTuple

from domain.errors import RejectedInput
from domain.messages import escape_markup
from flows.excellent.context import ROOTS, environment_of, path_of, root_of
from flows.excellent.environment import Environment
from flows.excellent.evaluation import ALLOWANCE, Evaluation, TooComplex
from flows.excellent.functions import registry
from flows.excellent.grammar import Notes, Part, Refused, parse
from flows.excellent.operations import whole
from flows.excellent.values import MAX_TEXT, Fault, Object, plain, text
from flows.expressions import MAX_OUTPUT, MAX_VALUE, Template

if TYPE_CHECKING:
    from flows.turns import Turn

MAX_SOURCE = 10_000  # characters: RapidPro's own limit
MAX_EXPRESSIONS = 200  # in one text

_PATH = re.compile(r"[^\W\d]\w*(?:\.\w+)*")
_TOO_COMPLEX = "the expression takes too long"


class Evaluated(NamedTuple):
    """What came of a text. `faults`: what went wrong, in words."""

    text: str
    faults: tuple[str, ...]


class Expression(Template):
    """A text of the language, ready. Looks like a `Template` of ours, and can be evaluated, too.

    `unknown` holds names that neither the context nor the functions have: they evaluate to errors, that is, nothing.
    """

    __slots__ = ("_pieces", "unknown")

    def __init__(self, pieces: list[str | Part], notes: Notes) -> None:
        constant = [piece for piece in pieces if isinstance(piece, str)]
        whole = len(constant) == len(pieces)
        super().__init__(["".join(constant)] if whole else [_never], _paths(notes.reads))
        self.paths = self.reads | _paths(notes.defaulted)
        self._pieces = tuple(pieces)
        roots = {path[0].lower() for path in notes.reads | notes.defaulted}
        self.unknown = frozenset(
            notes.unknown | {name for name in roots if name not in ROOTS and name not in registry()}
        )

    def render(self, turn: Turn, *, markup: bool = False, escape: Callable[[str], str] | None = None) -> str:
        """The text for this turn; see `Template.render`."""
        if self.constant is not None:
            return self.constant
        out = []
        for value in self._paid(turn):
            if isinstance(value, str):
                out.append(value)
                continue
            shown = text(value[0])[:MAX_VALUE]
            if escape is not None:
                shown = escape(shown)
            out.append(escape_markup(shown) if markup else shown)
        made = "".join(out)
        if len(made) > MAX_OUTPUT:
            raise ValueError(f"the text grew past {MAX_OUTPUT} characters")
        return made

    def evaluate(self, turn: Turn) -> Any:
        """The value of the one expression that the text is, as plain data (JSON's), else the text itself. An error is
        None."""
        return plain(self.operand(turn))

    def operand(self, turn: Turn) -> Any:
        """The same as a value of the language; an error is a Fault."""
        return self.constant if self.constant is not None else _whole(self._paid(turn))

    def value(self, evaluation: Evaluation) -> Any:
        """The same for an evaluation of one's own."""
        if self.constant is not None:
            return self.constant
        return _whole(self._values(evaluation))

    def told(self, evaluation: Evaluation) -> Evaluated:
        """The text, and what went wrong in it."""
        values = [(self.constant,)] if self.constant is not None else self._values(evaluation)
        faults = tuple(
            value[0].what for value in values if isinstance(value, tuple) and isinstance(value[0], Fault)
        )
        return Evaluated("".join(v if isinstance(v, str) else text(v[0]) for v in values)[:MAX_TEXT], faults)

    def _paid(self, turn: Turn) -> list[Any]:
        """The pieces on a turn, which pays. Raises Runaway (a FlowError) when the turn has nothing left."""
        evaluation = _evaluation(turn)
        values = self._values(evaluation)
        for value in values:
            if isinstance(value, tuple):
                evaluation.left -= whole(value[0])
        if evaluation.left < 0:
            values = [
                one if isinstance(one, str) or not whole(one[0]) else (Fault(_TOO_COMPLEX),) for one in values
            ]
        turn.spend(ALLOWANCE - max(evaluation.left, 0))
        for value in values:
            if isinstance(value, tuple) and isinstance(value[0], Fault):
                turn.fault(value[0].what)
        return values

    def _values(self, evaluation: Evaluation) -> list[Any]:
        """Each piece: a text of the author as it is, a value as a tuple of one."""
        return [piece if isinstance(piece, str) else (_run(piece, evaluation),) for piece in self._pieces]


def _whole(values: list[Any]) -> Any:
    """The value of a lone expression, else the text of all pieces."""
    if len(values) == 1:
        return values[0][0]
    made = "".join(value if isinstance(value, str) else text(value[0]) for value in values)
    return made if len(made) <= MAX_TEXT else Fault(f"text longer than {MAX_TEXT} characters")


def _run(part: Part, evaluation: Evaluation) -> Any:
    try:
        return part.run(evaluation)
    except (TooComplex, RecursionError):
        evaluation.calls = 0
        return Fault(_TOO_COMPLEX)


def _never(turn: Turn) -> Any:
    raise AssertionError("an Expression renders its pieces itself")


def template(source: str, *, where: str) -> Expression:
    """The template of a source. Raises RejectedInput naming what is wrong and where in the text."""
    if len(source) > MAX_SOURCE:
        raise RejectedInput(f"a template has at most {MAX_SOURCE} characters", where=where)
    notes = Notes()
    if "@" not in source:
        return Expression([source] if source else [], notes)
    try:
        return Expression(_pieces(source, notes), notes)
    except Refused as error:
        line = source.count("\n", 0, error.at) + 1
        column = error.at - (source.rfind("\n", 0, error.at) + 1) + 1
        at = f"line {line}, character {column}" if line > 1 else f"character {column}"
        raise RejectedInput(f"expression, {at}: {error.what}", where=where) from None


def evaluation_of(turn: Turn) -> Evaluation:
    """An evaluation on a turn, for whoever evaluates several values with one allowance."""
    return _evaluation(turn)


def _evaluation(turn: Turn) -> Evaluation:
    return Evaluation(environment_of(turn), root_of(turn), seed=turn.seed ^ turn.state.visit)


def _pieces(source: str, notes: Notes) -> list[str | Part]:
    pieces: list[str | Part] = []
    plain: list[str] = []
    at, expressions = 0, 0
    while (found := source.find("@", at)) >= 0:
        plain.append(source[at:found])
        piece, at = _piece(source, found, notes)
        if isinstance(piece, str):
            plain.append(piece)
            continue
        expressions += 1
        if expressions > MAX_EXPRESSIONS:
            raise Refused(f"a text has at most {MAX_EXPRESSIONS} expressions", found)
        if written := "".join(plain):
            pieces.append(written)
        plain.clear()
        pieces.append(piece)
    plain.append(source[at:])
    if written := "".join(plain):
        pieces.append(written)
    return pieces


def _piece(source: str, at: int, notes: Notes) -> tuple[str | Part, int]:
    """What stands at an @, and where it ends."""
    following = source[at + 1 : at + 2]
    if following == "@":
        return "@", at + 2
    if following == "(":
        end = _closing(source, at + 2)
        if end is None:  # never closed: it was meant as text
            return "@", at + 1
        return _parsed(source[at + 2 : end], at + 2, notes), end + 1
    path = _PATH.match(source, at + 1)
    if path is None or path[0].partition(".")[0].lower() not in ROOTS:
        return "@", at + 1
    return _parsed(path[0], at + 1, notes), path.end()


def _closing(source: str, at: int) -> int | None:
    """Where the bracket closes that was opened before `at`; brackets within texts do not count."""
    depth, quoted = 1, False
    while at < len(source):
        one = source[at]
        if quoted:
            if one == "\\":
                at += 1
            elif one == '"':
                quoted = False
        elif one == '"':
            quoted = True
        elif one in "()":
            depth += 1 if one == "(" else -1
            if depth == 0:
                return at
        at += 1
    return None


def _parsed(source: str, offset: int, notes: Notes) -> Part:
    part, own = parse(source, offset, registry().get)
    notes.reads |= own.reads
    notes.defaulted |= own.defaulted
    notes.unknown |= own.unknown
    return part


def _paths(paths: set[tuple[str, ...]]) -> frozenset[str]:
    """In the words of our own templates, for inspection."""
    return frozenset(found for path in paths if (found := path_of(path)))


__all__ = [
    "ROOTS", "Environment", "Evaluated", "Evaluation", "Expression", "Fault", "Object",
    "evaluation_of", "template", "text",
]  # fmt: skip
