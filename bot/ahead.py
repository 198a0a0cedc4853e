"""What a round of few events reads and knows before its transaction, where a statement is a way to a server and back.

Theory of operation. One statement, before any transaction, reads of everybody who wrote: identity, conversation with
its waiting session, contact, and whether messages of the conversation still have to leave. What it saw is made certain
by the round's last statement, which writes everything: it locks the lease rows by the fences that the round began with,
and compares the versions of conversations, sessions and contacts. Fences only grow, so nobody else has handled these
lanes since before the look; and whoever lets a turn stand in a conversation's line raises that conversation's version.
Whatever does not hold sends the round back, with nothing written.

People whom nobody knew are written by that statement, too: there is nothing else to read of them, and when somebody
else has made one of them meanwhile, the round goes back and finds them. Where the round begins a transaction, they are
the first that is written in it.

So an ordinary step is two statements. What has to lock what it reads, gives something back or is rare begins a
transaction, in which the last statement is then one of several.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, cast

from sqlalchemy import Connection

from bot.batch import (
    CONVERSATION_COLUMNS,
    SESSION_COLUMNS,
    ConversationRow,
    SessionRow,
    VersionConflict,
    joined,
)
from crm import contacts, identities
from domain.contacts import ContactView
from storage.statements import apart, bulk, gathered, prepared, send, side_by_side


@dataclass
class Ahead:
    """What is known of a round. `fences`: the lanes that it needs. `seen_again`: changes of identities that the last
    statement writes. `quiet`: conversations in which no turn has to leave. `new`: who is still to be written."""

    fences: Mapping[str, int]
    seen_again: list[dict[str, Any]] = field(default_factory=list)
    conversations: dict[tuple[int, str], ConversationRow | None] = field(default_factory=dict)
    sessions: dict[int, SessionRow] = field(default_factory=dict)
    views: dict[tuple[int, int], ContactView] = field(default_factory=dict)
    contacts: dict[int, Sequence[Any]] = field(default_factory=dict)
    quiet: set[int] = field(default_factory=set)
    new: identities.NewPeople | None = None

    def connection(self, connection: Connection) -> Connection:
        """The connection, for the whole round: those who are new are there for every statement of its transaction."""
        return cast(Connection, _Arriving(self, connection))

    def find(self, connection: Connection, keys: Sequence[Mapping[str, Any]]) -> Sequence[Sequence[Any]]:
        """The rows of `identities.find`, with everything else that is known of these people."""
        rows = apart(connection).execute(prepared(_LOOK), {"rows": bulk(keys)}).all()
        for row in rows:
            self._keep(row)
        return [row[_IDENTITY] for row in rows]

    def _keep(self, row: Sequence[Any]) -> None:
        channel_id, _, identity_id, *_ = row[_IDENTITY]
        conversation = joined(ConversationRow, row[_CONVERSATION])
        self.conversations[(channel_id, f"i:{identity_id}")] = conversation
        (line,) = row[_LINE]
        if conversation is not None and not line:
            self.quiet.add(conversation.id)
        session = joined(SessionRow, row[_SESSION])
        if session is not None:
            self.sessions[session.id] = session
        contact_id, seen_from, *_ = view = row[_VIEW]
        if contact_id is not None:
            self.views[(contact_id, seen_from)] = contacts.view_of(view)
            self.contacts[contact_id] = row[_SEEN]

    def meet(self, people: identities.NewPeople) -> None:
        """These are new: they have no conversation, and are seen as they are written."""
        self.new = people
        for contact, identity in zip(people.contacts, people.identities, strict=True):
            self.conversations[(identity["channel_id"], f"i:{identity['id']}")] = None
            self.views[(contact["id"], identity["id"])] = contacts.view_of_new(contact, identity)

    def write_new(self, connection: Connection) -> None:
        """Writes who is new, if that was not done. Raises VersionConflict where somebody else has made one of them."""
        if self.new is not None:
            gathering = gathered(connection)
            self.gather_new(gathering)
            if not send(gathering):
                raise VersionConflict

    def gather_new(self, gathering: Connection) -> None:
        """The same within what is gathered."""
        people, self.new = self.new, None
        if people is not None:
            identities.insert(gathering, people)


class _Arriving:
    """See `Ahead.connection`."""

    __slots__ = ("_ahead", "_connection", "dialect")

    def __init__(self, ahead: Ahead, connection: Connection) -> None:
        self._ahead = ahead
        self._connection = connection
        self.dialect = connection.dialect

    def execute(self, *statement: Any, **options: Any) -> Any:
        """The connection's, after those who are new."""
        self._ahead.write_new(self._connection)
        return self._connection.execute(*statement, **options)

    def __getattr__(self, name: str) -> Any:
        return getattr(self._connection, name)


# What a row of the look says; the last: whether messages of the conversation still have to leave.
_SELECTED, (_IDENTITY, _CONVERSATION, _SESSION, _VIEW, _SEEN, _LINE) = side_by_side(
    identities.FOUND,
    [f"v.{name}" for name in CONVERSATION_COLUMNS],
    [f"s.{name}" for name in SESSION_COLUMNS],
    contacts.view_columns("postgresql", "p.identity_id"),
    contacts.SEEN_COLUMNS,
    [
        """
       CASE WHEN EXISTS (SELECT 1 FROM outbox o WHERE o.conversation_id = v.id AND o.conversation_id <> 0
                         AND o.turn_id <> 0) THEN 1 ELSE 0 END"""
    ],
)
# By the primary keys of identity_key, identity, flow_session and contact, the unique index (channel_id,
# conversation_key) of conversation and the index outbox_line.
_LOOK = f"""
SELECT {_SELECTED}
FROM {identities.OF_KEYS}
LEFT JOIN conversation v ON v.channel_id = k.channel_id AND v.conversation_key = 'i:' || i.id
LEFT JOIN flow_session s ON s.id = v.session_id AND s.status = 'waiting'
CROSS JOIN LATERAL (SELECT COALESCE(v.identity_id, i.id) AS identity_id,
                           COALESCE(v.contact_id, i.contact_id) AS contact_id) p
LEFT JOIN contact c ON c.id = p.contact_id AND c.workspace_id = i.workspace_id
"""
