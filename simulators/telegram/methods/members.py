"""What an administrator bot does with people: ban, unban, restrict, promote."""

from __future__ import annotations

from simulators.telegram import actions
from simulators.telegram.calls import Call, method
from simulators.telegram.errors import bad
from simulators.telegram.objects import rights_for
from simulators.telegram.state import PERMISSIONS, Chat, Member


def _target(call: Call, right: str) -> tuple[Chat, int]:
    place = call.accessible()
    if place.chat is None:
        raise bad("chat member status can't be changed in private chats")
    chat = place.chat
    user_id = call.params.integer("user_id")
    if user_id not in call.tg.people and user_id not in call.tg.bots_by_id:
        raise bad("user not found")
    if not chat.member(call.bot.id).may(right):
        refusals = {
            "can_restrict_members": "not enough rights to restrict/unrestrict chat member",
            "can_promote_members": "CHAT_ADMIN_REQUIRED",
        }
        raise bad(refusals[right])
    if chat.member(user_id).status == "creator":
        raise bad("can't remove chat owner")
    return chat, user_id


def _set(call: Call, chat: Chat, user_id: int, new: Member) -> bool:
    old = chat.member(user_id)
    chat.members[user_id] = new
    actions.tell_member(call.tg, chat, call.bot, user_id, old, new)
    return True


@method("banChatMember")
def ban_chat_member(call: Call) -> bool:
    chat, user_id = _target(call, "can_restrict_members")
    if chat.member(user_id).status == "administrator":
        raise bad("user is an administrator of the chat")
    return _set(call, chat, user_id, Member("kicked", until_date=call.params.integer("until_date")))


@method("unbanChatMember")
def unban_chat_member(call: Call) -> bool:
    chat, user_id = _target(call, "can_restrict_members")
    standing = chat.member(user_id)
    if standing.status != "kicked" and (call.params.flag("only_if_banned") or not standing.inside):
        return True
    return _set(call, chat, user_id, Member("left"))


@method("restrictChatMember")
def restrict_chat_member(call: Call) -> bool:
    chat, user_id = _target(call, "can_restrict_members")
    if chat.type != "supergroup":
        raise bad("method is available only for supergroups")
    given = call.params.json("permissions", "can't parse permissions JSON object")
    if not isinstance(given, dict):
        raise bad("can't parse permissions JSON object")
    rights = {name: bool(given.get(name)) for name in PERMISSIONS}
    if all(rights.values()):
        return _set(call, chat, user_id, Member("member"))
    rights["is_member"] = chat.member(user_id).inside
    return _set(call, chat, user_id, Member("restricted", rights, call.params.integer("until_date")))


@method("promoteChatMember")
def promote_chat_member(call: Call) -> bool:
    chat, user_id = _target(call, "can_promote_members")
    rights = {name: call.params.flag(name) for name in rights_for(chat.type)}
    if not any(rights.values()):
        return _set(call, chat, user_id, Member("member"))
    own = chat.member(call.bot.id)
    if any(wanted and not own.may(name) for name, wanted in rights.items()):
        raise bad("RIGHT_FORBIDDEN")
    return _set(call, chat, user_id, Member("administrator", rights | {"can_manage_chat": True}))


@method("setChatPermissions")
def set_chat_permissions(call: Call) -> bool:
    place = call.accessible()
    given = call.params.json("permissions", "can't parse permissions JSON object")
    if place.chat is None or place.chat.type == "channel" or not isinstance(given, dict):
        raise bad("can't change chat permissions")
    if not place.chat.member(call.bot.id).may("can_restrict_members"):
        raise bad("not enough rights to change chat permissions")
    place.chat.permissions = {name: bool(given.get(name)) for name in PERMISSIONS}
    return True
