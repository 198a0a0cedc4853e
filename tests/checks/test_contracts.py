"""Each import contract of pyproject.toml, broken on purpose in an empty house, is reported with its line."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from checks.house import ROOMS

ROOT = Path(__file__).resolve().parents[2]

BREAKS = {
    "domain/upward.py": ("import flows", "domain is not allowed to import flows"),
    "crm/upward.py": ("import bot", "crm is not allowed to import bot"),
    "flows/sideways.py": ("import storage", "flows is not allowed to import storage"),
    "api/sideways.py": ("import console", "api is not allowed to import console"),
    "bot/wiring.py": ("import config", "bot is not allowed to import config"),
    "simulators/peek.py": ("import domain", "simulators is not allowed to import domain"),
    "config/child.py": ("import simulators", "config is not allowed to import simulators"),
    "flows/waiting.py": ("import asyncio", "flows is not allowed to import asyncio"),
    "domain/rows.py": ("import sqlalchemy", "domain is not allowed to import sqlalchemy"),
    "crm/messenger.py": ("import telegram", "crm is not allowed to import telegram"),
    "bot/other_client.py": ("import httpx", "bot is not allowed to import httpx"),
}


@pytest.fixture(scope="module")
def report(tmp_path_factory: pytest.TempPathFactory) -> str:
    """What import-linter says about a house in which every contract is broken once."""
    house = tmp_path_factory.mktemp("house")
    for room in (*ROOMS, "bot/channels", "bot/channels/telegram"):
        (house / room).mkdir(parents=True)
        (house / room / "__init__.py").touch()
    (house / "bot" / "channels" / "telegram" / "library.py").write_text("import telegram\n")
    for path, (statement, _) in BREAKS.items():
        (house / path).write_text(statement + "\n")
    command = [
        str(Path(sys.executable).with_name("lint-imports")),
        "--no-cache",
        "--config",
        str(ROOT / "pyproject.toml"),
    ]
    done = subprocess.run(command, cwd=house, capture_output=True, text=True, check=False)
    assert done.returncode == 1, done.stderr
    return done.stdout


@pytest.mark.parametrize("path", BREAKS)
def test_a_broken_contract_is_reported(report: str, path: str) -> None:
    """The report names what may not be imported and the file that did it."""
    module = path.removesuffix(".py").replace("/", ".")
    assert BREAKS[path][1] in " ".join(report.split())
    assert f"{module} ->" in report


def test_the_telegram_library_is_allowed_in_its_channel(report: str) -> None:
    assert "bot.channels.telegram.library" not in report
