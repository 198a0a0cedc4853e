"""What a round of few events reads and knows before its transaction, where a statement is a way to a server and back.

Theory of operation. One statement, before any transaction, reads of everybody who wrote: identity, conversation with
its waiting session, contact, and whether messages of the conversation still have to leave. What it saw is made certain
by the round's last statement, which writes everything: it locks the lease rows by the fences that the round began with,
and compares the versions of conversations, sessions and contacts. Fences only grow, so nobody else has handled these
lanes since before the look; and whoever lets a turn stand in a conversation's line raises that conversation's version.
Whatever does not hold sends the round back, with nothing written.

So an ordinary step is two statements. What has to lock what it reads, gives something back or is rare begins a
transaction, in which the last statement is then one of several.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, fields
from typing import Any

from sqlalchemy import Connection

from bot.batch import ConversationRow, SessionRow
from crm import contacts, identities
from domain.contacts import ContactView
from storage.statements import apart, bulk, prepared


@dataclass
class Ahead:
    """What is known of a round. `fences`: the lanes that it needs. `seen_again`: changes of identities that the last
    statement writes. `quiet`: conversations in which no turn has to leave."""

    fences: Mapping[str, int]
    seen_again: list[dict[str, Any]] = field(default_factory=list)
    conversations: dict[tuple[int, str], ConversationRow | None] = field(default_factory=dict)
    sessions: dict[int, SessionRow] = field(default_factory=dict)
    views: dict[tuple[int, int], ContactView] = field(default_factory=dict)
    contacts: dict[int, Sequence[Any]] = field(default_factory=dict)
    quiet: set[int] = field(default_factory=set)

    def find(self, connection: Connection, keys: Sequence[Mapping[str, Any]]) -> Sequence[Sequence[Any]]:
        """The rows of `identities.find`, with everything else that is known of these people."""
        rows = apart(connection).execute(prepared(_LOOK), {"rows": bulk(keys)}).all()
        for row in rows:
            self._keep(row)
        return [row[:_IDENTITY] for row in rows]

    def _keep(self, row: Sequence[Any]) -> None:
        session_at = _IDENTITY + _CONVERSATION
        view_at = session_at + _SESSION
        key = (row[0], f"i:{row[2]}")
        if row[_IDENTITY] is None:
            self.conversations[key] = None
        else:
            conversation = ConversationRow(*row[_IDENTITY:session_at])
            self.conversations[key] = conversation
            if row[session_at] is not None:
                session = SessionRow(*row[session_at:view_at])
                self.sessions[session.id] = session
            if not row[-1]:
                self.quiet.add(conversation.id)
        if row[view_at] is not None:
            view = row[view_at : view_at + _VIEW]
            self.views[(view[0], view[1])] = contacts.view_of(view)
            self.contacts[view[0]] = row[view_at + _VIEW : -1]


_CONVERSATION = 19
_SESSION = 12
_VIEW = 14
_IDENTITY = 13
_COLUMNS = ", ".join(
    [
        *(f"v.{column.name}" for column in fields(ConversationRow)[:_CONVERSATION]),
        *(f"s.{column.name}" for column in fields(SessionRow)[:_SESSION]),
    ]
)
# By the primary keys of identity_key, identity, flow_session and contact, the unique index (channel_id,
# conversation_key) of conversation and the index outbox_line.
_LOOK = f"""
SELECT {identities.FOUND}, {_COLUMNS}, {contacts.view_columns("postgresql", "p.identity_id")},
       {contacts.SEEN_COLUMNS},
       CASE WHEN EXISTS (SELECT 1 FROM outbox o WHERE o.conversation_id = v.id AND o.conversation_id <> 0
                         AND o.turn_id <> 0) THEN 1 ELSE 0 END
FROM {identities.OF_KEYS}
LEFT JOIN conversation v ON v.channel_id = k.channel_id AND v.conversation_key = 'i:' || i.id
LEFT JOIN flow_session s ON s.id = v.session_id AND s.status = 'waiting'
CROSS JOIN LATERAL (SELECT COALESCE(v.identity_id, i.id) AS identity_id,
                           COALESCE(v.contact_id, i.contact_id) AS contact_id) p
LEFT JOIN contact c ON c.id = p.contact_id AND c.workspace_id = i.workspace_id
"""
