"""What happens beside messages in a rehearsal: the short forms of dialogue lines.

`{tag_added: vip}` · `{tag_removed: vip}` · `{field_changed: {city: Roma}}` · `{consent_given: marketing}` ·
`{consent_withdrawn: marketing}` · `{joins: Bottega Esempio}` · `{campaign_click: Saldi}` · `{feedback: {csat: 2}}` ·
`{event: order_paid}` or `{event: {order_paid: {order: "4711"}}}` · `{schedule: 2026-01-12}`. A tag or field changes the
contact, too; `schedule` plays that date of the tested flow's schedule.
"""

from __future__ import annotations

from typing import Any, NamedTuple

from domain.effects import PatchContact
from domain.errors import RejectedInput
from flows.triggers import Occasion

_PLAIN = {
    "tag_added": "tag_added",
    "tag_removed": "tag_removed",
    "consent_given": "consent_given",
    "consent_withdrawn": "consent_withdrawn",
    "joins": "joined",
    "campaign_click": "campaign_click",
    "schedule": "schedule",
}
_PAIRS = {"field_changed": "field_changed", "feedback": "feedback"}
LINES = (*_PLAIN, *_PAIRS, "event")


class Happening(NamedTuple):
    """What happened, and what it changes in the contact: a patch, and consents by purpose."""

    occasion: Occasion
    patch: PatchContact
    consents: dict[str, str]


def happening(key: str, value: Any, *, where: str) -> Happening:
    """The meaning of a line. Raises RejectedInput naming `where`."""
    if key in _PLAIN and isinstance(value, (str, int)):
        return _plain(key, str(value))
    if key in _PAIRS and isinstance(value, dict) and len(value) == 1:
        [(what, now)] = value.items()
        column = str(what) in ("name", "first_name", "last_name", "email", "phone", "language", "timezone")
        changed = {str(what) if column else f"fields.{what}": now} if key == "field_changed" else {}
        return Happening(Occasion(kind=key, what=str(what), value=now), PatchContact("", set=changed), {})
    if key == "event":
        name, data = next(iter(value.items())) if isinstance(value, dict) and value else (value, {})
        if isinstance(name, str) and isinstance(data, dict):
            return Happening(Occasion(kind="event", what=name, data=data), PatchContact(""), {})
    raise RejectedInput(f"this is not how {key} is written", where=where)


def _plain(key: str, what: str) -> Happening:
    added = (what,) if key == "tag_added" else ()
    removed = (what,) if key == "tag_removed" else ()
    patch = PatchContact("", add_tags=added, remove_tags=removed)
    state = {"consent_given": "granted", "consent_withdrawn": "withdrawn"}.get(key)
    consents = {what: state} if state is not None else {}
    return Happening(Occasion(kind=_PLAIN[key], what=what), patch, consents)
