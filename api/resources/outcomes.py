"""`/conversions`, `/feedback`, `/referrals`, `/subscriptions`: what flows brought about. `/notifications`: what people
of the team are told."""

from __future__ import annotations

from typing import Any, Literal

from pydantic import Field

from api.models import (
    ContactId,
    ConversationId,
    ConversionId,
    FeedbackId,
    FlowId,
    Input,
    NotificationId,
    Output,
    Page,
    PageQuery,
    ReferralId,
    numeric_cursor,
    page_of,
)
from api.routing import Call, route
from crm import outcomes
from domain.errors import RejectedInput

MAX_SEEN = 1_000  # at once


class Conversion(Output):
    """Something of value that a person did. `amount` in the smallest unit of `currency` (empty: no value is known);
    `contact_id` null: they were forgotten, and `at` is that day."""

    id: ConversionId
    contact_id: ContactId | None
    flow_id: FlowId | None
    step_id: str
    name: str
    amount: int
    currency: str
    at: int


class Feedback(Output):
    """A score: csat and stars from 1 to 5, nps from 0 to 10. `contact_id` null: they were forgotten."""

    id: FeedbackId
    contact_id: ContactId | None
    flow_id: FlowId | None
    step_id: str
    kind: str
    topic: str
    score: int
    comment: str
    at: int


class Referral(Output):
    """`referrer_id` brought `contact_id`; null: they were forgotten."""

    id: ReferralId
    program: str
    referrer_id: ContactId | None
    contact_id: ContactId | None
    at: int


class Subscription(Output):
    """Whether a contact follows a topic. Consent is another matter."""

    contact_id: ContactId
    topic: str
    follows: bool
    at: int


class Notification(Output):
    """What the team is told. `kind`: notify (a flow's step), unanswered (a question that nothing answered), failed (a
    flow could not go on), not_allowed (a flow calls a server outside OUTGOING_ALLOW), no_secret (a flow lacks a key),
    runaway (flows start one another), handed_over (somebody waits for a person)."""

    id: NotificationId
    kind: str
    team: str
    conversation_id: ConversationId | None
    contact_id: ContactId | None
    text: str
    at: int
    seen_at: int | None


class ConversionQuery(PageQuery):
    """Which conversions."""

    contact_id: ContactId | None = Field(None, description="of one contact")
    name: str | None = Field(None, max_length=100)


class FeedbackQuery(PageQuery):
    """Which scores."""

    contact_id: ContactId | None = Field(None, description="of one contact")
    kind: Literal["csat", "nps", "stars"] | None = None
    topic: str | None = Field(None, max_length=64)


class ReferralQuery(PageQuery):
    """Which referrals."""

    contact_id: ContactId | None = Field(None, description="who was brought")
    referrer_id: ContactId | None = Field(None, description="who brought them")
    program: str | None = Field(None, max_length=32)


class SubscriptionQuery(PageQuery):
    """Which topics of whom."""

    after: str | None = Field(None, max_length=600, description="`next` of the page before")
    contact_id: ContactId | None = Field(None, description="of one contact")
    topic: str | None = Field(None, max_length=64)


class NotificationQuery(PageQuery):
    """Which news for the team."""

    contact_id: ContactId | None = Field(None, description="about one contact")
    team: str | None = Field(None, max_length=64)
    unseen: bool = Field(False, description="only those that nobody has seen")


class Seen(Input):
    """Which notifications somebody has seen; none named: all."""

    notification_ids: list[NotificationId] = Field(default_factory=list, max_length=MAX_SEEN)


class Marked(Output):
    """How many were unseen before."""

    seen: int


@route("GET", "/conversions", scope="outcomes:read", query=ConversionQuery, out=Page[Conversion])
async def list_conversions(call: Call[None, ConversionQuery]) -> Page[Conversion]:
    """Conversions, the newest first."""
    query, before = call.query, numeric_cursor(call.query.after)
    found = await call.read(
        lambda c: outcomes.conversions(
            c,
            call.workspace_id,
            contact_id=query.contact_id or 0,
            name=query.name or "",
            before=before,
            limit=query.limit + 1,
        )
    )
    page = page_of(found, query.limit, lambda one: one.id)
    return Page[Conversion](
        data=[Conversion(**_values(Conversion, one)) for one in page.data], next=page.next
    )


@route("GET", "/feedback", scope="outcomes:read", query=FeedbackQuery, out=Page[Feedback])
async def list_feedback(call: Call[None, FeedbackQuery]) -> Page[Feedback]:
    """Scores that people gave, the newest first."""
    query, before = call.query, numeric_cursor(call.query.after)
    found = await call.read(
        lambda c: outcomes.feedback(
            c,
            call.workspace_id,
            contact_id=query.contact_id or 0,
            kind=query.kind or "",
            topic=query.topic or "",
            before=before,
            limit=query.limit + 1,
        )
    )
    page = page_of(found, query.limit, lambda one: one.id)
    return Page[Feedback](data=[Feedback(**_values(Feedback, one)) for one in page.data], next=page.next)


@route("GET", "/referrals", scope="outcomes:read", query=ReferralQuery, out=Page[Referral])
async def list_referrals(call: Call[None, ReferralQuery]) -> Page[Referral]:
    """Who brought whom, the newest first."""
    query, before = call.query, numeric_cursor(call.query.after)
    found = await call.read(
        lambda c: outcomes.referrals(
            c,
            call.workspace_id,
            contact_id=query.contact_id or 0,
            referrer_id=query.referrer_id or 0,
            program=query.program or "",
            before=before,
            limit=query.limit + 1,
        )
    )
    page = page_of(found, query.limit, lambda one: one.id)
    return Page[Referral](data=[Referral(**_values(Referral, one)) for one in page.data], next=page.next)


@route("GET", "/subscriptions", scope="outcomes:read", query=SubscriptionQuery, out=Page[Subscription])
async def list_subscriptions(call: Call[None, SubscriptionQuery]) -> Page[Subscription]:
    """Topics that people follow, and those that they no longer follow."""
    query, after = call.query, _after(call.query.after)
    found = await call.read(
        lambda c: outcomes.subscriptions(
            c,
            call.workspace_id,
            contact_id=query.contact_id or 0,
            topic=query.topic or "",
            after=after,
            limit=query.limit + 1,
        )
    )
    page = page_of(found, query.limit, lambda one: f"{one.contact_id}.{one.topic.encode().hex()}")
    shown = [
        Subscription(contact_id=one.contact_id, topic=one.topic, follows=bool(one.state), at=one.at)
        for one in page.data
    ]
    return Page[Subscription](data=shown, next=page.next)


@route("GET", "/notifications", scope="notifications:read", query=NotificationQuery, out=Page[Notification])
async def list_notifications(call: Call[None, NotificationQuery]) -> Page[Notification]:
    """What the team is told, the newest first."""
    query, before = call.query, numeric_cursor(call.query.after)
    found = await call.read(
        lambda c: outcomes.notifications(
            c,
            call.workspace_id,
            contact_id=query.contact_id or 0,
            team=query.team or "",
            unseen=query.unseen,
            before=before,
            limit=query.limit + 1,
        )
    )
    page = page_of(found, query.limit, lambda one: one.id)
    shown = [Notification(**_values(Notification, one)) for one in page.data]
    return Page[Notification](data=shown, next=page.next)


@route("POST", "/notifications/seen", scope="notifications:write", body=Seen, out=Marked)
async def mark_notifications_seen(call: Call[Seen, None]) -> Marked:
    """Notes that somebody has seen them."""
    wanted = call.body.notification_ids
    return await call.write(
        lambda c: Marked(seen=outcomes.mark_seen(c, call.workspace_id, wanted, now=call.now()))
    )


def _values(model: type[Output], one: Any) -> dict[str, Any]:
    """The view's values; the id of nobody is null."""
    values = {name: getattr(one, name) for name in model.model_fields}
    return {name: None if name.endswith("_id") and value == 0 else value for name, value in values.items()}


def _after(cursor: str | None) -> tuple[int, str]:
    """The contact and topic at which the last page ended."""
    if cursor is None:
        return 0, ""
    contact, _, topic = cursor.partition(".")
    try:
        return numeric_cursor(contact), bytes.fromhex(topic).decode()
    except ValueError:
        raise RejectedInput("is not the `next` of a page", where="after") from None
