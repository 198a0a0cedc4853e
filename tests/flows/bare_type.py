"""A pytest plugin that registers a step type without tests or documentation: for the test of the tests."""

from __future__ import annotations

from typing import TYPE_CHECKING

from flows import steps
from flows.steps import StepDocument, StepRun
from flows.texts import Texts

if TYPE_CHECKING:
    from flows.compiler import Maker
    from flows.turns import Turn

steps.registry()


@steps.step("bare")
class Bare(StepDocument):
    bare: Texts

    def prepare(self, maker: Maker) -> BareRun:
        maker.exit("next", self.next)
        maker.text("bare", self.bare)
        return BareRun()


class BareRun(StepRun):
    def enter(self, turn: Turn) -> None:
        turn.go(None)
