"""What a failed send means beyond its message: for the person, the address, the channel.

Applied in the settling transaction. The reasons are the closed list of `SendFailure`; each channel's error table has
translated the vendor's codes before.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

from sqlalchemy import Connection, text

from bot import channel_store
from bot.settling import Result
from crm import consent, identities, suppression
from domain.errors import SendFailure
from storage.sealing import Sealer
from storage.statements import bulk, insert_rows

CAP_REST_MS = 24 * 3_600_000  # a platform's own marketing cap for a person is not asked again before that

_GONE = {SendFailure.blocked_by_contact: "blocked", SendFailure.unreachable: "gone"}
_LOG = {
    "id": "BIGINT",
    "workspace_id": "BIGINT",
    "channel_id": "BIGINT",
    "what": "TEXT",
    "outcome": "TEXT",
    "detail": "TEXT",
    "at": "BIGINT",
}


def apply(
    connection: Connection, results: Sequence[Result], *, sealer: Sealer, new_id: Callable[[], int], now: int
) -> None:
    """Writes the effects of all failures among the results."""
    failures = [result for result in results if result.reason and result.channel_id]
    if not failures:
        return
    _people(connection, failures, sealer, new_id, now)
    _channels(connection, failures, now)
    _moves(connection, [f for f in failures if f.new_address])
    _log(connection, failures, new_id, now)


def _people(
    connection: Connection, failures: list[Result], sealer: Sealer, new_id: Callable[[], int], now: int
) -> None:
    gone: dict[tuple[int, str], list[int]] = {}
    for failure in failures:
        if failure.identity_id and failure.reason in _GONE:
            key = (failure.workspace_id, _GONE[SendFailure(failure.reason)])
            gone.setdefault(key, []).append(failure.identity_id)
    for (workspace_id, state), ids in gone.items():
        identities.set_state(connection, workspace_id=workspace_id, identity_ids=ids, state=state, now=now)
    wishes = [
        consent.OptOut(
            workspace_id=f.workspace_id,
            identity_id=f.identity_id,
            purpose=suppression.ANY_PURPOSE,
            source={"platform": True},
            evidence={"message": f.id, "code": f.code},
            language="",
            at=f.at,
            reason="platform",
        )
        for f in failures
        if f.identity_id and f.reason == SendFailure.opted_out
    ]
    if wishes:
        consent.opt_out(connection, wishes, keyed_hash=sealer.keyed_hash, new_id=new_id, now=now)
    capped = [f.identity_id for f in failures if f.identity_id and f.reason == SendFailure.capped]
    if capped:
        connection.execute(
            text(
                "UPDATE identity SET marketing_not_before = :until "
                "WHERE id IN (SELECT CAST(e.value ->> 'id' AS BIGINT) FROM json_each(:ids) e)"
            ),
            {"until": now + CAP_REST_MS, "ids": bulk({"id": i} for i in capped)},
        )


def _channels(connection: Connection, failures: list[Result], now: int) -> None:
    for channel_id in {f.channel_id for f in failures if f.reason == SendFailure.auth}:
        channel_store.set_state(connection, channel_id, "stopped", "the platform refuses our credentials")
    limited = {(f.workspace_id, f.channel_id) for f in failures if f.reason == SendFailure.sender_limit}
    for workspace_id, channel_id in limited:
        connection.execute(
            text(
                "INSERT INTO stop (workspace_id, scope, target_id, what, by, set_at) VALUES "
                "(:workspace, 'channel', :channel, 'marketing', 'platform limit', :now) ON CONFLICT DO NOTHING"
            ),
            {"workspace": workspace_id, "channel": channel_id, "now": now},
        )


def _moves(connection: Connection, moved: list[Result]) -> None:
    """A group became a supergroup: everything that knew its old address learns the new one."""
    for one in moved:
        old = connection.execute(text("SELECT address FROM outbox WHERE id = :id"), {"id": one.id}).scalar()
        if old is None:
            continue
        values = {"new": one.new_address, "old": old, "channel": one.channel_id}
        for table in ("outbox", "outlet", "conversation"):
            connection.execute(
                text(f"UPDATE {table} SET address = :new WHERE channel_id = :channel AND address = :old"),
                values,
            )


def _log(connection: Connection, failures: list[Result], new_id: Callable[[], int], now: int) -> None:
    rows = [
        {
            "id": new_id(),
            "workspace_id": f.workspace_id,
            "channel_id": f.channel_id,
            "what": "send",
            "outcome": f.state,
            "detail": f"message {f.id} attempt {f.attempt}: {f.reason} {f.code}".strip(),
            "at": now,
        }
        for f in failures
    ]
    connection.execute(text(insert_rows("channel_log", _LOG)), {"rows": bulk(rows)})
