"""Faults that a test asks for: which call, what goes wrong, before or after the call took effect.

A network asks `Faults.take` once per call and obeys the rule it gets. `before`: the call is not executed. `after`: it
is executed and only the answer is spoilt, which is how a sender comes to an unknown outcome.
"""

from __future__ import annotations

import random
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Any, Literal, get_args

Kind = Literal["429", "500", "502_html", "reset", "slow", "hang", "garbage"]
When = Literal["before", "after"]

# A test that needs more rules than this has a loop that forgets to delete them.
MAX_RULES = 1000


@dataclass(slots=True)
class Fault:
    """One rule. `times` None: until deleted. `target`: a chat or recipient id, or a token or number id, as text."""

    id: int
    network: str
    kind: Kind
    when: When
    method: str | None = None
    target: str | None = None
    times: int | None = 1
    retry_after: int = 3
    delay_s: float = 1.0
    probability: float = 1.0
    hits: int = 0

    def matches(self, network: str, method: str, targets: tuple[str, ...]) -> bool:
        return (
            self.network == network
            and (self.method is None or self.method.lower() == method.lower())
            and (self.target is None or self.target in targets)
            and self.times != 0
        )


class Faults:
    """The rules in force, in the order in which they were asked for; the first that matches is taken."""

    def __init__(self, rng: random.Random) -> None:
        self._rng = rng
        self._last_id = 0
        self.rules: list[Fault] = []

    def add(self, spec: Mapping[str, Any]) -> Fault:
        """Make a rule from the control API's JSON; raises ValueError naming the field that is wrong."""
        if len(self.rules) >= MAX_RULES:
            raise ValueError(f"more than {MAX_RULES} faults at once")
        kind, when = spec.get("kind"), spec.get("when", "before")
        if kind not in get_args(Kind):
            raise ValueError(f"kind: one of {', '.join(get_args(Kind))} expected, got {kind!r}")
        if when not in get_args(When):
            raise ValueError(f"when: before or after expected, got {when!r}")
        if when == "after" and kind == "429":
            raise ValueError("when: a 429 means that nothing was executed, so it is always before")
        if spec.get("network") not in ("telegram", "whatsapp"):
            raise ValueError(f"network: telegram or whatsapp expected, got {spec.get('network')!r}")
        for name in ("times", "retry_after", "delay_s", "probability"):
            number = spec.get(name)
            if number is not None and (
                isinstance(number, bool) or not isinstance(number, (int, float)) or number < 0
            ):
                raise ValueError(f"{name}: a number from 0 expected, got {number!r}")
        unknown = set(spec) - set(Fault.__dataclass_fields__) - {"id", "hits"}
        if unknown:
            raise ValueError(f"unknown field: {sorted(unknown)[0]}")
        self._last_id += 1
        fields = {
            key: value for key, value in spec.items() if key not in ("id", "hits") and value is not None
        }
        if fields.get("target") is not None:
            fields["target"] = str(fields["target"])
        fields["times"] = spec.get("times", 1)
        fault = Fault(id=self._last_id, **{**fields, "kind": kind, "when": when})
        self.rules.append(fault)
        return fault

    def take(self, network: str, method: str, *targets: str) -> Fault | None:
        """The rule that spoils this call, if any; its `times` is counted down."""
        if not self.rules:
            return None
        for fault in self.rules:
            if fault.matches(network, method, targets) and self._rng.random() < fault.probability:
                fault.hits += 1
                if fault.times is not None:
                    fault.times -= 1
                return fault
        return None

    def remove(self, fault_id: int | None = None) -> int:
        """Delete one rule, or all; says how many went."""
        before = len(self.rules)
        self.rules = [fault for fault in self.rules if fault_id is not None and fault.id != fault_id]
        return before - len(self.rules)

    def listed(self) -> list[dict[str, Any]]:
        return [asdict(fault) for fault in self.rules]
