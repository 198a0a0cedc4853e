"""What Meta tells about our account, by webhook field: how grave it is, and whether the channel must stop.

Each reader takes a change's value and gives (severity, stops_channel); the data is kept whole.
Fields: https://developers.facebook.com/docs/whatsapp/cloud-api/webhooks/reference
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any, NamedTuple

Gravity = tuple[str, bool]  # severity as in AccountNotice, stops_channel
INFO: Gravity = ("info", False)
WARNING: Gravity = ("warning", False)
ERROR: Gravity = ("error", False)
STOP: Gravity = ("error", True)


class Field(NamedTuple):
    """How one webhook field becomes an AccountNotice."""

    what: str
    gravity: Callable[[Mapping[str, Any]], Gravity]


def _template_status(value: Mapping[str, Any]) -> Gravity:
    match value.get("event"):
        case "REJECTED" | "DISABLED" | "PAUSED" | "LOCKED" | "ARCHIVED" | "DELETED" | "LIMIT_EXCEEDED":
            return ERROR
        case "FLAGGED" | "PENDING_DELETION":
            return WARNING
        case _:
            return INFO


def _template_quality(value: Mapping[str, Any]) -> Gravity:
    return WARNING if value.get("new_quality_score") in ("RED", "YELLOW") else INFO


def _number_quality(value: Mapping[str, Any]) -> Gravity:
    return WARNING if value.get("event") in ("FLAGGED", "DOWNGRADE") else INFO


def _account(value: Mapping[str, Any]) -> Gravity:
    match value.get("event"):
        case "ACCOUNT_DELETED" | "ACCOUNT_OFFBOARDED":
            return STOP
        case "ACCOUNT_RESTRICTION":
            return STOP if _restricts_messages(value.get("restriction_info")) else ERROR
        case "DISABLED_UPDATE":
            return STOP if _bans(value.get("ban_info")) else WARNING
        case "ACCOUNT_VIOLATION" | "PARTNER_REMOVED" | "PARTNER_APP_UNINSTALLED":
            return WARNING
        case _:
            return INFO


def _restricts_messages(info: Any) -> bool:
    restrictions = info if isinstance(info, list) else [info]
    return any("MESSAGING" in str(r.get("restriction_type")) for r in restrictions if isinstance(r, dict))


def _bans(info: Any) -> bool:
    state = info.get("waba_ban_state") if isinstance(info, dict) else None
    states = state if isinstance(state, list) else [state]  # both shapes are in Meta's pages
    return "DISABLE" in states


def _review(value: Mapping[str, Any]) -> Gravity:
    return ERROR if value.get("decision") == "REJECTED" else INFO


def _alert(value: Mapping[str, Any]) -> Gravity:
    info = value.get("alert_info")
    severity = info.get("alert_severity") if isinstance(info, dict) else value.get("alert_severity")
    return {"CRITICAL": ERROR, "WARNING": WARNING}.get(str(severity), INFO)


def _number_name(value: Mapping[str, Any]) -> Gravity:
    return WARNING if value.get("decision") in ("REJECTED", "DECLINED") else INFO


def _form(value: Mapping[str, Any]) -> Gravity:
    return WARNING if value.get("new_status") in ("THROTTLED", "BLOCKED") or "alert_state" in value else INFO


FIELDS: dict[str, Field] = {
    "message_template_status_update": Field("template_status", _template_status),
    "message_template_quality_update": Field("template_quality", _template_quality),
    "message_template_components_update": Field("template_components", lambda _: INFO),
    "template_category_update": Field(
        "template_category", lambda _: WARNING
    ),  # it costs something else from then on
    "phone_number_quality_update": Field("number_quality", _number_quality),
    "phone_number_name_update": Field("number_name", _number_name),
    "business_capability_update": Field("capability", lambda _: INFO),
    "business_username_update": Field("username", lambda _: INFO),
    "account_update": Field("account", _account),
    "account_review_update": Field("account_review", _review),
    "account_alerts": Field("alert", _alert),
    "security": Field("security", lambda _: WARNING),
    "flows": Field("form", _form),
}
