"""Channels and groups: where the bot may post, and what happens there."""

from __future__ import annotations

import msgspec
from sqlalchemy import text

from bot import occasions
from bot.flow_store import FlowStore
from bot.handlers import handles
from bot.scope import Scope
from crm import identities
from domain.events import OutletActivity, OutletChanged, Person
from flows.triggers import Occasion
from storage.database import scalar_int


@handles(OutletChanged)
def outlet_changed(scope: Scope, flows: FlowStore, event: OutletChanged) -> None:
    """Adding the bot as an administrator connects the outlet; removing it ends that. No ids are typed."""
    address = event.origin.address
    state = "active" if event.member and event.can_post else "gone"
    values = {
        "id": scope.runtime.new_id(),
        "workspace": scope.workspace_id,
        "channel": scope.channel.id,
        "address": address,
        "kind": event.outlet_kind,
        "title": event.origin.title[:200],
        "state": state,
        "rights": msgspec.json.encode(event.rights).decode(),
        "now": scope.now,
        "new": event.new_address or address,
    }
    if event.new_address:
        scope.connection.execute(
            text(
                "UPDATE outlet SET address = :new, kind = 'supergroup' "
                "WHERE channel_id = :channel AND address = :address"
            ),
            values,
        )
        scope.connection.execute(
            text("UPDATE outbox SET address = :new WHERE channel_id = :channel AND address = :address"),
            values,
        )
        return
    scope.connection.execute(
        text(
            "INSERT INTO outlet (id, workspace_id, channel_id, address, kind, title, state, rights, members, added_at) "
            "VALUES (:id, :workspace, :channel, :address, :kind, :title, :state, :rights, NULL, :now) "
            "ON CONFLICT (channel_id, address) DO UPDATE SET kind = excluded.kind, title = excluded.title, "
            "state = excluded.state, rights = excluded.rights"
        ),
        values,
    )
    scope.log("outlet", state, event.outlet_kind)


@handles(OutletActivity)
def outlet_activity(scope: Scope, flows: FlowStore, event: OutletActivity) -> None:
    """Joins, leaves, reactions, other people's posts: kept in the channel's log until statistics read them. A join by
    somebody whose chat we know may start a flow there."""
    if event.what == "joined" and event.person is not None and flows.hears(scope.workspace_id, "joined"):
        _joined(scope, flows, event, event.person)
    detail = {
        "what": event.what,
        "link": event.invite_link,
        "post": event.external_id,
        "counts": event.counts,
    }
    scope.log("outlet_activity", event.what, msgspec.json.encode(detail).decode())


def _joined(scope: Scope, flows: FlowStore, event: OutletActivity, person: Person) -> None:
    [identity_id] = identities.identity_ids_of(
        scope.connection,
        [(scope.workspace_id, scope.channel.id, person)],
        keyed_hash=scope.runtime.sealer.keyed_hash,
    )
    if not identity_id:
        return
    contact_id = scalar_int(
        scope.connection,
        "SELECT contact_id FROM identity WHERE workspace_id = :workspace AND id = :id",
        {"workspace": scope.workspace_id, "id": identity_id},
    )
    data = {"address": event.origin.address, "invite_link": event.invite_link}
    occasion = Occasion(kind="joined", what=event.origin.title or event.origin.address, data=data)
    occasions.raise_later(scope, flows, contact_id, [occasion])
