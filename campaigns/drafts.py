"""What is said to whom, before it is sent: campaigns are made and changed as drafts, and checked as a whole.

A draft is checked when it is written (bad input is refused where it is entered) and once more before it starts, because
channels and templates change in the meantime.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import msgspec
from sqlalchemy import Connection, text

from bot.channels.base import channel_of
from campaigns import audiences, contents
from campaigns.states import CampaignState
from domain.errors import Conflict, NotFound, RejectedInput
from storage.database import dialect

MAX_NAME = 200  # characters
MAX_RATE = 1_000  # messages per second: the fastest channel's limit


class Draft(msgspec.Struct, kw_only=True, forbid_unknown_fields=True):
    """A campaign as people write it. `content`: `{language: text or content}`; `audience`: a predicate's JSON form;
    `rate`: messages per second at most (None: the channel's pace)."""

    name: str
    channel_id: int
    content: dict[str, Any]
    audience: dict[str, Any] = msgspec.field(default_factory=lambda: {"all": []})
    purpose: str = "marketing"
    default_language: str = ""  # "": the first of `content`
    rate: int | None = None


_COLUMNS = (
    "id, workspace_id, channel_id, name, state, state_reason, purpose, audience, content, default_language, "
    "scheduled_at, rate, run_id, version, created_at, updated_at"
)


def create(
    connection: Connection, workspace_id: int, draft: Draft, *, new_id: Callable[[], int], now: int
) -> int:
    """Stores a checked draft; gives its id. Raises RejectedInput naming the place."""
    campaign_id = new_id()
    connection.execute(
        text(
            "INSERT INTO campaign (id, workspace_id, channel_id, name, state, state_reason, purpose, audience, "
            "content, default_language, rate, run_id, version, created_at, updated_at) VALUES (:id, :workspace_id, "
            ":channel_id, :name, 'draft', '', :purpose, :audience, :content, :default_language, :rate, 0, 0, "
            ":now, :now)"
        ),
        {
            "id": campaign_id,
            "workspace_id": workspace_id,
            "now": now,
            **_checked(connection, workspace_id, draft, now),
        },
    )
    return campaign_id


def change(connection: Connection, workspace_id: int, campaign_id: int, draft: Draft, *, now: int) -> None:
    """Replaces a draft. Raises NotFound, RejectedInput, and Conflict once it is more than a draft."""
    campaign = locked(connection, workspace_id, campaign_id)
    if campaign.state != CampaignState.draft:
        raise Conflict(f"this campaign is {campaign.state}: only a draft can be changed")
    connection.execute(
        text(
            "UPDATE campaign SET channel_id = :channel_id, name = :name, purpose = :purpose, audience = :audience, "
            "content = :content, default_language = :default_language, rate = :rate, state_reason = '', "
            "version = version + 1, updated_at = :now WHERE id = :id"
        ),
        {"id": campaign_id, "now": now, **_checked(connection, workspace_id, draft, now)},
    )


def get(connection: Connection, workspace_id: int, campaign_id: int) -> Any:
    """The campaign's row. Raises NotFound."""
    return _row(connection, workspace_id, campaign_id, "")


def locked(connection: Connection, workspace_id: int, campaign_id: int) -> Any:
    """The campaign's row, locked until the transaction ends. Raises NotFound."""
    return _row(connection, workspace_id, campaign_id, dialect(connection).for_update)


def check_sendable(connection: Connection, campaign: Any) -> None:
    """Raises Conflict when its channel does not send, RejectedInput when its channel cannot show its contents."""
    state, kind = _channel(connection, campaign.workspace_id, campaign.channel_id)
    if state != "active":
        raise Conflict(f"the channel is {state}")
    contents.check(contents.decode(campaign.content), campaign.default_language, channel_of(kind))


def _row(connection: Connection, workspace_id: int, campaign_id: int, lock: str) -> Any:
    row = connection.execute(
        text(f"SELECT {_COLUMNS} FROM campaign WHERE workspace_id = :workspace AND id = :id {lock}"),
        {"workspace": workspace_id, "id": campaign_id},
    ).one_or_none()
    if row is None:
        raise NotFound("no such campaign")
    return row


def _checked(connection: Connection, workspace_id: int, draft: Draft, now: int) -> dict[str, Any]:
    """The columns of a draft. Raises RejectedInput."""
    if not draft.name.strip() or len(draft.name) > MAX_NAME:
        raise RejectedInput(f"must have 1 to {MAX_NAME} characters", where="name")
    if not draft.purpose:
        raise RejectedInput("must name what people consented to", where="purpose")
    if draft.rate is not None and not 1 <= draft.rate <= MAX_RATE:
        raise RejectedInput(f"must be 1 to {MAX_RATE} messages per second", where="rate")
    _state, kind = _channel(connection, workspace_id, draft.channel_id)
    audiences.check(connection, draft.audience, now=now)
    said = contents.parse(draft.content)
    language = draft.default_language or next(iter(said))
    contents.check(said, language, channel_of(kind))
    return {
        "channel_id": draft.channel_id,
        "name": draft.name.strip(),
        "purpose": draft.purpose,
        "audience": msgspec.json.encode(draft.audience).decode(),
        "content": contents.encode(said),
        "default_language": language,
        "rate": draft.rate,
    }


def _channel(connection: Connection, workspace_id: int, channel_id: int) -> tuple[str, str]:
    row = connection.execute(
        text("SELECT state, kind FROM channel WHERE workspace_id = :workspace AND id = :id"),
        {"workspace": workspace_id, "id": channel_id},
    ).one_or_none()
    if row is None:
        raise RejectedInput("no such channel", where="channel_id")
    return row.state, row.kind
