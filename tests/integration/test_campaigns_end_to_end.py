"""From consent to campaign to report, and posts on a Telegram channel, over real sockets."""

from __future__ import annotations

import pytest
from sqlalchemy import Connection, text

from campaigns import drafts, posts, reports, runs
from campaigns.drafts import Draft
from domain.errors import NotFound
from tests.integration.test_main_job import tap_last, walk_lead_form, whatsapp_texts
from tests.support.town import BOT, BUSINESS, NUMBER, Town, until


async def run_campaign(town: Town, draft: Draft) -> reports.Progress:
    """Makes and starts a campaign, waits for its end, gives its report."""
    app = town.app

    def start(connection: Connection) -> int:
        campaign_id = drafts.create(
            connection,
            town.workspace_id,
            draft,
            new_id=app.runtime.new_id,
            now=app.clock(),
        )
        runs.start(connection, town.workspace_id, campaign_id, new_id=app.runtime.new_id, now=app.clock())
        return campaign_id

    campaign_id = await app.database.write(start)
    found: list[reports.Progress] = []

    async def finished() -> bool:
        progress = await app.database.read(
            lambda c: reports.progress(c, town.workspace_id, campaign_id, now=app.clock())
        )
        found[:] = [] if progress is None else [progress]
        return progress is not None and progress.state == "finished"

    await until(finished, "the campaign finished", lambda: f"{found}")
    return found[0]


async def test_a_campaign_reaches_those_who_agreed_and_nobody_else(any_town: Town) -> None:
    """One consented, one not: one message, one reason, sums that add up."""
    town = any_town
    channel = await town.telegram()
    await town.publish_lead()
    agreed = await walk_lead_form(town)
    other = await town.simulators.telegram_person(first_name="Bruno", language_code="it")
    await town.simulators.telegram_act(BOT, other, "say", text="ciao")
    await town.telegram_messages(other, 2)
    before = len(await town.telegram_messages(agreed, 9))
    progress = await run_campaign(
        town, Draft(name="Saldi", channel_id=channel, content={"it": "Ciao {{ contact.first_name }}, saldi!"})
    )
    assert (progress.sent, progress.total) == (1, progress.sent + progress.skipped)
    texts = await town.telegram_texts(agreed, before + 1)
    assert texts[before:] == ["Ciao Anna, saldi!"]
    assert len(await town.telegram_messages(other, 2)) == 2
    consent = await town.value("SELECT consent_id FROM message WHERE run_id <> 0")
    assert consent == await town.value("SELECT id FROM consent_entry WHERE action = 'confirmed'")


async def test_nothing_goes_out_after_stop(town: Town) -> None:
    """Who said STOP is skipped, with the reason."""
    channel = await town.telegram()
    await town.publish_lead()
    person = await walk_lead_form(town)
    await town.simulators.telegram_act(BOT, person, "say", text="STOP")
    count = len(await town.telegram_messages(person, 10))
    progress = await run_campaign(town, Draft(name="Saldi", channel_id=channel, content={"it": "Saldi!"}))
    assert progress.sent == 0
    assert len(await town.telegram_messages(person, count)) == count


async def test_whatsapp_campaign_by_template_with_statuses(any_town: Town) -> None:
    """A person without a phone number agrees, gets a template, and delivery and reading reach the report."""
    town = any_town
    channel = await town.whatsapp()
    await town.publish_lead()
    await town.simulators.whatsapp_knobs(bsuid_mode="bsuid", status_delay_ms=5)
    await town.simulators.whatsapp_template(
        BUSINESS,
        name="saldi",
        language="it",
        category="MARKETING",
        components=[{"type": "BODY", "text": "Ciao, ci sono i saldi!"}],
    )
    person = await town.simulators.whatsapp_person(bsuid="IT.13490000000000000002", name="Anna")
    for words, count in (("ciao", 2), ("Anna Prova", 3), ("anna@example.com", 4), ("+15550100778", 5)):
        await town.simulators.whatsapp_act(NUMBER, person, "say", text=words)
        await whatsapp_texts(town, person, count)
    for title, count in (("Prezzi", 6), ("Sì", 7), ("Sì, confermo", 8)):
        await town.simulators.whatsapp_act(NUMBER, person, "tap", title=title)
        await whatsapp_texts(town, person, count)
    await town.settle()
    template = {"kind": "template", "name": "saldi", "language": "it", "category": "marketing"}
    progress = await run_campaign(town, Draft(name="Saldi", channel_id=channel, content={"it": template}))
    assert progress.sent == 1

    async def delivered() -> bool:
        sql = "SELECT count(*) FROM message WHERE run_id <> 0 AND delivered_at IS NOT NULL"
        return bool(await town.value(sql) == 1)

    await until(delivered, "the delivered status")


async def test_the_next_owner_of_a_whatsapp_number_is_somebody_else(any_town: Town) -> None:
    """Anna agrees and gives up her number, Bruno gets it and writes: he sees nothing of her, and no campaign takes
    her consent for his or writes to her there."""
    town = any_town
    channel = await town.whatsapp()
    await town.publish_lead()
    await town.simulators.whatsapp_knobs(bsuid_mode="both", status_delay_ms=5)
    await town.simulators.whatsapp_template(
        BUSINESS,
        name="saldi",
        language="it",
        category="MARKETING",
        components=[{"type": "BODY", "text": "Ciao, ci sono i saldi!"}],
    )
    act = town.simulators.whatsapp_act
    anna = await town.simulators.whatsapp_person(phone="+15550100777", name="Anna")
    for words, count in (("ciao", 2), ("Anna Prova", 3), ("anna@example.com", 4), ("+15550100778", 5)):
        await act(NUMBER, anna, "say", text=words)
        await whatsapp_texts(town, anna, count)
    for title, count in (("Prezzi", 6), ("Sì", 7), ("Sì, confermo", 8)):
        await act(NUMBER, anna, "tap", title=title)
        await whatsapp_texts(town, anna, count)
    await act(NUMBER, anna, "leave")
    bruno = await town.simulators.whatsapp_person(phone="+15550100777", id="bruno", name="Bruno")
    await act(NUMBER, bruno, "say", text="ciao")
    await whatsapp_texts(town, bruno, 2)
    await act(NUMBER, bruno, "say", text="/mydata")
    told = await whatsapp_texts(town, bruno, 3)
    assert "Bruno" in str(told)
    assert "Anna" not in str(told)
    assert "anna@example.com" not in str(told)
    await town.settle()
    assert await town.rows(
        "SELECT c.first_name, c.email, i.kind, i.address, i.state FROM contact c "
        "JOIN identity i ON i.contact_id = c.id ORDER BY c.id"
    ) == [
        ("Anna", "anna@example.com", "wa_phone", "+15550100777", "gone"),
        ("Bruno", None, "wa_phone", "+15550100777", "reachable"),
    ]
    template = {"kind": "template", "name": "saldi", "language": "it", "category": "marketing"}
    progress = await run_campaign(town, Draft(name="Saldi", channel_id=channel, content={"it": template}))
    assert progress.total == 0  # though she has not taken it back
    assert await town.rows(
        "SELECT i.display_name FROM identity i JOIN consent_state s ON s.identity_id = i.id WHERE s.mailable = 1"
    ) == [("Anna",)]
    assert await town.value("SELECT count(*) FROM message WHERE run_id <> 0 AND sent_at IS NOT NULL") == 0
    assert "saldi" not in str(await whatsapp_texts(town, bruno, 3))


async def test_a_post_appears_in_the_channel(town: Town) -> None:
    """Making the bot an administrator connects the channel; a post with a button appears in it."""
    await town.telegram()
    chat = await town.simulators.telegram_chat("channel", "Novità di bottega")
    await town.simulators.telegram_admin(chat, BOT)

    async def connected() -> bool:
        return bool(await town.value("SELECT count(*) FROM outlet WHERE state = 'active'") == 1)

    await until(connected, "the outlet is connected")
    app = town.app
    outlet = await town.value("SELECT id FROM outlet")
    content = {
        "kind": "text",
        "text": "Aperti domenica!",
        "buttons": [{"id": "go", "title": "Scrivici", "url": "https://example.com/"}],
    }
    await app.database.write(
        lambda c: posts.create(
            c, town.workspace_id, outlet, content, new_id=app.runtime.new_id, now=app.clock()
        )
    )
    app.runtime.signals.notify("outbox")

    async def published() -> bool:
        return bool(await town.value("SELECT state FROM post") == "sent")

    await until(published, "the post is sent")
    [post] = [m for m in await town.simulators.telegram_messages(BOT, chat) if m.get("text")]
    assert post["text"] == "Aperti domenica!"
    assert post["reply_markup"]["inline_keyboard"][0][0]["url"] == "https://example.com/"
    with pytest.raises(NotFound):
        await app.database.write(
            lambda c: posts.create(
                c, town.workspace_id + 1, outlet, content, new_id=app.runtime.new_id, now=app.clock()
            )
        )


async def test_mydata_and_forget(any_town: Town) -> None:
    """A person sees what is held of them, gets it as a file, and is forgotten when they ask."""
    town = any_town
    await town.telegram()
    await town.publish_lead()
    person = await walk_lead_form(town)
    await town.simulators.telegram_act(BOT, person, "say", text="/mydata")
    messages = await town.telegram_messages(person, 12)
    assert any("anna@example.com" in (m.get("text") or "") for m in messages)
    assert any(m.get("document") for m in messages)
    await town.simulators.telegram_act(BOT, person, "say", text="/forget")
    await tap_last(town, person, len(messages) + 1, "Sì, cancella tutto")
    await town.telegram_messages(person, len(messages) + 2)
    await town.settle()
    await town.app.database.write(_make_jobs_due)

    async def forgotten() -> bool:
        return bool(await town.value("SELECT count(*) FROM contact") == 0)

    async def jobs() -> str:
        return str(
            await town.rows("SELECT kind, state, attempts, problem, cursor, due_at, lease_until FROM job")
        )

    try:
        await until(forgotten, "the contact is gone")
    except AssertionError:
        raise AssertionError(await jobs()) from None
    for table, column in (("message", "content"), ("turn", "payload"), ("consent_entry", "evidence")):
        rows = await town.rows(f"SELECT {column} FROM {table}")
        assert not any("anna@example.com" in str(row[0]) for row in rows), table
    assert await town.value("SELECT count(*) FROM conversation") == 0


def _make_jobs_due(connection: Connection) -> None:
    connection.execute(text("UPDATE job SET due_at = 0 WHERE state = 0"))
