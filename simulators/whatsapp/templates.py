"""Message templates: what a definition must be like, and how a send fills one in.

Pure. https://developers.facebook.com/docs/whatsapp/business-management-api/message-templates (definition, limits,
review) and …/cloud-api/guides/send-message-templates (parameters). A refused definition is error 100 with the subcode
of the rule it breaks; a refused send is 132000 (count), 132005 (too long), 132008 (bad value) or 132012 (format).
"""

from __future__ import annotations

import re
from dataclasses import dataclass, field
from typing import Any

from simulators.whatsapp.checks import CARDS_MAX, CARDS_MIN, check_media_source
from simulators.whatsapp.errors import GraphError

NAME_MAX = 512
HEADER_MAX = 60
BODY_MAX = 1024
FOOTER_MAX = 60
BUTTON_TEXT_MAX = 25
URL_MAX = 2000
BUTTONS_MAX = 10
CODE_MAX = 20
LIMIT_PER_ACCOUNT = 250
# Words that must stand beside each variable, so that a template is more than its variables.
WORDS_PER_VARIABLE = 2

CATEGORIES = ("AUTHENTICATION", "MARKETING", "UTILITY")
HEADER_FORMATS = ("TEXT", "IMAGE", "VIDEO", "DOCUMENT", "GIF", "LOCATION")
# Button type: how many a template may have.
BUTTON_TYPES = {
    "QUICK_REPLY": 10, "URL": 2, "PHONE_NUMBER": 1, "COPY_CODE": 1, "FLOW": 1, "OTP": 1, "CATALOG": 1, "MPM": 1,
    "SPM": 1, "VOICE_CALL": 1, "REQUEST_CONTACT_INFO": 1,
}  # fmt: skip

_NAME = re.compile(r"[a-z0-9_]+")
_LANGUAGE = re.compile(r"[a-z]{2,3}(_[A-Z]{2,3})?")
_VARIABLE = re.compile(r"\{\{\s*([A-Za-z0-9_]+)\s*\}\}")

TOO_LONG, BAD_HEADER, BAD_BODY, BAD_FOOTER = 2388040, 2388047, 2388072, 2388073
TOO_MANY, RATIO, EDGES, EXISTS = 2388019, 2388293, 2388299, 2388024


@dataclass(slots=True)
class Template:
    """One language of one template. `status` as on the platform; only APPROVED can be sent."""

    id: str
    account_id: str
    name: str
    language: str
    category: str
    components: list[dict[str, Any]]
    parameter_format: str = "POSITIONAL"
    status: str = "PENDING"
    quality: str = "UNKNOWN"
    rejected_reason: str = "NONE"
    previous_category: str | None = None
    pauses: int = 0
    edited_at: float = 0.0
    edits: list[float] = field(default_factory=list)

    def component(self, kind: str) -> dict[str, Any] | None:
        return next((part for part in self.components if part["type"] == kind), None)

    @property
    def buttons(self) -> list[dict[str, Any]]:
        part = self.component("BUTTONS")
        return part["buttons"] if part else []

    def as_json(self) -> dict[str, Any]:
        shown: dict[str, Any] = {
            "name": self.name,
            "parameter_format": self.parameter_format,
            "components": self.components,
            "language": self.language,
            "status": self.status,
            "category": self.category,
            "quality_score": {"score": self.quality},
            "id": self.id,
        }
        if self.previous_category is not None:
            shown["previous_category"] = self.previous_category
        if self.status == "REJECTED":
            shown["rejected_reason"] = self.rejected_reason
        return shown


@dataclass(frozen=True, slots=True)
class Filled:
    """A template as the person sees it."""

    text: str
    header: dict[str, Any] | None
    footer: str
    buttons: tuple[dict[str, str], ...]
    cards: tuple[dict[str, Any], ...] = ()


def _refused(subcode: int | None, title: str, why: str) -> GraphError:
    return GraphError(100, why, subcode=subcode, message="Invalid parameter", user_title=title)


# --- definitions -----------------------------------------------------------------------------------------------------


def check_definition(spec: dict[str, Any]) -> dict[str, Any]:
    """Check a create request; returns the fields of a `Template` without id, account and status."""
    name = spec.get("name")
    if not isinstance(name, str) or not _NAME.fullmatch(name) or len(name) > NAME_MAX:
        raise _refused(None, "Invalid name", f"name must be 1 to {NAME_MAX} of a-z, 0-9 and _")
    language = spec.get("language")
    if not isinstance(language, str) or not _LANGUAGE.fullmatch(language):
        raise _refused(None, "Invalid language", "language must be a code like en, en_US or pt_BR")
    parameter_format = str(spec.get("parameter_format", "POSITIONAL")).upper()
    if parameter_format not in ("POSITIONAL", "NAMED"):
        raise _refused(None, "Invalid parameter format", "parameter_format must be positional or named")
    return {
        "name": name,
        "language": language,
        "category": check_category(spec.get("category")),
        "parameter_format": parameter_format,
        "components": check_components(
            spec.get("components"), str(spec.get("category")).upper(), parameter_format
        ),
    }


def check_category(value: object) -> str:
    category = str(value).upper()
    if category not in CATEGORIES:
        raise _refused(None, "Invalid category", f"category must be one of {', '.join(CATEGORIES)}")
    return category


def check_components(components: object, category: str, parameter_format: str) -> list[dict[str, Any]]:
    """The components with their types in capitals."""
    if not isinstance(components, list) or not all(isinstance(part, dict) for part in components):
        raise _refused(None, "Invalid components", "components must be an array of objects")
    parts = [{**part, "type": str(part.get("type", "")).upper()} for part in components]
    kinds = [part["type"] for part in parts]
    for kind in kinds:
        if kind not in ("HEADER", "BODY", "FOOTER", "BUTTONS", "CAROUSEL", "LIMITED_TIME_OFFER"):
            raise _refused(None, "Invalid component", f"unknown component type {kind!r}")
        if kinds.count(kind) > 1:
            raise _refused(None, "Invalid component", f"more than one {kind} component")
    if "BODY" not in kinds:
        raise _refused(BAD_BODY, "Body missing", "a template needs a BODY component")
    for part in parts:
        _check_component(part, category, parameter_format)
    return parts


def _check_component(part: dict[str, Any], category: str, parameter_format: str) -> None:
    kind = part["type"]
    if kind == "HEADER":
        _check_header(part, category, parameter_format)
    elif kind == "BODY":
        _check_body(part, category, parameter_format)
    elif kind == "FOOTER":
        _check_footer(part, category)
    elif kind == "BUTTONS":
        _check_buttons(part, category)
    elif kind == "CAROUSEL":
        _check_cards(part, category, parameter_format)


def _check_header(part: dict[str, Any], category: str, parameter_format: str) -> None:
    shape = str(part.get("format", "TEXT")).upper()
    part["format"] = shape
    if shape not in HEADER_FORMATS:
        raise _refused(
            BAD_HEADER, "Invalid header", f"header format must be one of {', '.join(HEADER_FORMATS)}"
        )
    if category == "AUTHENTICATION" and shape != "TEXT":
        raise _refused(BAD_HEADER, "Invalid header", "authentication templates have no media header")
    if shape == "TEXT":
        text = _text_of(part, HEADER_MAX, BAD_HEADER)
        variables = _check_variables(text, parameter_format, BAD_HEADER)
        if len(variables) > 1:
            raise _refused(BAD_HEADER, "Invalid header", "a header may have one variable")
        _check_examples(part, "header_text", variables, parameter_format, BAD_HEADER)
    elif shape != "LOCATION" and not _example(part).get("header_handle"):
        raise _refused(BAD_HEADER, "Sample missing", "a media header needs example.header_handle")


def _check_body(part: dict[str, Any], category: str, parameter_format: str) -> None:
    if category == "AUTHENTICATION":
        if "text" in part:
            raise _refused(BAD_BODY, "Invalid body", "the body text of authentication templates is fixed")
        return
    text = _text_of(part, BODY_MAX, BAD_BODY)
    variables = _check_variables(text, parameter_format, BAD_BODY)
    bare = text.strip()
    if variables and (_VARIABLE.match(bare) or re.search(r"\}\}$", bare)):
        raise _refused(
            EDGES, "Leading or trailing params", "variables cannot be at the start or end of the body"
        )
    if re.search(r"\}\}\s*\{\{", bare):
        raise _refused(BAD_BODY, "Adjacent params", "variables cannot stand next to each other")
    words = len(_VARIABLE.sub(" ", text).split())
    if variables and words < WORDS_PER_VARIABLE * len(variables) + 1:
        raise _refused(RATIO, "Too many params", "too many variables for the length of the body")
    _check_examples(part, "body_text", variables, parameter_format, BAD_BODY)


def _check_footer(part: dict[str, Any], category: str) -> None:
    if category == "AUTHENTICATION":
        return
    text = _text_of(part, FOOTER_MAX, BAD_FOOTER)
    if "{{" in text:
        raise _refused(BAD_FOOTER, "Invalid footer", "a footer has no variables")


def _text_of(part: dict[str, Any], limit: int, subcode: int) -> str:
    text = part.get("text")
    if not isinstance(text, str) or not text.strip():
        raise _refused(subcode, "Text missing", f"{part['type'].lower()} text is missing")
    if len(text) > limit:
        raise _refused(TOO_LONG, "Too long", f"{part['type'].lower()} text is longer than {limit} characters")
    return text


def variables_of(text: str) -> list[str]:
    """Names in order of first use."""
    return list(dict.fromkeys(_VARIABLE.findall(text)))


def _check_variables(text: str, parameter_format: str, subcode: int) -> list[str]:
    names = variables_of(text)
    if parameter_format == "POSITIONAL":
        if names != [str(index) for index in range(1, len(names) + 1)]:
            raise _refused(
                subcode, "Invalid variables", "variables must be numbered {{1}}, {{2}}, … in order"
            )
    elif any(name.isdigit() or name != name.lower() for name in names):
        raise _refused(subcode, "Invalid variables", "named variables are lower-case words")
    return names


def _check_examples(
    part: dict[str, Any], key: str, variables: list[str], parameter_format: str, subcode: int
) -> None:
    if not variables:
        return
    example = _example(part)
    given = example.get(f"{key}_named_params" if parameter_format == "NAMED" else key)
    given = given if isinstance(given, list) else []
    if parameter_format == "NAMED":
        complete = {str(one.get("param_name")) for one in given if isinstance(one, dict)} >= set(variables)
    else:
        values = given[0] if given and isinstance(given[0], list) else given
        complete = len(values) == len(variables)
    if not complete:
        raise _refused(subcode, "Sample missing", f"example.{key} must have a value for each variable")


def _example(part: dict[str, Any]) -> dict[str, Any]:
    example = part.get("example")
    return example if isinstance(example, dict) else {}


def _check_buttons(part: dict[str, Any], category: str) -> None:
    buttons = part.get("buttons")
    if not isinstance(buttons, list) or not 1 <= len(buttons) <= BUTTONS_MAX:
        raise _refused(None, "Invalid buttons", f"1 to {BUTTONS_MAX} buttons are needed")
    if not all(isinstance(button, dict) for button in buttons):
        raise _refused(None, "Invalid buttons", "each button must be an object")
    part["buttons"] = buttons = [
        {**button, "type": str(button.get("type", "")).upper()} for button in buttons
    ]
    kinds = [button["type"] for button in buttons]
    for button in buttons:
        _check_button(button, kinds, category)
    # Quick replies stand together: [QR, QR, URL] or [URL, QR, QR], never [QR, URL, QR].
    places = [index for index, kind in enumerate(kinds) if kind == "QUICK_REPLY"]
    if places and places[-1] - places[0] + 1 != len(places):
        raise _refused(None, "Invalid buttons", "quick replies must stand next to each other")


def _check_button(button: dict[str, Any], kinds: list[str], category: str) -> None:
    kind = button["type"]
    if kind not in BUTTON_TYPES:
        raise _refused(None, "Invalid button", f"unknown button type {kind!r}")
    if kinds.count(kind) > BUTTON_TYPES[kind]:
        raise _refused(None, "Invalid buttons", f"at most {BUTTON_TYPES[kind]} {kind} buttons")
    if category == "AUTHENTICATION" and kind != "OTP":
        raise _refused(None, "Invalid button", "authentication templates have one OTP button")
    text = button.get("text", "")
    if kind not in ("OTP", "COPY_CODE", "REQUEST_CONTACT_INFO") and (
        not isinstance(text, str) or not text or len(text) > BUTTON_TEXT_MAX
    ):
        raise _refused(
            TOO_LONG, "Invalid button text", f"button text must be 1 to {BUTTON_TEXT_MAX} characters"
        )
    if kind == "URL":
        url = button.get("url", "")
        if not isinstance(url, str) or not url.startswith(("http://", "https://")) or len(url) > URL_MAX:
            raise _refused(None, "Invalid URL", f"a URL button needs a URL of at most {URL_MAX} characters")
        names = variables_of(url)
        if names and (len(names) > 1 or not url.rstrip().endswith("}}") or not button.get("example")):
            raise _refused(None, "Invalid URL", "a URL may have one variable, at its end, with an example")


def _check_cards(part: dict[str, Any], category: str, parameter_format: str) -> None:
    cards = part.get("cards")
    if not isinstance(cards, list) or not CARDS_MIN <= len(cards) <= CARDS_MAX:
        raise _refused(None, "Invalid carousel", f"a carousel has {CARDS_MIN} to {CARDS_MAX} cards")
    shapes = set()
    for card in cards:
        parts = card.get("components") if isinstance(card, dict) else None
        if not isinstance(parts, list) or not all(isinstance(one, dict) for one in parts):
            raise _refused(None, "Invalid carousel", "each card needs components")
        card["components"] = parts = [{**one, "type": str(one.get("type", "")).upper()} for one in parts]
        for one in parts:
            _check_component(one, category, parameter_format)
        shapes.add(tuple(one["type"] for one in parts))
    if len(shapes) > 1:
        raise _refused(None, "Invalid carousel", "all cards must have the same components")


# --- sending ---------------------------------------------------------------------------------------------------------


def fill(template: Template, components: list[dict[str, Any]]) -> Filled:
    """Put a send's parameters into the template; raises 132000, 132005, 132008 or 132012."""
    given: dict[str, list[dict[str, Any]]] = {}
    buttons: dict[int, dict[str, Any]] = {}
    for component in components:
        kind = str(component.get("type", "")).lower()
        if kind == "button":
            buttons[_index_of(component)] = component
        elif kind in ("header", "body"):
            given[kind] = _parameters_of(component)
        elif kind not in ("carousel", "limited_time_offer", "footer"):
            raise GraphError(132012, f"unknown component type: {component.get('type')!r}")
    header = _fill_header(template, given.get("header", []))
    text = _fill_body(template, given.get("body", []))
    if len(text) > BODY_MAX:
        raise GraphError(132005, f"body is {len(text)} characters, at most {BODY_MAX} are allowed")
    footer = template.component("FOOTER")
    return Filled(
        text=text,
        header=header,
        footer=str(footer.get("text", "")) if footer else "",
        buttons=_fill_buttons(template, buttons),
        cards=_fill_cards(template, components),
    )


def _index_of(component: dict[str, Any]) -> int:
    try:
        return int(component.get("index", 0))
    except (TypeError, ValueError):
        raise GraphError(132012, f"button index is not a number: {component.get('index')!r}") from None


def _parameters_of(component: dict[str, Any]) -> list[dict[str, Any]]:
    parameters = component.get("parameters") or []
    if not isinstance(parameters, list) or not all(isinstance(one, dict) for one in parameters):
        raise GraphError(132012, f"parameters of {component.get('type')} must be an array of objects")
    return parameters


def _fill_header(template: Template, parameters: list[dict[str, Any]]) -> dict[str, Any] | None:
    part = template.component("HEADER")
    if part is None:
        if parameters:
            raise GraphError(
                132000, "header: number of localizable_params does not match the expected number (0)"
            )
        return None
    shape = part["format"]
    if shape == "TEXT":
        text = _substitute(part["text"], parameters, template.parameter_format, "header")
        return {"type": "text", "text": text}
    if len(parameters) != 1 or parameters[0].get("type") != shape.lower():
        got = parameters[0].get("type") if parameters else "nothing"
        raise GraphError(132012, f"header: Format mismatch, expected {shape}, received {str(got).upper()}")
    value = parameters[0].get(shape.lower())
    if not isinstance(value, dict):
        raise GraphError(132012, f"header: {shape.lower()} is missing")
    if shape != "LOCATION":
        check_media_source(value, f"header {shape.lower()}")
    return {"type": shape.lower(), shape.lower(): value}


def _fill_body(template: Template, parameters: list[dict[str, Any]]) -> str:
    if template.category == "AUTHENTICATION":
        if len(parameters) != 1:
            raise GraphError(
                132000, f"body: number of localizable_params ({len(parameters)}) does not match 1"
            )
        return f"{_value_of(parameters[0], 'body')} is your verification code."
    part = template.component("BODY")
    return _substitute(part["text"] if part else "", parameters, template.parameter_format, "body")


def _substitute(text: str, parameters: list[dict[str, Any]], parameter_format: str, where: str) -> str:
    names = variables_of(text)
    if len(parameters) != len(names):
        raise GraphError(
            132000,
            f"{where}: number of localizable_params ({len(parameters)}) does not match the expected "
            f"number of params ({len(names)})",
        )
    if parameter_format == "NAMED":
        values = {str(one.get("parameter_name")): _value_of(one, where) for one in parameters}
        absent = [name for name in names if name not in values]
        if absent:
            raise GraphError(132000, f"{where}: parameter name is missing or unknown: {absent[0]}")
    else:
        values = {name: _value_of(one, where) for name, one in zip(names, parameters, strict=True)}
    return _VARIABLE.sub(lambda match: values[match.group(1)], text)


def _value_of(parameter: dict[str, Any], where: str) -> str:
    kind = parameter.get("type")
    if kind == "text":
        value = parameter.get("text")
    elif kind in ("currency", "date_time"):
        inner = parameter.get(kind)
        value = inner.get("fallback_value") if isinstance(inner, dict) else None
    else:
        raise GraphError(132012, f"{where}: parameter type must be text, currency or date_time, got {kind!r}")
    if not isinstance(value, str) or not value:
        raise GraphError(131008, f"Required parameter is missing: {where} parameter {kind}")
    if "\n" in value or "\t" in value or "     " in value:
        raise GraphError(
            132008, f"{where}: Param text cannot have new-line/tab characters or more than 4 spaces"
        )
    return value


def _fill_buttons(template: Template, given: dict[int, dict[str, Any]]) -> tuple[dict[str, str], ...]:
    buttons = template.buttons
    for index in given:
        if not 0 <= index < len(buttons):
            raise GraphError(132012, f"button index {index} does not exist in the template")
    return tuple(_fill_button(button, given.get(index), index) for index, button in enumerate(buttons))


def _fill_button(button: dict[str, Any], component: dict[str, Any] | None, index: int) -> dict[str, str]:
    kind = button["type"]
    parameters = _parameters_of(component) if component else []
    sub_type = str(component.get("sub_type", "")).upper() if component else ""
    # A one-time password button is filled as a URL button is.
    if component and sub_type != {"OTP": "URL"}.get(kind, kind):
        raise GraphError(132012, f"button {index}: sub_type {sub_type.lower()!r} does not match {kind}")
    text = str(
        button.get("text") or {"COPY_CODE": "Copy code", "OTP": "Copy code"}.get(kind, "Share contact info")
    )
    shown = {"text": text, "id": "", "kind": kind.lower(), "index": str(index)}
    if kind == "QUICK_REPLY":
        value = parameters[0].get("payload", parameters[0].get("text")) if parameters else text
        return {**shown, "id": str(value)}
    if kind == "URL":
        return {**shown, "url": _fill_url(button["url"], parameters, index)}
    if kind in ("COPY_CODE", "OTP"):
        if not parameters:
            raise GraphError(131008, f"Required parameter is missing: button {index} parameter")
        code = str(parameters[0].get("coupon_code", parameters[0].get("text", "")))
        if not 0 < len(code) <= CODE_MAX:
            raise GraphError(132012, f"button {index}: code must be 1 to {CODE_MAX} characters")
        return {**shown, "code": code}
    if kind == "PHONE_NUMBER":
        return {**shown, "phone": str(button.get("phone_number", ""))}
    return shown


def _fill_url(url: str, parameters: list[dict[str, Any]], index: int) -> str:
    names = variables_of(url)
    if len(parameters) != len(names):
        if not parameters:
            raise GraphError(131008, f"Required parameter is missing: Button at index {index} of type Url")
        raise GraphError(
            132000, f"button {index}: number of params does not match the expected number ({len(names)})"
        )
    return _VARIABLE.sub(lambda _: str(parameters[0].get("text", "")), url) if names else url


def _fill_cards(template: Template, components: list[dict[str, Any]]) -> tuple[dict[str, Any], ...]:
    part = template.component("CAROUSEL")
    if part is None:
        return ()
    sent = next((one for one in components if str(one.get("type", "")).lower() == "carousel"), {})
    cards = sent.get("cards") or []
    if len(cards) != len(part["cards"]):
        raise GraphError(
            132000, f"carousel: {len(cards)} cards do not match the expected {len(part['cards'])}"
        )
    filled = []
    for index, card in enumerate(part["cards"]):
        inner = Template(
            "", "", "", "", template.category, card["components"], parameter_format=template.parameter_format
        )
        if inner.component("BODY") is None:
            inner.components = [*inner.components, {"type": "BODY", "text": ""}]
        one = fill(inner, cards[index].get("components") or [])
        filled.append({"text": one.text, "header": one.header, "buttons": list(one.buttons)})
    return tuple(filled)
