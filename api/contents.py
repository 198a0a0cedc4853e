"""Messages' content on its way through the API: stored files are `med_…` outside and numbers inside, and a file can
only be named by the workspace that has it."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from sqlalchemy import Connection, text

from bot.channels.base import channel_of
from campaigns.contents import parse_one, showable
from domain import ids
from domain.errors import RejectedInput
from domain.messages import Content, Text
from storage.statements import bulk_values

_MEDIA = "media_id"


def checked(
    connection: Connection, workspace_id: int, data: Any, *, kind: str, address: str, language: str
) -> Content:
    """Content that this channel can show. Raises RejectedInput naming the place."""
    said = parse_one(taken(connection, workspace_id, data))
    if isinstance(said, Text) and not said.text.strip():
        raise RejectedInput("must not be empty", where="content.text")
    showable(said, channel_of(kind), address=address, language=language, where="content")
    return said


def taken(connection: Connection, workspace_id: int, data: Any, *, where: str = "content") -> Any:
    """Content from outside with numbers for stored files. Raises RejectedInput for a file that is not here."""
    found: list[int] = []

    def number(value: Any, place: str) -> int:
        found.append(ids.from_text("media", value if isinstance(value, str) else "", where=place))
        return found[-1]

    inner = _walk(data, where, number)
    if found:
        rows = connection.execute(
            text(
                "SELECT count(*) FROM media_file WHERE workspace_id = :workspace "
                "AND id IN (SELECT CAST(e.value ->> 'v' AS BIGINT) FROM json_each(:ids) e)"
            ),
            {"workspace": workspace_id, "ids": bulk_values(found)},
        )
        if rows.scalar_one() != len(set(found)):
            raise RejectedInput("there is no such stored file", where=where)
    return inner


def shown(data: Any) -> Any:
    """Content for outside."""
    return _walk(
        data, "", lambda value, _place: ids.to_text("media", value) if isinstance(value, int) else value
    )


def _walk(value: Any, where: str, change: Callable[[Any, str], Any]) -> Any:
    if isinstance(value, dict):
        return {
            key: change(item, f"{where}.{key}")
            if key == _MEDIA and item is not None
            else _walk(item, f"{where}.{key}", change)
            for key, item in value.items()
        }
    if isinstance(value, list | tuple):
        return [_walk(item, f"{where}.{n}", change) for n, item in enumerate(value)]
    return value
