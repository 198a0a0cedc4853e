"""The outbox: the one way out. Messages wait here and leave in order (I3).

Theory of operation. A row is `held` while a predecessor of its turn has not left, then `queued`; the sender marks it
`sending` in a committed transaction directly before its bytes are written (`mark`, after `may_send` was asked under the
person's consent row), and `bot.settling` takes it out with what is known.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping, Sequence
from functools import cache
from operator import attrgetter
from typing import Any, NamedTuple

from msgspec import Struct
from sqlalchemy import Connection, TextClause, text

from domain.ids import first_id_at
from domain.messages import RANK, Content, MessageClass, MessageStatus, encode
from storage.bulk_writes import BulkInsert
from storage.database import DIALECTS, dialect
from storage.statements import bulk, bulk_values, json_rows, prepared

HELD, QUEUED, SENDING = 0, 1, 3
LANE = {MessageClass.reply: 0, MessageClass.service: 1, MessageClass.marketing: 2}
_MARKETING_LANE = LANE[MessageClass.marketing]
REPLY_LIFE_MS = 15 * 60_000  # a reply later than this answers a question that nobody asks any more


class Outgoing(Struct, kw_only=True):
    """A message to be sent. `id` is the message's and the outbox row's; ids of a turn ascend with `position`."""

    id: int
    workspace_id: int
    channel_id: int
    address: str
    content: Content
    conversation_id: int = 0
    contact_id: int = 0
    identity_id: int = 0
    outlet_id: int = 0
    turn_id: int = 0
    behind: int = 0  # the turn whose end this one waits for; its rows join that turn's line in the outbox
    run_id: int = 0
    campaign_id: int = 0
    position: int = 0
    message_class: MessageClass = MessageClass.reply
    purpose: str = ""
    author: str = "bot"
    topic: str | None = None
    place: str = "private"
    language: str = ""
    not_before: int = 0
    expires_at: int | None = None


class Item(NamedTuple):
    """An outbox row as the sender holds it; `content` is its JSON."""

    id: int
    workspace_id: int
    channel_id: int
    conversation_id: int
    contact_id: int
    identity_id: int
    outlet_id: int
    turn_id: int
    run_id: int
    campaign_id: int
    lane: int
    message_class: str
    purpose: str
    address: str
    topic: str | None
    place: str
    language: str
    content: str
    attempt: int
    tries: int
    waits: int
    part: int
    not_before: int
    expires_at: int | None


_ROW = {
    "id": "BIGINT",
    "workspace_id": "BIGINT",
    "channel_id": "BIGINT",
    "conversation_id": "BIGINT",
    "contact_id": "BIGINT",
    "identity_id": "BIGINT",
    "outlet_id": "BIGINT",
    "turn_id": "BIGINT",
    "run_id": "BIGINT",
    "message_class": "TEXT",
    "purpose": "TEXT",
    "content": "TEXT",
    "created_at": "BIGINT",
}
_MESSAGE = {**_ROW, "direction": "TEXT", "author": "TEXT", "status": "TEXT", "status_rank": "SMALLINT"}
_MESSAGE_CONSTANTS = ("external_id", "reason", "code", "pricing")
_OUTBOX = {
    **_ROW,
    "campaign_id": "BIGINT",
    "position": "SMALLINT",
    "lane": "SMALLINT",
    "address": "TEXT",
    "topic": "TEXT",
    "place": "TEXT",
    "language": "TEXT",
    "state": "SMALLINT",
    "not_before": "BIGINT",
    "expires_at": "BIGINT",
}


_insert_messages = BulkInsert(
    "message",
    _MESSAGE,
    constants={**dict.fromkeys(_MESSAGE_CONSTANTS, "''"), "possibly_twice": "0", "consent_id": "0"},
)
_insert_outbox = BulkInsert(
    "outbox", _OUTBOX, constants={"attempt": "0", "tries": "0", "waits": "0", "part": "0"}
)
_COLUMNS = ", ".join(Item._fields)
_IDS = "SELECT CAST(e.value ->> 'v' AS BIGINT) FROM json_each(:ids) e"


def enqueue(connection: Connection, items: Sequence[Outgoing], *, now: int) -> list[Item]:
    """Stores messages and their outbox rows; gives the queued heads, for a sender in the same process.

    Of several items with one `turn_id` only the first is queued; the others are held, and so are all of a turn that
    stands `behind` another.
    """
    if not items:
        return []
    messages, rows, heads = [], [], []
    started: set[int] = set()
    for item in items:
        line = item.behind or item.turn_id
        held = item.behind != 0 or (line != 0 and line in started)
        started.add(line)
        content = encode(item.content)
        status = MessageStatus.held if held else MessageStatus.queued
        shared = {
            "id": item.id,
            "workspace_id": item.workspace_id,
            "channel_id": item.channel_id,
            "conversation_id": item.conversation_id,
            "contact_id": item.contact_id,
            "identity_id": item.identity_id,
            "outlet_id": item.outlet_id,
            "turn_id": item.turn_id,
            "run_id": item.run_id,
            "message_class": item.message_class.value,
            "purpose": item.purpose,
            "content": content,
            "created_at": now,
        }
        messages.append(
            {
                **shared,
                "direction": "out",
                "author": item.author,
                "status": status.value,
                "status_rank": RANK[status],
            }
        )
        lane = LANE[item.message_class]
        row: dict[str, Any] = {
            **shared,
            "turn_id": line,
            "campaign_id": item.campaign_id,
            "position": item.position,
            "lane": lane,
            "address": item.address,
            "topic": item.topic,
            "place": item.place,
            "language": item.language,
            "state": HELD if held else QUEUED,
            "not_before": item.not_before,
            "expires_at": item.expires_at,
        }
        rows.append(row)
        if not held:
            heads.append(Item(*(row.get(name, 0) for name in Item._fields)))
    _insert_messages(connection, messages)
    _insert_outbox(connection, rows)
    return heads


class Shared(NamedTuple):
    """What all messages of one run have in common; they are marketing."""

    workspace_id: int
    channel_id: int
    run_id: int
    campaign_id: int
    purpose: str


class Addressed(Struct):
    """One of them. `content` is its JSON; `not_before` in ms UTC, 0: at once. `consent_id`: the ledger row that will
    allow it as things stand (`mark` has the last word); 0: none."""

    id: int
    conversation_id: int
    contact_id: int
    identity_id: int
    address: str
    language: str
    content: str
    consent_id: int = 0
    not_before: int = 0


_PERSONAL = {"id": "BIGINT", "conversation_id": "BIGINT", "contact_id": "BIGINT", "identity_id": "BIGINT"}
_SHARED = {
    "workspace_id": "CAST(:workspace AS BIGINT)",
    "channel_id": "CAST(:channel AS BIGINT)",
    "run_id": "CAST(:run AS BIGINT)",
    "purpose": "CAST(:purpose AS TEXT)",
    "created_at": "CAST(:now AS BIGINT)",
    "outlet_id": "0",
    "turn_id": "0",
    "message_class": "'marketing'",
}
_MESSAGE_FIXED = {
    **dict.fromkeys(_MESSAGE_CONSTANTS, "''"),
    "direction": "'out'",
    "author": "'campaign'",
    "status": f"'{MessageStatus.queued.value}'",
    "status_rank": str(RANK[MessageStatus.queued]),
    "possibly_twice": "0",
}
_RUN_MESSAGE = {**_PERSONAL, "content": "TEXT", "consent_id": "BIGINT"}
_RUN_OUTBOX = {**_PERSONAL, "content": "TEXT", "address": "TEXT", "language": "TEXT", "not_before": "BIGINT"}
_insert_run_messages = BulkInsert("message", _RUN_MESSAGE, constants={**_SHARED, **_MESSAGE_FIXED})
_insert_run_outbox = BulkInsert(
    "outbox",
    _RUN_OUTBOX,
    constants={
        **_SHARED,
        "campaign_id": "CAST(:campaign AS BIGINT)",
        "place": "'private'",
        "lane": str(_MARKETING_LANE),
        "state": str(QUEUED),
        **dict.fromkeys(("position", "attempt", "tries", "waits", "part"), "0"),
    },
)
_message_row, _outbox_row = attrgetter(*_RUN_MESSAGE), attrgetter(*_RUN_OUTBOX)


def enqueue_run(
    connection: Connection, shared: Shared, messages: Sequence[Addressed], *, now: int
) -> list[Item]:
    """Stores a campaign's messages and their outbox rows: as `enqueue` does, with less to carry. Gives these rows."""
    values = {
        "workspace": shared.workspace_id,
        "channel": shared.channel_id,
        "run": shared.run_id,
        "purpose": shared.purpose,
        "now": now,
    }
    _insert_run_messages(connection, [_message_row(one) for one in messages], **values)
    _insert_run_outbox(
        connection, [_outbox_row(one) for one in messages], **values, campaign=shared.campaign_id
    )
    return [_item(shared, one) for one in messages]


def _item(shared: Shared, one: Addressed) -> Item:
    return Item(
        one.id,
        shared.workspace_id,
        shared.channel_id,
        one.conversation_id,
        one.contact_id,
        one.identity_id,
        0,  # no outlet
        0,  # no turn
        shared.run_id,
        shared.campaign_id,
        _MARKETING_LANE,
        MessageClass.marketing.value,
        shared.purpose,
        one.address,
        None,  # no topic
        "private",
        one.language,
        one.content,
        0,  # attempt, tries, waits, part
        0,
        0,
        0,
        one.not_before,
        None,  # never expires
    )


def lines(connection: Connection, conversation_ids: Iterable[int]) -> dict[int, int]:
    """Conversation → the turn that still has messages to send there. A new turn stands behind it, so that turns do not
    overtake each other either. The rows are locked: whoever settles the last of them waits, and then sees who came."""
    rows = connection.execute(
        prepared(
            "SELECT conversation_id, turn_id FROM outbox WHERE turn_id <> 0 AND conversation_id <> 0 "
            "AND conversation_id IN (SELECT CAST(e.value ->> 'v' AS BIGINT) FROM json_each(:ids) e) "
            f"ORDER BY id {dialect(connection).for_update}"
        ),
        {"ids": bulk_values(conversation_ids)},
    ).all()
    return {row.conversation_id: row.turn_id for row in rows}


def due(connection: Connection, channel_id: int, *, now: int, limit: int, after: int = 0) -> list[Item]:
    """Queued items of a channel whose time has come, replies first, then by age (index outbox_due). `after`: only
    bulk, and that younger than this id."""
    which = "lane = 2 AND id > :after" if after else ":after = 0"
    rows = connection.execute(
        prepared(
            f"SELECT {_COLUMNS} FROM outbox WHERE channel_id = :channel AND state = 1 AND not_before <= :now "
            f"AND {which} ORDER BY lane, id LIMIT :limit"
        ),
        {"channel": channel_id, "now": now, "limit": limit, "after": after},
    ).all()
    return [Item._make(row) for row in rows]


def due_besides(
    connection: Connection, channel_id: int, *, now: int, limit: int, known: Collection[int]
) -> tuple[list[Item], bool]:
    """Those of the first `limit` due items that are not `known`, and whether there may be more behind them. Of the
    others no more than their ids is read: while a campaign runs that is a second's worth of messages."""
    rows = connection.execute(
        prepared(
            "SELECT id FROM outbox WHERE channel_id = :channel AND state = 1 AND not_before <= :now "
            "ORDER BY lane, id LIMIT :limit"
        ),
        {"channel": channel_id, "now": now, "limit": limit},
    ).all()
    unknown = [row[0] for row in rows if row[0] not in known]
    if not unknown:
        return [], len(rows) == limit
    found = connection.execute(
        prepared(f"SELECT {_COLUMNS} FROM outbox WHERE state = 1 AND id IN ({_IDS}) ORDER BY lane, id"),
        {"ids": bulk_values(unknown)},
    ).all()
    return [Item._make(row) for row in found], len(rows) == limit


def orphans(connection: Connection, channel_id: int) -> list[Item]:
    """Items that a former owner of the channel had marked `sending` and never settled."""
    rows = connection.execute(
        prepared(f"SELECT {_COLUMNS} FROM outbox WHERE channel_id = :channel AND state = 3"),
        {"channel": channel_id},
    ).all()
    return [Item(*row) for row in rows]


def recent(connection: Connection, channel_id: int, *, since: int) -> list[tuple[str, int]]:
    """(address, lane) of what left the channel since a time (ms): by the primary key, ids being time-ordered."""
    rows = connection.execute(
        prepared(
            "SELECT COALESCE(i.address, o.address, '') AS address, m.message_class FROM message m "
            "LEFT JOIN identity i ON i.id = m.identity_id LEFT JOIN outlet o ON o.id = m.outlet_id "
            "WHERE m.id >= :first AND m.channel_id = :channel AND m.direction = 'out' AND m.sent_at >= :since"
        ),
        {"first": first_id_at(since - REPLY_LIFE_MS), "channel": channel_id, "since": since},
    ).all()
    return [(row.address, LANE[MessageClass(row.message_class)]) for row in rows if row.address]


# Where others write at the same time rows are locked in the order of their ids, here as everywhere: a worker that puts
# new turns behind those that still have to leave (`lines`) would else meet us crosswise.
_ORDERED = f"SELECT o.id FROM outbox o WHERE o.state = 1 AND o.id IN ({_IDS}) ORDER BY o.id FOR UPDATE"


@cache
def _mark(name: str, *, held: bool, hurried: bool, consents: bool) -> TextClause:
    kind = DIALECTS[name]
    ids = _ORDERED if kind.for_update else _IDS
    # Not by `leases.hold`: here it costs no statement of its own, and so no way to a server and back.
    lease = f"SELECT 1 FROM lease WHERE name = :lease AND fence = :fence {kind.for_key_share}"
    return text(
        "UPDATE outbox SET state = 3, attempt = attempt + 1, sending_at = :now WHERE state = 1 "
        f"AND id IN ({ids}){f' AND EXISTS ({lease})' if held else ''} "
        f"RETURNING id, attempt{f', {kind.hurried}' if hurried else ''}"
        f"{', (SELECT m.consent_id FROM message m WHERE m.id = outbox.id) AS consent_id' if consents else ''}"
    )


def mark(
    connection: Connection,
    ids: Iterable[int],
    *,
    now: int,
    lease: tuple[str, int] | None = None,
    hurried: bool = False,
    consents: Mapping[int, int] | None = None,
) -> dict[int, int]:
    """Marks queued items `sending`; gives id → attempt of those that still were queued.

    `lease`: (name, fence) of the channel's; none is marked when it has another owner by now, and until the
    transaction ends nobody takes it over. `hurried`: should it be the transaction, its commit need not be durable.
    `consents`: which ledger row allows each marketing message. It is written into those that do not say so yet; nearly
    all do since they were fed.
    """
    parameters: dict[str, Any] = {"now": now, "ids": bulk_values(ids)}
    if lease is not None:
        parameters |= {"lease": lease[0], "fence": lease[1]}
    statement = _mark(
        dialect(connection).name, held=lease is not None, hurried=hurried, consents=bool(consents)
    )
    rows = connection.execute(statement, parameters).all()
    if consents:
        new = {row.id: consents[row.id] for row in rows if consents.get(row.id, 0) not in (0, row.consent_id)}
        _note_consents(connection, new)
    return {row.id: row.attempt for row in rows}


def unmark(connection: Connection, ids: Iterable[int]) -> None:
    """Back to queued, for marks whose commit is in doubt and whose bytes were surely not written.

    Locks the rows first: a commit that is still under way at the server is waited for, and then seen.
    """
    wanted = bulk_values(ids)
    connection.execute(
        prepared(
            "SELECT id FROM outbox WHERE id IN (SELECT CAST(e.value ->> 'v' AS BIGINT) FROM json_each(:ids) e) "
            f"ORDER BY id {dialect(connection).for_update}"
        ),
        {"ids": wanted},
    ).all()
    connection.execute(
        prepared(
            "UPDATE outbox SET state = 1 WHERE state = 3 "
            "AND id IN (SELECT CAST(e.value ->> 'v' AS BIGINT) FROM json_each(:ids) e)"
        ),
        {"ids": wanted},
    )


def _note_consents(connection: Connection, consents: dict[int, int]) -> None:
    """Writes which ledger row allowed each marketing message."""
    if not consents:
        return
    connection.execute(
        prepared(
            "UPDATE message SET consent_id = v.consent_id FROM "
            f"({json_rows({'id': 'BIGINT', 'consent_id': 'BIGINT'})}) v WHERE message.id = v.id"
        ),
        {"rows": bulk({"id": key, "consent_id": value} for key, value in consents.items())},
    )


def postpone(connection: Connection, until: dict[int, int]) -> None:
    """Not now: queued items that may go later (quiet hours, a platform's cap)."""
    connection.execute(
        prepared(
            "UPDATE outbox SET not_before = v.at FROM "
            f"({json_rows({'id': 'BIGINT', 'at': 'BIGINT'})}) v WHERE outbox.id = v.id AND outbox.state = 1"
        ),
        {"rows": bulk({"id": key, "at": value} for key, value in until.items())},
    )
