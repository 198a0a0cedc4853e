"""The business file: what it becomes, and that applying it twice changes nothing."""

from __future__ import annotations

from pathlib import Path

import msgspec
import pytest
from sqlalchemy import Connection, text

from config import business
from config.demo import environment
from domain.ids import IdMaker
from flows import compiler, document
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
        ({day: ["09:00-13:00"] for day in business.DAYS[:5]}, "en", "Mon–Fri 09:00–13:00"),
        (
            {"mon": ["09:00-13:00"], "tue": ["09:00-13:00"], "thu": ["09:00-13:00", "15:00-19:00"]},
            "it",
            "lun–mar 09:00–13:00; gio 09:00–13:00, 15:00–19:00",
        ),
    ],
)
def test_opening_hours_in_words(hours: dict[str, list[str]], language: str, sentence: str) -> None:
    assert business.opening_sentence(hours, language) == sentence


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
