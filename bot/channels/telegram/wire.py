"""The parts of Telegram's update objects that we read, typed so that decoding is also the check.

Unknown fields and kinds are ignored by the decoder: Telegram adds some every few months. A field of a wrong type
fails the whole update, which `inbound.parse` then keeps as malformed. Shapes: https://core.telegram.org/bots/api#update
"""

from __future__ import annotations

from typing import Annotated, Any

from msgspec import Meta, Raw, Struct, field

# Ids have at most 52 significant bits, sizes and times less. A wider number is no number of Telegram's.
Number = Annotated[int, Meta(ge=-(1 << 53), le=1 << 53)]


class User(Struct):
    id: Number
    is_bot: bool = False
    first_name: str = ""
    last_name: str = ""
    username: str | None = None
    language_code: str | None = None


class Chat(Struct):
    id: Number
    type: str
    title: str = ""
    first_name: str = ""
    last_name: str = ""
    username: str | None = None


class File(Struct):
    """Any of document, video, audio, voice, sticker, animation, video_note, and one size of a photo."""

    file_id: str
    file_unique_id: str | None = None
    file_size: Number | None = None
    file_name: str | None = None
    mime_type: str | None = None
    duration: Number | None = None
    width: Number = 0
    height: Number = 0


class Location(Struct):
    latitude: float
    longitude: float
    live_period: Number | None = None


class Venue(Struct):
    location: Location
    title: str = ""
    address: str = ""


class Contact(Struct):
    phone_number: str
    first_name: str = ""
    last_name: str = ""
    user_id: Number | None = None


class WebAppData(Struct):
    data: str
    button_text: str = ""


class SuccessfulPayment(Struct):
    currency: str
    total_amount: Number
    invoice_payload: str = ""


class SharedUser(Struct):
    user_id: Number
    first_name: str = ""
    last_name: str = ""
    username: str | None = None


class UsersShared(Struct):
    request_id: Number
    users: list[SharedUser] = field(default_factory=list)


class ChatShared(Struct):
    request_id: Number
    chat_id: Number
    title: str = ""
    username: str | None = None


class Dice(Struct):
    emoji: str = ""
    value: Number = 0


class KeyboardButton(Struct):
    text: str = ""
    callback_data: str | None = None


class Keyboard(Struct):
    inline_keyboard: list[list[KeyboardButton]] = field(default_factory=list)


class MessageRef(Struct):
    message_id: Number


class Message(Struct):
    message_id: Number
    chat: Chat
    date: Number = 0  # seconds; 0 where a tapped message is too old to be shown to bots
    from_: User | None = field(default=None, name="from")
    sender_chat: Chat | None = None
    sender_business_bot: User | None = None
    business_connection_id: str | None = None
    edit_date: Number | None = None
    message_thread_id: Number | None = None
    is_topic_message: bool = False
    media_group_id: str | None = None
    reply_to_message: MessageRef | None = None
    reply_markup: Keyboard | None = None
    forward_origin: dict[str, Any] | None = None
    text: str | None = None
    caption: str = ""
    photo: list[File] | None = None
    video: File | None = None
    animation: File | None = None
    audio: File | None = None
    voice: File | None = None
    video_note: File | None = None
    sticker: File | None = None
    document: File | None = None
    location: Location | None = None
    venue: Venue | None = None
    contact: Contact | None = None
    dice: Dice | None = None
    web_app_data: WebAppData | None = None
    users_shared: UsersShared | None = None
    chat_shared: ChatShared | None = None
    successful_payment: SuccessfulPayment | None = None
    migrate_to_chat_id: Number | None = None
    migrate_from_chat_id: Number | None = None


class CallbackQuery(Struct):
    id: str
    from_: User = field(name="from")
    message: Message | None = None
    data: str | None = None


class Member(Struct):
    """A member's state in a chat; the rights differ by status and are read by `Rights`."""

    user: User
    status: str
    is_member: bool = False


class InviteLink(Struct):
    invite_link: str = ""
    name: str = ""


class MemberUpdated(Struct):
    chat: Chat
    from_: User = field(name="from")
    old_chat_member: Member
    new_chat_member: Raw  # a Member, and its rights
    date: Number = 0
    invite_link: InviteLink | None = None


class JoinRequest(Struct):
    chat: Chat
    from_: User = field(name="from")
    user_chat_id: Number
    date: Number = 0
    invite_link: InviteLink | None = None


class ReactionType(Struct):
    type: str
    emoji: str = ""
    custom_emoji_id: str = ""


class ReactionUpdated(Struct):
    chat: Chat
    message_id: Number
    new_reaction: list[ReactionType]
    user: User | None = None
    date: Number = 0


class ReactionTotal(Struct):
    type: ReactionType
    total_count: Number


class ReactionCounts(Struct):
    chat: Chat
    message_id: Number
    reactions: list[ReactionTotal]
    date: Number = 0


class PollOption(Struct):
    voter_count: Number = 0


class PollState(Struct):
    id: str
    options: list[PollOption]


class PollAnswer(Struct):
    poll_id: str
    option_ids: list[Number]
    user: User | None = None


class PreCheckoutQuery(Struct):
    id: str
    from_: User = field(name="from")
    currency: str
    total_amount: Number
    invoice_payload: str = ""


class BusinessConnection(Struct):
    id: str
    user: User
    is_enabled: bool
    date: Number = 0
    rights: dict[str, Any] = field(default_factory=dict)


class DeletedBusinessMessages(Struct):
    business_connection_id: str
    chat: Chat
    message_ids: list[Number]


class Update(Struct):
    """At most one of the optional fields is there."""

    update_id: Number
    message: Message | None = None
    edited_message: Message | None = None
    callback_query: CallbackQuery | None = None
    my_chat_member: MemberUpdated | None = None
    chat_member: MemberUpdated | None = None
    chat_join_request: JoinRequest | None = None
    channel_post: Message | None = None
    edited_channel_post: Message | None = None
    message_reaction: ReactionUpdated | None = None
    message_reaction_count: ReactionCounts | None = None
    poll: PollState | None = None
    poll_answer: PollAnswer | None = None
    pre_checkout_query: PreCheckoutQuery | None = None
    business_connection: BusinessConnection | None = None
    business_message: Message | None = None
    edited_business_message: Message | None = None
    deleted_business_messages: DeletedBusinessMessages | None = None
