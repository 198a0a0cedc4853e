"""The people of a run, one row each: the queue of a campaign, and what became of everybody (I4).

Theory of operation. `feed` turns pending rows into messages and outbox rows, a few hundred ahead of the sender; `hear`
is told by the settling transaction what became of them; `take_back` undoes the feeding of what has not left, when the
run is paused, cancelled, or a person may only be written to later. Each is one transaction that changes recipients,
outbox and deltas together and asks for the state it starts from, so repeating it, running it twice at once, or dying
anywhere between two of them changes nothing: a person has at most one outbox row at any time, and gets a new one only
when the old one was withdrawn unsent.

Locks are taken in one order everywhere: campaign, run, outbox, recipients (by contact id). `feed` holds the run's row,
so a pause that has been committed is never followed by rows of a feed that had begun before.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Sequence
from functools import lru_cache
from typing import Any, NamedTuple

import msgspec
from sqlalchemy import Connection, text

from bot import outbox, settling
from bot.outbox import Addressed, Item, Shared
from bot.settling import Outcome
from bot.withdrawals import Withdrawn, withdraw_run
from campaigns import contents
from campaigns.states import RecipientState, after, outcome_name
from campaigns.totals import Deltas
from crm.contacts import load_views
from domain.contacts import ContactView
from domain.messages import MessageClass, encode
from flows.business import BusinessView
from storage.bulk_writes import BulkUpdate
from storage.database import dialect
from storage.statements import bulk, json_rows, prepared

AHEAD = 500  # outbox rows of campaigns per channel: half a second of the fastest one (DESIGN 2.8)
SWEEP = 1_000  # recipients of a cancelled run in one transaction: a bulk unit
RATE_AHEAD_MS = 5_000  # a campaign with a rate of its own is fed for the next seconds only
LATER_MS = 5 * 60_000  # who may only be written to later than this gives their place in the outbox to others

_STATE = RecipientState
_CHANGE = {
    "run_id": "BIGINT",
    "contact_id": "BIGINT",
    "state": "SMALLINT",
    "receipt": "SMALLINT",
    "reason": "TEXT",
    "message_id": "BIGINT",
}


class Fed(NamedTuple):
    """What feeding did: how many recipients were dealt with, and the messages that may leave at once. Those with a
    time of their own are not among them: the sender finds them in the outbox when it has come."""

    people: int
    items: list[Item]


_NOTHING = Fed(0, [])


def feed(connection: Connection, run_id: int, *, room: int, new_id: Callable[[], int], now: int) -> Fed:
    """Queues up to `room` pending recipients of a running run."""
    run = _locked_run(connection, run_id)
    if run is None or run.state != "running":
        return _NOTHING
    slots = _slots(run.rate, run.next_slot_at, room, now)
    room = min(room, len(slots))
    if room <= 0:
        return _NOTHING
    people = _pending(connection, run, room, now)
    if not people:
        return _NOTHING
    made, changes = _compose(connection, run, people, new_id, now)
    taken = _queue(connection, run.id, made, now) | _take(connection, changes, now)
    leaving = [item for item in made if item.contact_id in taken]
    if run.rate:
        for item, slot in zip(leaving, slots, strict=False):
            item.not_before = slot
    shared = Shared(run.workspace_id, run.channel_id, run.id, run.campaign_id, run.purpose)
    items = outbox.enqueue_run(connection, shared, leaving, now=now)
    if run.rate and leaving:
        connection.execute(
            prepared("UPDATE campaign_run SET next_slot_at = :slot WHERE id = :run"),
            {"slot": slots[len(leaving) - 1] + 1_000 // run.rate, "run": run_id},
        )
    deltas = Deltas()
    for change in changes:
        if change["contact_id"] in taken:
            outcome = outcome_name(change["state"])
            deltas.move(run.workspace_id, run_id, ("pending", ""), (outcome, change["reason"]))
    deltas.append(connection, new_id=new_id)
    return Fed(len(taken), [] if run.rate else items)


@settling.settles
def hear(connection: Connection, outcomes: Sequence[Outcome], *, new_id: Callable[[], int], now: int) -> None:
    """Writes outcomes into the recipients of runs, in the transaction that settles them."""
    mine = [outcome for outcome in outcomes if outcome.run_id and outcome.contact_id]
    if all(outcome.state == "sent" and not outcome.previous for outcome in mine):
        mine = _hear_sent(connection, mine, new_id, now)
    if not mine:
        return
    rows = _heard_of(connection, mine)
    changed: dict[tuple[int, int], dict[str, Any]] = {}
    deltas = Deltas()
    for outcome in mine:
        key = (outcome.run_id, outcome.contact_id)
        row = rows.get(key)
        if row is None or row["message_id"] != outcome.message_id:
            continue  # of a message that was withdrawn, or a person who was erased
        state, receipt = after(row["state"], row["receipt"], outcome.state)
        if (state, receipt) == (row["state"], row["receipt"]):
            continue
        reason = _reason(outcome, state)
        _count(deltas, outcome, row, state, receipt, reason)
        row |= {"state": state, "receipt": receipt, "reason": reason}
        changed[key] = row
    if changed:
        _write(connection, list(changed.values()), now)
        deltas.append(connection, new_id=new_id)


def take_back(
    connection: Connection,
    run_id: int,
    *,
    limit: int = AHEAD * 2,
    postponed_past: int | None = None,
    now: int,
) -> int:
    """Queued recipients become pending again, each with the time before which it may not go; what is being sent stays.
    Gives how many."""
    withdrawn = withdraw_run(connection, run_id, limit=limit, postponed_past=postponed_past)
    if withdrawn:
        connection.execute(_BACK, {"rows": _withdrawn_rows(run_id, withdrawn), "now": now})
    return len(withdrawn)


def drop_queued(
    connection: Connection, workspace_id: int, run_id: int, *, new_id: Callable[[], int], now: int
) -> int:
    """Queued recipients of a cancelled run are skipped; what is being sent stays. Gives how many."""
    withdrawn = withdraw_run(connection, run_id, limit=AHEAD * 2)
    if withdrawn:
        values = {"rows": _withdrawn_rows(run_id, withdrawn), "now": now}
        _count_cancelled(connection, workspace_id, run_id, connection.execute(_DROP, values).rowcount, new_id)
    return len(withdrawn)


def drop_pending(
    connection: Connection, workspace_id: int, run_id: int, *, new_id: Callable[[], int], now: int
) -> int:
    """Pending recipients of a cancelled run are skipped, at most SWEEP in one transaction; gives how many."""
    dropped = connection.execute(
        prepared(
            "UPDATE recipient SET state = 4, reason = 'cancelled', changed_at = :now "
            "WHERE run_id = :run AND state = 0 AND contact_id IN "
            "(SELECT contact_id FROM recipient WHERE run_id = :run AND state = 0 "
            "ORDER BY not_before, contact_id LIMIT :limit)"
        ),
        {"run": run_id, "now": now, "limit": SWEEP},
    ).rowcount
    if dropped:
        _count_cancelled(connection, workspace_id, run_id, dropped, new_id)
    return dropped


def queued_on(connection: Connection, channel_id: int) -> int:
    """How many campaign messages wait in a channel's outbox (index outbox_due)."""
    return int(
        connection.execute(
            prepared(
                "SELECT count(*) FROM outbox WHERE channel_id = :channel AND state = 1 AND lane = :lane"
            ),
            {"channel": channel_id, "lane": outbox.LANE[MessageClass.marketing]},
        ).scalar_one()
    )


def queued_of(connection: Connection, run_id: int) -> int:
    """How many messages of a run are in the outbox, those on the wire among them (index outbox_run)."""
    return int(
        connection.execute(
            prepared("SELECT count(*) FROM outbox WHERE run_id = :run AND run_id <> 0"), {"run": run_id}
        ).scalar_one()
    )


# --- feeding ----------------------------------------------------------------------------------------------------------


def _locked_run(connection: Connection, run_id: int) -> Any:
    lock = dialect(connection).for_update
    return connection.execute(
        prepared(
            "SELECT r.id, r.workspace_id, r.campaign_id, r.channel_id, r.state, r.next_slot_at, c.rate, c.purpose, "
            "c.content, c.default_language, w.name AS business, w.timezone FROM campaign_run r "
            "JOIN campaign c ON c.id = r.campaign_id AND c.workspace_id = r.workspace_id "
            "LEFT JOIN workspace w ON w.id = r.workspace_id "
            f"WHERE r.id = :run {lock + ' OF r' if lock else ''}"
        ),
        {"run": run_id},
    ).one_or_none()


def _slots(rate: int | None, next_slot_at: int, room: int, now: int) -> Sequence[int]:
    """When each of the next messages may leave: at once, or evenly at a campaign's own rate, RATE_AHEAD_MS ahead."""
    if not rate:
        return [0] * room
    first = max(now, next_slot_at)
    last = max(now + RATE_AHEAD_MS, first)
    return [slot for n in range(room) if (slot := first + n * 1_000 // rate) < last]


def _pending(connection: Connection, run: Any, room: int, now: int) -> Sequence[Any]:
    """The next people by (time, contact id) (index recipient_pending), with where they are written to."""
    lock = dialect(connection).for_update
    return connection.execute(
        prepared(
            "SELECT r.contact_id, r.identity_id, i.address, i.language, v.id AS conversation_id, c.id AS known, "
            "c.name, c.first_name, c.last_name, c.language AS contact_language, c.timezone, c.email, c.phone, "
            "c.fields, s.consent_id FROM recipient r LEFT JOIN contact c ON c.id = r.contact_id "
            "LEFT JOIN identity i ON i.id = r.identity_id AND +i.contact_id = c.id AND +i.channel_id = :channel "
            "LEFT JOIN conversation v ON v.channel_id = :channel "
            "AND v.conversation_key = 'i:' || CAST(r.identity_id AS TEXT) "
            "LEFT JOIN consent_state s ON s.identity_id = r.identity_id AND s.purpose = :purpose AND s.mailable = 1 "
            "WHERE r.run_id = :run AND r.state = 0 AND r.not_before <= :now "
            f"ORDER BY r.not_before, r.contact_id LIMIT :room {lock + ' OF r SKIP LOCKED' if lock else ''}"
        ),
        {"run": run.id, "channel": run.channel_id, "purpose": run.purpose, "now": now, "room": room},
    ).all()


_NOBODY = ContactView()  # what a text that is the same for all reads of its person


def _compose(
    connection: Connection, run: Any, people: Sequence[Any], new_id: Callable[[], int], now: int
) -> tuple[list[Addressed], list[dict[str, Any]]]:
    """The messages, and what becomes of those who get none: failed or skipped, with the reason."""
    composer = _composer(run.content, run.default_language)
    business = BusinessView(name=run.business or "", timezone=run.timezone or "UTC")
    view_of = _views(connection, run, people, composer)
    made: list[Addressed] = []
    changes = []
    for person in people:
        view = view_of(person)
        if view is None or person.address is None:
            changes.append(_change(run.id, person, _STATE.skipped, "gone"))
            continue
        language = composer.language_for(person.contact_language, person.language)
        try:
            content = composer.compose(view, language=language, business=business, now=now)
        except contents.CannotCompose as error:
            changes.append(_change(run.id, person, _STATE.failed, error.reason))
            continue
        made.append(
            Addressed(
                new_id(),
                person.conversation_id or 0,
                person.contact_id,
                person.identity_id,
                person.address,
                language,
                encode(content),
                person.consent_id or 0,
            )
        )
    return made, changes


def _views(
    connection: Connection, run: Any, people: Sequence[Any], composer: contents.Composer
) -> Callable[[Any], ContactView | None]:
    """What the templates may see of a person, read no further than they look."""
    if composer.constant:
        return lambda person: _NOBODY if person.known else None
    if composer.plain:
        return lambda person: _plain_view(person, fields=composer.reads_fields)
    views = load_views(connection, [(run.workspace_id, p.contact_id, p.identity_id) for p in people])
    return lambda person: views.get((person.contact_id, person.identity_id))


def _plain_view(person: Any, *, fields: bool) -> ContactView | None:
    if not person.known:
        return None
    return ContactView(
        id=person.contact_id,
        name=person.name,
        first_name=person.first_name,
        last_name=person.last_name,
        language=person.contact_language,
        timezone=person.timezone,
        email=person.email,
        phone=person.phone,
        fields=_fields(person.fields) if fields and person.fields != "{}" else {},
    )


_fields = msgspec.json.Decoder(dict[str, Any]).decode


def _change(run_id: int, person: Any, state: int, reason: str) -> dict[str, Any]:
    return {
        "run_id": run_id,
        "contact_id": person.contact_id,
        "state": state,
        "receipt": 0,
        "reason": reason,
        "message_id": 0,
    }


@lru_cache(maxsize=64)  # contents are small and campaigns that run at the same time few
def _composer(content: str, default_language: str) -> contents.Composer:
    return contents.Composer(contents.decode(content), default_language)


_queued = BulkUpdate(
    "recipient",
    {"contact_id": "BIGINT", "id": "BIGINT"},
    sets="state = 1, reason = '', message_id = v.id, changed_at = :now",
    where="recipient.run_id = :run AND recipient.contact_id = v.contact_id AND recipient.state = 0",
    returning=["contact_id"],
)
_TAKE = text(
    "UPDATE recipient SET state = v.state, reason = v.reason, message_id = v.message_id, changed_at = :now "
    f"FROM ({json_rows(_CHANGE)}) v WHERE recipient.run_id = v.run_id AND recipient.contact_id = v.contact_id "
    "AND recipient.state = 0 RETURNING recipient.contact_id"
)


def _queue(connection: Connection, run_id: int, made: Sequence[Addressed], now: int) -> set[int]:
    """Marks those as queued who are still pending; only they may get an outbox row."""
    people = [(one.contact_id, one.id) for one in made]
    return {row[0] for row in _queued.found(connection, people, known=people, run=run_id, now=now)}


def _take(connection: Connection, changes: list[dict[str, Any]], now: int) -> set[int]:
    """Applies the changes to those who are still pending."""
    if not changes:
        return set()
    return {row.contact_id for row in connection.execute(_TAKE, {"rows": bulk(changes), "now": now})}


# --- hearing ----------------------------------------------------------------------------------------------------------


_sent = BulkUpdate(
    "recipient",
    {"run_id": "BIGINT", "contact_id": "BIGINT", "id": "BIGINT"},
    sets="state = 2, reason = '', changed_at = :now",
    where="recipient.run_id = v.run_id AND recipient.contact_id = v.contact_id AND recipient.state = 1 "
    "AND recipient.message_id = v.id",
    ordered=["run_id", "contact_id"],
    returning=["run_id", "contact_id"],
)


def _hear_sent(
    connection: Connection, outcomes: Sequence[Outcome], new_id: Callable[[], int], now: int
) -> list[Outcome]:
    """The usual case in one statement: people who were queued have been written to. Gives the other outcomes."""
    written_to = [(o.run_id, o.contact_id, o.message_id) for o in outcomes]
    done = {(row[0], row[1]) for row in _sent.found(connection, written_to, known=written_to, now=now)}
    deltas = Deltas()
    of_runs = Counter((o.workspace_id, o.run_id) for o in outcomes if (o.run_id, o.contact_id) in done)
    for (workspace_id, run_id), people in of_runs.items():
        deltas.add(workspace_id, run_id, "pending", -people)
        deltas.add(workspace_id, run_id, "sent", people)
    deltas.append(connection, new_id=new_id)
    return [o for o in outcomes if (o.run_id, o.contact_id) not in done]


def _heard_of(connection: Connection, outcomes: Sequence[Outcome]) -> dict[tuple[int, int], dict[str, Any]]:
    keys = {(outcome.run_id, outcome.contact_id) for outcome in outcomes}
    lock = dialect(connection).for_update
    rows = connection.execute(
        prepared(
            "SELECT r.run_id, r.contact_id, r.state, r.receipt, r.reason, r.message_id FROM "
            f"({json_rows({'run_id': 'BIGINT', 'contact_id': 'BIGINT'})}) v JOIN recipient r "
            "ON r.run_id = v.run_id AND r.contact_id = v.contact_id "
            f"ORDER BY r.run_id, r.contact_id {lock + ' OF r' if lock else ''}"
        ),
        {"rows": bulk({"run_id": run, "contact_id": contact} for run, contact in sorted(keys))},
    ).all()
    return {(row.run_id, row.contact_id): dict(row._mapping) for row in rows}


def _reason(outcome: Outcome, state: int) -> str:
    if state == _STATE.sent:
        return ""
    return outcome.reason or ("expired" if outcome.state == "expired" else "")


def _count(
    deltas: Deltas, outcome: Outcome, row: dict[str, Any], state: int, receipt: int, reason: str
) -> None:
    workspace_id, run_id = outcome.workspace_id, outcome.run_id
    if state != row["state"]:
        before = (outcome_name(row["state"]), row["reason"])
        deltas.move(workspace_id, run_id, before, (outcome_name(state), reason))
    for name, least in (("delivered", 1), ("read", 2)):
        if row["receipt"] < least <= receipt:
            deltas.add(workspace_id, run_id, name)


_WRITE = text(
    "UPDATE recipient SET state = v.state, receipt = v.receipt, reason = v.reason, changed_at = :now "
    f"FROM ({json_rows(_CHANGE)}) v WHERE recipient.run_id = v.run_id AND recipient.contact_id = v.contact_id"
)


def _write(connection: Connection, rows: list[dict[str, Any]], now: int) -> None:
    connection.execute(_WRITE, {"rows": bulk(rows), "now": now})


# --- taking back ------------------------------------------------------------------------------------------------------

_WITHDRAWN = json_rows(
    {"run_id": "BIGINT", "contact_id": "BIGINT", "message_id": "BIGINT", "not_before": "BIGINT"}
)
_BACK = text(
    "UPDATE recipient SET state = 0, message_id = 0, not_before = v.not_before, changed_at = :now "
    f"FROM ({_WITHDRAWN}) v WHERE recipient.run_id = v.run_id AND recipient.contact_id = v.contact_id "
    "AND recipient.message_id = v.message_id AND recipient.state = 1"
)
_DROP = text(
    "UPDATE recipient SET state = 4, reason = 'cancelled', message_id = 0, changed_at = :now "
    f"FROM ({_WITHDRAWN}) v WHERE recipient.run_id = v.run_id AND recipient.contact_id = v.contact_id "
    "AND recipient.message_id = v.message_id AND recipient.state = 1"
)


def _withdrawn_rows(run_id: int, withdrawn: Sequence[Withdrawn]) -> str:
    return bulk({"run_id": run_id, **row._asdict()} for row in withdrawn)


def _count_cancelled(
    connection: Connection, workspace_id: int, run_id: int, people: int, new_id: Callable[[], int]
) -> None:
    deltas = Deltas()
    deltas.add(workspace_id, run_id, "pending", -people)
    deltas.add(workspace_id, run_id, "skipped", people)
    deltas.add(workspace_id, run_id, "skipped:cancelled", people)
    deltas.append(connection, new_id=new_id)
