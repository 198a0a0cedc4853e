"""Attacks by whoever has a key: more than a contact, a flow, a server can hold."""

from __future__ import annotations

from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import text

from crm.accounts import KEY_PREFIX
from crm.contacts import MAX_FIELDS, MAX_TAGS
from flows.document import MAX_PATTERNS, MAX_PLACEHOLDERS
from tests.support.shop import Shop


@pytest.fixture
async def shop(sqlite_url: str, tmp_path: Path) -> AsyncIterator[Shop]:
    async with Shop(sqlite_url, tmp_path) as shop:
        yield shop


async def ask(shop: Shop, method: str, path: str, body: Any) -> tuple[int, Any]:
    headers = {"Authorization": f"Bearer {shop.mine.key}"}
    async with shop.client.request(method, f"/api/v1{path}", json=body, headers=headers) as response:
        return response.status, await response.json()


async def test_who_guesses_keys_does_not_lock_out_who_has_one(shop: Shop) -> None:
    """Behind a proxy everybody has one address. A key that is revoked opens nothing, remembered or not."""
    assert (await ask(shop, "POST", "/segments/count", {"predicate": {"all": []}}))[0] == 200
    wrong = {"Authorization": f"Bearer {KEY_PREFIX}{'x' * 43}"}
    answers = set()
    for _ in range(40):
        async with shop.client.get("/api/v1/contacts", headers=wrong) as response:
            answers.add(response.status)
    assert answers == {401, 429}
    assert (await ask(shop, "POST", "/segments/count", {"predicate": {"all": []}}))[0] == 200
    await shop.do(
        lambda c: c.execute(
            text("UPDATE api_key SET revoked_at = 1 WHERE id = :id"), {"id": shop.mine.key_id}
        )
    )
    assert (await ask(shop, "POST", "/segments/count", {"predicate": {"all": []}}))[0] == 401


async def test_what_does_not_fit_into_a_contact_is_refused_whole(shop: Shop) -> None:
    """Not taken in part and answered 200."""
    status, made = await ask(shop, "POST", "/contacts", {"fields": {"first": 1}})
    assert status == 201
    contact = f"/contacts/{made['id']}"
    many = {f"f{n}": n for n in range(MAX_FIELDS)}
    for method, path in (("PATCH", contact), ("POST", "/contacts")):
        status, problem = await ask(shop, method, path, {"fields": {**many, "one_more": 1}})
        assert (status, problem["where"][:7]) == (422, "fields.")
    status, problem = await ask(shop, "PATCH", contact, {"fields": many})
    assert (status, problem["where"]) == (422, f"fields.f{MAX_FIELDS - 1}")
    tags = [f"t{n}" for n in range(MAX_TAGS)]
    assert (await ask(shop, "PATCH", contact, {"add_tags": tags}))[0] == 200
    status, problem = await ask(shop, "PATCH", contact, {"add_tags": ["one more"]})
    assert (status, problem["where"]) == (422, "tags")
    status, found = await ask(shop, "PATCH", contact, {"remove_tags": tags[:1]})
    assert (status, found["fields"], len(found["tags"])) == (200, {"first": 1}, MAX_TAGS - 1)


async def test_a_flow_of_patterns_is_refused_before_they_are_compiled(shop: Shop) -> None:
    """A thousand patterns of the costly sort took seven seconds."""
    case = "{when: {subject: contact.name, op: matches_pattern, value: '\\pL{1000}'}, goto: over}"
    branches = "".join(f"  s{n}: {{branch: [{', '.join([case] * 21)}], next: s{n + 1}}}\n" for n in range(10))
    source = f"flow: bomb\nlanguages: [en]\nstart: s0\nsteps:\n{branches}  s10: {{end: done}}\n  over: {{end: done}}\n"
    status, problem = await ask(shop, "POST", "/flows/check", {"document": source})
    assert status == 422
    assert f"{MAX_PATTERNS} patterns" in problem["detail"]


async def test_a_flow_of_placeholders_is_refused_before_it_is_compiled(shop: Shop) -> None:
    """A thousand steps full of them took seven seconds of everybody's time."""
    text = "{{ contact.name }}" * (MAX_PLACEHOLDERS // 20 + 1)
    steps = "".join(f"  s{n}: {{send: '{text}', next: s{n + 1}}}\n" for n in range(20))
    source = f"flow: bomb\nlanguages: [en]\nstart: s0\nsteps:\n{steps}  s20: {{end: done}}\n"
    status, problem = await ask(shop, "POST", "/flows/check", {"document": source})
    assert status == 422
    assert "placeholders" in problem["detail"]
