"""The fixtures that give databases do what they promise."""

from __future__ import annotations

import asyncio

from sqlalchemy import create_engine, text
from sqlalchemy.ext.asyncio import create_async_engine

from tests.support.databases import PostgresServer


async def test_a_database_of_its_own_is_empty_and_answers(any_database_url: str) -> None:
    """Both databases read JSON rows by the same statement."""
    statement = text("SELECT CAST(e.value->>'id' AS BIGINT) AS id FROM json_each(:rows) e ORDER BY 1")
    parameters = {"rows": '{"0": {"id": 4611686018427387904}, "1": {"id": 7}}'}
    if any_database_url.startswith("sqlite"):
        engine = create_engine(any_database_url)
        with engine.connect() as connection:
            ids = [row.id for row in connection.execute(statement, parameters)]
        engine.dispose()
    else:
        async_engine = create_async_engine(any_database_url)
        async with async_engine.connect() as async_connection:
            ids = [row.id for row in await async_connection.execute(statement, parameters)]
        await async_engine.dispose()
    assert ids == [7, 4611686018427387904]


def test_a_template_is_filled_once_and_copied(postgres: PostgresServer) -> None:
    """The second caller finds the template ready; a copy holds what was filled in."""
    filled = []

    async def make_table(url: str) -> None:
        engine = create_async_engine(url)
        async with engine.begin() as connection:
            await connection.execute(text("CREATE TABLE kept (id BIGINT)"))
        await engine.dispose()

    def fill(url: str) -> None:
        filled.append(url)
        asyncio.run(make_table(url))

    name = postgres.template("template_of_this_test", fill)
    assert postgres.template("template_of_this_test", fill) == name
    assert len(filled) == 1
    url = postgres.create(template=name)
    try:
        assert "/test_" in url
    finally:
        postgres.drop(url)
