"""`call_http`: a request to a service becomes a job; its answer comes back as an event of this conversation."""

from __future__ import annotations

from bot import calls
from bot.effects import applies
from bot.scope import Scope
from domain.effects import CallHttp


@applies(CallHttp)
def call_http(scope: Scope, effect: CallHttp) -> None:
    """Adds the job in this transaction; it starts as soon as that is committed."""
    calls.call_later(scope, effect)
