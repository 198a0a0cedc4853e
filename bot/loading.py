"""What a round of the worker needs, loaded in bulk: people, their conversations with waiting sessions, their contacts.

Some statements whatever the number of events: those of `identities.resolve`, which makes people whom nobody knew, one
for conversations by their key and one by their id, one for contacts. A new conversation is only a row in hand, which
the round writes with everything else (`batch.py`). What was read before the transaction (`ahead.py`) is not read again.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any

from sqlalchemy import Connection

from bot.ahead import Ahead
from bot.batch import CONVERSATION_COLUMNS, SESSION_COLUMNS, Batch, ConversationRow, SessionRow, joined
from bot.channel_store import ChannelStore, ConnectedChannel
from bot.claiming import Claimed, problem_of
from bot.flow_store import FlowStore
from bot.intake import open_event
from bot.runtime import Runtime
from crm import contacts, identities
from crm.identities import IdentityRequest, ResolvedIdentity
from domain.contacts import ContactView
from domain.errors import RejectedInput
from domain.events import Echo, Event, MessageReceived, OwnEvent, Person, Place, PreCheckout
from flows import state
from storage.sealing import Sealer
from storage.statements import bulk, bulk_values, prepared, side_by_side

Views = dict[tuple[int, int], ContactView]  # by (contact id, identity id)


@dataclass
class LoadedEvent:
    """An event with everything that handling it may need. `conversation` and `identity` are None where it belongs to
    no person's conversation."""

    row: Claimed
    event: Event
    channel: ConnectedChannel
    conversation: ConversationRow | None = None
    identity: ResolvedIdentity | None = None


def opened(
    rows: Sequence[Claimed], channels: ChannelStore, sealer: Sealer
) -> tuple[list[LoadedEvent], dict[int, str]]:
    """The events of these rows in their order, and the problems of those that cannot be read, by id."""
    events: list[LoadedEvent] = []
    problems: dict[int, str] = {}
    for row in rows:
        channel = channels.get(row.channel_id)
        try:
            if channel is None:
                raise RejectedInput("its channel is not known", where=f"channel {row.channel_id}")
            events.append(LoadedEvent(row, open_event(sealer, row.id, row.payload), channel))
        except Exception as error:
            problems[row.id] = problem_of(error)
    return events, problems


def load(
    connection: Connection,
    events: Sequence[LoadedEvent],
    batch: Batch,
    *,
    runtime: Runtime,
    flows: FlowStore,
    now: int,
    ahead: Ahead | None,
) -> Views:
    """Fills in who did it and their conversation, gives the batch the round's conversations and sessions, has the
    sessions' flows at hand; gives how the contacts are seen. `ahead` reads what it can before the transaction, and its
    `seen_again` is to be written. Raises Conflict where somebody was forgotten meanwhile."""
    _resolve(connection, events, runtime, now, ahead)
    _load_conversations(connection, events, batch, runtime, now, ahead)
    views = _load_views(connection, events, ahead)
    flows.ensure(
        connection, [v for s in batch.sessions.values() for _, v in state.decode(s.state).versions()]
    )
    return views


# --- people


def _resolve(
    connection: Connection, events: Sequence[LoadedEvent], runtime: Runtime, now: int, ahead: Ahead | None
) -> None:
    asking = [(one, asked) for one in events if (asked := _identity_request(one)) is not None]
    if not asking:
        return
    found = identities.resolve(
        connection,
        [asked for _, asked in asking],
        keyed_hash=runtime.sealer.keyed_hash,
        new_id=runtime.new_id,
        now=now,
        ahead=ahead,
    )
    for (one, _), identity in zip(asking, found, strict=True):
        one.identity = identity


def _identity_request(one: LoadedEvent) -> IdentityRequest | None:
    event, person = one.event, _person(one.event)
    if person is None:
        return None
    address = ""
    if isinstance(event, MessageReceived) and event.origin.place is Place.private:
        address = event.origin.address
    return IdentityRequest(
        workspace_id=one.row.workspace_id,
        channel_id=one.channel.id,
        channel_kind=one.channel.kind.kind,
        person=person,
        address=address,
        at=one.row.received_at,
        inbound=isinstance(event, MessageReceived),
    )


def _person(event: Event) -> Person | None:
    match event:
        case MessageReceived(person=person) | PreCheckout(person=person) | Echo(person=person):
            return None if person.is_bot or not person.ids else person
        case _:
            return None


# --- conversations and sessions


def _load_conversations(
    connection: Connection,
    events: Sequence[LoadedEvent],
    batch: Batch,
    runtime: Runtime,
    now: int,
    ahead: Ahead | None,
) -> None:
    keys = {(one.channel.id, key) for one in events if (key := _conversation_key(one)) is not None}
    ids = {one.event.conversation_id for one in events if isinstance(one.event, OwnEvent)}
    known = {key: ahead.conversations[key] for key in keys & ahead.conversations.keys()} if ahead else {}
    by_id, batch.sessions = _stored(connection, keys - known.keys(), ids)
    by_key = {(c.channel_id, c.conversation_key): c for c in by_id.values()}
    by_key.update((key, one) for key, one in known.items() if one is not None)
    if ahead is not None:
        batch.sessions |= ahead.sessions
    for one in events:
        if isinstance(one.event, OwnEvent):
            one.conversation = by_id.get(one.event.conversation_id)
            continue
        key = _conversation_key(one)
        if key is None or one.identity is None:
            continue
        conversation = by_key.get((one.channel.id, key))
        if conversation is None:
            conversation = by_key[(one.channel.id, key)] = _new_conversation(
                one, one.identity, key, runtime.new_id(), now
            )
        one.conversation = conversation
    batch.conversations = {
        one.conversation.id: one.conversation for one in events if one.conversation is not None
    }


def _conversation_key(one: LoadedEvent) -> str | None:
    """The canonical key: by identity, so that a new number or a first user id does not start a second thread."""
    if one.identity is None:
        return None
    event = one.event
    if isinstance(event, MessageReceived) and event.origin.place is Place.group:
        return f"{event.origin.address}:{event.origin.topic or ''}:{one.identity.identity_id}"
    return f"i:{one.identity.identity_id}"


_SELECTED, (_CONVERSATION, _SESSION) = side_by_side(
    [f"c.{name}" for name in CONVERSATION_COLUMNS], [f"s.{name}" for name in SESSION_COLUMNS]
)
_WAITING = "LEFT JOIN flow_session s ON s.id = c.session_id AND s.status = 'waiting'"
# By the unique index (channel_id, conversation_key) of conversation and the primary key of flow_session.
_BY_KEY = f"""
SELECT {_SELECTED}
FROM (SELECT CAST(e.value ->> 'c' AS BIGINT) AS channel_id, e.value ->> 'k' AS conversation_key
      FROM json_each(:rows) e) v
JOIN conversation c ON c.channel_id = v.channel_id AND c.conversation_key = v.conversation_key {_WAITING}
"""
# By the primary keys.
_BY_ID = f"""
SELECT {_SELECTED} FROM conversation c {_WAITING}
WHERE c.id IN (SELECT CAST(e.value ->> 'v' AS BIGINT) FROM json_each(:ids) e)
"""


def _stored(
    connection: Connection, keys: Iterable[tuple[int, str]], ids: Iterable[int]
) -> tuple[dict[int, ConversationRow], dict[int, SessionRow]]:
    """Conversations of (channel id, key) or id, and their waiting sessions, by id."""
    rows: list[Sequence[Any]] = []
    wanted = [{"c": channel, "k": key} for channel, key in sorted(keys)]
    if wanted:
        rows += connection.execute(prepared(_BY_KEY), {"rows": bulk(wanted)}).all()
    found = {row[0] for row in rows}
    missing = [one for one in sorted(ids) if one not in found]
    if missing:
        rows += connection.execute(prepared(_BY_ID), {"ids": bulk_values(missing)}).all()
    conversations = [ConversationRow(*row[_CONVERSATION]) for row in rows]
    sessions = [session for row in rows if (session := joined(SessionRow, row[_SESSION])) is not None]
    return {one.id: one for one in conversations}, {one.id: one for one in sessions}


def _new_conversation(
    one: LoadedEvent, identity: ResolvedIdentity, key: str, conversation_id: int, now: int
) -> ConversationRow:
    return ConversationRow(
        id=conversation_id,
        workspace_id=one.row.workspace_id,
        channel_id=one.channel.id,
        conversation_key=key,
        intake_key=one.row.intake_key,
        slot=one.row.slot,
        identity_id=identity.identity_id,
        contact_id=identity.contact_id,
        address="",
        topic=None,
        place="private",
        status="bot",
        assignee="",
        session_id=0,
        question_id=0,
        version=0,
        last_inbound_at=None,
        last_message_at=now,
        created_at=now,
        new=True,
    )


# --- contacts


def _load_views(connection: Connection, events: Sequence[LoadedEvent], ahead: Ahead | None) -> Views:
    known = ahead.views if ahead else {}
    wanted = {
        (c.workspace_id, c.contact_id, c.identity_id)
        for one in events
        if (c := one.conversation) is not None and (c.contact_id, c.identity_id) not in known
    }
    return {**known, **contacts.load_views(connection, wanted)}
