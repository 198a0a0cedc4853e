"""The generated pages of docs/reference/: `make docs` writes them, a docs test fails when one is stale.

What can be read from the program is not written by hand: settings come from `config.settings.Settings`, one row per
field with its description; commands come from their own help; limits from the constants (`checks.limits`).
"""

from __future__ import annotations

import importlib
import importlib.util
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from pydantic import SecretStr
from pydantic_settings import BaseSettings

from checks import flow_reference, formats, limits

ROOT = Path(__file__).resolve().parent.parent

SETTINGS_HEAD = """# Settings

<!-- Generated from config/settings.py by `make docs`. -->

None is needed. Each is an environment variable or a line of a `.env` file in the working folder; the environment wins.

| variable | default | meaning |
|---|---|---|
"""

COMMAND_HEAD = """# The command

<!-- Generated from config/commands/ by `make docs`. -->

Exit status: 0 done, 1 refused, 2 called wrongly. `--json` prints one JSON document. Beside a running server a command
is done by that server; without one, on the database directly. It speaks Italian or English, by `LANG`.
"""


def pages() -> Iterator[tuple[str, str]]:
    """Every generated page as (path below docs/reference, text)."""
    if importlib.util.find_spec("config.settings") is not None:
        yield "settings.md", settings_page(importlib.import_module("config.settings").Settings)
    yield "command.md", command_page()
    yield "limits.md", limits.page(ROOT)
    yield from flow_reference.pages()


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


def command_page() -> str:
    """Every command with its options, as `--help` tells them."""
    from typer.main import get_command

    from config import cli

    return COMMAND_HEAD + "".join(_told(get_command(cli.application()), "passaparola", 2))


def _told(command: Any, path: str, level: int) -> Iterator[str]:
    """A command's section, then those of the commands below it."""
    for name, below in sorted(getattr(command, "commands", {}).items()):
        full = f"{path} {name}"
        if getattr(below, "commands", None):
            yield from _told(below, full, level)
            continue
        yield f"\n{'#' * level} {full}\n\n{(below.help or '').strip()}\n"
        yield "\n| | |\n|---|---|\n" if below.params else ""
        for parameter in below.params:
            shown = (
                " ".join(parameter.opts) if parameter.param_type_name == "option" else parameter.name.upper()
            )
            needed = " (required)" if parameter.required else ""
            meaning = " ".join((getattr(parameter, "help", "") or "").split()).replace("|", "\\|")
            yield f"| `{shown}` | {meaning}{needed} |\n"


def surplus(folder: Path) -> list[Path]:
    """Pages of what a flow is made of that nothing in the code stands behind any more."""
    known = {folder / name for name, _ in pages()}
    return sorted(path for path in (folder / flow_reference.FOLDER).rglob("*.md") if path not in known)


def main() -> None:
    folder = ROOT / "docs" / "reference"
    folder.mkdir(exist_ok=True)
    for name, text in pages():
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)
        print(f"docs/reference/{name}")
    for path in surplus(folder):
        path.unlink()
    path, text = formats.written(ROOT)
    path.write_text(text)
    print(path.relative_to(ROOT))


if __name__ == "__main__":
    main()
