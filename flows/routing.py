"""What the steps `route` and `listen` share: rules that look at a value one after the other, and what is kept of it.

The first rule whose test fits decides. Its category is the stable word for results and analytics; what fitted is the
result's value. A test that cannot be made (a word where a number is compared) does not fit.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Annotated, Any, NamedTuple

from pydantic import BaseModel, BeforeValidator, ConfigDict, Field, model_validator

from domain.errors import RejectedInput
from flows.expressions import Template
from flows.state import Result
from flows.steps import StepId
from flows.texts import ANY, MAX_TEXT, local_text

if TYPE_CHECKING:
    from flows.compiler import Maker
    from flows.matchers import Match, Matcher
    from flows.turns import Turn

MAX_RULES = 500  # RapidPro takes 100 in a node, older versions more
MAX_ARGUMENTS = 20
MAX_PATTERNS = 5  # of a step that are known only when it runs: RE2 may take eight milliseconds to read one
MAX_VALUE = 640  # characters of a result's value that is text: RapidPro's limit
OTHER = "Other"  # category of what fits no rule, RapidPro's word

Category = Annotated[str, Field(min_length=1, max_length=128)]
ResultKey = Annotated[str, Field(pattern=r"^[A-Za-z0-9][A-Za-z0-9_-]{0,63}$")]
Scalar = bool | int | float | Annotated[str, Field(max_length=MAX_TEXT)]


def _listed(value: Any) -> Any:
    """`5` → `{"": [5]}`, `{it: sì, en: [yes, ok]}` → lists throughout."""
    by_language = value if isinstance(value, dict) else {ANY: value}
    return {key: one if isinstance(one, list | tuple) else [one] for key, one in by_language.items()}


Arguments = Annotated[
    dict[str, Annotated[tuple[Scalar, ...], Field(max_length=MAX_ARGUMENTS)]], BeforeValidator(_listed)
]


class Rule(BaseModel):
    """`{test: has_number_between, value: ["18", "65"], category: Adult, goto: adult}`.

    `value` holds the test's arguments, templates all of them, or those of each language: `{it: sì, en: yes}`. Without
    `category` the test's name is it; without `goto` the step's `next` counts.
    """

    model_config = ConfigDict(frozen=True, extra="forbid", hide_input_in_errors=True)
    test: str
    value: Arguments = Field(default_factory=dict)
    category: Category | None = None
    goto: StepId | None = None

    @model_validator(mode="after")
    def _fitting(self) -> Rule:
        from flows.matchers import matcher  # only documents that have rules need the tests

        try:
            test = matcher(self.test)
        except RejectedInput as error:
            raise ValueError(error.what) from None
        for arguments in self.value.values() or [()]:
            if len(arguments) < test.least or (test.most >= 0 and len(arguments) > test.most):
                raise ValueError(f"{self.test} takes {test.needs}, not {len(arguments)}")
        return self

    @property
    def name(self) -> str:
        """The category."""
        return self.category or self.test


Called = Annotated[
    dict[Category, dict[Annotated[str, Field(pattern=r"^[a-z]{2,3}$")], Category]],
    Field(max_length=MAX_RULES + 1),
]
Rules = Annotated[tuple[Rule, ...], Field(max_length=MAX_RULES)]


class Decision(NamedTuple):
    """What the rules say of a value."""

    category: str
    target: str | None
    match: Match | None


@dataclass(frozen=True, slots=True)
class CompiledRule:
    """A rule, ready: arguments by language, those that are fixed already as values."""

    test: Matcher
    arguments: Mapping[str, tuple[Any, ...]]
    category: str
    target: str | None

    def match(self, turn: Turn, value: Any, environment: Any) -> Match | None:
        """What fits in the value, or None."""
        from flows.excellent.operations import size
        from flows.matchers import Unfit

        turn.spend(self.test.price + size(value) // 10)
        try:
            return self.test.match(value, self._arguments(turn), environment)
        except Unfit:
            return None

    def _arguments(self, turn: Turn) -> Sequence[Any]:
        found = self.arguments.get(turn.language) or self.arguments.get(ANY)
        if found is None:
            found = self.arguments.get(turn.flow.languages[0]) or next(iter(self.arguments.values()), ())
        return [part.operand(turn) if isinstance(part, Template) else part for part in found]


@dataclass(frozen=True, slots=True)
class Router:
    """The rules of a step, compiled."""

    rules: tuple[CompiledRule, ...]
    category: str
    otherwise: str | None
    result: str | None
    names: Mapping[str, Mapping[str, str]]  # category → language → what it is called there

    def called(self, turn: Turn, category: str) -> str:
        """What a category is called in the session's language; "" where it has its own name."""
        return self.names.get(category, {}).get(turn.language, "")

    def decide(self, turn: Turn, *values: Any) -> Decision:
        """What the first rule says that fits the first value, else the second …"""
        from flows.excellent.context import environment_of

        environment = environment_of(turn)
        for value in values:
            for rule in self.rules:
                match = rule.match(turn, value, environment)
                if match is not None:
                    return Decision(rule.category, rule.target, match)
        return Decision(self.category, self.otherwise, None)

    def keep(self, turn: Turn, decision: Decision, value: Any) -> None:
        """Keeps the result: what fitted (else the whole), its category, the words."""
        if self.result is None:
            return
        from flows.excellent.values import lift, plain, text

        words = text(lift(value))
        match = decision.match
        fitted = words if match is None else match.text
        extra = None if match is None or match.extra is None else plain(match.extra)
        localized = self.called(turn, decision.category)
        turn.record(
            self.result, Result(fitted[:MAX_VALUE], decision.category, words[:MAX_VALUE], extra, localized)
        )


def router(
    rules: tuple[Rule, ...],
    *,
    category: str,
    otherwise: str | None,
    following: str | None,
    result: str | None,
    names: Mapping[str, Mapping[str, str]],
    maker: Maker,
) -> Router:
    """The compiled rules; registers an exit for each category and the result. Raises ValueError."""
    from flows.matchers import matcher

    made, ways = [], set()
    patterns = 0
    for number, rule in enumerate(rules):
        target = rule.goto or following
        if rule.value and ANY not in rule.value:
            maker.worded(f"rules.{number}.value", rule.value)
        arguments = {
            language: tuple(_argument(f"rules.{number}.value", one, rule.test, maker) for one in given)
            for language, given in rule.value.items()
        }
        patterns += rule.test == "has_pattern" and any(
            isinstance(one, Template) for given in arguments.values() for one in given
        )
        if patterns > MAX_PATTERNS:
            raise ValueError(f"at most {MAX_PATTERNS} patterns of a step may be made by templates")
        made.append(CompiledRule(matcher(rule.test), arguments, rule.name, target))
        if (rule.name, target) not in ways:
            ways.add((rule.name, target))
            maker.exit(f"category {rule.name}", target)
    rest = otherwise or following
    if (category, rest) not in ways:
        maker.exit(f"category {category}", rest)
    if result is not None:
        maker.gives(result)
    return Router(tuple(made), category, rest, result, names)


def _argument(field: str, value: Any, test: str, maker: Maker) -> Any:
    """A template, or the value itself where it is fixed. Patterns that are fixed are tried now."""
    if not isinstance(value, str) or not value.strip():
        return value
    made = maker.value(field, local_text(value))
    if made.constant is None:
        return made
    if test == "has_pattern":
        from flows.matchers.patterns import program

        program(made.constant.strip())  # raises Unfit, a ValueError: the document is refused with it
    return made.constant


def rules_of(runner: object) -> tuple[CompiledRule, ...]:
    """The rules of a step that has some, for inspection."""
    made = getattr(runner, "router", None)
    return made.rules if isinstance(made, Router) else ()
