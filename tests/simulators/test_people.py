"""Scripted people walk a bot's form, one or many, and what they waited for is measured."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator

import pytest
from aiohttp import web

from simulators.control import SimulatorError
from tests.simulators.telegram_shop import TOKEN, Answer, Json, Shop, open_shop

FORM: list[Json] = [
    {"do": "start", "payload": "promo"},
    {"wait_for": "e-mail", "do": "say", "text": "anna{n}@example.com"},
    {"wait_for": {"button": "Prices"}, "do": "tap", "text": "Prices"},
    {"wait_for": {"regex": "^thanks"}},
]


@pytest.fixture
async def shop() -> AsyncIterator[Shop]:
    async with open_shop(virtual=False) as opened:
        await opened.webhook(max_connections=100)
        opened.receiver.answer = form_bot(opened)
        yield opened


def form_bot(shop: Shop) -> Answer:
    """The smallest bot with a form: asks for the e-mail, offers two buttons, says thanks."""
    buttons = {
        "inline_keyboard": [
            [{"text": "Prices", "callback_data": "p"}, {"text": "Visit", "callback_data": "v"}]
        ]
    }

    async def answer(update: Json) -> web.Response:
        reply: Json
        if "callback_query" in update:
            chat, reply = (
                update["callback_query"]["from"]["id"],
                {"text": "Thanks for " + update["callback_query"]["data"]},
            )
        elif update["message"]["text"].startswith("/start"):
            chat, reply = update["message"]["chat"]["id"], {"text": "Your E-Mail, please"}
        else:
            chat, reply = (
                update["message"]["chat"]["id"],
                {"text": "What do you like?", "reply_markup": buttons},
            )
        await shop.call("sendMessage", chat_id=chat, **reply)
        return web.Response()

    return answer


async def test_one_person_walks_to_the_end(shop: Shop) -> None:
    """Each step waited for its message; the bot heard the person's own words."""
    play = await shop.sim.play("telegram", TOKEN, [{**FORM[0]}, *FORM[1:3], {"wait_for": "thanks for p"}])
    report = await shop.sim.play_finished(play)
    assert (report["state"], report["done"], report["failed"]) == ("finished", 1, 0)
    assert [step["passed"] for step in report["steps"]] == [1, 1, 1, 1]
    assert report["steps"][1]["p50_ms"] > 0
    assert "anna0@example.com" in shop.receiver.texts()


async def test_many_people_walk_at_once(shop: Shop) -> None:
    """Two hundred persons, each step measured, nobody lost."""
    script = [*FORM[:3], {"wait_for": {"contains": "thanks", "kind": "text"}}]
    play = await shop.sim.play("telegram", TOKEN, script, people=200, think_s=[0, 0.05], timeout_s=20)
    report = await shop.sim.play_finished(play)
    assert (report["done"], report["failed"]) == (200, 0), report["failures"]
    assert report["total"]["count"] == 200
    assert report["answers"]["count"] == 600
    assert report["answers"]["p50_ms"] <= report["answers"]["p99_ms"] <= report["answers"]["max_ms"]


async def test_a_step_for_every_third_person(shop: Shop) -> None:
    """Persons 0 and 3 of five take it, the others pass over it and everybody reaches the end."""
    wrong = {"every": 3, "wait_for": "mail", "do": "say", "text": "/start again"}
    play = await shop.sim.play(
        "telegram", TOKEN, [FORM[0], wrong, *FORM[1:3], {"wait_for": "thanks"}], people=5
    )
    report = await shop.sim.play_finished(play)
    assert (report["done"], report["failures"]) == (5, [])
    assert [step["passed"] for step in report["steps"]] == [5, 2, 5, 5, 5]
    play = await shop.sim.play("telegram", TOKEN, [{"every": 2, "do": "start"}], people=2)
    report = await shop.sim.play_finished(play)
    assert (report["done"], report["steps"][0]["passed"]) == (2, 1)


async def test_whoever_waits_in_vain_is_told(shop: Shop) -> None:
    """A message that never comes, a button that is not there, a rate of beginners, a stop."""
    play = await shop.sim.play("telegram", TOKEN, [FORM[0], {"wait_for": "spaghetti"}], timeout_s=0.2)
    report = await shop.sim.play_finished(play)
    assert (report["failed"], report["failures"][0]["why"]) == (
        1,
        "step 1: nothing that it waits for came within 0.2 s",
    )
    play = await shop.sim.play("telegram", TOKEN, [FORM[0], {"wait_for": "mail", "do": "tap", "text": "No"}])
    report = await shop.sim.play_finished(play)
    assert report["failures"][0]["why"] == "step 1: no button like text 'No' is on the screen"
    play = await shop.sim.play("telegram", TOKEN, [FORM[0], {"wait_for": "never"}], people=50, rate_per_s=10)
    await asyncio.sleep(0.3)
    report = await shop.sim.call("DELETE", f"/people/scripts/{play}")
    assert report["state"] == "stopped"
    assert 2 <= report["steps"][0]["passed"] <= 10


@pytest.mark.parametrize(
    ("script", "words"),
    [
        ([], "script: 1 to 200 steps expected"),
        ([{}], r"script\[0\]: wait_for or do expected"),
        ([{"do": "start"}, {"wait_for": {"colour": "red"}}], r"script\[1\].wait_for"),
        ([{"wait_for": {"regex": "("}}], r"script\[0\].wait_for.regex"),
        ([{"do": 5}], r"script\[0\].do"),
        ([{"do": "start", "every": 0}], r"script\[0\].every"),
    ],
)
async def test_a_bad_script_is_explained(shop: Shop, script: list[Json], words: str) -> None:
    """The step and the field are named."""
    with pytest.raises(SimulatorError, match=words):
        await shop.sim.play("telegram", TOKEN, script)
