"""Which names of a person a business gets to see: phone number, business-scoped id, both.

Since 2026 a person with a username shows no number, unless the business used that number in the last 30 days.
https://developers.facebook.com/docs/whatsapp/business-scoped-user-ids
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from simulators.whatsapp.knobs import Knobs
from simulators.whatsapp.state import PHONE_KNOWN_S, Number, Person, State


@dataclass(frozen=True, slots=True)
class Visible:
    wa_id: str | None
    user_id: str | None
    parent_id: str | None

    def sender(self) -> dict[str, Any]:
        """`from`, `from_user_id`, `from_parent_user_id` of a message."""
        return _given(
            ("from", self.wa_id), ("from_user_id", self.user_id), ("from_parent_user_id", self.parent_id)
        )

    def contact(self, person: Person) -> dict[str, Any]:
        """One element of `contacts`."""
        profile = {"name": person.name}
        if person.username:
            profile["username"] = person.username
        return {
            "profile": profile,
            **_given(("wa_id", self.wa_id), ("user_id", self.user_id), ("parent_user_id", self.parent_id)),
        }


def visible(state: State, knobs: Knobs, number: Number, person: Person, now: float) -> Visible:
    """What webhooks of this number say about this person now."""
    if knobs.bsuid_mode == "phone" and person.phone is not None:
        return Visible(person.phone, None, None)
    user_id = state.bsuid(person, state.account_of(number).business_id)
    if knobs.bsuid_mode == "bsuid" or person.phone is None or _hides(state, number, person, now):
        return Visible(None, user_id, person.parent_bsuid)
    return Visible(person.phone, user_id, person.parent_bsuid)


def _hides(state: State, number: Number, person: Person, now: float) -> bool:
    return person.username is not None and state.thread(number, person).phone_used_at + PHONE_KNOWN_S < now


def _given(*pairs: tuple[str, str | None]) -> dict[str, Any]:
    return {key: value for key, value in pairs if value is not None}
