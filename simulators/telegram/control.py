"""`/sim/telegram/…`: making bots, people and chats, acting for people, looking at what stands in a chat."""

from __future__ import annotations

import base64
import binascii
from collections.abc import Mapping
from typing import TYPE_CHECKING

from aiohttp import web

from simulators.telegram import actions
from simulators.telegram.places import shared
from simulators.telegram.state import Chat, Member
from simulators.wire import answer, body_of, needed
from simulators.world import ControlError, World

if TYPE_CHECKING:
    from simulators.telegram.network import Telegram


class Control:
    """One method per route; the JSON of each stands in its docstring."""

    def __init__(self, tg: Telegram, world: World) -> None:
        self._tg = tg
        self._world = world

    def add_routes(self, app: web.Application) -> None:
        base = "/sim/telegram"
        app.router.add_routes(
            [
                web.post(f"{base}/bots", self.make_bot),
                web.get(f"{base}/bots", self.list_bots),
                web.patch(f"{base}/bots", self.change_bot),
                web.post(f"{base}/people", self.make_person),
                web.get(f"{base}/people", self.list_people),
                web.post(f"{base}/act", self.act),
                web.post(f"{base}/chats", self.make_chat),
                web.get(f"{base}/chats", self.list_chats),
                web.post(f"{base}/chats/{{id}}/admin", self.make_admin),
                web.post(f"{base}/chats/{{id}}/demote", self.demote),
                web.post(f"{base}/chats/{{id}}/kick", self.kick),
                web.post(f"{base}/chats/{{id}}/permissions", self.set_permissions),
                web.post(f"{base}/chats/{{id}}/upgrade", self.upgrade),
                web.delete(f"{base}/chats/{{id}}", self.delete_chat),
                web.get(f"{base}/chats/{{id}}/messages", self.messages),
                web.get(f"{base}/files/{{file_id}}", self.file),
                web.post(f"{base}/knobs", self.set_knobs),
                web.post(f"{base}/web", self.put_on_web),
            ]
        )

    async def make_bot(self, request: web.Request) -> web.Response:
        """`{token, username?, name?, privacy?, paid_broadcast?, stars?}` → `{id, username}`"""
        bot = self._tg.make_bot(await body_of(request))
        return answer({"id": bot.id, "username": bot.username})

    async def list_bots(self, _: web.Request) -> web.Response:
        """`{"bots": [{token, id, name, username, pending, webhook}]}`"""
        return answer(
            {
                "bots": [
                    {
                        "token": bot.token,
                        "id": bot.id,
                        "name": bot.first_name,
                        "username": bot.username,
                        "pending": len(bot.updates.pending),
                        "webhook": webhook.config.url
                        if (webhook := self._tg.webhooks.get(bot.token))
                        else "",
                    }
                    for bot in self._tg.bots.values()
                ]
            }
        )

    async def change_bot(self, request: web.Request) -> web.Response:
        """`{token, revoked?: true}`: the owner took a new token at BotFather, this one is dead (401)."""
        spec = await body_of(request)
        bot = self._tg.bot(needed(spec, "token"))
        bot.revoked = bool(spec.get("revoked", bot.revoked))
        bot.paid_broadcast = bool(spec.get("paid_broadcast", bot.paid_broadcast))
        bot.stars = int(spec["stars"]) * 10 if "stars" in spec else bot.stars
        return answer({"id": bot.id, "revoked": bot.revoked})

    async def make_person(self, request: web.Request) -> web.Response:
        """One person, or `{people: [one each]}`; → `{"id": …}` or `{"ids": […]}`"""
        spec = await body_of(request)
        if isinstance(spec.get("people"), list):
            return answer({"ids": [self._tg.make_person(each) for each in spec["people"]]})
        return answer({"id": int(self._tg.make_person(spec))})

    async def list_people(self, _: web.Request) -> web.Response:
        """`{"people": [User objects]}`, at most 1,000."""
        return answer({"people": [person.user for person in list(self._tg.people.values())[:1000]]})

    async def act(self, request: web.Request) -> web.Response:
        """`{token, person, do, …}` → `{"update_ids": […]}`; the actions stand in `actions`."""
        spec = await body_of(request)
        action = {key: value for key, value in spec.items() if key not in ("token", "person")}
        return answer(self._tg.act(needed(spec, "token"), str(needed(spec, "person", (int, str))), action))

    async def make_chat(self, request: web.Request) -> web.Response:
        """`{type, title, username?, owner?, id?, admins?: [tokens]}` → `{"id": …}`"""
        spec = await body_of(request)
        chat = self._tg.make_chat(spec)
        for token in spec.get("admins", ()):
            actions.make_admin(self._tg, chat, self._tg.bot(token), None)
        return answer({"id": chat.id})

    async def list_chats(self, _: web.Request) -> web.Response:
        """`{"chats": [Chat objects with their number of members]}`"""
        return answer(
            {
                "chats": [
                    {**chat.wire, "members": _count(chat)}
                    for chat in self._tg.chats.values()
                    if not chat.deleted
                ]
            }
        )

    async def make_admin(self, request: web.Request) -> web.Response:
        """`{token, rights?: {can_post_messages: true, …}}` → `{"update_ids": […]}`"""
        spec = await body_of(request)
        rights = spec.get("rights")
        if rights is not None and not isinstance(rights, Mapping):
            raise ControlError("rights: an object expected")
        ids = actions.make_admin(self._tg, self._chat(request), self._tg.bot(spec.get("token")), rights)
        return answer({"update_ids": ids})

    async def demote(self, request: web.Request) -> web.Response:
        """`{token}`: an ordinary member again (in a channel a bot cannot be that, so it leaves)."""
        spec = await body_of(request)
        chat = self._chat(request)
        new = Member("left" if chat.type == "channel" else "member")
        return answer(
            {"update_ids": actions.set_bot_standing(self._tg, chat, self._tg.bot(spec.get("token")), new)}
        )

    async def kick(self, request: web.Request) -> web.Response:
        """`{token}`: the bot is thrown out; or `{person}`."""
        spec = await body_of(request)
        chat = self._chat(request)
        if spec.get("person") is not None:
            person = self._tg.person(spec["person"])
            old, chat.members[person.id] = chat.member(person.id), Member("kicked")
            told = actions.tell_member(self._tg, chat, person, person.id, old, chat.members[person.id])
            return answer({"update_ids": list(told.values())})
        bot = self._tg.bot(spec.get("token"))
        return answer({"update_ids": actions.set_bot_standing(self._tg, chat, bot, Member("kicked"))})

    async def set_permissions(self, request: web.Request) -> web.Response:
        """`{can_send_messages: false, …}`: what ordinary members of a group may do; bots that are no admins count."""
        spec = await body_of(request)
        chat = self._chat(request)
        for name, value in spec.items():
            if name not in chat.permissions:
                raise ControlError(f"{name}: there is no such permission")
            chat.permissions[name] = bool(value)
        return answer({"permissions": chat.permissions})

    async def upgrade(self, request: web.Request) -> web.Response:
        """A basic group becomes a supergroup → `{"id": the new id}`"""
        return answer({"id": actions.upgrade(self._tg, self._chat(request)).id})

    async def delete_chat(self, request: web.Request) -> web.Response:
        self._chat(request).deleted = True
        return answer({"ok": True})

    async def messages(self, request: web.Request) -> web.Response:
        """`?token=&limit=` → `{"messages": [Message objects, oldest first]}` of a private chat, group or channel."""
        bot = self._tg.bot(request.query.get("token"))
        name = request.match_info["id"]
        if name.lstrip("-").isdigit() and int(name) > 0:
            history = bot.dialog(self._tg.person(name).id).history
            keyboard = bot.dialog(int(name)).keyboard
        else:
            place = shared(bot, self._tg.chat(name))
            history, keyboard = place.history, place.dialog.keyboard
        limit = request.query.get("limit", "1000")
        newest = history.latest()[: int(limit) if limit.isdigit() else 1000]
        return answer({"messages": [message.wire for message in reversed(newest)], "keyboard": keyboard})

    async def file(self, request: web.Request) -> web.Response:
        """`?token=`: the bytes of a file in a message, for the phone page; not a call of the bot."""
        bot = self._tg.bot(request.query.get("token"))
        stored = self._tg.files.known(bot, request.match_info["file_id"])
        content = self._tg.files.content(stored) if stored is not None else None
        if stored is None or content is None:
            raise ControlError("file_id: there is no such file", 404)
        headers = {"Content-Type": stored.mime_type, "X-Content-Type-Options": "nosniff"}
        if not stored.mime_type.startswith(("image/", "audio/", "video/")):
            headers["Content-Disposition"] = "attachment"  # a page sent as a document must not run here
        return web.Response(body=content, headers=headers)

    async def set_knobs(self, request: web.Request) -> web.Response:
        """`{duplicate_p?, jitter_ms?}`: accepted webhooks come twice; deliveries wait a random time."""
        spec = await body_of(request)
        for name in spec:
            if name not in ("duplicate_p", "jitter_ms"):
                raise ControlError(f"{name}: duplicate_p or jitter_ms expected")
            setattr(self._tg.knobs, name, float(needed(spec, name, (int, float))))
        return answer({"duplicate_p": self._tg.knobs.duplicate_p, "jitter_ms": self._tg.knobs.jitter_ms})

    async def put_on_web(self, request: web.Request) -> web.Response:
        """`{url, content_base64, mime_type}`: what Telegram finds when a bot sends media by this URL."""
        spec = await body_of(request)
        try:
            content = base64.b64decode(needed(spec, "content_base64"), validate=True)
        except binascii.Error as error:
            raise ControlError("content_base64: base64 expected") from error
        self._tg.files.put_on_web(needed(spec, "url"), content, needed(spec, "mime_type"))
        return answer({"ok": True})

    def _chat(self, request: web.Request) -> Chat:
        return self._tg.chat(request.match_info["id"])


def _count(chat: Chat) -> int:
    return sum(1 for member in chat.members.values() if member.inside)
