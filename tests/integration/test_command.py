"""The command on an installation without a running server: set-up calls, their JSON forms, what they leave."""

from __future__ import annotations

import asyncio
import json
import sqlite3
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import Connection
from sqlmodel import Session

from campaigns import drafts
from domain import ids
from storage.database import Database
from storage.sqlite import sqlite_engine
from storage.tables.consents import ConsentState
from storage.tables.contacts import Contact, Identity
from tests.canary import CANARY_SECRET, CANARY_TOKEN
from tests.support.command import Command, passaparola
from tests.support.databases import PostgresServer

__all__ = ["passaparola"]

FLOW = """flow: hello
languages: [en, it]
triggers: [{keyword: [hello]}]
start: greet
steps:
  greet: {send: {en: Hi!, it: Ciao!}, next: name}
  name: {ask: name, text: {en: Your name?, it: Come ti chiami?}, save: contact.name, next: end}
"""
WHATSAPP = (
    *("--phone-number-id", "100000000000001", "--business-account-id", "200000000000001"),
    *("--access-token", CANARY_SECRET, "--app-secret", CANARY_SECRET, "--verify-token", CANARY_SECRET),
)


def rows(folder: Path, statement: str) -> list[Any]:
    with sqlite3.connect(folder / "data" / "passaparola.sqlite3") as connection:
        found = connection.execute(statement).fetchall()
    connection.close()
    return found


def test_a_telegram_channel(passaparola: Command) -> None:
    made = passaparola.done("channel", "add", "telegram", "--name", "shop", "--token", CANARY_TOKEN)
    assert {"id", "kind", "webhook_url", "webhook_secret"} <= made.keys()
    assert made["kind"] == "telegram"
    assert made["mode"] == "polling"
    assert made["webhook_url"] == f"http://127.0.0.1:8080/webhooks/telegram/{made['id']}"
    assert len(made["webhook_secret"]) >= 32
    assert (passaparola.folder / "data" / "secret_key").stat().st_mode & 0o777 == 0o600
    [(secrets, config)] = rows(passaparola.folder, "SELECT secrets, config FROM channel")
    assert CANARY_TOKEN not in secrets + config
    [listed] = passaparola.done("channel", "list")["channels"]
    assert (listed["id"], listed["name"], listed["state"]) == (made["id"], "shop", "active")
    assert CANARY_TOKEN not in json.dumps(listed)


def test_a_public_address_makes_webhooks_the_way(passaparola: Command) -> None:
    passaparola.settings["PUBLIC_URL"] = "https://chat.example.com/"
    made = passaparola.done("channel", "add", "telegram", "--name", "shop", "--token", CANARY_TOKEN)
    assert made["mode"] == "webhook"
    assert made["webhook_url"] == f"https://chat.example.com/webhooks/telegram/{made['id']}"
    other = passaparola.done(
        "channel", "add", "telegram", "--name", "b", "--token", "7:TEST-other-token-000", "--mode", "polling"
    )
    assert other["mode"] == "polling"


def test_a_whatsapp_channel(passaparola: Command) -> None:
    made = passaparola.done("channel", "add", "whatsapp", "--name", "shop", *WHATSAPP)
    assert made["kind"] == "whatsapp"
    assert made["webhook_url"].endswith(f"/webhooks/whatsapp/{made['id']}")
    assert CANARY_SECRET not in json.dumps(made)


def test_publishing(passaparola: Command) -> None:
    path = passaparola.folder / "hello.yaml"
    path.write_text(FLOW)
    [first] = passaparola.done("flow", "publish", str(path))["flows"]
    assert first["version"] == 1
    assert first["id"].startswith("flo_")
    [again] = passaparola.done("flow", "publish", str(path))["flows"]
    assert (again["id"], again["version"], again["changed"]) == (first["id"], 1, False)
    path.write_text(FLOW.replace("Hi!", "Hello!"))
    channel = passaparola.done("channel", "add", "telegram", "--name", "shop", "--token", CANARY_TOKEN)["id"]
    [changed] = passaparola.done("flow", "publish", str(path), "--channel", channel)["flows"]
    assert changed["version"] == 2
    assert len(rows(passaparola.folder, "SELECT * FROM flow_channel")) == 1


def test_a_flow_with_an_error_publishes_nothing(passaparola: Command) -> None:
    good, bad = passaparola.folder / "hello.yaml", passaparola.folder / "bad.yaml"
    good.write_text(FLOW)
    bad.write_text(FLOW.replace("flow: hello", "flow: bad").replace("next: name", "next: nowhere"))
    answer = passaparola("flow", "publish", str(good), str(bad))
    assert answer.status == 1
    assert "nowhere" in answer.err
    assert rows(passaparola.folder, "SELECT * FROM flow") == []


def test_checking_and_trying_flows(passaparola: Command) -> None:
    folder = passaparola.folder / "hello"
    folder.mkdir()
    (folder / "flow.yaml").write_text(FLOW)
    (folder / "hello.test.yaml").write_text(
        "flow: hello\nwith: {channel: telegram, language: en}\n"
        "dialogue:\n  - user: hello\n  - bot: Hi!\n  - bot: ~name\n  - user: Anna\n  - expect: {contact.name: Anna}\n"
    )
    checked = passaparola.done("flow", "check", str(folder))
    assert (checked["errors"], len(checked["flows"])) == (0, 1)
    tried = passaparola.done("flow", "test", str(folder))
    assert (tried["passed"], tried["failed"]) == (1, 0)
    (folder / "flow.yaml").write_text(FLOW.replace("Hi!", "Hello!"))
    failed = passaparola("flow", "test", str(folder), "--json")
    assert failed.status == 1
    assert failed.json["failed"] == 1
    assert "Hello!" in failed.json["tests"][0]["difference"]
    assert not (passaparola.folder / "data").exists()  # neither needs an installation


def test_playing(passaparola: Command) -> None:
    path, person = passaparola.folder / "hello.yaml", passaparola.folder / "person.json"
    path.write_text(FLOW)
    person.write_text('{"language": "it", "fields": {"city": "Torino"}}')
    played = passaparola(
        "flow", "play", str(path), "--contact", str(person), "--json", stdin='{"text": "Anna"}\n'
    )
    assert played.status == 0
    first, second = map(json.loads, played.out.splitlines())
    assert [message["text"] for message in first["messages"]] == ["Ciao!", "Come ti chiami?"]
    assert {"messages", "waiting", "ended", "contact", "session", "http"} <= first.keys()
    assert second["ended"]
    assert second["contact"]["name"] == "Anna"
    chat = passaparola("flow", "play", str(path), "--language", "en", stdin="Anna\n")
    assert chat.out == "Hi!\nYour name?\n— the end —\n"


def test_people_and_programs(passaparola: Command) -> None:
    user = passaparola.done("user", "add", "--email", "Owner@Example.com", "--role", "owner")
    assert user["id"].startswith("usr_")
    assert user["sign_in_url"].startswith("http://127.0.0.1:8080/console/sign-in/")
    key = passaparola.done(
        "apikey", "add", "--name", "shop", "--scope", "contacts:read", "--scope", "messages:write"
    )
    assert key["id"].startswith("key_")
    [(stored, scopes)] = rows(passaparola.folder, "SELECT key_hash, scopes FROM api_key")
    assert key["key"] not in stored
    assert scopes == "contacts:read messages:write"
    token = user["sign_in_url"].rsplit("/", 1)[1]
    assert rows(passaparola.folder, f"SELECT 1 FROM sign_in_link WHERE token_hash = '{token}'") == []
    assert len(rows(passaparola.folder, "SELECT * FROM audit_entry")) == 2


def test_the_stop_button(passaparola: Command) -> None:
    stopped = passaparola.done("stop", "--what", "everything")
    assert [(one["scope"], one["what"]) for one in stopped["stops"]] == [("workspace", "everything")]
    channel = passaparola.done("channel", "add", "telegram", "--name", "shop", "--token", CANARY_TOKEN)["id"]
    assert len(passaparola.done("stop", "--channel", "shop")["stops"]) == 2
    resumed = passaparola.done("resume", "--channel", channel)
    assert resumed["changed"]
    assert passaparola.done("resume")["stops"] == []
    assert not passaparola.done("resume", "--installation")["changed"]


def test_doctor_finds_what_is_amiss(passaparola: Command) -> None:
    well = passaparola.done("doctor")
    assert well["well"]
    states = {point["name"]: point["state"] for point in well["points"]}
    assert states == {
        **dict.fromkeys(("store", "disk", "consents", "parked", "jobs"), "good"),
        "secret": "warning",
    }
    (passaparola.folder / "data" / "secret_key").chmod(0o644)
    bad = passaparola("doctor", "--json")
    assert bad.status == 1
    assert not bad.json["well"]
    assert "chmod 600" in next(point["what"] for point in bad.json["points"] if point["name"] == "secret")


def test_parked_and_migrate_and_version(passaparola: Command) -> None:
    migrated = passaparola.done("migrate")
    assert (migrated["before"], migrated["changed"]) == (None, True)
    assert not passaparola.done("migrate")["changed"]
    assert passaparola.done("parked", "list") == {"parked": []}
    assert passaparola.done("parked", "retry") == {"opened": 0}
    assert passaparola.done("version")["schema"] == migrated["after"]


def test_check_names_everything(passaparola: Command) -> None:
    known = passaparola.done("check")
    assert {"telegram", "whatsapp"} <= set(known["channels"])
    assert {"ask", "consent", "send"} <= set(known["steps"])
    assert {"email", "phone"} <= set(known["answers"])
    assert "SendMessage" in known["effects"]
    assert "erasure" in known["jobs"]
    assert "intake.after_commit" in known["crash_points"]
    assert "POST /webhooks/{kind}/{channel_id} (webhook)" in known["routes"]
    assert not (passaparola.folder / "data").exists()


def test_on_postgresql_commands_write_and_raise_the_revision(
    passaparola: Command, postgres: PostgresServer, postgres_url: str
) -> None:
    passaparola.settings["DATABASE_URL"] = postgres_url
    made = passaparola.done("channel", "add", "telegram", "--name", "shop", "--token", CANARY_TOKEN)
    first = passaparola.done("channel", "list")["channels"]
    assert [one["id"] for one in first] == [made["id"]]
    assert passaparola.done("stop")["stops"]
    assert passaparola.done("doctor")["well"]


def test_doctor_speaks_the_persons_language(passaparola: Command) -> None:
    said = passaparola("doctor", language="it").out
    assert "SQLite risponde, schema " in said
    assert "la chiave segreta sta accanto ai dati, in " in said
    for english in (
        "answers",
        "secret key lies",
        "free at",
        "holds together",
        "parked events:",
        "jobs failed",
    ):
        assert english not in said


def test_doctor_needs_no_data_folder(passaparola: Command, postgres_url: str) -> None:
    """A machine of many, with the key in its environment: nothing has made the folder yet."""
    passaparola.settings |= {
        "DATABASE_URL": postgres_url,
        "SECRET_KEY": "a secret of at least thirty-two characters",
    }
    assert passaparola.done("doctor")["well"]
    assert not (passaparola.folder / "data").exists()


@pytest.mark.parametrize("word", ["--help", "-h"])
def test_help_lists_all_commands_and_imports_no_more_than_it_must(passaparola: Command, word: str) -> None:
    answer = passaparola(word)
    if word == "--help":
        assert answer.status == 0
        for command in ("serve", "demo", "channel", "flow", "campaign", "parked", "apikey"):
            assert command in answer.out
    else:
        assert answer.status == 2


def test_a_campaign_by_command(passaparola: Command) -> None:
    channel = passaparola.done("channel", "add", "telegram", "--name", "shop", "--token", CANARY_TOKEN)["id"]
    campaign = ids.to_text("campaign", asyncio.run(people_and_campaign(passaparola.folder, channel)))
    preview = passaparola.done("campaign", "preview", campaign)
    assert (preview["id"], preview["complete"]) == (campaign, True)
    assert (preview["contacts"], preview["in_audience"], preview["allowed"]) == (3, 3, 2)
    assert passaparola.done("campaign", "status", campaign)["progress"] is None
    started = passaparola.done("campaign", "start", campaign)
    assert started["state"] == "running"
    assert started["progress"]["run_id"].startswith("run_")
    assert passaparola.done("campaign", "start", campaign) == started  # twice is once
    assert passaparola.done("campaign", "pause", campaign)["state"] == "paused"
    passaparola.done("stop")
    refused = passaparola("campaign", "resume", campaign)
    assert (refused.status, "the stop button is pressed here" in refused.err) == (1, True)
    passaparola.done("resume")
    assert passaparola.done("campaign", "resume", campaign)["state"] == "running"


def test_a_person_is_erased_by_command(passaparola: Command) -> None:
    channel = passaparola.done("channel", "add", "telegram", "--name", "shop", "--token", CANARY_TOKEN)["id"]
    asyncio.run(people_and_campaign(passaparola.folder, channel))
    contact = ids.to_text("contact", 2)
    erased = passaparola.done("contact", "erase", contact)
    assert erased["contact"] == contact
    assert "contacts" in erased["erased"]
    assert rows(passaparola.folder, "SELECT id FROM contact ORDER BY id") == [(1,), (3,)]
    assert passaparola("contact", "erase", contact).status == 1
    assert ("contact_erased",) in rows(passaparola.folder, "SELECT action FROM audit_entry")


async def people_and_campaign(folder: Path, channel: str) -> int:
    """Three people, two of them with consent, and a draft; gives its id."""
    database = await Database.open(f"sqlite:///{folder / 'data' / 'passaparola.sqlite3'}")
    channel_id = ids.from_text("channel", channel)

    with Session(sqlite_engine(database.url)) as session:
        for number in (1, 2, 3):
            session.add(Contact(id=number, workspace_id=1, name="Anna", created_at=1, updated_at=1))
            session.flush()
            session.add(
                Identity(
                    id=10 + number,
                    workspace_id=1,
                    channel_id=channel_id,
                    contact_id=number,
                    kind="telegram_user",
                    address=str(number),
                    created_at=1,
                )
            )
            if number < 3:
                session.add(
                    ConsentState(
                        identity_id=10 + number,
                        purpose="marketing",
                        state="granted",
                        mailable=1,
                        consent_id=20 + number,
                        double_opt_in=0,
                        changed_at=1,
                        workspace_id=1,
                        channel_id=channel_id,
                        contact_id=number,
                    )
                )
        session.commit()

    def write(connection: Connection) -> int:
        draft = drafts.Draft(name="News", channel_id=channel_id, content={"it": "Ciao!"})
        return drafts.create(connection, 1, draft, new_id=lambda: 30, now=1_767_602_400_000)

    try:
        return await database.write(write)
    finally:
        await database.close()


def test_flows_that_are_run_are_found_beside(passaparola: Command) -> None:
    """`flow test` of one folder plays the flows of its neighbours that it needs."""
    for key, step in (("first", "{sub_flow: second, next: end}"), ("second", "{send: Ciao!, next: end}")):
        folder = passaparola.folder / key
        folder.mkdir()
        (folder / "flow.yaml").write_text(f"flow: {key}\nstart: a\nsteps:\n  a: {step}\n")
    (passaparola.folder / "first" / "a.test.yaml").write_text("flow: first\ndialogue:\n  - bot: Ciao!\n")
    tried = passaparola.done("flow", "test", str(passaparola.folder / "first"))
    assert (tried["passed"], tried["failed"]) == (1, 0)
