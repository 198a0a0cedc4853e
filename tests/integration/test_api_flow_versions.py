"""A flow over time by the API, on both databases: drafts, publishing, history, people inside, tests, replay."""

from __future__ import annotations

import threading
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest

from flows import yaml_builder
from flows.yaml_reader import Document
from tests.support.shop import FLOW, Shop

TEST = "flow: hello\ndialogue:\n  - user: hello\n  - bot: Hello!\n"


@pytest.fixture
async def shop(any_database_url: str, tmp_path: Path) -> AsyncIterator[Shop]:
    async with Shop(any_database_url, tmp_path) as shop:
        yield shop


async def done(answer: Any, status: int = 200) -> Any:
    """The body of a call that has this status."""
    got, body, _ = await answer
    assert got == status, body
    return body


@pytest.fixture
def flow(shop: Shop) -> str:
    return f"/flows/{shop.mine.ids['flow']}"


async def test_a_draft_from_save_to_publish(shop: Shop, flow: str) -> None:
    """Read, saved with faults, refused as long as it has them, published; then it is gone and the history longer."""
    draft = await done(shop.call("GET", f"{flow}/draft"))
    assert (draft["key"], draft["revision"]) == ("hello", 1)
    broken = {"document": FLOW.replace("next: over", "next: nowhere"), "revision": 1}
    saved = await done(shop.call("PUT", f"{flow}/draft", json=broken))
    assert (saved["revision"], saved["publishable"]) == (2, False)
    assert "nowhere" in saved["findings"][0]["text"]["it"]
    await done(shop.call("POST", f"{flow}/publish", json={}), 422)
    unreadable = {"document": "flow: [", "revision": 2}
    saved = await done(shop.call("PUT", f"{flow}/draft", json=unreadable))
    assert [one["code"] for one in saved["findings"]] == ["unreadable"]
    good = {"document": FLOW.replace("Hello!", "Good day!"), "revision": 3, "note": "politer"}
    assert (await done(shop.call("PUT", f"{flow}/draft", json=good)))["publishable"]
    await done(shop.call("POST", f"{flow}/publish", json={"revision": 3}), 409)
    published = await done(shop.call("POST", f"{flow}/publish", json={"revision": 4, "note": "politer"}), 201)
    assert (published["number"], published["changed"], published["job_id"]) == (2, True, None)
    await done(shop.call("GET", f"{flow}/draft"), 404)
    versions = await done(shop.call("GET", f"{flow}/versions"))
    assert [(one["number"], one["note"]) for one in versions["data"]] == [(2, "politer"), (1, "")]
    assert versions["data"][0]["by"].startswith("api:")


async def test_a_stale_save_tells_what_has_changed(shop: Shop, flow: str) -> None:
    one = {"document": FLOW.replace("Hello!", "One"), "revision": 1}
    await done(shop.call("PUT", f"{flow}/draft", json=one))
    two = {"document": FLOW.replace("Hello!", "Two"), "revision": 1}
    refused = await done(shop.call("PUT", f"{flow}/draft", json=two), 409)
    assert refused["errors"] == [{"where": "greet.send", "what": "greet, send: «One» → «Two»"}]
    await done(shop.call("DELETE", f"{flow}/draft"), 204)
    await done(shop.call("DELETE", f"{flow}/draft"), 204)
    await done(shop.call("PUT", f"{flow}/draft", json={**two, "revision": 0}))


async def test_a_flow_begins_as_a_draft(shop: Shop) -> None:
    fresh = FLOW.replace("flow: hello", "flow: fresh").replace("[hello]", "[fresh]")
    made = await done(shop.call("POST", "/flows/drafts", json={"document": fresh}), 201)
    path = f"/flows/{made['flow_id']}"
    shown = await done(shop.call("GET", path))
    assert (shown["number"], shown["version_id"]) == (0, None)
    await done(shop.call("POST", "/flows/drafts", json={"document": fresh}), 409)
    wrong = {"document": FLOW, "note": "of another flow"}
    await done(shop.call("POST", f"{path}/publish", json=wrong), 422)
    assert (await done(shop.call("POST", f"{path}/publish", json={}), 201))["number"] == 1
    await done(shop.call("POST", "/flows/drafts", json={"document": "steps: {}"}), 422)


async def test_differences_and_back(shop: Shop, flow: str) -> None:
    await done(shop.call("POST", f"{flow}/publish", json={"document": FLOW.replace("greet", "welcome")}), 201)
    found = await done(shop.call("GET", f"{flow}/differences?before=1&after=2"))
    assert found["renamed"] == {"greet": "welcome"}
    assert [one["kind"] for one in found["differences"]] == ["renamed"]
    assert found["differences"][0]["text"]["it"] == "il passo greet ora si chiama welcome"
    draft = await done(shop.call("GET", f"{flow}/differences"))
    assert (draft["before"], draft["after"]) == (2, 0)
    back = await done(shop.call("POST", f"{flow}/rollback", json={"number": 1}), 201)
    assert (back["number"], back["changed"]) == (3, True)
    found = await done(shop.call("GET", f"{flow}/differences?before=1&after=3"))
    assert found["differences"] == []
    await done(shop.call("GET", f"{flow}/differences?before=9"), 404)
    await done(shop.call("POST", f"{flow}/rollback", json={"number": 9}), 404)


async def test_tests_of_a_flow(shop: Shop, flow: str) -> None:
    body = {"document": FLOW.replace("Hello!", "Hi!"), "require_tests": True}
    refused = await done(shop.call("POST", f"{flow}/publish", json=body), 422)
    assert "no tests" in refused["detail"]
    kept = {"tests": [{"name": "a.test.yaml", "document": TEST}]}
    assert len((await done(shop.call("PUT", f"{flow}/tests", json=kept)))["tests"]) == 1
    refused = await done(shop.call("POST", f"{flow}/publish", json=body), 422)
    assert "a.test.yaml, line 4" in refused["detail"]
    await done(shop.call("PUT", f"{flow}/tests", json={"tests": []}))
    assert (await done(shop.call("GET", f"{flow}/tests")))["tests"] == []
    await done(shop.call("PUT", f"{flow}/tests", json=kept))
    body["document"] = FLOW.replace("next: over", "next: end").replace("  over:\n    end: done\n", "")
    assert (await done(shop.call("POST", f"{flow}/publish", json=body), 201))["tests"] == 1


async def test_people_inside(shop: Shop, flow: str) -> None:
    """Nobody is inside; a wish that cannot be meant is refused; moving gives a job."""
    assert (await done(shop.call("GET", f"{flow}/people")))["people"] == 0
    body = {"document": FLOW.replace("greet", "welcome"), "people": "move", "map": {"greet": "nowhere"}}
    await done(shop.call("POST", f"{flow}/publish", json=body), 422)
    body["map"] = {"greet": "welcome"}
    told = await done(shop.call("POST", f"{flow}/publish", json={**body, "dry_run": True}), 201)
    assert (told["version_id"], told["number"], told["people"]) == (None, 1, [])
    published = await done(shop.call("POST", f"{flow}/publish", json=body), 201)
    job = await done(shop.call("GET", f"/jobs/{published['job_id']}"))
    assert (job["kind"], job["state"]) == ("flow_move", "open")
    assert await shop.value("SELECT count(*) FROM audit_entry WHERE action = 'flow_published'") >= 1


async def test_replay_needs_the_right_to_read_and_is_audited(shop: Shop) -> None:
    path = f"/conversations/{shop.mine.ids['conversation']}/replay"
    replayed = await done(shop.call("POST", path, json={}))
    assert replayed["same"]
    assert await shop.value("SELECT count(*) FROM audit_entry WHERE action = 'conversation_replayed'") == 1
    await done(shop.call("POST", path, json={"number": 1, "document": FLOW}), 422)
    narrow = await shop.key_with("flows:read", "flows:write")
    await done(shop.call("POST", path, json={}, key=narrow), 403)
    other = f"/conversations/{shop.other.ids['conversation']}/replay"
    await done(shop.call("POST", other, json={}), 404)
    assert await shop.value("SELECT count(*) FROM audit_entry WHERE action = 'conversation_replayed'") == 1


async def test_documents_are_read_where_they_hold_nobody_up(
    any_database_url: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A flow of a thousand steps takes a third of a second to read: never on the thread that answers everybody."""
    build = yaml_builder.Builder.build
    reads: list[bool] = []

    def watched(builder: yaml_builder.Builder) -> Document:
        reads.append(threading.current_thread() is threading.main_thread())
        return build(builder)

    async with Shop(any_database_url, tmp_path) as shop:
        monkeypatch.setattr(yaml_builder.Builder, "build", watched)
        flow = f"/flows/{shop.mine.ids['flow']}"
        stale = {"document": FLOW.replace("Hello!", "Hi!"), "revision": 7}
        for method, path, body, expected in (
            ("POST", "/flows/check", {"document": FLOW}, 200),
            ("POST", "/flows", {"document": FLOW.replace("Hello!", "One")}, 201),
            ("GET", f"{flow}/differences", None, 200),
            ("PUT", f"{flow}/draft", stale, 409),
            ("POST", "/flows/drafts", {"document": stale["document"]}, 409),
            ("POST", f"{flow}/publish", {"document": FLOW.replace("Hello!", "Two"), "people": "move"}, 201),
            ("POST", f"{flow}/publish", {"document": FLOW, "dry_run": True}, 201),
            ("POST", f"{flow}/publish", {"document": FLOW.replace("flow: hello", "flow: other")}, 422),
            ("POST", f"{flow}/rollback", {"number": 1}, 201),
        ):
            reads.clear()
            status, answer, _ = await shop.call(method, path, json=body)
            assert status == expected, (path, answer)
            assert reads, path
            assert not any(reads), path
