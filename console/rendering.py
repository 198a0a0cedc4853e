"""Pages from templates: everything escaped, times in the workspace's own zone, ids as text, content in words."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import UTC, datetime
from pathlib import Path
from typing import Any
from zoneinfo import ZoneInfo, ZoneInfoNotFoundError

import msgspec
from jinja2 import Environment, FileSystemLoader, StrictUndefined
from markupsafe import Markup

from bot.live import Live
from console.routing import Visit
from console.texts import LANGUAGES, TEXTS, Words
from domain import ids
from domain.messages import decode_content, decode_received, text_of

NAV = (
    ("overview", "/"),
    ("conversations", "/conversations"),
    ("contacts", "/contacts"),
    ("campaigns", "/campaigns"),
    ("posts", "/posts"),
    ("parked", "/parked"),
)
_FORMATS = {"it": "%d/%m/%Y %H:%M", "en": "%d %b %Y %H:%M"}


class Renderer:
    """The console's templates."""

    def __init__(self, live: Live) -> None:
        self._live = live
        self._environment = Environment(
            loader=FileSystemLoader(Path(__file__).parent / "templates"),
            autoescape=True,
            undefined=StrictUndefined,
            trim_blocks=True,
            lstrip_blocks=True,
        )
        self._environment.filters |= {"id": _public_id, "words_of": words_of}

    def render(
        self,
        template: str,
        values: Mapping[str, Any],
        *,
        words: Words,
        visit: Visit | None,
        path: str,
        csrf: str,
        done: str,
    ) -> str:
        """The page's HTML."""
        zone = (
            _zone(self._live.flows.business(visit.workspace_id).view.timezone) if visit else ZoneInfo("UTC")
        )
        name = self._live.flows.business(visit.workspace_id).name if visit else ""
        given: dict[str, Any] = {
            "t": words,
            "language": words.language,
            "languages": LANGUAGES,
            "visit": visit,
            "business": name,
            "nav": NAV if visit else (),
            "path": path,
            "csrf": csrf,
            "done": f"done_{done}" if f"done_{done}" in TEXTS else "",
            "error": "",
            "when": lambda ms: _when(ms, zone, words.language),
        }
        return self._environment.get_template(template).render(given | dict(values))


def words_of(content: Mapping[str, Any], direction: str = "out") -> str:
    """What a person reads of a message; its kind when it has no words."""
    payload = msgspec.json.encode(content)
    try:
        said = text_of(decode_received(payload) if direction == "in" else decode_content(payload))
    except (
        msgspec.ValidationError
    ):  # of a newer release, or an event's odd shape: the kind still says something
        said = ""
    return said or f"[{content.get('kind', '?')}]"


def _public_id(number: int, kind: str) -> str:
    return ids.to_text(kind, number)


def _when(ms: int | None, zone: ZoneInfo, language: str) -> Markup:
    if not ms:
        return Markup("")
    moment = datetime.fromtimestamp(ms / 1000, UTC)
    shown = moment.astimezone(zone).strftime(_FORMATS[language])
    return Markup('<time datetime="{}">{}</time>').format(moment.isoformat(timespec="seconds"), shown)


def _zone(name: str) -> ZoneInfo:
    try:
        return ZoneInfo(name)
    except (ZoneInfoNotFoundError, ValueError, OSError):
        return ZoneInfo("UTC")
