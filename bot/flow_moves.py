"""The people inside a flow move to its new version, by a durable job.

The job writes to no session: it appends to each person's conversation an event that asks for the move, which is judged
when its turn has come (`dialogue.move`); who has moved on by then, or has ended, is left alone. So asking twice does
nothing more, and a job that was cut off in the middle goes on from its cursor. It goes in slices, and waits while other
events are waiting: people who write now come first. When it has come to the end it looks once more after two seconds,
for those who began in the old version while the processes were learning of the new one.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any, Protocol

from sqlalchemy import Connection, text

from bot import intake, standing
from bot.runtime import Runtime
from bot.standing import Cursor, Stand
from domain.errors import RejectedInput
from domain.events import Event, SessionCommand
from flows.versions import CompiledFlow
from storage import jobs
from storage.database import scalar_int
from storage.jobs import Again, Done, Running, job
from storage.sealing import Sealer

KINDS = ("flow_move",)
PEOPLE = ("stay", "move", "restart")
SLICE = 200  # people asked in one transaction: some rounds of a worker
MAX_WAITING = (
    1_000  # open events of the installation past which the job waits: people who write now come first
)
AGAIN_MS = 1_000
LOOK_AGAIN_MS = 2_000  # longer than processes need to notice a new version
MAX_MAP = 1_000  # steps that a mapping names: as many as a flow has


class Context(Protocol):
    """What the job needs of the process."""

    runtime: Runtime


def checked(people: str, mapping: Mapping[str, str], to: CompiledFlow) -> None:
    """Raises RejectedInput when the wish for the people inside cannot be meant."""
    if people not in PEOPLE:
        raise RejectedInput(f"must be one of {', '.join(PEOPLE)}", where="people")
    if mapping and people != "move":
        raise RejectedInput("steps are mapped when people move", where="map")
    if len(mapping) > MAX_MAP:
        raise RejectedInput(f"at most {MAX_MAP} steps", where="map")
    for target in mapping.values():
        if target not in to.steps:
            raise RejectedInput(f"the new version has no step {target!r}", where="map")


def add(
    connection: Connection,
    *,
    workspace_id: int,
    flow_id: int,
    key: str,
    version_id: int,
    people: str,
    mapping: Mapping[str, str],
    by: str,
    sealer: Sealer,
    new_id: Callable[[], int],
    now: int,
) -> int:
    """The job that moves (or restarts) the people inside the older versions; gives its id."""
    job_key = f"{version_id}:{new_id()}"
    payload = {
        "flow_id": flow_id,
        "key": key,
        "version": version_id,
        "how": people,
        "map": dict(mapping),
        "by": by,
    }
    jobs.add(
        connection,
        workspace_id=workspace_id,
        kind="flow_move",
        key=job_key,
        payload=payload,
        due_at=now,
        sealer=sealer,
        new_id=new_id,
        now=now,
    )
    return scalar_int(
        connection,
        "SELECT id FROM job WHERE workspace_id = :workspace AND kind = 'flow_move' AND key = :key",
        {"workspace": workspace_id, "key": job_key},
    )


@job("flow_move")
async def flow_move(context: Context, running: Running) -> Done | Again:
    """One slice; `progress`: {asked}, people whose conversation was asked to move."""
    runtime, payload = context.runtime, running.payload
    look, version_id, session_id, asked = map(int, (running.cursor or "1:0:0:0").split(":"))
    if await runtime.database.read(_busy):
        return Again(running.cursor, {"asked": asked}, runtime.clock() + AGAIN_MS)
    found = await runtime.database.read(
        lambda c: standing.page(
            c,
            running.workspace_id,
            int(payload["flow_id"]),
            str(payload["key"]),
            Cursor(version_id, session_id),
            limit=SLICE,
        )
    )
    wanted = [stand for stand in found.stands if stand.version_id < int(payload["version"])]
    if wanted:
        await runtime.database.write(lambda c: _ask(c, runtime, running, wanted))
        runtime.signals.notify("intake")
        asked += len(wanted) if look == 1 else 0
    if found.next is not None:
        return Again(f"{look}:{found.next.version_id}:{found.next.session_id}:{asked}", {"asked": asked})
    if look == 1:
        return Again(f"2:0:0:{asked}", {"asked": asked}, runtime.clock() + LOOK_AGAIN_MS)
    return Done({"asked": asked})


def _busy(connection: Connection) -> bool:
    waiting = connection.execute(
        text("SELECT count(*) FROM (SELECT 1 FROM intake WHERE state = 0 LIMIT :n) AS waiting"),
        {"n": MAX_WAITING},
    ).scalar()
    return int(waiting or 0) >= MAX_WAITING


def _ask(connection: Connection, runtime: Runtime, running: Running, stands: list[Stand]) -> None:
    payload, now = running.payload, runtime.clock()

    def wish(stand: Stand) -> Event:
        data: dict[str, Any] = {
            "by": payload["by"],
            "session": stand.session_id,
            "version": int(payload["version"]),
            "how": payload["how"],
            "map": payload["map"],
        }
        return SessionCommand(
            key=f"move:{running.id}:{stand.session_id}",
            occurred_at=now,
            conversation_id=stand.conversation_id,
            what="move",
            data=data,
        )

    intake.append_own(
        connection,
        [(running.workspace_id, one.channel_id, one.slot, one.intake_key, wish(one)) for one in stands],
        sealer=runtime.sealer,
        new_id=runtime.new_id,
        now=now,
    )
