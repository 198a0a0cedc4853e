"""`flow steps`: what was counted, as a table and as JSON."""

from __future__ import annotations

import sqlite3
import time

import pytest

from tests.support.command import Command, passaparola

__all__ = ["passaparola"]

FLOW = """flow: hello
start: name
steps:
  name: {ask: name, text: {en: Your name?, it: Come ti chiami?}, next: end}
"""


@pytest.fixture
def published(passaparola: Command) -> Command:
    (passaparola.folder / "flow.yaml").write_text(FLOW)
    passaparola.done("flow", "publish", str(passaparola.folder / "flow.yaml"))
    return passaparola


def counted(folder: Command, *found: tuple[str, str, int, int]) -> None:
    """Puts counts of today where the worker would: (step, what, bucket, n)."""
    today = int(time.time()) // 86_400
    with sqlite3.connect(folder.folder / "data" / "passaparola.sqlite3") as connection:
        version, workspace = connection.execute("SELECT id, workspace_id FROM flow_version").fetchone()
        for number, (step, what, bucket, n) in enumerate(found, 1):
            connection.execute(
                "INSERT INTO step_count_delta VALUES (?, ?, ?, ?, ?, ?, ?, ?)",
                (number, workspace, version, step, today, what, bucket, n),
            )
    connection.close()


def test_steps_with_what_happened_there(published: Command) -> None:
    """The same numbers in both forms; a time of 64 seconds reads as a minute."""
    counted(
        published,
        ("", "start:keyword", 0, 9),
        ("", "end:completed", 0, 6),
        ("name", "entered", 0, 9),
        ("name", "answered", 24, 6),
        ("name", "left", 0, 2),
    )
    found = published.done("flow", "steps", "hello")
    assert (found["flow"], found["version"]) == ("hello", 1)
    assert (found["starts"], found["ends"]) == ({"keyword": 9}, {"completed": 6})
    [name] = found["steps"]
    assert (name["entered"], name["answered"], name["left"], name["median_s"]) == (9, 6, 2, 64.0)
    shown = published("flow", "steps", "hello").out.splitlines()
    assert shown[-1].split() == ["name", "9", "6", "0", "0", "0", "2", "1", "min"]


def test_nothing_counted_yet(published: Command) -> None:
    """A flow that nobody has met has no steps to show."""
    assert published.done("flow", "steps", "hello")["steps"] == []


@pytest.mark.parametrize(
    ("arguments", "where"),
    [(("nowhere",), "nowhere"), (("hello", "--version", "7"), "7"), (("hello", "--days", "0"), "days")],
)
def test_refused(published: Command, arguments: tuple[str, ...], where: str) -> None:
    """A flow, a version or a span that does not exist is named."""
    refused = published("flow", "steps", *arguments)
    assert refused.status == 1
    assert where in refused.err
