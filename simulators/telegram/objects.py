"""Objects on the wire that are built anew each time: chat members, invite links, full chats."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING

from simulators.telegram.state import (
    ADMIN_RIGHTS,
    CHANNEL_RIGHTS,
    GROUP_RIGHTS,
    PERMISSIONS,
    Bot,
    Chat,
    InviteLink,
    Member,
    Wire,
)

if TYPE_CHECKING:
    from simulators.telegram.network import Telegram


def rights_for(chat_type: str) -> tuple[str, ...]:
    """The administrator rights that exist in a kind of chat."""
    return ADMIN_RIGHTS + (CHANNEL_RIGHTS if chat_type == "channel" else GROUP_RIGHTS)


def member(tg: Telegram, chat_type: str, user_id: int, standing: Member) -> Wire:
    """A ChatMember of whatever status."""
    wire: Wire = {"user": tg.user(user_id), "status": standing.status}
    if standing.status == "creator":
        wire["is_anonymous"] = standing.is_anonymous
    elif standing.status == "administrator":
        wire["can_be_edited"] = False
        wire.update({right: standing.rights.get(right, False) for right in rights_for(chat_type)})
        wire["is_anonymous"] = standing.is_anonymous
        wire["can_manage_voice_chats"] = wire["can_manage_video_chats"]
    elif standing.status == "restricted":
        wire["until_date"] = standing.until_date
        wire.update({name: standing.rights.get(name, False) for name in PERMISSIONS})
        wire["is_member"] = standing.inside
    elif standing.status == "kicked" or (standing.status == "member" and standing.until_date):
        wire["until_date"] = standing.until_date
    if standing.custom_title and standing.admin:
        wire["custom_title"] = standing.custom_title
    return wire


def invite_link(tg: Telegram, chat: Chat, link: InviteLink, bot: Bot) -> Wire:
    """A ChatInviteLink as this bot sees it: another administrator's address is cut."""
    url = link.url if link.creator_id == bot.id else f"{link.url[:22]}…"
    wire: Wire = {"invite_link": url}
    if link.name:
        wire["name"] = link.name
    wire["creator"] = tg.user(link.creator_id)
    if link.expire_date:
        wire["expire_date"] = link.expire_date
    if link.member_limit:
        wire["member_limit"] = link.member_limit
    waiting = sum(1 for url in chat.requests.values() if url == link.url)
    if waiting and link.creates_join_request:
        wire["pending_join_request_count"] = waiting
    wire["creates_join_request"] = link.creates_join_request
    wire["is_primary"] = link.is_primary
    wire["is_revoked"] = link.is_revoked
    return wire


def full_chat(chat: Chat, bot: Bot) -> Wire:
    """ChatFullInfo of a group, supergroup or channel."""
    wire: Wire = dict(chat.wire)
    if chat.username:
        wire["active_usernames"] = [chat.username]
    if chat.description:
        wire["description"] = chat.description
    primary = next(
        (each for each in chat.links.values() if each.is_primary and each.creator_id == bot.id), None
    )
    if primary is not None:
        wire["invite_link"] = primary.url
    if chat.type != "channel":
        wire["permissions"] = {name: chat.permissions.get(name, True) for name in PERMISSIONS}
    if chat.protected:
        wire["has_protected_content"] = True
    return wire | _full_chat_defaults()


def full_private(person_chat: Mapping[str, object], bio: str | None) -> Wire:
    wire: Wire = dict(person_chat)
    if wire.get("username"):
        wire["active_usernames"] = [wire["username"]]
    if bio:
        wire["bio"] = bio
    return wire | _full_chat_defaults()


def _full_chat_defaults() -> Wire:
    return {
        "accent_color_id": 0,
        "max_reaction_count": 11,
        "accepted_gift_types": {
            "unlimited_gifts": True,
            "limited_gifts": True,
            "unique_gifts": True,
            "premium_subscription": True,
            "gifts_from_channels": True,
        },
    }
