"""Settling: what is known of an attempt takes its message out of the outbox, or keeps it there.

  sent                 -> the next of the turn is released
  failed (content)     -> the next of the turn is released
  failed (person gone) -> the rest of the turn is skipped
  retry (429, not connected) -> queued again, the turn waits; past its `expires_at` it is expired, with the rest
  unknown              -> a conversational item goes once more, marked "possibly twice"; a marketing one, or a post
                          that everybody would see twice, never: it stays `unknown`, visible, until a status tells

A result settles by (item, attempt): the true result of a former owner still counts. Answer timeouts of a turn start
when its last message was accepted. Those who own runs and posts hear outcomes in the same transaction (`@settles`).

Nearly every result says that the attempt which is under way was sent: that has a way of its own, of few statements.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from typing import Any, NamedTuple

from msgspec import Struct, structs
from sqlalchemy import Connection, text

from bot.outbox import LANE, SENDING, Item
from domain.messages import RANK, MessageClass, MessageStatus
from storage.bulk_writes import BulkDelete, BulkUpdate
from storage.database import dialect
from storage.statements import bulk, bulk_values, json_rows, prepared

MAX_TRIES = 12  # certain failures in a row (back-off up to a minute each) before an item counts as failed
ORDER_WAIT_MS = 3_000  # how long the next of a turn waits for "delivered" where acceptance gives no order


class Result(Struct, kw_only=True):
    """What one attempt gave. `state`: sent | failed | skipped | retry | unknown | expired.

    `rest`: what happens to the rest of the turn: "release" or "skip". `ordered`: the next waits for "delivered".
    """

    id: int
    attempt: int
    state: str
    at: int
    external_id: str = ""
    reason: str = ""
    code: str = ""
    retry_at: int = 0
    counts_as_try: bool = True  # false: waiting for the platform is no failure of the message
    part: int = 0
    rest: str = "release"
    ordered: bool = False
    workspace_id: int = (
        0  # the next five are for what a failure means beyond the message (`bot.consequences`)
    )
    channel_id: int = 0
    contact_id: int = 0
    identity_id: int = 0
    new_address: str = ""
    item: Item | None = None  # what was sent: its row need not be read once more


class Outcome(Struct, frozen=True, kw_only=True):
    """Told to `@settles` functions. `state`: sent | failed | skipped | unknown | expired, or, on the second axis,
    delivered | read. `previous`: "" for a first outcome, else what it was ("unknown", "sent")."""

    message_id: int
    workspace_id: int
    run_id: int
    campaign_id: int
    contact_id: int
    outlet_id: int
    state: str
    previous: str = ""
    reason: str = ""
    external_id: str = ""
    at: int = 0


Settler = Callable[..., None]
_settlers: list[Settler] = []


def settles(function: Settler) -> Settler:
    """Registers `function(connection, outcomes, *, new_id, now)`: called in the transaction that settles them."""
    if function not in _settlers:
        _settlers.append(function)
    return function


def tell(connection: Connection, outcomes: Sequence[Outcome], *, new_id: Callable[[], int], now: int) -> None:
    """Tells the registered rooms, in the caller's transaction."""
    mine = [o for o in outcomes if o.run_id or o.outlet_id]
    if mine:
        for function in _settlers:
            function(connection, mine, new_id=new_id, now=now)


class Settled(NamedTuple):
    """What a settling transaction did: items that may go now, and outcomes by message."""

    released: list[Item]
    outcomes: list[Outcome]


_TRUE_STATES = {"sent", "failed"}  # what only the one who wrote the bytes can know
_REFUSED = {"skipped", "expired"}  # said before any byte: the item is still queued


def settle(
    connection: Connection, results: Sequence[Result], *, new_id: Callable[[], int], now: int
) -> Settled:
    """Applies results; gives what they released. Applying a result twice changes nothing."""
    settled = Settled([], [])
    if all(result.state == "sent" for result in results) and len({r.id for r in results}) == len(results):
        settled, results = _settle_sent(connection, results, new_id=new_id, now=now)
    while results:
        # Of one item: a former owner's result beside the next one's, each after what the one before did.
        first, results = _one_each(results)
        after = _settle(connection, first, new_id=new_id, now=now)
        settled = Settled([*settled.released, *after.released], [*settled.outcomes, *after.outcomes])
    return settled


_SENT = {"id": "BIGINT", "attempt": "SMALLINT", "external_id": "TEXT", "at": "BIGINT"}
_SENT_RANK = RANK[MessageStatus.sent]
_apply_sent = BulkUpdate(
    "message",
    _SENT,
    sets=f"status = CASE WHEN status_rank < {_SENT_RANK} THEN 'sent' ELSE status END, "
    f"status_rank = CASE WHEN status_rank < {_SENT_RANK} THEN {_SENT_RANK} ELSE status_rank END, "
    "external_id = CASE WHEN v.external_id <> '' THEN v.external_id ELSE message.external_id END, "
    "reason = '', code = '', sent_at = COALESCE(sent_at, v.at)",
    where="message.id = v.id",
)
_take_sent = BulkDelete(
    "outbox",
    _SENT,
    where=f"outbox.id = v.id AND outbox.state = {SENDING} AND outbox.attempt = v.attempt",
    returning=["id", "workspace_id", "contact_id", "outlet_id", "turn_id", "run_id", "campaign_id"],
    then=_apply_sent,
)


def _settle_sent(
    connection: Connection, results: Sequence[Result], *, new_id: Callable[[], int], now: int
) -> tuple[Settled, Sequence[Result]]:
    """What was sent by the attempt that is under way is out. Gives those results, too, of which that is not so."""
    by_id = {result.id: result for result in results}
    sent = [(r.id, r.attempt, r.external_id, r.at) for r in results]
    items = [r.item for r in results if r.item is not None]
    rows = _take_sent.found(connection, sent, known=items if len(items) == len(sent) else None)
    if not rows:
        return Settled([], []), results
    outcomes: list[Outcome] = []
    turns: dict[int, int] = {}
    for row in rows:
        result = by_id.pop(row.id)
        outcomes.append(_outcome(row, result, "sent", campaign_id=row.campaign_id))
        if row.turn_id:
            turns[row.turn_id] = now + ORDER_WAIT_MS if result.ordered else 0
    released = _go_on(connection, turns, now) if turns else []
    tell(connection, outcomes, new_id=new_id, now=now)
    settled = Settled(released, outcomes)
    return settled, list(by_id.values())


def _go_on(connection: Connection, turns: dict[int, int], now: int) -> list[Item]:
    """These turns lost their head: the next is queued, or the turn is through."""
    if dialect(connection).for_update:
        rows = bulk({"turn": turn, "at": at} for turn, at in turns.items())
        found = connection.execute(prepared(_RELEASE_OR_END), {"rows": rows, "now": now}).all()
        return [Item(*row) for row in found]
    # Most turns are one message whose answer has no time limit: to look costs a fifth of two updates that find nothing.
    waiting = connection.execute(prepared(_WAITING), {"turns": bulk_values(turns)}).all()
    going_on = {row.turn_id: turns[row.turn_id] for row in waiting if row.held}
    released = release_next(connection, going_on) if going_on else []
    ended = {row.turn_id for row in waiting} - {item.turn_id for item in released}
    if ended:
        _start_timeouts(connection, ended, now)
    return released


_WAITING = (
    "SELECT turn_id, 1 AS held FROM outbox WHERE turn_id <> 0 AND turn_id IN "
    "(SELECT CAST(e.value ->> 'v' AS BIGINT) FROM json_each(:turns) e) "
    "UNION ALL SELECT turn_id, 0 AS held FROM timer WHERE turn_id <> 0 AND turn_id IN "
    "(SELECT CAST(e.value ->> 'v' AS BIGINT) FROM json_each(:turns) e)"
)


def _one_each(results: Sequence[Result]) -> tuple[list[Result], list[Result]]:
    """The first result of every item, and the rest."""
    first: dict[int, Result] = {}
    others = [result for result in results if first.setdefault(result.id, result) is not result]
    return list(first.values()), others


def _settle(connection: Connection, results: list[Result], *, new_id: Callable[[], int], now: int) -> Settled:
    rows = _locked(connection, [result.id for result in results])
    results = _believed(connection, results)
    changes: list[dict[str, Any]] = []
    gone: list[int] = []
    requeued: list[dict[str, Any]] = []
    outcomes: list[Outcome] = []
    released_turns: dict[int, int] = {}
    skipped_turns: dict[int, Result] = {}
    for result in results:
        row = rows.get(result.id)
        if row is None or not _counts(result, row):
            if result.state in _TRUE_STATES:
                outcomes += _late_truth(connection, result, waits=row is not None)
            continue
        final = _final_state(result, row, now)
        if final == "again":
            requeued.append(_again(result, row))
            continue
        gone.append(row.id)
        changes.append(_change(result, final))
        outcomes.append(_outcome(row, result, final, campaign_id=row.campaign_id))
        if row.turn_id:
            if result.rest == "skip" or final == "expired":
                skipped_turns[row.turn_id] = result
            else:
                released_turns[row.turn_id] = now + ORDER_WAIT_MS if result.ordered else 0
    if requeued:
        _requeue(connection, requeued)
    if gone:
        connection.execute(_DELETE, {"ids": bulk_values(gone)})
        connection.execute(_APPLY, {"rows": bulk(changes)})
    if skipped_turns:
        outcomes += _skip_rest(connection, skipped_turns)
    released = release_next(connection, released_turns) if released_turns else []
    ended = (released_turns.keys() - {item.turn_id for item in released}) | skipped_turns.keys()
    if ended:
        _start_timeouts(connection, ended, now)
    tell(connection, outcomes, new_id=new_id, now=now)
    return Settled(released, outcomes)


_DELETE = text(
    "DELETE FROM outbox WHERE id IN (SELECT CAST(e.value ->> 'v' AS BIGINT) FROM json_each(:ids) e)"
)
_APPLY = text(
    "UPDATE message SET status = CASE WHEN v.rank > message.status_rank THEN v.status ELSE message.status END, "
    "status_rank = CASE WHEN v.rank > message.status_rank THEN v.rank ELSE message.status_rank END, "
    "external_id = CASE WHEN v.external_id <> '' THEN v.external_id ELSE message.external_id END, "
    "reason = v.reason, code = v.code, sent_at = COALESCE(message.sent_at, v.sent_at), "
    "failed_at = COALESCE(message.failed_at, v.failed_at), "
    # What never left was not allowed by what stood in the ledger when it was fed.
    "consent_id = CASE WHEN v.status IN ('skipped', 'expired') THEN 0 ELSE message.consent_id END FROM ("
    + json_rows(
        {
            "id": "BIGINT",
            "status": "TEXT",
            "rank": "SMALLINT",
            "external_id": "TEXT",
            "reason": "TEXT",
            "code": "TEXT",
            "sent_at": "BIGINT",
            "failed_at": "BIGINT",
        }
    )
    + ") v WHERE message.id = v.id"
)


def _outcome(row: Any, result: Result, state: str, *, campaign_id: int = 0, previous: str = "") -> Outcome:
    """What is told of a result; `row` is the outbox's or the message's."""
    return Outcome(
        message_id=result.id,
        workspace_id=row.workspace_id,
        run_id=row.run_id,
        campaign_id=campaign_id,
        contact_id=row.contact_id,
        outlet_id=row.outlet_id,
        state=state,
        previous=previous,
        reason=result.reason,
        external_id=result.external_id,
        at=result.at,
    )


def _locked(connection: Connection, ids: Sequence[int]) -> dict[int, Any]:
    rows = connection.execute(
        prepared(
            "SELECT id, workspace_id, contact_id, outlet_id, turn_id, run_id, campaign_id, lane, state, attempt, "
            "tries, waits, expires_at FROM outbox "
            "WHERE id IN (SELECT CAST(e.value ->> 'v' AS BIGINT) FROM json_each(:ids) e) "
            f"ORDER BY id {dialect(connection).for_update}"
        ),
        {"ids": bulk_values(ids)},
    ).all()
    return {row.id: row for row in rows}


def _counts(result: Result, row: Any) -> bool:
    """Whether the result decides over the item as it stands. What waits to be tried again is decided by a former
    owner's truth too: "sent" by whatever attempt, "failed" by the last one."""
    if row.state == SENDING:
        return bool(row.attempt <= result.attempt)
    if result.state in _REFUSED:
        return bool(row.attempt <= result.attempt)
    last = row.attempt == result.attempt
    return bool(row.attempt and (result.state == "sent" or (result.state == "failed" and last)))


def _believed(connection: Connection, results: list[Result]) -> list[Result]:
    """Results as they are after asking the messages: what a status has proven to have arrived was sent, whatever its
    own request came to (the platform's word may come before its answer, or instead of it)."""
    doubtful = [result.id for result in results if result.state != "sent"]
    if not doubtful:
        return results
    arrived = connection.execute(
        prepared(
            "SELECT id FROM message WHERE status IN ('sent', 'delivered', 'read') AND id IN "
            "(SELECT CAST(e.value ->> 'v' AS BIGINT) FROM json_each(:ids) e)"
        ),
        {"ids": bulk_values(doubtful)},
    ).all()
    known = {row.id for row in arrived}
    return [
        structs.replace(result, state="sent", reason="", code="", rest="release")
        if result.id in known
        else result
        for result in results
    ]


def _final_state(result: Result, row: Any, now: int) -> str:
    """What becomes of the item: "again", or the state in which it ends."""
    if result.state == "retry":
        if row.expires_at is not None and max(result.retry_at, now) >= row.expires_at:
            return "expired"
        return "failed" if result.counts_as_try and row.tries + 1 >= MAX_TRIES else "again"
    if result.state == "unknown":
        conversational = row.lane < LANE[MessageClass.marketing] and not row.outlet_id and not row.run_id
        # Attempts of which nobody knows: those that were refused or told to wait are no doubt.
        in_doubt = result.attempt - row.tries - row.waits
        return "again" if conversational and in_doubt <= 1 else "unknown"
    return result.state


def _again(result: Result, row: Any) -> dict[str, Any]:
    twice = result.state == "unknown"
    waited = not twice and not result.counts_as_try
    return {
        "id": row.id,
        "not_before": result.retry_at or result.at,
        "tries": row.tries + (0 if twice or waited else 1),
        "waits": row.waits + (1 if waited else 0),
        "part": result.part,
        "twice": 1 if twice else 0,
    }


def _requeue(connection: Connection, rows: list[dict[str, Any]]) -> None:
    columns = {"id": "BIGINT", "not_before": "BIGINT", "tries": "SMALLINT", "waits": "SMALLINT"}
    columns["part"] = "SMALLINT"
    connection.execute(
        prepared(
            "UPDATE outbox SET state = 1, not_before = v.not_before, tries = v.tries, waits = v.waits, part = v.part, "
            f"sending_at = NULL FROM ({json_rows(columns)}) v WHERE outbox.id = v.id"
        ),
        {"rows": bulk(rows)},
    )
    twice = [row["id"] for row in rows if row["twice"]]
    if twice:
        connection.execute(
            prepared(
                "UPDATE message SET possibly_twice = 1 "
                "WHERE id IN (SELECT CAST(e.value ->> 'v' AS BIGINT) FROM json_each(:ids) e)"
            ),
            {"ids": bulk_values(twice)},
        )


def _change(result: Result, final: str) -> dict[str, Any]:
    return {
        "id": result.id,
        "status": final,
        "rank": RANK[MessageStatus(final)],
        "external_id": result.external_id,
        "reason": result.reason,
        "code": result.code,
        "sent_at": result.at if final == "sent" else None,
        "failed_at": result.at if final == "failed" else None,
    }


def _late_truth(connection: Connection, result: Result, *, waits: bool) -> list[Outcome]:
    """A former owner's true result for a message that was given up as unknown, or is on its way once more (`waits`):
    then it is noted and the request under way settles it."""
    change = _change(result, result.state)
    row = connection.execute(
        prepared(
            "SELECT workspace_id, run_id, contact_id, outlet_id, status, possibly_twice FROM message WHERE id = :id"
        ),
        {"id": result.id},
    ).one_or_none()
    if waits and row is not None and result.state == "sent":
        connection.execute(_APPLY, {"rows": bulk([change])})
        return []
    if waits or row is None or row.status != MessageStatus.unknown:
        return []
    if result.state == "failed" and row.possibly_twice:  # the other attempt may have arrived
        return []
    connection.execute(_APPLY, {"rows": bulk([change])})
    return [_outcome(row, result, result.state, previous="unknown")]


def _skip_rest(connection: Connection, turns: dict[int, Result]) -> list[Outcome]:
    rows = connection.execute(
        prepared(
            "DELETE FROM outbox WHERE state = 0 AND turn_id IN "
            "(SELECT CAST(e.value ->> 'v' AS BIGINT) FROM json_each(:turns) e) "
            "RETURNING id, turn_id, workspace_id, run_id, campaign_id, contact_id, outlet_id"
        ),
        {"turns": bulk_values(turns)},
    ).all()
    if not rows:
        return []
    changes, outcomes = [], []
    for row in rows:
        cause = turns[row.turn_id]
        skipped = Result(
            id=row.id, attempt=0, state="skipped", at=cause.at, reason=cause.reason or cause.state
        )
        changes.append(_change(skipped, "skipped"))
        outcomes.append(_outcome(row, skipped, "skipped", campaign_id=row.campaign_id))
    connection.execute(_APPLY, {"rows": bulk(changes)})
    return outcomes


_RELEASE = (
    "UPDATE outbox SET state = 1, not_before = v.at FROM "
    f"({json_rows({'turn': 'BIGINT', 'at': 'BIGINT'})}) v WHERE outbox.turn_id = v.turn AND outbox.state = 0 "
    "AND outbox.turn_id <> 0 "
    "AND outbox.id = (SELECT min(o.id) FROM outbox o WHERE o.turn_id = v.turn AND o.turn_id <> 0) "
    f"RETURNING {', '.join('outbox.' + name for name in Item._fields)}"
)


def release_next(connection: Connection, turns: dict[int, int]) -> list[Item]:
    """Queues the next held item of each turn, not before the given time (ms, 0: now)."""
    rows = bulk({"turn": turn, "at": at} for turn, at in turns.items())
    return [Item(*row) for row in connection.execute(prepared(_RELEASE), {"rows": rows})]


_START = (
    "UPDATE timer SET due_at = :now + after_sent, turn_id = 0 "
    "WHERE state = 0 AND after_sent IS NOT NULL AND turn_id <> 0 AND turn_id IN "
)
_START_TIMEOUTS = text(f"{_START}(SELECT CAST(e.value ->> 'v' AS BIGINT) FROM json_each(:turns) e)")
# Both on PostgreSQL: what is not released has ended. It looks at rows after those that it was locked by have been
# committed, as a statement of its own behind the one that took the head.
_RELEASE_OR_END = (
    f"WITH released AS ({_RELEASE}), started AS ({_START}"
    "(SELECT CAST(e.value ->> 'turn' AS BIGINT) FROM json_each(:rows) e) "
    "AND turn_id NOT IN (SELECT turn_id FROM released)) SELECT * FROM released"
)


def _start_timeouts(connection: Connection, turns: Iterable[int], now: int) -> None:
    """The last message of these turns has been accepted (or will never be): their answer timeouts start now."""
    connection.execute(_START_TIMEOUTS, {"now": now, "turns": bulk_values(turns)})


def was_delivered(
    connection: Connection, message_ids: Sequence[int], conversations: Sequence[int], *, now: int
) -> set[int]:
    """A status proved that these messages left: what waits for that goes on, what was to be sent again is not. Gives
    the messages that were taken out of the outbox for it: nobody will settle them."""
    proven = connection.execute(
        prepared(
            "DELETE FROM outbox WHERE state = 1 AND attempt > 0 AND id IN "
            "(SELECT CAST(e.value ->> 'v' AS BIGINT) FROM json_each(:ids) e) RETURNING id, turn_id"
        ),
        {"ids": bulk_values(message_ids)},
    ).all()
    turn_ids = [row.turn_id for row in proven if row.turn_id]
    if turn_ids:
        released = release_next(connection, dict.fromkeys(turn_ids, 0))
        ended = set(turn_ids) - {item.turn_id for item in released}
        if ended:
            _start_timeouts(connection, ended, now)
    if conversations:  # what follows a file there need not wait its three seconds
        connection.execute(
            prepared(
                "UPDATE outbox SET not_before = 0 WHERE state = 1 AND tries = 0 AND waits = 0 AND not_before > :now "
                "AND conversation_id <> 0 AND turn_id <> 0 AND conversation_id IN "
                "(SELECT CAST(e.value ->> 'v' AS BIGINT) FROM json_each(:ids) e)"
            ),
            {"now": now, "ids": bulk_values(conversations)},
        )
    return {row.id for row in proven}
