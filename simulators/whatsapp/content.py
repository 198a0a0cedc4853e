"""How an outgoing message looks to the person: its text, what can be tapped, its header and footer.

Buttons are `{"text", "kind", "id", …}`, the id empty where a tap sends none. The kind (reply, row, quick_reply, url,
phone_number, copy_code, location, contact, flow, …) tells the phone page and scripted people what a tap does.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

from simulators.whatsapp.templates import Filled

Button = dict[str, str]


@dataclass(frozen=True, slots=True)
class Shown:
    text: str
    buttons: tuple[Button, ...] = ()
    extra: dict[str, Any] = field(default_factory=dict)


def show(kind: str, part: Any, filled: Filled | None) -> Shown:
    """`part` is `body[kind]` of an accepted send; `filled` the template's result."""
    if filled is not None:
        extra = {"header": filled.header, "footer": filled.footer, "cards": list(filled.cards)}
        return Shown(filled.text, filled.buttons, {key: value for key, value in extra.items() if value})
    if kind == "text":
        return Shown(part["body"])
    if kind == "interactive":
        return _interactive(part)
    if kind == "location":
        return Shown(str(part.get("name") or part.get("address") or ""))
    if kind == "contacts":
        return Shown(", ".join(card["name"]["formatted_name"] for card in part))
    if kind == "reaction":
        return Shown(part["emoji"])
    return Shown(str(part.get("caption", "")))


def _interactive(part: dict[str, Any]) -> Shown:
    text = str((part.get("body") or {}).get("text", ""))
    extra: dict[str, Any] = {}
    if part.get("header"):
        extra["header"] = part["header"]
    if part.get("footer"):
        extra["footer"] = part["footer"]["text"]
    if part["type"] == "list":
        extra["list_button"] = part["action"]["button"]
    if part["type"] == "carousel":
        extra["cards"] = [_card(card) for card in part["action"]["cards"]]
    return Shown(text, tuple(_buttons(part["type"], part["action"])), extra)


def _buttons(kind: str, action: dict[str, Any]) -> list[Button]:
    if kind == "button":
        return [_reply(one["reply"], "reply") for one in action["buttons"]]
    if kind == "list":
        return [_row(row, section) for section in action["sections"] for row in section["rows"]]
    if kind == "cta_url":
        return [_link(action)]
    if kind == "carousel":
        return [button for card in action["cards"] for button in _card_buttons(card["action"])]
    if kind == "flow":
        return [{"text": action["parameters"]["flow_cta"], "id": "", "kind": "flow"}]
    fixed = {
        "location_request_message": ("location", "Send location"),
        "contact_request": ("contact", "Share contact info"),
        "address_message": ("address", "Provide address"),
        "catalog_message": ("catalog", "View catalog"),
        "product_list": ("catalog", "View items"),
        "product": ("catalog", "View"),
    }.get(kind)
    return [{"text": fixed[1], "id": "", "kind": fixed[0]}] if fixed else []


def _reply(reply: dict[str, Any], kind: str) -> Button:
    return {"text": reply["title"], "id": reply["id"], "kind": kind}


def _row(row: dict[str, Any], section: dict[str, Any]) -> Button:
    shown = {"text": row["title"], "id": row["id"], "kind": "row"}
    for key, value in (("description", row.get("description")), ("section", section.get("title"))):
        if value:
            shown[key] = value
    return shown


def _link(action: dict[str, Any]) -> Button:
    parameters = action["parameters"]
    return {"text": parameters["display_text"], "id": "", "url": parameters["url"], "kind": "url"}


def _card(card: dict[str, Any]) -> dict[str, Any]:
    return {
        "text": str((card.get("body") or {}).get("text", "")),
        "header": card["header"],
        "buttons": _card_buttons(card["action"]),
    }


def _card_buttons(action: dict[str, Any]) -> list[Button]:
    if "buttons" in action:
        return [_reply(one["quick_reply"], "reply") for one in action["buttons"]]
    return [_link(action)]
