"""Calls to services: asked once, answered in order, and nothing that a person does in the meantime is lost or early."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator
from dataclasses import dataclass
from typing import Any

import pytest
from sqlalchemy import text

from bot import calls, handover, holding, secret_store
from bot.assistant import Assistant
from bot.claiming import HELD_MS, PER_CONVERSATION
from bot.intake import DONE, WAITING
from bot.outgoing import Limits, Outgoing, Policy
from bot.runtime import Runtime
from crm import privacy
from domain.events import MessageEdited, Origin, Place
from domain.messages import ReceivedText
from storage import jobs
from storage.database import Queue
from tests.support.canary_server import Asked, CanaryServer, canary_server, plain
from tests.support.core import WORKSPACE, Core

FLOW = """
flow: orders
triggers: [{keyword: [ciao], interrupts: true}, first_message]
start: look_up
steps:
  look_up:
    http: http://127.0.0.1:PORT/orders/12
    METHOD
    headers: {Authorization: {secret: shop_key, prefix: "Bearer "}}
    query: {key: {secret: shop_key}}
    save: {status: session.status}
    error: failed
    next: found
  found:
    ask: text
    text: "L'ordine è {{ session.status }}. Altro?"
    save: session.more
    next: thanks
  thanks: {send: "Va bene: {{ session.more }}", next: end}
  failed: {send: Riprova più tardi, next: end}
"""
ASSISTANT = """
flow: assistant
triggers: [{keyword: [domanda], interrupts: true}]
start: ask
steps:
  ask: {ask: text, text: Dimmi, save: session.question, next: help}
  help:
    ai: You answer for a shop.
    question: "{{ session.question }}"
    history: 3
    per_day: 2
    unavailable: off
    error: failed
    next: end
  off: {send: Spento, next: end}
  failed: {send: Riprova, next: end}
"""
SECRET = "test-secret-of-the-shop-1234"

pytestmark = pytest.mark.usefixtures("quiet")


@dataclass
class Context:
    """What the process of `bot.live` hands to its jobs."""

    runtime: Runtime
    outgoing: Outgoing
    limits: Limits
    assistant: Assistant


class Shop:
    """The conversation runtime, the runner of calls, and a service on loopback that may be called."""

    def __init__(self, core: Core, canary: CanaryServer) -> None:
        self.core = core
        self.canary = canary
        allow = {("127.0.0.1", canary.port)}
        self.context = Context(
            core.runtime, Outgoing(Policy(allow=allow)), Limits(core.runtime.monotonic), Assistant()
        )

    def runner(self, owner: str = "here") -> jobs.Runner:
        core = self.core
        return jobs.Runner(
            core.database,
            core.sealer,
            lambda: core.now,
            owner,
            self.context,
            signals=core.runtime.signals,
            topic=calls.TOPIC,
            only=calls.KIND,
            at_once=calls.AT_ONCE,
            lease_ms=calls.LEASE_MS,
            queue=Queue.live,
            repeats=False,
        )

    async def publish(self, method: str = "") -> None:
        source = FLOW.replace("PORT", str(self.canary.port)).replace("METHOD", method)
        await self.core.publish(source)

    async def call(self) -> int:
        """The calls that are due now; gives how many."""
        return await self.runner().round()

    async def command(self, what: str, **data: Any) -> None:
        core = self.core
        conversation = await core.value("SELECT id FROM conversation")
        await core.do(
            lambda c: handover.command(
                c,
                WORKSPACE,
                conversation,
                what,
                by="usr_1",
                data=data,
                sealer=core.sealer,
                new_id=core.new_id,
                now=core.now,
            )
        )

    async def states(self) -> list[int]:
        return [state for state, _ in await self.core.states()]

    async def session(self) -> str:
        return str(await self.core.value("SELECT status FROM flow_session ORDER BY id DESC LIMIT 1"))


@pytest.fixture
async def shop(store_url: str) -> AsyncIterator[Shop]:
    async with canary_server() as canary:
        core = await Core.open(store_url)
        made = Shop(core, canary)
        canary.answers["/orders/12"] = plain(b'{"status": "spedito"}')
        await core.do(lambda c: keep(c, core))
        await made.publish()
        yield made
        await made.context.outgoing.close()
        await core.database.close()


def keep(connection: Any, core: Core) -> None:
    secret_store.put(
        connection,
        workspace_id=WORKSPACE,
        name="shop_key",
        value=SECRET,
        by="usr_1",
        sealer=core.sealer,
        new_id=core.new_id,
        now=core.now,
    )


# --- the way there and back


async def test_a_flow_asks_and_goes_on_with_the_answer(shop: Shop) -> None:
    """The request has what the author wrote and the secret's value, and the answer's words reach the person."""
    await shop.core.hears("ciao")
    await shop.core.work()
    assert await shop.core.said() == []
    assert await shop.call() == 1
    await shop.core.work()
    assert await shop.core.said() == ["L'ordine è spedito. Altro?"]
    [asked] = shop.canary.asked
    assert asked.headers["authorization"] == f"Bearer {SECRET}"
    assert asked.target == f"/orders/12?key={SECRET}"
    assert asked.headers["idempotency-key"].startswith("job_")
    assert await shop.core.rows("SELECT 1 FROM timer WHERE purpose = 'call'") == [], "nobody waits any more"


async def test_a_secrets_value_stands_nowhere_but_in_its_row(shop: Shop) -> None:
    """Not in the job, not in the turns, opened though they are."""
    await shop.core.hears("ciao")
    await shop.core.work()
    sealer = shop.core.sealer
    [job] = await shop.core.rows("SELECT id, payload FROM job WHERE kind = 'http_call'")
    assert SECRET not in sealer.open(job.payload, table="job", row=job.id, column="payload").decode()
    await shop.call()
    await shop.core.work()
    for turn in await shop.core.rows("SELECT id, payload FROM turn"):
        opened = sealer.open(turn.payload, table="turn", row=turn.id, column="payload").decode()
        assert SECRET not in opened
    [row] = await shop.core.rows("SELECT value FROM secret")
    assert SECRET not in row.value


async def test_the_answer_stands_in_the_turn_that_used_it(shop: Shop) -> None:
    """Replay needs no service."""
    await shop.core.hears("ciao")
    await shop.core.work()
    await shop.call()
    await shop.core.work()
    turn = (await shop.core.rows("SELECT id, payload FROM turn ORDER BY id"))[-1]
    recorded = json.loads(shop.core.sealer.open(turn.payload, table="turn", row=turn.id, column="payload"))
    assert recorded["event"]["type"] == "http_answer"
    assert recorded["event"]["body"] == '{"status": "spedito"}'


@pytest.mark.parametrize("wrong", ["missing secret", "server down", "not JSON", "500"])
async def test_what_goes_wrong_takes_the_error_exit(wrong: str, shop: Shop) -> None:
    if wrong == "missing secret":
        await shop.core.do(lambda c: secret_store.remove(c, WORKSPACE, "shop_key"))
    elif wrong == "server down":
        shop.context.outgoing = Outgoing(Policy())  # loopback is not allowed any more
    else:
        answer = plain(b"<html>") if wrong == "not JSON" else plain(b"{}", status="500 No")
        shop.canary.answers["/orders/12"] = answer
    await shop.core.hears("ciao")
    await shop.core.work()
    await shop.call()
    await shop.core.work()
    assert await shop.core.said() == ["Riprova più tardi"]


async def test_the_team_hears_once_an_hour_of_what_only_it_can_mend(shop: Shop) -> None:
    """A server that may not be called is named, a missing key is told; a service that errs is no matter of theirs."""
    shop.context.outgoing = Outgoing(Policy())  # loopback is not allowed any more
    for _ in range(2):
        await shop.core.hears("ciao")
        await shop.core.work()
        await shop.call()
        await shop.core.work()
    told = "SELECT kind, text FROM notification ORDER BY id"
    server = f"orders, look_up: 127.0.0.1:{shop.canary.port}"
    assert [tuple(row) for row in await shop.core.rows(told)] == [("not_allowed", server)]
    shop.core.now += 61 * 60_000
    await shop.core.do(lambda c: secret_store.remove(c, WORKSPACE, "shop_key"))
    await shop.core.hears("ciao")
    await shop.core.work()
    await shop.call()
    await shop.core.work()
    assert [row.kind for row in await shop.core.rows(told)] == ["not_allowed", "no_secret"]


async def test_no_answer_within_the_time_takes_the_error_exit_and_a_late_one_nothing(shop: Shop) -> None:
    """The timer decides; the answer that comes after all finds nobody."""
    await shop.core.hears("ciao")
    await shop.core.work()
    job = await shop.core.rows("SELECT * FROM job WHERE kind = 'http_call'")
    await shop.core.time(31_000)
    await shop.core.work()
    assert await shop.core.said() == ["Riprova più tardi"]
    assert await shop.call() == 1
    assert shop.canary.hits == 0, "after the deadline nobody is asked"
    await shop.core.work()
    assert await shop.core.said() == ["Riprova più tardi"]
    assert len(job) == 1


# --- held in the meantime


async def test_what_a_person_writes_meanwhile_is_handled_after_the_answer(shop: Shop) -> None:
    """In order, also what comes in the same moment as the answer."""
    await shop.core.hears("ciao", "pronto?")
    await shop.core.work()
    assert await shop.states() == [DONE, WAITING]
    assert await shop.core.received() == ["ciao"]
    await shop.call()
    await shop.core.hears("ancora io")
    await shop.core.work()
    assert await shop.core.said() == ["L'ordine è spedito. Altro?", "Va bene: pronto?"]
    assert await shop.core.received() == ["ciao", "pronto?", "ancora io"]
    assert set(await shop.core.states()) == {(DONE, 1)}, "no attempt was lost by waiting"


async def test_what_comes_just_before_the_answer_is_handled_just_after_it(shop: Shop) -> None:
    """In the same round: what was held in it is let go with all the rest."""
    await shop.core.hears("ciao")
    await shop.core.work()
    await shop.core.hears("pronto?")
    await shop.call()
    await shop.core.hears("ancora io")
    await shop.core.work()
    assert await shop.core.said() == ["L'ordine è spedito. Altro?", "Va bene: pronto?"]
    assert await shop.core.received() == ["ciao", "pronto?", "ancora io"]
    assert set(await shop.core.states()) == {(DONE, 1)}


async def test_what_was_held_and_interrupted_waits_for_what_came_before_it(shop: Shop) -> None:
    """A process died with some of them in hand: being tried again is no reason to go first."""
    said = [f"messaggio {n}" for n in range(PER_CONVERSATION)]
    await shop.core.hears("ciao", *said)
    await shop.core.work()
    await shop.core.do(
        lambda c: c.execute(text("UPDATE intake SET attempts = 1 WHERE id = (SELECT max(id) FROM intake)"))
    )
    await shop.call()
    await shop.core.work()
    assert await shop.core.received() == ["ciao", *said]


async def test_stop_lets_go_what_was_held_in_its_round(shop: Shop) -> None:
    await shop.core.hears("ciao")
    await shop.core.work()
    await shop.core.hears("pronto?")
    await shop.core.hears("STOP", opt_out=True)
    await shop.core.work()
    assert set(await shop.states()) == {DONE}


async def test_a_correction_stays_behind_a_message_held_in_its_round(shop: Shop) -> None:
    await shop.core.hears("ciao")
    await shop.core.work()
    message = shop.core.message("prnoto?")
    edit = MessageEdited(
        key="edit:1",
        person=message.person,
        origin=Origin(Place.private, "1001"),
        external_id=message.external_id,
        content=ReceivedText("pronto?"),
    )
    await shop.core.takes(message, edit)
    await shop.core.work()
    assert await shop.states() == [DONE, WAITING, WAITING]
    await shop.call()
    await shop.core.work()
    assert await shop.core.received() == ["ciao", "pronto?"]


async def test_nothing_is_asked_for_who_has_been_forgotten(shop: Shop) -> None:
    """The request holds what they wrote: it goes with them, and only with them; also one that had failed for good."""
    core = shop.core
    await core.hears("ciao")
    await core.hears("ciao", person=1002)
    await core.work()
    first, second = [
        row.contact_id for row in await core.rows("SELECT contact_id FROM flow_session ORDER BY id")
    ]
    await core.do(lambda c: c.execute(text("UPDATE job SET state = 1 WHERE id = (SELECT min(id) FROM job)")))
    for contact, left in ((first, 1), (second, 0)):
        await core.do(
            lambda c, contact=contact: privacy.erase(  # type: ignore[misc]
                c, workspace_id=WORKSPACE, contact_id=contact, actor="test", new_id=core.new_id, now=core.now
            )
        )
        assert await core.value("SELECT count(*) FROM job") == left
        assert await core.value("SELECT count(*) FROM timer") == 2 * left
    assert await shop.call() == 0
    assert shop.canary.asked == []


async def test_a_flood_does_not_hide_the_answer(shop: Shop) -> None:
    """More events than a round takes of one conversation."""
    said = [f"messaggio {n}" for n in range(3 * PER_CONVERSATION)]
    await shop.core.hears("ciao", *said)
    await shop.core.work()
    await shop.call()
    await shop.core.work()
    assert await shop.core.received() == ["ciao", *said]
    assert (await shop.core.said())[:2] == ["L'ordine è spedito. Altro?", "Va bene: messaggio 0"]


async def test_others_do_not_wait(shop: Shop) -> None:
    await shop.core.hears("ciao")
    await shop.core.work()
    await shop.core.hears("ciao", person=1002)
    await shop.core.work()
    assert await shop.call() == 2
    await shop.core.work()
    assert await shop.core.said(1002) == ["L'ordine è spedito. Altro?"]


async def test_stop_does_not_wait(shop: Shop) -> None:
    """The session is over, what was held is let go, and the answer finds nobody."""
    await shop.core.hears("ciao", "pronto?")
    await shop.core.work()
    await shop.core.hears("STOP", opt_out=True)
    await shop.core.work()
    assert await shop.session() == "stopped"
    assert (await shop.core.received())[:2] == ["ciao", "STOP"], "in the moment in which it came"
    said = await shop.core.said()
    await shop.call()
    await shop.core.work()
    assert [line for line in await shop.core.said() if "spedito" in line] == []
    assert said[0] != "L'ordine è spedito. Altro?"
    assert set(await shop.states()) == {DONE}


async def test_a_person_of_the_team_takes_over_at_once(shop: Shop) -> None:
    """They see what was written meanwhile, and the bot says nothing more."""
    await shop.core.hears("ciao", "c'è qualcuno?")
    await shop.core.work()
    await shop.command("take_over")
    await shop.core.work()
    assert await shop.core.received() == ["ciao", "c'è qualcuno?"]
    await shop.call()
    await shop.core.work()
    assert await shop.core.said() == []
    assert await shop.session() == "stopped"


async def test_a_call_that_nobody_answers_says_nothing_where_a_person_has_taken_over(shop: Shop) -> None:
    """The timer ends the session, and nothing is held once the conversation is handed back."""
    await shop.core.hears("ciao")
    await shop.core.work()
    await shop.command("take_over")
    await shop.core.work()
    await shop.core.time(31_000)
    await shop.core.work()
    assert await shop.core.said() == []
    assert await shop.session() == "stopped"
    await shop.command("hand_back")
    await shop.core.hears("ciao")
    await shop.core.work()
    assert set(await shop.states()) == {DONE}


async def test_a_command_that_starts_a_flow_waits_its_turn(shop: Shop) -> None:
    await shop.core.hears("ciao")
    await shop.core.work()
    await shop.command("start_flow", flow="orders")
    await shop.core.work()
    assert await shop.states() == [DONE, WAITING]
    await shop.call()
    await shop.core.work()
    assert (await shop.core.said())[0] == "L'ordine è spedito. Altro?"
    assert set(await shop.states()) == {DONE}


async def test_a_correction_stays_behind_the_message_it_corrects(shop: Shop) -> None:
    await shop.core.hears("ciao")
    await shop.core.work()
    message = shop.core.message("prnoto?")
    await shop.core.takes(message)
    edit = MessageEdited(
        key="edit:1",
        person=message.person,
        origin=Origin(Place.private, "1001"),
        external_id=message.external_id,
        content=ReceivedText("pronto?"),
    )
    await shop.core.work()
    await shop.core.takes(edit)
    await shop.core.work()
    assert await shop.states() == [DONE, WAITING, WAITING]
    await shop.call()
    await shop.core.work()
    assert await shop.core.received() == ["ciao", "pronto?"]


async def test_nothing_is_held_for_ever(shop: Shop) -> None:
    """Whatever has become of the call: the scheduler opens what was held, and it is looked at again."""
    await shop.core.hears("ciao", "pronto?")
    await shop.core.work()
    assert await shop.core.do(lambda c: holding.let_go_late(c, shop.core.now + HELD_MS - 1)) == 0
    await shop.core.do(
        lambda c: c.execute(text("UPDATE flow_session SET status = 'stopped', version = version + 1"))
    )
    assert await shop.core.do(lambda c: holding.let_go_late(c, shop.core.now + HELD_MS)) == 1
    await shop.core.work()
    assert set(await shop.states()) == {DONE}


# --- crashes


async def crashed(shop: Shop) -> None:
    """A process took the call and ended without a word; its lease is over."""
    await shop.core.do(
        lambda c: c.execute(
            text("UPDATE job SET attempts = 1, owner = 'gone', lease_until = 0 WHERE kind = 'http_call'")
        )
    )


async def test_a_call_that_may_be_repeated_is_made_again_with_the_same_key(shop: Shop) -> None:
    await shop.core.hears("ciao")
    await shop.core.work()
    step = jobs.kinds()[calls.KIND]
    [row] = await shop.core.rows("SELECT * FROM job WHERE kind = 'http_call'")
    opened = shop.core.sealer.open(row.payload, table="job", row=row.id, column="payload")
    running = jobs.Running(row.id, WORKSPACE, calls.KIND, row.key, json.loads(opened), "", 1)
    await step(shop.context, running)  # and then the process ends before anything is stored
    await crashed(shop)
    await shop.call()
    await shop.core.work()
    assert await shop.core.said() == ["L'ordine è spedito. Altro?"]
    first, second = shop.canary.asked
    assert first.headers["idempotency-key"] == second.headers["idempotency-key"]


@pytest.mark.parametrize("method", ["method: POST", "method: PATCH"])
async def test_a_call_that_must_not_be_repeated_is_not(method: str, shop: Shop) -> None:
    """Nobody knows whether it arrived: the flow goes the way of an error."""
    await shop.publish(method)
    await shop.core.hears("ciao")
    await shop.core.work()
    await crashed(shop)
    await shop.call()
    await shop.core.work()
    assert shop.canary.hits == 0
    assert await shop.core.said() == ["Riprova più tardi"]


async def test_a_post_that_says_so_may_be_repeated(shop: Shop) -> None:
    await shop.publish("method: POST\n    idempotent: true")
    await shop.core.hears("ciao")
    await shop.core.work()
    await crashed(shop)
    await shop.call()
    await shop.core.work()
    assert [asked.method for asked in shop.canary.asked] == ["POST"]


async def test_a_runner_that_is_cut_short_counts_its_attempt(shop: Shop) -> None:
    """A POST under way when the process has to go is not made by the next one."""
    asked = asyncio.Event()

    async def never(_: Asked, writer: asyncio.StreamWriter) -> None:
        asked.set()
        await asyncio.sleep(30)

    shop.canary.answers["/orders/12"] = never
    await shop.publish("method: POST")
    await shop.core.hears("ciao")
    await shop.core.work()
    task = asyncio.create_task(shop.runner().run())
    await asyncio.wait_for(asked.wait(), 10)
    task.cancel()
    await asyncio.gather(task, return_exceptions=True)
    await shop.runner("another").round()
    await shop.core.work()
    assert shop.canary.hits == 1
    assert await shop.core.said() == ["Riprova più tardi"]


async def test_a_call_begins_as_soon_as_it_is_told(shop: Shop) -> None:
    """No poll stands between the commit and the request."""
    task = asyncio.create_task(shop.runner().run())
    await asyncio.sleep(0.05)  # it has looked and found nothing
    await shop.core.hears("ciao")
    await shop.core.work()
    loop = asyncio.get_running_loop()
    told = loop.time()
    while not shop.canary.hits:
        await asyncio.sleep(0.002)
        assert loop.time() - told < 5
    assert loop.time() - told < 0.8, "a poll would come after a second"
    task.cancel()
    await asyncio.gather(task, return_exceptions=True)


# --- limits and the assistant


async def test_a_workspace_that_calls_too_often_waits(shop: Shop) -> None:
    """Its calls come later, and none is lost."""
    for _ in range(60):
        shop.context.limits.wait(WORKSPACE)
    await shop.core.hears("ciao")
    await shop.core.work()
    assert await shop.call() == 1
    assert shop.canary.hits == 0
    assert await shop.call() == 0
    shop.core.now += 1_000
    assert await shop.call() == 1
    assert shop.canary.hits == 1


async def test_without_an_assistant_the_step_says_so(shop: Shop) -> None:
    await shop.core.publish(ASSISTANT)
    await shop.core.hears("domanda", "Quando aprite?")
    await shop.core.work()
    await shop.call()
    await shop.core.work()
    assert await shop.core.said() == ["Dimmi", "Spento"]


async def test_the_assistant_gets_the_question_and_what_was_said_before_and_no_more_than_a_days_share(
    shop: Shop,
) -> None:
    """The owner's address, key and model; the third question of the day is one too many."""
    words = json.dumps({"choices": [{"message": {"content": "Alle 9."}}]}).encode()
    shop.canary.answers["/v1/chat/completions"] = plain(words)
    shop.context.outgoing = Outgoing(Policy())  # the address is the owner's setting: no list allows it
    shop.context.assistant = Assistant(shop.canary.url("/v1"), "test-key-of-the-assistant", "small-model")
    await shop.core.publish(ASSISTANT)
    for _ in range(3):
        await shop.core.hears("domanda", "Quando aprite?")
        await shop.core.work()
        await shop.call()
        await shop.core.work()
    assert await shop.core.said() == ["Dimmi", "Alle 9.", "Dimmi", "Alle 9.", "Dimmi", "Spento"]
    for _ in range(3):  # being refused is no call
        await shop.core.hears("domanda", "E oggi?")
        await shop.core.work()
        await shop.call()
        await shop.core.work()
    shop.core.now += 86_400_001 - 5_000
    await shop.core.hears("domanda", "E oggi?")
    await shop.core.work()
    await shop.call()
    await shop.core.work()
    assert (await shop.core.said())[-1] == "Spento"
    shop.core.now += 5_000
    await shop.core.hears("domanda", "E oggi?")
    await shop.core.work()
    await shop.call()
    await shop.core.work()
    assert (await shop.core.said())[-1] == "Alle 9."
    first = json.loads(shop.canary.asked[0].body)
    assert first["model"] == "small-model"
    assert [one["role"] for one in first["messages"]] == ["system", "user", "assistant", "user"]
    assert [one["content"] for one in first["messages"][1:]] == ["domanda", "Dimmi", "Quando aprite?"]
    assert shop.canary.asked[0].headers["authorization"] == "Bearer test-key-of-the-assistant"
