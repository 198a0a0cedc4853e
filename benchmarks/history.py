"""What many people have left behind: of each one a form walked through a day ago, made by the database itself.

The tables are those that a step of a conversation reads and writes: the key of the address, conversation, ended
session, turn, message, timeline entry, and the key of an update that was seen. The people are those of
`benchmarks.population`.
"""

from __future__ import annotations

from sqlalchemy import Connection, text

from benchmarks.population import IDENTITIES, NUMBERS, SLICE
from domain import ids

DAY_MS = 86_400_000
_MILLISECOND = ids.first_id_at(ids.EPOCH_MS + 1)  # between ids of neighbouring milliseconds
# The n-th person's rows are of one millisecond; within it, every kind of row has a place of its own.
_ID = f"(:begun + n * {_MILLISECOND})"
_IDENTITY = f"n + {IDENTITIES}"
_HASH = "CAST((n * 2654435761) % 4294967291 AS TEXT) || '-' || CAST(n AS TEXT)"  # as far apart as keyed hashes are
_CONTENT = '{"kind":"text","text":"All done, Anna: thanks for joining Corner Bakery."}'

_STATEMENTS = tuple(
    text(f"INSERT INTO {table} ({columns}) {NUMBERS}SELECT {values} FROM numbers")
    for table, columns, values in (
        (
            "identity_key",
            "workspace_id, channel_id, external_key, identity_id, kind",
            f":workspace, :channel, {_HASH}, {_IDENTITY}, 'telegram_user'",
        ),
        (
            "conversation",
            "id, workspace_id, channel_id, conversation_key, intake_key, slot, identity_id, contact_id, address, "
            "topic, place, status, assignee, session_id, question_id, version, last_inbound_at, last_message_at, "
            "created_at",
            f"{_ID}, :workspace, :channel, 'i:' || CAST({_IDENTITY} AS TEXT), {_HASH}, n % 4096, {_IDENTITY}, n, "
            "CAST(n AS TEXT), NULL, 'private', 'bot', '', 0, 0, 6, :now, :now, :now",
        ),
        (
            "flow_session",
            "id, workspace_id, conversation_id, contact_id, flow_id, flow_version_id, state, status, problem, "
            "version, started_at, updated_at",
            f"{_ID} + 1, :workspace, {_ID}, n, :flow, :version, '{{}}', 'ended', '', 6, :now, :now",
        ),
        (
            "turn",
            "id, workspace_id, conversation_id, session_id, event_id, flow_version_id, payload, state_before, "
            "state_after, at",
            f"{_ID} + 2, :workspace, {_ID}, {_ID} + 1, {_ID} + 3, :version, '', '{{}}', '{{}}', :now",
        ),
        (
            "message",
            "id, workspace_id, channel_id, conversation_id, contact_id, identity_id, outlet_id, turn_id, run_id, "
            "direction, message_class, purpose, author, content, external_id, status, status_rank, reason, code, "
            "possibly_twice, consent_id, sent_at, pricing, created_at",
            f"{_ID} + 4, :workspace, :channel, {_ID}, n, {_IDENTITY}, 0, {_ID} + 2, 0, 'out', 'reply', '', 'bot', "
            ":content, CAST(n AS TEXT), 'sent', 4, '', '', 0, 0, :now, '', :now",
        ),
        (
            "timeline_entry",
            "id, workspace_id, contact_id, kind, data, at",
            f"{_ID} + 5, :workspace, n, 'flow_ended', '{{}}', :now",
        ),
        (
            "seen",
            "workspace_id, channel_id, key, seen_at",
            ":workspace, :channel, 'old-' || CAST(n AS TEXT), :now",
        ),
    )
)


def add(connection: Connection, *, workspace: int, channel: int, first: int, count: int, now: int) -> None:
    """For the people `first` … `first + count - 1` of a workspace with one flow. One transaction's worth."""
    flow, version = connection.execute(
        text("SELECT id, current_version_id FROM flow WHERE workspace_id = :workspace"),
        {"workspace": workspace},
    ).one()
    for start in range(first, first + count, SLICE):
        values = {
            "first": start,
            "last": min(start + SLICE, first + count) - 1,
            "workspace": workspace,
            "channel": channel,
            "flow": flow,
            "version": version,
            "now": now - DAY_MS,  # nothing of it is old enough to be swept away
            "begun": ids.first_id_at((now // DAY_MS - 1) * DAY_MS),  # the same in every call
            "content": _CONTENT,
        }
        for statement in _STATEMENTS:
            connection.execute(statement, values)
