"""Values that flows use by their names and never see: sealed, opened to write a request, shown to nobody."""

from __future__ import annotations

import re
from collections.abc import Callable, Collection, Sequence
from typing import NamedTuple

from sqlalchemy import Connection, text

from domain.errors import NotFound, RejectedInput
from storage.sealing import Sealer
from storage.statements import bulk_values

MAX_SECRETS = 200  # of a workspace: one for each service, and then some
MAX_VALUE = 4_000  # characters; a header line has 8 kB
_NAME = re.compile(r"[a-z][a-z0-9_]{0,63}")


class Named(NamedTuple):
    """What people see of a secret. `updated_at` in ms UTC; `by` is who set it last."""

    name: str
    by: str
    updated_at: int


def put(
    connection: Connection,
    *,
    workspace_id: int,
    name: str,
    value: str,
    by: str,
    sealer: Sealer,
    new_id: Callable[[], int],
    now: int,
) -> bool:
    """Sets a secret; true when there was none of the name. Raises RejectedInput."""
    if not _NAME.fullmatch(name):
        raise RejectedInput("a name has small letters, figures and _, at most 64", where="name")
    if not 0 < len(value) <= MAX_VALUE or not value.isprintable() or not value.isascii():
        raise RejectedInput(f"a value has 1 to {MAX_VALUE} plain characters, in one line", where="value")
    known = {one.name for one in names(connection, workspace_id)}
    if name not in known and len(known) >= MAX_SECRETS:
        raise RejectedInput(f"there are at most {MAX_SECRETS} secrets", where="name")
    remove_quietly(connection, workspace_id, name)
    secret_id = new_id()  # a new row each time: the value is sealed to it
    connection.execute(
        text(
            "INSERT INTO secret (id, workspace_id, name, value, by, updated_at) "
            "VALUES (:id, :workspace, :name, :value, :by, :now)"
        ),
        {
            "id": secret_id,
            "workspace": workspace_id,
            "name": name,
            "value": sealer.seal(value.encode(), table="secret", row=secret_id, column="value"),
            "by": by,
            "now": now,
        },
    )
    return name not in known


def remove(connection: Connection, workspace_id: int, name: str) -> None:
    """Takes a secret away. Raises NotFound."""
    if not remove_quietly(connection, workspace_id, name):
        raise NotFound(f"there is no secret {name!r}")


def remove_quietly(connection: Connection, workspace_id: int, name: str) -> bool:
    """Whether there was one."""
    gone = connection.execute(
        text("DELETE FROM secret WHERE workspace_id = :workspace AND name = :name"),
        {"workspace": workspace_id, "name": name},
    )
    return gone.rowcount > 0


def names(connection: Connection, workspace_id: int) -> Sequence[Named]:
    """All secrets of a workspace, without their values."""
    rows = connection.execute(
        text("SELECT name, by, updated_at FROM secret WHERE workspace_id = :workspace ORDER BY name"),
        {"workspace": workspace_id},
    ).all()
    return [Named(*row) for row in rows]


def values(
    connection: Connection, workspace_id: int, wanted: Collection[str], *, sealer: Sealer
) -> dict[str, str]:
    """The values of those of these names that are there."""
    if not wanted:
        return {}
    rows = connection.execute(
        text(
            "SELECT id, name, value FROM secret WHERE workspace_id = :workspace AND name IN "
            "(SELECT e.value ->> 'v' FROM json_each(:names) e)"
        ),
        {"workspace": workspace_id, "names": bulk_values(wanted)},
    ).all()
    return {
        row.name: sealer.open(row.value, table="secret", row=row.id, column="value").decode() for row in rows
    }
