"""The subjects of segments read from a contact's view: what `predicates.matches` asks for one person."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from domain.contacts import ContactView

_COLUMNS = ("name", "first_name", "last_name", "email", "phone", "language", "timezone", "created_at")


def lookup(view: ContactView) -> Callable[[str], Any]:
    """A function that gives the value of `contact.…` and `consent.…`, None for what is missing or unknown."""

    def get(subject: str) -> Any:
        name, _, path = subject.partition(".")
        if name == "consent":
            return view.consents.get(path)
        if name != "contact":
            return None
        if path.startswith("fields."):
            return view.fields.get(path[7:])
        if path == "tags":
            return view.tags
        return getattr(view, path) if path in _COLUMNS else None

    return get
