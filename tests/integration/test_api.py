"""The API over HTTP, on both databases: what its resources do."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest

from api.routing import routes
from bot import secret_store
from tests.support.shop import FLOW, TOKEN, Shop


@pytest.fixture
async def shop(any_database_url: str, tmp_path: Path) -> AsyncIterator[Shop]:
    async with Shop(any_database_url, tmp_path) as shop:
        yield shop


async def done(answer: Any, status: int = 200) -> Any:
    """The body of a call that has this status."""
    got, body, _ = await answer
    assert got == status, body
    return body


async def test_every_list_and_thing_can_be_read(shop: Shop) -> None:
    """Every GET route answers 200 for the workspace's own ids, with what its model says."""
    ids = shop.mine.ids
    special = {
        "/contacts/{contact_id}/proof": f"?identity_id={ids['identity']}&purpose=marketing",
        "/messages": f"?conversation_id={ids['conversation']}",
    }
    for route in routes():
        if route.method != "GET":
            continue
        path = route.path.format(**{f"{kind}_id": number for kind, number in ids.items()})
        wanted = 404 if route.path.endswith("/status") else 200  # the campaign has not been started
        body = await done(shop.call("GET", path + special.get(route.path, "")), wanted)
        assert wanted == 404 or route.out is None or set(body) == set(route.out.model_fields)


async def test_contacts_from_made_to_erased(shop: Shop) -> None:
    """A contact is made, changed by patches, found, and erased by a job."""
    body = {
        "first_name": "Bruno",
        "email": "bruno@example.com",
        "fields": {"visits": 2, "city": "Roma"},
        "tags": ["vip"],
    }
    made = await done(shop.call("POST", "/contacts", json=body), 201)
    assert made["name"] == "Bruno"
    assert made["fields"] == {"visits": 2, "city": "Roma"}
    path = f"/contacts/{made['id']}"
    change = {
        "email": None,
        "fields": {"city": None},
        "increment": {"visits": 1},
        "add_tags": ["a"],
        "remove_tags": ["vip"],
    }
    changed = await done(shop.call("PATCH", path, json=change))
    assert (changed["email"], changed["fields"], changed["tags"]) == (None, {"visits": 3}, ["a"])
    assert await done(shop.call("GET", path)) == changed
    line = (await done(shop.call("GET", f"{path}/timeline")))["data"][0]
    assert (line["kind"], line["at"]) == ("created", shop.now)
    job = await done(shop.call("DELETE", path), 202)
    assert await done(shop.call("DELETE", path), 202) == job
    assert (await done(shop.call("GET", f"/jobs/{job['job_id']}")))["kind"] == "erasure"


async def test_contacts_by_pages_and_filter(shop: Shop) -> None:
    """Every page goes on where the last one ended, with and without a predicate; search is by parts."""
    for n in range(7):
        tags = ["even"] if n % 2 == 0 else []
        await done(shop.call("POST", "/contacts", json={"first_name": f"Person {n}", "tags": tags}), 201)

    async def everything(query: str) -> list[str]:
        names: list[str] = []
        after = ""
        while True:
            page = await done(shop.call("GET", f"/contacts?limit=3{query}{after}"))
            names += [one["first_name"] for one in page["data"]]
            if page["next"] is None:
                return names
            after = f"&after={page['next']}"

    assert await everything("") == ["Anna", *(f"Person {n}" for n in range(7))]
    assert await everything("&tag=even") == [f"Person {n}" for n in (0, 2, 4, 6)]
    assert await everything('&filter={"subject":"contact.first_name","op":"equals","value":"Person 3"}') == [
        "Person 3"
    ]
    assert await everything("&search=SON%204") == ["Person 4"]
    assert await everything("&search=%25") == []


async def test_the_proof_of_a_consent(shop: Shop) -> None:
    """The proof sheet has the wording, the person's words and an intact chain; a foreign identity has none."""
    ids = shop.mine.ids
    consents = (await done(shop.call("GET", f"/contacts/{ids['contact']}/consents")))["data"]
    assert [(one["purpose"], one["state"], one["mailable"]) for one in consents] == [
        ("marketing", "granted", True)
    ]
    query = f"?identity_id={ids['identity']}&purpose=marketing"
    proof = await done(shop.call("GET", f"/contacts/{ids['contact']}/proof{query}"))
    assert proof["intact"]
    assert proof["consent_id"] == ids["consent"]
    entry = proof["entries"][0]
    assert (entry["wording"], entry["evidence"]) == ("May I send you news?", {"text": "yes"})
    foreign = query.replace(ids["identity"], shop.other.ids["identity"])
    await done(shop.call("GET", f"/contacts/{ids['contact']}/proof{foreign}"), 404)


async def test_channels_never_show_a_secret(shop: Shop) -> None:
    """A channel is connected, paused and started; its token comes back nowhere."""
    body = {"kind": "telegram", "name": "second", "settings": {"token": "220201543:TEST-canary"}}
    made = await done(shop.call("POST", "/channels", json=body), 201)
    assert made["webhook_url"] == f"https://chat.example.com/webhooks/telegram/{made['id']}"
    assert made["mode"] == "webhook"
    paused = await done(shop.call("POST", f"/channels/{made['id']}/pause"))
    assert paused["state"] == "stopped"
    assert (await done(shop.call("POST", f"/channels/{made['id']}/start")))["state"] == "active"
    listed = await done(shop.call("GET", "/channels"))
    assert [one["name"] for one in listed["data"]] == ["bot", "second"]
    assert "canary" not in str((made, paused, listed))
    assert TOKEN not in str(listed)
    assert any(one.name == "second" for one in shop.live.channels.all())


async def test_flows_are_checked_and_published(shop: Shop) -> None:
    """Findings name line and remedy; publishing makes a version, the same text none; errors stop it."""
    findings = await done(shop.call("POST", "/flows/check", json={"document": FLOW}))
    assert findings["publishable"]
    new = FLOW.replace("Hello!", "Good day!")
    published = await done(shop.call("POST", "/flows", json={"document": new, "note": "politer"}), 201)
    assert (published["number"], published["changed"]) == (2, True)
    again = await done(shop.call("POST", "/flows", json={"document": new}), 201)
    assert (again["number"], again["changed"]) == (2, False)
    path = f"/flows/{published['flow_id']}/versions"
    assert [one["number"] for one in (await done(shop.call("GET", path)))["data"]] == [2, 1]
    text = await done(shop.call("GET", f"{path}/{published['version_id']}"))
    assert (text["document"], text["note"]) == (new, "politer")
    lost = FLOW.replace("next: over", "next: nowhere")
    assert not (await done(shop.call("POST", "/flows/check", json={"document": lost})))["publishable"]
    problem = await done(shop.call("POST", "/flows", json={"document": lost}), 422)
    assert "nowhere" in problem["detail"]


async def test_a_campaign_from_draft_to_cancelled(shop: Shop) -> None:
    """Draft, dry run, start, status, pause, resume, cancel: states as they are, conflicts named."""
    body = {"name": "Summer", "channel_id": shop.mine.ids["channel"], "content": {"en": "News for you!"}}
    made = await done(shop.call("POST", "/campaigns", json=body), 201)
    path = f"/campaigns/{made['id']}"
    assert (made["state"], made["run_id"]) == ("draft", None)
    changed = await done(shop.call("PUT", path, json={**body, "name": "Autumn"}))
    assert (changed["name"], changed["version"]) == ("Autumn", 1)
    preview = await done(shop.call("GET", f"{path}/preview"))
    assert (preview["contacts"], preview["consented"], preview["allowed"]) == (1, 1, 1)
    await done(shop.call("POST", f"{path}/resume"), 409)
    later = await done(shop.call("POST", f"{path}/start", json={"at": shop.now + 60_000}))
    assert (later["state"], later["scheduled_at"]) == ("scheduled", shop.now + 60_000)
    started = await done(shop.call("POST", f"{path}/start", json={}))
    assert started["state"] == "running"
    status = await done(shop.call("GET", f"{path}/status"))
    outcomes = sum(status[name] for name in ("pending", "sent", "failed", "skipped", "unknown"))
    assert (status["state"], status["total"]) == ("running", outcomes)
    assert (await done(shop.call("POST", f"{path}/pause")))["state"] == "paused"
    assert (await done(shop.call("POST", f"{path}/resume")))["state"] == "running"
    assert (await done(shop.call("POST", f"{path}/cancel")))["state"] == "cancelled"
    await done(shop.call("PUT", path, json=body), 409)
    listed = await done(shop.call("GET", "/campaigns?limit=1"))
    assert [one["name"] for one in listed["data"]] == ["Autumn"]
    rest = await done(shop.call("GET", f"/campaigns?limit=5&after={listed['next']}"))
    assert [one["name"] for one in rest["data"]] == ["Spring"]
    actions = [row[0] for row in await shop.rows("SELECT action FROM audit_entry ORDER BY id")]
    assert actions.count("campaign_started") == 2


async def test_posts(shop: Shop) -> None:
    """A post with a stored picture is queued now; a scheduled one is changed, then cancelled."""
    ids = shop.mine.ids
    picture = {"kind": "media", "media": "image", "source": {"media_id": ids["media"], "mime": "image/jpeg"}}
    made = await done(shop.call("POST", "/posts", json={"outlet_id": ids["outlet"], "content": picture}), 201)
    assert made["state"] == "queued"
    assert made["content"]["source"]["media_id"] == ids["media"]
    assert await shop.value("SELECT count(*) FROM outbox WHERE outlet_id <> 0") == 1
    changed = await done(shop.call("PATCH", f"/posts/{ids['post']}", json={"content": "Closed on Sunday"}))
    assert changed["content"]["text"] == "Closed on Sunday"
    assert (await done(shop.call("POST", f"/posts/{ids['post']}/cancel")))["state"] == "cancelled"
    await done(shop.call("PATCH", f"/posts/{ids['post']}", json={"content": "x"}), 409)
    await done(shop.call("POST", "/posts", json={"outlet_id": ids["outlet"], "content": "x" * 5_000}), 422)


async def test_a_service_message(shop: Shop) -> None:
    """A message enters the outbox as class service, in its conversation, under the key's name; a blocked person gets
    none."""
    ids = shop.mine.ids
    body = {"identity_id": ids["identity"], "content": "Your order is ready"}
    made = await done(shop.call("POST", "/messages", json=body), 202)
    assert (made["message_class"], made["status"]) == ("service", "queued")
    assert made["conversation_id"] == ids["conversation"]
    assert made["author"] == f"api:{shop.mine.key_id}"
    listed = await done(shop.call("GET", f"/messages?conversation_id={ids['conversation']}&limit=1"))
    assert [one["id"] for one in listed["data"]] == [made["id"]]
    older = await done(
        shop.call("GET", f"/messages?conversation_id={ids['conversation']}&after={listed['next']}")
    )
    assert [one["id"] for one in older["data"]] == [ids["message"]]
    for content in ("  ", {"kind": "text", "text": "x" * 5_000}, {"kind": "dance"}, {"kind": "text"}):
        await done(shop.call("POST", "/messages", json={**body, "content": content}), 422)
    await shop.do(lambda c: c.exec_driver_sql("UPDATE identity SET state = 'blocked'"))
    await done(shop.call("POST", "/messages", json=body), 409)


async def test_commands_to_a_conversation_are_events(shop: Shop) -> None:
    """Taking over is appended to the conversation's events; the row itself is not touched."""
    path = f"/conversations/{shop.mine.ids['conversation']}"
    await done(shop.call("POST", f"{path}/commands", json={"what": "take_over"}), 202)
    assert await shop.value("SELECT count(*) FROM intake WHERE state = 0") == 1
    assert (await done(shop.call("GET", path)))["status"] == "bot"
    wish = {"what": "start_flow", "flow": "hello", "variables": {"n": 1}}
    await done(shop.call("POST", f"{path}/commands", json=wish), 202)
    await done(shop.call("POST", f"{path}/commands", json={**wish, "flow": "nothing"}), 422)
    await done(shop.call("POST", f"{path}/commands", json={"what": "start_flow"}), 422)


async def test_segments(shop: Shop) -> None:
    """A predicate is saved, read in words, counted, and forgotten; a name is taken once."""
    segment = shop.mine.ids["segment"]
    shown = await done(shop.call("GET", f"/segments/{segment}"))
    assert shown["sentences"]["en"]
    assert await done(shop.call("GET", f"/segments/{segment}/count")) == {"count": 1}
    body = {"name": "Leads", "predicate": shown["predicate"]}
    await done(shop.call("POST", "/segments", json=body), 409)
    await done(shop.call("DELETE", f"/segments/{segment}"), 204)
    await done(shop.call("GET", f"/segments/{segment}"), 404)
    nobody: dict[str, Any] = {"predicate": {"not": {"all": []}}}
    assert await done(shop.call("POST", "/segments/count", json=nobody)) == {"count": 0}


async def test_parked_events(shop: Shop) -> None:
    """A parked event shows its kind and problem, not its content, and is opened again."""
    (event,) = (await done(shop.call("GET", "/parked")))["data"]
    assert (event["what"], event["problem"], event["attempts"]) == ("unrecognised gift", "odd", 5)
    body = {"event_ids": [event["id"]]}
    assert await done(shop.call("POST", "/parked/retry", json=body)) == {"retried": 1}
    await done(shop.call("POST", "/parked/retry", json=body), 404)
    assert await done(shop.call("POST", "/parked/retry", json={})) == {"retried": 0}


async def test_the_stop_button(shop: Shop) -> None:
    """Pressed, listed, let go; the installation's own is not for keys."""
    pressed = await done(shop.call("POST", "/stops", json={"scope": "workspace", "what": "everything"}), 201)
    assert (await done(shop.call("GET", "/stops")))["data"] == [pressed]
    assert (await done(shop.call("GET", "/stops", key=shop.other.key)))["data"] == []
    await done(shop.call("DELETE", "/stops?scope=workspace"), 204)
    await done(shop.call("DELETE", "/stops?scope=workspace"), 404)
    await done(shop.call("POST", "/stops", json={"scope": "installation", "what": "everything"}), 422)


async def test_media(shop: Shop) -> None:
    """A file is stored under a name of ours; the same bytes give the same id; nothing is 400, a page 415."""
    headers = {"Content-Type": "image/png"}
    path = "/media?filename=..%2F..%2Fetc%2Fpasswd"
    made = await done(shop.call("POST", path, data=b"\x89PNG bytes", headers=headers), 201)
    assert await done(shop.call("POST", path, data=b"\x89PNG bytes", headers=headers), 201) == made
    assert await shop.value("SELECT filename FROM media_file WHERE mime = 'image/png'") == "passwd"
    files = [one for one in (shop.folder / "media").rglob("*") if one.is_file()]
    assert len(files) == 1
    assert b"PNG" not in files[0].read_bytes()
    await done(shop.call("POST", "/media", data=b"", headers=headers), 400)
    await done(shop.call("POST", "/media", data=b"x", headers={"Content-Type": "nonsense"}), 415)


async def test_a_post_happens_once(shop: Shop) -> None:
    """The same request 30 times at once under one Idempotency-Key: one effect and 30 equal answers."""
    headers = {"Idempotency-Key": "order 17"}
    body = {"identity_id": shop.mine.ids["identity"], "content": "Your order is ready"}
    answers = await asyncio.gather(
        *(shop.call("POST", "/messages", json=body, headers=dict(headers)) for _ in range(30))
    )
    assert {status for status, *_ in answers} == {202}
    assert len({answer["id"] for _, answer, _ in answers}) == 1
    assert sum(response.headers.get("Idempotent-Replay") == "true" for *_, response in answers) == 29
    assert await shop.value("SELECT count(*) FROM message WHERE author LIKE 'api:%'") == 1
    assert "order is ready" not in str(await shop.rows("SELECT * FROM idempotent_request"))


async def test_what_an_idempotency_key_is_not(shop: Shop) -> None:
    """Another request under the key is refused; a refused request may come again; another API key has its own."""
    headers = {"Idempotency-Key": "k1"}
    body = {"first_name": "Bruno"}
    bad = {**body, "tags": [""]}
    await done(shop.call("POST", "/contacts", json=bad, headers=headers), 422)
    made = await done(shop.call("POST", "/contacts", json=body, headers=headers), 201)
    problem = await done(shop.call("POST", "/contacts", json={"first_name": "Carla"}, headers=headers), 422)
    assert problem["where"] == "Idempotency-Key"
    other = await done(shop.call("POST", "/contacts", json=body, headers=headers, key=shop.other.key), 201)
    assert other["id"] != made["id"]
    shop.now += 25 * 3_600_000
    late = await done(shop.call("POST", "/contacts", json=body, headers=headers), 201)
    assert late["id"] != made["id"]
    for odd in ("", "x" * 256):
        await done(shop.call("POST", "/contacts", json=body, headers={"Idempotency-Key": odd}), 422)
    assert await shop.value("SELECT count(*) FROM idempotent_request") == 1


async def test_the_description_is_public(shop: Shop) -> None:
    """Anybody may read how the API looks."""
    body = await done(shop.call("GET", "/openapi.json", key=None))
    assert body["openapi"] == "3.1.0"


async def test_what_flows_brought_about_is_listed_and_news_are_seen(shop: Shop) -> None:
    """Filters narrow, pages go on, nobody else's rows are there, and seen is noted once."""
    ids = shop.mine.ids
    [order] = (await done(shop.call("GET", f"/conversions?contact_id={ids['contact']}&name=order")))["data"]
    assert (order["id"], order["amount"], order["currency"]) == (ids["conversion"], 4990, "EUR")
    assert (order["contact_id"], order["flow_id"]) == (ids["contact"], ids["flow"])
    assert (await done(shop.call("GET", "/conversions?name=visit")))["data"] == []
    [score] = (await done(shop.call("GET", "/feedback?kind=nps&topic=visit")))["data"]
    assert (score["score"], score["comment"]) == (9, "Good")
    assert (await done(shop.call("GET", "/feedback?kind=csat")))["data"] == []
    [referral] = (await done(shop.call("GET", f"/referrals?referrer_id={ids['contact']}&program=summer")))[
        "data"
    ]
    assert referral["contact_id"] == ids["contact"]
    first = await done(shop.call("GET", "/subscriptions?limit=1"))
    rest = await done(shop.call("GET", f"/subscriptions?limit=1&after={first['next']}"))
    assert [one["topic"] for one in (*first["data"], *rest["data"])] == ["bags", "shoes"]
    assert rest["next"] is None
    for cursor in ("x", "1.zz", "1.ff"):
        status, _, _ = await shop.call("GET", f"/subscriptions?after={cursor}")
        assert status == 422 or status == 400
    [told] = (await done(shop.call("GET", "/notifications?unseen=true&team=sales")))["data"]
    assert (told["text"], told["seen_at"]) == ("An order", None)
    theirs = {"notification_ids": [shop.other.ids["notification"]]}
    await done(shop.call("POST", "/notifications/seen", json=theirs), 404)
    assert await done(shop.call("POST", "/notifications/seen", json={})) == {"seen": 1}
    assert (await done(shop.call("GET", "/notifications?unseen=true")))["data"] == []
    [seen] = (await done(shop.call("GET", "/notifications")))["data"]
    assert seen["seen_at"] == shop.now


async def test_secrets_are_listed_by_name_and_missed_by_the_check(shop: Shop) -> None:
    """The value is in no answer; a flow that names one that is not there is told so."""
    document = (
        "flow: orders\nlanguages: [it]\nstart: a\nsteps:\n  a:\n    http: https://shop.example.com/\n"
        "    headers: {Authorization: {secret: shop_key}}\n    error: end\n    next: end\n"
    )
    found = await done(shop.call("POST", "/flows/check", json={"document": document}))
    assert [one["code"] for one in found["findings"]] == ["unknown_secret"]
    assert found["publishable"]
    await shop.do(
        lambda c: secret_store.put(
            c,
            workspace_id=shop.mine.id,
            name="shop_key",
            value="test-secret-of-the-shop",
            by="command",
            sealer=shop.sealer,
            new_id=shop.runtime.new_id,
            now=shop.now,
        )
    )
    assert (await done(shop.call("POST", "/flows/check", json={"document": document})))["findings"] == []
    listed = await done(shop.call("GET", "/secrets"))
    assert [one["name"] for one in listed["data"]] == ["shop_key"]
    assert "test-secret" not in str(listed)
