"""What a page is and what its function is called with.

    @page("GET", "/contacts/{contact_id}")
    async def contact(visit: Visit) -> Answer: …

A GET needs somebody signed in; a POST names what it `needs` besides (`ROLES`), and is only called with a form whose
token is right. `{contact_id}` is a public id: the number is in `visit.ids["contact"]`; what is no such id is 404.
"""

from __future__ import annotations

import importlib
import pkgutil
import re
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass, field
from functools import cache
from typing import Any, TypeVar

from aiohttp import web
from sqlalchemy import Connection

from bot.live import Live
from bot.runtime import Runtime
from console.texts import Words
from crm.accounts import SignedIn, audit
from domain.errors import RejectedInput
from storage.database import Queue

T = TypeVar("T")

VIEW, CONVERSE, SEND, MANAGE = "view", "converse", "send", "manage"
ROLES: Mapping[str, frozenset[str]] = {
    "viewer": frozenset({VIEW}),
    "agent": frozenset({VIEW, CONVERSE}),
    "marketer": frozenset({VIEW, CONVERSE, SEND}),
    "admin": frozenset({VIEW, CONVERSE, SEND, MANAGE}),
    "owner": frozenset({VIEW, CONVERSE, SEND, MANAGE}),
}

_IN_PATH = re.compile(r"\{([a-z_]+)_id\}")


@dataclass(frozen=True)
class Visit:
    """One request of somebody who is signed in."""

    live: Live
    who: SignedIn
    words: Words
    request: web.Request
    ids: Mapping[str, int]
    form: Mapping[str, str]

    @property
    def runtime(self) -> Runtime:
        return self.live.runtime

    @property
    def workspace_id(self) -> int:
        """The only workspace that this visit can see."""
        return self.who.workspace_id

    @property
    def actor(self) -> str:
        return f"agent:{self.who.user_id}"

    @property
    def query(self) -> Mapping[str, str]:
        return self.request.query

    def may(self, what: str) -> bool:
        """Whether the role has the permission."""
        return what in ROLES.get(self.who.role, frozenset())

    def now(self) -> int:
        """ms UTC."""
        return self.live.runtime.clock()

    def number(self, name: str) -> int:
        """A parameter that is a cursor; 0 when it is absent. Raises RejectedInput."""
        value = self.query.get(name, "0")
        if not value.isascii() or not value.isdigit() or len(value) > 18:
            raise RejectedInput("is not a page", where=name)
        return int(value)

    async def read(self, work: Callable[[Connection], T]) -> T:
        return await self.runtime.database.read(work)

    async def write(self, work: Callable[[Connection], T], *, action: str, target: str = "") -> T:
        """Changes something, with an audit entry in the same transaction."""

        def change(connection: Connection) -> T:
            result = work(connection)
            audit(
                connection,
                workspace_id=self.workspace_id,
                actor=self.actor,
                action=action,
                target=target,
                new_id=self.runtime.new_id,
                now=self.now(),
            )
            return result

        return await self.runtime.database.write(change, queue=Queue.people)


@dataclass(frozen=True)
class Rendered:
    """A page from a template in `templates/`."""

    template: str
    values: Mapping[str, Any] = field(default_factory=dict)
    status: int = 200


@dataclass(frozen=True)
class Goto:
    """Another page of the console, below `/console`; `done` names a text that is shown there."""

    path: str
    done: str = ""


Answer = Rendered | Goto
Handler = Callable[[Visit], Awaitable[Answer]]


@dataclass(frozen=True)
class Page:
    """A registered page. `again`: the function that shows the form again, with `error`, when the POST is refused."""

    method: str
    path: str
    needs: str
    handler: Handler
    again: Callable[[Visit, str], Awaitable[Answer]] | None

    @property
    def kinds(self) -> tuple[str, ...]:
        return tuple(_IN_PATH.findall(self.path))


_pages: dict[tuple[str, str], Page] = {}


def page(
    method: str,
    path: str,
    *,
    needs: str = VIEW,
    again: Callable[[Visit, str], Awaitable[Answer]] | None = None,
) -> Callable[[Handler], Handler]:
    """Registers a page below `/console`; a second one at its place is an error at start."""
    if method == "POST" and needs == VIEW:
        raise RuntimeError(f"POST {path} names no permission")

    def register(handler: Handler) -> Handler:
        if (method, path) in _pages:
            raise RuntimeError(f"{method} {path} is registered twice: {handler.__module__}")
        _pages[method, path] = Page(method, path, needs, handler, again)
        return handler

    return register


@cache
def pages() -> tuple[Page, ...]:
    """Every page; scans `console/pages/` once."""
    package = importlib.import_module("console.pages")
    for module in pkgutil.iter_modules(package.__path__):
        importlib.import_module(f"{package.__name__}.{module.name}")
    return tuple(sorted(_pages.values(), key=lambda one: (one.path, one.method)))
