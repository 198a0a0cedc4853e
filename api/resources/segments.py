"""`/segments`: predicates under a name, and how many contacts they have now."""

from __future__ import annotations

from typing import Any

from pydantic import Field
from sqlalchemy import Connection

from api.models import Input, Output, Page, PageQuery, SegmentId, numeric_cursor, page_of
from api.routing import Call, route
from crm import saved_segments
from crm.saved_segments import MAX_NAME, SegmentView
from crm.segments import count
from domain import predicates
from domain.predicates import sentence


class Segment(Output):
    """A saved predicate. `sentences`: how it reads, by language."""

    id: SegmentId
    name: str
    predicate: dict[str, Any]
    sentences: dict[str, str]
    created_at: int
    updated_at: int


class NewSegment(Input):
    """A predicate to save."""

    name: str = Field(min_length=1, max_length=MAX_NAME)
    predicate: dict[str, Any]


class PredicateBody(Input):
    """A predicate."""

    predicate: dict[str, Any]


class Count(Output):
    """How many contacts fulfil it now."""

    count: int


@route("GET", "/segments", scope="segments:read", query=PageQuery, out=Page[Segment])
async def list_segments(call: Call[None, PageQuery]) -> Page[Segment]:
    """Saved segments in the order in which they were made."""
    query, after = call.query, numeric_cursor(call.query.after)
    found = await call.read(
        lambda c: saved_segments.segments(c, call.workspace_id, after=after, limit=query.limit + 1)
    )
    page = page_of(found, query.limit, lambda one: one.id)
    return Page[Segment](data=[_shown(one) for one in page.data], next=page.next)


@route("GET", "/segments/{segment_id}", scope="segments:read", out=Segment)
async def get_segment(call: Call[None, None]) -> Segment:
    """One saved segment."""
    return _shown(await call.read(lambda c: saved_segments.get(c, call.workspace_id, call.ids["segment"])))


@route("POST", "/segments", scope="segments:write", body=NewSegment, out=Segment, status=201)
async def create_segment(call: Call[NewSegment, None]) -> Segment:
    """Saves a segment."""
    body = call.body

    def work(connection: Connection) -> Segment:
        segment_id = saved_segments.create(
            connection,
            call.workspace_id,
            name=body.name,
            predicate=body.predicate,
            new_id=call.runtime.new_id,
            now=call.now(),
        )
        return _shown(saved_segments.get(connection, call.workspace_id, segment_id))

    return await call.write(work)


@route("DELETE", "/segments/{segment_id}", scope="segments:write", status=204)
async def delete_segment(call: Call[None, None]) -> None:
    """Forgets a segment; campaigns keep their own copy."""
    await call.write(lambda c: saved_segments.delete(c, call.workspace_id, call.ids["segment"]))


@route("GET", "/segments/{segment_id}/count", scope="segments:read", out=Count)
async def count_segment(call: Call[None, None]) -> Count:
    """How many contacts are in a segment now."""

    def work(connection: Connection) -> Count:
        found = saved_segments.get(connection, call.workspace_id, call.ids["segment"])
        return _count(connection, call.workspace_id, found.predicate, call.now())

    return await call.read(work)


@route("POST", "/segments/count", scope="segments:read", body=PredicateBody, out=Count)
async def count_predicate(call: Call[PredicateBody, None]) -> Count:
    """How many contacts fulfil a predicate now."""
    return await call.read(lambda c: _count(c, call.workspace_id, call.body.predicate, call.now()))


def _count(connection: Connection, workspace_id: int, predicate: Any, now: int) -> Count:
    parsed = predicates.parse(predicate)
    return Count(count=count(connection, workspace_id=workspace_id, predicate=parsed, now=now))


def _shown(one: SegmentView) -> Segment:
    parsed = predicates.parse(one.predicate)
    return Segment(
        id=one.id,
        name=one.name,
        predicate=one.predicate,
        sentences={language: sentence(parsed, language) for language in ("it", "en")},
        created_at=one.created_at,
        updated_at=one.updated_at,
    )
