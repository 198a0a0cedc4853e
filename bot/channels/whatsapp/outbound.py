"""Content -> calls of `POST /{phone number id}/messages`, and what the answers mean. Pure.

Choices degrade by rule: up to 3 answers with titles of at most 20 characters are buttons; up to 10 of at most 24 are
a list; anything else is numbered text, to be answered with the number. A single link is a link button; several, or
links beside answers, stand as lines in the text. A caption that WhatsApp cannot hold follows as a text of its own.
Nothing is ever cut: what cannot be shown is refused with the reason, before it is sent.

Payload of a text: {"messaging_product": "whatsapp", "recipient_type": "individual", "to": "+15550100",
"type": "text", "text": {"body": "Ciao"}, "biz_opaque_callback_data": "msg_…"}
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import Any

import msgspec
from msgspec import Struct

from bot.channels import markup
from bot.channels.base import ApiCall, MediaNeed, Receipt
from bot.channels.whatsapp import errors, limits
from bot.channels.whatsapp.inbound import GROUP
from domain import ids
from domain.errors import SendError, SendFailure
from domain.messages import (
    Album,
    Button,
    ContactCard,
    ContactRequest,
    Content,
    Ephemeral,
    LocationContent,
    LocationRequest,
    Media,
    MediaKind,
    MediaSource,
    Poll,
    Reaction,
    ReadAndTyping,
    Template,
    TemplateParameter,
    Text,
)

Payload = dict[str, Any]
MESSAGES = "messages"  # the one method that sends

_PHONE = re.compile(r"\+?[0-9]{5,15}")
_USER_ID = re.compile(r"[A-Z]{2}\.(?:ENT\.)?[A-Za-z0-9]{1,128}")
_TEMPLATE_NAME = re.compile(r"[a-z0-9_]{1,512}")
_BAD_VALUE = re.compile(r"[\n\r\t]| {5,}")  # 132008
_BUTTON_KINDS = {"quick_reply": "payload", "url": "text", "copy_code": "coupon_code"}

_OPENER = {"it": "Scegli", "en": "Choose"}
_ASK = {"it": "Scegli un'opzione:", "en": "Choose an option:"}
_HINT = {"it": "Rispondi con il numero.", "en": "Reply with the number."}

# What WhatsApp calls each kind of file; a file whose type does not fit its kind goes out as `_FALLBACK`.
_WIRE_KIND = {
    MediaKind.image: "image",
    MediaKind.video: "video",
    MediaKind.animation: "video",
    MediaKind.video_note: "video",
    MediaKind.audio: "audio",
    MediaKind.voice: "audio",
    MediaKind.document: "document",
    MediaKind.sticker: "sticker",
}
_FALLBACK = {MediaKind.voice: MediaKind.audio, MediaKind.sticker: MediaKind.image}
_HEADER_KINDS = ("image", "video", "document")


# --- rendering ------------------------------------------------------------------------------------------------------


def render(
    content: Content,
    *,
    address: str,
    own_id: int = 0,
    language: str = "en",
) -> list[ApiCall]:
    """The calls for one message, in order. Raises SendError(rejected | media_invalid | template_invalid)."""
    envelope = _envelope(address, own_id)
    calls = _calls(content, language)
    if isinstance(content, Template) and content.category == "authentication" and "to" not in envelope:
        raise SendError(
            SendFailure.rejected, "an authentication template needs a phone number", code="131062"
        )
    reply_to = getattr(content, "reply_to", None)
    context = {"context": {"message_id": reply_to}} if reply_to else {}
    return [
        ApiCall(method=MESSAGES, payload={**envelope, **context, **part}, needs_media=needs)
        for part, needs in calls
    ]


def render_ephemeral(ephemeral: Ephemeral) -> ApiCall | None:
    """Read mark and typing are one call about a message of theirs; WhatsApp has no other ephemerals."""
    if not isinstance(ephemeral, ReadAndTyping) or ephemeral.message_external_id is None:
        return None
    payload: Payload = {
        "messaging_product": "whatsapp",
        "status": "read",
        "message_id": ephemeral.message_external_id,
    }
    if ephemeral.typing:
        payload["typing_indicator"] = {"type": "text"}
    return ApiCall(method=MESSAGES, payload=payload, idempotent=True)


def _envelope(address: str, own_id: int) -> Payload:
    payload: Payload = {"messaging_product": "whatsapp", "recipient_type": "individual"}
    if _PHONE.fullmatch(address):  # without + Meta would put our own country code before it
        payload["to"] = address if address.startswith("+") else f"+{address}"
    elif address.startswith(GROUP):
        payload["recipient_type"] = "group"
        payload["to"] = address.removeprefix(GROUP)
    elif _USER_ID.fullmatch(address):
        payload["recipient"] = address
    else:
        raise SendError(SendFailure.rejected, "the address is neither a phone number nor a WhatsApp user id")
    if own_id:
        payload["biz_opaque_callback_data"] = ids.to_text("message", own_id)
    return payload


_Part = tuple[Payload, tuple[MediaNeed, ...]]  # what one call says, and the files that it needs


def _calls(content: Content, language: str) -> list[_Part]:
    match content:
        case Text(buttons=()):
            return [_text(_shown(content.text, content.markup), preview=content.preview_links)]
        case Text():
            return _with_choices(
                _shown(content.text, content.markup), content.buttons, language, opener=content.list_title
            )
        case Media():
            return _media(content, language)
        case Album(items=items):
            if not 2 <= len(items) <= 10:
                raise _rejected(f"an album has 2 to 10 files, this one {len(items)}")
            return [part for item in items for part in _media(item, language)]
        case LocationContent():
            return [_location(content)]
        case ContactCard():
            return [_card(content)]
        case ContactRequest():
            text = _shown(content.text, content.markup)
            return [_interactive("contact_request", text, {"name": "request_contact_info"})]
        case LocationRequest():
            text = _shown(content.text, content.markup)
            return [_interactive("location_request_message", text, {"name": "send_location"})]
        case Poll(question=question, options=options):
            choices = tuple(Button(str(position), title) for position, title in enumerate(options, start=1))
            return _with_choices(_shown(question, False), choices, language, opener=None)
        case Template():
            return [_template(content)]
        case Reaction(message_external_id=message_id, emoji=emoji):
            return [({"type": "reaction", "reaction": {"message_id": message_id, "emoji": emoji}}, ())]


def _shown(text: str, has_markup: bool) -> str:
    return markup.to_marks(text) if has_markup else markup.literal_marks(text)


def _rejected(why: str) -> SendError:
    return SendError(SendFailure.rejected, why)


def _fits(what: str, text: str, limit: int) -> str:
    if not text:
        raise _rejected(f"{what} is empty")
    if len(text) > limit:
        raise _rejected(f"{what} has {len(text)} characters; WhatsApp takes {limit}")
    return text


def _text(body: str, *, preview: bool = True) -> _Part:
    text: Payload = {"body": _fits("the text", body, limits.TEXT)}
    if preview and "http" in body:
        text["preview_url"] = True
    return {"type": "text", "text": text}, ()


def _interactive(
    kind: str,
    text: str,
    action: Payload,
    *,
    header: Payload | None = None,
    limit: int = limits.INTERACTIVE_TEXT,
) -> _Part:
    body: Payload = {"type": kind}
    if header is not None:
        body["header"] = header
    body["body"] = {"text": _fits("the text", text, limit)}
    body["action"] = action
    return {"type": "interactive", "interactive": body}, ()


# --- choices --------------------------------------------------------------------------------------------------------


def _with_choices(text: str, choices: Sequence[Button], language: str, *, opener: str | None) -> list[_Part]:
    """Text with choices in the best form that holds them all; links as a button where one stands alone."""
    answers = [choice for choice in choices if choice.url is None]
    links = [choice for choice in choices if choice.url is not None]
    if links:
        if not answers and _as_link(links, text):
            return [_link(links[0], text)]
        text = _below(text, [f"{link.title}: {link.url}" for link in links])
        if not answers:
            return [_text(text)]
    _distinct(answers)
    if _as_buttons(answers, text):
        return [_interactive("button", text, {"buttons": _buttons(answers)})]
    if _as_list(answers):
        return [_list(text, answers, language, opener)]
    return [_text(_numbered(text, answers, language))]


def _distinct(answers: Sequence[Button]) -> None:
    if len({answer.id for answer in answers}) < len(answers):
        raise _rejected("two choices have the same id")
    for answer in answers:
        if not answer.id or not answer.title:
            raise _rejected("a choice has no id or no title")


def _as_link(links: Sequence[Button], text: str) -> bool:
    return (
        len(links) == 1
        and len(links[0].title) <= limits.LINK_TITLE
        and 0 < len(text) <= limits.INTERACTIVE_TEXT
    )


def _link(link: Button, text: str, header: Payload | None = None) -> _Part:
    parameters = {"display_text": link.title, "url": link.url}
    return _interactive("cta_url", text, {"name": "cta_url", "parameters": parameters}, header=header)


def _as_buttons(answers: Sequence[Button], text: str) -> bool:
    limit = limits.BUTTONS
    return (
        len(answers) <= limit.count
        and len(text) <= limits.INTERACTIVE_TEXT
        and all(len(a.title) <= limit.title_length and len(a.id.encode()) <= limit.id_bytes for a in answers)
        and len({a.title for a in answers}) == len(answers)  # WhatsApp refuses two buttons that read the same
        and not any(a.description for a in answers)  # only a list has room for it
    )


def _buttons(answers: Sequence[Button]) -> list[Payload]:
    return [{"type": "reply", "reply": {"id": answer.id, "title": answer.title}} for answer in answers]


def _as_list(answers: Sequence[Button]) -> bool:
    limit = limits.ROWS
    return len(answers) <= limit.rows and all(
        len(a.title) <= limit.title_length
        and len(a.description or "") <= limit.description_length
        and len(a.id.encode()) <= limit.id_bytes
        for a in answers
    )


def _list(text: str, answers: Sequence[Button], language: str, opener: str | None) -> _Part:
    rows: list[Payload] = []
    for answer in answers:
        row = {"id": answer.id, "title": answer.title}
        if answer.description:
            row["description"] = answer.description
        rows.append(row)
    label = opener or _in(_OPENER, language)
    if len(label) > limits.ROWS.opener_length:
        raise _rejected(
            f"the list's opener has {len(label)} characters; WhatsApp takes {limits.ROWS.opener_length}"
        )
    return _interactive("list", text, {"button": label, "sections": [{"rows": rows}]}, limit=limits.TEXT)


def _numbered(text: str, answers: Sequence[Button], language: str) -> str:
    lines = [
        f"{number}. {answer.title}" + (f" – {answer.description}" if answer.description else "")
        for number, answer in enumerate(answers, start=1)
    ]
    return _below(text, [*lines, "", _in(_HINT, language)])


def _below(text: str, lines: Sequence[str]) -> str:
    return "\n".join([text, "", *lines] if text else lines)


def _in(texts: dict[str, str], language: str) -> str:
    return texts["it" if language.startswith("it") else "en"]


# --- files ----------------------------------------------------------------------------------------------------------


def _media(media: Media, language: str) -> list[_Part]:
    """One call where WhatsApp can; otherwise the file first, then its caption or choices as a text."""
    kind = _fitting_kind(media.media, media.source)
    caption = _shown(media.caption, media.markup)
    if media.buttons:
        joined = _media_with_choices(media, kind, caption)
        if joined is not None:
            return [joined]
        text = caption or _in(_ASK, language)
        return [_file(kind, media.source), *_with_choices(text, media.buttons, language, opener=None)]
    if not caption or (limits.MEDIA[kind].caption and len(caption) <= limits.CAPTION):
        return [_file(kind, media.source, caption)]
    return [_file(kind, media.source), _text(caption)]


def _fitting_kind(kind: MediaKind, source: MediaSource) -> MediaKind:
    """The kind itself, or, when we know that the file's type does not fit it, the next that takes it."""
    mime = (source.mime or "").partition(";")[0].strip().lower()
    while mime and limits.MEDIA[kind].mimes and mime not in limits.MEDIA[kind].mimes:
        kind = _FALLBACK.get(kind, MediaKind.document)
    return kind


def _file(kind: MediaKind, source: MediaSource, caption: str = "") -> _Part:
    wire = _WIRE_KIND[kind]
    part = _source(source, wire)
    if caption:
        part["caption"] = caption
    if kind is MediaKind.voice:
        part["voice"] = True
    return {"type": wire, wire: part}, _needs(source, part, kind, wire)


def _media_with_choices(media: Media, kind: MediaKind, caption: str) -> _Part | None:
    """File, text and choices as one message, where WhatsApp has such a thing."""
    wire = _WIRE_KIND[kind]
    answers = [choice for choice in media.buttons if choice.url is None]
    links = [choice for choice in media.buttons if choice.url is not None]
    _distinct(answers)
    if wire not in _HEADER_KINDS or not caption:
        return None
    part = _source(media.source, wire)
    header = {"type": wire, wire: part}
    if not answers and _as_link(links, caption):
        payload, _ = _link(links[0], caption, header)
    elif not links and _as_buttons(answers, caption):
        payload, _ = _interactive("button", caption, {"buttons": _buttons(answers)}, header=header)
    else:
        return None
    return payload, _needs(media.source, part, kind, f"interactive.header.{wire}")


def _source(source: MediaSource, wire: str) -> Payload:
    """How the file is named in the payload; for a stored file of ours, the client adds the id later."""
    part: Payload = {}
    if source.platform_id:
        part["id"] = source.platform_id
    elif source.url:
        if not source.url.startswith(("https://", "http://")):
            raise SendError(SendFailure.media_invalid, "the file's address is not an http address")
        part["link"] = source.url
    elif source.media_id is None:
        raise SendError(SendFailure.media_invalid, "nothing says where the file is")
    if wire == "document" and source.filename:
        part["filename"] = source.filename
    return part


def _needs(source: MediaSource, part: Payload, kind: MediaKind, slot: str) -> tuple[MediaNeed, ...]:
    if source.media_id is None or "id" in part or "link" in part:
        return ()
    return (MediaNeed(source.media_id, slot, kind, filename=source.filename, mime=source.mime),)


# --- places, cards, templates ---------------------------------------------------------------------------------------


def _location(place: LocationContent) -> _Part:
    if not (-90 <= place.latitude <= 90 and -180 <= place.longitude <= 180):
        raise _rejected("the place lies outside the globe")
    part: Payload = {"latitude": place.latitude, "longitude": place.longitude}
    if place.name:
        part["name"] = place.name
    if place.address:
        part["address"] = place.address
    return {"type": "location", "location": part}, ()


def _card(card: ContactCard) -> _Part:
    if not card.name:
        raise _rejected("the card has no name")
    contact: Payload = {
        # WhatsApp wants one part of the name beside the whole
        "name": {
            "formatted_name": card.name,
            "first_name": card.name.split()[0] if card.name.split() else card.name,
        },
        "phones": [{"phone": card.phone, "type": "WORK" if card.company else "CELL"}],
    }
    digits = card.phone.removeprefix("+")
    if digits.isdigit():
        contact["phones"][0]["wa_id"] = digits  # so that a tap opens a chat
    if card.email:
        contact["emails"] = [{"email": card.email, "type": "WORK"}]
    if card.company:
        contact["org"] = {"company": card.company}
    return {"type": "contacts", "contacts": [contact]}, ()


def _template(template: Template) -> _Part:
    if not _TEMPLATE_NAME.fullmatch(template.name) or not template.language:
        raise SendError(SendFailure.template_invalid, "a template needs a name of a-z, 0-9, _ and a language")
    components: list[Payload] = []
    needs: tuple[MediaNeed, ...] = ()
    if template.header:
        if len(template.header) > 1:
            raise SendError(SendFailure.template_invalid, "a template's header takes one value")
        parameter, needs = _header(template.header[0])
        components.append({"type": "header", "parameters": [parameter]})
    if template.body:
        components.append({"type": "body", "parameters": [_value("body", value) for value in template.body]})
    components += [_template_button(index, value) for index, value in template.buttons.items()]
    body: Payload = {"name": template.name, "language": {"code": template.language}}
    if components:
        body["components"] = components
    return {"type": "template", "template": body}, needs


def _header(value: TemplateParameter) -> _Part:
    if value.media is None or value.source is None:
        return _value("header", value), ()
    wire = _WIRE_KIND[value.media]
    if wire not in _HEADER_KINDS:
        raise SendError(SendFailure.template_invalid, f"a template's header takes no {value.media}")
    part = _source(value.source, wire)
    slot = f"template.components.0.parameters.0.{wire}"
    return {"type": wire, wire: part}, _needs(value.source, part, value.media, slot)


def _value(where: str, value: TemplateParameter) -> Payload:
    text = value.text or ""
    named = f"{where} value {value.name}" if value.name else f"a {where} value"
    _fits(f"the template's {named}", text, limits.TEMPLATE_VALUE)
    if _BAD_VALUE.search(text):
        raise _rejected(f"the template's {named} has a line break, a tab or more than 4 blanks in a row")
    parameter: Payload = {"type": "text", "text": text}
    if value.name:
        parameter["parameter_name"] = value.name
    return parameter


def _template_button(index: str, value: TemplateParameter) -> Payload:
    kind = value.name or "quick_reply"
    if kind not in _BUTTON_KINDS or not index.isdigit():
        known = ", ".join(_BUTTON_KINDS)
        raise SendError(SendFailure.template_invalid, f"button {index}: not a position, or none of {known}")
    key = _BUTTON_KINDS[kind]
    text = _fits(f"the value of the template's button {index}", value.text or "", limits.TEMPLATE_VALUE)
    return {"type": "button", "sub_type": kind, "index": index, "parameters": [{"type": key, key: text}]}


# --- answers --------------------------------------------------------------------------------------------------------


class _Taken(Struct, gc=False):
    id: str
    message_status: str | None = None


class _Problem(Struct, gc=False):
    code: int | None = None
    message: str | None = None
    error_subcode: int | None = None
    error_data: Any = None  # an object, or in older answers a sentence


class _Answer(Struct, gc=False):
    messages: tuple[_Taken, ...] = ()
    contacts: Any = None  # what is odd in here must not hide that the message was taken
    success: bool | None = None
    error: _Problem | None = None


_answer = msgspec.json.Decoder(_Answer)


def explain(call: ApiCall, status: int, body: bytes) -> Receipt | SendError:
    """What an answer means: a receipt, or the error of the table in `errors.py`."""
    try:
        answer = _answer.decode(body)
    except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError):
        return errors.by_http_status(status, f"HTTP {status} without a readable answer")
    if answer.error is not None:
        return _refusal(status, answer.error)
    if status >= 300:
        return errors.by_http_status(status, f"HTTP {status} without an error code")
    if answer.messages:
        return Receipt(external_id=answer.messages[0].id, extra=_extra(answer))
    if answer.success:
        return Receipt()
    return SendError(SendFailure.unknown, "the answer names no message", code=f"http_{status}")


def _extra(answer: _Answer) -> dict[str, Any]:
    contacts = answer.contacts
    recipient = (
        contacts[0] if isinstance(contacts, list) and contacts and isinstance(contacts[0], dict) else {}
    )
    found = {
        "wa_id": recipient.get("wa_id"),
        "user_id": recipient.get("user_id"),
        "message_status": answer.messages[0].message_status,
    }
    return {name: value for name, value in found.items() if isinstance(value, str) and value}


def _refusal(status: int, problem: _Problem) -> SendError:
    data = problem.error_data
    details = data.get("details") if isinstance(data, dict) else data
    detail = errors.redacted(str(details or problem.message or ""))
    if problem.code is None:
        return errors.by_http_status(status, detail)
    return errors.send_error(problem.code, detail, subcode=problem.error_subcode, http_status=status)
