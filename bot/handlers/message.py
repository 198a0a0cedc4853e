"""Somebody wrote, tapped, sent a file: the row, the built-in words, then the flow, unless a person has taken over."""

from __future__ import annotations

from bot import builtins, dialogue, media_jobs, occasions, silences, triggering
from bot.flow_store import FlowStore
from bot.handlers import handles
from bot.scope import Scope
from crm import consent
from domain.events import MessageReceived
from domain.events import encode as encode_event
from domain.messages import (
    CallbackAnswer,
    MessageStatus,
    Notice,
    ReceivedAlbum,
    ReceivedMedia,
    ReceivedReaction,
    Tap,
    encode,
)
from flows import changes

ALBUM_WAIT_MS = 1_000  # after the last part: Telegram marks no part as the last


@handles(MessageReceived)
def message_received(scope: Scope, flows: FlowStore, event: MessageReceived) -> None:
    """One inbound message and all that it starts."""
    conversation = scope.conversation
    if conversation is None:  # another bot: two bots that answer each other would never end
        return
    content = event.content
    if isinstance(content, Tap) and content.callback_id:
        scope.send_ephemeral(CallbackAnswer(content.callback_id))
    if event.album is not None:
        _keep_part(scope, event)
        return
    last_inbound_at = conversation.last_inbound_at
    first_message = last_inbound_at is None
    _store(scope, event)
    silences.end(scope, flows)
    if event.opt_out:
        _opt_out(scope, flows, event)
        return
    if isinstance(content, ReceivedReaction | Notice) or builtins.answer(scope, event):
        return
    if isinstance(content, Tap) and scope.session is not None and dialogue.is_stale(scope, content):
        return
    if conversation.status == "bot":
        dialogue.mark_read(scope, event)
        triggering.converse(scope, flows, event, first_message=first_message, last_inbound_at=last_inbound_at)


def _store(scope: Scope, event: MessageReceived) -> None:
    conversation = scope.conversation
    if conversation is None:
        return
    scope.inbound_message_id = scope.runtime.new_id()
    scope.batch.received.append(
        {
            "id": scope.inbound_message_id,
            "workspace_id": scope.workspace_id,
            "channel_id": scope.channel.id,
            "conversation_id": conversation.id,
            "contact_id": conversation.contact_id,
            "identity_id": conversation.identity_id,
            "turn_id": scope.turn_id,
            "author": "person",
            "direction": "in",
            "message_class": "reply",
            "content": encode(event.content),
            "external_id": event.external_id,
            "status": MessageStatus.received.value,
            "created_at": scope.received_at,
        }
    )
    for item in _files(event):
        media_jobs.fetch_later(scope, scope.inbound_message_id, item.platform_id)
    conversation.last_inbound_at = scope.received_at
    conversation.last_message_at = scope.now
    conversation.changed = True


def _files(event: MessageReceived) -> tuple[ReceivedMedia, ...]:
    match event.content:
        case ReceivedMedia() as one:
            return (one,)
        case ReceivedAlbum(items=items):
            return items
        case _:
            return ()


def _opt_out(scope: Scope, flows: FlowStore, event: MessageReceived) -> None:
    """STOP works inside any flow: the consent ends, the session too, and the person gets a word back."""
    conversation = scope.conversation
    if conversation is None:
        return
    wish = consent.event_opt_out(
        event,
        workspace_id=scope.workspace_id,
        identity_id=conversation.identity_id,
        language=scope.language,
        at=scope.received_at,
    )
    if wish is not None:
        scope.batch.consents.append(wish)
    dialogue.end_session(scope, "stopped")
    scope.note("opted_out", reason="stop_word")
    builtins.say(scope, "stopped")
    if scope.contact is not None:
        occasions.raise_here(scope, flows, changes.opted_out(scope.contact))


def _keep_part(scope: Scope, event: MessageReceived) -> None:
    """Parts of an album wait for their siblings; together they come back as one event."""
    part_id = scope.runtime.new_id()
    payload = scope.runtime.sealer.seal(encode_event(event), table="album_part", row=part_id, column="event")
    scope.batch.album_parts.append(
        {
            "id": part_id,
            "workspace_id": scope.workspace_id,
            "channel_id": scope.channel.id,
            "intake_key": scope.intake_key,
            "slot": scope.slot,
            "album": event.album,
            "event": payload,
            "due_at": scope.now + ALBUM_WAIT_MS,
        }
    )
