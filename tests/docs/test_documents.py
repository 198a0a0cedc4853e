"""The documents tell the truth: their commands run, their links lead somewhere, their tables match the code."""

from __future__ import annotations

import importlib.util
import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
from pydantic import Field
from pydantic_settings import BaseSettings, SettingsConfigDict

from checks import reference
from checks.house import ROOMS, files
from config import business
from flows import answers, compiler, dialogues, document, inspection, steps
from tests.canary import CANARY_TOKEN

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


def command_lines() -> list[tuple[str, list[str]]]:
    """Every `passaparola …` in the pages, as words: (page, what follows the program's name)."""
    found = []
    for page in PAGES:
        text = re.sub(r"(\\)?\n +(?=--|[a-z]+`)", " ", code(page.read_text()))  # lines that go on
        for line in re.findall(r"(?:^ *|`|bin/|=\S+ )passaparola ([a-z-][^`\n#]*)", text, flags=re.MULTILINE):
            found.append((page.name, line.split()))
    return found


def commands() -> list[str]:
    """The commands that the pages name, options and files left out."""
    known = reference_commands()
    return sorted({named for _, words in command_lines() if (named := _command(words, known))})


def reference_commands() -> dict[str, set[str]]:
    """Each command of the reference page with its options."""
    page = (ROOT / "docs" / "reference" / "command.md").read_text()
    sections = re.split(r"^## passaparola ", page, flags=re.MULTILINE)[1:]
    return {
        section.splitlines()[0]: set(re.findall(r"^\| `(--[a-z-]+)`", section, flags=re.MULTILINE))
        for section in sections
    }


def _command(words: list[str], known: dict[str, set[str]]) -> str:
    """The longest beginning that is a command, else ""."""
    beginnings = [" ".join(words[:n]) for n in (3, 2, 1)]
    return next((one for one in beginnings if one in known), "")


def test_commands_are_those_of_the_reference() -> None:
    """Every `passaparola …` is a command of the reference page, and its options are that command's."""
    known = reference_commands()
    wrong = []
    for page, words in command_lines():
        command = _command(words, known)
        options = {word for word in words if word.startswith("--")}
        if not command or not options <= known[command]:
            wrong.append(f"{page}: passaparola {' '.join(words)}")
    assert len(command_lines()) > 20
    assert wrong == []


@pytest.mark.parametrize("command", commands())
def test_commands_exist(command: str) -> None:
    """Every command in the pages answers `--help`."""
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


def blocks(page: Path, language: str) -> list[str]:
    """The code blocks of a page in one language, without the indentation of the list that they stand in."""
    found = re.findall(rf"^( *)```{language}\n(.*?)^ *```", page.read_text(), flags=re.DOTALL | re.MULTILINE)
    return [re.sub(rf"^{indent}", "", text, flags=re.MULTILINE) for indent, text in found]


def test_the_flow_of_the_page_works() -> None:
    """The flow that newcomers copy has nothing to complain about, and its dialogues pass; single steps compile."""
    flow_text, *examples, test_text = blocks(ROOT / "docs" / "howto" / "write-a-flow.md", "yaml")
    for example in examples:
        start = example.partition(":")[0]
        indented = re.sub(r"^(?=.)", "  ", example, flags=re.MULTILINE)
        text = f"flow: example\nstart: {start}\nsteps:\n{indented}"
        assert compiler.compile(document.load(text, "example.yaml"), 0).start == start
    flow = compiler.compile(document.load(flow_text, "flow.yaml"), 0)
    assert [finding.sentence() for finding in inspection.check(flow, {flow.key: flow})] == []
    results = dialogues.run(test_text, "hello.test.yaml", [flow])
    assert [one.difference for one in results if not one.passed] == []
    assert len(results) == 2


def test_the_page_on_flows_lists_every_step_and_answer() -> None:
    text = (ROOT / "docs" / "howto" / "write-a-flow.md").read_text()
    assert [key for key in steps.registry() if f"| `{key}` |" not in text] == []
    assert [key for key in answers.registry() if f"`{key}`" not in text] == []


def test_the_business_file_of_the_quickstart_is_sound(tmp_path: Path) -> None:
    """It can be read as it stands, with the flow that the page tells to copy."""
    [text] = blocks(ROOT / "docs" / "quickstart.md", "yaml")
    (tmp_path / "business.yaml").write_text(text)
    shutil.copy(ROOT / "gallery" / "lead" / "flow.yaml", tmp_path / "my-flow.yaml")
    read = business.read(tmp_path / "business.yaml", {"TELEGRAM_TOKEN": CANARY_TOKEN})
    assert [channel.kind for channel in read.channels] == ["telegram"]
    assert [flow.name for flow in read.flows] == ["my-flow.yaml"]
    assert "marketing" in read.stored["purposes"]


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
    assert reference.surplus(ROOT / "docs" / "reference") == [], "run `make docs`"


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
