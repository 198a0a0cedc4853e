"""Invite links and join requests."""

from __future__ import annotations

import base64

from simulators.telegram import actions, objects
from simulators.telegram.calls import Call, method
from simulators.telegram.errors import bad
from simulators.telegram.state import Chat, InviteLink, Wire

NAME_LIMIT = 32
MEMBERS_LIMIT = 99_999
REFUSED = "not enough rights to manage chat invite link"


def _chat(call: Call) -> Chat:
    place = call.accessible()
    if place.chat is None:
        raise bad("can't invite members to a private chat")
    if not place.chat.member(call.bot.id).may("can_invite_users"):
        raise bad(REFUSED)
    return place.chat


def _new_url(call: Call) -> str:
    return f"https://t.me/+{base64.urlsafe_b64encode(call.tg.world.rng.randbytes(12)).decode()}"


def _read(call: Call, link: InviteLink) -> InviteLink:
    params = call.params
    name = params.text("name")
    if len(name) > NAME_LIMIT:
        raise bad("invite link name is too long")
    limit = params.integer("member_limit")
    if not 0 <= limit <= MEMBERS_LIMIT:
        raise bad("member_limit is invalid")
    approval = params.flag("creates_join_request")
    if approval and limit:
        raise bad("member limit can't be specified for links requiring administrator approval")
    expires = params.integer("expire_date")
    if expires and expires <= call.tg.world.clock.now():
        raise bad("EXPIRE_DATE_INVALID")
    link.name, link.member_limit = name or None, limit or None
    link.creates_join_request, link.expire_date = approval, expires or None
    return link


@method("createChatInviteLink")
def create_chat_invite_link(call: Call) -> Wire:
    chat = _chat(call)
    link = _read(call, InviteLink(_new_url(call), call.bot.id))
    chat.links[link.url] = link
    return objects.invite_link(call.tg, chat, link, call.bot)


def _named(call: Call, chat: Chat) -> InviteLink:
    link = chat.links.get(call.params.text("invite_link"))
    if link is None:
        raise bad("INVITE_HASH_EXPIRED")
    if link.creator_id != call.bot.id:
        raise bad("CHAT_ADMIN_REQUIRED")
    return link


@method("editChatInviteLink")
def edit_chat_invite_link(call: Call) -> Wire:
    chat = _chat(call)
    link = _named(call, chat)
    if link.is_primary or link.is_revoked:
        raise bad("CHAT_INVITE_PERMANENT" if link.is_primary else "INVITE_HASH_EXPIRED")
    return objects.invite_link(call.tg, chat, _read(call, link), call.bot)


@method("revokeChatInviteLink")
def revoke_chat_invite_link(call: Call) -> Wire:
    """A revoked primary link is replaced by a new one at once."""
    chat = _chat(call)
    link = _named(call, chat)
    link.is_revoked = True
    if link.is_primary:
        link.is_primary = False
        _make_primary(call, chat)
    return objects.invite_link(call.tg, chat, link, call.bot)


@method("exportChatInviteLink")
def export_chat_invite_link(call: Call) -> str:
    """A new primary link; the one before is revoked."""
    chat = _chat(call)
    for link in chat.links.values():
        if link.is_primary and link.creator_id == call.bot.id:
            link.is_primary, link.is_revoked = False, True
    return _make_primary(call, chat).url


def _make_primary(call: Call, chat: Chat) -> InviteLink:
    link = InviteLink(_new_url(call), call.bot.id, is_primary=True)
    chat.links[link.url] = link
    return link


def _request(call: Call) -> tuple[Chat, int, InviteLink | None]:
    chat = _chat(call)
    user_id = call.params.integer("user_id")
    if user_id not in call.tg.people:
        raise bad("user not found")
    if chat.member(user_id).inside:
        raise bad("USER_ALREADY_PARTICIPANT")
    if user_id not in chat.requests:
        raise bad("HIDE_REQUESTER_MISSING")
    link = chat.links.get(chat.requests.pop(user_id))
    for bot in call.tg.bots.values():
        bot.join_requests.discard(user_id)
    return chat, user_id, link


@method("approveChatJoinRequest")
def approve_chat_join_request(call: Call) -> bool:
    chat, user_id, link = _request(call)
    if link is not None:
        link.joined += 1
    actions.enter(call.tg, chat, call.tg.people[user_id], "member", link, via_join_request=True)
    return True


@method("declineChatJoinRequest")
def decline_chat_join_request(call: Call) -> bool:
    _request(call)
    return True
