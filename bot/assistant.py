"""The assistant of the step `ai`: any service that speaks OpenAI's chat completions, at the owner's address.

Off while no address is set. What a person writes goes along as what the user said, never as instructions; what comes
back is text to be shown, and nothing here or in the flow acts on it. Cost is bounded by the step (`max_tokens`,
`per_day`) and by what goes along (MAX_HISTORY messages of MAX_SAID characters).
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import msgspec
from sqlalchemy import Connection, text

from bot.outgoing import Request
from domain.effects import CallHttp
from domain.ids import first_id_at
from domain.messages import decode_content, decode_received, text_of

SERVICE = "ai"
MAX_SAID = 1_000  # characters of one message that goes along
DAY_MS = 86_400_000


@dataclass(frozen=True)
class Assistant:
    """`url` ends before `/chat/completions`; empty: there is none."""

    url: str = ""
    key: str = ""
    model: str = ""

    def request(self, call: CallHttp, said: list[dict[str, str]], timeout_s: float) -> Request:
        """The request of a step, with the messages before the question put in."""
        asked: dict[str, Any] = msgspec.json.decode(call.body or "{}")
        instructions, *rest = asked["messages"]
        asked["messages"] = [instructions, *said, *rest]
        if self.model:
            asked["model"] = self.model
        return Request(
            "POST",
            f"{self.url.rstrip('/')}/chat/completions",
            {"Content-Type": "application/json"},
            {"Authorization": f"Bearer {self.key}"} if self.key else {},
            msgspec.json.encode(asked),
            timeout_s,
            trusted=True,
        )


def key_prefix(contact_id: int, service: str = SERVICE) -> str:
    """How keys of a contact's calls to a service begin ("": to one that a flow names by its address); the number behind
    it grows with time. Both are of one length, so that a range of keys is the same range by whatever rules a database
    sorts text."""
    return f"{service or 'http'}:{contact_id:019d}:"


def used_today(connection: Connection, workspace_id: int, contact_id: int, now: int) -> int:
    """How many calls a contact has had in the last 24 hours, the one that asks included; by the index over keys."""
    prefix = key_prefix(contact_id)
    return int(
        connection.execute(
            text(
                "SELECT count(*) FROM job WHERE workspace_id = :workspace AND kind = 'http_call' "
                "AND key >= :first AND key < :last AND progress NOT LIKE '%\"limit\"%'"  # a refusal costs nothing
            ),
            {
                "workspace": workspace_id,
                "first": f"{prefix}{first_id_at(now - DAY_MS):019d}",
                "last": f"{prefix}{'9' * 19}",
            },
        ).scalar_one()
    )


def said_before(
    connection: Connection, workspace_id: int, conversation_id: int, last: int, question: str
) -> list[dict[str, str]]:
    """The last messages of a conversation, the oldest first, without the question itself."""
    if last <= 0:
        return []
    rows = connection.execute(
        text(
            "SELECT direction, content FROM message WHERE workspace_id = :workspace "
            "AND conversation_id = :conversation ORDER BY id DESC LIMIT :n"
        ),
        {"workspace": workspace_id, "conversation": conversation_id, "n": last + 1},
    ).all()
    said = [_said(row.direction, row.content) for row in rows]
    if said and said[0]["role"] == "user" and said[0]["content"] == question[:MAX_SAID]:
        said = said[1:]
    return [one for one in reversed(said[:last]) if one["content"]]


def _said(direction: str, content: str) -> dict[str, str]:
    inbound = direction == "in"
    words = text_of(decode_received(content) if inbound else decode_content(content))
    return {"role": "user" if inbound else "assistant", "content": words[:MAX_SAID]}
