"""`note`: a line in the timeline that the contact does not see."""

from __future__ import annotations

from bot.effects import applies
from bot.scope import Scope
from domain.effects import AddNote


@applies(AddNote)
def add_note(scope: Scope, effect: AddNote) -> None:
    """Adds the line."""
    scope.note("note", text=effect.text, step=effect.step_id)
