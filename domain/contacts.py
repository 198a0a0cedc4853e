"""What flows, templates and predicates may see of a contact: a plain value, never a row."""

from __future__ import annotations

from typing import Any

from msgspec import Struct, field


class ContactView(Struct, omit_defaults=True):
    """A contact at one moment. `fields` holds the workspace's own fields; dates in it are ISO 8601 text.

    `consents` maps purpose -> state ("asked" | "granted" | "confirmed" | "withdrawn" | "denied" | "expired").
    The engine works on its own copy; rows change only by `PatchContact` effects.
    """

    id: int = 0
    name: str = ""
    first_name: str = ""
    last_name: str = ""
    language: str | None = None
    timezone: str | None = None
    email: str | None = None
    phone: str | None = None
    fields: dict[str, Any] = field(default_factory=dict)
    tags: set[str] = field(default_factory=set)
    consents: dict[str, str] = field(default_factory=dict)
    identities: list[dict[str, Any]] = field(default_factory=list)
    created_at: int = 0  # ms UTC
