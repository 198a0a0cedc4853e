"""The tests of routers as functions: `has_phrase(text, "yes")` counts as true, its `.match` is what fitted."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from flows.excellent.evaluation import Evaluation
from flows.excellent.functions import function
from flows.excellent.values import Fault, Object
from flows.matchers import Matcher, Unfit, registry


def _function(test: Matcher) -> Callable[..., Any]:
    def call(evaluation: Evaluation, *arguments: Any) -> Any:
        if not arguments:
            return Fault(f"error calling {test.key}: need a value")
        try:
            found = test.match(arguments[0], arguments[1:], evaluation.environment)
        except Unfit as error:
            return Fault(f"error calling {test.key}: {error}")
        return False if found is None else Object({"match": found.value, "extra": found.extra}, default=True)

    return call


for _test in registry().values():
    function("any*", name=_test.key, price=_test.price, per_character=1, tolerant=True)(_function(_test))
