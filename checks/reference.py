"""The generated pages of docs/reference/: `make docs` writes them, a docs test fails when one is stale.

What can be read from the program is not written by hand: settings come from `config.settings.Settings`, one row per
field with its description.
"""

from __future__ import annotations

import importlib
import importlib.util
from collections.abc import Iterator
from pathlib import Path

from pydantic import SecretStr
from pydantic_settings import BaseSettings

SETTINGS_HEAD = """# Settings

<!-- Generated from config/settings.py by `make docs`. -->

None is needed. Each is an environment variable or a line of a `.env` file in the working folder; the environment wins.

| variable | default | meaning |
|---|---|---|
"""


def pages() -> Iterator[tuple[str, str]]:
    """Every generated page as (path below docs/reference, text)."""
    if importlib.util.find_spec("config.settings") is not None:
        yield "settings.md", settings_page(importlib.import_module("config.settings").Settings)


def settings_page(settings: type[BaseSettings]) -> str:
    """The table of all settings. Raises ValueError for a field without a description."""
    prefix = settings.model_config.get("env_prefix", "")
    rows = []
    for name, field in settings.model_fields.items():
        if not field.description:
            raise ValueError(f"the setting {name} has no description")
        default = field.get_default(call_default_factory=True, validated_data={})
        if isinstance(default, SecretStr):
            default = default.get_secret_value()
        shown = (
            "required" if field.is_required() else f"`{default}`" if default not in (None, "") else "empty"
        )
        meaning = " ".join(field.description.split()).replace("|", "\\|")
        rows.append(f"| `{prefix}{name.upper()}` | {shown} | {meaning} |\n")
    return SETTINGS_HEAD + "".join(rows)


def main() -> None:
    folder = Path(__file__).resolve().parent.parent / "docs" / "reference"
    folder.mkdir(exist_ok=True)
    for name, text in pages():
        (folder / name).write_text(text)
        print(f"docs/reference/{name}")


if __name__ == "__main__":
    main()
