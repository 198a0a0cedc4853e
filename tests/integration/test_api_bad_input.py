"""Bad input: each line is what somebody sends, the status, and words that the answer must hold. Nothing is written."""

from __future__ import annotations

import asyncio
import gzip
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.support.api_bodies import bodies
from tests.support.shop import Shop


@pytest.fixture
async def shop(sqlite_url: str, tmp_path: Path) -> Any:
    async with Shop(sqlite_url, tmp_path) as shop:
        yield shop


NEW = '{"first_name": %s}'
DEEP = '{"fields": ' + '{"a":' * 100_000 + "1" + "}" * 100_000 + "}"
# name: (method, path, body, status, words)
TABLE: dict[str, tuple[str, str, bytes | str, int, str]] = {
    "no body": ("POST", "/contacts", b"", 400, "not JSON"),
    "half a body": ("POST", "/contacts", b'{"first_name": ', 400, "not JSON"),
    "two bodies": ("POST", "/contacts", b"{} {}", 400, "not JSON"),
    "a list": ("POST", "/contacts", b"[]", 400, "object"),
    "a number": ("POST", "/contacts", b"7", 400, "object"),
    "null": ("POST", "/contacts", b"null", 400, "object"),
    "NaN": ("POST", "/contacts", b'{"fields": {"n": NaN}}', 400, "not JSON"),
    "Infinity": ("POST", "/contacts", b'{"fields": {"n": -Infinity}}', 400, "not JSON"),
    "1e999": ("POST", "/contacts", b'{"fields": {"n": 1e999}}', 400, ""),
    "63 bits and more": ("POST", "/contacts", b'{"fields": {"n": 9223372036854775808}}', 400, "fields.n"),
    "a googol": ("POST", "/contacts", b'{"fields": {"n": 1' + b"0" * 100 + b"}}", 400, "fields.n"),
    "NUL": ("POST", "/contacts", NEW % '"a\\u0000b"', 400, "NUL"),
    "NUL in a name": ("POST", "/contacts", '{"fields": {"a\\u0000": 1}}', 400, "NUL"),
    "lone surrogate": ("POST", "/contacts", NEW % '"\\ud800"', 400, "not JSON"),
    "not UTF-8": ("POST", "/contacts", b'{"first_name": "\xff\xfe"}', 400, "not JSON"),
    "depth 100k": ("POST", "/contacts", DEEP, 400, "deep"),
    "depth 40": (
        "POST",
        "/contacts",
        '{"fields": {"a": ' + "[" * 40 + "]" * 40 + "}}",
        400,
        "deeper than 32",
    ),
    "unknown member": ("POST", "/contacts", b'{"nickname": "A"}', 422, "nickname: is not known here"),
    "mass assignment": ("POST", "/contacts", b'{"workspace_id": 1, "id": 2}', 422, "is not known here"),
    "wrong type": ("POST", "/contacts", b'{"first_name": 7}', 422, "first_name"),
    "text for a list": ("POST", "/contacts", b'{"tags": "lead"}', 422, "tags"),
    "odd field key": ("POST", "/contacts", b'{"fields": {"A b": 1}}', 422, "fields.A b"),
    "object as a value": ("POST", "/contacts", b'{"fields": {"a": {"b": 1}}}', 422, "fields.a"),
    "a tag too long": ("POST", "/contacts", b'{"tags": ["' + b"x" * 81 + b'"]}', 422, "tag"),
    "text too long": ("POST", "/contacts", NEW % f'"{"x" * 5_000}"', 422, "first_name"),
    "1 MB and more": ("POST", "/contacts", b" " * 1_000_001, 413, "1000000"),
    "unknown operator": (
        "POST",
        "/segments",
        b'{"name": "a", "predicate": {"subject": "contact.name", "op": "like", "value": "a"}}',
        422,
        "like",
    ),
    "unknown subject": (
        "POST",
        "/segments/count",
        b'{"predicate": {"subject": "workspace.secrets", "op": "is_set"}}',
        422,
        "workspace.secrets",
    ),
    "predicate without end": (
        "POST",
        "/segments/count",
        '{"predicate": ' + '{"not": ' * 17 + '{"all": []}' + "}" * 17 + "}",
        422,
        "predicate",
    ),
    "pattern that never ends": (
        "POST",
        "/segments/count",
        b'{"predicate": {"subject": "contact.name", "op": "matches_pattern", "value": "(a)\\\\1"}}',
        422,
        "value",
    ),
    "bad YAML": ("POST", "/flows", b'{"document": "flow: [a"}', 422, "line 2"),
    "a flow that is none": ("POST", "/flows", b'{"document": "just words"}', 422, "flow"),
    "YAML bomb": (
        "POST",
        "/flows/check",
        b'{"document": "a: &a [x,x]\\nb: &b [*a,*a]\\nc: &c [*b,*b]\\nflow: x"}',
        422,
        "",
    ),
    "a kind that is none": (
        "POST",
        "/channels",
        b'{"kind": "fax", "name": "f", "settings": {}}',
        422,
        "fax",
    ),
    "no token": (
        "POST",
        "/channels",
        b'{"kind": "telegram", "name": "f", "settings": {}}',
        422,
        "settings.token",
    ),
    "an odd token": (
        "POST",
        "/channels",
        b'{"kind": "telegram", "name": "f", "settings": {"token": "secret-canary"}}',
        422,
        "settings.token",
    ),
    "unknown setting": (
        "POST",
        "/channels",
        b'{"kind": "telegram", "name": "f", "settings": {"tokn": "1:abc"}}',
        422,
        "settings.",
    ),
    "a taken name": (
        "POST",
        "/channels",
        b'{"kind": "telegram", "name": "bot", "settings": {"token": "220201543:TEST-abc"}}',
        409,
        "name",
    ),
    "another kind's id": (
        "POST",
        "/posts",
        b'{"outlet_id": "con_0000000000000", "content": "x"}',
        422,
        "outlet_id",
    ),
    "a number as an id": ("POST", "/posts", b'{"outlet_id": 7, "content": "x"}', 422, "outlet_id"),
    "a limit of 0": ("GET", "/contacts?limit=0", b"", 422, "limit"),
    "a limit of words": ("GET", "/contacts?limit=many", b"", 422, "limit"),
    "a million": ("GET", "/contacts?limit=1000000", b"", 422, "limit"),
    "an odd page": ("GET", "/contacts?after=x", b"", 422, "after"),
    "a page past 63 bits": ("GET", "/contacts?after=9223372036854775808", b"", 422, "after"),
    "an unknown parameter": ("GET", "/contacts?order=name", b"", 422, "order"),
    "a parameter twice": ("GET", "/contacts?limit=1&limit=2", b"", 400, "twice"),
    "parameters where none are": ("GET", "/stops?x=1", b"", 422, "x"),
    "NUL in a parameter": ("GET", "/contacts?search=a%00b", b"", 400, "search"),
    "a filter that is none": ("GET", "/contacts?filter=x", b"", 400, "filter"),
    "a deep filter": ("GET", "/contacts?filter=" + "%5B" * 1_000, b"", 400, "filter"),
    "search and filter": ("GET", "/contacts?search=a&tag=b", b"", 422, "search"),
    "a path that is none": ("GET", "/nothing", b"", 404, "path"),
    "a method that is none": ("DELETE", "/channels", b"", 405, "methods"),
    "TRACE": ("TRACE", "/channels", b"", 405, "methods"),
}


async def test_bad_input(shop: Shop) -> None:
    """A clear 4xx that names what and where; never the value, never a half-written row."""
    before = await shop.dump()
    wrong = []
    for case, (method, path, body, status, words) in TABLE.items():
        data = body.encode() if isinstance(body, str) else body
        sent = None if method in ("GET", "TRACE", "DELETE") else data
        got, problem, response = await shop.call(method, path, data=sent)
        good = (
            got == problem["status"] == status
            and response.content_type == "application/problem+json"
            and set(problem) >= {"type", "title", "status", "detail"}
            and words in str(problem)
            and "canary" not in str(problem)
        )
        if not good:
            wrong.append((case, got, problem))
    assert not wrong
    assert await shop.dump() == before


@pytest.mark.parametrize(
    ("given", "where"),
    [({"order": "x" * 4_001}, "order"), ({"x" * 101: 1}, "x"), ({str(n): n for n in range(51)}, "")],
)
async def test_what_becomes_part_of_a_session_is_bounded(
    shop: Shop, given: dict[str, Any], where: str
) -> None:
    """Variables of a start, data of an event: every turn of the session reads and writes them."""
    ids = shop.mine.ids
    start = {"conversation_id": ids["conversation"], "variables": given}
    for path, body, place in (
        (f"/flows/{ids['flow']}/start", start, "variables"),
        (f"/contacts/{ids['contact']}/events", {"name": "paid", "data": given}, "data"),
    ):
        status, problem, _ = await shop.call("POST", path, json=body)
        assert status == 422
        assert f"{place}.{where}".rstrip(".") in str(problem)
        assert len(str(problem)) < 1_000


async def test_types_of_bodies(shop: Shop) -> None:
    """What is not JSON by its type, or compressed, is 415."""
    for headers in ({"Content-Type": "text/plain"}, {"Content-Type": "application/x-www-form-urlencoded"}):
        status, problem, _ = await shop.call("POST", "/contacts", data=b"{}", headers=headers)
        assert (status, problem["where"]) == (415, "Content-Type")
    squeezed = gzip.compress(b'{"first_name": "Bruno"}')
    status, problem, _ = await shop.call(
        "POST", "/contacts", data=squeezed, headers={"Content-Encoding": "gzip"}
    )
    assert (status, problem["where"]) == (415, "Content-Encoding")


async def test_a_body_without_a_length(shop: Shop) -> None:
    """A chunked body past the limit is cut off, whatever it said about itself."""

    async def endless() -> Any:
        for _ in range(40):
            yield b" " * 65_536
            await asyncio.sleep(0)

    headers = {"Authorization": f"Bearer {shop.mine.key}", "Content-Type": "application/json"}
    async with shop.client.post("/api/v1/contacts", data=endless(), headers=headers) as response:
        assert response.status == 413


async def test_every_answer_is_never_stored(shop: Shop) -> None:
    """Neither browsers nor proxies keep answers, and none guesses types."""
    for path in ("/contacts", "/nothing", "/openapi.json"):
        _, _, response = await shop.call("GET", path)
        assert response.headers["Cache-Control"] == "no-store"
        assert response.headers["X-Content-Type-Options"] == "nosniff"


NASTY: tuple[Any, ...] = (
    None, 0, -1, 2**62, 1e300, "", "x" * 300, "\u202e{{7*7}}%00';--", "con_0000000000000", [], [[None]], {},
    {"kind": "text"}, {"all": [{}]},
)  # fmt: skip


def mutations(body: Any) -> Iterator[Any]:
    """The body with each of its parts replaced by something nasty, left out, or given a member too many."""
    if isinstance(body, dict):
        for key, value in body.items():
            yield {other: item for other, item in body.items() if other != key}
            for changed in mutations(value):
                yield {**body, key: changed}
        yield {**body, "surprise": 1}
    yield from NASTY


async def test_no_mutation_of_a_body_breaks_anything(any_database_url: str, tmp_path: Path) -> None:
    """Good bodies with each part replaced: taken or refused with a place, on both databases; never 5xx."""
    async with Shop(any_database_url, tmp_path) as shop:
        asked = 0
        for (method, path), body in bodies(shop.mine.ids).items():
            own = path.format(**{f"{one}_id": public for one, public in shop.mine.ids.items()})
            for changed in mutations(body):
                shop.monotonic += 1
                status, answer, _ = await shop.call(method, own, json=changed)
                assert status < 500, (method, path, changed, answer)
                assert status < 300 or answer["detail"], (method, path, changed)
                asked += 1
        assert asked > 600
