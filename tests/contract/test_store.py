"""The store's promises (DESIGN 2.9), the same on SQLite and PostgreSQL: what was returned is committed, what failed is
undone alone, JSON rows arrive as they were sent."""

from __future__ import annotations

import asyncio
import threading
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from sqlalchemy import Connection, text

from domain.errors import RejectedInput, Unavailable
from domain.events import storable
from storage.bulk_writes import BulkDelete, BulkInsert, BulkUpdate
from storage.database import Database, Queue, parse_url, rows_of, scalar_int
from storage.statements import bulk, bulk_values, gathered, insert_rows, json_rows, send

BIGGEST, SMALLEST = (1 << 63) - 1, -(1 << 63)


def keep(subject: str) -> Any:
    """Work that stores one row and gives its number back."""

    def work(connection: Connection) -> str:
        connection.execute(
            text("INSERT INTO revision (workspace_id, subject, number) VALUES (1, :s, 1)"), {"s": subject}
        )
        return subject

    return work


async def kept(database: Database) -> list[str]:
    rows = await database.read(lambda c: rows_of(c, "SELECT subject FROM revision ORDER BY subject"))
    return [row.subject for row in rows]


class Ours(Exception):
    """A failure of a test's own function."""


@pytest.mark.parametrize("queue", list(Queue))
@pytest.mark.parametrize("durable", [True, False])
async def test_what_write_returned_is_committed(store: Database, queue: Queue, durable: bool) -> None:
    assert await store.write(keep("one"), queue=queue, durable=durable) == "one"
    assert await kept(store) == ["one"]


async def test_an_error_comes_back_as_it_is_and_nothing_stays(store: Database) -> None:
    def work(connection: Connection) -> None:
        keep("half")(connection)
        raise Ours("in the middle")

    with pytest.raises(Ours, match="in the middle"):
        await store.write(work)
    assert await kept(store) == []


async def test_the_second_transaction_has_what_the_first_gave(store: Database) -> None:
    seen: list[list[str]] = []

    def then(connection: Connection, found: str) -> str:
        seen.append([row.subject for row in rows_of(connection, "SELECT subject FROM revision")])
        return f"{found}{keep('two')(connection)}"

    both = await asyncio.gather(
        store.write_then(keep("one"), then), store.write(keep("aside"), queue=Queue.live)
    )
    assert tuple(both) == ("onetwo", "aside")
    assert "one" in seen[0]
    assert await kept(store) == ["aside", "one", "two"]


async def test_without_a_result_there_is_no_second_transaction(store: Database) -> None:
    def nothing(connection: Connection) -> list[str]:
        keep("looked")(connection)
        return []

    assert await store.write_then(nothing, lambda connection, _: keep("never")(connection)) is None
    assert await kept(store) == ["looked"]


@pytest.mark.parametrize("part", [1, 2])
async def test_a_failure_of_the_second_leaves_the_first(store: Database, part: int) -> None:
    def fail(connection: Connection, *_: str) -> str:
        keep("half")(connection)
        raise Ours(str(part))

    with pytest.raises(Ours, match=str(part)):
        await store.write_then(*((fail, fail) if part == 1 else (keep("one"), fail)))
    assert await kept(store) == ([] if part == 1 else ["one"])


async def test_of_many_at_once_each_failure_is_its_own(store: Database) -> None:
    """Group commit: eight of 24 fail, at the beginning, in the middle and at the end of their work."""

    def failing(number: int) -> Any:
        def work(connection: Connection) -> None:
            keep(f"bad {number}")(connection)
            if number % 2:
                connection.execute(text("INSERT INTO no_such_table VALUES (1)"))
            raise Ours(str(number))

        return work

    works = [failing(n) if n % 3 == 0 else keep(f"good {n:02}") for n in range(24)]
    results = await asyncio.gather(
        *(store.write(work, queue=Queue.live) for work in works), return_exceptions=True
    )
    for number, result in enumerate(results):
        assert isinstance(result, Exception) == (number % 3 == 0), result
    assert await kept(store) == sorted(f"good {n:02}" for n in range(24) if n % 3)


async def test_a_caller_that_goes_away_undoes_nothing(store: Database) -> None:
    """Its own work is finished, and that of those who share its commit."""
    inside, go_on = threading.Event(), threading.Event()

    def slow(connection: Connection) -> str:
        inside.set()
        if connection.dialect.name == "sqlite":  # in the writer's thread
            assert go_on.wait(10)
        else:  # in the event loop: the caller is gone before the server's answer is here
            asyncio.get_running_loop().call_soon(leaving.cancel)
        return str(keep("left")(connection))

    leaving = asyncio.create_task(store.write(slow, queue=Queue.live))
    assert await asyncio.to_thread(inside.wait, 10)
    staying = [asyncio.create_task(store.write(keep(f"stays {n}"), queue=Queue.live)) for n in range(3)]
    await asyncio.sleep(0)
    staying[1].cancel()
    leaving.cancel()
    go_on.set()
    results = await asyncio.gather(leaving, *staying, return_exceptions=True)
    assert isinstance(results[0], asyncio.CancelledError)
    async with asyncio.timeout(10):  # what its caller no longer waits for is committed all the same
        while len(await kept(store)) < 4:
            await store.write(lambda _: None, queue=Queue.live)
    assert await kept(store) == ["left", "stays 0", "stays 1", "stays 2"]


async def test_a_reader_sees_what_was_committed_before(store: Database) -> None:
    for number in range(20):
        await store.write(keep(f"{number:02}"), queue=Queue.live, durable=False)
        assert len(await kept(store)) == number + 1


async def test_close_finishes_what_was_handed_over(store_url: str) -> None:
    database = await Database.open(store_url)
    tasks = [asyncio.create_task(database.write(keep(f"{n}"), queue=Queue.bulk)) for n in range(5)]
    await asyncio.sleep(0)
    await asyncio.gather(*tasks)
    await database.close()
    again = await Database.open(store_url)
    assert await kept(again) == ["0", "1", "2", "3", "4"]
    await again.close()


# --- bulk statements

ROW = {"id": "BIGINT", "name": "TEXT", "ratio": "DOUBLE PRECISION"}
TEXTS = st.text(max_size=30).map(storable)
ROWS = st.lists(
    st.fixed_dictionaries(
        {
            "id": st.integers(SMALLEST, BIGGEST),
            "name": st.none() | TEXTS,
            "ratio": st.none() | st.floats(-1e9, 1e9),
        }
    ),
    max_size=20,
)


@settings(max_examples=40, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(rows=ROWS)
async def test_json_rows_arrive_as_they_were_sent(store: Database, rows: list[dict[str, Any]]) -> None:
    """Any storable text, 63-bit numbers, nothing, and no rows at all; in their order."""
    found = await store.read(lambda c: rows_of(c, json_rows(ROW), {"rows": bulk(rows)}))
    assert [tuple(row) for row in found] == [(r["id"], r["name"], r["ratio"]) for r in rows]


async def test_odd_texts_and_the_widest_numbers(store: Database) -> None:
    texts = [
        "",
        " ",
        "007",
        "null",
        "true",
        "1e5",
        "{}",
        '"\\"',
        "\\u0041",
        "a\nb\tc",
        "🏳️‍🌈",
        "\ufffd",
        "\u2028",
        "🧀" * 50,
    ]
    texts += ["🏳️‍🌈", "🧀" * 50]
    rows: list[dict[str, Any]] = [{"id": n, "name": one, "ratio": 0.1} for n, one in enumerate(texts)]
    rows += [{"id": BIGGEST, "name": "most", "ratio": None}, {"id": SMALLEST, "name": "least", "ratio": None}]
    found = await store.read(lambda c: rows_of(c, json_rows(ROW), {"rows": bulk(rows)}))
    assert [(row.id, row.name, row.ratio) for row in found] == [
        (r["id"], r["name"], r["ratio"]) for r in rows
    ]


async def test_a_bulk_insert_of_nothing_and_of_what_is_there_changes_nothing(store: Database) -> None:
    columns = {"workspace_id": "BIGINT", "subject": "TEXT", "number": "BIGINT"}
    statement = text(insert_rows("revision", columns, conflict="ON CONFLICT DO NOTHING RETURNING subject"))

    def put(rows: list[dict[str, Any]]) -> Any:
        return store.write(
            lambda c: [row.subject for row in c.execute(statement, {"rows": bulk(rows)}).all()],
            queue=Queue.bulk,
        )

    assert await put([]) == []
    assert await put([{"workspace_id": 1, "subject": s, "number": BIGGEST} for s in "ab"]) == ["a", "b"]
    assert await put([{"workspace_id": 1, "subject": s, "number": 0} for s in "abc"]) == ["c"]
    total = "SELECT count(*) FROM revision WHERE number = :n"
    assert await store.read(lambda c: scalar_int(c, total, {"n": BIGGEST})) == 2


async def test_single_values_as_rows(store: Database) -> None:
    sql = "SELECT CAST(e.value ->> 'v' AS BIGINT) AS v FROM json_each(:ids) e"
    for ids in ([], [0], [BIGGEST, SMALLEST, 7, 7]):
        found = await store.read(lambda c, ids=ids: rows_of(c, sql, {"ids": bulk_values(ids)}))  # type: ignore[misc]
        assert [row.v for row in found] == ids


def test_half_of_a_pair_is_refused_before_it_is_sent() -> None:
    with pytest.raises(UnicodeEncodeError):
        bulk([{"name": "\ud83d"}])


async def test_scalar_int_of_nothing_is_zero(store: Database) -> None:
    assert (
        await store.read(lambda c: scalar_int(c, "SELECT number FROM revision WHERE subject = 'none'")) == 0
    )


# --- away


async def test_a_store_that_cannot_be_reached_is_unavailable(store: Database) -> None:
    """Not an error of the driver: everybody who waits for the store waits by this one."""

    def broken(connection: Connection) -> None:
        raw: Any = connection.connection.driver_connection
        if connection.dialect.name == "sqlite":
            raw.set_progress_handler(
                lambda: 1, 1
            )  # as a disk or memory fault would: the statement is interrupted
            try:
                connection.execute(text("SELECT count(*) FROM revision")).all()
            finally:
                raw.set_progress_handler(None, 0)
        else:
            connection.execute(text("SELECT pg_terminate_backend(pg_backend_pid())"))

    with pytest.raises(Unavailable):
        await store.write(broken)
    assert await store.write(keep("back")) == "back"
    assert await kept(store) == ["back"]


@pytest.mark.parametrize(
    ("url", "says"),
    [
        ("", "is not a database URL"),
        ("no url", "is not a database URL"),
        ("sqlite://", "use sqlite with a file"),
        ("mysql://root@host/db", "'mysql' is not served"),
    ],
)
def test_a_url_that_cannot_be_served_says_so(url: str, says: str) -> None:
    with pytest.raises(RejectedInput, match=says) as refused:
        parse_url(url)
    assert refused.value.where == "PASSAPAROLA_DATABASE_URL"


def test_a_url_without_driver_gets_ours() -> None:
    assert parse_url("postgresql://a@b/c").drivername == "postgresql+asyncpg"
    assert parse_url("sqlite:////tmp/x.sqlite3").database == "/tmp/x.sqlite3"


_raise = BulkUpdate(
    "revision",
    {"subject": "TEXT", "number": "BIGINT"},
    sets="number = v.number + CAST(:more AS BIGINT)",
    where="revision.subject = v.subject AND revision.number = v.number",
    ordered=["subject"],
    returning=["subject"],
)


@pytest.mark.parametrize("rows", [[("a", 1), ("b", 7)], [("b", 7)], [("a", 1)], [("a", 1), ("b", 1)], []])
@pytest.mark.parametrize("asked", [True, False])
async def test_a_bulk_write_tells_which_rows_it_found(
    store: Database, rows: list[tuple[str, int]], asked: bool
) -> None:
    """Each of them is written once, though the driver's repetition is undone where it did not find all."""
    for subject in ("a", "b"):
        await store.write(keep(subject))
    found = await store.write(lambda c: _raise.found(c, rows, known=None if asked else rows, more=10))
    there = {subject for subject, number in rows if number == 1}
    assert sorted(row[0] for row in found) == sorted(there)
    after = await store.read(lambda c: rows_of(c, "SELECT subject, number FROM revision ORDER BY subject"))
    assert [tuple(row) for row in after] == [(name, 11 if name in there else 1) for name in ("a", "b")]


_LOG = {"id": "BIGINT", "detail": "TEXT", "at": "BIGINT"}
_log = BulkInsert(
    "channel_log",
    _LOG,
    constants={"workspace_id": "1", "channel_id": ":channel", "what": "''", "outcome": "''"},
)
_part = BulkInsert(
    "album_part",
    {"id": "BIGINT", "due_at": "BIGINT"},
    constants={"workspace_id": "1", "channel_id": "1", "slot": "0"}
    | dict.fromkeys(("intake_key", "album", "event"), "''"),
)
_end = BulkDelete(
    "album_part",
    _LOG,
    where="album_part.id = v.id AND album_part.due_at = v.at",
    returning=["id", "due_at"],
    then=BulkUpdate("channel_log", _LOG, sets="detail = v.detail", where="channel_log.id = v.id"),
)


@pytest.mark.parametrize("logged", [[1, 2, 3], [1, 3]])
@pytest.mark.parametrize("there", [[1, 2], [1], []])
@pytest.mark.parametrize("asked", [True, False])
async def test_what_follows_a_bulk_delete_follows_what_it_found(
    store: Database, there: list[int], logged: list[int], asked: bool
) -> None:
    """Row by row, whether or not all were found, and also where there is nothing for it to write."""
    rows = [(1, "one", 5), (2, "two", 5)]

    def work(connection: Connection) -> list[tuple[int, int]]:
        _log(connection, [{"id": i, "detail": "", "at": 0, "more": 1} for i in logged], channel=7)
        _part(connection, [(i, 5 if i in there else 6) for i in (1, 2)])
        found = _end.found(connection, rows, known=None if asked else [(i, 5) for i in (1, 2)])
        return [tuple(row) for row in found]

    assert sorted(await store.write(work)) == [(i, 5) for i in there]
    left = await store.read(lambda c: rows_of(c, "SELECT id FROM album_part ORDER BY id"))
    assert [row.id for row in left] == [i for i in (1, 2) if i not in there]
    after = await store.read(
        lambda c: rows_of(c, "SELECT id, channel_id, detail FROM channel_log ORDER BY id")
    )
    assert [tuple(row) for row in after] == [
        (i, 7, {1: "one", 2: "two"}[i] if i in there else "") for i in logged
    ]


@pytest.mark.parametrize("numbers", [(1, 2), (1, 7)])
async def test_gathered_writes_are_done_together(store: Database, numbers: tuple[int, int]) -> None:
    """Each with parameters of its own; one that was to write other rows than it did undoes them all."""
    raised = BulkUpdate(
        "revision",
        {"subject": "TEXT", "number": "BIGINT"},
        sets="number = v.number",
        where="revision.subject = v.subject AND revision.number = v.number - 1",
    )

    def work(connection: Connection) -> None:
        gathering = gathered(connection)
        rows = [{"subject": name, "number": number} for name, number in zip(("a", "b"), numbers, strict=True)]
        known = raised.expect(gathering, rows)
        gathering.execute(
            text("INSERT INTO revision (workspace_id, subject, number) VALUES (1, :s, :n)"),
            {"s": "c", "n": 3},
        )
        gathering.execute(text("DELETE FROM revision WHERE subject = :s"), {"s": "gone"})
        if not (known and send(gathering)):
            raise Ours

    for subject in ("a", "b", "gone"):
        await store.write(keep(subject))
    await store.write(lambda c: c.execute(text("UPDATE revision SET number = 0 WHERE subject = 'a'")))
    if numbers == (1, 7):
        with pytest.raises(Ours):
            await store.write(work)
        assert await kept(store) == ["a", "b", "gone"]
    else:
        await store.write(work)
        rows = await store.read(lambda c: rows_of(c, "SELECT subject, number FROM revision ORDER BY subject"))
        assert [tuple(row) for row in rows] == [("a", 1), ("b", 2), ("c", 3)]


async def test_nothing_gathered_is_no_statement(store: Database) -> None:
    def work(connection: Connection) -> bool:
        gathering = gathered(connection)
        return send(gathering)

    assert await store.write(work)


async def test_a_bulk_update_finds_every_row_by_its_key(store: Database) -> None:
    """With what is the same for all; and it says when a row was not there."""
    renamed = BulkUpdate(
        "revision",
        {"subject": "TEXT", "number": "BIGINT"},
        sets="number = v.number + CAST(:more AS BIGINT)",
        where="revision.subject = v.subject",
    )
    counted = BulkUpdate(
        "revision",
        {"subject": "TEXT", "number": "BIGINT"},
        sets="number = v.number",
        where="revision.subject = v.subject",
    )
    for subject in ("a", "b"):
        await store.write(keep(subject))
    rows = [{"subject": "b", "number": 2}, {"subject": "a", "number": 1}]
    await store.write(lambda c: renamed(c, rows, more=10))
    found = await store.read(lambda c: rows_of(c, "SELECT subject, number FROM revision ORDER BY subject"))
    assert [tuple(row) for row in found] == [("a", 11), ("b", 12)]
    assert await store.write(lambda c: counted.expect(c, rows))
    assert not await store.write(lambda c: counted.expect(c, [*rows, {"subject": "nobody", "number": 1}]))
    assert await store.write(lambda c: counted.expect(c, []))
