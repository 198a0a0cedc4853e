"""The main job as its owner sees it: console and API beside the simulated platforms, over real sockets."""

from __future__ import annotations

import re
from collections.abc import AsyncIterator

import aiohttp
import pytest

from crm import accounts
from tests.integration.test_main_job import walk_lead_form
from tests.support.town import BOT, Town, until


@pytest.fixture
async def owner(town: Town) -> AsyncIterator[aiohttp.ClientSession]:
    """A signed-in browser."""
    app = town.app

    def invite(connection: object) -> str:
        user_id = accounts.add_user(
            connection,  # type: ignore[arg-type]
            workspace_id=town.workspace_id,
            email="owner@example.com",
            role="owner",
            new_id=app.runtime.new_id,
            now=app.clock(),
        )
        return accounts.make_sign_in_link(
            connection,  # type: ignore[arg-type]
            workspace_id=town.workspace_id,
            user_id=user_id,
            now=app.clock(),
        )

    token = await app.database.write(invite)
    async with aiohttp.ClientSession(
        base_url=f"http://127.0.0.1:{app.port}", cookie_jar=aiohttp.CookieJar(unsafe=True)
    ) as browser:
        assert "Overview" in await page(browser, f"/console/sign-in/{token}")
        yield browser


async def page(browser: aiohttp.ClientSession, path: str) -> str:
    async with browser.get(path, headers={"Accept-Language": "en"}) as response:
        html = await response.text()
        assert response.status == 200, html
        return html


async def send(browser: aiohttp.ClientSession, path: str, **form: str) -> tuple[str, str]:
    """Sends a form; gives the page that follows, and its address."""
    csrf = re.search(r'name="csrf" value="([^"]+)"', await page(browser, "/console/"))
    assert csrf is not None
    async with browser.post(path, data={"csrf": csrf[1], **form}) as response:
        html = await response.text()
        assert response.status == 200, html
        return html, response.url.path


async def shows(browser: aiohttp.ClientSession, path: str, *words: str) -> None:
    """Waits until a page holds all words."""
    last = ""

    async def there() -> bool:
        nonlocal last
        last = await page(browser, path)
        return all(word in last for word in words)

    await until(there, f"{path} shows {words}", lambda: last)


async def test_from_ciao_to_campaign_on_the_console(town: Town, owner: aiohttp.ClientSession) -> None:
    """A conversation, a contact and a proven consent appear; a button sends a campaign, which arrives."""
    await town.telegram()
    await town.publish_lead()
    person = await walk_lead_form(town)
    await town.settle()
    await shows(owner, "/console/contacts", "Anna", "marketing: confirmed")
    contact = re.search(r"/console/contacts/con_\w+", await page(owner, "/console/contacts"))
    assert contact is not None
    sheet = await page(owner, contact[0])
    assert "The chain of proofs is intact" in sheet
    thread = re.search(r"/console/conversations/cnv_\w+", await page(owner, "/console/conversations"))
    assert thread is not None
    assert "ciao" in await page(owner, thread[0])
    before = len(await town.telegram_messages(person, 1))

    await send(owner, f"{thread[0]}/messages", text="Ci vediamo domani!")
    assert (await town.telegram_texts(person, before + 1))[before] == "Ci vediamo domani!"
    await shows(owner, thread[0], "Ci vediamo domani!", "sent")

    channel = re.search(r"cha_\w+", await page(owner, "/console/campaigns"))
    assert channel is not None
    form = {
        "name": "Saldi",
        "channel": channel[0],
        "language": "it",
        "text": "Ciao {{ contact.first_name }}!",
    }
    draft, path = await send(owner, "/console/campaigns", **form)
    assert 'Would get the message now</th><td class="number">1</td>' in draft
    await send(owner, f"{path}/start")
    assert (await town.telegram_texts(person, before + 2))[before + 1] == "Ciao Anna!"
    await shows(owner, path, "finished", "1 of 1")


async def test_a_post_appears_in_the_channel(town: Town, owner: aiohttp.ClientSession) -> None:
    """The outlet is listed once the bot is its administrator; a post by the form is there."""
    await town.telegram()
    chat = await town.simulators.telegram_chat("channel", "Bottega news")
    await town.simulators.telegram_admin(chat, BOT)
    await shows(owner, "/console/posts", "Bottega news", "out_")
    outlet = re.search(r"out_\w+", await page(owner, "/console/posts"))
    assert outlet is not None
    await send(owner, "/console/posts", outlet=outlet[0], text="Domenica aperti")
    await shows(owner, "/console/posts", "Domenica aperti", "sent")
    posted = await town.simulators.telegram_messages(BOT, chat)
    assert [one["text"] for one in posted if one.get("text")] == ["Domenica aperti"]


async def test_taking_over_silences_the_bot(town: Town, owner: aiohttp.ClientSession) -> None:
    """By the API's key and by the console's button alike: in order with what the person writes."""
    await town.telegram()
    await town.publish_lead()
    person = await town.simulators.telegram_person(first_name="Anna", language_code="it")
    await town.simulators.telegram_act(BOT, person, "say", text="ciao")
    await town.telegram_messages(person, 2)
    await town.settle()
    thread = re.search(r"/console/conversations/(cnv_\w+)", await page(owner, "/console/conversations"))
    assert thread is not None
    await send(owner, f"{thread[0]}/commands", what="take_over")
    await shows(owner, thread[0], "a person answers")
    count = len(await town.telegram_messages(person, 2))
    await town.simulators.telegram_act(BOT, person, "say", text="Anna")
    await shows(owner, thread[0], ">Anna<")
    await town.settle()
    assert len(await town.telegram_messages(person, count)) == count

    _, key = await town.app.database.write(
        lambda c: accounts.add_key(
            c,
            workspace_id=town.workspace_id,
            name="desk",
            scopes=("conversations:write",),
            new_id=town.app.runtime.new_id,
            now=town.app.clock(),
        )
    )
    async with owner.post(
        f"/api/v1/conversations/{thread[1]}/commands",
        json={"what": "hand_back"},
        headers={"Authorization": f"Bearer {key}"},
    ) as response:
        assert response.status == 202, await response.text()
    await shows(owner, thread[0], "the bot answers")
