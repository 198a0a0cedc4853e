"""`route`: looks at a value and goes where the first rule that fits leads; nothing is said.

```yaml
split:
  route: "{{ session.age }}"
  rules:
    - {test: has_number_between, value: [18, 65], category: Adult, goto: adult}
    - {test: has_any_word, value: {it: giovane ragazzo, en: young boy}, category: Young, goto: young}
  category: Somebody else
  result: age_group
  otherwise: other
adult:
  send: {it: Benvenuto!, en: Welcome!}
  next: end
young:
  send: {it: Ciao!, en: Hi!}
  next: end
other:
  send: {it: Buongiorno!, en: Good morning!}
  next: end
```
"""

from dataclasses import dataclass
from typing import TYPE_CHECKING, Annotated

from pydantic import Field

from flows.expressions import Template
from flows.routing import OTHER, Called, Category, ResultKey, Router, Rules, router
from flows.steps import StepDocument, StepId, StepRun, step
from flows.texts import MAX_TEXT, local_text

if TYPE_CHECKING:
    from flows.compiler import Maker
    from flows.turns import Turn


@step("route")
class Route(StepDocument):
    """`result` keeps {value: what fitted, category, input: the whole}; `otherwise` (or `next`) takes what fits no rule,
    under the name `category`."""

    route: Annotated[str, Field(max_length=MAX_TEXT)]
    rules: Rules = ()
    category: Category = OTHER
    result: ResultKey | None = None
    categories: Called = Field(
        default_factory=dict
    )  # what they are called in languages: {Adult: {it: Adulto}}
    otherwise: StepId | None = None

    def prepare(self, maker: "Maker") -> "RouteRun":
        operand = (
            maker.value("route", local_text(self.route)) if self.route.strip() else Template([], frozenset())
        )
        maker.decides(operand.paths)
        rules = router(
            self.rules,
            category=self.category,
            otherwise=self.otherwise,
            following=self.next,
            result=self.result,
            names=self.categories,
            maker=maker,
        )
        return RouteRun(operand, rules)


@dataclass(frozen=True, slots=True)
class RouteRun(StepRun):
    value: Template
    router: Router

    def enter(self, turn: "Turn") -> None:
        value = self.value.operand(turn)
        decision = self.router.decide(turn, value)
        self.router.keep(turn, decision, value)
        turn.go(decision.target)
