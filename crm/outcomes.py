"""What flows bring about for contacts: conversions, feedback, referrals, topics, and what people of the team are told.

Rows come from the worker's batch, each sort by one statement and none when there is nothing; readers page by descending
id. After an erasure conversions and scores stay as figures of a day without a person, a referral without the one who
invited; all else goes.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from typing import Any

from msgspec import Struct
from sqlalchemy import Connection

from crm.contacts import ContactPatch
from crm.privacy import erases, exports
from domain.effects import PatchContact
from domain.errors import NotFound
from storage.bulk_writes import BulkInsert
from storage.statements import bulk, bulk_values, insert_rows, json_rows, prepared

DAY_MS = 86_400_000
Row = Mapping[str, Any]

# --- writing ----------------------------------------------------------------------------------------------------------

_WHERE = {
    "id": "BIGINT",
    "workspace_id": "BIGINT",
    "contact_id": "BIGINT",
    "conversation_id": "BIGINT",
    "session_id": "BIGINT",
    "flow_version_id": "BIGINT",
    "step_id": "TEXT",
}
_CONVERSION = {**_WHERE, "name": "TEXT", "amount": "BIGINT", "currency": "TEXT", "at": "BIGINT"}
_FEEDBACK = {
    **_WHERE,
    "kind": "TEXT",
    "topic": "TEXT",
    "score": "SMALLINT",
    "comment": "TEXT",
    "at": "BIGINT",
}
_REFERRAL = {
    "id": "BIGINT",
    "workspace_id": "BIGINT",
    "program": "TEXT",
    "referrer_id": "BIGINT",
    "contact_id": "BIGINT",
    "at": "BIGINT",
}
_SUBSCRIPTION = {
    "workspace_id": "BIGINT",
    "contact_id": "BIGINT",
    "topic": "TEXT",
    "state": "SMALLINT",
    "step_id": "TEXT",
    "at": "BIGINT",
}
_NOTIFICATION = {
    "id": "BIGINT",
    "workspace_id": "BIGINT",
    "kind": "TEXT",
    "team": "TEXT",
    "conversation_id": "BIGINT",
    "contact_id": "BIGINT",
    "text": "TEXT",
    "at": "BIGINT",
}


def _with_flow(table: str, columns: Mapping[str, str]) -> str:
    """An insert that finds the flow of the version: a step in a sub-flow is of another flow than the session's."""
    names = ", ".join(columns)
    return (
        f"INSERT INTO {table} ({names}, flow_id) SELECT {names}, COALESCE((SELECT v.flow_id FROM flow_version v "
        f"WHERE v.id = r.flow_version_id AND v.workspace_id = r.workspace_id), 0) FROM ({json_rows(columns)}) r"
    )


_INSERT_CONVERSIONS = _with_flow("conversion", _CONVERSION)
_INSERT_FEEDBACK = _with_flow("feedback", _FEEDBACK)
# By the primary key of contact: whoever was forgotten in the meantime has invited nobody.
_INSERT_REFERRALS = f"""
INSERT INTO referral ({", ".join(_REFERRAL)})
SELECT {", ".join(f"r.{name}" for name in _REFERRAL)} FROM ({json_rows(_REFERRAL)}) r
JOIN contact c ON c.id = r.referrer_id AND c.workspace_id = r.workspace_id
WHERE true ON CONFLICT DO NOTHING RETURNING id
"""
_PUT_SUBSCRIPTIONS = insert_rows(
    "subscription",
    _SUBSCRIPTION,
    conflict="ON CONFLICT (workspace_id, contact_id, topic) DO UPDATE SET state = excluded.state, "
    "step_id = excluded.step_id, at = excluded.at",
)
_insert_notifications = BulkInsert("notification", _NOTIFICATION)
# By the index feedback_contact: the newest row of that person at that step.
_COMMENT = (
    "UPDATE feedback SET comment = :comment WHERE id = (SELECT f.id FROM feedback f WHERE f.workspace_id = :workspace "
    "AND f.contact_id = :contact AND f.session_id = :session AND f.step_id = :step ORDER BY f.id DESC LIMIT 1)"
)


def write_conversions(connection: Connection, rows: Sequence[Row]) -> None:
    """Inserts rows with the table's columns but `flow_id`."""
    if rows:
        connection.execute(prepared(_INSERT_CONVERSIONS), {"rows": bulk(rows)})


def write_feedback(connection: Connection, rows: Sequence[Row]) -> None:
    """As `write_conversions`."""
    if rows:
        connection.execute(prepared(_INSERT_FEEDBACK), {"rows": bulk(rows)})


def comment(
    connection: Connection, *, workspace_id: int, contact_id: int, session_id: int, step_id: str, words: str
) -> None:
    """Puts a comment to the score that the person gave last at that step of that session."""
    values = {"workspace": workspace_id, "contact": contact_id, "session": session_id, "step": step_id}
    connection.execute(prepared(_COMMENT), {**values, "comment": words})


def write_referrals(connection: Connection, rows: Sequence[Row]) -> list[ContactPatch]:
    """Inserts rows (`count`: the referrer's field besides the table's columns); gives the patches that count those that
    are new. To be called before patches are applied: contacts are locked in one order."""
    if not rows:
        return []
    new = {row[0] for row in connection.execute(prepared(_INSERT_REFERRALS), {"rows": bulk(rows)})}
    return [
        ContactPatch(row["workspace_id"], row["referrer_id"], PatchContact("", increment={row["count"]: 1}))
        for row in rows
        if row["id"] in new
    ]


def write_subscriptions(connection: Connection, rows: Sequence[Row]) -> None:
    """Puts the states of topics; of several for one person and topic the last counts."""
    if rows:
        last = {(row["workspace_id"], row["contact_id"], row["topic"]): row for row in rows}
        connection.execute(prepared(_PUT_SUBSCRIPTIONS), {"rows": bulk(last[key] for key in sorted(last))})


def write_notifications(connection: Connection, rows: Sequence[Row]) -> None:
    """Inserts rows, unseen."""
    _insert_notifications(connection, rows)


# --- reading ----------------------------------------------------------------------------------------------------------


class ConversionView(Struct, frozen=True, kw_only=True):
    """`amount` in the smallest unit of `currency`; contact 0: forgotten."""

    id: int
    contact_id: int
    flow_id: int
    step_id: str
    name: str
    amount: int
    currency: str
    at: int


class FeedbackView(Struct, frozen=True, kw_only=True):
    """A score; contact 0: forgotten."""

    id: int
    contact_id: int
    flow_id: int
    step_id: str
    kind: str
    topic: str
    score: int
    comment: str
    at: int


class ReferralView(Struct, frozen=True, kw_only=True):
    """`referrer_id` brought `contact_id`; 0: forgotten."""

    id: int
    program: str
    referrer_id: int
    contact_id: int
    at: int


class SubscriptionView(Struct, frozen=True, kw_only=True):
    """Whether a contact follows a topic."""

    contact_id: int
    topic: str
    state: int
    at: int


class NotificationView(Struct, frozen=True, kw_only=True):
    """Something that the team is told; 0: of no conversation, of nobody."""

    id: int
    kind: str
    team: str
    conversation_id: int
    contact_id: int
    text: str
    at: int
    seen_at: int | None


def conversions(
    connection: Connection,
    workspace_id: int,
    *,
    contact_id: int = 0,
    name: str = "",
    before: int = 0,
    limit: int,
) -> list[ConversionView]:
    """The newest first; `before`: the id at which the last page ended."""
    conditions: dict[str, int | str] = {"contact_id": contact_id, "name": name}
    return _page(connection, "conversion", ConversionView, workspace_id, conditions, before, limit)


def feedback(
    connection: Connection,
    workspace_id: int,
    *,
    contact_id: int = 0,
    kind: str = "",
    topic: str = "",
    before: int = 0,
    limit: int,
) -> list[FeedbackView]:
    """As `conversions`."""
    conditions: dict[str, int | str] = {"contact_id": contact_id, "kind": kind, "topic": topic}
    return _page(connection, "feedback", FeedbackView, workspace_id, conditions, before, limit)


def referrals(
    connection: Connection,
    workspace_id: int,
    *,
    contact_id: int = 0,
    referrer_id: int = 0,
    program: str = "",
    before: int = 0,
    limit: int,
) -> list[ReferralView]:
    """As `conversions`."""
    conditions: dict[str, int | str] = {
        "contact_id": contact_id,
        "referrer_id": referrer_id,
        "program": program,
    }
    return _page(connection, "referral", ReferralView, workspace_id, conditions, before, limit)


def notifications(
    connection: Connection,
    workspace_id: int,
    *,
    contact_id: int = 0,
    team: str = "",
    unseen: bool = False,
    before: int = 0,
    limit: int,
) -> list[NotificationView]:
    """As `conversions`; `unseen`: only those."""
    conditions: dict[str, int | str] = {"contact_id": contact_id, "team": team}
    extra = "AND seen_at IS NULL" if unseen else ""
    return _page(connection, "notification", NotificationView, workspace_id, conditions, before, limit, extra)


def subscriptions(
    connection: Connection,
    workspace_id: int,
    *,
    contact_id: int = 0,
    topic: str = "",
    after: tuple[int, str] = (0, ""),
    limit: int,
) -> list[SubscriptionView]:
    """By contact and topic, those that are followed no longer as well; `after`: where the last page ended."""
    given: dict[str, int | str] = {"contact_id": contact_id, "topic": topic}
    wanted = " ".join(f"AND {column} = :{column}" for column, value in given.items() if value)
    # By the primary key (workspace_id, contact_id, topic).
    rows = connection.execute(
        prepared(
            "SELECT contact_id, topic, state, at FROM subscription WHERE workspace_id = :workspace "
            f"AND (contact_id, topic) > (:last_contact, :last_topic) {wanted} "
            "ORDER BY contact_id, topic LIMIT :limit"
        ),
        {
            "workspace": workspace_id,
            "last_contact": after[0],
            "last_topic": after[1],
            "limit": limit,
            **{column: value for column, value in given.items() if value},
        },
    )
    return [SubscriptionView(**row._mapping) for row in rows]


def mark_seen(
    connection: Connection,
    workspace_id: int,
    notification_ids: Sequence[int] = (),
    *,
    up_to: int = (1 << 63) - 1,
    now: int,
) -> int:
    """Notes that somebody has seen them, when none is named all up to an id; gives how many were unseen.

    Raises NotFound when one is not there."""
    values: dict[str, Any] = {"workspace": workspace_id, "ids": bulk_values(set(notification_ids))}
    mine = (
        "workspace_id = :workspace AND id IN (SELECT CAST(e.value ->> 'v' AS BIGINT) FROM json_each(:ids) e)"
    )
    if notification_ids:
        known = connection.execute(
            prepared(f"SELECT count(*) FROM notification WHERE {mine}"), values
        ).scalar()
        if known != len(set(notification_ids)):
            raise NotFound("there is no such notification")
    else:
        mine, values = (
            "workspace_id = :workspace AND id <= :up_to",
            {"workspace": workspace_id, "up_to": up_to},
        )
    # By the index notification_unseen, or the primary key.
    statement = f"UPDATE notification SET seen_at = :now WHERE seen_at IS NULL AND {mine}"
    return connection.execute(prepared(statement), {**values, "now": now}).rowcount


def _page(
    connection: Connection,
    table: str,
    view: Any,
    workspace_id: int,
    conditions: Mapping[str, int | str],
    before: int,
    limit: int,
    extra: str = "",
) -> list[Any]:
    """By the primary key, or the index of the contact; the names of columns are ours."""
    given = {column: value for column, value in conditions.items() if value}
    wanted = " ".join(f"AND {column} = :{column}" for column in given)
    rows = connection.execute(
        prepared(
            f"SELECT {', '.join(view.__struct_fields__)} FROM {table} WHERE workspace_id = :workspace "
            f"AND id < :before {wanted} {extra} ORDER BY id DESC LIMIT :limit"
        ),
        {"workspace": workspace_id, "before": before or (1 << 63) - 1, "limit": limit, **given},
    )
    return [view(**row._mapping) for row in rows]


# --- forgetting and showing -------------------------------------------------------------------------------------------

_ERASE = (
    # Figures stay true, of a day and without a person.
    f"UPDATE conversion SET contact_id = 0, conversation_id = 0, session_id = 0, at = at - at % {DAY_MS} "
    "WHERE workspace_id = :workspace AND contact_id = :contact",
    f"UPDATE feedback SET contact_id = 0, conversation_id = 0, session_id = 0, comment = '', at = at - at % {DAY_MS} "
    "WHERE workspace_id = :workspace AND contact_id = :contact",
    "DELETE FROM referral WHERE workspace_id = :workspace AND contact_id = :contact",
    "UPDATE referral SET referrer_id = 0 WHERE workspace_id = :workspace AND referrer_id = :contact",
    "DELETE FROM subscription WHERE workspace_id = :workspace AND contact_id = :contact",
    "DELETE FROM notification WHERE workspace_id = :workspace AND contact_id = :contact",
)


@erases("outcomes")
def erase(
    connection: Connection, workspace_id: int, contact_id: int, identity_ids: Sequence[int], now: int
) -> bool:
    """Takes the person out of the figures and deletes the rest."""
    for statement in _ERASE:
        connection.execute(prepared(statement), {"workspace": workspace_id, "contact": contact_id})
    return False


_SHOWN = {
    "conversions": (
        "conversion",
        ("name", "amount", "currency"),
        "contact_id = :contact",
    ),
    "feedback": ("feedback", ("kind", "topic", "score", "comment"), "contact_id = :contact"),
    "invited_by_somebody": ("referral", ("program",), "contact_id = :contact"),
    "invited_others": ("referral", ("program",), "referrer_id = :contact"),
    "topics": ("subscription", ("topic", "state"), "contact_id = :contact"),
    "told_to_the_team": ("notification", ("kind", "text"), "contact_id = :contact"),
}
MAX_SHOWN = 1_000  # rows of one sort in an export; the newest


@exports("outcomes")
def export(
    connection: Connection, workspace_id: int, contact_id: int, identity_ids: Sequence[int]
) -> dict[str, Any]:
    """All sorts that hold something of the person, the newest first; never who invited or was invited."""
    shown: dict[str, Any] = {}
    for sort, (table, columns, whose) in _SHOWN.items():
        rows = connection.execute(
            prepared(
                f"SELECT {', '.join(columns)}, at FROM {table} WHERE workspace_id = :workspace AND {whose} "
                "ORDER BY at DESC LIMIT :limit"
            ),
            {"workspace": workspace_id, "contact": contact_id, "limit": MAX_SHOWN},
        )
        found = [dict(row._mapping) for row in rows]
        if found:
            shown[sort] = [
                {**row, "at": f"{datetime.fromtimestamp(row['at'] // 1000, UTC):%Y-%m-%dT%H:%M:%SZ}"}
                for row in found
            ]
    return shown
