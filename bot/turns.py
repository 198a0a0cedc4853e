"""Turns: what the row of one event and what came of it holds, so that the conversation can be played again.

The payload holds everything that the engine was given and that is not found by the row's own columns: the event (timers
and answers to calls are events), the time, the seed, the contact as the flow saw it, the flow's version, the channel's
facts, how the flow was started, which version of every flow that it called was the published one, and the business by
its digest. Businesses stand once for each that was in force, in `business_seen`. The states before and after are in the
row as hashes: a replay gives the same ones or says where it went another way.

`FORMAT` 1 (before 0.4) lacks the flow, the channel, the start and the business: such turns cannot be replayed.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterable
from typing import Any, NamedTuple

import msgspec
from msgspec import Struct, field
from sqlalchemy import Connection, text

from domain.contacts import ContactView
from domain.effects import Effect
from domain.events import Event
from flows.business import BusinessView
from flows.channel import ChannelView
from flows.state import Cause
from storage.sealing import Sealer

FORMAT = 2


class Recorded(Struct, omit_defaults=True, kw_only=True):
    """The payload of a turn. `flow`: the version that the engine was given; `language`, `variables`: with which a flow
    was started; `library`: the published versions of the flows that were called, by key; `business`: its digest."""

    event: Event
    now: int
    seed: int
    contact: ContactView
    effects: list[Effect]
    format: int = 1
    trigger: str = ""
    outcome: str = ""
    flow: int = 0
    channel: ChannelView | None = None
    language: str | None = None
    variables: dict[str, Any] = field(default_factory=dict)
    library: dict[str, int] = field(default_factory=dict)
    business: str = ""
    cause: Cause | None = None  # how the flow was started, if not by a message


class Turn(NamedTuple):
    """A turn's row, opened. `before`, `after`: the states' hashes, "" for none; `recorded` None: it cannot be read."""

    id: int
    session_id: int
    version_id: int  # in which the session stood afterwards
    before: str
    after: str
    at: int
    recorded: Recorded | None


class SeenBusiness(NamedTuple):
    """A business that some turn has seen, by its digest."""

    workspace_id: int
    digest: str
    view: BusinessView


_encode = msgspec.json.Encoder().encode
_decode = msgspec.json.Decoder(Recorded).decode


def seal(recorded: Recorded, *, sealer: Sealer, turn_id: int) -> str:
    """The payload as its column holds it. The key that makes referral codes does not go into it."""
    if recorded.channel is not None and recorded.channel.key:
        recorded.channel = msgspec.structs.replace(recorded.channel, key="")
    return sealer.seal(_encode(recorded), table="turn", row=turn_id, column="payload")


def hash_of(state: str) -> str:
    """The hash of a state's JSON; "" for none."""
    return hashlib.blake2b(state.encode(), digest_size=16).hexdigest() if state else ""


def digest_of(view: BusinessView) -> str:
    """The name of a business as turns have seen it."""
    return hashlib.blake2b(_encode(view), digest_size=16).hexdigest()


def keep(connection: Connection, seen: Iterable[SeenBusiness], *, now: int) -> None:
    """Stores businesses that are not known yet: one for every change of the business file, so a plain insert does."""
    for one in {(one.workspace_id, one.digest): one for one in seen}.values():
        connection.execute(
            text(
                "INSERT INTO business_seen (workspace_id, digest, view, at) VALUES (:workspace, :digest, :view, :at) "
                "ON CONFLICT DO NOTHING"
            ),
            {
                "workspace": one.workspace_id,
                "digest": one.digest,
                "view": _encode(one.view).decode(),
                "at": now,
            },
        )


def businesses(connection: Connection, workspace_id: int) -> dict[str, BusinessView]:
    """Every business that turns of the workspace have seen, by digest."""
    rows = connection.execute(
        text("SELECT digest, view FROM business_seen WHERE workspace_id = :workspace"),
        {"workspace": workspace_id},
    ).all()
    return {row.digest: msgspec.json.decode(row.view, type=BusinessView) for row in rows}


def of_conversation(
    connection: Connection,
    workspace_id: int,
    conversation_id: int,
    *,
    session_id: int = 0,
    limit: int,
    sealer: Sealer,
) -> list[Turn]:
    """The newest `limit` turns of a conversation (of one session), oldest first."""
    rows = connection.execute(
        text(
            "SELECT id, session_id, flow_version_id, payload, state_before, state_after, at FROM turn "
            "WHERE workspace_id = :workspace AND conversation_id = :conversation AND session_id <> 0 "
            "AND (CAST(:session AS BIGINT) = 0 OR session_id = :session) ORDER BY id DESC LIMIT :limit"
        ),
        {"workspace": workspace_id, "conversation": conversation_id, "session": session_id, "limit": limit},
    ).all()
    return [
        Turn(
            row.id,
            row.session_id,
            row.flow_version_id,
            row.state_before,
            row.state_after,
            row.at,
            _opened(sealer, row.id, row.payload),
        )
        for row in reversed(rows)
    ]


def _opened(sealer: Sealer, turn_id: int, payload: str) -> Recorded | None:
    try:
        return _decode(sealer.open(payload, table="turn", row=turn_id, column="payload"))
    except msgspec.ValidationError:  # an event or effect of a release that knew others
        return None
