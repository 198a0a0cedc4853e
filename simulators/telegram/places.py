"""Where a call goes: finding the chat that `chat_id` names, and whether the bot may do there what it wants."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from simulators.telegram.errors import bad, forbidden
from simulators.telegram.params import Params
from simulators.telegram.state import Bot, Chat, Dialog, History, Person, Wire

if TYPE_CHECKING:
    from simulators.telegram.network import Telegram

# Which permission a kind of content needs in a group, and how its lack is worded.
CONTENT_RIGHTS = {
    "text": ("can_send_messages", "text messages"),
    "photo": ("can_send_photos", "photos"),
    "video": ("can_send_videos", "videos"),
    "audio": ("can_send_audios", "music"),
    "document": ("can_send_documents", "documents"),
    "voice": ("can_send_voice_notes", "voice notes"),
    "video_note": ("can_send_video_notes", "video notes"),
    "sticker": ("can_send_other_messages", "stickers"),
    "animation": ("can_send_other_messages", "GIFs"),
    "poll": ("can_send_polls", "polls"),
    "dice": ("can_send_other_messages", "dice"),
    "location": ("can_send_messages", "text messages"),
    "contact": ("can_send_messages", "text messages"),
    "venue": ("can_send_messages", "text messages"),
    "invoice": ("can_send_messages", "text messages"),
}


@dataclass(slots=True)
class Place:
    """A chat as one bot sees it. `chat` is None in a private chat, `person` elsewhere."""

    id: int
    type: str
    wire: Wire
    history: History
    dialog: Dialog
    person: Person | None = None
    chat: Chat | None = None

    @property
    def private(self) -> bool:
        return self.person is not None


def find(tg: Telegram, bot: Bot, params: Params, name: str = "chat_id") -> Place:
    """The chat of a call; raises the server's 400 when it is missing or unknown to the bot."""
    raw = params.values.get(name)
    if raw is None or raw == "":
        raise bad(f"{name} is empty")
    chat_id = _number(tg, raw)
    if chat_id is None:
        raise bad("chat not found")
    if chat_id > 0:
        return private(tg, bot, chat_id)
    chat = tg.chats.get(chat_id)
    if chat is None or (bot.id not in chat.members and not chat.username):
        raise bad("chat not found")
    return shared(bot, chat)


def _number(tg: Telegram, raw: object) -> int | None:
    if isinstance(raw, int):
        return raw
    text = str(raw).strip()
    if text.startswith("@"):
        owner = tg.usernames.get(text[1:].lower())
        # People cannot be written to by their name, only chats (and bots, who are then refused).
        return owner if owner is not None and (owner < 0 or owner in tg.bots_by_id) else None
    try:
        return int(text)
    except ValueError:
        return None


def private(tg: Telegram, bot: Bot, person_id: int) -> Place:
    person = tg.people.get(person_id)
    if person is None:
        if person_id in tg.bots_by_id:
            raise forbidden("the bot can't send messages to the bot")
        raise bad("chat not found")
    dialog = bot.dialogs.get(person_id)
    if dialog is None:
        if person_id not in bot.met:
            raise bad("chat not found")
        dialog = bot.dialog(person_id)
    return Place(person_id, "private", person.chat, dialog.history, dialog, person=person)


def shared(bot: Bot, chat: Chat) -> Place:
    dialog = bot.dialog(chat.id)
    history = chat.history if chat.shared_history else dialog.history
    return Place(chat.id, chat.type, chat.wire, history, dialog, chat=chat)


def check_access(bot: Bot, place: Place) -> None:
    """May the bot act in this chat at all? Raises 403, or 400 with the new id of a group that moved."""
    if place.person is not None:
        if place.person.deleted:
            raise forbidden("user is deactivated")
        if place.dialog.blocked:
            raise forbidden("bot was blocked by the user")
        if not place.dialog.started and not _asked_to_join(bot, place.person):
            raise forbidden("bot can't initiate conversation with a user")
        return
    chat = place.chat
    assert chat is not None
    if chat.migrated_to is not None:
        raise bad("group chat was upgraded to a supergroup chat", migrate_to_chat_id=chat.migrated_to)
    if chat.deleted:
        raise forbidden("the group chat was deleted")
    member = chat.member(bot.id)
    if member.status == "kicked":
        raise forbidden(f"bot was kicked from the {_called(chat)}")
    if not member.inside:
        raise forbidden(f"bot is not a member of the {_called(chat)}")


def _called(chat: Chat) -> str:
    return f"{chat.type} chat"


def _asked_to_join(bot: Bot, person: Person) -> bool:
    """A join request lets the bot write to the person until it is processed."""
    return person.id in bot.join_requests


def check_send(bot: Bot, place: Place, kind: str) -> None:
    """May the bot send this kind of content here? Raises as `check_access`, or 400 about rights."""
    check_access(bot, place)
    chat = place.chat
    if chat is None:
        return
    member = chat.member(bot.id)
    if chat.type == "channel":
        if not member.may("can_post_messages"):
            raise bad("need administrator rights in the channel chat")
        return
    if member.admin:
        return
    right, called = CONTENT_RIGHTS[kind]
    allowed = member.rights if member.status == "restricted" else chat.permissions
    if not allowed.get(right, True) or not chat.permissions.get(right, True):
        raise bad(f"not enough rights to send {called} to the chat")
