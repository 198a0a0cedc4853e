"""Names as RapidPro makes keys of them, and keys of ours, which have no letters but those of English."""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Iterable
from typing import Any
from zlib import crc32

from flows.importers.rapidpro.migrations.shapes import actions, rewrite_templates, routers, text

MAX_KEY = 64
_NOT_WORDS = re.compile(r"[\W]+")


def snake(name: str) -> str:
    """The key of a name: `Your Age?` → `your_age`. Letters of every alphabet stay."""
    return _NOT_WORDS.sub("_", name).strip("_").lower()


def result_key(name: str) -> str:
    """Our key of a result: RapidPro's where it can be, `città` → `citta`, `年齢` → `result_…`."""
    key = snake(name)[:MAX_KEY].strip("_")
    if not key.isascii():
        plain = unicodedata.normalize("NFKD", key).encode("ascii", "ignore").decode().strip("_")
        key = plain if len(plain) > len(key) // 2 else f"result_{crc32(key.encode()):08x}"
    return key or "result"


def rename_results(flows: Iterable[dict[str, Any]]) -> None:
    """Makes every template read results by our keys, where these are not RapidPro's. Changes the definitions."""
    flows = list(flows)
    names = {name for flow in flows for name in _result_names(flow)}
    renamed = {snake(name): result_key(name) for name in names if not name.isascii()}
    if not renamed:
        return
    keys = "|".join(re.escape(key) for key in sorted(renamed, key=len, reverse=True))
    lookup = re.compile(rf"\b(results\.)({keys})(?!\w)", re.IGNORECASE)
    for flow in flows:
        rewrite_templates(
            flow,
            lambda template: (
                lookup.sub(lambda found: found[1] + renamed[found[2].lower()], template)
                if "@" in template
                else template
            ),
        )


def _result_names(flow: dict[str, Any]) -> Iterable[str]:
    for action in actions(flow):
        yield (
            text(action, "name") if text(action, "type") == "set_run_result" else text(action, "result_name")
        )
    for router in routers(flow):
        yield text(router, "result_name")
