"""What Telegram knows in this world: bots, people, chats, messages. Data with the few rules that belong to it.

Objects as they go over the wire are plain dicts that are built once and shared, never changed in place: an edit makes a
new dict. That keeps `sendMessage` thin, and the log and the queues may hold references.
"""

from __future__ import annotations

from collections import OrderedDict
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from simulators.telegram.payments import Checkout
    from simulators.telegram.updates import Updates

Wire = dict[str, Any]

# Messages kept per chat for edits, replies and the phone page; a load test sends a person far fewer.
HISTORY_LIMIT = 1000

# Every right of a ChatMemberAdministrator, and where it exists. A missing field would break strict clients.
ADMIN_RIGHTS = (
    "can_manage_chat",
    "can_delete_messages",
    "can_manage_video_chats",
    "can_restrict_members",
    "can_promote_members",
    "can_change_info",
    "can_invite_users",
    "can_post_stories",
    "can_edit_stories",
    "can_delete_stories",
)
CHANNEL_RIGHTS = ("can_post_messages", "can_edit_messages", "can_manage_direct_messages")
GROUP_RIGHTS = ("can_pin_messages", "can_manage_topics", "can_manage_tags")

# What a person without admin rights may do in a group; ChatPermissions of the chat and of restricted members.
PERMISSIONS = (
    "can_send_messages",
    "can_send_audios",
    "can_send_documents",
    "can_send_photos",
    "can_send_videos",
    "can_send_video_notes",
    "can_send_voice_notes",
    "can_send_polls",
    "can_send_other_messages",
    "can_add_web_page_previews",
    "can_react_to_messages",
    "can_edit_tag",
    "can_change_info",
    "can_invite_users",
    "can_pin_messages",
    "can_manage_topics",
)


@dataclass(slots=True)
class Person:
    """A human with a Telegram account."""

    id: int
    first_name: str
    last_name: str | None = None
    username: str | None = None
    language_code: str | None = None
    phone_number: str | None = None
    bio: str | None = None
    deleted: bool = False
    user: Wire = field(default_factory=dict)
    chat: Wire = field(default_factory=dict)

    def __post_init__(self) -> None:
        names = {"first_name": self.first_name, "last_name": self.last_name, "username": self.username}
        given = {key: value for key, value in names.items() if value}
        self.user = {"id": self.id, "is_bot": False, **given}
        if self.language_code:
            self.user["language_code"] = self.language_code
        self.chat = {"id": self.id, **given, "type": "private"}


@dataclass(slots=True)
class Message:
    """A message in somebody's history. `bot_id`: the bot that sent it, None for people's; `wire` is the object."""

    id: int
    wire: Wire
    bot_id: int | None = None
    protected: bool = False
    reactions: dict[int, list[Wire]] = field(default_factory=dict)
    media_key: str | None = None


class History:
    """The messages of one chat in order, the oldest dropped past `HISTORY_LIMIT`."""

    __slots__ = ("messages",)

    def __init__(self) -> None:
        self.messages: OrderedDict[int, Message] = OrderedDict()

    def add(self, message: Message) -> None:
        self.messages[message.id] = message
        if len(self.messages) > HISTORY_LIMIT:
            self.messages.popitem(last=False)

    def get(self, message_id: int) -> Message | None:
        return self.messages.get(message_id)

    def pop(self, message_id: int) -> Message | None:
        return self.messages.pop(message_id, None)

    def latest(self) -> list[Message]:
        return list(reversed(self.messages.values()))


@dataclass(slots=True)
class Dialog:
    """One bot's view of a private chat or a basic group: its own message numbers, keyboard and pins."""

    history: History = field(default_factory=History)
    started: bool = False
    blocked: bool = False
    keyboard: Wire | None = None
    pinned: list[int] = field(default_factory=list)
    menu_button: Wire | None = None


@dataclass(slots=True)
class Member:
    """Somebody's standing in a group or channel."""

    status: str  # creator, administrator, member, restricted, left, kicked
    rights: dict[str, bool] = field(default_factory=dict)
    until_date: int = 0
    custom_title: str | None = None
    is_anonymous: bool = False

    @property
    def inside(self) -> bool:
        return self.status in ("creator", "administrator", "member") or (
            self.status == "restricted" and self.rights.get("is_member", True)
        )

    @property
    def admin(self) -> bool:
        return self.status in ("creator", "administrator")

    def may(self, right: str) -> bool:
        return self.status == "creator" or (self.status == "administrator" and self.rights.get(right, False))


@dataclass(slots=True)
class InviteLink:
    url: str
    creator_id: int
    name: str | None = None
    expire_date: int | None = None
    member_limit: int | None = None
    creates_join_request: bool = False
    is_primary: bool = False
    is_revoked: bool = False
    joined: int = 0


@dataclass(slots=True)
class Chat:
    """A group, supergroup or channel."""

    id: int
    type: str
    title: str
    username: str | None = None
    description: str | None = None
    members: dict[int, Member] = field(default_factory=dict)
    links: dict[str, InviteLink] = field(default_factory=dict)
    requests: dict[int, str] = field(default_factory=dict)  # person id -> link url
    permissions: dict[str, bool] = field(default_factory=lambda: dict.fromkeys(PERMISSIONS, True))
    history: History = field(default_factory=History)
    last_message_id: int = 0
    pinned: list[int] = field(default_factory=list)
    migrated_to: int | None = None
    deleted: bool = False
    protected: bool = False
    is_forum: bool = False
    topics: dict[int, str] = field(default_factory=dict)
    wire: Wire = field(default_factory=dict)

    def __post_init__(self) -> None:
        self.refresh()

    def refresh(self) -> None:
        """Rebuild the wire object after title or username changed."""
        self.wire = {"id": self.id, "title": self.title}
        if self.username:
            self.wire["username"] = self.username
        self.wire["type"] = self.type
        if self.is_forum:
            self.wire["is_forum"] = True

    @property
    def shared_history(self) -> bool:
        """Supergroups and channels number their messages for everybody, basic groups per account."""
        return self.type != "group"

    def member(self, user_id: int) -> Member:
        return self.members.get(user_id) or Member("left")


@dataclass(slots=True)
class Callback:
    """A button tap that waits for its answer."""

    id: str
    person_id: int
    at: float
    answered: bool = False


@dataclass(slots=True)
class Bot:
    """An account made at BotFather."""

    token: str
    id: int
    first_name: str
    username: str
    updates: Updates
    can_read_all_group_messages: bool = False
    paid_broadcast: bool = False
    stars: int = 0
    revoked: bool = False
    last_message_id: int = 0
    dialogs: dict[int, Dialog] = field(default_factory=dict)
    met: set[int] = field(default_factory=set)  # people it has heard of
    join_requests: set[int] = field(default_factory=set)  # people whose open request lets it write first
    callbacks: OrderedDict[str, Callback] = field(default_factory=OrderedDict)
    checkouts: dict[str, Checkout] = field(default_factory=dict)
    invoice_payloads: dict[tuple[int, int], str] = field(default_factory=dict)  # (chat id, message id)
    commands: dict[str, list[Wire]] = field(default_factory=dict)
    texts: dict[str, str] = field(default_factory=dict)
    menu_button: Wire = field(default_factory=lambda: {"type": "commands"})
    default_rights: dict[str, dict[str, bool]] = field(default_factory=dict)
    user: Wire = field(default_factory=dict)

    def __post_init__(self) -> None:
        self.refresh()

    def refresh(self) -> None:
        self.user = {"id": self.id, "is_bot": True, "first_name": self.first_name, "username": self.username}

    def dialog(self, chat_id: int) -> Dialog:
        found = self.dialogs.get(chat_id)
        if found is None:
            found = self.dialogs[chat_id] = Dialog()
        return found

    def next_message_id(self) -> int:
        self.last_message_id += 1
        return self.last_message_id
