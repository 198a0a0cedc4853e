"""`doctor`: looks at the installation and says, point by point, what is well and what to mend."""

from __future__ import annotations

from typing import Any

import msgspec
from sqlalchemy import Connection, text

from bot import stops
from bot.condition import LOW_DISK, disk_free
from config.operations import Context, Result, operation
from config.operations.channels import said
from config.settings import SECRET_FILE
from crm import proof
from domain.errors import SendError
from storage import schema

GOOD, WARN, BAD = "good", "warning", "bad"


class Doctor(msgspec.Struct, forbid_unknown_fields=True):
    """`platforms`: also ask every platform whether it knows us."""

    platforms: bool = False


@operation("doctor", Doctor)
async def doctor(context: Context, arguments: Doctor) -> Result:
    """`{well, points: [{name, state, what}]}`; `well` is false when a point is bad."""
    points = [
        await _store(context),
        _secret(context),
        _disk(context),
        *await context.app.database.read(lambda connection: _rows(connection, context)),
    ]
    if arguments.platforms:
        points += [await _platform(context, channel) for channel in context.app.live.channels.all()]
    return {"well": all(point["state"] != BAD for point in points), "points": points}


def _point(name: str, state: str, what: str) -> dict[str, str]:
    return {"name": name, "state": state, "what": what}


async def _store(context: Context) -> dict[str, str]:
    database = context.app.database
    await database.write(lambda connection: connection.execute(text("SELECT 1")).scalar())
    version = await database.read(schema.current)
    if not schema.reaches(version):
        return _point(
            "store", BAD, f"the schema is {version}, this program needs {schema.head()}: passaparola migrate"
        )
    kind = "SQLite" if database.dialect.name == "sqlite" else "PostgreSQL"
    return _point("store", GOOD, f"{kind} answers, schema {version}")


def _secret(context: Context) -> dict[str, str]:
    settings = context.app.settings
    if settings.secret_key is not None:
        return _point("secret", GOOD, "the secret key comes from the environment")
    path = settings.data_dir / SECRET_FILE
    if path.stat().st_mode & 0o077:
        return _point("secret", BAD, f"others may read {path}: chmod 600 {path}")
    return _point(
        "secret",
        WARN,
        f"the secret key lies beside the data, in {path}: move it into PASSAPAROLA_SECRET_KEY, so that a copy of the "
        "folder alone opens nothing",
    )


def _disk(context: Context) -> dict[str, str]:
    folder = context.app.settings.data_dir
    free = disk_free(folder)
    if free is None:
        return _point("disk", BAD, f"{folder} cannot be looked at: see PASSAPAROLA_DATA_DIR")
    state = GOOD if free > LOW_DISK else BAD
    return _point("disk", state, f"{free / 1e9:.1f} GB free at {folder}")


def _rows(connection: Connection, context: Context) -> list[dict[str, str]]:
    workspace_id = context.workspace_id
    problems = proof.verify(connection, workspace_id=workspace_id)
    points = [_point("consents", BAD, problem) for problem in problems[:20]]
    if not problems:
        points.append(_point("consents", GOOD, "the consent ledger holds together"))
    failing = {channel.id: problem for channel, problem in context.app.live.pollers.failing()}
    for row in connection.execute(
        text("SELECT id, name, state, state_reason FROM channel WHERE workspace_id = :w ORDER BY id"),
        {"w": workspace_id},
    ).all():
        name = f"channel {row.name}"
        if row.id in failing:
            points.append(_point(name, BAD, f"gives us no messages: {failing[row.id]}"))
        elif row.state == "active":
            points.append(_point(name, GOOD, "active"))
        else:
            points.append(_point(name, WARN, f"{row.state}: {row.state_reason}".rstrip(": ")))
    parked = _count(
        connection, "SELECT count(*) FROM intake WHERE workspace_id = :w AND state = 1", workspace_id
    )
    points.append(
        _point("parked", WARN if parked else GOOD, f"{parked} parked events: passaparola parked list")
    )
    jobs = _count(connection, "SELECT count(*) FROM job WHERE workspace_id = :w AND state = 1", workspace_id)
    points.append(_point("jobs", WARN if jobs else GOOD, f"{jobs} jobs failed"))
    for stop in stops.stops(connection, workspace_id):
        points.append(_point("stop", WARN, f"the stop button is pressed: {stop.what}, {stop.scope}"))
    return points


def _count(connection: Connection, statement: str, workspace_id: int) -> int:
    return int(connection.execute(text(statement), {"w": workspace_id}).scalar() or 0)


async def _platform(context: Context, channel: Any) -> dict[str, str]:
    name = f"channel {channel.name}"
    try:
        account = await context.app.management(channel).identify()
        if channel.mode != "webhook":
            return _point(name, GOOD, f"the platform knows it as {account.username or account.id}")
        health = await context.app.management(channel).webhook_health()
    except SendError as error:
        return _point(name, BAD, said(error, context.app.origin(channel)))
    if health.last_error:
        return _point(name, WARN, f"{health.pending} deliveries wait; the last error: {health.last_error}")
    return _point(name, GOOD, f"deliveries go to {health.url or 'nowhere that the platform tells'}")
