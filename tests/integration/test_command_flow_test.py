"""`flow test` for programs: JUnit's XML, and playing again whenever a file changes."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from pathlib import Path
from xml.etree import ElementTree

import pytest

from tests.support.command import Command, passaparola

__all__ = ["passaparola"]

FLOW = """flow: hello
triggers: [{keyword: [hello]}]
start: greet
steps:
  greet: {send: Hi!, next: end}
"""
TEST = """flow: hello
dialogues:
  greeted:
    - user: hello
    - bot: Hi!
  "not \\u0007 greeted <&>":
    - user: hello
    - bot: Good evening!
"""


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    (tmp_path / "flow.yaml").write_text(FLOW)
    (tmp_path / "flow.test.yaml").write_text(TEST)
    return tmp_path


def test_junit(passaparola: Command, folder: Path) -> None:
    """A suite for each file, a case for each dialogue, a failure with what differs and what was said before."""
    report = folder / "reports" / "junit.xml"
    tried = passaparola("flow", "test", str(folder), "--junit", str(report))
    assert tried.status == 1
    root = ElementTree.parse(report).getroot()  # noqa: S314  written by us a moment ago
    assert (root.get("tests"), root.get("failures")) == ("2", "1")
    [suite] = root
    assert suite.get("name") == str(folder / "flow.test.yaml")
    good, bad = suite
    assert (good.get("name"), len(good)) == ("greeted", 0)
    assert bad.get("name") == "not  greeted <&>"
    assert bad.get("line") == "8"
    [failure] = bad
    assert "Good evening!" in (failure.get("message") or "")
    assert "bot: Hi!" in (failure.text or "")


def test_watching_reads_no_program(passaparola: Command, folder: Path) -> None:
    """One document and a watch without end do not go together."""
    refused = passaparola("flow", "test", str(folder), "--watch", "--json")
    assert refused.status == 1
    assert "--watch" in refused.err


def test_watching_plays_again_after_a_change(folder: Path) -> None:
    """A flow that is mended while somebody watches turns green, one that cannot be read is told; Ctrl-C ends it."""
    environment = {**os.environ, "LANG": "C.UTF-8", "PYTHONUNBUFFERED": "1"}
    with subprocess.Popen(
        [sys.executable, "-m", "config.cli", "flow", "test", str(folder), "--watch"],
        stdout=subprocess.PIPE,
        text=True,
        env=environment,
        preexec_fn=lambda: signal.signal(signal.SIGINT, signal.SIG_DFL),  # a shell's background ignores it
    ) as watching:
        try:
            assert "1 passed, 1 failed" in until(watching, "waiting")
            (folder / "flow.yaml").write_text(FLOW.replace("Hi!", "[Hi!"))
            assert "flow.yaml" in until(watching, "waiting")
            (folder / "flow.test.yaml").write_text(TEST.replace("Good evening!", "Hi!"))
            (folder / "flow.yaml").write_text(FLOW)
            assert any("2 passed, 0 failed" in until(watching, "waiting") for _ in range(3))
            watching.send_signal(signal.SIGINT)
            assert watching.wait(20) == 0
        finally:
            if watching.poll() is None:
                watching.kill()


def until(process: subprocess.Popen[str], word: str) -> str:
    """What it prints, up to a line with the word; at most half a minute."""
    assert process.stdout is not None
    lines: list[str] = []
    deadline = time.monotonic() + 30
    while time.monotonic() < deadline:
        line = process.stdout.readline()
        lines.append(line)
        if word in line or not line:
            break
    return "".join(lines)
