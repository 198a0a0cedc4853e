"""One event being handled: everything that effects and handlers may read, and the batch that they add rows to."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from sqlalchemy import Connection, TextClause

from bot.batch import Batch, ConversationRow, HandedEphemeral, SessionRow
from bot.channel_store import ConnectedChannel
from bot.flow_store import Business
from bot.outbox import REPLY_LIFE_MS, Outgoing
from bot.runtime import Runtime
from crm.contacts import TimelineLine
from crm.identities import ResolvedIdentity
from domain.contacts import ContactView
from domain.events import Event
from domain.messages import Content, Ephemeral, MessageClass


@dataclass
class Scope:
    """`conversation`, `identity` and `contact` are None for events that belong to no person's conversation.

    `turn_id` names the turn that this event becomes; messages sent in it leave in order.
    """

    runtime: Runtime
    connection: Connection
    batch: Batch
    channel: ConnectedChannel
    business: Business
    event_id: int
    event: Event
    slot: int
    intake_key: str
    received_at: int
    now: int
    turn_id: int
    conversation: ConversationRow | None = None
    session: SessionRow | None = None
    identity: ResolvedIdentity | None = None
    contact: ContactView | None = None
    inbound_message_id: int = 0
    position: int = 0
    state_before: str = ""
    state_after: str = ""
    effects: tuple[Any, ...] = ()
    trigger: str = ""

    @property
    def workspace_id(self) -> int:
        return self.channel.workspace_id

    def send(
        self, content: Content, *, message_class: MessageClass = MessageClass.reply, purpose: str = ""
    ) -> None:
        """A message to the person of this conversation, after those of this turn before it."""
        conversation = self.conversation
        if conversation is None:
            raise TypeError("an event without a conversation has nobody to answer")
        self.batch.outgoing.append(
            Outgoing(
                id=self.runtime.new_id(),
                workspace_id=self.workspace_id,
                channel_id=self.channel.id,
                conversation_id=conversation.id,
                contact_id=conversation.contact_id,
                identity_id=conversation.identity_id,
                turn_id=self.turn_id,
                position=self.position,
                message_class=message_class,
                purpose=purpose,
                address=conversation.address,
                topic=conversation.topic,
                place=conversation.place,
                language=self.language,
                content=content,
                expires_at=self.now + REPLY_LIFE_MS,
            )
        )
        self.position += 1
        conversation.last_message_at = self.now
        conversation.changed = True

    def send_ephemeral(self, ephemeral: Ephemeral) -> None:
        """Something that helps only now."""
        if self.conversation is not None:
            conversation = self.conversation
            self.batch.ephemerals.append(
                HandedEphemeral(self.channel.id, ephemeral, conversation.address, conversation.topic)
            )

    def note(self, kind: str, **data: Any) -> None:
        """A line in the contact's timeline."""
        if self.conversation is not None:
            self.batch.timeline.append(
                TimelineLine(self.workspace_id, self.conversation.contact_id, kind, self.now, data)
            )

    def log(self, what: str, outcome: str, detail: str = "") -> None:
        """A redacted line in the channel's log."""
        self.batch.log.append(
            {
                "id": self.runtime.new_id(),
                "workspace_id": self.workspace_id,
                "channel_id": self.channel.id,
                "what": what,
                "outcome": outcome,
                "detail": detail[:500],
                "at": self.now,
            }
        )

    def write_after(self, statement: TextClause, values: Mapping[str, Any]) -> None:
        """A rare statement of this event, after the batch's rows; `:workspace`, `:channel`, `:now` are at hand."""
        parameters = {"workspace": self.workspace_id, "channel": self.channel.id, "now": self.now, **values}

        def write(connection: Connection) -> None:
            connection.execute(statement, parameters)

        self.batch.after.append(write)

    @property
    def language(self) -> str:
        """The language to speak with this person."""
        known = self.contact.language if self.contact is not None else None
        return (known or self.business.locale)[:2]
