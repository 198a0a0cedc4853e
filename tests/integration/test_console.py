"""The console over HTTP: getting in, roles, forms, and that what people wrote stays text."""

from __future__ import annotations

import re
from collections.abc import AsyncIterator
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import aiohttp
import pytest
from aiohttp.test_utils import TestServer
from sqlalchemy import text
from yarl import URL

import campaigns
from campaigns import brakes
from console.routing import ROLES, pages
from console.texts import LANGUAGES, TEXTS, preferred
from crm import outcomes
from domain.errors import SendFailure
from tests.support.shop import HOSTILE, Shop

FORM = {"Content-Type": "application/x-www-form-urlencoded"}


@pytest.fixture
async def shop(sqlite_url: str, tmp_path: Path) -> AsyncIterator[Shop]:
    async with Shop(sqlite_url, tmp_path) as shop:
        yield shop


@pytest.fixture
async def owner(shop: Shop) -> AsyncIterator[aiohttp.ClientSession]:
    browser = await shop.sign_in("owner")
    yield browser
    await browser.close()


def paths(shop: Shop, method: str = "GET") -> list[str]:
    ids = {f"{kind}_id": public for kind, public in shop.mine.ids.items()}
    return [f"/console{page.path.format(**ids)}" for page in pages() if page.method == method]


class Page(HTMLParser):
    """What a browser would make of a page: elements with attributes, and the text."""

    def __init__(self, html: str) -> None:
        super().__init__()
        self.elements: list[tuple[str, dict[str, str | None]]] = []
        self.text = ""
        self.feed(html)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.elements.append((tag, dict(attrs)))

    def handle_data(self, data: str) -> None:
        self.text += data

    def all(self, tag: str) -> list[dict[str, str | None]]:
        return [attributes for name, attributes in self.elements if name == tag]

    @property
    def csrf(self) -> str:
        return next(str(one["value"]) for one in self.all("input") if one.get("name") == "csrf")


async def load(browser: aiohttp.ClientSession, path: str, *, status: int = 200, **options: Any) -> Page:
    async with browser.get(path, **options) as response:
        html = await response.text()
        assert response.status == status, html
        return Page(html)


async def send(
    browser: aiohttp.ClientSession,
    path: str,
    form: dict[str, str],
    *,
    status: int = 200,
    at: str = "/console/",
) -> Page:
    csrf = (await load(browser, at)).csrf
    async with browser.post(path, data={"csrf": csrf, **form}) as response:
        html = await response.text()
        assert response.status == status, html
        return Page(html)


# --- getting in


async def test_the_way_in(shop: Shop) -> None:
    """Without a session every page leads to the sign-in page, which says how; forms do, too."""
    for path in ("/", *paths(shop)):
        async with shop.client.get(path) as response:
            assert str(response.url).endswith("/console/sign-in"), path
            assert "passaparola user add" in await response.text()
    for path in paths(shop, "POST"):
        async with shop.client.post(path, data={}, allow_redirects=False) as response:
            assert response.headers["Location"] == "/console/sign-in"


async def test_a_link_works_once(shop: Shop) -> None:
    """The second time, an invented one, a late one: refused, without a cookie."""
    browser = await shop.sign_in()
    await browser.close()
    user = await shop.value("SELECT id FROM user_account")
    used, late = await shop.link(user), await shop.link(user)
    async with shop.client.get(f"/console/sign-in/{used}", headers={"Sec-Purpose": "prefetch"}) as response:
        assert response.status == 204
        assert not response.cookies
    async with shop.client.get(f"/console/sign-in/{used}", allow_redirects=False) as response:
        assert response.status == 303
        cookie = response.headers["Set-Cookie"]
        assert "HttpOnly" in cookie
        assert "SameSite=Lax" in cookie
    shop.client.cookie_jar.clear()
    shop.now += 25 * 3_600_000
    for token in (used, late, "x" * 43, "x" * 5_000, "%00"):
        async with shop.client.get(f"/console/sign-in/{token}") as response:
            assert response.status == 403
            assert "Set-Cookie" not in response.headers
    assert used not in str(await shop.dump())


async def test_over_https_the_cookie_is_locked_to_the_host(shop: Shop) -> None:
    """`__Host-`, Secure, whole path: a neighbour's subdomain cannot plant it."""
    await (await shop.sign_in()).close()
    token = await shop.link(await shop.value("SELECT id FROM user_account"))
    async with TestServer(shop.application(secure=True)) as server:
        address = server.make_url(f"/console/sign-in/{token}")
        async with shop.client.get(address, allow_redirects=False) as response:
            cookie = response.headers["Set-Cookie"]
    assert cookie.startswith("__Host-passaparola=")
    assert "Secure" in cookie
    assert "Path=/" in cookie
    assert "Domain" not in cookie
    assert response.headers["Strict-Transport-Security"]


async def test_until_there_is_a_team_member_it_is_for_this_machine(shop: Shop) -> None:
    """Through a proxy nobody gets in before there is somebody; afterwards everybody may sign in."""
    proxied = {"X-Forwarded-For": "192.0.2.7"}
    page = await load(shop.client, "/console/sign-in", status=403, headers=proxied)
    assert "this machine" in page.text
    await load(shop.client, "/console/sign-in")
    await (await shop.sign_in()).close()
    await load(shop.client, "/console/sign-in", headers=proxied)


async def test_a_session_ends(shop: Shop, owner: aiohttp.ClientSession) -> None:
    """By signing out, by idleness, by age, with the member and with the workspace."""

    async def inside(browser: aiohttp.ClientSession) -> bool:
        async with browser.get("/console/contacts", allow_redirects=False) as response:
            return response.status == 200

    assert await inside(owner)
    await send(owner, "/console/sign-out", {})
    assert not await inside(owner)
    idle = await shop.sign_in()
    shop.now += 11 * 3_600_000
    assert await inside(idle)
    shop.now += 11 * 3_600_000
    assert await inside(idle)  # it was used: the twelve hours began anew
    shop.now += 13 * 3_600_000
    assert not await inside(idle)
    old = await shop.sign_in()
    for _ in range(16):
        shop.now += 11 * 3_600_000
        await inside(old)
    assert not await inside(old)
    for change in ("UPDATE user_account SET active = 0", "UPDATE workspace SET state = 'deleting'"):
        other = await shop.sign_in("admin")
        assert await inside(other)
        await shop.do(lambda c, change=change: c.execute(text(change)))  # type: ignore[misc]
        assert not await inside(other)
        await other.close()
    await idle.close()
    await old.close()


# --- what a page is


async def test_every_page_is_a_sound_page(shop: Shop, owner: aiohttp.ClientSession) -> None:
    """Headers, language, one h1, labels, unique ids, no inline script or style, in both languages."""
    for language in LANGUAGES:
        for path in [*paths(shop), "/console/nothing"]:
            async with owner.get(path, headers={"Accept-Language": f"{language}-XX,fr;q=0.5"}) as response:
                html = await response.text()
            assert response.status == (404 if path.endswith("nothing") else 200), html
            assert response.headers["Content-Security-Policy"].startswith("default-src 'self';")
            assert "unsafe" not in response.headers["Content-Security-Policy"]
            assert response.headers["Cache-Control"] == "no-store"
            assert response.headers["X-Content-Type-Options"] == "nosniff"
            page = Page(html)
            assert page.all("html")[0]["lang"] == language
            assert len(page.all("h1")) == 1
            _check_page(page)


def _check_page(page: Page) -> None:
    names = [attributes["id"] for _, attributes in page.elements if attributes.get("id")]
    assert len(names) == len(set(names))
    labelled = {one.get("for") for one in page.all("label")}
    fields = page.all("textarea") + page.all("select")
    fields += [one for one in page.all("input") if one.get("type") != "hidden"]
    assert {one.get("id") for one in fields} <= labelled
    for tag, attributes in page.elements:
        assert not [name for name in attributes if name.startswith("on") or name == "style"], tag
        for name in ("href", "src", "action"):
            target = attributes.get(name)
            assert target is None or re.match(r"/console/|\?|#", target), target
    assert all(one.get("src", "").startswith("/console/static/") for one in page.all("script"))  # type: ignore[union-attr]
    assert not page.all("style")
    for form in page.all("form"):
        assert form["method"] in ("get", "post")


async def test_files_of_the_console(shop: Shop) -> None:
    """Known names only, asked for again by their hash."""
    for name, kind in (
        ("console.css", "text/css"),
        ("live.js", "text/javascript"),
        ("icon.svg", "image/svg+xml"),
    ):
        async with shop.client.get(f"/console/static/{name}") as response:
            assert response.content_type == kind
            tag = response.headers["ETag"]
        async with shop.client.get(f"/console/static/{name}", headers={"If-None-Match": tag}) as response:
            assert response.status == 304
    for name in ("..%2fapp.py", "../app.py", "%2e%2e/app.py", "console.css%00", "__init__.py", ""):
        async with shop.client.get(f"/console/static/{name}") as response:
            assert response.status in (403, 404)


async def test_language_by_choice(shop: Shop, owner: aiohttp.ClientSession) -> None:
    """A link chooses the language; it stays chosen."""
    assert (await load(owner, "/console/?language=it")).all("html")[0]["lang"] == "it"
    assert "Contatti" in (await load(owner, "/console/contacts", headers={"Accept-Language": "en"})).text
    assert (await load(owner, "/console/?language=<script>")).all("html")[0]["lang"] == "it"


def test_texts_are_in_both_languages() -> None:
    """Every text, with the same values; and every state that can be shown has one."""
    for key, (italian, english) in TEXTS.items():
        assert italian, key
        assert english, key
        assert sorted(re.findall(r"\{\w+\}", italian)) == sorted(re.findall(r"\{\w+\}", english)), key
    assert preferred("de,it;q=0.5,en;q=0.3") == "it"
    assert preferred("") == preferred("fr") == preferred("," * 10_000) == "en"


def test_every_text_of_the_templates_is_there() -> None:
    """No template names a text that does not exist."""
    folder = Path(__file__).resolve().parents[2] / "console/templates"
    for template in folder.rglob("*.html"):
        for key in re.findall(r"\bt\('([a-z_]+)'[,)]", template.read_text()):
            assert key in TEXTS, (template.name, key)


def test_why_a_campaign_paused_is_said_in_words() -> None:
    """No reason that a run pauses for by itself is shown as its key (`stopped_workspace`)."""
    rooms = Path(campaigns.__file__).parent
    own = set(re.findall(r'return "([a-z_]+)"', (rooms / "brakes.py").read_text()))
    own |= set(re.findall(r'"(channel_stopped|told_to_wait|restored)"', (rooms / "runs.py").read_text()))
    own |= {reason.value for reason in brakes.AT_ONCE}
    own |= {f"stopped_{scope}" for scope in ("installation", "workspace", "channel", "campaign")}
    assert len(own) == 14
    for reason in own:
        assert f"pause_{reason}" in TEXTS, reason


@pytest.mark.parametrize("reason", SendFailure)
def test_why_a_message_did_not_arrive_is_said_in_words(reason: SendFailure) -> None:
    """What a campaign's page counts under "failed" and "outcome unknown" has a sentence ("unknown: unknown")."""
    assert f"reason_{reason}" in TEXTS


async def test_proof_and_timeline_are_said_in_words(shop: Shop, owner: aiohttp.ClientSession) -> None:
    """The contact's page names what it shows, in the reader's language, and leaves out what is empty."""
    proof = "json_object('words', 'Sì', 'event', 'upd:7', 'external_id', '')"
    told = "json_object('purpose', 'marketing', 'action', 'confirmed')"
    for statement in (
        f"UPDATE consent_entry SET evidence = {proof}",
        f"UPDATE timeline_entry SET kind = 'consent', data = {told}",
    ):
        await shop.do(lambda c, one=statement: c.execute(text(one)))  # type: ignore[misc]
    contact = f"/console/contacts/{shop.mine.ids['contact']}"
    page = (await load(owner, f"{contact}?language=it")).text
    assert "parole: Sì" in page
    assert "evento: upd:7" in page
    assert "scopo: marketing" in page
    assert "azione: confermato" in page
    assert "external" not in page
    assert "action: confirmed" in (await load(owner, f"{contact}?language=en")).text


# --- who may what


@pytest.mark.parametrize("role", ROLES)
async def test_roles(shop: Shop, role: str) -> None:
    """A role's forms work, the others are refused and not shown."""
    browser = await shop.sign_in(role)
    csrf = (await load(browser, "/console/")).csrf
    for page in pages():
        if page.method != "POST":
            continue
        path = f"/console{page.path.format(**{f'{kind}_id': one for kind, one in shop.mine.ids.items()})}"
        before = await shop.dump()
        async with browser.post(path, data={"csrf": csrf}, allow_redirects=False) as response:
            if page.needs in ROLES[role]:
                assert response.status in (303, 404, 409, 422), (path, response.status)
            else:
                assert response.status == 403, path
                assert await shop.dump() == before
    shown = await load(browser, "/console/campaigns")
    assert bool(shown.all("textarea")) == ("send" in ROLES[role])
    await browser.close()


async def test_forms_from_elsewhere(shop: Shop, owner: aiohttp.ClientSession) -> None:
    """No token, another's token, another site's form, another type: refused, and nothing has changed."""
    csrf = (await load(owner, "/console/")).csrf
    stranger = await shop.sign_in("admin")
    foreign = (await load(stranger, "/console/")).csrf
    before = await shop.dump()
    form = {"what": "everything"}
    for data, headers in (
        (form, {}),
        ({**form, "csrf": ""}, {}),
        ({**form, "csrf": foreign}, {}),
        ({**form, "csrf": csrf + "x"}, {}),
        ({**form, "csrf": csrf}, {"Sec-Fetch-Site": "cross-site"}),
        ({**form, "csrf": csrf}, {"Sec-Fetch-Site": "same-site"}),
        ({**form, "csrf": csrf}, {"Origin": "https://evil.example"}),
        ({**form, "csrf": csrf}, {"Origin": "null"}),
    ):
        async with owner.post("/console/stop", data=data, headers=headers) as response:
            assert response.status == 403, (data, headers)
    async with owner.post("/console/stop", json={**form, "csrf": csrf}) as response:
        assert response.status == 422
    async with owner.get("/console/stop", params={**form, "csrf": csrf}) as response:
        assert response.status == 405
    async with owner.post("/console/stop", data={**form, "csrf": csrf, "x": "y" * 300_000}) as response:
        assert response.status == 413
    assert await shop.dump() == before
    async with owner.post(
        "/console/stop", data={**form, "csrf": csrf}, headers={"Origin": shop.origin}
    ) as response:
        assert response.status == 200
    await stranger.close()


async def test_another_workspaces_ids(shop: Shop, owner: aiohttp.ClientSession) -> None:
    """404 for every page and form with an id of the other workspace, and nothing of it is shown anywhere."""
    csrf = (await load(owner, "/console/")).csrf
    before = await shop.dump()
    ids = {f"{kind}_id": public for kind, public in shop.other.ids.items()}
    for page in pages():
        path = f"/console{page.path.format(**ids)}"
        form = {"csrf": csrf, "text": "x", "what": "take_over", "add": "x"}
        if page.kinds:
            answer = owner.get(path) if page.method == "GET" else owner.post(path, data=form)
            async with answer as response:
                assert response.status == 404, path
                assert "Anna" not in await response.text()
        elif page.method == "GET":
            html = (await load(owner, path)).elements
            assert not [public for public in shop.other.ids.values() if public in str(html)], path
    for path, form in (
        ("/console/campaigns", {"name": "x", "channel": ids["channel_id"], "language": "it", "text": "x"}),
        ("/console/posts", {"outlet": ids["outlet_id"], "text": "x"}),
        ("/console/parked/retry", {"event": ids["event_id"]}),
    ):
        async with owner.post(path, data={"csrf": csrf, **form}) as response:
            assert response.status in (404, 422), path
    for table in ("campaign", "post", "intake", "outbox", "stop", "contact_tag", "conversation"):
        assert (await shop.dump())[table] == before[table]


# --- what people wrote


async def test_hostile_names_stay_text(shop: Shop, owner: aiohttp.ClientSession) -> None:
    """Every text that somebody outside can choose is shown as it is, on every page, and never becomes an element."""
    for statement in (
        "UPDATE workspace SET name = :x",
        "UPDATE channel SET name = :x || id, state = 'stopped', state_reason = :x",
        "UPDATE contact SET name = :x, first_name = :x, email = :x, phone = :x, language = 'x', timezone = :x",
        "UPDATE contact SET fields = json_object(:x, :x)",
        "UPDATE contact_tag SET tag = :x",
        "UPDATE identity SET username = :x, display_name = :x",
        "UPDATE timeline_entry SET kind = :x, data = json_object(:x, :x)",
        "UPDATE consent_entry SET wording = :x, wording_version = :x, evidence = json_object(:x, :x)",
        "UPDATE consent_state SET purpose = :x",
        "UPDATE message SET content = json_object('kind', 'text', 'text', :x), reason = :x, author = :x",
        "UPDATE campaign SET name = :x, state_reason = :x",
        "UPDATE outlet SET title = :x",
        "UPDATE post SET content = json_object('kind', 'text', 'text', :x), reason = :x",
        "UPDATE intake SET problem = :x",
        "UPDATE conversation SET assignee = :x",
        "UPDATE user_account SET email = :x || id",
    ):
        await shop.do(lambda c, one=statement: c.execute(text(one), {"x": HOSTILE}))  # type: ignore[misc]
    await shop.live.reload()
    seen = 0
    for path in [*paths(shop), f"/console/contacts?search={HOSTILE}", f"/console/x{HOSTILE}"]:
        async with owner.get(path) as response:
            page = Page(await response.text())
        assert not page.all("img"), path
        assert len(page.all("script")) == 1, path
        assert "49" not in page.text
        _check_page(page)
        seen += HOSTILE in page.text
    assert seen >= len(paths(shop))


async def test_hostile_forms_stay_text(shop: Shop, owner: aiohttp.ClientSession) -> None:
    """A refused form shows what was typed, as text."""
    channel = shop.mine.ids["channel"]
    form = {
        "name": HOSTILE,
        "channel": channel,
        "language": "it",
        "text": "{{ nothing.here( }}",
        "tag": HOSTILE,
    }
    page = await send(owner, "/console/campaigns", form, status=422)
    assert next(one["value"] for one in page.all("input") if one.get("id") == "name") == HOSTILE
    assert not page.all("img")
    conversation = f"/console/conversations/{shop.mine.ids['conversation']}"
    page = await send(owner, f"{conversation}/messages", {"text": HOSTILE * 80}, status=422)
    assert HOSTILE in page.text
    assert not page.all("img")


async def test_no_open_redirect(shop: Shop, owner: aiohttp.ClientSession) -> None:
    """Nothing in a request chooses where a redirect goes."""
    for path in (
        "//evil.example",
        "/console//evil.example",
        "/console/sign-in?next=//evil.example",
        "/\\evil.example",
    ):
        address = URL(shop.origin + path, encoded=True)
        async with owner.get(address, allow_redirects=False) as response:
            assert "evil" not in response.headers.get("Location", "")


# --- what it is for


async def test_a_day_at_the_console(shop: Shop, owner: aiohttp.ClientSession) -> None:
    """Tag a contact, answer, take over, draft and send a campaign, publish a post, retry, stop and go on."""
    ids = shop.mine.ids
    contact, thread = f"/console/contacts/{ids['contact']}", f"/console/conversations/{ids['conversation']}"
    assert "regular" in (await send(owner, f"{contact}/tags", {"add": "regular"})).text
    assert "regular" not in (await send(owner, f"{contact}/tags", {"remove": "regular"})).text
    assert "chain of proofs is intact" in (await load(owner, contact)).text
    assert "We are open" in (await send(owner, f"{thread}/messages", {"text": "We are open"})).text
    await send(owner, f"{thread}/messages", {"text": "  "}, status=422)
    await send(owner, f"{thread}/commands", {"what": "take_over"})
    assert await shop.value("SELECT count(*) FROM intake WHERE state = 0") == 1
    form = {
        "name": "Winter",
        "channel": ids["channel"],
        "language": "en",
        "text": "Hi {{ contact.first_name }}!",
    }
    page = await send(owner, "/console/campaigns", form)
    campaign = next(str(one["action"]) for one in page.all("form") if str(one["action"]).endswith("/start"))
    assert "Would get the message now" in page.text
    page = await send(owner, campaign, {})
    assert "The campaign has started" in page.text
    assert any(str(one["action"]).endswith("/pause") for one in page.all("form"))
    assert "paused" in (await send(owner, campaign.replace("/start", "/pause"), {})).text
    assert "cancelled" in (await send(owner, campaign.replace("/start", "/cancel"), {})).text
    page = await send(owner, campaign.replace("/start", "/resume"), {}, status=422)
    assert "cancelled" in page.text
    assert "Sale!" in (await send(owner, "/console/posts", {"outlet": ids["outlet"], "text": "Sale!"})).text
    later = {"outlet": ids["outlet"], "text": "Later", "at": "2026-12-24T18:30"}
    assert "24 Dec 2026 18:30" in (await send(owner, "/console/posts", later)).text
    await send(owner, "/console/posts", {**later, "at": "tomorrow"}, status=422)
    assert "Nothing is parked" in (await send(owner, "/console/parked/retry", {})).text
    assert "Stopped (everything)" in (await send(owner, "/console/stop", {"what": "everything"})).text
    assert "stop button is pressed" in (await load(owner, "/console/")).text
    await send(owner, "/console/stop/lift", {})
    await send(owner, f"/console/channels/{ids['channel']}/pause", {})
    assert "Channel stopped: bot" in (await load(owner, "/console/")).text
    actions = {row[0] for row in await shop.rows("SELECT action FROM audit_entry")}
    assert {"signed_in", "contact_changed", "service_message", "campaign_started", "stop_pressed"} <= actions


async def test_what_changes_is_marked_for_the_script(shop: Shop, owner: aiohttp.ClientSession) -> None:
    """Lists, threads and a running campaign refresh; forms in use are never replaced."""
    for path in (
        "/console/",
        "/console/contacts",
        "/console/conversations",
        "/console/campaigns",
        "/console/parked",
    ):
        page = await load(owner, path)
        live = [one for _, one in page.elements if "data-live" in one]
        assert live, path
        assert all(one.get("id") for one in live)


async def test_news_for_the_team_stand_on_the_overview_until_they_are_seen(
    shop: Shop, owner: aiohttp.ClientSession
) -> None:
    """Up to the newest one that was on the page: what came in between stays."""
    first = await load(owner, "/console/")
    assert "An order" in first.text
    up_to = next(str(one["value"]) for one in first.all("input") if one.get("name") == "up_to")
    await shop.do(
        lambda c: outcomes.write_notifications(
            c,
            [
                {
                    "id": shop.maker.next(),
                    "workspace_id": shop.mine.id,
                    "kind": "failed",
                    "team": "",
                    "conversation_id": 0,
                    "contact_id": 0,
                    "text": "step a: in between",
                    "at": shop.now,
                }
            ],
        )
    )
    after = await send(owner, "/console/news/seen", {"up_to": up_to})
    assert "An order" not in after.text
    assert "step a: in between" in after.text
    await send(owner, "/console/news/seen", {"up_to": "ntf_x"}, status=422)
    other = "SELECT count(*) FROM notification WHERE workspace_id = :w AND seen_at IS NULL"
    assert await shop.value(other, w=shop.other.id) == 1
