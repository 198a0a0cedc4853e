"""Taking back what has not left: queued messages of a run or a post that shall not be sent after all, or not now.

Only `queued` rows go. The sender marks an item `sending` by an update of the same row that asks for `queued`, so each
message is either withdrawn or sent and never both, and what a sender holds in its memory is refused by that mark. A
withdrawn message leaves no trace in the conversation: nobody has seen it.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

from sqlalchemy import Connection, text

from storage.statements import bulk_values


class Withdrawn(NamedTuple):
    """An item that was taken out; `not_before` is when it would have been tried."""

    message_id: int
    contact_id: int
    not_before: int


def withdraw_run(
    connection: Connection, run_id: int, *, limit: int, postponed_past: int | None = None
) -> list[Withdrawn]:
    """Takes back up to `limit` queued messages of a run (index outbox_run); with `postponed_past` only those that were
    never tried and may not go before that time (ms UTC)."""
    late = "" if postponed_past is None else "AND attempt = 0 AND not_before > :past "
    return _withdraw(
        connection,
        f"run_id = :run AND run_id <> 0 AND state = 1 {late}",
        {"run": run_id, "limit": limit, "past": postponed_past or 0},
    )


def withdraw_message(connection: Connection, message_id: int) -> bool:
    """Takes back one message; False when it is being sent, was sent, or is not there."""
    return bool(_withdraw(connection, "id = :id AND state = 1 ", {"id": message_id, "limit": 1}))


def _withdraw(connection: Connection, which: str, values: dict[str, int]) -> list[Withdrawn]:
    rows: Sequence[Withdrawn] = [
        Withdrawn(*row)
        for row in connection.execute(
            text(
                f"DELETE FROM outbox WHERE state = 1 AND id IN (SELECT id FROM outbox WHERE {which}"
                "ORDER BY +id LIMIT :limit) RETURNING id, contact_id, not_before"
            ),
            values,
        )
    ]
    if rows:
        connection.execute(
            text(
                "DELETE FROM message WHERE id IN (SELECT CAST(e.value ->> 'v' AS BIGINT) FROM json_each(:ids) e)"
            ),
            {"ids": bulk_values(row.message_id for row in rows)},
        )
    return list(rows)
