"""`/flows/{id}/steps`: how people got through a version of a flow, step by step."""

from __future__ import annotations

from pydantic import Field
from sqlalchemy import Connection

from api.models import FlowId, Input, Output, VersionId
from api.routing import Call, route
from bot import flow_history, passages
from bot.passages import MAX_DAYS, Passage


class StepsQuery(Input):
    """`number`: which version, 0 for the published one; `days`: today and so many days before it, at most a year."""

    number: int = Field(0, ge=0)
    days: int = Field(30, ge=1, le=MAX_DAYS)


class StepCounts(Output):
    """What happened at a step. `left`: the conversation ended there although it waited; `median_s`: seconds until an
    answer, within a tenth."""

    step_id: str
    entered: int
    answered: int
    invalid: int
    skipped: int
    timeout: int
    left: int
    median_s: float | None


class FlowSteps(Output):
    """`starts`: how often by which trigger; `ends`: how often with which outcome; the steps that most people entered
    come first."""

    flow_id: FlowId
    version_id: VersionId
    number: int
    starts: dict[str, int]
    ends: dict[str, int]
    steps: list[StepCounts]


@route("GET", "/flows/{flow_id}/steps", scope="flows:read", query=StepsQuery, out=FlowSteps)
async def list_flow_steps(call: Call[None, StepsQuery]) -> FlowSteps:
    """How people got through a version of a flow."""
    flow_id, query = call.ids["flow"], call.query

    def read(connection: Connection) -> tuple[int, Passage]:
        flow = flow_history.by_id(connection, call.workspace_id, flow_id)
        return passages.of_version(
            connection, call.workspace_id, flow, query.number, days=query.days, now=call.now()
        )

    number, found = await call.read(read)
    return FlowSteps(
        flow_id=flow_id,
        version_id=found.flow_version_id,
        number=number,
        starts=found.starts,
        ends=found.ends,
        steps=[
            StepCounts(**{name: getattr(one, name) for name in StepCounts.model_fields})
            for one in found.steps
        ],
    )
