"""Looking at chats and their members, pins, leaving, titles."""

from __future__ import annotations

from simulators.telegram import actions, objects
from simulators.telegram.calls import Call, method
from simulators.telegram.errors import bad
from simulators.telegram.places import Place
from simulators.telegram.posting import next_id
from simulators.telegram.state import Chat, Member, Message, Wire

PIN_REFUSED = "not enough rights to manage pinned messages in the chat"


def _shared(place: Place, refusal: str) -> Chat:
    if place.chat is None:
        raise bad(refusal)
    return place.chat


@method("getChat")
def get_chat(call: Call) -> Wire:
    place = call.place()
    if place.person is not None:
        wire = objects.full_private(place.wire, place.person.bio)
    else:
        chat = _shared(place, "chat not found")
        if not chat.username:
            call.accessible()
        wire = objects.full_chat(chat, call.bot)
    pinned = place.dialog.pinned if place.chat is None else place.chat.pinned
    if pinned and (message := place.history.get(pinned[-1])) is not None:
        wire["pinned_message"] = message.wire
    return wire


@method("getChatMember")
def get_chat_member(call: Call) -> Wire:
    place = call.accessible()
    user_id = call.params.integer("user_id")
    if user_id not in call.tg.people and user_id not in call.tg.bots_by_id:
        raise bad("user not found")
    if place.chat is None:
        if user_id not in (place.id, call.bot.id):
            raise bad("user not found")
        return objects.member(call.tg, "private", user_id, Member("member"))
    chat = place.chat
    if user_id != call.bot.id and chat.type == "channel" and not chat.member(call.bot.id).admin:
        raise bad("member list is inaccessible")
    return objects.member(call.tg, chat.type, user_id, chat.member(user_id))


@method("getChatMemberCount")
def get_chat_member_count(call: Call) -> int:
    place = call.accessible()
    return 2 if place.chat is None else sum(1 for member in place.chat.members.values() if member.inside)


@method("getChatAdministrators")
def get_chat_administrators(call: Call) -> list[Wire]:
    place = call.accessible()
    chat = _shared(place, "there are no administrators in the private chat")
    if chat.type == "channel" and not chat.member(call.bot.id).admin:
        raise bad("member list is inaccessible")
    own_too = call.params.flag("return_bots")
    return [
        objects.member(call.tg, chat.type, user_id, member)
        for user_id, member in chat.members.items()
        if member.admin and (own_too or user_id not in call.tg.bots_by_id or user_id == call.bot.id)
    ]


@method("leaveChat")
def leave_chat(call: Call) -> bool:
    place = call.accessible()
    chat = _shared(place, "chat member status can't be changed in private chats")
    old = chat.member(call.bot.id)
    new = chat.members[call.bot.id] = Member("left")
    actions.tell_member(call.tg, chat, call.bot, call.bot.id, old, new)
    return True


def _pins(call: Call) -> tuple[Place, list[int]]:
    place = call.accessible()
    if place.chat is None:
        return place, place.dialog.pinned
    member = place.chat.member(call.bot.id)
    right = "can_edit_messages" if place.chat.type == "channel" else "can_pin_messages"
    if not member.may(right) and not (
        not member.admin and place.chat.permissions.get("can_pin_messages") and place.chat.type == "group"
    ):
        raise bad(PIN_REFUSED)
    return place, place.chat.pinned


@method("pinChatMessage")
def pin_chat_message(call: Call) -> bool:
    place, pinned = _pins(call)
    message = call.message(place, "message to pin not found")
    if message.id in pinned:
        raise bad("CHAT_NOT_MODIFIED")
    pinned.append(message.id)
    _say_pinned(call, place, message)
    return True


def _say_pinned(call: Call, place: Place, message: Message) -> None:
    """The service message, which bots get back although it is their own doing."""
    number = next_id(call.bot, place.chat)
    wire: Wire = {"message_id": number}
    if place.chat is not None and place.chat.type == "channel":
        wire["sender_chat"], kind = place.wire, "channel_post"
    else:
        wire["from"], kind = call.bot.user, "message"
    wire |= {"chat": place.wire, "date": call.tg.world.clock.now_s(), "pinned_message": message.wire}
    place.history.add(Message(number, wire, call.bot.id))
    call.bot.updates.push(kind, wire, place.id)


@method("unpinChatMessage")
def unpin_chat_message(call: Call) -> bool:
    place, pinned = _pins(call)
    if call.params.has("message_id"):
        message = call.message(place, "message to unpin not found")
        if message.id in pinned:
            pinned.remove(message.id)
    elif pinned:
        pinned.pop()
    else:
        raise bad("message to unpin not found")
    return True


@method("unpinAllChatMessages")
def unpin_all_chat_messages(call: Call) -> bool:
    _pins(call)[1].clear()
    return True


def _may_change_info(call: Call, refusal: str) -> Chat:
    chat = _shared(call.accessible(), refusal)
    if not chat.member(call.bot.id).may("can_change_info"):
        raise bad("CHAT_ADMIN_REQUIRED")
    return chat


@method("setChatTitle")
def set_chat_title(call: Call) -> bool:
    title = call.params.text("title").strip()
    chat = _may_change_info(call, "can't change private chat title")
    if not 1 <= len(title) <= 128:
        raise bad("title must be non-empty")
    chat.title = title
    chat.refresh()
    return True


@method("setChatDescription")
def set_chat_description(call: Call) -> bool:
    description = call.params.text("description")
    chat = _may_change_info(call, "can't change private chat description")
    if (chat.description or "") == description:
        raise bad("chat description is not modified")
    chat.description = description[:255] or None
    return True


TOPIC_NAME_LIMIT = 128
TOPIC_COLOUR = 7_322_096


@method("createForumTopic")
def create_forum_topic(call: Call) -> Wire:
    """A topic is numbered by the service message that opens it."""
    name = call.params.text("name")
    chat = _shared(call.accessible(), "the chat is not a forum")
    if not chat.is_forum:
        raise bad("the chat is not a forum")
    if not chat.member(call.bot.id).may("can_manage_topics"):
        raise bad("not enough rights to create a topic")
    if not 1 <= len(name) <= TOPIC_NAME_LIMIT:
        raise bad("TOPIC_TITLE_EMPTY" if not name else "TOPIC_TITLE_TOO_LONG")
    number = next_id(call.bot, chat)
    chat.topics[number] = name
    return {"message_thread_id": number, "name": name, "icon_color": TOPIC_COLOUR}
