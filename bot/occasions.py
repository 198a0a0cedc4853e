"""What happens beside messages, on its way to the triggers: tags, fields, consent, scores, joins, events of programs.

An occasion is raised in the transaction that changes something, as an event of the contact's latest private
conversation: one way in, in order with what the person writes (DESIGN 2.3). It is raised only where a published flow
hears its kind. `bot.triggering` takes it up from there.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import msgspec
from sqlalchemy import Connection, text

from bot import intake
from bot.doors import HAPPENED, Door, latest
from bot.flow_store import FlowStore
from bot.scope import Scope
from crm import contacts
from domain.contacts import ContactView
from domain.effects import PatchContact, RecordReferral
from domain.errors import NotFound
from domain.events import MessageReceived, SessionCommand
from domain.ids import first_id_at, to_text
from flows import changes
from flows.engine import Transition
from flows.triggers import Occasion
from storage.sealing import Sealer

MAX_OCCASIONS = 20  # of one turn or change: more is an import, not something that happened


def event_of(
    occasion: Occasion, door: Door, *, key: str, chain: int, now: int, **more: Any
) -> SessionCommand:
    """The event that carries an occasion. `chain`: how many flows have started one another until then."""
    data = {"occasion": msgspec.to_builtins(occasion), "chain": chain, **more}
    return SessionCommand(
        key=key, occurred_at=now, conversation_id=door.conversation_id, what=HAPPENED, data=data
    )


def raise_of_turn(scope: Scope, flows: FlowStore, before: ContactView, transition: Transition) -> None:
    """Raises what a turn of a flow changed in its contact. Called for every turn, so it first asks whether anybody
    cares."""
    conversation = scope.conversation
    if conversation is None or not flows.hears(scope.workspace_id, *changes.OF_TURN):
        return
    found = changes.of_turn(before, transition.contact, transition.effects)
    if found:
        cause = transition.state.cause
        raise_here(scope, flows, found, chain=1 + (cause.chain if cause is not None else 0))
    for effect in transition.effects:
        if isinstance(effect, RecordReferral):
            _raise_count(scope, flows, effect)


def _raise_count(scope: Scope, flows: FlowStore, effect: RecordReferral) -> None:
    """The one who invited hears of the friend, by the field that counts them: `field_changed: invited_summer`."""
    runtime, workspace_id, now = scope.runtime, scope.workspace_id, scope.now

    def write(connection: Connection) -> None:
        try:
            referrer = contacts.get(connection, workspace_id=workspace_id, contact_id=effect.referrer_id)
        except NotFound:  # forgotten, or never there
            return
        key = effect.count.removeprefix("fields.")
        raise_for(
            connection,
            flows,
            workspace_id=workspace_id,
            contact_id=effect.referrer_id,
            occasions=[Occasion(kind="field_changed", what=key, value=referrer.fields.get(key))],
            sealer=runtime.sealer,
            new_id=runtime.new_id,
            now=now,
        )

    scope.batch.after.append(write)
    scope.batch.wakes.append("intake")


def raise_here(scope: Scope, flows: FlowStore, occasions: Sequence[Occasion], *, chain: int = 0) -> None:
    """Raises occasions of this event's contact."""
    conversation = scope.conversation
    if conversation is None:
        return
    kind = scope.channel.kind.kind
    door: Door | None = Door(
        conversation.id, scope.channel.id, kind, conversation.slot, conversation.intake_key
    )
    if conversation.place != "private":  # what one person did is nothing for the group to hear
        door = latest(scope.connection, scope.workspace_id, conversation.contact_id)
    if door is None:
        return
    heard = flows.doors(scope.workspace_id, door.channel_id, door.channel_kind)
    wanted = [one for one in occasions[:MAX_OCCASIONS] if heard.hears(one.kind)]
    if not wanted:
        return
    events = [
        event_of(one, door, key=f"happened:{scope.event_id}:{number}", chain=chain, now=scope.now)
        for number, one in enumerate(wanted)
    ]
    own = [(scope.workspace_id, door.channel_id, door.slot, door.intake_key, event) for event in events]
    runtime, now = scope.runtime, scope.now
    scope.batch.after.append(
        lambda connection: intake.append_own(
            connection, own, sealer=runtime.sealer, new_id=runtime.new_id, now=now
        )
    )
    scope.batch.wakes.append("intake")


def raise_later(scope: Scope, flows: FlowStore, contact_id: int, occasions: Sequence[Occasion]) -> None:
    """Raises occasions of a contact whose conversation this event does not belong to."""
    runtime, workspace_id, now = scope.runtime, scope.workspace_id, scope.now

    def write(connection: Connection) -> None:
        raise_for(
            connection,
            flows,
            workspace_id=workspace_id,
            contact_id=contact_id,
            occasions=occasions,
            sealer=runtime.sealer,
            new_id=runtime.new_id,
            now=now,
        )

    scope.batch.after.append(write)
    scope.batch.wakes.append("intake")


def raise_for(
    connection: Connection,
    flows: FlowStore | None,
    *,
    workspace_id: int,
    contact_id: int,
    occasions: Sequence[Occasion],
    sealer: Sealer,
    new_id: Callable[[], int],
    now: int,
) -> int:
    """Raises occasions of a contact from outside a turn (API, console, a tracked link), in the caller's transaction;
    gives how many. The caller wakes the worker after the commit (`signals.notify("intake")`). `flows` None: whether
    anybody hears them is found out when they are handled."""
    if not occasions or (
        flows is not None and not flows.hears(workspace_id, *{one.kind for one in occasions})
    ):
        return 0
    door = latest(connection, workspace_id, contact_id)
    if door is None:
        return 0
    heard = None if flows is None else flows.doors(workspace_id, door.channel_id, door.channel_kind)
    wanted = [one for one in occasions[:MAX_OCCASIONS] if heard is None or heard.hears(one.kind)]
    own = [
        (
            workspace_id,
            door.channel_id,
            door.slot,
            door.intake_key,
            event_of(one, door, key=f"happened:{new_id()}", chain=0, now=now),
        )
        for one in wanted
    ]
    intake.append_own(connection, own, sealer=sealer, new_id=new_id, now=now)
    return len(own)


def change_contact(
    connection: Connection,
    flows: FlowStore | None,
    *,
    workspace_id: int,
    contact_id: int,
    patch: PatchContact,
    sealer: Sealer,
    new_id: Callable[[], int],
    now: int,
) -> ContactView:
    """`contacts.update`, and what it changed is raised in the same transaction. Raises NotFound and RejectedInput."""
    if flows is not None and not flows.hears(workspace_id, *changes.OF_CONTACT):
        return contacts.update(
            connection, workspace_id=workspace_id, contact_id=contact_id, patch=patch, now=now
        )
    before = contacts.get(connection, workspace_id=workspace_id, contact_id=contact_id)
    after = contacts.update(
        connection, workspace_id=workspace_id, contact_id=contact_id, patch=patch, now=now
    )
    raise_for(
        connection,
        flows,
        workspace_id=workspace_id,
        contact_id=contact_id,
        occasions=changes.between(before, after),
        sealer=sealer,
        new_id=new_id,
        now=now,
    )
    return after


def clicked(
    connection: Connection,
    flows: FlowStore | None,
    *,
    workspace_id: int,
    contact_id: int,
    campaign_id: str,
    campaign: str,
    url: str,
    sealer: Sealer,
    new_id: Callable[[], int],
    now: int,
) -> int:
    """A person opened a campaign's tracked link: what `/l/{code}` calls when it has noted the click. `campaign_id` is
    the public one."""
    occasion = Occasion(
        kind="campaign_click", what=campaign, data={"campaign_id": campaign_id, "url": url[:2_000]}
    )
    return raise_for(
        connection,
        flows,
        workspace_id=workspace_id,
        contact_id=contact_id,
        occasions=[occasion],
        sealer=sealer,
        new_id=new_id,
        now=now,
    )


def of_campaign(
    scope: Scope, event: MessageReceived, last_inbound_at: int | None, *, within_ms: int
) -> tuple[tuple[str, ...], int]:
    """Name and public id of the campaign that a message answers, and how long after it; empty: of none.

    It answers the message that it quotes, else the campaign's message that came since the person last wrote.
    """
    conversation = scope.conversation
    if conversation is None:
        return (), 0
    quoted = "AND m.external_id = :quoted " if event.reply_to else "AND m.created_at > :since "
    row = scope.connection.execute(
        text(
            "SELECT c.id, c.name, m.created_at FROM message m JOIN campaign_run r ON r.id = m.run_id "
            "JOIN campaign c ON c.id = r.campaign_id WHERE m.workspace_id = :workspace "
            "AND m.conversation_id = :conversation AND m.direction = 'out' AND m.run_id <> 0 "
            f"AND m.id >= :first {quoted}ORDER BY m.id DESC LIMIT 1"
        ),
        {
            "workspace": scope.workspace_id,
            "conversation": conversation.id,
            "first": first_id_at(scope.received_at - within_ms),
            "quoted": event.reply_to,
            "since": last_inbound_at or 0,
        },
    ).one_or_none()
    if row is None:
        return (), 0
    return (row.name, to_text("campaign", row.id)), max(0, scope.received_at - row.created_at)
