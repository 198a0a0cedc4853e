"""The durable inbound log and what keeps events single."""

from sqlalchemy import Index
from sqlalchemy import text as sql
from sqlmodel import SQLModel

from storage.tables.columns import CLUSTERED, big, identifier, small, text


class Intake(SQLModel, table=True):
    """One event, sealed, until it is done. `state`: 0 open, 1 parked, 2 done, 3 held behind the answer to a call of its
    session; done rows lose their payload and are swept after 8 days."""

    __tablename__ = "intake"
    __table_args__ = (
        Index("intake_open", "id", sqlite_where=sql("state = 0"), postgresql_where=sql("state = 0")),
        Index(
            "intake_parked",
            "workspace_id",
            "id",
            sqlite_where=sql("state = 1"),
            postgresql_where=sql("state = 1"),
        ),
        Index(
            "intake_held",
            "channel_id",
            "intake_key",
            sqlite_where=sql("state = 3"),
            postgresql_where=sql("state = 3"),
        ),
    )

    id: int = identifier()
    workspace_id: int = big()
    channel_id: int = big()
    slot: int = small()
    intake_key: str = (
        text()
    )  # keyed hash of the platform's conversation key: no personal data stays in the column
    payload: str = text()  # sealed JSON of the event
    state: int = small()
    attempts: int = small()
    not_before: int = big(0)
    problem: str = text()
    received_at: int = big()


class Seen(SQLModel, table=True):
    """Keys of events that were taken, for 8 days."""

    __tablename__ = "seen"
    __table_args__ = (Index("seen_age", "seen_at"), CLUSTERED)

    workspace_id: int = big()
    channel_id: int = big(primary_key=True)
    key: str = text(primary_key=True)  # 22 characters: 16 bytes of a hash over (kind, external id)
    seen_at: int = big()
