"""`split`: sends people different ways by chance, for trying out which way works better.

```yaml
offer:
  split:
    - {name: short, weight: 70, goto: short_text}
    - {name: long, weight: 30, goto: long_text}
  salt: autumn
short_text: {send: Sconti!, next: end}
long_text: {send: Da domani ci sono gli sconti., next: end}
```

The same contact always goes the same way at the same step; another `salt` deals the ways anew, and so does
`sticky: false` at every visit. The way that was taken is kept as the step's result: `result.offer`.
"""

from bisect import bisect_right
from dataclasses import dataclass
from hashlib import blake2b
from itertools import accumulate
from typing import TYPE_CHECKING, Annotated

from pydantic import BaseModel, ConfigDict, Field, model_validator

from flows.state import Result
from flows.steps import StepDocument, StepId, StepRun, step
from flows.values import Key

if TYPE_CHECKING:
    from flows.compiler import Maker
    from flows.turns import Turn


class Way(BaseModel):
    """One way. `weight` counts against the others' (70 and 30, 1 and 1); 0 closes it."""

    model_config = ConfigDict(frozen=True, extra="forbid", hide_input_in_errors=True)
    name: Annotated[str, Field(min_length=1, max_length=64)]
    goto: StepId
    weight: Annotated[int, Field(ge=0, le=1_000_000)] = 1


@step("split")
class Split(StepDocument):
    """`result`: the key under which the way's name is kept, else the step's id."""

    split: Annotated[tuple[Way, ...], Field(min_length=2, max_length=50)]
    sticky: bool = True
    salt: Annotated[str, Field(max_length=64)] = ""
    result: Key | None = None

    @model_validator(mode="after")
    def _fair(self) -> "Split":
        if len({way.name for way in self.split}) != len(self.split):
            raise ValueError("two ways have the same name")
        if not any(way.weight for way in self.split):
            raise ValueError("every way has the weight 0: nobody could go on")
        if self.salt and not self.sticky:
            raise ValueError("salt is for a split that is sticky")
        if self.next is not None:
            raise ValueError("every way says where it leads; next would never be taken")
        return self

    def prepare(self, maker: "Maker") -> "SplitRun":
        result = self.result or ("" if maker.excellent else maker.step_id)  # RapidPro keeps what has a name
        if result:
            maker.gives(result)
        for way in self.split:
            maker.exit(f"way {way.name}", way.goto)
        bounds = tuple(accumulate(way.weight for way in self.split))
        return SplitRun(
            tuple((way.name, way.goto) for way in self.split), bounds, self.sticky, self.salt, result
        )


@dataclass(frozen=True, slots=True)
class SplitRun(StepRun):
    ways: tuple[tuple[str, str], ...]
    bounds: tuple[int, ...]  # the weights, added up
    sticky: bool
    salt: str
    result: str

    def enter(self, turn: "Turn") -> None:
        name, target = self.ways[bisect_right(self.bounds, self._chance(turn) * self.bounds[-1] >> 64)]
        if self.result:
            turn.record(self.result, Result(name, name, ""))
        turn.go(target)

    def _chance(self, turn: "Turn") -> int:
        """A number below 2**64, by hash: the same for the same contact and step, or for the same event and visit."""
        state = turn.state
        drawn = f"{turn.contact.id}|{self.salt}" if self.sticky else f"{turn.seed}|{state.visit}"
        text = f"{state.flow}|{state.step}|{drawn}"
        return int.from_bytes(blake2b(text.encode(), digest_size=8).digest(), "big")
