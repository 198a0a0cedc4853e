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


_COLUMNS = ("name", "first_name", "last_name", "email", "phone", "language", "timezone", "created_at")


def value_of(view: ContactView, subject: str) -> Any:
    """The value of `contact.…` or `consent.…`, as conditions read it; None for what is missing or unknown."""
    root, _, path = subject.partition(".")
    if root == "consent":
        return view.consents.get(path)
    if root != "contact":
        return None
    if path.startswith("fields."):
        return view.fields.get(path[7:])
    if path == "tags":
        return view.tags
    return getattr(view, path) if path in _COLUMNS else None
