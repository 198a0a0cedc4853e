"""The shapes of WhatsApp webhooks, as tolerant as Meta is loose: only what we read, and every key optional.

Lists of items are kept as raw slices (`Raw`), so that each item is read alone: one that cannot be read never costs
its neighbours, and its own bytes can be shown to a person unchanged. Unknown keys are ignored.
Shapes: https://developers.facebook.com/docs/whatsapp/cloud-api/webhooks/reference
"""

from __future__ import annotations

from typing import Any

import msgspec
from msgspec import Raw, Struct

Number = int | str | None  # timestamps come as text in messages and as numbers in account fields


class Body(Struct, gc=False):
    entry: list[Raw] = []
    object: str | None = None


class Entry(Struct, gc=False):
    changes: list[Raw] = []
    id: int | str | None = None  # business account
    time: Number = None


class Change(Struct, gc=False):
    field: str
    value: Raw


class Metadata(Struct, frozen=True, gc=False):
    display_phone_number: str | None = None
    phone_number_id: int | str | None = None


class Value(Struct, gc=False):
    """What a change of a number-level field holds; each list item is decoded on its own."""

    metadata: Metadata = Metadata()
    contacts: list[Raw] | None = None
    messages: list[Raw] | None = None
    statuses: list[Raw] | None = None
    errors: list[Raw] | None = None
    message_echoes: list[Raw] | None = None
    user_preferences: list[Raw] | None = None


class Profile(Struct, gc=False):
    name: str | None = None
    username: str | None = None


class Contact(Struct, gc=False):
    """Who wrote. `wa_id` is absent for people who took a username."""

    profile: Profile | None = None
    wa_id: str | None = None
    user_id: str | None = None
    parent_user_id: str | None = None


class ErrorData(Struct, gc=False):
    details: str | None = None


class Error(Struct, gc=False):
    code: Number = None
    title: str | None = None
    message: str | None = None
    error_data: ErrorData | None = None


class TextBody(Struct, gc=False):
    body: str


class MediaBody(Struct, gc=False):
    id: str
    mime_type: str | None = None
    sha256: str | None = None
    caption: str | None = None
    filename: str | None = None
    url: str | None = None
    voice: bool | None = None


class LocationBody(Struct, gc=False):
    latitude: float
    longitude: float
    name: str | None = None
    address: str | None = None


class CardName(Struct, gc=False):
    formatted_name: str | None = None
    first_name: str | None = None
    last_name: str | None = None


class CardPhone(Struct, gc=False):
    phone: str | None = None
    wa_id: str | None = None


class CardEmail(Struct, gc=False):
    email: str | None = None


class Card(Struct, gc=False):
    name: CardName | None = None
    phones: list[CardPhone] | None = None
    emails: list[CardEmail] | None = None
    origin: str | None = None


class Choice(Struct, gc=False):
    id: str
    title: str | None = None


class FormReply(Struct, gc=False):
    response_json: str
    name: str | None = None
    body: str | None = None


class CallPermission(Struct, gc=False):
    response: str | None = None


class Interactive(Struct, gc=False):
    type: str
    button_reply: Choice | None = None
    list_reply: Choice | None = None
    nfm_reply: FormReply | None = None
    call_permission_reply: CallPermission | None = None


class TemplateButton(Struct, gc=False):
    text: str | None = None
    payload: str | None = None


class ReactionBody(Struct, gc=False):
    message_id: str
    emoji: str | None = None


class Order(Struct, gc=False):
    catalog_id: str | None = None
    text: str | None = None
    product_items: list[Any] | None = None


class System(Struct, gc=False):
    type: str | None = None
    body: str | None = None
    wa_id: str | None = None
    new_wa_id: str | None = None  # older deliveries
    user_id: str | None = None
    parent_user_id: str | None = None


class Unsupported(Struct, gc=False):
    type: str | None = None


class Edit(Struct, gc=False):
    original_message_id: str
    message: Raw


class Revoke(Struct, gc=False):
    original_message_id: str


class Context(Struct, gc=False):
    id: str | None = None
    forwarded: bool | None = None
    frequently_forwarded: bool | None = None


class ReferralBody(Struct, gc=False):
    source_type: str | None = None
    source_id: str | None = None
    source_url: str | None = None
    headline: str | None = None
    ctwa_clid: str | None = None


class Message(Struct, gc=False):
    """One item of `messages` or `message_echoes`: `type` names the key that holds its payload."""

    type: str
    id: str | None = None
    timestamp: Number = None
    from_: str | None = msgspec.field(name="from", default=None)
    from_user_id: str | None = None
    from_parent_user_id: str | None = None
    to: str | None = None
    to_user_id: str | None = None
    to_parent_user_id: str | None = None
    group_id: str | None = None
    context: Context | None = None
    referral: ReferralBody | None = None
    errors: list[Error] | None = None
    text: TextBody | None = None
    image: MediaBody | None = None
    video: MediaBody | None = None
    audio: MediaBody | None = None
    voice: MediaBody | None = None
    document: MediaBody | None = None
    sticker: MediaBody | None = None
    location: LocationBody | None = None
    contacts: list[Card] | None = None
    interactive: Interactive | None = None
    button: TemplateButton | None = None
    reaction: ReactionBody | None = None
    order: Order | None = None
    system: System | None = None
    unsupported: Unsupported | None = None
    edit: Edit | None = None
    revoke: Revoke | None = None


class ConversationOrigin(Struct, gc=False):
    type: str | None = None


class Conversation(Struct, gc=False):
    expiration_timestamp: Number = None
    origin: ConversationOrigin | None = None


class Pricing(Struct, gc=False):
    pricing_model: str | None = None
    type: str | None = None
    category: str | None = None


class Status(Struct, gc=False):
    """One item of `statuses`. `recipient_id` is absent for a person known by user id alone."""

    id: str
    status: str
    timestamp: Number = None
    recipient_id: str | None = None
    recipient_user_id: str | None = None
    recipient_type: str | None = None
    recipient_participant_id: str | None = None
    recipient_participant_user_id: str | None = None
    biz_opaque_callback_data: str | None = None
    conversation: Conversation | None = None
    pricing: Pricing | None = None
    errors: list[Error] | None = None


class UserPreference(Struct, gc=False):
    value: str
    category: str | None = None
    wa_id: str | None = None
    user_id: str | None = None
    parent_user_id: str | None = None
    detail: str | None = None
    timestamp: Number = None


class IdChange(Struct, gc=False):
    previous: str
    current: str


class UserIdUpdate(Struct, gc=False):
    user_id: IdChange
    parent_user_id: IdChange | None = None
    wa_id: str | None = None
    timestamp: Number = None


body = msgspec.json.Decoder(Body)
entry = msgspec.json.Decoder(Entry)
change = msgspec.json.Decoder(Change)
value = msgspec.json.Decoder(Value)
contact = msgspec.json.Decoder(Contact)
message = msgspec.json.Decoder(Message)
status = msgspec.json.Decoder(Status)
error = msgspec.json.Decoder(Error)
user_preference = msgspec.json.Decoder(UserPreference)
user_id_update = msgspec.json.Decoder(UserIdUpdate)
user_id_updates = msgspec.json.Decoder(list[Raw])
