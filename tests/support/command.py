"""The `passaparola` command in tests: in this process, with a data folder, a language and an input of its own."""

from __future__ import annotations

import io
import json
import logging
import os
import sys
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest
import structlog

from config import cli


@dataclass
class Answer:
    """What a command line came to."""

    status: int
    out: str
    err: str

    @property
    def json(self) -> Any:
        """The one document on standard output."""
        return json.loads(self.out)


@dataclass
class Command:
    """Runs command lines with settings of their own."""

    folder: Path
    monkeypatch: pytest.MonkeyPatch
    capsys: pytest.CaptureFixture[str]
    settings: dict[str, str] = field(default_factory=dict)

    def __call__(self, *arguments: str, language: str = "en", stdin: str = "") -> Answer:
        with self.monkeypatch.context() as patch:
            for name in [*os.environ]:
                if name.startswith(("PASSAPAROLA_", "LC_")):
                    patch.delenv(name)
            patch.setenv("LANG", "it_IT.UTF-8" if language == "it" else "en_GB.UTF-8")
            for name, value in {"DATA_DIR": str(self.folder / "data"), **self.settings}.items():
                patch.setenv(f"PASSAPAROLA_{name}", value)
            patch.setattr(sys, "stdin", io.StringIO(stdin))
            self.capsys.readouterr()
            status = cli.run(list(arguments))
            captured = self.capsys.readouterr()
        return Answer(status, captured.out, captured.err)

    def done(self, *arguments: str, stdin: str = "") -> Any:
        """The JSON document of a command that must succeed."""
        answer = self(*arguments, "--json", stdin=stdin)
        assert answer.status == 0, answer.err
        return answer.json


@pytest.fixture
def passaparola(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> Iterator[Command]:
    """The command, in an empty folder."""
    root = logging.getLogger()
    handlers, level = root.handlers[:], root.level
    monkeypatch.chdir(tmp_path)
    yield Command(tmp_path, monkeypatch, capsys)
    root.handlers[:] = handlers
    root.setLevel(level)
    structlog.reset_defaults()
