"""Many people at once: contacts with an identity on a channel and a granted consent, made by the database itself."""

from __future__ import annotations

from sqlalchemy import Connection, text

SLICE = 20_000  # rows of one statement: it ends within the limits of the store, also on a busy machine
IDENTITIES = 1 << 40  # an identity's id is its contact's plus this: apart from everything else, and known

NUMBERS = (
    "WITH RECURSIVE numbers (n) AS "
    "(SELECT CAST(:first AS BIGINT) UNION ALL SELECT n + 1 FROM numbers WHERE n < :last) "
)
# Fields differ so that conditions split the people: three cities, ages over fifty years, half of them customers.
_CONTACTS = text(
    "INSERT INTO contact (id, workspace_id, name, first_name, last_name, email, phone, language, timezone, fields, "
    "source, birth_year, created_at, updated_at) "
    + NUMBERS
    + "SELECT n, :workspace, 'Anna ' || CAST(n AS TEXT), "
    "'Anna', CAST(n AS TEXT), 'anna' || CAST(n AS TEXT) || '@example.com', NULL, CASE n % 2 WHEN 0 THEN 'it' ELSE 'en' "
    "END, NULL, '{\"city\":\"' || CASE n % 3 WHEN 0 THEN 'Roma' WHEN 1 THEN 'Milano' ELSE 'Bari' END || "
    "'\",\"visits\":' || CAST(n % 50 AS TEXT) || '}', '', CAST(1950 + n % 50 AS BIGINT), :now, :now FROM numbers"
)
_IDENTITY_ROWS = text(
    "INSERT INTO identity (id, workspace_id, channel_id, contact_id, kind, address, username, display_name, language, "
    "state, state_at, last_inbound_at, marketing_day, marketing_count, marketing_last_at, marketing_not_before, salt, "
    "created_at) " + NUMBERS + f"SELECT n + {IDENTITIES}, :workspace, :channel, n, 'telegram_user', "
    "CAST(n AS TEXT), NULL, '', NULL, 'reachable', NULL, :now, 0, 0, NULL, NULL, '', :now FROM numbers"
)
_CONSENTS = text(
    "INSERT INTO consent_state (workspace_id, identity_id, purpose, contact_id, channel_id, state, mailable, "
    "consent_id, double_opt_in, changed_at) "
    + NUMBERS
    + f"SELECT :workspace, n + {IDENTITIES}, 'marketing', n, :channel, "
    "CASE WHEN n % 12 = 0 THEN 'withdrawn' ELSE 'granted' END, CASE WHEN n % 12 = 0 THEN 0 ELSE 1 END, 1, 0, :now "
    "FROM numbers"
)


def add(connection: Connection, *, workspace: int, channel: int, first: int, count: int, now: int) -> None:
    """Contacts `first` … `first + count - 1`; one in twelve has withdrawn the consent. One transaction's worth."""
    for start in range(first, first + count, SLICE):
        last = min(start + SLICE, first + count) - 1
        values = {"first": start, "last": last, "workspace": workspace, "now": now}
        connection.execute(_CONTACTS, values)
        connection.execute(_IDENTITY_ROWS, values | {"channel": channel})
        connection.execute(_CONSENTS, values | {"channel": channel})


def mailable(count: int, first: int) -> int:
    """How many of them have consented."""
    return sum(1 for n in range(first, first + count) if n % 12)
