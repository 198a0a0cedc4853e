"""`send`: a message of the turn. One that the author marked with a purpose is marketing and asks for consent."""

from __future__ import annotations

from bot.effects import applies
from bot.scope import Scope
from domain.effects import SendMessage
from domain.messages import MessageClass


@applies(SendMessage)
def send(scope: Scope, effect: SendMessage) -> None:
    """Queues it behind the turn's messages before it."""
    message_class = MessageClass.marketing if effect.purpose else MessageClass.reply
    scope.send(effect.content, message_class=message_class, purpose=effect.purpose or "")
