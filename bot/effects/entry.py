"""`entry`: a line of another kind in the timeline (score, stage)."""

from __future__ import annotations

from bot.effects import applies
from bot.scope import Scope
from domain.effects import AddEntry


@applies(AddEntry)
def add_entry(scope: Scope, effect: AddEntry) -> None:
    """Adds the line."""
    scope.note(effect.kind, **{**effect.data, "step": effect.step_id})
