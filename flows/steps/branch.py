"""`branch`: goes where the first condition that holds leads; nothing is said.

```yaml
known:
  branch:
    - when: {subject: contact.email, op: is_set}
      goto: interest
  otherwise: email
```
"""

from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Annotated, Any

from pydantic import BaseModel, ConfigDict, Field

from flows.steps import StepDocument, StepId, StepRun, step

if TYPE_CHECKING:
    from flows.compiler import Maker
    from flows.turns import Turn


class Case(BaseModel):
    """A condition (the predicate tree that segments use, too) and where it leads."""

    model_config = ConfigDict(frozen=True, extra="forbid", hide_input_in_errors=True)
    when: dict[str, Any]
    goto: StepId


@step("branch")
class Branch(StepDocument):
    """`otherwise` (or `next`) is where it goes when no condition holds."""

    branch: Annotated[tuple[Case, ...], Field(min_length=1, max_length=50)]
    otherwise: StepId | None = None

    def prepare(self, maker: "Maker") -> "BranchRun":
        cases = []
        for number, case in enumerate(self.branch):
            cases.append((maker.condition(f"branch.{number}.when", case.when), case.goto))
            maker.exit(f"case {number + 1}", case.goto)
        rest = self.otherwise or self.next
        maker.exit("otherwise", rest)
        return BranchRun(tuple(cases), rest)


@dataclass(frozen=True, slots=True)
class BranchRun(StepRun):
    cases: tuple[tuple[Callable[["Turn"], bool], str], ...]
    otherwise: str | None

    def enter(self, turn: "Turn") -> None:
        for holds, target in self.cases:
            if holds(turn):
                turn.go(target)
                return
        turn.go(self.otherwise)
