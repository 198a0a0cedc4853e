"""`/flows/{id}/start` and `/contacts/{id}/events`: programs start flows, or tell what happened and let triggers decide.

Both happen once per `Idempotency-Key`, and in order with what the person writes.
"""

from __future__ import annotations

from typing import Annotated, Any

from pydantic import Field
from sqlalchemy import Connection

from api.models import ContactId, ConversationId, Input, Output
from api.routing import Call, route
from bot import doors, flow_views, handover, occasions
from crm import contacts
from domain.errors import RejectedInput
from flows.triggers import Occasion

MAX_VALUES = 50  # variables of a start, data of an event: they are part of the session's row
MAX_VALUE = 4_000  # characters of each: a long text of a person's
MAX_NAME = 100
Name = Annotated[str, Field(max_length=MAX_NAME)]
Value = Annotated[str, Field(max_length=MAX_VALUE)] | int | float | bool | None
EVENT_NAME = r"^[A-Za-z0-9][A-Za-z0-9_.:-]{0,99}$"


class NewStart(Input):
    """Where a flow starts: in a conversation, or in the contact's latest private one. `interrupts` false: only where no
    flow waits and no person has the conversation."""

    contact_id: ContactId | None = None
    conversation_id: ConversationId | None = None
    variables: dict[Name, Value] = Field(default_factory=dict, max_length=MAX_VALUES)
    interrupts: bool = True


class NewEvent(Input):
    """Something that happened with a contact: `{event: name}` is the trigger that hears it, `data` become variables."""

    name: str = Field(pattern=EVENT_NAME, max_length=MAX_NAME)
    data: dict[Name, Value] = Field(default_factory=dict, max_length=MAX_VALUES)


class Taken(Output):
    """`accepted` false: no published flow hears it, or the person has no chat with us."""

    accepted: bool = True


@route("POST", "/flows/{flow_id}/start", scope="conversations:write", body=NewStart, out=Taken, status=202)
async def start_flow(call: Call[NewStart, None]) -> Taken:
    """Starts a flow for one person."""
    body = call.body
    if (body.contact_id is None) == (body.conversation_id is None):
        raise RejectedInput("give contact_id or conversation_id", where="contact_id")

    def work(connection: Connection) -> Taken:
        flow = flow_views.flow(connection, call.workspace_id, call.ids["flow"])
        conversation_id = body.conversation_id or _latest(connection, call, body.contact_id or 0)
        handover.command(
            connection,
            call.workspace_id,
            conversation_id,
            "start_flow",
            by=call.actor,
            data={
                "flow": flow.key,
                "variables": body.variables,
                "interrupts": body.interrupts,
                "trigger": "api",
            },
            sealer=call.runtime.sealer,
            new_id=call.runtime.new_id,
            now=call.now(),
        )
        return Taken()

    taken = await call.write(work)
    call.runtime.signals.notify("intake")
    return taken


def _latest(connection: Connection, call: Call[Any, None], contact_id: int) -> int:
    contacts.get(connection, workspace_id=call.workspace_id, contact_id=contact_id)
    door = doors.latest(connection, call.workspace_id, contact_id)
    if door is None:
        raise RejectedInput("this contact has no private conversation", where="contact_id")
    return door.conversation_id


@route("POST", "/contacts/{contact_id}/events", scope="contacts:write", body=NewEvent, out=Taken, status=202)
async def tell_event(call: Call[NewEvent, None]) -> Taken:
    """Tells that something happened with a contact."""
    contact_id = call.ids["contact"]
    occasion = Occasion(kind="event", what=call.body.name, data=dict(call.body.data))

    def work(connection: Connection) -> Taken:
        contacts.get(connection, workspace_id=call.workspace_id, contact_id=contact_id)
        raised = occasions.raise_for(
            connection,
            call.live.flows,
            workspace_id=call.workspace_id,
            contact_id=contact_id,
            occasions=[occasion],
            sealer=call.runtime.sealer,
            new_id=call.runtime.new_id,
            now=call.now(),
        )
        return Taken(accepted=raised > 0)

    taken = await call.write(work)
    call.runtime.signals.notify("intake")
    return taken
