"""Replay: whatever people said to the real worker, playing it again on the same version gives the same, letter by
letter; on another version the first difference is shown. Recorded turns suffice: nothing else is asked for."""

from __future__ import annotations

import random
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import msgspec
import pytest
from sqlalchemy import text

from bot import flow_moves, replay, turns
from bot.intake import append_own
from bot.replay import Replayed
from domain.errors import NotFound
from domain.events import HttpAnswered
from domain.messages import ReceivedLocation, ReceivedText, Tap, decode_content
from flows import state
from storage.jobs import Runner
from tests.support.core import OTHER_WORKSPACE, WORKSPACE, Core

ROOT = Path(__file__).resolve().parents[2]
FORM = """
format: 2
flow: form
languages: [it, en]
triggers: [{keyword: [ciao], interrupts: true}, {deep_link: promo-*}, first_message]
start: greet
steps:
  greet: {send: {it: ["Ciao {{ contact.first_name }}!", Salve!], en: [Hi!, Hello!]}, next: name}
  name:
    ask: name
    text: {it: Come ti chiami?, en: What is your name?}
    save: contact.name
    tries: 2
    otherwise: interest
    timeout: {after: 1 hour, goto: reminder}
    next: interest
  reminder: {send: Ci sei ancora?, next: interest}
  interest:
    choose: {it: Che cosa ti interessa?, en: What are you interested in?}
    options: [{id: price, text: Prezzi}, {id: visit, text: Visita, goto: day}]
    save: session.interest
    back: true
    next: agree
  day: {ask: date, text: Quando?, save: session.day, skip: true, next: pause}
  pause: {wait: 2 hours, on_message: agree, next: agree}
  agree: {consent: marketing, double_opt_in: true, exits: {yes: sub, no: sub}}
  sub: {sub_flow: extra, outcomes: {far: tagged}, next: noted}
  tagged: {tag: [lontano], next: noted}
  noted: {set: {contact.fields.visits: {add: 1}, session.when: "{{ today }}"}, next: chance}
  chance:
    split: [{name: a, weight: 1, goto: more}, {name: b, weight: 2, goto: bye}]
    sticky: false
  more: {listen: [{test: has_number, category: Number, goto: bye}], otherwise: more_again}
  more_again: {send: Un numero?, next: bye}
  bye: {send: "Grazie {{ contact.name }}: {{ session.interest | default('-') }}, {{ contact.tags | join }}", next: over}
  over: {end: done}
"""
EXTRA = """
flow: extra
languages: [it, en]
triggers: [{keyword: [dove], interrupts: true, resume: true}]
start: place
steps:
  place: {ask: text, text: Da dove vieni?, save: session.place, next: say}
  say: {send: "Ah, {{ session.place }} ({{ business.name }})", next: far}
  far: {end: far}
"""
DAY = 86_400_000
SAID = [
    "ciao",
    "dove",
    "Anna Rossi",
    "12",
    "prezzi",
    "visita",
    "sì",
    "no",
    "domani",
    "salta",
    "indietro",
    "x" * 300,
    "Torino",
]
BUSINESS = [
    {
        "purposes": {
            "marketing": {
                "version": str(n),
                "wording": {"it": f"Novità, testo {n}?", "en": f"News, text {n}?"},
            }
        }
    }
    for n in (1, 2)
]

pytestmark = pytest.mark.usefixtures("quiet")


@pytest.fixture
async def core(store_url: str) -> AsyncIterator[Core]:
    made = await Core.open(store_url)
    await made.publish(EXTRA)
    await made.publish(FORM)
    yield made
    await made.database.close()


async def replayed(core: Core, *, number: int = 0, source: str = "") -> list[Replayed]:
    """Every conversation of the workspace, played again."""
    found: list[Replayed] = []
    for row in await core.rows(
        "SELECT id FROM conversation WHERE workspace_id = :w ORDER BY id", w=WORKSPACE
    ):
        kept = await core.database.read(
            lambda c, row=row: replay.of_conversation(  # type: ignore[misc]
                c, workspace_id=WORKSPACE, conversation_id=row.id, number=number, sealer=core.sealer
            )
        )
        found += replay.play(kept, number=number, source=source)
    return found


async def move(core: Core, version_id: int, flow_id: int, key: str, people: str, **mapping: str) -> None:
    """Runs the job that moves people, to its end, and lets the worker do what it asks for."""
    await core.do(
        lambda c: flow_moves.add(
            c,
            workspace_id=WORKSPACE,
            flow_id=flow_id,
            key=key,
            version_id=version_id,
            people=people,
            mapping=mapping,
            by="test",
            sealer=core.sealer,
            new_id=core.new_id,
            now=core.now,
        )
    )
    runner = Runner(core.database, core.sealer, lambda: core.now, "here", core)
    while await core.value("SELECT count(*) FROM job WHERE kind = 'flow_move' AND state = 0"):
        core.now += 2_000
        await runner.round()
        await core.work()


async def business(core: Core, data: dict[str, Any]) -> None:
    await core.do(
        lambda c: c.execute(
            text("UPDATE workspace SET business = :data WHERE id = :id"),
            {"data": msgspec.json.encode(data).decode(), "id": WORKSPACE},
        )
    )
    await core.database.read(core.flows.load)


async def walk(core: Core, chance: random.Random, people: range, steps: int) -> None:
    """People say something or let time pass, by chance; what they tap are buttons that were shown to them."""
    for _ in range(steps):
        person = chance.choice(people)
        match chance.randrange(10):
            case 0:
                await core.time(chance.choice([60_000, 8_000_000, 2 * DAY, 31 * DAY]))
            case 1:
                await core.hears(ReceivedLocation(45.07, 7.68), person=person)
            case 2 | 3 | 4:
                await core.hears(await _tap(core, chance, person), person=person)
            case 5:
                await core.hears("/start promo-1", person=person, deep_link="promo-1")
            case _:
                await core.hears(chance.choice(SAID), person=person)
        core.now += chance.randrange(1, 20_000)
        if chance.random() < 0.7:
            await core.work()
    await core.work()


async def _tap(core: Core, chance: random.Random, person: int) -> Any:
    rows = await core.rows(
        "SELECT content FROM outbox WHERE address = :address ORDER BY id DESC LIMIT 2", address=str(person)
    )
    buttons = [
        button for row in rows for button in getattr(decode_content(row.content), "buttons", ()) if button.id
    ]
    if not buttons:
        return ReceivedText("prezzi")
    button = chance.choice(buttons)
    return Tap(button.id, button.title)


@pytest.mark.parametrize("seed", range(4))
async def test_every_conversation_replays_to_the_letter(core: Core, seed: int) -> None:
    """Random walks, with versions published, people moved and the business changed in between: effects, outcomes and
    states of every turn of every session are the same when they are played again."""
    chance = random.Random(seed)
    await business(core, BUSINESS[0])
    people = range(1001, 1006)
    await walk(core, chance, people, 40)
    second = await core.publish(FORM.replace("Come ti chiami?", "E tu sei?").replace("noted", "counted"))
    if seed % 2:
        await move(core, second.version_id, second.flow_id, "form", "move", noted="counted")
    await business(core, BUSINESS[1])
    await walk(core, chance, people, 40)
    third = await core.publish(EXTRA.replace("Da dove", "E da dove"))
    await move(core, third.version_id, third.flow_id, "extra", "restart" if seed % 2 else "move")
    await walk(core, chance, people, 30)
    found = await replayed(core)
    assert [one for one in found if not one.same] == []
    assert sum(one.turns for one in found) == await core.value(
        "SELECT count(*) FROM turn WHERE session_id <> 0"
    )
    assert sum(one.turns for one in found) > 60
    assert {one.flow for one in found} == {"form", "extra"}
    assert await core.value("SELECT count(*) FROM business_seen") == 2, "each business once"


@pytest.mark.parametrize(
    "folder", sorted(ROOT.glob("gallery/*/flow.yaml")), ids=lambda path: path.parent.name
)
async def test_gallery_flows_replay(a_file: str, folder: Path) -> None:
    """The shipped flows as well, with all step types that they use."""
    core = await Core.open(a_file)
    for path in sorted(ROOT.glob("gallery/*/flow.yaml")):
        await core.publish(path.read_text())
    key = folder.parent.name
    for person in range(1001, 1005):
        await core.hears("ciao", person=person)
    await core.work()
    await walk(core, random.Random(key), range(1001, 1005), 60)
    found = await replayed(core)
    assert found
    assert [one for one in found if not one.same] == []
    await core.database.close()


async def test_another_version_shows_the_first_difference(core: Core) -> None:
    """What would be said now, at which turn, and that a version of the same behaviour makes none."""
    await core.publish(FORM.replace("Quando?", "Che giorno?"))
    await core.publish(FORM.replace("comment", "comment"))
    await core.hears("ciao", "Anna Rossi", "visita", "domani")
    await core.work()
    [same] = await replayed(core)
    assert (same.same, same.turns, same.number) == (True, 4, 3)
    [other] = await replayed(core, number=2)
    assert not other.same
    assert other.number == 2
    assert other.difference is not None
    found = other.difference
    assert (found.turn, found.step, found.what, found.heard) == (3, "interest", "said", "visita")
    assert (found.then[0][:7], found.now[0][:11]) == ("Quando?", "Che giorno?")
    renamed = (
        FORM.replace("  day:", "  which:")
        .replace("goto: day", "goto: which")
        .replace("flow: form", "flow: form  # a comment")
    )
    [on_file] = await replayed(core, source=renamed)
    assert on_file.same, on_file.difference
    [nowhere] = await replayed(core, number=9)
    assert nowhere.problem == replay.OTHER_FLOW
    [another] = await replayed(core, source=EXTRA)
    assert another.problem == replay.OTHER_FLOW
    assert len(await core.rows("SELECT id FROM outbox")) == len(await core.said()), "nothing was sent"


async def test_a_changed_effect_is_a_difference(core: Core) -> None:
    """Not only words: what a flow does, and how it ends."""
    await core.hears("dove", "Torino")
    await core.work()
    kept = EXTRA.replace("session.place, next", "contact.fields.place, next").replace(
        "{{ session.place }}", "{{ contact.fields.place }}"
    )
    [done] = await replayed(core, source=kept)
    assert done.difference is not None
    assert done.difference.what == "did"
    [ended] = await replayed(core, source=EXTRA.replace("{end: far}", "{end: near}"))
    assert ended.difference is not None
    assert (ended.difference.what, ended.difference.then, ended.difference.now) == (
        "ended",
        ("far",),
        ("near",),
    )


async def test_timers_and_stays_of_another_version_are_translated(core: Core) -> None:
    """A timer that fired then fires again, though steps have other names and visits by now."""
    await core.hears("ciao")
    await core.work()
    await core.time(2 * DAY)
    await core.work()
    assert "Ci sei ancora?" in await core.said()
    other = FORM.replace("name:\n", "your_name:\n").replace("next: name}", "next: extra_step}") + (
        "  extra_step: {set: {session.a: b}, next: your_name}\n"
    )
    [found] = await replayed(core, source=other)
    assert found.same, found.difference


async def test_turns_of_before_cannot_be_replayed(core: Core) -> None:
    """Turns recorded without the start, the channel and the business say so, and so do those whose start is gone."""
    await core.hears("ciao", "Anna Rossi")
    await core.work()
    rows = await core.rows("SELECT id, payload FROM turn ORDER BY id")
    opened = [
        msgspec.json.decode(core.sealer.open(row.payload, table="turn", row=row.id, column="payload"))
        for row in rows
    ]
    for key in ("format", "flow", "channel", "library", "business", "language", "variables"):
        opened[0].pop(key, None)
    old = core.sealer.seal(msgspec.json.encode(opened[0]), table="turn", row=rows[0].id, column="payload")
    await core.do(
        lambda c: c.execute(text("UPDATE turn SET payload = :p WHERE id = :id"), {"p": old, "id": rows[0].id})
    )
    assert [one.problem for one in await replayed(core)] == [replay.OLD]
    await core.do(lambda c: c.execute(text("DELETE FROM turn WHERE id = :id"), {"id": rows[0].id}))
    assert [one.problem for one in await replayed(core)] == [replay.NO_START]


async def test_the_key_of_referrals_is_in_no_turn(core: Core) -> None:
    await core.hears("ciao")
    await core.work()
    channel = core.channels.get(core.channel_id)
    assert channel is not None
    [found] = await core.database.read(
        lambda c: turns.of_conversation(c, WORKSPACE, _only(c), limit=10, sealer=core.sealer)
    )
    assert found.recorded is not None
    assert found.recorded.channel is not None
    assert (channel.view.key != "", found.recorded.channel.key) == (True, "")


async def test_conversations_of_others_are_not_there(core: Core) -> None:
    await core.hears("ciao")
    await core.work()
    [row] = await core.rows("SELECT id FROM conversation")
    for workspace, conversation in ((OTHER_WORKSPACE, row.id), (WORKSPACE, row.id + 1)):
        with pytest.raises(NotFound):
            await core.database.read(
                lambda c, w=workspace, i=conversation: replay.of_conversation(  # type: ignore[misc]
                    c, workspace_id=w, conversation_id=i, sealer=core.sealer
                )
            )


def _only(connection: Any) -> int:
    return int(connection.execute(text("SELECT id FROM conversation")).scalar_one())


async def test_answers_of_services_are_played_again_and_not_asked_for(core: Core) -> None:
    """What a service said then is recorded with the turn; on another version it counts as the answer there."""
    source = """
flow: order
languages: [it]
triggers: [{keyword: [ordine]}]
start: ask
steps:
  ask: {http: https://shop.example.com/orders, save: {state: session.state}, error: sorry, next: tell}
  tell: {send: "Il tuo ordine: {{ session.state }}", next: end}
  sorry: {send: Riprova, next: end}
"""
    await core.publish(source)
    await core.hears("ordine")
    await core.work()
    [row] = await core.rows(
        "SELECT s.id, s.state, c.id AS conversation, c.slot, c.intake_key FROM flow_session s "
        "JOIN conversation c ON c.id = s.conversation_id"
    )
    at = state.decode(row.state)
    assert at.waiting == "call"
    answer = HttpAnswered(
        key="answer:1",
        conversation_id=row.conversation,
        session_id=row.id,
        step_id=at.step,
        visit=at.visit,
        status=200,
        body='{"state": "spedito"}',
    )
    own = [(WORKSPACE, core.channel_id, row.slot, row.intake_key, answer)]
    await core.do(lambda c: append_own(c, own, sealer=core.sealer, new_id=core.new_id, now=core.now))
    await core.work()
    assert (await core.said())[-1] == "Il tuo ordine: spedito"
    calls = await core.rows("SELECT id FROM job")
    [same] = await replayed(core)
    assert (same.same, same.turns) == (True, 2)
    renamed = source.replace("ask:", "look:").replace("start: ask", "start: look")
    [other] = await replayed(core, source=renamed)
    assert other.same, other.difference
    [said] = await replayed(core, source=renamed.replace("Il tuo ordine", "Ordine"))
    assert said.difference is not None
    assert (said.difference.heard, said.difference.now) == ("(http: 200)", ("Ordine: spedito",))
    assert await core.rows("SELECT id FROM job") == calls
