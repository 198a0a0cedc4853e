"""Rate limits and injected faults of the simulated Telegram."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator

import aiohttp
import pytest

from tests.simulators.telegram_shop import ANNA, TOKEN, Shop, open_shop


@pytest.fixture
async def shop() -> AsyncIterator[Shop]:
    async with open_shop(limits=True) as opened:
        yield opened


async def burst(shop: Shop, chat: int, count: int, **params: object) -> list[int]:
    """The HTTP statuses of `count` messages in a row."""
    return [
        (await shop.raw("sendMessage", {"chat_id": chat, "text": "x", **params}))[0] for _ in range(count)
    ]


async def test_a_chat_takes_one_message_a_second_with_short_bursts(shop: Shop) -> None:
    """Five at once, then 429 with the seconds to wait in body and header, then one a second."""
    assert await burst(shop, ANNA, 6) == [200] * 5 + [429]
    async with shop.session.post(
        f"{shop.origin}/bot{TOKEN}/sendMessage", json={"chat_id": ANNA, "text": "x"}
    ) as response:
        answer = await response.json()
        assert response.headers["Retry-After"] == "1"
    assert answer == {
        "ok": False,
        "error_code": 429,
        "description": "Too Many Requests: retry after 1",
        "parameters": {"retry_after": 1},
    }
    await shop.after(1)
    assert await burst(shop, ANNA, 2) == [200, 429]
    assert len(shop.log("message")) == 6


async def test_a_bot_sends_thirty_a_second_to_everybody(shop: Shop) -> None:
    """The 31st of a second is refused, whoever it is for; paid messages go on while Stars last."""
    people = [await shop.sim.telegram_person(first_name=f"P{n}") for n in range(40)]
    for person in people:
        await shop.act("start", person)
    statuses = [(await burst(shop, person, 1))[0] for person in people]
    assert statuses == [200] * 30 + [429] * 10
    await shop.sim.call("PATCH", "/telegram/bots", {"token": TOKEN, "paid_broadcast": True, "stars": 1})
    paid = [(await burst(shop, person, 1, allow_paid_broadcast=True))[0] for person in people[:12]]
    assert paid == [200] * 10 + [429] * 2
    assert (await shop.call("getMyStarBalance"))["amount"] == 0


async def test_a_group_takes_twenty_a_minute(shop: Shop) -> None:
    """Albums count every picture."""
    group = await shop.sim.telegram_chat("supergroup", "Talk", owner=ANNA, admins=[TOKEN])
    assert await burst(shop, group, 21) == [200] * 20 + [429]
    await shop.after(60)
    assert await burst(shop, group, 1) == [200]


async def test_the_limits_can_be_switched_off(shop: Shop) -> None:
    """For load tests."""
    await shop.sim.limits("telegram", enabled=False)
    assert set(await burst(shop, ANNA, 50)) == {200}


async def test_a_fault_before_executing_leaves_nothing(shop: Shop) -> None:
    """The server's own 500, a proxy's page, a 429 of chosen length; each as often as asked."""
    for kind, status in (("500", 500), ("502_html", 502), ("429", 429)):
        await shop.sim.fault("telegram", kind, method="sendMessage", target=ANNA, retry_after=30)
        params = {"chat_id": ANNA, "text": kind}
        async with shop.session.post(f"{shop.origin}/bot{TOKEN}/sendMessage", json=params) as response:
            assert response.status == status
            assert response.headers.get("Retry-After") == ("30" if status == 429 else None)
    assert await burst(shop, ANNA, 1) == [200]
    assert [entry["executed"] for entry in shop.log("call") if entry["method"] == "sendMessage"][-4:] == [
        False,
        False,
        False,
        True,
    ]
    assert len(shop.log("message")) == 1


def is_success(body: bytes) -> bool:
    try:
        return bool(json.loads(body)["ok"])
    except ValueError:
        return False


@pytest.mark.parametrize("kind", ["500", "502_html", "reset", "garbage"])
async def test_a_fault_after_executing_hides_a_message_that_arrived(shop: Shop, kind: str) -> None:
    """The sender cannot know, the person has it, the log tells both."""
    await shop.sim.fault("telegram", kind, when="after")
    try:
        async with shop.session.post(
            f"{shop.origin}/bot{TOKEN}/sendMessage", json={"chat_id": ANNA, "text": "did it arrive?"}
        ) as response:
            body = await response.read()
            assert not is_success(body)
    except aiohttp.ClientConnectionError:
        assert kind == "reset"
    assert [entry["text"] for entry in shop.log("message")] == ["did it arrive?"]
    entry = shop.log("call")[-1]
    assert (entry["executed"], entry["fault"]) == (True, kind)


async def test_a_slow_answer_and_one_that_never_comes(shop: Shop) -> None:
    """Slow waits on the clock; a hanging request can be left by the client."""
    await shop.sim.fault("telegram", "slow", delay_s=20)
    sending = asyncio.create_task(shop.call("sendMessage", chat_id=ANNA, text="x"))
    await asyncio.sleep(0.05)
    assert not sending.done()
    await shop.after(20)
    assert (await sending)["text"] == "x"
    await shop.sim.fault("telegram", "hang", when="after")
    with pytest.raises(TimeoutError):
        async with asyncio.timeout(0.1):
            await shop.call("sendMessage", chat_id=ANNA, text="y")
    assert shop.log("message")[-1]["text"] == "y"


async def test_faults_are_listed_deleted_and_checked(shop: Shop) -> None:
    """A rule without an end stays until it is deleted; nonsense is explained."""
    number = await shop.sim.fault("telegram", "500", times=None, probability=1.0)
    assert await burst(shop, ANNA, 3) == [500] * 3
    listed = (await shop.sim.call("GET", "/faults"))["faults"]
    assert (listed[0]["id"], listed[0]["hits"]) == (number, 3)
    await shop.sim.clear_faults()
    assert await burst(shop, ANNA, 1) == [200]
    for spec, words in (
        ({"kind": "meteor"}, "kind: one of 429"),
        ({"kind": "500", "when": "during"}, "when: before or after"),
        ({"kind": "429", "when": "after"}, "nothing was executed"),
        ({"kind": "500", "chance": 1}, "unknown field: chance"),
    ):
        with pytest.raises(Exception, match=words):
            await shop.sim.call("POST", "/faults", {"network": "telegram", **spec})


async def test_latency_delays_every_answer(shop: Shop) -> None:
    """Real milliseconds."""
    await shop.sim.latency("telegram", 60)
    started = asyncio.get_running_loop().time()
    await shop.call("getMe")
    assert asyncio.get_running_loop().time() - started >= 0.06


async def test_the_same_big_file_again_and_again_is_refused(shop: Shop) -> None:
    """Over 100 kB and of one size: a backlog of 5 s, then 429 for a minute; by its id it always goes."""
    statuses: list[int] = []
    await shop.sim.limits("telegram", bot_per_s=1000, chat_per_s=1000, chat_burst=1000)
    for _ in range(30):
        form = aiohttp.FormData({"chat_id": str(ANNA)})
        form.add_field("document", b"x" * 150_000, filename="list.csv")
        async with shop.session.post(f"{shop.origin}/bot{TOKEN}/sendDocument", data=form) as response:
            statuses.append(response.status)
            answer = await response.json()
    assert statuses.count(200) in (25, 26)  # 5 s in steps of 0.2 s
    assert statuses == sorted(statuses)
    assert answer["parameters"]["retry_after"] == 60
