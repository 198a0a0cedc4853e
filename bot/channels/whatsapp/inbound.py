"""WhatsApp deliveries: verified over the exact bytes, then read item by item into domain events. Pure.

One POST holds entries × changes × items, up to 1,000 of them (3 MB). Every item is read on its own slice of the body
and carries its own account: `phone_number_id` for what belongs to a number, the business account's id otherwise.
Nothing here raises on content. What is new to us becomes `Unrecognised`; what should be readable and is not becomes
`Unrecognised(malformed=True)`, beside its good neighbours.

People: since 2026 a message may come without a phone number. `Person.ids` stand in order of trust: business-scoped
user id, its parent, phone. A reply goes to the phone while WhatsApp tells it, else to the user id.
"""

from __future__ import annotations

import hashlib
import hmac
import re
from collections.abc import Callable, Iterator, Mapping
from typing import Any

import msgspec
from msgspec import Raw

from bot.channels.base import Credentials, Delivery
from bot.channels.whatsapp import errors, payloads
from bot.channels.whatsapp.notices import FIELDS
from bot.channels.whatsapp.payloads import Change, Contact, Entry, Error, Message, Status, Value
from bot.channels.whatsapp.received import (
    MAX_INTEGER,
    UnknownType,
    Unreadable,
    content_of,
    explanation,
    phone_of,
    plain,
)
from domain import ids
from domain.errors import NotAllowed, RejectedInput, SendFailure, SignatureInvalid
from domain.events import (
    AccountNotice,
    DeliveryStatus,
    Echo,
    ExternalId,
    IdentityChanged,
    MessageDeleted,
    MessageEdited,
    MessageReceived,
    Origin,
    Person,
    Place,
    PlatformEvent,
    Preference,
    Referral,
    Unrecognised,
)
from domain.messages import MessageStatus, ReceivedText, Tap
from domain.optout import is_opt_in, is_opt_out

SIGNATURE_HEADER = "x-hub-signature-256"
MAX_RAW = 64_000  # bytes kept of an item that we could not read
GROUP = "group:"  # prefix of a group's address

_STATUSES = {
    "sent": MessageStatus.sent,
    "delivered": MessageStatus.delivered,
    "read": MessageStatus.read,
    "played": MessageStatus.read,  # a voice note that was heard
    "failed": MessageStatus.failed,
}
# Meta's escape of a broken surrogate pair or NUL; whole pairs and other escapes match as well, and stay.
_ESCAPES = re.compile(
    rb"\\(?:u[dD][89abAB][0-9a-fA-F]{2}\\u[dD][c-fC-F][0-9a-fA-F]{2}|(u[dD][89a-fA-F][0-9a-fA-F]{2}|u0000)|.)",
    re.DOTALL,
)
# A text without its end goes on to the body's: looking for the end from each of its quotes would take for ever.
_STRUCTURE = re.compile(rb'"[^"\\]*(?:\\.[^"\\]*)*(?:"|\\?\Z)|[\[\]{}]', re.DOTALL)
_MAX_DEPTH = 100  # real deliveries reach 15
# The visible code in a wa.me link's text, "Ciao! (ref: spring24)": such links carry nothing else.
_REFERENCE = re.compile(r"\(ref: ?([\w-]{1,64})\)")
_UNREADABLE = (msgspec.MsgspecError, UnicodeDecodeError, RecursionError, Unreadable)


# --- the endpoint ---------------------------------------------------------------------------------------------------


def verify(delivery: Delivery, credentials: Credentials) -> None:
    """Raises SignatureInvalid unless `X-Hub-Signature-256: sha256=<hex>` is the HMAC of the raw bytes."""
    secret = credentials["app_secret"].encode()
    given = delivery.headers.get(SIGNATURE_HEADER, "").encode("utf-8", "replace")
    digest = hmac.digest(secret, delivery.body, "sha256")
    if not hmac.compare_digest(given, b"sha256=" + digest.hex().encode()) or not secret:
        raise SignatureInvalid("X-Hub-Signature-256 is missing or was not made with this app's secret")


def handshake(query: Mapping[str, str], credentials: Credentials) -> str:
    """The challenge to be sent back, as text. Raises NotAllowed for another mode or verify token."""
    given = query.get("hub.verify_token", "").encode("utf-8", "replace")
    known = hmac.compare_digest(given, credentials["verify_token"].encode())
    if query.get("hub.mode") != "subscribe" or not known or not given:
        raise NotAllowed("the verify token is not the one of this channel")
    return query.get("hub.challenge", "")


# --- the envelope ---------------------------------------------------------------------------------------------------


def parse(body: bytes) -> list[PlatformEvent]:
    """Every item of the delivery as an event, in the body's order. Never raises."""
    if b"\\u0000" in body or not body.isascii():  # Meta escapes all but ASCII
        body = _mended(body)
    try:
        entries = payloads.body.decode(body).entry
    except _UNREADABLE:  # broken pairs and great depth stop the decoder before it tells the items apart
        try:
            entries = payloads.body.decode(_flattened(_mended(body))).entry
        except _UNREADABLE as error:
            return [_malformed("delivery", body, error)]
    return list(_read(entries))


def _mended(body: bytes) -> bytes:
    """Valid UTF-8, with U+FFFD for what no column holds: NUL and the halves of broken surrogate pairs."""
    text = body.decode("utf-8", "replace").encode()
    return _ESCAPES.sub(lambda found: rb"\ufffd" if found[1] else found[0], text)


def _flattened(body: bytes) -> bytes:
    """The same JSON with null where it is nested more than `_MAX_DEPTH` deep."""
    kept: list[bytes] = []
    depth, position = 0, 0
    for token in _STRUCTURE.finditer(body):
        mark = token[0]
        if mark in b"[{":
            depth += 1
            if depth == _MAX_DEPTH + 1:
                kept.append(body[position : token.start()])
        elif mark in b"]}":
            if depth == _MAX_DEPTH + 1:
                kept.append(b"null")
                position = token.end()
            depth -= 1
    return b"".join(kept) + body[position:]


def _read(entries: list[Raw]) -> Iterator[PlatformEvent]:
    for raw_entry in entries:
        try:
            entry = payloads.entry.decode(raw_entry)
        except _UNREADABLE as error:
            yield _malformed("entry", raw_entry, error)
            continue
        for raw_change in entry.changes:
            try:
                change = payloads.change.decode(raw_change)
                events = _change(entry, change)
            except _UNREADABLE as error:
                yield _malformed("change", raw_change, error, account=_account(entry))
            else:
                yield from events


def _change(entry: Entry, change: Change) -> list[PlatformEvent]:
    match change.field:
        case "messages":
            return _items(change.value, _messages)
        case "smb_message_echoes":
            return _items(change.value, _echoes)
        case "user_preferences":
            return _items(change.value, _preferences)
        case "user_id_update":
            return list(_user_ids(entry, change))
    if change.field in FIELDS:
        return [_notice(entry, change)]
    account = _account(entry)
    return [
        Unrecognised(
            key=_hash_key(change.field, entry, change.value),
            account=account,
            occurred_at=_milliseconds(entry.time),
            what=change.field,
            raw=_raw_text(change.value),
        )
    ]


def _items(raw: Raw, read: Callable[[Value], Iterator[PlatformEvent]]) -> list[PlatformEvent]:
    """The items of a number-level value. One member that is not what it should be does not cost the others."""
    try:
        return list(read(payloads.value.decode(raw)))
    except msgspec.ValidationError:
        members = msgspec.json.decode(raw, type=dict[str, Raw])
    good: dict[str, Any] = {}
    bad: list[PlatformEvent] = []
    for name in Value.__struct_fields__:
        if name in members:
            try:
                good[name] = getattr(
                    payloads.value.decode(b'{"%b":%b}' % (name.encode(), bytes(members[name]))), name
                )
            except _UNREADABLE as error:
                bad.append(_malformed(name, members[name], error))
    events = list(read(Value(**good)))
    account = _number(Value(**good))
    return events + [msgspec.structs.replace(event, account=account) for event in bad]


def _account(entry: Entry) -> str:
    return "" if entry.id is None else str(entry.id)


def _number(value: Value) -> str:
    number = value.metadata.phone_number_id
    return "" if number is None else str(number)


# --- messages and statuses ------------------------------------------------------------------------------------------


def _messages(value: Value) -> Iterator[PlatformEvent]:
    account = _number(value)
    if value.messages:
        contacts = _contacts(value)
        value_errors = _errors(value)
        for raw in value.messages:
            yield _message(raw, account, contacts, value_errors)
    for raw in value.statuses or ():
        yield _status(raw, account)
    for raw in value.errors or ():
        yield _error(raw, account, severity="warning" if value.messages else "error")


def _message(raw: Raw, account: str, contacts: list[Contact], value_errors: list[Error]) -> PlatformEvent:
    try:
        message = payloads.message.decode(raw)
        return _event(message, account, contacts, value_errors)
    except UnknownType as unknown:
        return Unrecognised(
            key=f"msg:{message.id}" if message.id else _raw_key(raw),
            account=account,
            occurred_at=_milliseconds(message.timestamp),
            what=str(unknown),
            raw=_raw_text(raw),
        )
    except _UNREADABLE as error:
        return _malformed("message", raw, error, account=account)


def _event(
    message: Message, account: str, contacts: list[Contact], value_errors: list[Error]
) -> PlatformEvent:
    if not message.id:
        raise Unreadable("a message without an id")
    key = f"msg:{message.id}"
    at = _milliseconds(message.timestamp)
    if message.type == "system":
        return _system(message, key, account, at)
    person = _sender(message, contacts)
    origin = _origin(message, person)
    if message.type == "edit":
        return _edited(message, key, account, at, person, origin, value_errors)
    if message.type == "revoke":
        return _revoked(message, key, account, at, origin)
    content = content_of(message, value_errors)
    words = content.text if isinstance(content, ReceivedText) else ""
    context, referral = message.context, message.referral
    return MessageReceived(
        key=key,
        account=account,
        occurred_at=at,
        person=person,
        origin=origin,
        content=content,
        external_id=message.id,
        reply_to=context.id if context else None,
        deep_link=_reference(words),
        referral=None
        if referral is None
        else Referral(
            source=referral.source_type or "ad",
            source_id=referral.source_id or "",
            url=referral.source_url or "",
            click_id=referral.ctwa_clid or "",
            headline=referral.headline or "",
        ),
        forwarded=bool(context and (context.forwarded or context.frequently_forwarded)),
        opt_out=is_opt_out(words) if words else message.type == "button" and _stops(content),
        opt_in=is_opt_in(words) if words else False,
    )


def _stops(content: object) -> bool:
    """Whether a template's quick reply is the STOP button, by its label or by its payload."""
    return isinstance(content, Tap) and (is_opt_out(content.title) or is_opt_out(content.option_id))


def _reference(words: str) -> str | None:
    if "(ref:" not in words:
        return None
    found = _REFERENCE.search(words)
    return found[1] if found else None


def _system(message: Message, key: str, account: str, at: int) -> PlatformEvent:
    system = message.system
    if system is None:
        raise Unreadable("a system message without system")
    kind = system.type or ""
    if kind == "customer_identity_changed":  # same address, new device keys: worth knowing, nothing moves
        return AccountNotice(
            key=key,
            account=account,
            occurred_at=at,
            what="customer_identity",
            data={"message_id": message.id},
        )
    if kind not in ("user_changed_number", "customer_changed_number", "user_changed_user_id"):
        raise UnknownType(f"system:{kind}")
    new_phone = system.wa_id or system.new_wa_id
    old = _ids(message.from_user_id, message.from_parent_user_id, message.from_)
    new = _ids(system.user_id, system.parent_user_id, new_phone)
    if not old or not new:
        raise Unreadable(f"a {kind} that does not say from what to what")
    return IdentityChanged(key=key, account=account, occurred_at=at, old=old, new=new)


def _edited(
    message: Message,
    key: str,
    account: str,
    at: int,
    person: Person | None,
    origin: Origin,
    value_errors: list[Error],
) -> PlatformEvent:
    if message.edit is None:
        raise Unreadable("an edit without edit")
    inner = payloads.message.decode(message.edit.message)
    return MessageEdited(
        key=key,
        account=account,
        occurred_at=at,
        person=person,
        origin=origin,
        external_id=message.edit.original_message_id,
        content=content_of(inner, value_errors),
    )


def _revoked(message: Message, key: str, account: str, at: int, origin: Origin) -> PlatformEvent:
    if message.revoke is None:
        raise Unreadable("a revoke without revoke")
    return MessageDeleted(
        key=key,
        account=account,
        occurred_at=at,
        origin=origin,
        external_ids=(message.revoke.original_message_id,),
    )


def _status(raw: Raw, account: str) -> PlatformEvent:
    try:
        status = payloads.status.decode(raw)
        return _delivery(status, raw, account)
    except _UNREADABLE as error:
        return _malformed("status", raw, error, account=account)


def _delivery(status: Status, raw: Raw, account: str) -> PlatformEvent:
    known = _STATUSES.get(status.status)
    key = f"status:{status.id}:{status.status}"
    participant = ""
    if status.recipient_type == "group":  # one status for each member
        participant = status.recipient_participant_user_id or status.recipient_participant_id or ""
        key = f"{key}:{participant}"
    if known is None:
        return Unrecognised(
            key=key,
            account=account,
            occurred_at=_milliseconds(status.timestamp),
            what=f"status:{status.status}",
            raw=_raw_text(raw),
        )
    reason = code = detail = ""
    if known is MessageStatus.failed:
        reason, code, detail = _failure(status.errors)
    return DeliveryStatus(
        key=key,
        account=account,
        occurred_at=_milliseconds(status.timestamp),
        external_id=status.id,
        status=known,
        message_id=_own_id(status.biz_opaque_callback_data),
        reason=reason,
        code=code,
        detail=detail,
        address=participant or phone_of(status.recipient_id) or status.recipient_user_id or "",
        pricing=_pricing(status),
    )


def _failure(found: list[Error] | None) -> tuple[str, str, str]:
    """Reason, vendor code and explanation of a failed status."""
    code = _integer(found[0].code) if found else None
    if not found or code is None:
        return str(SendFailure.unavailable), "", ""
    return str(errors.meaning(code).reason), str(code), errors.redacted(explanation(found[0]))


def _own_id(text: str | None) -> int:
    """Our message id that we gave along with the send; 0 when it is not from us."""
    if not text:
        return 0
    try:
        return ids.from_text("message", text)
    except RejectedInput:
        return 0  # another program sends from this number too


def _pricing(status: Status) -> dict[str, str | int]:
    """What Meta charges, and until when a free entry point lasts (ms)."""
    told: dict[str, str | int] = {}
    pricing, conversation = status.pricing, status.conversation
    if pricing is not None:
        if pricing.category:
            told["category"] = pricing.category
        if pricing.type:
            told["type"] = pricing.type
        if pricing.pricing_model:
            told["model"] = pricing.pricing_model
    if conversation is not None and conversation.origin and conversation.origin.type == "referral_conversion":
        told["free_until"] = _milliseconds(conversation.expiration_timestamp)
    return told


def _error(raw: Raw, account: str, *, severity: str) -> PlatformEvent:
    """An error of the number itself, or one that says why a message came without its content."""
    try:
        error = payloads.error.decode(raw)
    except _UNREADABLE as problem:
        return _malformed("error", raw, problem, account=account)
    code = _integer(error.code)
    return AccountNotice(
        key=_raw_key(raw),
        account=account,
        what="error",
        data={"code": code or 0, "detail": errors.redacted(explanation(error))},
        severity=severity,
    )


# --- the owner's own phone, preferences, identities -----------------------------------------------------------------


def _echoes(value: Value) -> Iterator[PlatformEvent]:
    """What the owner wrote in the WhatsApp Business app, on a number used by both."""
    account = _number(value)
    contacts, value_errors = _contacts(value), _errors(value)
    for raw in value.message_echoes or ():
        try:
            message = payloads.message.decode(raw)
            yield _echo(message, account, value.metadata.display_phone_number, contacts, value_errors)
        except UnknownType as unknown:
            yield Unrecognised(
                key=f"msg:{message.id}", account=account, what=f"echo:{unknown}", raw=_raw_text(raw)
            )
        except _UNREADABLE as error:
            yield _malformed("echo", raw, error, account=account)


def _echo(
    message: Message, account: str, our_number: str | None, contacts: list[Contact], value_errors: list[Error]
) -> PlatformEvent:
    if not message.id:
        raise Unreadable("an echo without an id")
    # Meta's own samples of edits and revokes name the person as the sender
    turned = our_number is not None and message.to == our_number
    phone = message.from_ if turned else message.to
    user_id = message.from_user_id if turned else message.to_user_id
    parent = message.from_parent_user_id if turned else message.to_parent_user_id
    person = _person(user_id, parent, phone, contacts)
    origin = Origin(Place.private, _address(person))
    key, at = f"msg:{message.id}", _milliseconds(message.timestamp)
    if message.type == "edit":
        return _edited(message, key, account, at, None, origin, value_errors)
    if message.type == "revoke":
        return _revoked(message, key, account, at, origin)
    content = content_of(message, value_errors)
    return Echo(
        key=key, account=account, occurred_at=at, person=person, external_id=message.id, content=content
    )


def _preferences(value: Value) -> Iterator[PlatformEvent]:
    account = _number(value)
    for raw in value.user_preferences or ():
        try:
            told = payloads.user_preference.decode(raw)
            at = _milliseconds(told.timestamp)
            if told.category != "marketing_messages" or told.value not in ("stop", "resume", "signup"):
                yield Unrecognised(
                    key=_raw_key(raw),
                    account=account,
                    occurred_at=at,
                    what=f"user_preferences:{told.category}:{told.value}",
                    raw=_raw_text(raw),
                )
                continue
            yield Preference(
                key=_raw_key(raw),
                account=account,
                occurred_at=at,
                person=_person(told.user_id, told.parent_user_id, told.wa_id, _contacts(value)),
                wanted=told.value != "stop",
                detail=told.detail or told.value,
            )
        except _UNREADABLE as error:
            yield _malformed("user_preference", raw, error, account=account)


def _user_ids(entry: Entry, change: Change) -> Iterator[PlatformEvent]:
    """`user_id_update`: one change, or a list of them under the field's own name."""
    account = _account(entry)
    for raw in _listed(change.value, "user_id_update"):
        try:
            told = payloads.user_id_update.decode(raw)
            parent = told.parent_user_id
            yield IdentityChanged(
                key=_hash_key(change.field, entry, raw),
                account=account,
                occurred_at=_milliseconds(told.timestamp or entry.time),
                old=_ids(told.user_id.previous, parent.previous if parent else None, None),
                new=_ids(told.user_id.current, parent.current if parent else None, told.wa_id),
            )
        except _UNREADABLE as error:
            yield _malformed(change.field, raw, error, account=account)


def _listed(value: Raw, name: str) -> list[Raw]:
    members = msgspec.json.decode(value, type=dict[str, Raw])
    return payloads.user_id_updates.decode(members[name]) if name in members else [value]


def _notice(entry: Entry, change: Change) -> PlatformEvent:
    found = FIELDS[change.field]
    data = plain(msgspec.json.decode(change.value, type=dict[str, object]))
    severity, stops = found.gravity(data)
    return AccountNotice(
        key=_hash_key(change.field, entry, change.value),
        account=_account(entry),
        occurred_at=_milliseconds(entry.time),
        what=found.what,
        data=data,
        severity=severity,
        stops_channel=stops,
    )


# --- people ---------------------------------------------------------------------------------------------------------


def _contacts(value: Value) -> list[Contact]:
    """The readable ones: a broken profile costs the name, not the message."""
    found = []
    for raw in value.contacts or ():
        try:
            found.append(payloads.contact.decode(raw))
        except _UNREADABLE:
            continue
    return found


def _errors(value: Value) -> list[Error]:
    found = []
    for raw in value.errors or ():
        try:
            found.append(payloads.error.decode(raw))
        except _UNREADABLE:
            continue
    return found


def _sender(message: Message, contacts: list[Contact]) -> Person:
    return _person(message.from_user_id, message.from_parent_user_id, message.from_, contacts)


def _person(user_id: str | None, parent: str | None, phone: str | None, contacts: list[Contact]) -> Person:
    """A person by what the item says, completed by the contact that comes with it."""
    name, username = "", None
    contact = _contact_of(user_id, phone, contacts)
    if contact is not None:
        user_id = user_id or contact.user_id
        parent = parent or contact.parent_user_id
        phone = phone or contact.wa_id
        if contact.profile is not None:
            name, username = contact.profile.name or "", contact.profile.username
            username = username.removeprefix("@") if username else None
    known = _ids(user_id, parent, phone)
    if not known:
        raise Unreadable("nothing says who it is from")
    first, _, last = name.strip().partition(" ")  # WhatsApp knows one name only
    return Person(
        ids=known, first_name=first, last_name=last.strip(), username=username, phone=phone_of(phone)
    )


def _contact_of(user_id: str | None, phone: str | None, contacts: list[Contact]) -> Contact | None:
    """The contact that says nothing against the item's own ids."""
    for contact in contacts:
        if user_id and contact.user_id:
            if user_id == contact.user_id:
                return contact
        elif phone and contact.wa_id:
            if phone == contact.wa_id:
                return contact
        elif len(contacts) == 1:
            return contact
    return None


def _ids(user_id: str | None, parent: str | None, phone: str | None) -> tuple[ExternalId, ...]:
    found = []
    if user_id:
        found.append(ExternalId("wa_bsuid", user_id))
    if parent:
        found.append(ExternalId("wa_parent_bsuid", parent))
    if phone:
        found.append(ExternalId("wa_phone", phone))
    return tuple(found)


def _origin(message: Message, person: Person) -> Origin:
    if message.group_id:
        return Origin(Place.group, GROUP + message.group_id)
    return Origin(Place.private, _address(person))


def _address(person: Person) -> str:
    return person.phone or person.ids[0].value


# --- small readings -------------------------------------------------------------------------------------------------


def _milliseconds(told: int | str | None) -> int:
    """Seconds since 1970, as text or number, in milliseconds; 0 when there is no sensible time."""
    seconds = _integer(told)
    if seconds is None or seconds < 0:
        return 0
    if seconds >= 1_000_000_000_000:  # a few of Meta's senders give milliseconds
        return seconds if seconds < 10_000_000_000_000 else 0
    return seconds * 1000 if seconds < 10_000_000_000 else 0


def _integer(told: int | str | None) -> int | None:
    if isinstance(told, str):
        return int(told) if told.isascii() and told.isdigit() and len(told) < 19 else None
    return told if told is not None and abs(told) <= MAX_INTEGER else None


def _malformed(what: str, raw: Raw | bytes, error: Exception, *, account: str = "") -> Unrecognised:
    return Unrecognised(
        key=_raw_key(raw),
        account=account,
        what=what,
        raw=_raw_text(raw),
        problem=str(error)[:500],
        malformed=True,
    )


def _raw_text(raw: Raw | bytes) -> str:
    return bytes(raw)[:MAX_RAW].decode("utf-8", "ignore")


def _raw_key(raw: Raw | bytes) -> str:
    return "raw:" + hashlib.sha256(raw).hexdigest()[:32]


def _hash_key(field: str, entry: Entry, raw: Raw) -> str:
    """Account fields have no id of their own: the same field, account, time and value is the same event."""
    digest = hashlib.sha256(f"{entry.id}|{field}|{entry.time}|".encode())
    digest.update(raw)
    return "account:" + digest.hexdigest()[:32]
