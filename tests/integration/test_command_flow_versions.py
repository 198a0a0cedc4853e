"""A flow over time by the command: draft, publish, versions, diff, rollback, where, replay."""

from __future__ import annotations

import asyncio
import sqlite3
from pathlib import Path
from typing import Any

import pytest

from domain import ids
from storage.database import Database
from tests.support.command import Command, passaparola
from tests.support.core import NOW, Core

__all__ = ["passaparola"]

FLOW = """flow: hello
languages: [it]
triggers: [{keyword: [ciao]}]
start: name
steps:
  name: {ask: text, text: Come ti chiami?, save: session.name, next: bye}
  bye: {send: "Ciao {{ session.name | default('tu') }}", next: end}
"""
TEST = "flow: hello\ndialogue:\n  - user: ciao\n  - bot: Come ti chiami?\n"
SECRET = "test secret that is long enough to be one"

pytestmark = pytest.mark.usefixtures("quiet")


@pytest.fixture
def path(passaparola: Command) -> Path:
    passaparola.settings["SECRET_KEY"] = SECRET
    path = passaparola.folder / "hello.yaml"
    path.write_text(FLOW)
    return path


def talk(passaparola: Command, *said: str) -> str:
    """Somebody talks to the published flow; gives the conversation's id."""

    async def run() -> str:
        url = f"sqlite:///{passaparola.folder}/data/passaparola.sqlite3"
        core = Core(await Database.open(url))
        core.now = NOW
        workspace = await core.value("SELECT id FROM workspace")
        core.channel_id = await core.bot(workspace)
        await core.database.read(core.flows.load)
        await core.hears(*said)
        await core.work()
        conversation = await core.value("SELECT id FROM conversation")
        await core.database.close()
        return ids.to_text("conversation", conversation)

    return asyncio.run(run())


def audit(folder: Path) -> list[Any]:
    with sqlite3.connect(folder / "data" / "passaparola.sqlite3") as connection:
        found = connection.execute("SELECT actor, action FROM audit_entry ORDER BY id").fetchall()
    connection.close()
    return found


def test_from_draft_to_published_and_back(passaparola: Command, path: Path) -> None:
    saved = passaparola.done("flow", "draft", str(path), "--note", "first")
    assert (saved["key"], saved["revision"]) == ("hello", 1)
    assert [one["number"] for one in passaparola.done("flow", "versions", "hello")["versions"]] == []
    [first] = passaparola.done("flow", "publish", "--draft", "hello", "--note", "one")["flows"]
    assert (first["version"], first["changed"]) == (1, True)
    path.write_text(FLOW.replace("Come ti chiami?", "Chi sei?"))
    assert passaparola.done("flow", "draft", str(path))["revision"] == 1, "the first one was published"
    told = passaparola("flow", "diff", "hello", language="it")
    assert told.out == "name, text: «Come ti chiami?» → «Chi sei?»\n"
    passaparola.done("flow", "publish", "--draft", "hello")
    [back] = passaparola.done("flow", "rollback", "hello", "1")["flows"]
    assert back["version"] == 3
    found = passaparola.done("flow", "versions", "hello")
    assert [(one["number"], one["note"]) for one in found["versions"]] == [
        (3, "back to 1"),
        (2, ""),
        (1, "one"),
    ]
    assert (found["published"], found["draft"]) == (3, None)
    assert passaparola("flow", "diff", "hello", "1", "3").out == "no difference\n"
    listed = passaparola("flow", "versions", "hello").out.splitlines()
    assert listed[0].startswith("*3")
    assert passaparola("flow", "diff", "hello", "7").status == 1


def test_a_draft_with_faults_is_kept_and_not_published(passaparola: Command, path: Path) -> None:
    path.write_text(FLOW.replace("next: bye}", "next: nowhere}").replace("send:", "shout:"))
    answer = passaparola("flow", "draft", str(path))
    assert answer.status == 0
    assert "revision 1" in answer.out
    assert ":7: error:" in answer.out
    assert passaparola("flow", "publish", "--draft", "hello").status == 1
    shown = passaparola("flow", "draft", "--show", "hello")
    assert shown.out == path.read_text()
    assert passaparola.done("flow", "draft", "--discard", "hello")["discarded"]
    assert passaparola("flow", "draft", "--show", "hello").status == 1
    assert passaparola("flow", "draft").status == 1
    path.write_text("steps: {}\n")
    assert "needs a key" in passaparola("flow", "draft", str(path)).err


def test_a_draft_of_somebody_else_is_not_overwritten(passaparola: Command, path: Path) -> None:
    passaparola.done("flow", "draft", str(path))
    with sqlite3.connect(passaparola.folder / "data" / "passaparola.sqlite3") as connection:
        connection.execute("UPDATE flow_draft SET by = 'api:1', revision = 4")
    connection.close()
    path.write_text(FLOW.replace("Come ti chiami?", "Chi sei?"))
    refused = passaparola("flow", "draft", str(path))
    assert refused.status == 1
    assert "revision 4" in refused.err
    assert "Chi sei?" in refused.err
    assert passaparola.done("flow", "draft", str(path), "--revision", "4")["revision"] == 5


def test_tests_beside_the_file_are_required_and_kept(passaparola: Command, path: Path) -> None:
    assert "no tests" in passaparola("flow", "publish", str(path), "--require-tests").err
    (path.parent / "hello.test.yaml").write_text(TEST)
    [done] = passaparola.done("flow", "publish", str(path), "--require-tests")["flows"]
    assert done["tests"] == 1
    path.write_text(FLOW.replace("Come ti chiami?", "Chi sei?"))
    (path.parent / "hello.test.yaml").unlink()
    refused = passaparola("flow", "publish", str(path), "--require-tests")
    assert refused.status == 1
    assert "hello.test.yaml, line 4" in refused.err


def test_people_inside(passaparola: Command, path: Path) -> None:
    passaparola.done("flow", "publish", str(path))
    assert passaparola("flow", "where", "hello").out == "nobody is inside this flow\n"
    talk(passaparola, "ciao")
    [here] = passaparola.done("flow", "where", "hello")["steps"]
    assert (here["number"], here["step_id"], here["people"]) == (1, "name", 1)
    assert "name" in passaparola("flow", "where", "hello", language="it").out
    path.write_text(FLOW.replace("name:", "who:").replace("start: name", "start: who"))
    told = passaparola("flow", "publish", str(path), "--people", "move", "--dry-run")
    assert told.out == "  version 1, name: 1 people, stays in that version\n"
    told = passaparola("flow", "publish", str(path), "--people", "move", "--map", "name=who", "--dry-run")
    assert told.out == "  version 1, name: 1 people, goes on at who\n"
    assert passaparola.done("flow", "versions", "hello")["published"] == 1
    [done] = passaparola.done("flow", "publish", str(path), "--people", "move", "--map", "name=who")["flows"]
    assert done["job"].startswith("job_")
    for wrong in (["--map", "name"], ["--people", "fly"], ["--map", "name=who"]):
        assert passaparola("flow", "publish", str(path), *wrong).status == 1


def test_replay_shows_the_first_difference_and_is_audited(passaparola: Command, path: Path) -> None:
    passaparola.done("flow", "publish", str(path))
    conversation = talk(passaparola, "ciao", "Anna")
    found = passaparola.done("flow", "replay", conversation)
    assert found["same"]
    [session] = found["sessions"]
    assert (session["flow"], session["number"], session["turns"]) == ("hello", 1, 2)
    path.write_text(FLOW.replace('"Ciao {{', '"Salve {{'))
    told = passaparola("flow", "replay", conversation, "--version", str(path), language="it")
    assert told.out.splitlines()[1:] == ["    > Anna", "  allora: Ciao Anna", "  ora: Salve Anna"]
    passaparola.done("flow", "publish", str(path))
    other = passaparola.done("flow", "replay", conversation, "--version", "2")
    assert not other["same"]
    [session] = other["sessions"]
    assert session["difference"]["now"] == ["Salve Anna"]
    assert passaparola("flow", "replay", "cnv_0000000000001").status == 1
    assert audit(passaparola.folder).count(("command", "conversation_replayed")) == 3


def test_all_flows_are_listed(passaparola: Command, path: Path) -> None:
    """Nothing at first; then key, published version and where each answers; a draft has no version yet."""
    assert passaparola.done("flow", "list") == {"flows": []}
    assert "no flow yet" in passaparola("flow", "list").out
    passaparola.done("flow", "publish", str(path))
    other = path.with_name("later.yaml")
    other.write_text(FLOW.replace("flow: hello", "flow: later"))
    passaparola.done("flow", "draft", str(other))
    listed = passaparola.done("flow", "list")["flows"]
    assert [(one["key"], one["number"], one["version_id"] is None) for one in listed] == [
        ("hello", 1, False),
        ("later", 0, True),
    ]
    shown = [line.split() for line in passaparola("flow", "list").out.splitlines()]
    assert shown[1][:4] == ["hello", "1", "all", "channels"]
    assert shown[2][:2] == ["later", "draft"]
