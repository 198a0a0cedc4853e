"""The Telegram of this world: who exists, what they are called, and the doors to the other networks' shared parts."""

from __future__ import annotations

import re
from collections.abc import Awaitable, Callable, Mapping
from typing import Any

from simulators.telegram import actions
from simulators.telegram.files import Files
from simulators.telegram.limits import Limits
from simulators.telegram.polls import Polls
from simulators.telegram.state import Bot, Chat, Person
from simulators.telegram.updates import Updates
from simulators.telegram.webhook import Knobs, Webhook
from simulators.wire import needed, whole
from simulators.world import ControlError, World

NAME = "telegram"
TOKEN = re.compile(r"^(\d{3,20}):[A-Za-z0-9_-]{3,100}$")
FIRST_PERSON = 5_000_000_001
FIRST_CHAT = 1_500_000_001
CHANNEL_BASE = -1_000_000_000_000


class Telegram:
    """All state of the network; `world.networks["telegram"]`."""

    name = NAME

    def __init__(self, world: World) -> None:
        self.world = world
        # Runs a call found in a webhook's answer; `attach` puts the server's in.
        self.execute_answer: Callable[[str, dict[str, Any]], Awaitable[None]]
        self.reset()

    def reset(self) -> None:
        for webhook in getattr(self, "webhooks", {}).values():
            webhook.close()
        self.bots: dict[str, Bot] = {}
        self.bots_by_id: dict[int, Bot] = {}
        self.people: dict[int, Person] = {}
        self.chats: dict[int, Chat] = {}
        self.usernames: dict[str, int] = {}
        self.webhooks: dict[str, Webhook] = {}
        self.webhook_set_at: dict[str, float] = {}
        self.limits = Limits(self.world.clock)
        self.knobs = Knobs()
        self.files = Files(self.world)
        self.polls = Polls()
        self._next_person = FIRST_PERSON
        self._next_chat = FIRST_CHAT

    # --- making things ----------------------------------------------------------------------------------------------

    def make_bot(self, spec: Mapping[str, Any]) -> Bot:
        """`{token, username?, name?, privacy?: true, paid_broadcast?, stars?}`; a known token gives its bot."""
        token = needed(spec, "token")
        match = TOKEN.match(token)
        if match is None:
            raise ControlError("token: expected like 110201543:TEST-abc, digits, a colon and letters")
        known = self.bots.get(token)
        if known is not None:
            return known
        bot_id = int(match.group(1))
        if bot_id in self.bots_by_id:
            raise ControlError(f"token: bot {bot_id} exists with another token", 409)
        username = str(spec.get("username") or f"sim{bot_id}_bot").lstrip("@")
        updates = Updates(self.world.clock, self.world.rng.randrange(100_000_000, 900_000_000))
        bot = Bot(token, bot_id, str(spec.get("name") or "Simulated bot"), username, updates)
        bot.can_read_all_group_messages = spec.get("privacy") is False
        bot.paid_broadcast = bool(spec.get("paid_broadcast"))
        bot.stars = whole(spec, "stars", 0) * 10
        self._take_name(username, bot_id)
        self.bots[token] = bot
        self.bots_by_id[bot_id] = bot
        self.world.show("endpoint", NAME, endpoint=token, name=bot.first_name, username=username)
        return bot

    def make_person(self, spec: Mapping[str, Any]) -> str:
        """`{id?, first_name?, last_name?, username?, language_code?, phone_number?, bio?}`."""
        wanted = spec.get("id")
        person_id = whole(spec, "id") if wanted is not None else self._free_person_id()
        if not 0 < person_id < 1 << 52:
            raise ControlError(f"id: between 1 and 2**52 expected, got {person_id}")
        if person_id in self.bots_by_id:
            raise ControlError(f"id: {person_id} is a bot", 409)
        person = Person(
            id=person_id,
            first_name=_text(spec, "first_name") or f"Person {person_id}",
            last_name=_text(spec, "last_name"),
            username=_text(spec, "username"),
            language_code=_text(spec, "language_code"),
            phone_number=_text(spec, "phone_number"),
            bio=_text(spec, "bio"),
        )
        known = self.people.get(person_id)
        if known is not None and known.username:
            self.usernames.pop(known.username.lower(), None)
        if person.username:
            self._take_name(person.username, person_id)
        self.people[person_id] = person
        self.world.show("person", NAME, person=str(person_id), user=person.user)
        return str(person_id)

    def make_chat(self, spec: Mapping[str, Any]) -> Chat:
        """`{type: group | supergroup | channel, title, username?, description?, owner?: person id, id?, forum?}`."""
        kind = needed(spec, "type")
        if kind not in ("group", "supergroup", "channel"):
            raise ControlError(f"type: group, supergroup or channel expected, got {kind!r}")
        username = _text(spec, "username")
        if username and kind == "group":
            raise ControlError("username: a basic group has none")
        chat_id = whole(spec, "id") if spec.get("id") is not None else self._free_chat_id(kind)
        if chat_id >= 0 or chat_id in self.chats or (kind == "group") != (chat_id > CHANNEL_BASE):
            raise ControlError(f"id: {chat_id} is taken or not an id of a {kind}")
        chat = Chat(chat_id, kind, needed(spec, "title"), username, _text(spec, "description"))
        chat.protected = bool(spec.get("protected"))
        if spec.get("forum"):
            if kind != "supergroup":
                raise ControlError("forum: only a supergroup has topics")
            chat.is_forum = True
            chat.refresh()
        if username:
            self._take_name(username, chat_id)
        self.chats[chat_id] = chat
        owner = spec.get("owner")
        if owner is not None:
            actions.enter(self, chat, self.person(owner), "creator")
        self.world.show("chat", NAME, chat=chat.wire)
        return chat

    def _take_name(self, username: str, owner: int) -> None:
        key = username.lower()
        if self.usernames.get(key, owner) != owner:
            raise ControlError(f"username: {username} is taken", 409)
        self.usernames[key] = owner

    def _free_person_id(self) -> int:
        while self._next_person in self.people:
            self._next_person += 1
        self._next_person += 1
        return self._next_person - 1

    def _free_chat_id(self, kind: str) -> int:
        self._next_chat += 1
        return -self._next_chat if kind == "group" else CHANNEL_BASE - self._next_chat

    # --- finding things ---------------------------------------------------------------------------------------------

    def bot(self, token: Any) -> Bot:
        bot = self.bots.get(token) if isinstance(token, str) else None
        if bot is None:
            raise ControlError("token: no such bot; make it at /sim/telegram/bots", 404)
        return bot

    def person(self, person_id: Any) -> Person:
        try:
            return self.people[int(person_id)]
        except (KeyError, TypeError, ValueError, OverflowError) as error:
            raise ControlError(f"person: nobody has the id {person_id!r}", 404) from error

    def chat(self, chat_id: Any) -> Chat:
        if isinstance(chat_id, str) and chat_id.startswith("@"):
            chat_id = self.usernames.get(chat_id[1:].lower(), 0)
        try:
            return self.chats[int(chat_id)]
        except (KeyError, TypeError, ValueError, OverflowError) as error:
            raise ControlError(f"chat: no chat has the id {chat_id!r}", 404) from error

    def user(self, user_id: int) -> dict[str, Any]:
        """The User object of a person or bot."""
        bot = self.bots_by_id.get(user_id)
        return bot.user if bot is not None else self.people[user_id].user

    # --- world.Network ----------------------------------------------------------------------------------------------

    def act(self, endpoint: str, person: str, action: Mapping[str, Any]) -> Mapping[str, Any]:
        return {"update_ids": actions.act(self, self.bot(endpoint), self.person(person), action)}

    def set_limits(self, spec: Mapping[str, Any]) -> Mapping[str, Any]:
        return self.limits.change(spec)

    def seed(self, spec: Mapping[str, Any]) -> None:
        """`{"bots": […], "people": […], "crowds": [{"first", "count", "bot": token, "language_code"?}], "chats": [{…,
        "admins": [token, …]}]}`. A crowd is many people who have opened the chat with a bot long ago."""
        for bot in spec.get("bots", ()):
            self.make_bot(bot)
        for person in spec.get("people", ()):
            self.make_person(person)
        for crowd in spec.get("crowds", ()):
            self._gather(crowd)
        for chat in spec.get("chats", ()):
            made = self.make_chat(chat)
            for token in chat.get("admins", ()):
                actions.make_admin(self, made, self.bot(token), None)

    def _gather(self, spec: Mapping[str, Any]) -> None:
        bot, first = self.bot(needed(spec, "bot")), whole(spec, "first")
        for person in range(first, first + whole(spec, "count")):
            self.make_person({"id": person, "language_code": spec.get("language_code")})
            bot.met.add(person)
            bot.dialog(person).started = True


def _text(spec: Mapping[str, Any], name: str) -> str | None:
    value = spec.get(name)
    return None if value is None or value == "" else str(value)
