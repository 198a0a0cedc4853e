"""What a route is, what its function is called with, and the registry that a folder scan fills.

    @route("GET", "/contacts/{contact_id}", scope="contacts:read", out=Contact)
    async def get_contact(call: Call[None, None]) -> Contact: …

`{contact_id}` in a path is a contact's public id: the function finds the number in `call.ids["contact"]`; what is
not such an id is 404. `body` and `query` are pydantic models of what is taken, `out` of what is given. The docstring's
first line is the summary in the description. A POST does all of its changes in one `call.write`, which also makes it
happen once per `Idempotency-Key` (`api.once`).
"""

from __future__ import annotations

import importlib
import pkgutil
import re
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass, field
from functools import cache
from typing import Any, Generic, TypeVar

from aiohttp import web
from pydantic import BaseModel
from sqlalchemy import Connection

from api import once
from api.limits import KEY_RATE, WORKSPACE_RATE, Rate
from bot.live import Live
from bot.runtime import Runtime
from crm.accounts import KeyHolder
from storage.database import Queue

B = TypeVar("B")
Q = TypeVar("Q")
T = TypeVar("T")
M = TypeVar("M", bound=BaseModel | None)

_SCOPE = re.compile(r"[a-z]+:(read|write)")
_IN_PATH = re.compile(r"\{([a-z_]+)_id\}")


@dataclass(frozen=True)
class ApiContext:
    """What the composition root knows and resources need. `base_url` gives where webhooks reach us (asked when it is
    needed: a port of 0 is known only then); `public`: whether from outside; `redis_url`: where processes count requests
    together, empty: each for itself."""

    base_url: Callable[[], str] = lambda: "http://127.0.0.1:8080"
    public: bool = False
    key_rate: Rate = KEY_RATE
    workspace_rate: Rate = WORKSPACE_RATE
    redis_url: str = field(default="", repr=False)


@dataclass(frozen=True)
class Call(Generic[B, Q]):
    """One authenticated request, checked against its models."""

    live: Live
    context: ApiContext
    key: KeyHolder
    ids: Mapping[str, int]
    body: B
    query: Q
    request: web.Request
    once: once.Claim | None

    @property
    def runtime(self) -> Runtime:
        return self.live.runtime

    @property
    def workspace_id(self) -> int:
        """The key's workspace: the only one that this request can see."""
        return self.key.workspace_id

    @property
    def actor(self) -> str:
        """Who did it, in authors and audit entries."""
        return f"api:{self.key.id}"

    def now(self) -> int:
        """ms UTC."""
        return self.live.runtime.clock()

    async def read(self, work: Callable[[Connection], T]) -> T:
        """Runs a function of the store on a reader."""
        return await self.live.runtime.database.read(work)

    async def write(self, work: Callable[[Connection], M]) -> M:
        """Runs the request's one change and gives its answer; with an Idempotency-Key it happens once, and a repetition
        gives the first one's answer without running `work`."""
        claim = self.once
        if claim is None:
            return await self.live.runtime.database.write(work, queue=Queue.people)
        runtime = self.live.runtime

        def change(connection: Connection) -> M:
            claim.take(connection, sealer=runtime.sealer, now=runtime.clock())
            answer = work(connection)
            claim.keep(connection, answer, sealer=runtime.sealer)
            return answer

        return await runtime.database.write(change, queue=Queue.people)


Handler = Callable[[Any], Awaitable[BaseModel | None]]


@dataclass(frozen=True)
class Route:
    """A registered route. `streams`: the function reads the request's body itself."""

    method: str
    path: str
    scope: str
    handler: Handler
    body: type[BaseModel] | None
    query: type[BaseModel] | None
    out: type[BaseModel] | None
    status: int
    streams: bool

    @property
    def name(self) -> str:
        """The operation's name: the function's."""
        return self.handler.__name__

    @property
    def summary(self) -> str:
        """One line for people."""
        return (self.handler.__doc__ or self.name).strip().splitlines()[0]

    @property
    def kinds(self) -> tuple[str, ...]:
        """Kinds of the ids in the path, in order."""
        return tuple(_IN_PATH.findall(self.path))


_routes: dict[tuple[str, str], Route] = {}


def route(
    method: str,
    path: str,
    *,
    scope: str,
    body: type[BaseModel] | None = None,
    query: type[BaseModel] | None = None,
    out: type[BaseModel] | None = None,
    status: int = 200,
    streams: bool = False,
) -> Callable[[Handler], Handler]:
    """Registers a function under a method and a path below `/api/v1`; a second one there is an error at start."""
    if not _SCOPE.fullmatch(scope):
        raise RuntimeError(f"{method} {path}: a scope looks like contacts:read, not {scope!r}")

    def register(handler: Handler) -> Handler:
        if (method, path) in _routes:
            raise RuntimeError(f"{method} {path} is registered twice: {handler.__module__}")
        _routes[method, path] = Route(method, path, scope, handler, body, query, out, status, streams)
        return handler

    return register


@cache
def routes() -> tuple[Route, ...]:
    """Every route, by path; scans `api/resources/` once."""
    package = importlib.import_module("api.resources")
    for module in pkgutil.iter_modules(package.__path__):
        importlib.import_module(f"{package.__name__}.{module.name}")
    return tuple(sorted(_routes.values(), key=lambda one: (one.path, one.method)))


def scopes() -> tuple[str, ...]:
    """Every scope that some route asks for."""
    return tuple(sorted({one.scope for one in routes()}))
