"""Feedback and referrals over the simulated networks: a second person comes by the link of the first."""

from __future__ import annotations

from typing import Any
from urllib.parse import parse_qs, urlsplit

from tests.support.town import BOT, NUMBER, Town, until

FLOW = """
flow: friends
triggers: [{keyword: [ciao], interrupts: true}, {deep_link: "ref-summer-*"}]
start: invite
steps:
  invite: {referral: summer, new_only: true, exits: {invited: hello, none: opinion}}
  hello: {send: Ti manda un amico., next: opinion}
  opinion:
    feedback: stars
    text: Quante stelle?
    follow_up: Perché?
    follow_up_for: [bad]
    next: link
  link: {send: "{{ session.referral_link }}", next: end}
"""


async def introduced(town: Town, channel_id: int) -> None:
    """Nobody has told the channel's public name: the platform is asked, because a flow makes links."""

    async def known() -> bool:
        channel = town.app.live.channels.get(channel_id)
        return channel is not None and bool(channel.view.link)

    await until(known, "the channel's public name is known")


async def check_rows(town: Town) -> None:
    await town.settle()
    rows = await town.rows("SELECT kind, score, comment FROM feedback ORDER BY id")
    assert [tuple(row) for row in rows] == [("stars", 5, ""), ("stars", 2, "Troppa attesa")]
    [referral] = await town.rows("SELECT program, referrer_id, contact_id FROM referral")
    people = {row.id: row.fields for row in await town.rows("SELECT id, fields FROM contact")}
    assert '"invited_summer":1' in people[referral.referrer_id].replace(" ", "")
    assert "referred_summer" in people[referral.contact_id]


async def test_a_friend_comes_by_a_telegram_link(any_town: Town) -> None:
    town = any_town
    channel_id = await town.telegram()
    await town.publish(FLOW, "friends")
    await introduced(town, channel_id)
    anna = await town.simulators.telegram_person(first_name="Anna", language_code="it")
    bruno = await town.simulators.telegram_person(first_name="Bruno", language_code="it")
    act = town.simulators.telegram_act
    await act(BOT, anna, "start")
    await act(BOT, anna, "say", text="ciao")
    question = (await town.telegram_messages(anna, 1))[-1]
    data = question["reply_markup"]["inline_keyboard"][-1][-1]["callback_data"]
    await act(BOT, anna, "tap", message_id=question["message_id"], data=data)
    link = (await town.telegram_messages(anna, 2))[-1]["text"]
    assert link.startswith("https://t.me/bottega_bot?start=")
    [payload] = parse_qs(urlsplit(link).query)["start"]
    await act(BOT, bruno, "start", payload=payload)
    assert (await town.telegram_messages(bruno, 2))[0]["text"] == "Ti manda un amico."
    await act(BOT, bruno, "say", text="2")
    await town.telegram_messages(bruno, 3)
    await act(BOT, bruno, "say", text="Troppa attesa")
    await town.telegram_messages(bruno, 4)
    await check_rows(town)


async def test_a_friend_comes_by_a_whatsapp_link(any_town: Town) -> None:
    """The link's words stand in the friend's own first message."""
    town = any_town
    channel_id = await town.whatsapp()
    await town.publish(FLOW, "friends")
    await introduced(town, channel_id)
    act = town.simulators.whatsapp_act
    anna = await town.simulators.whatsapp_person(phone="15550100001", name="Anna")
    bruno = await town.simulators.whatsapp_person(phone="15550100002", name="Bruno")

    async def texts(person: str, count: int) -> list[Any]:
        found: list[Any] = []

        async def enough() -> bool:
            messages = await town.simulators.whatsapp_messages(NUMBER, person)
            found[:] = [m for m in messages if m.get("direction") != "in"]
            return len(found) >= count

        await until(enough, f"{count} messages", lambda: str(found))
        return found

    await act(NUMBER, anna, "say", text="ciao")
    await texts(anna, 1)
    await act(NUMBER, anna, "say", text="5")
    link = str((await texts(anna, 2))[-1])
    at = link.index("https://wa.me/")
    [words] = parse_qs(urlsplit(link[at:].split("'")[0].split('"')[0]).query)["text"]
    assert words.startswith("👋 (ref:ref-summer-")
    await act(NUMBER, bruno, "say", text=words)
    await texts(bruno, 2)
    await act(NUMBER, bruno, "say", text="⭐⭐")
    await texts(bruno, 3)
    await act(NUMBER, bruno, "say", text="Troppa attesa")
    await texts(bruno, 4)
    await check_rows(town)
