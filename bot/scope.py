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
from bot.texts import told
from crm.contacts import TimelineLine
from crm.identities import ResolvedIdentity
from domain.contacts import ContactView
from domain.events import Event
from domain.ids import first_id_at
from domain.messages import Content, Ephemeral, MessageClass, Text
from storage.statements import prepared

HOUR_MS = 3_600_000
MAX_TOLD = 1_000  # characters of what the team is told: a message that is read at a glance
TOLD_LIFE_MS = 24 * 3_600_000  # what could not reach the team's chat in a day is in the list all the same


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

    def set_timer(
        self,
        whose: int,
        *,
        step_id: str,
        visit: int,
        purpose: str,
        due_at: int,
        version: int,
        after_sent: int | None = None,
    ) -> None:
        """A durable wake-up for a session, or for the conversation itself (`whose`). One that counts from the turn's
        last message (`after_sent`, ms) names the turn, and the settle moves it: until then it is due after the last
        moment at which that message may still leave, so that nobody is asked whether they are there before they were
        asked anything."""
        conversation = self.conversation
        if conversation is None:
            raise TypeError("an event without a conversation waits for nothing")
        counted = after_sent is not None
        self.batch.timers.append(
            {
                "id": self.runtime.new_id(),
                "workspace_id": self.workspace_id,
                "channel_id": conversation.channel_id,
                "intake_key": conversation.intake_key,
                "slot": conversation.slot,
                "conversation_id": conversation.id,
                "session_id": whose,
                "step_id": step_id,
                "visit": visit,
                "purpose": purpose,
                "due_at": due_at + (REPLY_LIFE_MS if counted else 0),
                "after_sent": after_sent,
                "turn_id": self.turn_id if counted else 0,
                "state": 0,
                "flow_version_id": version,
            }
        )

    def note(self, kind: str, **data: Any) -> None:
        """A line in the contact's timeline."""
        if self.conversation is not None:
            self.batch.timeline.append(
                TimelineLine(self.workspace_id, self.conversation.contact_id, kind, self.now, data)
            )

    def place_of(self, step_id: str, version: int) -> dict[str, Any] | None:
        """The columns that say whose, when and at which step: of conversions and feedback; None without a session."""
        conversation, session = self.conversation, self.session
        if conversation is None or session is None:
            return None
        return {
            "id": self.runtime.new_id(),
            "workspace_id": self.workspace_id,
            "contact_id": conversation.contact_id,
            "conversation_id": conversation.id,
            "session_id": session.id,
            "flow_version_id": version or session.flow_version_id,
            "step_id": step_id,
            "at": self.now,
        }

    def tell_team(self, kind: str, text: str, *, team: str = "") -> None:
        """A person is told: a row that console and API show until somebody has seen it, and a message to the team's
        chat where the business file names one. `kind`: notify | unanswered | failed | handed_over …"""
        conversation = self.conversation
        conversation_id, contact_id = (conversation.id, conversation.contact_id) if conversation else (0, 0)
        said = text.strip()[:MAX_TOLD]
        self.batch.notifications.append(
            {
                "id": self.runtime.new_id(),
                "workspace_id": self.workspace_id,
                "kind": kind,
                "team": team,
                "conversation_id": conversation_id,
                "contact_id": contact_id,
                "text": said,
                "at": self.now,
            }
        )
        chat = self.business.team_chat
        if chat is None:
            return
        language = self.business.locale[:2]
        who = self.contact.name if self.contact is not None else ""
        lines = [told(kind, language) + (f" ({team})" if team else ""), who, said]
        self.batch.outgoing.append(
            Outgoing(
                id=self.runtime.new_id(),
                workspace_id=self.workspace_id,
                channel_id=chat.channel_id,
                # The person's, so that it goes when they are forgotten; of no conversation, so that it stands in none.
                contact_id=contact_id,
                message_class=MessageClass.service,
                author="team",
                address=chat.address,
                place="group",
                language=language,
                content=Text("\n".join(line for line in lines if line), preview_links=False),
                expires_at=self.now + TOLD_LIFE_MS,
            )
        )

    def tell_team_hourly(self, kind: str, text: str) -> None:
        """As `tell_team`, but not what it was told within the last hour."""
        said = text.strip()[:MAX_TOLD]
        before = self.connection.execute(
            prepared(
                "SELECT 1 FROM notification WHERE workspace_id = :workspace AND id >= :first AND kind = :kind "
                "AND text = :said LIMIT 1"
            ),
            {
                "workspace": self.workspace_id,
                "first": first_id_at(self.now - HOUR_MS),
                "kind": kind,
                "said": said,
            },
        ).first()
        here = any(row["kind"] == kind and row["text"] == said for row in self.batch.notifications)
        if before is None and not here:
            self.tell_team(kind, said)

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
