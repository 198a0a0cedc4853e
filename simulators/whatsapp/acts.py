"""What a person does on WhatsApp, turned into the webhook that the business gets.

`{"do": "say", "text": "ciao"}` and the like; each returns `{"external_id", "message_ids"}` of the messages that were
made. Every message opens the 24-hour window. Shapes:
https://developers.facebook.com/docs/whatsapp/cloud-api/webhooks/payload-examples
"""

from __future__ import annotations

import base64
import json
import struct
import zlib
from collections.abc import Callable, Mapping
from functools import cache
from typing import TYPE_CHECKING, Any

from simulators.whatsapp import media
from simulators.whatsapp.checks import digits
from simulators.whatsapp.identity import Visible, visible
from simulators.whatsapp.state import WINDOW_S, Message, Number, Person, Thread
from simulators.whatsapp.webhooks import Update
from simulators.world import ControlError

if TYPE_CHECKING:
    from simulators.whatsapp.network import WhatsApp

Action = Mapping[str, Any]
Result = dict[str, Any]

# What the other network calls them, so that one script fits both.
_OTHER_NAMES = {"photo": "image", "voice": "audio"}
_DEFAULT_MIME = {
    "image": "image/png",
    "video": "video/mp4",
    "audio": "audio/ogg; codecs=opus",
    "document": "application/pdf",
    "sticker": "image/webp",
}


class Acts:
    """The actions by name; `act` finds and performs one."""

    def __init__(self, network: WhatsApp) -> None:
        self._network = network
        self._state = network.state
        self._world = network.world
        self._actions: dict[str, Callable[[Number, Person, Action], Result]] = {
            "start": self._say,
            "say": self._say,
            "tap": self._tap,
            "list": self._tap,
            "button": self._tap,
            "contact": self._contact,
            "location": self._location,
            "media": self._media,
            "react": self._react,
            "order": self._order,
            "nfm": self._nfm,
            "edit": self._edit,
            "revoke": self._revoke,
            "unsupported": self._unsupported,
            "welcome": self._welcome,
            "raw": self._raw,
            "call_permission": self._call_permission,
            "play": self._play,
            "stop_marketing": lambda number, person, action: self._preference(number, person, "stop"),
            "resume_marketing": lambda number, person, action: self._preference(number, person, "resume"),
            "change_number": self._change_number,
            "change_identity": self._change_identity,
            "leave": self._leave,
            "block": lambda number, person, action: self._reachable(person, False),
            "unblock": lambda number, person, action: self._reachable(person, True),
            "phone_off": lambda number, person, action: self._switch(person, True),
            "phone_on": lambda number, person, action: self._switch(person, False),
        }

    def act(self, number: Number, person: Person, action: Action) -> Result:
        """Raises ControlError when the action makes no sense."""
        name = action.get("do")
        perform = self._actions.get(str(name))
        if perform is None:
            raise ControlError(f"do: one of {', '.join(sorted(self._actions))} expected, got {name!r}")
        result = perform(number, person, action)
        shown = {
            key: value for key, value in action.items() if key not in ("content_base64", "person", "number")
        }
        self._world.acted("whatsapp", number.id, person.id, {**shown, **result})
        return result

    # --- messages -----------------------------------------------------------------------------------------------------

    def _say(self, number: Number, person: Person, action: Action) -> Result:
        text = action.get("text", "ciao" if action.get("do") == "start" else None)
        if not isinstance(text, str) or not text:
            raise ControlError("text: what the person says is missing")
        return self._write(number, person, "text", {"text": {"body": text}}, text, action)

    def _tap(self, number: Number, person: Person, action: Action) -> Result:
        """`{"do": "tap", "button": id or text, "external_id"?}`; without the message the newest one that has it."""
        wanted = next((action[key] for key in ("button", "id", "data", "text") if key in action), None)
        message, button = self._find_button(number, person, wanted, action)
        context = {"context": {"from": number.phone, "id": message.id}}
        kind = button["kind"]
        if kind == "reply":
            reply = {"id": button["id"], "title": button["text"]}
            part = {"interactive": {"type": "button_reply", "button_reply": reply}}
            return self._write(number, person, "interactive", part, button["text"], {**action, **context})
        if kind == "row":
            row = {"id": button["id"], "title": button["text"]}
            if "description" in button:
                row["description"] = button["description"]
            part = {"interactive": {"type": "list_reply", "list_reply": row}}
            return self._write(number, person, "interactive", part, button["text"], {**action, **context})
        if kind == "quick_reply":
            part = {"button": {"payload": button["id"], "text": button["text"]}}
            return self._write(number, person, "button", part, button["text"], {**action, **context})
        if kind == "location":
            return self._location(number, person, {**action, **context})
        if kind in ("contact", "request_contact_info"):
            return self._contact(number, person, {"origin": "contact_request", **action, **context})
        if kind == "flow":
            return self._nfm(number, person, {**action, **context})
        return {"external_id": None, "message_ids": [], "opened": button.get("url", button.get("phone", ""))}

    def _find_button(
        self, number: Number, person: Person, wanted: object, action: Action
    ) -> tuple[Message, dict[str, str]]:
        wanted_id = action.get("external_id", action.get("message_id"))
        for message in reversed(self._state.thread(number, person).messages):
            if message.direction != "out" or (wanted_id is not None and message.id != wanted_id):
                continue
            for button in message.buttons:
                if wanted is None or wanted == button.get("id") or same_text(wanted, button["text"]):
                    return message, button
        raise ControlError(f"button: the person sees no {wanted!r}")

    def _contact(self, number: Number, person: Person, action: Action) -> Result:
        """Shares a contact card: the person's own unless `contacts` brings others."""
        cards = action.get("contacts")
        if cards is None:
            phone = action.get("phone_number", person.phone)
            if phone is None:
                raise ControlError("phone_number: the person has no number to share; give one")
            name = action.get("name", person.name)
            card: dict[str, Any] = {
                "phones": [{"phone": f"+{digits(phone)}", "wa_id": digits(phone), "type": "CELL"}]
            }
            # The answer to a contact request may come without a name.
            if action.get("origin") != "contact_request" or name:
                card = {"name": {"formatted_name": name, "first_name": name.split(" ")[0]}, **card}
            if "origin" in action:
                card["origin"] = action["origin"]
            cards = [card]
        return self._write(number, person, "contacts", {"contacts": cards}, "", action)

    def _location(self, number: Number, person: Person, action: Action) -> Result:
        place = {
            "latitude": float(action.get("latitude", 45.4641)),
            "longitude": float(action.get("longitude", 9.1919)),
        }
        named = {key: action[key] for key in ("name", "address", "url") if key in action}
        return self._write(number, person, "location", {"location": {**place, **named}}, "", action)

    def _media(self, number: Number, person: Person, action: Action) -> Result:
        """`{"do": "media", "kind": "image", "mime_type"?, "content_base64"?, "caption"?, "name"?, "voice"?}`."""
        kind = str(action.get("kind", "image"))
        kind = _OTHER_NAMES.get(kind, kind)
        if kind not in media.LIMITS:
            raise ControlError(f"kind: one of {', '.join(media.LIMITS)} expected, got {kind!r}")
        if action.get("too_big"):
            return self._write(
                number, person, kind, {"errors": [_error(131052, "Media download error")]}, "", action
            )
        mime_type = str(action.get("mime_type", _DEFAULT_MIME[kind]))
        data = _decode(action.get("content_base64"))
        filename = action.get("name", "documento.pdf" if kind == "document" else None)
        stored = self._network.media.add(number.id, data, mime_type, filename, media.RECEIVED_LIFE_S)
        part: dict[str, Any] = {"mime_type": mime_type, "sha256": stored.sha256_base64, "id": stored.id}
        part["url"] = self._network.media.address(stored, self._world.origin)
        if kind == "audio":
            part["voice"] = bool(action.get("voice", True))
        if kind == "sticker":
            part["animated"] = bool(action.get("animated", False))
        if kind == "document" and filename:
            part["filename"] = filename
        if action.get("caption") and kind not in ("audio", "sticker"):
            part["caption"] = action["caption"]
        return self._write(number, person, kind, {kind: part}, str(action.get("caption", "")), action)

    def _react(self, number: Number, person: Person, action: Action) -> Result:
        target = action.get("external_id", action.get("message_id"))
        if target is None:
            sent = [one for one in self._state.thread(number, person).messages if one.direction == "out"]
            if not sent:
                raise ControlError("external_id: there is no message to react to")
            target = sent[-1].id
        part: dict[str, Any] = {"message_id": target}
        if action.get("emoji", "👍") is not None:
            part["emoji"] = action.get("emoji", "👍")
        return self._write(number, person, "reaction", {"reaction": part}, str(part.get("emoji", "")), action)

    def _order(self, number: Number, person: Person, action: Action) -> Result:
        items = action.get("product_items") or [
            {"product_retailer_id": "sku-1", "quantity": 1, "item_price": 10, "currency": "EUR"}
        ]
        order = {
            "catalog_id": str(action.get("catalog_id", "100200300")),
            "text": str(action.get("text", "")),
            "product_items": items,
        }
        return self._write(number, person, "order", {"order": order}, str(action.get("text", "")), action)

    def _nfm(self, number: Number, person: Person, action: Action) -> Result:
        """A filled-in form; `response` becomes `response_json`, which is a string."""
        response = action.get("response", {"flow_token": "unused"})
        reply = {
            "response_json": response if isinstance(response, str) else json.dumps(response),
            "body": str(action.get("body", "Sent")),
            "name": str(action.get("name", "flow")),
        }
        part = {"interactive": {"type": "nfm_reply", "nfm_reply": reply}}
        return self._write(number, person, "interactive", part, reply["body"], action)

    def _call_permission(self, number: Number, person: Person, action: Action) -> Result:
        accepted = bool(action.get("accept", True))
        reply: dict[str, Any] = {
            "response": "accept" if accepted else "reject",
            "response_source": "user_action",
        }
        if accepted:
            reply["expiration_timestamp"] = self._world.clock.now_s() + 7 * 24 * 3600
        part = {"interactive": {"type": "call_permission_reply", "call_permission_reply": reply}}
        return self._write(number, person, "interactive", part, "", action)

    def _edit(self, number: Number, person: Person, action: Action) -> Result:
        """Edits an own message; numbers outside coexistence get it as unsupported."""
        if not action.get("coexistence"):
            return self._unsupported(number, person, {**action, "type": "edit"})
        changed = {"type": "text", "text": {"body": str(action.get("text", ""))}}
        part = {"edit": {"original_message_id": self._own(number, person, action), "message": changed}}
        return self._write(number, person, "edit", part, str(action.get("text", "")), action)

    def _revoke(self, number: Number, person: Person, action: Action) -> Result:
        part = {"revoke": {"original_message_id": self._own(number, person, action)}}
        return self._write(number, person, "revoke", part, "", action)

    def _own(self, number: Number, person: Person, action: Action) -> str:
        given = action.get("external_id", action.get("message_id"))
        if given is not None:
            return str(given)
        own = [one for one in self._state.thread(number, person).messages if one.direction == "in"]
        if not own:
            raise ControlError("external_id: the person has not written yet")
        return own[-1].id

    def _unsupported(self, number: Number, person: Person, action: Action) -> Result:
        part: dict[str, Any] = {"errors": [_error(131051, "Message type unknown")]}
        if "type" in action:
            part["unsupported"] = {"type": action["type"]}
        return self._write(number, person, "unsupported", part, "", action)

    def _welcome(self, number: Number, person: Person, action: Action) -> Result:
        return self._write(number, person, "request_welcome", {}, "", action)

    def _raw(self, number: Number, person: Person, action: Action) -> Result:
        """`message`: any keys, written over those of an ordinary message; a key set to null is left out."""
        given = action.get("message")
        if not isinstance(given, dict):
            raise ControlError("message: the message object is missing")
        kind = str(given.get("type", "text"))
        return self._write(number, person, kind, {}, "", action, overwrite=given)

    def _play(self, number: Number, person: Person, action: Action) -> Result:
        message = self._state.messages.get(str(action.get("external_id", "")))
        if message is None or message.type != "audio":
            raise ControlError("external_id: no voice message of that id")
        self._network.sending.played(message)
        return {"external_id": message.id, "message_ids": []}

    # --- what goes for all messages -----------------------------------------------------------------------------------

    def _write(
        self,
        number: Number,
        person: Person,
        kind: str,
        part: dict[str, Any],
        text: str,
        action: Action,
        *,
        overwrite: Mapping[str, Any] | None = None,
    ) -> Result:
        now = self._world.clock.now()
        seen = visible(self._state, self._network.knobs, number, person, now)
        wamid = self._network.sending.new_id(person.phone or person.id)
        item: dict[str, Any] = {}
        context = _context(number, action)
        if context:
            item["context"] = context
        if "referral" in action:
            item["referral"] = action["referral"]
        item |= {**seen.sender(), "id": wamid, "timestamp": str(int(now)), "type": kind, **part}
        if overwrite is not None:
            item = {key: value for key, value in {**item, **overwrite}.items() if value is not None}
        self._remember(number, person, kind, item, text, now, referral="referral" in action)
        self._world.show(
            "said", "whatsapp", endpoint=number.id, to=person.id, external_id=wamid, content=item, text=text
        )
        self._tell_message(number, person, item, seen)
        return {"external_id": wamid, "message_ids": [wamid]}

    def _remember(
        self,
        number: Number,
        person: Person,
        kind: str,
        item: dict[str, Any],
        text: str,
        now: float,
        *,
        referral: bool,
    ) -> None:
        thread: Thread = self._state.thread(number, person)
        thread.window_until = now + WINDOW_S
        if referral:
            thread.ad_clicked_at = now
        number.limits.received(now)
        content = {"type": kind, **({kind: item[kind]} if kind in item else {})}
        self._state.keep(
            Message(
                id=item.get("id", ""),
                number_id=number.id,
                person_id=person.id,
                direction="in",
                type=kind,
                content=content,
                text=text,
                at=now,
            ),
            thread,
        )

    def _tell_message(self, number: Number, person: Person, item: dict[str, Any], seen: Visible) -> None:
        # The business blocked this person: nothing of theirs arrives any more.
        if (person.phone or person.id) in number.blocked:
            return
        self._network.tell(
            number,
            Update(
                account_id=number.account_id,
                field="messages",
                item=item,
                id=str(item.get("id", "")),
                number=(number.phone, number.id),
                kind="messages",
                contact=None if item.get("type") == "system" else seen.contact(person),
            ),
        )

    # --- what a person changes about themselves -----------------------------------------------------------------------

    def _preference(self, number: Number, person: Person, value: str) -> Result:
        person.stopped_marketing = value == "stop"
        now = self._world.clock.now()
        seen = visible(self._state, self._network.knobs, number, person, now)
        verb = "stop" if value == "stop" else "resume"
        item: dict[str, Any] = {"wa_id": seen.wa_id} if seen.wa_id else {}
        if seen.user_id:
            item["user_id"] = seen.user_id
        item |= {
            "detail": f"User requested to {verb} marketing messages",
            "category": "marketing_messages",
            "value": value,
            "timestamp": int(now),
        }
        self._network.tell(
            number,
            Update(
                account_id=number.account_id,
                field="user_preferences",
                item=item,
                id=f"user_preferences:{person.id}:{value}:{int(now)}",
                number=(number.phone, number.id),
                kind="user_preferences",
                contact=seen.contact(person),
            ),
        )
        return {"external_id": None, "message_ids": []}

    def _change_number(self, number: Number, person: Person, action: Action) -> Result:
        """The person moves to another number; ids change with it, and the business is told both."""
        new = digits(str(action.get("phone", "")))
        if not new or new in self._state.by_phone:
            raise ControlError("phone: a new number that nobody has is needed")
        old, now = person.phone, self._world.clock.now()
        before = visible(self._state, self._network.knobs, number, person, now)
        self._state.forget_number_of(person)
        person.phone = new
        self._state.by_phone[new] = person
        changed = self._state.change_bsuid(person)
        item: dict[str, Any] = {
            **before.sender(),
            "id": self._network.sending.new_id(new),
            "timestamp": str(int(now)),
            "type": "system",
            "system": {
                "body": f"User {person.name} changed from {old} to {new}",
                "wa_id": new,
                "type": "user_changed_number",
            },
        }
        if before.wa_id is not None:
            self._tell_message(number, person, item, before)
        previous_current = changed.get(self._state.account_of(number).business_id)
        if previous_current is not None and before.user_id is not None:
            self._tell_user_id(number, new if before.wa_id else None, *previous_current)
        return {"external_id": item["id"], "message_ids": [item["id"]]}

    def _tell_user_id(self, number: Number, wa_id: str | None, previous: str, current: str) -> None:
        item: dict[str, Any] = {"wa_id": wa_id} if wa_id else {}
        item |= {"detail": "User ID has changed", "user_id": {"previous": previous, "current": current}}
        self._network.tell(
            number,
            Update(
                account_id=number.account_id,
                field="user_id_update",
                item=item,
                id=f"user_id_update:{previous}",
                number=(number.phone, number.id),
                kind="user_id_update",
            ),
        )

    def _change_identity(self, number: Number, person: Person, action: Action) -> Result:
        """WhatsApp was installed anew: the identity key changes."""
        now = self._world.clock.now()
        person.identity_hash = self._network.sending.new_id(person.id)[-16:]
        seen = visible(self._state, self._network.knobs, number, person, now)
        item = {
            **seen.sender(),
            "id": self._network.sending.new_id(person.phone or person.id),
            "timestamp": str(int(now)),
            "type": "system",
            "identity": {
                "acknowledged": True,
                "created_timestamp": str(int(now)),
                "hash": person.identity_hash,
            },
            "system": {"body": "User identity changed", "type": "customer_identity_changed"},
        }
        self._tell_message(number, person, item, seen)
        return {"external_id": item["id"], "message_ids": [item["id"]]}

    def _leave(self, number: Number, person: Person, action: Action) -> Result:
        """The person gives up the number, which somebody else may get; the business is told nothing."""
        self._state.forget_number_of(person)
        person.phone, person.on_whatsapp = None, False
        return {"external_id": None, "message_ids": []}

    def _reachable(self, person: Person, reachable: bool) -> Result:
        """Blocking a business sends no webhook: messages to the person just fail."""
        person.fails_with = None if reachable else 131026
        return {"external_id": None, "message_ids": []}

    def _switch(self, person: Person, off: bool) -> Result:
        person.phone_off = off
        if not off:
            self._network.sending.phone_on(person)
        return {"external_id": None, "message_ids": []}


@cache
def sample_picture(width: int = 240, height: int = 160) -> bytes:
    """A small PNG, dark above and light below, for people who send "a picture" without bringing one."""

    def chunk(name: bytes, data: bytes) -> bytes:
        return struct.pack(">I", len(data)) + name + data + struct.pack(">I", zlib.crc32(name + data))

    rows = b"".join(b"\0" + bytes([60 + 160 * row // height]) * width for row in range(height))
    head = struct.pack(">IIBBBBB", width, height, 8, 0, 0, 0, 0)
    parts = chunk(b"IHDR", head) + chunk(b"IDAT", zlib.compress(rows, 9)) + chunk(b"IEND", b"")
    return b"\x89PNG\r\n\x1a\n" + parts


def same_text(wanted: object, text: str) -> bool:
    return isinstance(wanted, str) and wanted.strip().casefold() == text.strip().casefold()


def _context(number: Number, action: Action) -> dict[str, Any] | None:
    if "context" in action:
        return dict(action["context"])
    if action.get("forwarded"):
        return {"frequently_forwarded": True} if action["forwarded"] == "often" else {"forwarded": True}
    if "reply_to" in action:
        return {"from": number.phone, "id": action["reply_to"]}
    return None


def _error(code: int, title: str) -> dict[str, Any]:
    details = (
        "Message type is currently not supported." if code == 131051 else "Media could not be downloaded."
    )
    return {"code": code, "title": title, "message": title, "error_data": {"details": details}}


def _decode(data: object) -> bytes:
    if data is None:
        return sample_picture()
    try:
        return base64.b64decode(str(data), validate=True)
    except ValueError as error:
        raise ControlError(f"content_base64: base64 expected: {error}") from error
