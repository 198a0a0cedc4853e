"""Proof of consent: an append-only ledger, the state folded from it, and the suppression list."""

from sqlalchemy import Index, UniqueConstraint
from sqlmodel import SQLModel

from storage.tables.columns import CLUSTERED, big, identifier, small, text


class ConsentEntry(SQLModel, table=True):
    """One row of the ledger; never edited. `hash` chains the rows of one identity over salted commitments of the
    personal columns, so that erasure deletes salt and value and the chain still verifies."""

    __tablename__ = "consent_entry"
    __table_args__ = (
        UniqueConstraint("identity_id", "position"),
        Index("consent_entry_workspace", "workspace_id", "id"),
    )

    id: int = identifier()
    workspace_id: int = big()
    identity_id: int = big()
    contact_id: int = big()
    channel_id: int = big()
    position: int = big()  # 0, 1, … along the identity's chain
    purpose: str = text()
    action: str = text()  # asked | granted | confirmed | denied | withdrawn | expired | imported
    wording: str = text()
    wording_version: str = text()
    language: str = text()
    double_opt_in: int = small()  # 1: a grant that counts only once it is confirmed
    source: str = text("{}")  # JSON: flow, version, step, message, form, import, operator, platform
    evidence: str = text(
        "{}"
    )  # JSON, personal: the person's own words, external message id; emptied by erasure
    evidence_commitment: str = text()  # "" where there was no evidence
    person_commitment: str = text()
    occurred_at: int = big()
    recorded_at: int = big()
    previous_hash: str = text()
    hash: str = text()


class ConsentState(SQLModel, table=True):
    """What an identity's consent for a purpose is now: the fold of its ledger."""

    __tablename__ = "consent_state"
    __table_args__ = (
        Index("consent_state_purpose", "workspace_id", "purpose", "mailable", "identity_id"),
        CLUSTERED,
    )

    workspace_id: int = big()
    identity_id: int = big(primary_key=True)
    purpose: str = text(primary_key=True)
    contact_id: int = big()
    channel_id: int = big()
    state: str = text()  # the last action that decides
    mailable: int = small()  # 1: granted (or confirmed, where double opt-in was asked for)
    consent_id: int = big()  # the ledger row that proves it
    double_opt_in: int = small()
    changed_at: int = big()


class ConsentHead(SQLModel, table=True):
    """The end of an identity's chain; locked by whoever appends or relies on it."""

    __tablename__ = "consent_head"

    workspace_id: int = big()
    identity_id: int = identifier()
    position: int = big()
    hash: str = text()


class ConsentAnchor(SQLModel, table=True):
    """The workspace's chain over all heads, written by the scheduler."""

    __tablename__ = "consent_anchor"
    __table_args__ = (UniqueConstraint("workspace_id", "position"),)

    id: int = identifier()
    workspace_id: int = big()
    position: int = big()
    until_id: int = big()  # ledger rows after the previous anchor's, up to this id, are covered
    heads: int = big()
    digest: str = text()
    previous_hash: str = text()
    hash: str = text()
    at: int = big()


class Suppression(SQLModel, table=True):
    """Do not write to this address for this purpose ("*": any marketing). Survives erasure and re-import."""

    __tablename__ = "suppression"
    __table_args__ = CLUSTERED

    workspace_id: int = big(primary_key=True)
    external_key: str = text(primary_key=True)  # keyed hash of (channel kind, external id)
    purpose: str = text(primary_key=True)
    reason: str = text()  # stop_word | platform | operator | erased
    at: int = big()
