"""`conversion`: something of value that the person did, as a row and a line in the timeline."""

from __future__ import annotations

from bot.effects import applies
from bot.scope import Scope
from domain.effects import RecordConversion


@applies(RecordConversion)
def record_conversion(scope: Scope, effect: RecordConversion) -> None:
    """Adds both."""
    where = scope.place_of(effect.step_id, effect.version)
    if where is None:
        return
    scope.batch.conversions.append(
        {**where, "name": effect.name, "amount": effect.amount, "currency": effect.currency}
    )
    scope.note("conversion", name=effect.name, amount=effect.amount, currency=effect.currency)
