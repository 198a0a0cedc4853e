"""The business file: what it becomes, and that applying it twice changes nothing."""

from __future__ import annotations

from pathlib import Path

import msgspec
import pytest
from sqlalchemy import Connection, text

from bot import flow_store
from config import business
from config.demo import environment
from domain.errors import RejectedInput
from domain.ids import IdMaker
from flows import business as businesses
from flows import compiler, document
from flows.business import Place
from storage import schema
from storage.database import Database
from storage.sealing import Sealer

EXAMPLE = Path(business.__file__).with_name("business.example.yaml")
NOW = 1_767_602_400_000


def test_the_example_is_sound() -> None:
    shop = business.read(EXAMPLE, environment())
    assert shop.name == "Bottega Esempio"
    assert [spec.kind for spec in shop.channels] == ["telegram", "whatsapp"]
    assert "mode" not in shop.channels[0].values
    flows = {document.load(flow.source, flow.name).flow for flow in shop.flows}
    assert {"lead", "keyword-orari"} <= flows
    for flow in shop.flows:
        compiler.compile(document.load(flow.source, flow.name), 0)
    # It passes the control socket as plain data.
    assert msgspec.convert(msgspec.to_builtins(shop), business.Business) == shop


@pytest.mark.parametrize(
    ("hours", "language", "sentence"),
    [
        ({}, "en", ""),
        ({"mon": ["09:00-13:00"]}, "it", "lun 09:00–13:00"),
        ({day: ["09:00-13:00"] for day in businesses.DAYS[:5]}, "en", "Mon–Fri 09:00–13:00"),
        (
            {"mon": ["09:00-13:00"], "tue": ["09:00-13:00"], "thu": ["09:00-13:00", "15:00-19:00"]},
            "it",
            "lun–mar 09:00–13:00; gio 09:00–13:00, 15:00–19:00",
        ),
    ],
)
def test_opening_hours_in_words(hours: dict[str, list[str]], language: str, sentence: str) -> None:
    assert businesses.opening_sentence(hours, language) == sentence


async def test_applying_twice_changes_nothing(any_database_url: str, tmp_path: Path) -> None:
    path = tmp_path / "shop.yaml"
    path.write_text(
        "business: Shop\ntimezone: Europe/Rome\n"
        'channels:\n  - {kind: telegram, name: a, token: "${TOKEN}"}\n'
        "purposes: {marketing: {version: 2, wording: {en: May we write?}}}\n"
        "quiet_hours: {from: '21:00', to: '09:00'}\nmarketing: {per_day: 2}\n"
        "opening_hours: {mon-tue: ['09:00-13:00']}\n"
        'keywords:\n  - {words: [hours], answer: {en: "Open {opening_hours}."}}\n'
    )
    database = await Database.open(any_database_url)
    try:
        await schema.ensure(database)
        maker, sealer = IdMaker(1, lambda: NOW), Sealer("TEST-" + "s" * 40)

        async def apply(token: str, mode: str = "polling") -> list[str]:
            shop = business.read(path, {"TOKEN": token})

            def write(connection: Connection) -> list[str]:
                workspace_id = business.ensure_workspace(connection, now=NOW)
                return business.apply(
                    connection,
                    shop,
                    workspace_id=workspace_id,
                    default_mode=mode,
                    sealer=sealer,
                    new_id=maker.next,
                    now=NOW,
                ).changes

            return await database.write(write)

        assert await apply("7:TEST-first-token-000") == [
            "business: changed",
            "channel a: added",
            "flow keyword-hours: version 1",
        ]
        before = await database.read(everything)
        assert await apply("7:TEST-first-token-000") == []
        assert (
            await apply("7:TEST-first-token-000", mode="webhook") == []
        )  # a channel keeps the mode that it has
        assert await database.read(everything) == before
        assert await apply("7:TEST-second-token-00") == ["channel a: changed"]
        path.write_text(path.read_text().replace("version: 2", "version: 3"))
        assert await apply("7:TEST-second-token-00") == ["business: changed"]
    finally:
        await database.close()


def everything(connection: Connection) -> list[list[tuple[object, ...]]]:
    tables = ("workspace", "channel", "flow", "flow_version")
    return [
        [tuple(row) for row in connection.execute(text(f"SELECT * FROM {table} ORDER BY id")).all()]
        for table in tables
    ]


def test_places_and_the_teams_chat_are_kept_as_flows_and_the_runtime_read_them(tmp_path: Path) -> None:
    """Hours are sentences in each language; a group's id may be written as a number."""
    path = tmp_path / "shop.yaml"
    path.write_text(
        "business: Shop\nteam: {chat: {channel: a, address: -1001}}\nplaces:\n"
        "  - {name: Centro, lat: 45.46, lon: 9, address: Via Roma 1, opening_hours: {mon-fri: '09:00-19:00'}}\n"
    )
    stored = business.read(path, {}).stored
    read = flow_store.read_business(
        1, "Shop", "it-IT", "Europe/Rome", msgspec.json.encode(stored).decode(), {(1, "a"): 5}
    )
    hours = {"it": "lun–ven 09:00–19:00", "en": "Mon–Fri 09:00–19:00"}
    assert read.view.places == (Place("Centro", 45.46, 9.0, address="Via Roma 1", hours=hours),)
    assert read.view.language == "it"
    assert read.team_chat == flow_store.TeamChat(5, "-1001")
    assert (
        flow_store.read_business(1, "Shop", "it", "", msgspec.json.encode(stored).decode()).team_chat is None
    )


@pytest.mark.parametrize(
    ("lines", "said"),
    [
        ("places: [{name: A, lat: 91, lon: 9}]", "line 2, places.0.lat: must be degrees from -90 to 90"),
        ("places: [{name: A, lat: 1}]", "places.0.lon"),
        ("places: [{lat: 1, lon: 1}]", "places.0.name"),
        ("places: [{name: A, lat: 1, lon: 1, colour: red}]", "there is no such key"),
        ("places: [{name: A, lat: 1, lon: 1, opening_hours: {mon: nine}}]", "places.0.opening_hours.mon"),
        ("team: {chat: {channel: a}}", "has a channel and an address"),
        ("team: {people: 3}", "has a chat, nothing else"),
    ],
)
def test_faulty_places_and_chats_are_refused_with_their_line(lines: str, said: str, tmp_path: Path) -> None:
    path = tmp_path / "shop.yaml"
    path.write_text(f"business: Shop\n{lines}\n")
    with pytest.raises(RejectedInput) as refused:
        business.read(path, {})
    assert said in str(refused.value) or said in refused.value.where


@pytest.mark.parametrize(
    ("chat", "said"),
    [("nobody", "there is no channel 'nobody'"), ("w", "on whatsapp a bot cannot write first")],
)
async def test_the_teams_chat_is_where_a_bot_may_write_first(
    chat: str, said: str, any_database_url: str, tmp_path: Path
) -> None:
    path = tmp_path / "shop.yaml"
    path.write_text(
        "business: Shop\nchannels:\n  - {kind: whatsapp, name: w, phone_number_id: '106540352242922', "
        "business_account_id: '102290129340398', access_token: TEST-access, "
        "app_secret: TEST-secret, verify_token: TEST-verify}\n"
        f"team: {{chat: {{channel: {chat}, address: '1'}}}}\n"
    )
    database = await Database.open(any_database_url)
    try:
        await schema.ensure(database)
        maker, sealer = IdMaker(1, lambda: NOW), Sealer("TEST-" + "s" * 40)

        def write(connection: Connection) -> None:
            business.apply(
                connection,
                business.read(path, {}),
                workspace_id=business.ensure_workspace(connection, now=NOW),
                default_mode="webhook",
                sealer=sealer,
                new_id=maker.next,
                now=NOW,
            )

        with pytest.raises(RejectedInput, match=said):
            await database.write(write)
    finally:
        await database.close()
