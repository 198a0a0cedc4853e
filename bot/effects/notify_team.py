"""`notify_team`: people of the team are told."""

from __future__ import annotations

from bot.effects import applies
from bot.scope import Scope
from domain.effects import NotifyTeam


@applies(NotifyTeam)
def notify_team(scope: Scope, effect: NotifyTeam) -> None:
    """As `Scope.tell_team`."""
    scope.tell_team(effect.kind, effect.text, team=effect.team)
