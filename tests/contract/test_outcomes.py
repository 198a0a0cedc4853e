"""What flows bring about becomes rows, once, and goes with the person: on both databases."""

from __future__ import annotations

from collections.abc import AsyncIterator
from typing import Any

import msgspec
import pytest
from sqlalchemy import Connection, text
from sqlmodel import SQLModel

import bot.personal  # noqa: F401 (registers what the runtime erases)
from bot import channel_store, handlers
from crm import outcomes, privacy
from domain.errors import NotFound
from domain.events import MessageReceived
from domain.messages import ReceivedText, Tap, decode_content, text_of
from flows import referrals
from tests.support.core import NOW, OTHER_WORKSPACE, TOKEN, WORKSPACE, Core

FLOW = """
flow: shop
triggers: [{keyword: [ciao], interrupts: true}, {deep_link: "ref-summer-*"}]
start: invite
steps:
  invite: {referral: summer, new_only: true, exits: {invited: hello, none: opinion}}
  hello: {send: Benvenuto, next: opinion}
  opinion:
    feedback: nps
    text: Ci consiglieresti?
    topic: visit
    follow_up: {it: Perché?, en: Why?}
    follow_up_for: [detractor]
    next: order
  order: {conversion: order, value: 49.9, next: points}
  points: {score: 10, reason: Ha ordinato, next: stage}
  stage: {stage: customer, value: 49.9, next: follow}
  follow: {subscribe: [bags, shoes], next: unfollow}
  unfollow: {subscribe: bags, state: "off", next: tell}
  tell: {notify: "Ordine di {{ contact.first_name }}", team: sales, next: link}
  link: {send: "{{ session.referral_link }}", next: end}
"""
PERSON_FLOW = """
flow: person
triggers: [{keyword: [aiuto], interrupts: true}]
start: a
steps:
  a: {hand_over: sales, about: Vuole parlare}
"""
BROKEN = """
flow: broken
triggers: [{keyword: [rotto], interrupts: true}]
start: a
steps:
  a: {goto: b}
  b: {goto: a}
"""
DAY = 86_400_000

pytestmark = pytest.mark.usefixtures("quiet")


@pytest.fixture
async def core(store_url: str) -> AsyncIterator[Core]:
    made = await Core.open(store_url)
    await name_the_bot(made)
    await made.publish(FLOW)
    yield made
    await made.database.close()


async def name_the_bot(core: Core) -> None:
    values = {"token": TOKEN, "webhook_secret": "test-webhook-secret", "username": "bottega_bot"}
    await core.do(
        lambda c: channel_store.change(
            c, core.channel_id, "telegram", values=values, mode="webhook", sealer=core.sealer
        )
    )
    await core.database.read(core.channels.load)


async def says(core: Core, *words: str | Tap, person: int = 1001, **values: Any) -> None:
    for word in words:
        await core.hears(word, person=person, **values)
        await core.work()


async def contact(core: Core, person: int) -> int:
    return int(
        await core.value("SELECT contact_id FROM identity WHERE address = :address", address=str(person))
    )


async def link_of(core: Core, person: int) -> str:
    """The link that somebody was given."""
    return next(line for line in reversed(await core.said(person)) if line.startswith("https://"))


async def test_a_walk_leaves_its_rows(core: Core) -> None:
    await says(core, "ciao", "3", "Troppa attesa")
    anna = await contact(core, 1001)
    [score] = await core.rows("SELECT * FROM feedback")
    assert (score.kind, score.topic, score.score, score.comment) == ("nps", "visit", 3, "Troppa attesa")
    [order] = await core.rows("SELECT * FROM conversion")
    assert (order.name, order.amount, order.currency, order.contact_id) == ("order", 4990, "EUR", anna)
    flow = await core.rows("SELECT f.id, f.current_version_id FROM flow f")
    for row in (score, order):
        assert (row.flow_id, row.flow_version_id, row.at) == (flow[0].id, flow[0].current_version_id, NOW)
        assert row.session_id
        assert row.conversation_id
    topics = await core.rows("SELECT topic, state FROM subscription ORDER BY topic")
    assert [tuple(row) for row in topics] == [("bags", 0), ("shoes", 1)]
    [told] = await core.rows("SELECT * FROM notification")
    assert (told.kind, told.team, told.text, told.seen_at) == ("notify", "sales", "Ordine di Anna", None)
    fields = msgspec.json.decode(await core.value("SELECT fields FROM contact"))
    assert fields == {"score": 10, "stage": "customer", "stage_value": 49.9}
    lines = await core.rows("SELECT kind, data FROM timeline_entry ORDER BY id")
    kinds = [line.kind for line in lines]
    assert [kind for kind in kinds if kind in ("feedback", "conversion", "score", "stage", "topic_on")] == [
        "feedback",
        "conversion",
        "score",
        "stage",
        "topic_on",
        "topic_on",
    ]
    [points] = [msgspec.json.decode(line.data) for line in lines if line.kind == "score"]
    assert points == {"field": "score", "points": 10, "total": 10, "reason": "Ha ordinato", "step": "points"}


async def test_a_second_walk_is_a_second_score_and_the_same_topics(core: Core) -> None:
    await says(core, "ciao", "3", "Troppa attesa", "ciao", "2", "Sempre peggio")
    rows = await core.rows("SELECT score, comment FROM feedback ORDER BY id")
    assert [tuple(row) for row in rows] == [(3, "Troppa attesa"), (2, "Sempre peggio")]
    assert await core.value("SELECT count(*) FROM subscription") == 2


async def test_score_and_comment_of_one_round_find_each_other(core: Core) -> None:
    """Written faster than a round: the comment's update comes behind the score's insert."""
    await core.hears("ciao", "3", "Troppa attesa")
    await core.work()
    assert await core.value("SELECT comment FROM feedback") == "Troppa attesa"


async def test_who_invites_is_counted_once_for_each_person(core: Core) -> None:
    await says(core, "ciao", "10")
    link = await link_of(core, 1001)
    payload = link.partition("?start=")[2]
    assert link.startswith("https://t.me/bottega_bot?start=ref-summer-")
    assert len(payload) <= 64
    await says(core, f"/start {payload}", person=1002, deep_link=payload)
    await says(core, "10", person=1002)
    assert "Benvenuto" in await core.said(1002)
    anna, bruno = await contact(core, 1001), await contact(core, 1002)
    [row] = await core.rows("SELECT * FROM referral")
    assert (row.program, row.referrer_id, row.contact_id) == ("summer", anna, bruno)

    async def fields(contact_id: int) -> Any:
        return msgspec.json.decode(
            await core.value("SELECT fields FROM contact WHERE id = :id", id=contact_id)
        )

    assert (await fields(anna))["invited_summer"] == 1
    assert (await fields(bruno))["referred_summer"] == "2026-12-11"
    # Again, and by oneself: nobody is counted.
    for person in (1002, 1001):
        await says(core, f"/start {payload}", person=person, deep_link=payload)
        await says(core, "10", person=person)
    assert (await fields(anna))["invited_summer"] == 1
    assert await core.value("SELECT count(*) FROM referral") == 1
    assert (await core.said(1002)).count("Benvenuto") == 1


async def test_who_invited_hears_of_the_friend(core: Core) -> None:
    """A flow that listens to the field that counts them starts for the one who invited, not for the friend."""
    await core.publish(
        "flow: thanks\ntriggers: [{field_changed: invited_summer}]\nstart: a\n"
        "steps: {a: {send: 'Amici: {{ session.value }}', next: end}}"
    )
    await says(core, "ciao", "10")
    payload = (await link_of(core, 1001)).partition("?start=")[2]
    await says(core, f"/start {payload}", person=1002, deep_link=payload)
    assert "Amici: 1" in await core.said(1001)
    assert "Amici: 1" not in await core.said(1002)


async def test_somebody_who_was_here_before_is_no_new_person(core: Core) -> None:
    await says(core, "ciao", "10")
    await says(core, "ciao", "10", person=1002)
    payload = (await link_of(core, 1001)).partition("?start=")[2]
    core.now += 2 * DAY
    await says(core, f"/start {payload}", person=1002, deep_link=payload)
    assert await core.value("SELECT count(*) FROM referral") == 0


async def test_a_link_of_somebody_who_is_gone_counts_for_nobody(core: Core) -> None:
    """The code is true, the person was forgotten: no row points to nobody."""
    channel = core.channels.get(core.channel_id)
    assert channel is not None
    payload = referrals.payload(channel.view.key, "summer", 12345)
    await says(core, f"/start {payload}", person=1002, deep_link=payload)
    assert await core.value("SELECT count(*) FROM referral") == 0


async def test_a_person_is_told_in_one_way_only(core: Core) -> None:
    """An author's step, a failed flow, a hand-over: a row each, and a message in the team's chat where there is one."""
    await core.publish(PERSON_FLOW)
    await core.publish(BROKEN)
    business = msgspec.json.encode({"team": {"chat": {"channel": "Bot 0", "address": "-1001"}}}).decode()
    await core.do(
        lambda c: c.execute(
            text("UPDATE workspace SET business = :business WHERE id = :id"),
            {"business": business, "id": WORKSPACE},
        )
    )
    await core.database.read(core.flows.load)
    await says(core, "ciao", "10")
    await says(core, "rotto", person=1002)
    await says(core, "aiuto", person=1003)
    rows = await core.rows("SELECT kind, team, text FROM notification ORDER BY id")
    assert [(row.kind, row.team) for row in rows] == [
        ("notify", "sales"),
        ("failed", ""),
        ("handed_over", "sales"),
    ]
    sent = await core.rows("SELECT * FROM outbox WHERE address = '-1001' ORDER BY id")
    said = [text_of(decode_content(row.content)) for row in sent]
    assert said[0] == "Avviso (sales)\nAnna\nOrdine di Anna"
    assert said[1].startswith("Un flusso si è interrotto per un errore\nAnna\nstep ")
    assert said[2] == "Qualcuno aspetta una persona (sales)\nAnna\nVuole parlare"
    # Of no conversation, so that it stands in none; of the person, so that it goes with them.
    assert [(row.conversation_id, row.contact_id != 0, row.message_class) for row in sent] == [
        (0, True, "service")
    ] * 3


async def test_an_event_that_fails_takes_its_outcomes_back(
    core: Core, monkeypatch: pytest.MonkeyPatch
) -> None:
    registry: Any = handlers.registry()
    real = registry[MessageReceived]

    def handle(scope: Any, flows: Any, received: MessageReceived) -> None:
        real(scope, flows, received)
        if received.content == ReceivedText("10"):
            raise RuntimeError("a fault of ours")

    monkeypatch.setitem(registry, MessageReceived, handle)
    await says(core, "ciao", "10")
    for table in ("conversion", "feedback", "subscription", "notification"):
        assert await core.value(f"SELECT count(*) FROM {table}") == 0


def test_nothing_brought_about_costs_no_statement() -> None:
    """Most turns bring about nothing: none of these tables is touched."""
    nobody: Any = None
    for write in (
        outcomes.write_conversions,
        outcomes.write_feedback,
        outcomes.write_referrals,
        outcomes.write_subscriptions,
        outcomes.write_notifications,
    ):
        assert not write(nobody, [])


async def test_readers_page_and_keep_to_their_workspace(core: Core) -> None:
    for person in range(1001, 1006):
        await says(core, "ciao", "10", person=person)
    anna = await contact(core, 1001)

    def pages(connection: Connection, workspace_id: int) -> list[int]:
        found: list[int] = []
        before = 0
        while page := outcomes.conversions(connection, workspace_id, before=before, limit=2):
            found += [one.id for one in page]
            before = page[-1].id
        return found

    everybody = await core.database.read(lambda c: pages(c, WORKSPACE))
    assert len(everybody) == 5
    assert everybody == sorted(everybody, reverse=True)
    assert await core.database.read(lambda c: pages(c, OTHER_WORKSPACE)) == []
    [score] = await core.database.read(
        lambda c: outcomes.feedback(c, WORKSPACE, contact_id=anna, kind="nps", topic="visit", limit=9)
    )
    assert score.score == 10
    topics = await core.database.read(lambda c: outcomes.subscriptions(c, WORKSPACE, limit=3))
    last = (topics[-1].contact_id, topics[-1].topic)
    rest = await core.database.read(lambda c: outcomes.subscriptions(c, WORKSPACE, after=last, limit=9))
    assert len({(one.contact_id, one.topic) for one in [*topics, *rest]}) == 10


async def test_seen_is_noted_once(core: Core) -> None:
    for person in (1001, 1002, 1003):
        await says(core, "ciao", "10", person=person)
    unseen = await core.database.read(lambda c: outcomes.notifications(c, WORKSPACE, unseen=True, limit=9))
    first = unseen[0].id
    with pytest.raises(NotFound):
        await core.do(lambda c: outcomes.mark_seen(c, OTHER_WORKSPACE, [first], now=NOW))
    assert await core.do(lambda c: outcomes.mark_seen(c, WORKSPACE, [first, first], now=NOW + 5)) == 1
    assert await core.do(lambda c: outcomes.mark_seen(c, WORKSPACE, [], now=NOW + 9)) == 2
    rows = await core.rows("SELECT id, seen_at FROM notification ORDER BY id")
    assert [row.seen_at for row in rows] == [NOW + 9, NOW + 9, NOW + 5]


async def test_nothing_of_a_forgotten_person_is_left(core: Core) -> None:
    """Figures stay, of a day and without a person; no row of any table leads to them."""
    canary = "Nightingale-Canary"
    await says(core, "ciao", "3", canary)
    payload = (await link_of(core, 1001)).partition("?start=")[2]
    await says(core, f"/start {payload}", person=1002, deep_link=payload)
    await says(core, "10", person=1002)
    anna, bruno = await contact(core, 1001), await contact(core, 1002)

    async def forget(contact_id: int) -> None:
        await core.do(
            lambda c: privacy.erase(
                c, workspace_id=WORKSPACE, contact_id=contact_id, actor="person", new_id=core.new_id, now=NOW
            )
        )

    shown = await core.database.read(
        lambda c: privacy.export(c, workspace_id=WORKSPACE, contact_id=anna, now=NOW)
    )
    assert shown["outcomes"]["feedback"][0]["comment"] == canary
    assert shown["outcomes"]["conversions"][0]["amount"] == 4990
    assert {one["topic"]: one["state"] for one in shown["outcomes"]["topics"]} == {"shoes": 1, "bags": 0}
    assert shown["outcomes"]["invited_others"][0]["program"] == "summer"
    assert "Nightingale-Canary" in privacy.readable(shown, "it")
    await forget(anna)
    [referral] = await core.rows("SELECT referrer_id, contact_id FROM referral")
    assert tuple(referral) == (0, bruno)
    orders = await core.rows("SELECT contact_id, session_id, amount, at FROM conversion ORDER BY id")
    assert next(tuple(row) for row in orders) == (0, 0, 4990, NOW - NOW % DAY)

    def everything(connection: Connection) -> dict[str, str]:
        tables = SQLModel.metadata.tables.values()
        return {t.name: repr([tuple(row) for row in connection.execute(t.select())]) for t in tables}

    left = await core.database.read(everything)
    assert {name for name, rows in left.items() if canary in rows} == set()
    ids = {name for name, rows in left.items() if str(anna) in rows}
    assert ids <= {"consent_entry", "audit_entry"}, "an id that leads to nobody may stay in the proof only"
    await forget(bruno)
    assert await core.value("SELECT count(*) FROM referral") == 0
    assert await core.value("SELECT count(*) FROM conversion WHERE amount = 4990") == 2
