"""What a platform tells of a person: blocked us, prefers no marketing, has a new address, was answered by the owner."""

from __future__ import annotations

from bot import dialogue, occasions
from bot.flow_store import FlowStore
from bot.handlers import handles
from bot.scope import Scope
from crm import consent, contacts, identities
from crm.contacts import TimelineLine
from domain.events import Echo, IdentityChanged, Person, PreCheckout, Preference, Reachability
from domain.messages import MessageStatus, PreCheckoutAnswer, encode
from flows import changes
from storage.database import scalar_int


@handles(Reachability)
def reachability(scope: Scope, flows: FlowStore, event: Reachability) -> None:
    """Intake has marked the identity; here the ledger and the timeline learn it."""
    _opt_out(scope, flows, event, event.person, kind="unblocked" if event.reachable else "blocked")


@handles(Preference)
def preference(scope: Scope, flows: FlowStore, event: Preference) -> None:
    """The platform's own switch for marketing. "On" is no consent: that is given to us, in words."""
    _opt_out(scope, flows, event, event.person, kind="preference_on" if event.wanted else "opted_out")


def _opt_out(
    scope: Scope, flows: FlowStore, event: Reachability | Preference, person: Person, *, kind: str
) -> None:
    keyed_hash = scope.runtime.sealer.keyed_hash
    [identity_id] = identities.identity_ids_of(
        scope.connection, [(scope.workspace_id, scope.channel.id, person)], keyed_hash=keyed_hash
    )
    if not identity_id:
        return
    wish = consent.event_opt_out(
        event,
        workspace_id=scope.workspace_id,
        identity_id=identity_id,
        language=scope.business.locale,
        at=scope.received_at,
    )
    if wish is not None:
        scope.batch.consents.append(wish)
    contact_id = scalar_int(
        scope.connection,
        "SELECT contact_id FROM identity WHERE workspace_id = :workspace AND id = :id",
        {"workspace": scope.workspace_id, "id": identity_id},
    )
    scope.batch.timeline.append(TimelineLine(scope.workspace_id, contact_id, kind, scope.now, {}))
    if kind == "opted_out" and flows.hears(scope.workspace_id, "consent_withdrawn"):
        _raise_withdrawn(scope, flows, contact_id, identity_id)


def _raise_withdrawn(scope: Scope, flows: FlowStore, contact_id: int, identity_id: int) -> None:
    view = contacts.load_views(scope.connection, [(scope.workspace_id, contact_id, identity_id)])
    taken_back = changes.opted_out(view[contact_id, identity_id])
    occasions.raise_later(scope, flows, contact_id, taken_back)


@handles(IdentityChanged)
def identity_changed(scope: Scope, flows: FlowStore, event: IdentityChanged) -> None:
    """The identity moves, the contact and its conversation stay."""
    identities.move(
        scope.connection,
        workspace_id=scope.workspace_id,
        channel_id=scope.channel.id,
        old=event.old,
        new=event.new,
        keyed_hash=scope.runtime.sealer.keyed_hash,
        now=scope.now,
    )


@handles(Echo)
def echo(scope: Scope, flows: FlowStore, event: Echo) -> None:
    """The owner answered on the phone: the bot falls silent in this conversation, and the log shows what was said."""
    conversation = scope.conversation
    if conversation is None:
        return
    scope.batch.received.append(
        {
            "id": scope.runtime.new_id(),
            "workspace_id": scope.workspace_id,
            "channel_id": scope.channel.id,
            "conversation_id": conversation.id,
            "contact_id": conversation.contact_id,
            "identity_id": conversation.identity_id,
            "turn_id": 0,
            "author": "owner",
            "direction": "out",
            "message_class": "service",
            "content": encode(event.content),
            "external_id": event.external_id,
            "status": MessageStatus.sent.value,
            "created_at": scope.received_at,
        }
    )
    dialogue.end_session(scope, "stopped")
    conversation.status, conversation.changed = "human", True
    conversation.last_message_at = scope.now
    scope.note("handed_over", note="answered outside Passaparola")


@handles(PreCheckout)
def pre_checkout(scope: Scope, flows: FlowStore, event: PreCheckout) -> None:
    """Nothing here sells yet, so no payment of ours can be waiting: the answer is a polite no, in time."""
    reason = {"it": "Qui non si può ancora pagare.", "en": "Payments are not possible here yet."}
    scope.send_ephemeral(
        PreCheckoutAnswer(event.query_id, ok=False, reason=reason.get(scope.language, reason["en"]))
    )
    scope.log("payment", "refused", "a payment was asked for that we never offered")
