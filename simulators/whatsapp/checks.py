"""What the Cloud API accepts in the body of `POST /{phone number id}/messages`, and how it refuses the rest.

Pure functions: a body goes in, nothing or a `GraphError` comes out. A missing field is 131008, a field with a bad
value 131009, a wrong type or an unknown `type` 100; the details always name the field. Limits are those of
https://developers.facebook.com/docs/whatsapp/cloud-api/messages (text, interactive, media, contacts, location).
"""

from __future__ import annotations

import re
from collections.abc import Callable
from typing import Any

from simulators.whatsapp.errors import GraphError

TEXT_MAX = 4096
CAPTION_MAX = 1024
BUTTON_BODY_MAX = 1024
LIST_BODY_MAX = 4096
HEADER_TEXT_MAX = 60
FOOTER_MAX = 60
BUTTONS_MAX = 3
BUTTON_TITLE_MAX = 20
BUTTON_ID_MAX = 256
LIST_BUTTON_MAX = 20
SECTIONS_MAX = 10
SECTION_TITLE_MAX = 24
ROWS_MAX = 10
ROW_ID_MAX = 200
ROW_TITLE_MAX = 24
ROW_DESCRIPTION_MAX = 72
CONTACTS_MAX = 257
PRODUCTS_MAX = 30
CARDS_MIN, CARDS_MAX = 2, 10
CALLBACK_DATA_MAX = 512
FLOW_CTA_MAX = 30

MEDIA_TYPES = ("image", "video", "audio", "document", "sticker")
_BSUID = re.compile(r"[A-Z]{2}\.(ENT\.)?[A-Za-z0-9]{1,128}")
_PHONE = re.compile(r"\+?[0-9][0-9 ().\-]{4,24}")

Body = dict[str, Any]


def missing(field: str) -> GraphError:
    return GraphError(131008, f"Required parameter is missing: {field}")


def invalid(field: str, why: str) -> GraphError:
    return GraphError(131009, f"Parameter value is not valid: {field} {why}")


def wrong_type(field: str, expected: str) -> GraphError:
    return GraphError(100, f"Param {field} must be {expected}.", message="(#100) Invalid parameter")


def check_send(body: Body) -> str:
    """Checks everything that can be said without knowing the account; returns the message type.

    A body without `type` is a text message, as on the platform.
    """
    if body.get("messaging_product") != "whatsapp":
        raise GraphError(
            100,
            "messaging_product must be whatsapp" if "messaging_product" in body else "",
            message="(#100) The parameter messaging_product is required.",
        )
    _check_recipient(body)
    _check_callback_data(body)
    kind = body.get("type", "text")
    if not isinstance(kind, str):
        raise wrong_type("type", "a string")
    check = _CHECKS.get(kind)
    if check is None:
        raise GraphError(
            100,
            f'Param type must be one of {{{", ".join(sorted(_CHECKS)).upper()}}} - got "{kind}".',
            message="(#100) Invalid parameter",
        )
    part = body.get(kind)
    if part is None:
        raise missing(kind)
    _check_context(body)
    check(part)
    return kind


def check_read(body: Body) -> None:
    """`{"status": "read", "message_id", "typing_indicator"?}`."""
    if body.get("messaging_product") != "whatsapp":
        raise GraphError(100, message="(#100) The parameter messaging_product is required.")
    if body.get("status") != "read":
        raise invalid("status", "must be 'read'")
    if not isinstance(body.get("message_id"), str):
        raise missing("message_id")
    typing = body.get("typing_indicator")
    if typing is not None and (not isinstance(typing, dict) or typing.get("type") != "text"):
        raise invalid("typing_indicator", "type must be 'text'")


def digits(phone: str) -> str:
    return "".join(char for char in phone if char.isdigit())


def _check_recipient(body: Body) -> None:
    to, recipient = body.get("to"), body.get("recipient")
    if to is None and recipient is None:
        raise GraphError(100, message="(#100) The parameter to is required.")
    if body.get("recipient_type", "individual") not in ("individual", "group"):
        raise invalid("recipient_type", "must be 'individual' or 'group'")
    if to is not None:
        if not isinstance(to, str):
            raise wrong_type("to", "a string")
        if body.get("recipient_type") != "group" and not _PHONE.fullmatch(to):
            raise invalid("to", f"is not a phone number: {to!r}")
    elif not isinstance(recipient, str) or not _BSUID.fullmatch(recipient):
        raise invalid("recipient", "is not a business-scoped user ID")


def _check_callback_data(body: Body) -> None:
    data = body.get("biz_opaque_callback_data")
    if data is None:
        return
    if not isinstance(data, str):
        raise wrong_type("biz_opaque_callback_data", "a string")
    if len(data) > CALLBACK_DATA_MAX:
        raise _too_long("biz_opaque_callback_data", CALLBACK_DATA_MAX)


def _check_context(body: Body) -> None:
    context = body.get("context")
    if context is not None and not isinstance(_mapping(context, "context").get("message_id"), str):
        raise missing("context['message_id']")


def _too_long(field: str, limit: int) -> GraphError:
    return invalid(field, f"must be at most {limit} characters")


def _mapping(value: object, field: str) -> Body:
    if not isinstance(value, dict):
        raise wrong_type(field, "a JSON object")
    return value


def _items(value: object, field: str) -> list[Any]:
    if value is None:
        raise missing(field)
    if not isinstance(value, list):
        raise wrong_type(field, "an array")
    return value


def _string(part: Body, key: str, field: str, limit: int, *, required: bool = True) -> str:
    value = part.get(key)
    name = f"{field}['{key}']"
    if value is None or value == "":
        if required:
            raise missing(name)
        return ""
    if not isinstance(value, str):
        raise wrong_type(name, "a string")
    if len(value) > limit:
        raise _too_long(name, limit)
    return value


def _text(part: object) -> None:
    text = _mapping(part, "text")
    _string(text, "body", "text", TEXT_MAX)
    if not isinstance(text.get("preview_url", False), bool):
        raise wrong_type("text['preview_url']", "a boolean")


def _media(kind: str) -> Callable[[object], None]:
    captioned = kind not in ("audio", "sticker")

    def check(part: object) -> None:
        media = _mapping(part, kind)
        check_media_source(media, kind)
        if not captioned and "caption" in media:
            raise invalid(f"{kind}['caption']", f"is not supported for {kind}")
        _string(media, "caption", kind, CAPTION_MAX, required=False)

    return check


def check_media_source(media: Body, field: str) -> None:
    """A media part names exactly one of `id` and `link`."""
    if ("id" in media) == ("link" in media):
        raise missing(f"{field}['id'] or {field}['link']")
    if "id" in media:
        if not isinstance(media["id"], (str, int)) or isinstance(media["id"], bool):
            raise wrong_type(f"{field}['id']", "a string")
    elif not isinstance(media["link"], str) or not media["link"].startswith(("http://", "https://")):
        raise invalid(f"{field}['link']", "must be an http or https URL")


def _location(part: object) -> None:
    location = _mapping(part, "location")
    for key, bound in (("latitude", 90.0), ("longitude", 180.0)):
        value = location.get(key)
        if value is None:
            raise missing(f"location['{key}']")
        try:
            number = float(value)
        except (TypeError, ValueError):
            raise invalid(f"location['{key}']", "is not a number") from None
        if not -bound <= number <= bound:
            raise invalid(f"location['{key}']", f"must be between {-bound:g} and {bound:g}")


def _contacts(part: object) -> None:
    cards = _items(part, "contacts")
    if not cards or len(cards) > CONTACTS_MAX:
        raise invalid("contacts", f"must have 1 to {CONTACTS_MAX} elements")
    for index, card in enumerate(cards):
        field = f"contacts[{index}]"
        name = _mapping(card, field).get("name")
        if name is None:
            raise missing(f"{field}['name']")
        _string(_mapping(name, f"{field}['name']"), "formatted_name", f"{field}['name']", 1024)
        # The platform asks for formatted_name and at least one more part of the name.
        if not any(name.get(key) for key in ("first_name", "last_name", "middle_name", "prefix", "suffix")):
            raise missing(f"{field}['name']['first_name']")


def _reaction(part: object) -> None:
    reaction = _mapping(part, "reaction")
    _string(reaction, "message_id", "reaction", 1024)
    if not isinstance(reaction.get("emoji"), str):
        raise missing("reaction['emoji']")  # "" removes a reaction, but the key must be there
    if len(reaction["emoji"]) > 16:
        raise invalid("reaction['emoji']", "must be one emoji")


def _template(part: object) -> None:
    template = _mapping(part, "template")
    _string(template, "name", "template", 512)
    language = template.get("language")
    if language is None:
        raise missing("template['language']")
    _string(_mapping(language, "template['language']"), "code", "template['language']", 40)
    _template_components(template.get("components") or [], "template['components']")


def _template_components(components: object, field: str) -> None:
    """Only the shape; whether they fit the template is for `templates.fill` to say."""
    for index, component in enumerate(_items(components, field)):
        where = f"{field}[{index}]"
        parts = _mapping(component, where)
        for number, parameter in enumerate(_items(parts.get("parameters") or [], f"{where}['parameters']")):
            name = f"{where}['parameters'][{number}]"
            kind = _mapping(parameter, name).get("type")
            if kind in MEDIA_TYPES:  # a tuple: also fit for a kind that is no text at all
                check_media_source(_mapping(parameter.get(kind), f"{name}['{kind}']"), f"{name}['{kind}']")
        for number, card in enumerate(_items(parts.get("cards") or [], f"{where}['cards']")):
            name = f"{where}['cards'][{number}]"
            _template_components(_mapping(card, name).get("components") or [], f"{name}['components']")


def _interactive(part: object) -> None:
    interactive = _mapping(part, "interactive")
    kind = _string(interactive, "type", "interactive", 64)
    check = _INTERACTIVE.get(kind)
    if check is None:
        raise invalid("interactive['type']", f"must be one of {sorted(_INTERACTIVE)}, got {kind!r}")
    action = interactive.get("action")
    if action is None:
        raise missing("interactive['action']")
    _header(interactive, _MEDIA_HEADERS)
    _footer(interactive)
    check(interactive, _mapping(action, "interactive['action']"))


def _interactive_body(interactive: Body, limit: int, *, required: bool = True) -> None:
    body = interactive.get("body")
    if body is None:
        if required:
            raise missing("interactive['body']")
        return
    _string(_mapping(body, "interactive['body']"), "text", "interactive['body']", limit)


def _header(interactive: Body, allowed: tuple[str, ...]) -> None:
    header = interactive.get("header")
    if header is None:
        return
    field = "interactive['header']"
    kind = _string(_mapping(header, field), "type", field, 32)
    if kind not in allowed:
        raise invalid(f"{field}['type']", f"must be one of {list(allowed)}")
    if kind == "text":
        _string(header, "text", field, HEADER_TEXT_MAX)
        return
    media = header.get(kind)
    if media is None:
        raise missing(f"{field}['{kind}']")
    check_media_source(_mapping(media, f"{field}['{kind}']"), f"{field}['{kind}']")


def _footer(interactive: Body) -> None:
    footer = interactive.get("footer")
    if footer is not None:
        _string(_mapping(footer, "interactive['footer']"), "text", "interactive['footer']", FOOTER_MAX)


_MEDIA_HEADERS = ("text", "image", "video", "document")


def _buttons(interactive: Body, action: Body) -> None:
    _interactive_body(interactive, BUTTON_BODY_MAX)
    field = "interactive['action']['buttons']"
    buttons = _items(action.get("buttons"), field)
    if not 1 <= len(buttons) <= BUTTONS_MAX:
        raise invalid(field, f"must have 1 to {BUTTONS_MAX} buttons, got {len(buttons)}")
    check_reply_buttons(buttons, field, "reply")


def check_reply_buttons(buttons: list[Any], field: str, key: str) -> None:
    """Each button is `{"type": key, key: {"id", "title"}}`; ids and titles are unique."""
    ids: set[str] = set()
    titles: set[str] = set()
    for index, button in enumerate(buttons):
        where = f"{field}[{index}]"
        if _mapping(button, where).get("type") != key:
            raise invalid(f"{where}['type']", f"must be '{key}'")
        reply = button.get(key)
        if reply is None:
            raise missing(f"{where}['{key}']")
        reply = _mapping(reply, f"{where}['{key}']")
        identifier = _string(reply, "id", f"{where}['{key}']", BUTTON_ID_MAX)
        title = _string(reply, "title", f"{where}['{key}']", BUTTON_TITLE_MAX)
        if identifier in ids or title in titles:
            raise invalid(field, "ids and titles of buttons must be unique")
        ids.add(identifier)
        titles.add(title)


def _list(interactive: Body, action: Body) -> None:
    _interactive_body(interactive, LIST_BODY_MAX)
    _header(interactive, ("text",))
    _string(action, "button", "interactive['action']", LIST_BUTTON_MAX)
    field = "interactive['action']['sections']"
    sections = _items(action.get("sections"), field)
    if not 1 <= len(sections) <= SECTIONS_MAX:
        raise invalid(field, f"must have 1 to {SECTIONS_MAX} sections")
    ids: set[str] = set()
    for index, section in enumerate(sections):
        where = f"{field}[{index}]"
        _string(_mapping(section, where), "title", where, SECTION_TITLE_MAX, required=len(sections) > 1)
        _rows(_items(section.get("rows"), f"{where}['rows']"), f"{where}['rows']", ids)
    if len(ids) > ROWS_MAX:
        raise invalid(field, f"must have at most {ROWS_MAX} rows in total, got {len(ids)}")


def _rows(rows: list[Any], field: str, ids: set[str]) -> None:
    if not rows:
        raise invalid(field, "must have at least one row")
    for index, row in enumerate(rows):
        where = f"{field}[{index}]"
        identifier = _string(_mapping(row, where), "id", where, ROW_ID_MAX)
        _string(row, "title", where, ROW_TITLE_MAX)
        _string(row, "description", where, ROW_DESCRIPTION_MAX, required=False)
        if identifier in ids:
            raise invalid(f"{where}['id']", "is used twice")
        ids.add(identifier)


def _cta_url(interactive: Body, action: Body) -> None:
    _interactive_body(interactive, BUTTON_BODY_MAX)
    _check_cta(action, "interactive['action']")


def _check_cta(action: Body, field: str) -> None:
    if action.get("name") != "cta_url":
        raise invalid(f"{field}['name']", "must be 'cta_url'")
    parameters = _mapping(action.get("parameters"), f"{field}['parameters']")
    _string(parameters, "display_text", f"{field}['parameters']", BUTTON_TITLE_MAX)
    url = _string(parameters, "url", f"{field}['parameters']", 2000)
    if not url.startswith(("http://", "https://")):
        raise invalid(f"{field}['parameters']['url']", "must be an http or https URL")


def _named(name: str) -> Callable[[Body, Body], None]:
    def check(interactive: Body, action: Body) -> None:
        _interactive_body(interactive, BUTTON_BODY_MAX)
        if action.get("name") != name:
            raise invalid("interactive['action']['name']", f"must be '{name}'")

    return check


def _flow(interactive: Body, action: Body) -> None:
    _named("flow")(interactive, action)
    field = "interactive['action']['parameters']"
    parameters = _mapping(action.get("parameters"), field)
    _string(parameters, "flow_message_version", field, 8)
    _string(parameters, "flow_cta", field, FLOW_CTA_MAX)
    if ("flow_id" in parameters) == ("flow_name" in parameters):
        raise missing(f"{field}['flow_id'] or {field}['flow_name']")


def _product(interactive: Body, action: Body) -> None:
    _interactive_body(interactive, BUTTON_BODY_MAX, required=False)
    _string(action, "catalog_id", "interactive['action']", 256)
    _string(action, "product_retailer_id", "interactive['action']", 256)


def _product_list(interactive: Body, action: Body) -> None:
    _interactive_body(interactive, BUTTON_BODY_MAX)
    if "header" not in interactive:
        raise missing("interactive['header']")
    _header(interactive, ("text",))
    _string(action, "catalog_id", "interactive['action']", 256)
    field = "interactive['action']['sections']"
    sections = _items(action.get("sections"), field)
    if not 1 <= len(sections) <= SECTIONS_MAX:
        raise invalid(field, f"must have 1 to {SECTIONS_MAX} sections")
    products = [
        item for section in sections for item in _items(_mapping(section, field).get("product_items"), field)
    ]
    if not 1 <= len(products) <= PRODUCTS_MAX:
        raise invalid(field, f"must have 1 to {PRODUCTS_MAX} products")


def _carousel(interactive: Body, action: Body) -> None:
    _interactive_body(interactive, BUTTON_BODY_MAX)
    for key in ("header", "footer"):
        if key in interactive:
            raise invalid(f"interactive['{key}']", "is not supported for a carousel")
    field = "interactive['action']['cards']"
    cards = _items(action.get("cards"), field)
    if not CARDS_MIN <= len(cards) <= CARDS_MAX:
        raise invalid(field, f"must have {CARDS_MIN} to {CARDS_MAX} cards")
    shapes = {_check_card(card, f"{field}[{index}]") for index, card in enumerate(cards)}
    if len(shapes) > 1:
        raise invalid(field, "cards must have the same number and type of buttons")


def _check_card(card: object, field: str) -> tuple[str, int]:
    """Returns the card's button shape, which must be the same on all cards."""
    header = _mapping(card, field).get("header")
    if header is None:
        raise missing(f"{field}['header']")
    _header({"header": header}, ("image", "video"))
    action = _mapping(_mapping(card, field).get("action"), f"{field}['action']")
    if "buttons" not in action:
        _check_cta(action, f"{field}['action']")
        return "cta_url", 1
    buttons = _items(action["buttons"], f"{field}['action']['buttons']")
    check_reply_buttons(buttons, f"{field}['action']['buttons']", "quick_reply")
    return "quick_reply", len(buttons)


def _anything(interactive: Body, action: Body) -> None:
    """Payments and calls: the inner rules of their actions belong to products outside this simulator."""
    _interactive_body(interactive, BUTTON_BODY_MAX, required=False)


_INTERACTIVE: dict[str, Callable[[Body, Body], None]] = {
    "button": _buttons,
    "list": _list,
    "cta_url": _cta_url,
    "location_request_message": _named("send_location"),
    "contact_request": _named("request_contact_info"),
    "address_message": _named("address_message"),
    "flow": _flow,
    "product": _product,
    "product_list": _product_list,
    "catalog_message": _named("catalog_message"),
    "carousel": _carousel,
    "order_details": _anything,
    "order_status": _anything,
    "call_permission_request": _anything,
    "voice_call": _anything,
}

_CHECKS: dict[str, Callable[[object], None]] = {
    "text": _text,
    **{kind: _media(kind) for kind in MEDIA_TYPES},
    "location": _location,
    "contacts": _contacts,
    "reaction": _reaction,
    "interactive": _interactive,
    "template": _template,
}
