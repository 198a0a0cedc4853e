"""`/parked`, `/stops`, `/jobs`: what waits for a person, the stop button, and what takes long."""

from __future__ import annotations

from typing import Any, Literal

import msgspec
from pydantic import Field
from sqlalchemy import Connection, text

from api.models import (
    ChannelId,
    EventId,
    Input,
    JobId,
    Output,
    Page,
    PageQuery,
    Query,
    numeric_cursor,
    page_of,
)
from api.routing import Call, route
from bot import parked, stops
from crm.accounts import audit
from domain import ids
from domain.errors import NotFound, RejectedInput

StopScope = Literal["workspace", "channel", "campaign"]


class ParkedEvent(Output):
    """An event that could not be handled."""

    id: EventId
    channel_id: ChannelId
    what: str
    problem: str
    attempts: int
    received_at: int


class RetryBody(Input):
    """Which parked events; none named: all of them."""

    event_ids: list[EventId] = Field(default_factory=list, max_length=1_000)


class Retried(Output):
    """How many are tried again."""

    retried: int


class Stop(Output):
    """A pressed stop button. `target_id`: the channel or campaign."""

    scope: str
    target_id: str | None
    what: str
    set_at: int


class StopBody(Input):
    """What is stopped where."""

    scope: StopScope
    what: Literal["marketing", "everything"] = "marketing"
    target_id: str | None = Field(None, max_length=40)


class StopQuery(Query):
    """Which stop is let go."""

    scope: StopScope
    target_id: str | None = Field(None, max_length=40)


class Job(Output):
    """A job. `state`: open | failed | done; `progress` is its own."""

    id: JobId
    kind: str
    state: str
    progress: dict[str, Any]
    attempts: int
    problem: str
    created_at: int
    updated_at: int


@route("GET", "/parked", scope="parked:read", query=PageQuery, out=Page[ParkedEvent])
async def list_parked(call: Call[None, PageQuery]) -> Page[ParkedEvent]:
    """Parked events, the oldest first."""
    query, after = call.query, numeric_cursor(call.query.after)
    found = await call.read(
        lambda c: parked.parked(
            c, call.workspace_id, sealer=call.runtime.sealer, after=after, limit=query.limit + 1
        )
    )
    page = page_of(found, query.limit, lambda one: one.id)
    shown = [ParkedEvent(**msgspec.to_builtins(one)) for one in page.data]
    return Page[ParkedEvent](data=shown, next=page.next)


@route("POST", "/parked/retry", scope="parked:write", body=RetryBody, out=Retried)
async def retry_parked(call: Call[RetryBody, None]) -> Retried:
    """Has parked events tried again."""
    retried = await call.write(
        lambda c: Retried(retried=parked.retry(c, call.workspace_id, call.body.event_ids))
    )
    call.runtime.signals.notify("intake")
    return retried


@route("GET", "/stops", scope="stops:read", out=Page[Stop])
async def list_stops(call: Call[None, None]) -> Page[Stop]:
    """What is stopped now."""
    found = await call.read(lambda c: stops.stops(c, call.workspace_id))
    return Page[Stop](
        data=[
            Stop(
                scope=one.scope,
                target_id=ids.to_text(one.scope, one.target_id) if one.target_id else None,
                what=one.what,
                set_at=one.set_at,
            )
            for one in found
        ]
    )


@route("POST", "/stops", scope="stops:write", body=StopBody, out=Stop, status=201)
async def press_stop(call: Call[StopBody, None]) -> Stop:
    """Stops marketing, or everything, within a second."""
    body, target = call.body, _target(call.body.scope, call.body.target_id)

    def work(connection: Connection) -> Stop:
        now = call.now()
        stops.press(
            connection,
            call.workspace_id,
            scope=body.scope,
            target_id=target,
            what=body.what,
            by=call.actor,
            now=now,
        )
        _note(connection, call, "stop_pressed", body.scope)
        return Stop(scope=body.scope, target_id=body.target_id, what=body.what, set_at=now)

    return await call.write(work)


@route("DELETE", "/stops", scope="stops:write", query=StopQuery, status=204)
async def lift_stop(call: Call[None, StopQuery]) -> None:
    """Lets go of a stop; campaigns that it paused are resumed by a person."""
    query, target = call.query, _target(call.query.scope, call.query.target_id)

    def work(connection: Connection) -> None:
        if not stops.release(connection, call.workspace_id, scope=query.scope, target_id=target):
            raise NotFound("nothing is stopped there")
        _note(connection, call, "stop_lifted", query.scope)

    await call.write(work)
    call.runtime.signals.notify("outbox")


@route("GET", "/jobs/{job_id}", scope="jobs:read", out=Job)
async def get_job(call: Call[None, None]) -> Job:
    """One job and its progress."""

    def work(connection: Connection) -> Job:
        row = connection.execute(
            text(
                "SELECT id, kind, state, progress, attempts, problem, created_at, updated_at FROM job "
                "WHERE workspace_id = :workspace AND id = :id"
            ),
            {"workspace": call.workspace_id, "id": call.ids["job"]},
        ).one_or_none()
        if row is None:
            raise NotFound("there is no such job")
        return Job(
            id=row.id,
            kind=row.kind,
            state=("open", "failed", "done")[row.state],
            progress=msgspec.json.decode(row.progress),
            attempts=row.attempts,
            problem=row.problem,
            created_at=row.created_at,
            updated_at=row.updated_at,
        )

    return await call.read(work)


def _target(scope: str, target_id: str | None) -> int:
    if scope == "workspace":
        if target_id is not None:
            raise RejectedInput("a workspace's stop names no target", where="target_id")
        return 0
    if target_id is None:
        raise RejectedInput(f"names the {scope}", where="target_id")
    return ids.from_text(scope, target_id, where="target_id")


def _note(connection: Connection, call: Call[Any, Any], action: str, target: str) -> None:
    audit(
        connection,
        workspace_id=call.workspace_id,
        actor=call.actor,
        action=action,
        target=target,
        new_id=call.runtime.new_id,
        now=call.now(),
    )
