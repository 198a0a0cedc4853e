"""The documents tell the truth: their commands run, their links lead somewhere, their tables match the code."""

from __future__ import annotations

import importlib.util
import os
import re
import subprocess
import sys
from pathlib import Path

import pytest
from pydantic import Field
from pydantic_settings import BaseSettings, SettingsConfigDict

from checks import reference
from checks.house import ROOMS, files

ROOT = Path(__file__).resolve().parents[2]
PAGES = [path for path in files(ROOT, suffixes=(".md",)) if "tests" not in path.relative_to(ROOT).parts]
BUILT = importlib.util.find_spec("config.settings") is not None


def code(text: str) -> str:
    """What stands in code spans and blocks: there, and only there, a command is meant as one."""
    return "\n".join(re.findall(r"```.*?```|`[^`\n]+`", text, flags=re.DOTALL))


@pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(ROOT)))
def test_make_commands_exist(page: Path) -> None:
    """Every `make …` that a page names is a target."""
    targets = set(re.findall(r"^([a-z]+):", (ROOT / "Makefile").read_text(), flags=re.MULTILINE))
    assert set(re.findall(r"\bmake ([a-z]+)\b", code(page.read_text()))) <= targets


def commands() -> list[str]:
    """Every `passaparola WORD [WORD]` in the pages for users, options and files left out."""
    found: set[str] = set()
    for page in PAGES:
        found |= set(
            re.findall(r"bin/passaparola ((?:[a-z]+ ?)+?)(?= -| [\w.-]*\.\w|\n|`)", code(page.read_text()))
        )
    return sorted(command.strip() for command in found)


@pytest.mark.parametrize("command", commands())
def test_commands_exist(command: str) -> None:
    """Every command in the pages answers `--help`."""
    if importlib.util.find_spec("config.cli") is None:
        pytest.skip("the command does not exist yet")
    done = subprocess.run(
        [sys.executable, "-m", "config.cli", *command.split(), "--help"],
        cwd=ROOT,
        env=os.environ | {"NO_COLOR": "1"},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr


@pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(ROOT)))
def test_links_lead_somewhere(page: Path) -> None:
    """Relative links name files of the project; generated pages count once there is something to generate from."""
    links = re.findall(r"\]\((?![a-z]+:|#)([^)#]+)", page.read_text())
    gone = [link for link in links if not (page.parent / link).exists()]
    assert [link for link in gone if BUILT or "reference/" not in link] == []


def test_the_layout_names_every_room() -> None:
    text = (ROOT / "docs" / "layout.md").read_text()
    assert [room for room in ROOMS if f"`{room}/`" not in text] == []


def test_every_decision_is_listed() -> None:
    folder = ROOT / "docs" / "decisions"
    listed = re.findall(r"\]\((0\d{3}[^)]+)\)", (folder / "README.md").read_text())
    assert listed == sorted(path.name for path in folder.glob("0*.md"))


def test_generated_pages_are_fresh() -> None:
    """What `make docs` would write is what is there."""
    stale = [
        name
        for name, text in reference.pages()
        if not (page := ROOT / "docs" / "reference" / name).exists() or page.read_text() != text
    ]
    assert stale == [], "run `make docs`"


class Sample(BaseSettings):
    model_config = SettingsConfigDict(env_prefix="SAMPLE_")

    port: int = Field(8080, description="TCP port; 0 lets the system\nchoose one | any.")
    redis_url: str = Field("", description="Wake-ups across processes.")
    name: str = Field(description="Who it is.")


def test_the_settings_page_has_a_row_for_each() -> None:
    """Variable, default and meaning on one line each, whatever the description holds."""
    assert reference.settings_page(Sample).splitlines()[-3:] == [
        "| `SAMPLE_PORT` | `8080` | TCP port; 0 lets the system choose one \\| any. |",
        "| `SAMPLE_REDIS_URL` | empty | Wake-ups across processes. |",
        "| `SAMPLE_NAME` | required | Who it is. |",
    ]


def test_a_setting_without_description_is_refused() -> None:
    class Silent(BaseSettings):
        port: int = 8080

    with pytest.raises(ValueError, match="the setting port has no description"):
        reference.settings_page(Silent)
