"""`hand_over`: a person takes the conversation; the bot is silent there until it is handed back."""

from __future__ import annotations

from bot.effects import applies
from bot.scope import Scope
from domain.effects import HandOver


@applies(HandOver)
def hand_over(scope: Scope, effect: HandOver) -> None:
    """Marks the conversation for people."""
    if scope.conversation is not None:
        scope.conversation.status = "human"
        scope.conversation.assignee = effect.team or ""
        scope.conversation.changed = True
        scope.tell_team("handed_over", effect.note, team=effect.team or "")
        scope.note("handed_over", team=effect.team or "", note=effect.note)
