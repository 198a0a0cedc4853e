"""The subjects of segments read from a contact's view: what `predicates.matches` asks for one person."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import Any

from domain.contacts import ContactView, value_of


def lookup(view: ContactView) -> Callable[[str], Any]:
    """A function that gives the value of `contact.…` and `consent.…`, None for what is missing or unknown."""

    return partial(value_of, view)
