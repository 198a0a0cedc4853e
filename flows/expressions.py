"""Paths and templates: how texts and conditions read the data of a turn.

*Paths* (`contact.fields.city`, `session.interest`, `result.email.category`) are the only way to data, for templates
and conditions alike; a path is resolved once, to a function of the turn. Data is plain (text, numbers, lists, dicts):
there is nothing to call and nothing to reach through.

*Templates* are Jinja's syntax without its machinery: Jinja's parser reads them, we walk the tree and refuse every node
that is not a text, a constant, a path or one of our filters (`flows/filters.py`), and evaluate what is left by our own
few lines. So there are no calls, loops, operators or concatenation; a template's cost is its length. Values are never
rendered again.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from datetime import datetime
from typing import TYPE_CHECKING, Any

from jinja2 import Environment, TemplateError, nodes

from domain import predicates
from domain.comparisons import is_number
from domain.errors import RejectedInput, meant
from domain.messages import escape_markup
from domain.operators import Operator, operator
from flows.business import is_open, opening_sentence

if TYPE_CHECKING:
    from flows.turns import Turn

MAX_SOURCE = 4_096  # characters of a template
MAX_NODES = 500  # of its tree
MAX_FILTERS = 100  # in one template: what the dearest of them cost together stays far below 50 ms
MAX_VALUE = 4_096  # characters that one value may add
MAX_OUTPUT = 8_192  # characters of the result; channels split above their own limit
MAX_LIST = 100  # items of a list that are shown

Getter = Callable[["Turn"], Any]

CONTACT_COLUMNS = frozenset(
    ("id", "name", "first_name", "last_name", "language", "timezone", "email", "phone", "tags", "created_at")
)
ROOTS = "contact, session, result, child, consent, event, conversation, business, channel, today, now"
_EVENT = frozenset(("kind", "text", "option", "attachments", "payload"))


def getter(path: tuple[str | int, ...], *, where: str = "path") -> Getter:
    """The function that reads a path. Raises RejectedInput for a root or contact column that does not exist."""
    for part in path:
        if isinstance(part, str) and part.startswith("_"):
            raise RejectedInput(f"names beginning with _ are not allowed ({part})", where=where)
    match path:
        case ("today",):
            return lambda turn: turn.today().isoformat()
        case ("now",):
            return lambda turn: datetime.fromtimestamp(turn.now // 1000, turn.zone()).isoformat()
        case ("event", str(key), *rest) if key in _EVENT:
            return _inside(lambda turn: getattr(turn.state.last, key, None), rest)
        case ("conversation", ("flow" | "step" | "language") as key):
            return lambda turn: getattr(turn.state, key)
        case ("business", ("region" | "timezone" | "language") as key):
            return lambda turn: getattr(turn.business, key)
        case ("channel", "kind"):
            return lambda turn: turn.channel.kind
        case ("channel", "name"):
            return lambda turn: turn.channel.name
        case ("business", "is_open"):
            return lambda turn: is_open(
                turn.business, datetime.fromtimestamp(turn.now / 1000, turn.business_zone())
            )
        case ("business", "hours"):
            return lambda turn: opening_sentence(turn.business.opening_hours, turn.language)
        case ("business", "opening_hours", str(day)):
            return lambda turn: turn.business.opening_hours.get(day)
        case ("business", "name"):
            return lambda turn: turn.business.name
        case ("contact", "fields", str(key), *rest):
            return _inside(lambda turn: turn.contact.fields.get(key), rest)
        case ("contact", str(key), *rest) if key in CONTACT_COLUMNS:
            return _inside(lambda turn: getattr(turn.contact, key), rest)
        case ("contact", str(key), *_):
            raise RejectedInput(f"a contact has no {key}; own fields are contact.fields.{key}", where=where)
        case ("session", str(key), *rest):
            return _inside(lambda turn: turn.state.variables.get(key), rest)
        case ("result", str(key)):
            return lambda turn: _result(turn, key, "value")
        case ("result", str(key), ("value" | "category" | "input") as part, *rest):
            return _inside(lambda turn: _result(turn, key, part), rest)
        case ("child", str(key), *rest):
            return _of_child(key, rest)
        case ("consent", str(key)):
            return lambda turn: turn.contact.consents.get(key)
        case _:
            shown = ".".join(str(part) for part in path)
            raise RejectedInput(f"{shown} leads nowhere; paths begin with {ROOTS}", where=where)


def condition(predicate: predicates.Predicate, *, where: str) -> Callable[[Turn], bool]:
    """The function that decides a predicate for a turn; the same meaning as `predicates.matches`, without the walk."""
    match predicate:
        case predicates.Test(subject, op, value):
            return _test(getter(split(subject), where=where), operator(op), value)
        case predicates.All(parts):
            every = [condition(part, where=where) for part in parts]
            return lambda turn: all(holds(turn) for holds in every)
        case predicates.AnyOf(parts):
            some = [condition(part, where=where) for part in parts]
            return lambda turn: any(holds(turn) for holds in some)
        case predicates.Not(part):
            inner = condition(part, where=where)
            return lambda turn: not inner(turn)


def _test(read: Getter, op: Operator, value: Any) -> Callable[[Turn], bool]:
    if op.ground(value, 0) is value:
        return lambda turn: op.matches(read(turn), value)
    return lambda turn: op.matches(read(turn), op.ground(value, turn.now))


def split(path: str) -> tuple[str | int, ...]:
    """`session.items.0` → `("session", "items", 0)`."""
    return tuple(int(part) if part.isascii() and part.isdigit() else part for part in path.split("."))


def _result(turn: Turn, key: str, part: str) -> Any:
    found = turn.state.results.get(key)
    return None if found is None else getattr(found, part)


def _of_child(key: str, rest: list[str | int]) -> Getter:
    """`child.flow`, `child.outcome`, else a result of the sub-flow that ended last, as `result` reads our own."""
    if key in ("flow", "outcome") and not rest:
        return lambda turn: None if turn.state.child is None else getattr(turn.state.child, key)
    part, *inside = rest if rest and rest[0] in ("value", "category", "input") else ["value", *rest]

    def read(turn: Turn) -> Any:
        found = None if turn.state.child is None else turn.state.child.results.get(key)
        return None if found is None else getattr(found, str(part))

    return _inside(read, inside)


def _inside(outer: Getter, rest: list[str | int]) -> Getter:
    if not rest:
        return outer

    def read(turn: Turn) -> Any:
        value = outer(turn)
        for part in rest:
            if isinstance(value, dict):
                value = value.get(str(part))
            elif (
                isinstance(value, (list, tuple))
                and isinstance(part, int)
                and -len(value) <= part < len(value)
            ):
                value = value[part]
            else:
                return None
        return value

    return read


class Template:
    """A text that is ready to be rendered. `paths` are all that it reads, `reads` those of them without a default."""

    __slots__ = ("_parts", "constant", "paths", "reads")

    def __init__(
        self, parts: list[str | Getter], reads: frozenset[str], paths: frozenset[str] = frozenset()
    ) -> None:
        self._parts = parts
        self.reads = reads
        self.paths = paths
        whole = not parts or (len(parts) == 1 and isinstance(parts[0], str))
        self.constant: str | None = (str(parts[0]) if parts else "") if whole else None

    def evaluate(self, turn: Turn) -> Any:
        """The value itself of a source that is one placeholder and nothing else; of any other one its text."""
        if len(self._parts) == 1 and not isinstance(self._parts[0], str):
            return self._parts[0](turn)
        return self.render(turn)

    def operand(self, turn: Turn) -> Any:
        """The value as tests of answers take it (`flows.matchers`); in RapidPro's language errors are values, too."""
        return self.evaluate(turn)

    def render(self, turn: Turn, *, markup: bool = False, escape: Callable[[str], str] | None = None) -> str:
        """The text for this turn. With `markup` the values' own marks are escaped, with `escape` the values are put in
        as it gives them. Raises ValueError when the text grows past MAX_OUTPUT."""
        if self.constant is not None:
            return self.constant
        out = []
        for part in self._parts:
            if isinstance(part, str):
                out.append(part)
            else:
                value = shown(part(turn), turn.language)[:MAX_VALUE]
                if escape is not None:
                    value = escape(value)
                out.append(escape_markup(value) if markup else value)
        text = "".join(out)
        if len(text) > MAX_OUTPUT:
            raise ValueError(f"the text grew past {MAX_OUTPUT} characters")
        return text


def template(source: str, *, where: str) -> Template:
    """The template of a source. Raises RejectedInput naming what is not allowed and its line in the text."""
    if "{{" not in source and "{%" not in source and "{#" not in source:
        return Template([source], frozenset())
    if len(source) > MAX_SOURCE:
        raise RejectedInput(f"a template has at most {MAX_SOURCE} characters", where=where)
    try:
        tree = _syntax.parse(source)
        return _Maker(where).make(tree)
    except TemplateError as error:
        line = getattr(error, "lineno", None) or 1
        raise RejectedInput(f"template, line {line}: {error.message}", where=where) from None
    except RecursionError:
        raise RejectedInput("template nested too deep", where=where) from None
    except ValueError as error:  # a number with thousands of digits
        raise RejectedInput(f"template: {error}", where=where) from None


def shown(value: Any, language: str, *, most: int = MAX_LIST) -> str:
    """A value as text for people. Nothing for what is missing or has no plain form. `most`: items of a list; of lists
    within lists a tenth each."""
    match value:
        case str():
            return value
        case {"line": str()}:
            return _address(value)
        case None | dict():
            return ""
        case bool():
            return {"it": ("no", "sì"), "en": ("no", "yes")}["it" if language == "it" else "en"][value]
        case float() if value.is_integer():
            return str(int(value))
        case float():
            return str(value).replace(".", ",") if language == "it" else str(value)
        case list() | tuple() | set() | frozenset():
            items = sorted(value) if isinstance(value, (set, frozenset)) else list(value)
            return ", ".join(shown(item, language, most=most // 10)[:MAX_VALUE] for item in items[:most])
        case _:
            return str(value)


def _address(value: Mapping[str, Any]) -> str:
    """`Via Roma 10, 20121 Milano (MI)`, `10 High Street, London SW1A 1AA`: what is known, in the country's order."""
    line, code, city, province = (
        str(value.get(key) or "").strip() for key in ("line", "postal_code", "city", "province")
    )
    if value.get("country") in ("GB", "IE", "US", "CA"):
        town = " ".join(
            part for part in (f"{city}," * bool(city and province) or city, province, code) if part
        )
    else:
        town = " ".join(part for part in (code, city, f"({province})" * bool(province)) if part)
    return ", ".join(part for part in (line, town) if part)


_syntax = Environment(autoescape=False, keep_trailing_newline=True)  # noqa: S701  only its parser; chat is not HTML


class _Maker:
    """Turns Jinja's tree into parts, refusing what is not on the list."""

    def __init__(self, where: str) -> None:
        self._where = where
        self._count = 0
        self._filters = 0
        self._reads: set[str] = set()
        self._paths: set[str] = set()

    def make(self, tree: nodes.Template) -> Template:
        parts: list[str | Getter] = []
        for node in tree.body:
            self._counted(node)
            if not isinstance(node, nodes.Output):
                raise self._refused(node)
            for item in node.nodes:
                parts.append(item.data if isinstance(item, nodes.TemplateData) else self._expression(item))
        return Template(parts, frozenset(self._reads), frozenset(self._paths))

    def _expression(self, node: nodes.Node, *, has_default: bool = False) -> Getter:
        self._counted(node)
        match node:
            case nodes.Const(value=value):
                return lambda turn: value
            case nodes.Name() | nodes.Getattr() | nodes.Getitem():
                path = tuple(self._path(node))
                self._paths.add(".".join(str(part) for part in path))
                if not has_default:
                    self._reads.add(".".join(str(part) for part in path))
                return getter(path, where=f"{self._where}, line {node.lineno} of the text")
            case nodes.Filter():
                return self._filter(node, has_default=has_default)
        raise self._refused(node)

    def _filter(self, node: nodes.Filter, *, has_default: bool) -> Getter:
        """`has_default`: one that stands behind makes up for what is missing here."""
        from flows.filters import FILTERS  # only texts that use one need them

        apply = FILTERS.get(node.name)
        if apply is None or node.node is None:
            known = ", ".join(sorted(FILTERS))
            hint = meant(node.name, FILTERS)
            raise RejectedInput(f"no filter {node.name}; {hint}there are {known}", where=self._where)
        if node.kwargs or node.dyn_args or node.dyn_kwargs or len(node.args) > 2:
            raise RejectedInput(
                f"the filter {node.name} takes at most two plain arguments", where=self._where
            )
        self._filters += 1
        if self._filters > MAX_FILTERS:
            raise RejectedInput(f"a template has at most {MAX_FILTERS} filters", where=self._where)
        inner = self._expression(node.node, has_default=has_default or node.name == "default")
        arguments = [self._argument(argument) for argument in node.args]

        def filtered(turn: Turn) -> Any:
            try:
                return apply(turn, inner(turn), *(argument(turn) for argument in arguments))
            except (TypeError, ValueError, ArithmeticError, IndexError, AttributeError):  # of another kind
                return None

        return filtered

    def _argument(self, node: nodes.Node) -> Getter:
        """An argument of a filter: a number may be negative there."""
        if isinstance(node, nodes.Neg) and isinstance(node.node, nodes.Const) and is_number(node.node.value):
            self._counted(node)
            negative = -node.node.value
            return lambda turn: negative
        return self._expression(node)

    def _path(self, node: nodes.Node) -> Iterator[str | int]:
        match node:
            case nodes.Name(name=name):
                yield name
            case nodes.Getattr(node=inner, attr=attr):
                self._counted(inner)
                yield from self._path(inner)
                yield attr
            case nodes.Getitem(node=inner, arg=nodes.Const(value=str() | int() as key)):
                self._counted(inner)
                yield from self._path(inner)
                yield key
            case _:
                raise self._refused(node)

    def _counted(self, node: nodes.Node) -> None:
        self._count += 1
        if self._count > MAX_NODES:
            raise RejectedInput(f"a template has at most {MAX_NODES} parts", where=self._where)

    def _refused(self, node: nodes.Node) -> RejectedInput:
        kind = type(node).__name__.lower()
        what = f"{kind} is not allowed in a text; only {{{{ paths }}}} with filters are"
        return RejectedInput(what, where=f"{self._where}, line {node.lineno} of the text")
