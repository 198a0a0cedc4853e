"""`/secrets`: the names of values that flows use. The values themselves are in no answer."""

from __future__ import annotations

from api.models import Output, Page
from api.routing import Call, route
from bot import secret_store


class Secret(Output):
    """A secret's name; `by`: who set it last."""

    name: str
    by: str
    updated_at: int


@route("GET", "/secrets", scope="flows:read", out=Page[Secret])
async def list_secrets(call: Call[None, None]) -> Page[Secret]:
    """All secrets of the workspace, by name."""
    found = await call.read(lambda c: secret_store.names(c, call.workspace_id))
    return Page[Secret](data=[Secret(name=one.name, by=one.by, updated_at=one.updated_at) for one in found])
