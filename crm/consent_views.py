"""What people see of consents: the state of each identity and purpose; the proof is `proof.sheet`."""

from __future__ import annotations

from msgspec import Struct
from sqlalchemy import Connection, text


class ConsentView(Struct, frozen=True, kw_only=True):
    """One identity's consent for one purpose. `mailable`: it counts now; `consent_id`: the ledger row that decides."""

    identity_id: int
    channel_id: int
    purpose: str
    state: str
    mailable: bool
    consent_id: int
    changed_at: int


def consents(connection: Connection, workspace_id: int, contact_id: int) -> list[ConsentView]:
    """All consents of a contact's identities, by purpose, the latest first."""
    rows = connection.execute(
        text(
            "SELECT s.identity_id, s.channel_id, s.purpose, s.state, s.mailable, s.consent_id, s.changed_at "
            "FROM identity i JOIN consent_state s ON s.identity_id = i.id AND s.workspace_id = i.workspace_id "
            "WHERE i.workspace_id = :workspace AND i.contact_id = :contact "
            "ORDER BY s.purpose, s.changed_at DESC, s.identity_id"
        ),
        {"workspace": workspace_id, "contact": contact_id},
    ).all()
    return [ConsentView(**{**row._mapping, "mailable": bool(row.mailable)}) for row in rows]
