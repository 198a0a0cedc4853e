"""What flows bring about beside messages and fields: conversions, feedback, referrals, topics, news for the team."""

from sqlalchemy import Index, UniqueConstraint
from sqlalchemy import text as sql
from sqlmodel import SQLModel

from storage.tables.columns import CLUSTERED, big, identifier, small
from storage.tables.columns import text as words


class Conversion(SQLModel, table=True):
    """Something of value that a person did: an order, a booking. `amount` in the smallest unit of `currency`."""

    __tablename__ = "conversion"
    __table_args__ = (Index("conversion_contact", "workspace_id", "contact_id", "id"),)

    id: int = identifier()
    workspace_id: int = big()
    contact_id: int = big()
    conversation_id: int = big(0)
    session_id: int = big(0)
    flow_id: int = big(0)
    flow_version_id: int = big(0)
    step_id: str = words()
    name: str = words()
    amount: int = big(0)
    currency: str = words()  # "" where no value was given
    at: int = big()


class Feedback(SQLModel, table=True):
    """A score that a person gave, with their words where they were asked for."""

    __tablename__ = "feedback"
    __table_args__ = (Index("feedback_contact", "workspace_id", "contact_id", "id"),)

    id: int = identifier()
    workspace_id: int = big()
    contact_id: int = big()
    conversation_id: int = big(0)
    session_id: int = big(0)
    flow_id: int = big(0)
    flow_version_id: int = big(0)
    step_id: str = words()
    kind: str = words()  # csat | nps | stars
    topic: str = words()  # what it is about, the author's word
    score: int = small()
    comment: str = words()
    at: int = big()


class Referral(SQLModel, table=True):
    """Who brought whom, once per program."""

    __tablename__ = "referral"
    __table_args__ = (
        UniqueConstraint("workspace_id", "program", "contact_id"),
        Index("referral_referrer", "workspace_id", "referrer_id"),
    )

    id: int = identifier()
    workspace_id: int = big()
    program: str = words()
    referrer_id: int = big()
    contact_id: int = big()
    at: int = big()


class Subscription(SQLModel, table=True):
    """A topic that a person follows or not. It narrows what is sent; consent is another matter."""

    __tablename__ = "subscription"
    __table_args__ = CLUSTERED

    workspace_id: int = big(primary_key=True)
    contact_id: int = big(primary_key=True)
    topic: str = words(primary_key=True)
    state: int = small(1)  # 1 follows, 0 does not
    step_id: str = words()
    at: int = big()


class Notification(SQLModel, table=True):
    """Something that people of the team are told. `kind`: notify, failed, handed_over …"""

    __tablename__ = "notification"
    __table_args__ = (
        Index("notification_contact", "workspace_id", "contact_id"),
        Index(
            "notification_unseen",
            "workspace_id",
            "id",
            sqlite_where=sql("seen_at IS NULL"),
            postgresql_where=sql("seen_at IS NULL"),
        ),
    )

    id: int = identifier()
    workspace_id: int = big()
    kind: str = words()
    team: str = words()
    conversation_id: int = big(0)
    contact_id: int = big(0)
    text: str = words()
    at: int = big()
    seen_at: int | None = big(nullable=True)
