"""`consent`: a row of the ledger with its source in the flow and the person's own words as evidence."""

from __future__ import annotations

from bot.effects import applies
from bot.scope import Scope
from crm.consent import NewConsent
from domain.effects import RecordConsent
from domain.events import MessageReceived
from domain.messages import text_of


@applies(RecordConsent)
def record_consent(scope: Scope, effect: RecordConsent) -> None:
    """Adds the ledger row and a line in the timeline."""
    conversation, session = scope.conversation, scope.session
    if conversation is None:
        return
    evidence = {}
    if effect.action != "asked" and isinstance(scope.event, MessageReceived):
        evidence = {
            "event": scope.event.key,
            "external_id": scope.event.external_id,
            "words": text_of(scope.event.content)[:500],
        }
    scope.batch.consents.append(
        NewConsent(
            workspace_id=scope.workspace_id,
            identity_id=conversation.identity_id,
            contact_id=conversation.contact_id,
            channel_id=conversation.channel_id,
            purpose=effect.purpose,
            action=effect.action,
            wording=effect.wording,
            wording_version=effect.wording_version,
            language=effect.language,
            occurred_at=scope.received_at,
            source={
                "flow_version": session.flow_version_id if session else 0,
                "step": effect.step_id,
                "message": scope.inbound_message_id,
            },
            evidence=evidence,
            double_opt_in=effect.double_opt_in,
        )
    )
    if effect.action != "asked":
        scope.note("consent", purpose=effect.purpose, action=effect.action)
