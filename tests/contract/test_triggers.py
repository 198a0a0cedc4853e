"""What starts a flow beside messages: changes, schedules, silence. Once for each occasion, in order, never for ever."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from typing import Any

import pytest
from sqlalchemy import text

from bot import doors, handover, intake, occasions, outbox, schedules, settling, timers
from bot.settling import Result
from bot.triggering import MAX_CHAIN, MAX_STARTS
from crm import privacy
from domain.effects import PatchContact
from domain.events import (
    ExternalId,
    Origin,
    OutletActivity,
    Person,
    Place,
    Preference,
    SessionCommand,
)
from domain.messages import Tap
from flows.triggers import Occasion
from tests.support.core import OTHER_WORKSPACE, WORKSPACE, Core

pytestmark = pytest.mark.usefixtures("quiet")

MINUTE, HOUR, DAY = 60_000, 3_600_000, 86_400_000

LEAD = """
flow: lead
triggers: [{keyword: ciao}]
start: name
steps:
  name: {ask: text, text: Come ti chiami?, save: session.name, next: mark}
  mark: {tag: lead, next: bye}
  bye: {send: "Piacere, {{ session.name }}", next: end}
"""
VIP = """
flow: vip
triggers: [{tag_added: [vip, lead]}]
start: hello
steps:
  hello: {send: "Sei {{ session.tag | default('') }}!", next: end}
"""


@pytest.fixture
async def core(store_url: str) -> AsyncIterator[Core]:
    made = await Core.open(store_url)
    yield made
    await made.database.close()


async def deliver(core: Core, *, state: str = "sent", **values: Any) -> int:
    """The platform takes everything that waits, one after the other; gives how many."""
    taken = 0
    while True:
        rows = await core.rows("SELECT id FROM outbox WHERE state = 1 ORDER BY id")
        if not rows:
            return taken
        for row in rows:
            marked = await core.do(lambda c, i=row.id: outbox.mark(c, [i], now=core.now))  # type: ignore[misc]
            result = Result(id=row.id, attempt=marked[row.id], state=state, at=core.now, **values)
            await core.do(lambda c, r=result: settling.settle(c, [r], new_id=core.new_id, now=core.now))  # type: ignore[misc]
            taken += 1


async def tick(core: Core) -> None:
    """Schedules and timers, as often as they want, and the worker behind them."""
    for _ in range(200):
        more = await core.do(lambda c: schedules.tick(c, core.runtime))
        more = bool(await core.do(lambda c: timers.fire(c, core.runtime))) or more
        await core.work()
        if not more:
            return
    raise AssertionError("the clock never comes to rest")


async def contact_of(core: Core) -> int:
    return int(await core.value("SELECT max(id) FROM contact"))


async def change(core: Core, contact_id: int, **patch: Any) -> None:
    await core.do(
        lambda c: occasions.change_contact(
            c,
            core.flows,
            workspace_id=WORKSPACE,
            contact_id=contact_id,
            patch=PatchContact("test", **patch),
            sealer=core.sealer,
            new_id=core.new_id,
            now=core.now,
        )
    )


async def started(core: Core) -> list[str]:
    """The flows that were started, in order."""
    rows = await core.rows("SELECT f.key FROM flow_session s JOIN flow f ON f.id = s.flow_id ORDER BY s.id")
    return [row.key for row in rows]


# --- changes


async def test_a_tag_that_a_flow_puts_starts_another(core: Core) -> None:
    """After the flow has ended, in order; a tag that is there already is no change."""
    await core.publish(LEAD)
    await core.publish(VIP)
    await core.hears("ciao", "Bruno")
    await core.work()
    assert await core.said() == ["Come ti chiami?", "Piacere, Bruno", "Sei lead!"]
    await core.hears("ciao", "Carla")
    await core.work()
    assert (await core.said())[3:] == ["Come ti chiami?", "Piacere, Carla"]


async def test_a_change_from_outside_is_heard_once_in_its_own_transaction(core: Core) -> None:
    """A tag by the API; the same once more changes nothing; a change that is rolled back starts nothing."""
    await core.publish(LEAD)
    await core.publish(VIP)
    await core.hears("buongiorno")
    await core.work()
    contact = await contact_of(core)
    with pytest.raises(ZeroDivisionError):
        await core.do(
            lambda c: (
                occasions.change_contact(
                    c,
                    core.flows,
                    workspace_id=WORKSPACE,
                    contact_id=contact,
                    patch=PatchContact("test", add_tags=("vip",)),
                    sealer=core.sealer,
                    new_id=core.new_id,
                    now=core.now,
                ),
                1 // 0,
            )
        )
    await core.work()
    assert await core.said() == []
    for _ in range(2):
        await change(core, contact, add_tags=("vip",))
        await core.work()
    assert await core.said() == ["Sei vip!"]


async def test_who_has_no_chat_is_not_written_to(core: Core) -> None:
    """A contact that was added by hand has no door; nothing is raised, nothing fails."""
    await core.publish(VIP)
    raised = await core.do(lambda c: doors.latest(c, WORKSPACE, 4711))
    assert raised is None


async def test_fields_and_stages(core: Core) -> None:
    """To a value, to any, and the stage, whose own trigger is the more precise one."""
    for source in (
        "flow: rome\ntriggers: [{field_changed: city, to: [Roma]}]\nstart: a\n"
        "steps: {a: {send: 'Roma!', next: end}}",
        "flow: any\ntriggers: [{field_changed: '*'}]\nstart: a\n"
        "steps: {a: {send: '{{ session.field }} = {{ session.value }}', next: end}}",
        "flow: won\ntriggers: [{stage: won}]\nstart: a\nsteps: {a: {send: 'Grazie!', next: end}}",
    ):
        await core.publish(source)
    await core.hears("x")
    await core.work()
    contact = await contact_of(core)
    await change(core, contact, set={"fields.city": "roma"})
    await core.work()
    await change(core, contact, set={"fields.city": "Milano", "email": "anna@example.com"})
    await core.work()
    await change(core, contact, set={"fields.stage": "won"})
    await core.work()
    assert await core.said() == ["Roma!", "email = anna@example.com", "city = Milano", "Grazie!"]


async def test_a_session_that_waits_is_left_in_peace_unless_it_is_said(core: Core) -> None:
    """Without `interrupts` the occasion passes; with it the session is replaced."""
    await core.publish(LEAD)
    await core.publish(VIP)
    await core.publish(
        "flow: alarm\ntriggers: [{tag_added: alarm, interrupts: true}]\nstart: a\n"
        "steps: {a: {send: 'Attenzione!', next: end}}"
    )
    await core.hears("ciao")
    await core.work()
    contact = await contact_of(core)
    await change(core, contact, add_tags=("vip",))
    await core.work()
    assert await core.said() == ["Come ti chiami?"]
    assert await core.value("SELECT count(*) FROM channel_log WHERE outcome = 'skipped'") == 1
    await change(core, contact, add_tags=("alarm",))
    await core.work()
    assert await core.said() == ["Come ti chiami?", "Attenzione!"]
    assert [row.status for row in await core.rows("SELECT status FROM flow_session ORDER BY id")] == [
        "replaced",
        "ended",
    ]


async def test_a_flow_that_is_not_interruptible_hears_everything_itself(core: Core) -> None:
    """Neither a keyword with `interrupts` nor a deep link ends a payment; STOP does."""
    await core.publish(
        "flow: pay\ntriggers: [{keyword: paga}]\ninterruptible: false\nstart: a\n"
        "steps: {a: {ask: text, text: Quanto?, next: b}, b: {send: Pagato, next: end}}"
    )
    await core.publish(
        "flow: help\ntriggers: [{keyword: aiuto, interrupts: true}, {deep_link: x}]\nstart: a\n"
        "steps: {a: {send: Eccomi, next: end}}"
    )
    await core.hears("paga", "aiuto")
    await core.work()
    assert await core.said() == ["Quanto?", "Pagato"]
    await core.hears("paga")
    await core.hears("/start x", deep_link="x")
    await core.work()
    assert (await core.said())[2:] == ["Quanto?", "Pagato"]
    await core.hears("paga")
    await core.hears("STOP", opt_out=True)
    await core.work()
    assert await core.value("SELECT count(*) FROM flow_session WHERE status = 'stopped'") == 1


async def test_what_was_interrupted_is_offered_again(core: Core) -> None:
    """With `resume` the question is asked once more when the person wants that, and is over when not."""
    await core.publish(LEAD)
    await core.publish(
        "flow: hours\ntriggers: [{keyword: orari, interrupts: true, resume: true}]\nstart: a\n"
        "steps: {a: {send: Dalle 9 alle 18, next: end}}"
    )
    await core.hears("ciao", "orari")
    await core.work()
    assert await core.said() == ["Come ti chiami?", "Dalle 9 alle 18", "Riprendiamo da dove eravamo rimasti?"]
    paused = await core.value("SELECT id FROM flow_session WHERE status = 'paused'")
    await core.hears(Tap(f"builtin:resume:yes:{paused}", "Sì, riprendiamo"))
    await core.work()
    assert (await core.said())[3:] == ["Come ti chiami?"]
    await core.hears("Bruno", Tap(f"builtin:resume:yes:{paused}", "Sì, riprendiamo"))
    await core.work()
    assert (await core.said())[4:] == ["Piacere, Bruno"], "and an old button does nothing"
    await core.hears("ciao", "orari")
    await core.work()
    paused = await core.value("SELECT id FROM flow_session WHERE status = 'paused'")
    await core.hears(Tap(f"builtin:resume:no:{paused}", "No, grazie"))
    await core.work()
    assert (await core.said())[-1] == "Va bene, lasciamo stare."
    assert await core.value("SELECT count(*) FROM flow_session WHERE status = 'paused'") == 0
    await core.hears("ciao", "orari", "ciao")
    await core.work()
    assert await core.value("SELECT count(*) FROM flow_session WHERE status = 'paused'") == 0, "it began anew"
    left = "SELECT count(*) FROM timer t JOIN flow_session s ON s.id = t.session_id WHERE t.state = 0"
    assert await core.value(f"{left} AND s.status <> 'waiting'") == 0, "what is over wakes nobody"
    await core.hears("orari")
    await core.work()
    assert await core.value("SELECT count(*) FROM flow_session WHERE status = 'paused'") == 1
    await core.time(40 * DAY)
    await core.work()
    assert await core.value("SELECT count(*) FROM flow_session WHERE status = 'paused'") == 0, (
        "never taken up again"
    )


async def test_a_button_of_the_question_is_no_keyword(core: Core) -> None:
    """Its tap and its words answer it; other words of the keyword still interrupt."""
    await core.publish(
        "flow: prize\ntriggers: [{keyword: [concorso, partecipo], interrupts: true}]\nstart: a\nsteps:\n"
        "  a: {choose: Ti va?, options: [{id: join, text: Partecipo}, {id: no, text: Non ora}], next: b}\n"
        "  b: {send: Fatto, next: end}"
    )
    await core.hears("concorso", "partecipo", "partecipo", Tap("join", "Partecipo"), "partecipo", "concorso")
    await core.work()
    assert await core.said() == ["Ti va?", "Fatto", "Ti va?", "Fatto", "Ti va?", "Ti va?"]


async def test_a_wait_goes_on_by_itself_after_an_interruption(core: Core) -> None:
    """The time does not begin anew; what fell due meanwhile is due at once."""
    await core.publish(
        "flow: later\ntriggers: [{keyword: dopo}]\nstart: w\n"
        "steps: {w: {wait: 2 hours, next: b}, b: {send: Eccoci, next: end}}"
    )
    await core.publish(
        "flow: ask\ntriggers: [{keyword: chiedi, interrupts: true, resume: true}]\nstart: a\n"
        "steps: {a: {ask: text, text: Che cosa?, next: end}}"
    )
    await core.hears("dopo")
    await core.work()
    core.now += HOUR
    await core.hears("chiedi")
    await core.work()
    core.now += 2 * HOUR
    await tick(core)
    assert await core.said() == ["Che cosa?"]
    await core.hears("niente")
    await core.work()
    await tick(core)
    assert await core.said() == ["Che cosa?", "Eccoci"]


async def test_a_wait_leaves_messages_to_the_triggers(core: Core) -> None:
    """Nobody is waited for: a keyword needs no `interrupts`, and the wait goes on when its time has come. What catches
    all that nobody else understands does not begin anew while it waits itself."""
    await core.publish(
        "flow: course\ntriggers: [{keyword: corso}]\nstart: w\n"
        "steps: {w: {wait: 2 hours, next: b}, b: {send: Seconda lezione, next: end}}"
    )
    await core.publish(
        "flow: hours\ntriggers: [{keyword: orari}]\nstart: a\nsteps: {a: {send: Dalle 9 alle 18, next: end}}"
    )
    await core.publish(
        "flow: sorry\ntriggers: [fallback]\nstart: a\n"
        "steps: {a: {send: Ti rispondiamo presto, next: w}, w: {wait: 1 hour, next: end}}"
    )
    await core.hears("corso", "orari", "orari")
    await core.work()
    assert await core.said() == ["Dalle 9 alle 18"] * 2
    core.now += 2 * HOUR
    await tick(core)
    assert (await core.said())[2:] == ["Seconda lezione"]
    await core.hears("corso", "boh", "boh", "orari")
    await core.work()
    assert (await core.said())[3:] == ["Ti rispondiamo presto", "Dalle 9 alle 18"]
    core.now += 3 * HOUR
    await tick(core)
    assert (await core.said())[5:] == ["Seconda lezione"]
    assert await core.value("SELECT count(*) FROM flow_session WHERE status IN ('waiting', 'paused')") == 0


COURSE = (
    "flow: course\ntriggers: [{keyword: corso}]\nstart: a\n"
    "steps: {a: {send: Prima, next: w}, w: {wait: 2 hours, next: b}, b: {send: Seconda, next: end}}"
)


async def test_a_course_that_begins_anew_behind_another_wait_is_gone_through_once(core: Core) -> None:
    """Its first try is over, wherever it waits; what that one had interrupted still goes on, in its time."""
    for name, hours in (("sorry", 1), ("early", 3)):
        await core.publish(
            f"flow: {name}\ntriggers: [{{keyword: {name}}}]\nstart: w\n"
            f"steps: {{w: {{wait: {hours} hours, next: b}}, b: {{send: Fine {name}, next: end}}}}"
        )
    await core.publish(COURSE)
    await core.hears("early", "corso", "sorry", "corso")
    await core.work()
    statuses = [row.status for row in await core.rows("SELECT status FROM flow_session ORDER BY id")]
    assert statuses == ["paused", "replaced", "paused", "waiting"]
    for _ in range(4):
        core.now += HOUR
        await tick(core)
    assert await core.said() == ["Prima", "Prima", "Seconda", "Fine sorry", "Fine early"]
    assert await core.value("SELECT count(*) FROM flow_session WHERE status IN ('waiting', 'paused')") == 0
    assert await core.value("SELECT count(*) FROM timer WHERE state = 0") == 0


async def test_a_wait_goes_on_after_a_question_that_nobody_answered(core: Core) -> None:
    """Who wrote a keyword in the meantime has not given up the course; questions in between are over."""
    await core.publish(LEAD)
    await core.publish(COURSE.replace("2 hours", "3 days"))
    await core.publish(
        "flow: other\nexpires: 1 day\ntriggers: [{keyword: altro, interrupts: true, resume: true}]\nstart: a\n"
        "steps: {a: {ask: text, text: Che cosa?, next: end}}"
    )
    await core.hears("corso", "ciao", "altro")
    await core.work()
    core.now += DAY
    await tick(core)
    statuses = [row.status for row in await core.rows("SELECT status FROM flow_session ORDER BY id")]
    assert statuses == ["waiting", "replaced", "expired"]
    core.now += 2 * DAY
    await tick(core)
    assert (await core.said())[-1] == "Seconda"
    assert await core.value("SELECT count(*) FROM flow_session WHERE status IN ('waiting', 'paused')") == 0


async def test_a_flow_that_begins_anew_does_not_resume_itself(core: Core) -> None:
    """Who asks for the same flow once more has given up the first try; what that one had interrupted still goes on."""
    await core.publish(
        "flow: later\ntriggers: [{keyword: dopo}]\nstart: w\n"
        "steps: {w: {wait: 2 hours, next: b}, b: {send: Eccoci, next: end}}"
    )
    await core.publish(
        "flow: ask\ntriggers: [{keyword: chiedi, interrupts: true, resume: true}]\nstart: a\n"
        "steps: {a: {ask: text, text: Che cosa?, next: end}}"
    )
    await core.hears("dopo", "chiedi", "chiedi", "niente")
    await core.work()
    assert await core.said() == ["Che cosa?", "Che cosa?"], "nothing is offered"
    core.now += 3 * HOUR
    await tick(core)
    assert (await core.said())[2:] == ["Eccoci"]


# --- consent


async def test_who_takes_consent_back_hears_no_marketing(core: Core) -> None:
    """STOP starts the flow that asks why; what belongs to a purpose is left out, whatever else was agreed to."""
    await core.publish(
        "flow: form\ntriggers: [{keyword: iscrivi}]\nstart: c\n"
        "steps: {c: {consent: marketing, exits: {yes: end, no: end}}}"
    )
    await core.publish(
        "flow: given\ntriggers: [{consent_given: marketing}]\nstart: a\nsteps: {a: {send: Benvenuta!, next: end}}"
    )
    await core.publish(
        "flow: why\ntriggers: [{consent_withdrawn: marketing}]\nstart: a\n"
        "steps: {a: {send: Come mai?, next: b}, b: {send: Ultima offerta!, marketing: offers, next: end}}"
    )
    await core.hears("iscrivi", "sì")
    await core.work()
    assert (await core.said())[1:] == ["Benvenuta!"]
    await core.hears("STOP", opt_out=True)
    await core.work()
    assert "Come mai?" in await core.said()
    assert "Ultima offerta!" not in await core.said()
    assert await core.value("SELECT count(*) FROM outbox WHERE message_class = 'marketing'") == 0
    before = len(await core.said())
    await core.hears("STOP", opt_out=True)
    await core.work()
    assert (await core.said())[before:].count("Come mai?") == 0, "there was nothing left to take back"


async def test_the_platforms_own_switch_takes_consent_back_too(core: Core) -> None:
    await core.publish(
        "flow: form\ntriggers: [{keyword: iscrivi}]\nstart: c\n"
        "steps: {c: {consent: marketing, exits: {yes: end, no: end}}}"
    )
    await core.publish(
        "flow: why\ntriggers: [{consent_withdrawn: '*'}]\nstart: a\nsteps: {a: {send: Come mai?, next: end}}"
    )
    await core.hears("iscrivi", "sì")
    await core.work()
    person = Person((ExternalId("telegram_user", "1001"),), first_name="Anna")
    await core.takes(Preference(key="preference:1", person=person, wanted=False))
    await core.work()
    assert (await core.said())[-1] == "Come mai?"


async def test_a_low_score_starts_the_flow_that_cares(core: Core) -> None:
    """In the same turn's transaction, once the asking flow has ended."""
    await core.publish(
        "flow: rate\ntriggers: [{keyword: voto}]\nstart: a\nsteps: {a: {feedback: nps, text: Da 0 a 10?, next: end}}"
    )
    await core.publish(
        "flow: care\ntriggers: [{feedback: nps, below: 7}]\nstart: a\n"
        "steps: {a: {send: 'Solo {{ session.score }}? Ci dispiace', next: end}}"
    )
    await core.hears("voto", "9", "voto", "3")
    await core.work()
    assert [said for said in await core.said() if "dispiace" in said] == ["Solo 3? Ci dispiace"]


# --- guards


async def test_flows_that_start_one_another_end_and_a_person_is_told(core: Core) -> None:
    """A tags → B untags and tags → A …: after five the team hears of it, once; the person can go on."""
    for key, other in (("a", "b"), ("b", "a")):
        await core.publish(
            f"flow: {key}\ntriggers: [{{keyword: go{key}}}, {{tag_added: {key}}}]\nstart: x\nsteps:\n"
            f"  x: {{tag: {other}, remove: {key}, next: s}}\n  s: {{send: '{key}', next: end}}"
        )
    await core.hears("goa")
    await core.work()
    assert await started(core) == ["a", "b", "a", "b", "a", "b"][: MAX_CHAIN + 1]
    told = await core.rows("SELECT kind, text FROM notification")
    assert [row.kind for row in told] == ["runaway"]
    assert await core.value("SELECT count(*) FROM timeline_entry WHERE kind = 'flow_runaway'") == 1
    assert {state for state, _ in await core.states()} == {2}
    core.now += 2 * MINUTE
    await core.hears("goa")
    await core.work()
    assert len(await started(core)) == 2 * (MAX_CHAIN + 1), "a word of the person begins a new chain"
    assert len(await core.rows("SELECT 1 FROM notification")) == 1, "told once an hour"


async def test_at_most_ten_starts_a_minute_whatever_chain_they_are_of(core: Core) -> None:
    """A program that tags and untags for ever (by our own outgoing webhooks, say) has no chain: the minute counts."""
    await core.publish(VIP)
    await core.hears("x")
    await core.work()
    contact = await contact_of(core)
    for _ in range(MAX_STARTS + 5):
        await change(core, contact, add_tags=("vip",))
        await change(core, contact, remove_tags=("vip",))
    await core.work()
    assert len(await started(core)) == MAX_STARTS
    core.now += MINUTE + 1
    await change(core, contact, add_tags=("vip",))
    await core.work()
    assert len(await started(core)) == MAX_STARTS + 1


async def test_an_answering_machine_on_the_other_side_is_not_answered_for_ever(core: Core) -> None:
    await core.publish(
        "flow: f\ntriggers: [fallback]\nstart: a\nsteps: {a: {send: Non ho capito, next: end}}"
    )
    await core.hears(*["Sono assente"] * 25)
    await core.work()
    assert len(await started(core)) == MAX_STARTS


# --- what programs and outlets tell


async def test_events_of_programs(core: Core) -> None:
    await core.publish(
        "flow: paid\ntriggers: [{event: 'order_*'}]\nstart: a\n"
        "steps: {a: {send: 'Ordine {{ session.order }}: {{ session.event }}', next: end}}"
    )
    await core.hears("x")
    await core.work()
    contact = await contact_of(core)
    occasion = Occasion(kind="event", what="order_paid", data={"order": "4711"})

    async def tell(flows: Any) -> int:
        return await core.do(
            lambda c: occasions.raise_for(
                c,
                flows,
                workspace_id=WORKSPACE,
                contact_id=contact,
                occasions=[occasion],
                sealer=core.sealer,
                new_id=core.new_id,
                now=core.now,
            )
        )

    assert await tell(core.flows) == 1
    await core.work()
    assert await core.said() == ["Ordine 4711: order_paid"]
    assert await tell(None) == 1, "where the flows are not at hand it is found out later"
    await core.work()
    assert len(await core.said()) == 2


async def test_a_join_starts_a_flow_for_those_whose_chat_we_know(core: Core) -> None:
    await core.publish(
        "flow: welcome\ntriggers: [{joins: 'Bottega*'}]\nstart: a\n"
        "steps: {a: {send: 'Benvenuta in {{ session.outlet }}', next: end}}"
    )
    await core.hears("x")
    await core.work()
    for number, person in enumerate(("1001", "2002")):
        await core.takes(
            OutletActivity(
                key=f"join:{number}",
                origin=Origin(Place.outlet, "-100200", title="Bottega Esempio"),
                what="joined",
                person=Person((ExternalId("telegram_user", person),), first_name="Anna"),
            )
        )
    await core.work()
    assert await core.said() == ["Benvenuta in Bottega Esempio"]
    assert await core.value("SELECT count(*) FROM flow_session") == 1


async def test_an_answer_to_a_campaign(core: Core) -> None:
    """Keywords win; else the first answer within the span goes to the campaign's flow."""
    await core.publish(
        "flow: sale\ntriggers: [{campaign_reply: 'Saldi*', within: 2 days}]\nstart: a\n"
        "steps: {a: {send: 'Ti interessa {{ session.campaign }}?', next: end}}"
    )
    await core.publish("flow: f\ntriggers: [fallback]\nstart: a\nsteps: {a: {send: Dimmi, next: end}}")
    await core.hears("x")
    await core.work()
    conversation = (await core.rows("SELECT id, contact_id, identity_id FROM conversation"))[0]
    core.now += HOUR

    def campaign(connection: Any) -> None:
        values = {"w": WORKSPACE, "ch": core.channel_id, "now": core.now}
        connection.execute(
            text(
                "INSERT INTO campaign (id, workspace_id, channel_id, name, state, state_reason, purpose, audience, "
                "content, default_language, run_id, version, created_at, updated_at) VALUES (501, :w, :ch, "
                "'Saldi di maggio', 'finished', '', 'marketing', '{}', '{}', 'it', 601, 0, :now, :now)"
            ),
            values,
        )
        connection.execute(
            text(
                "INSERT INTO campaign_run (id, workspace_id, campaign_id, channel_id, state, state_reason, "
                "materialised, cursor, ceiling, totals, baseline, samples, next_slot_at, started_at) VALUES "
                "(601, :w, 501, :ch, 'finished', '', 1, 0, 0, '{}', '{}', '[]', 0, :now)"
            ),
            values,
        )
        shared = outbox.Shared(WORKSPACE, core.channel_id, 601, 501, "marketing")
        one = outbox.Addressed(
            core.new_id(),
            conversation.id,
            conversation.contact_id,
            conversation.identity_id,
            "1001",
            "it",
            '{"kind":"text","text":"Saldi!"}',
        )
        outbox.enqueue_run(connection, shared, [one], now=core.now)

    await core.do(campaign)
    core.now += DAY
    await core.hears("sì, racconta", "e poi?")
    await core.work()
    assert (await core.said())[-2:] == ["Ti interessa Saldi di maggio?", "Dimmi"], "the first answer only"


# --- schedules


def weekly(at: str = "09:00", **more: str) -> str:
    rest = "".join(f", {key}: {value}" for key, value in more.items())
    return (
        f"flow: news\ntriggers: [{{schedule: daily, at: '{at}'{rest}}}]\nstart: a\n"
        "steps: {a: {send: 'Novità del {{ session.date }}', next: end}}"
    )


async def people(core: Core, count: int) -> None:
    await core.takes(*(core.message("x", person=3000 + n) for n in range(count)))
    await core.work()


async def messages(core: Core) -> list[Any]:
    return await core.rows(
        "SELECT contact_id, message_class, purpose FROM message WHERE direction = 'out' ORDER BY id"
    )


async def until(core: Core, hour: int, *, days: int = 0) -> None:
    """The clock goes to an hour in Rome (UTC+1 in December)."""
    midnight = core.now - (core.now + HOUR) % DAY
    core.now = midnight + days * DAY + hour * HOUR


async def test_a_date_starts_everybody_once(core: Core, monkeypatch: pytest.MonkeyPatch) -> None:
    """In slices; each person once for each date, on the next date again; what nobody asked for is marketing."""
    monkeypatch.setattr(schedules, "SLICE", 3)
    await core.publish(weekly(when="{subject: contact.tags, op: has_tag, value: news}"))
    await people(core, 10)
    ids = [row.id for row in await core.rows("SELECT id FROM contact ORDER BY id")]
    for contact in ids[:8]:
        await change(core, contact, add_tags=("news",))
    await until(core, 8, days=1)
    await tick(core)
    assert await messages(core) == []
    await until(core, 9)
    await tick(core)
    assert [row.contact_id for row in await messages(core)] == ids[:8]
    assert {(row.message_class, row.purpose) for row in await messages(core)} == {("marketing", "marketing")}
    await tick(core)
    assert len(await messages(core)) == 8
    await until(core, 9, days=1)
    await tick(core)
    assert len(await messages(core)) == 16


async def test_a_slice_that_is_rolled_back_is_made_again_once(
    core: Core, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The process ends in the middle of a slice, and between slices: nobody is missed, nobody is started twice."""
    monkeypatch.setattr(schedules, "SLICE", 2)
    await core.publish(weekly())
    await people(core, 5)
    await until(core, 9, days=1)
    for _ in range(5):
        with pytest.raises(ZeroDivisionError):
            await core.do(lambda c: (schedules.tick(c, core.runtime), 1 // 0))
        await core.do(lambda c: schedules.tick(c, core.runtime))
    await core.work()
    assert len(await messages(core)) == 5
    assert len({row.contact_id for row in await messages(core)}) == 5


async def test_two_schedulers_at_once_start_nobody_twice(core: Core) -> None:
    await core.publish(weekly())
    await people(core, 5)
    await until(core, 9, days=1)
    await asyncio.gather(*(core.do(lambda c: schedules.tick(c, core.runtime)) for _ in range(4)))
    await tick(core)
    assert len(await messages(core)) == 5


async def test_the_hour_of_each_person(core: Core) -> None:
    """`zone: contact`: 9 in Auckland comes twelve hours before 9 in Rome; a changed hour takes the old starts back."""
    await core.publish(weekly(zone="contact"))
    await people(core, 3)
    ids = [row.id for row in await core.rows("SELECT id FROM contact ORDER BY id")]
    await change(core, ids[0], set={"timezone": "Pacific/Auckland"})
    await change(core, ids[1], set={"timezone": "America/New_York"})
    await until(core, 22)
    await tick(core)
    assert [row.contact_id for row in await messages(core)] == [ids[0]]
    await until(core, 9, days=1)
    core.now += 1_000
    await tick(core)
    assert [row.contact_id for row in await messages(core)] == [ids[0], ids[2]]
    await core.publish(weekly(at="09:30", zone="contact"))
    await until(core, 15)
    core.now += 1_000
    await tick(core)
    assert len(await messages(core)) == 2, "the date had begun: the changed schedule takes the next one"


async def test_an_outage_is_made_up_for_by_the_newest_date(core: Core) -> None:
    """Three days away: one start, not three; with `late: ignore` none."""
    await core.publish(weekly())
    await core.publish(weekly().replace("flow: news", "flow: quiet\nlate: ignore"))
    await people(core, 1)
    await until(core, 12, days=3)
    await tick(core)
    assert await started(core) == ["news"]
    await until(core, 9, days=1)
    await tick(core)
    assert sorted(await started(core)) == ["news", "news", "quiet"]


async def test_a_schedule_that_is_gone_starts_nobody(core: Core) -> None:
    """A version without it, published between the date and its handling; an archived flow."""
    await core.publish(weekly())
    await people(core, 2)
    await until(core, 9, days=1)
    await core.do(lambda c: schedules.tick(c, core.runtime))
    await core.publish("flow: news\ntriggers: []\nstart: a\nsteps: {a: {send: x, next: end}}")
    await core.work()
    assert await messages(core) == []
    assert await core.value("SELECT count(*) FROM flow_schedule") == 0
    await core.publish(weekly())
    await core.do(lambda c: c.execute(text("UPDATE flow SET state = 'archived'")))
    await until(core, 9, days=1)
    await tick(core)
    assert await messages(core) == []


async def test_what_people_write_does_not_wait_behind_a_schedule(
    core: Core, monkeypatch: pytest.MonkeyPatch
) -> None:
    """No slice is made, and no timer fires, while many events are open."""
    await core.publish(weekly())
    await people(core, 3)
    monkeypatch.setattr(timers, "BACKLOG", 2)
    await until(core, 9, days=1)
    await core.takes(core.message("a", person=3000), core.message("b", person=3001))
    assert not await core.do(lambda c: schedules.tick(c, core.runtime))
    await core.work()
    assert await core.do(lambda c: schedules.tick(c, core.runtime))
    assert await core.value("SELECT count(*) FROM intake WHERE state = 0") == 2


async def test_thousands_of_timers_fire_in_slices_and_in_turn(core: Core) -> None:
    """One workspace's flood does not keep the other's timers."""

    def fill(connection: Any) -> None:
        for n in range(1_200):
            workspace = OTHER_WORKSPACE if n == 1_100 else WORKSPACE
            connection.execute(
                text(
                    "INSERT INTO timer (id, workspace_id, channel_id, intake_key, slot, conversation_id, session_id, "
                    "step_id, visit, purpose, due_at, turn_id, state, flow_version_id) VALUES (:id, :w, :ch, 'k', 1, "
                    "1, 1, 's', 1, 'answer', :due, 0, 0, 0)"
                ),
                {"id": core.new_id(), "w": workspace, "ch": core.channel_id, "due": core.now - 5_000 + n},
            )

    await core.do(fill)
    fired = await core.do(lambda c: timers.fire(c, core.runtime))
    assert fired == timers.AT_ONCE
    assert await core.value("SELECT count(*) FROM intake WHERE workspace_id = :w", w=OTHER_WORKSPACE) == 1
    assert await core.do(lambda c: timers.fire(c, core.runtime)) == 0, "those come first"
    await core.work()
    total = fired
    while fired := await core.do(lambda c: timers.fire(c, core.runtime)):
        total += fired
        await core.work()
    assert total == 1_200


# --- silence


SILENT = """
flow: shy
triggers: [{keyword: ciao}]
start: q
steps:
  q: {send: Ciao!, next: r}
  r: {ask: text, text: Come va?, next: end}
"""
REMIND = """
flow: remind
triggers: [{no_answer: 2 hours, question: true}]
start: a
steps:
  a: {send: Ci sei?, next: end}
"""
LAST = """
flow: last
triggers: [{no_answer: 1 day}]
start: a
steps:
  a: {send: A presto!, next: end}
"""


async def test_nobody_answers(core: Core) -> None:
    """Counted from when the last message of the turn was accepted; each trigger once for one silence."""
    for source in (SILENT, REMIND, LAST):
        await core.publish(source)
    await core.hears("ciao")
    await core.work()
    core.now += 10 * MINUTE
    await deliver(core)
    await core.time(2 * HOUR - 1)
    await core.work()
    assert await core.said() == []
    await core.time(1)
    await core.work()
    assert await core.said() == ["Ci sei?"]
    await deliver(core)
    await core.time(DAY)
    await core.work()
    assert await core.said() == ["A presto!"]
    await deliver(core)
    await core.time(10 * DAY)
    await core.work()
    assert await core.said() == [], "once for one silence"
    assert await started(core) == ["shy", "remind", "last"]
    assert await core.value("SELECT count(*) FROM timer WHERE state = 0 AND purpose = 'silence'") == 0


async def test_an_answer_ends_the_silence_and_a_person_of_ours_too(core: Core) -> None:
    for source in (SILENT, REMIND):
        await core.publish(source)
    await core.hears("ciao")
    await core.work()
    await deliver(core)
    await core.hears("bene")
    await core.work()
    await core.time(DAY)
    await core.work()
    assert await core.said() == [], "no question waits any more"
    await core.hears("ciao")
    await core.work()
    await deliver(core)
    conversation = await core.value("SELECT id FROM conversation")
    await core.do(
        lambda c: handover.command(
            c,
            WORKSPACE,
            conversation,
            "take_over",
            by="anna",
            sealer=core.sealer,
            new_id=core.new_id,
            now=core.now,
        )
    )
    await core.work()
    await core.time(DAY)
    await core.work()
    assert await core.said() == [], "somebody has the conversation"


async def test_an_answer_that_stands_before_the_end_of_the_silence_ends_it(core: Core) -> None:
    """It was accepted in time and is handled late: by then the timer is on its way."""
    for source in (SILENT, LAST):
        await core.publish(source)
    await core.hears("ciao")
    await core.work()
    await deliver(core)
    core.now += DAY - 1
    await core.hears("bene")
    await core.time(1)
    await core.work()
    assert await core.said() == []


async def test_a_silence_goes_with_the_person(core: Core) -> None:
    for source in (SILENT, REMIND, LAST):
        await core.publish(source)
    await core.hears("ciao")
    await core.work()
    assert await core.value("SELECT count(*) FROM timer WHERE purpose = 'silence'") == 2
    contact = await contact_of(core)
    await core.do(
        lambda c: privacy.erase(
            c, workspace_id=WORKSPACE, contact_id=contact, actor="test", new_id=core.new_id, now=core.now
        )
    )
    assert await core.value("SELECT count(*) FROM timer") == 0


async def test_a_silence_of_a_trigger_that_was_changed_does_nothing(core: Core) -> None:
    """A publish in between: the same trigger goes on in the new version, another one does not."""
    for source in (SILENT, REMIND):
        await core.publish(source)
    await core.hears("ciao")
    await core.work()
    await deliver(core)
    await core.publish(REMIND.replace("Ci sei?", "Tutto bene?"))
    await core.time(2 * HOUR)
    await core.work()
    assert await core.said() == ["Tutto bene?"]
    await deliver(core)
    await core.hears("ciao")
    await core.work()
    await deliver(core)
    await core.publish(REMIND.replace("2 hours", "3 days"))
    await core.time(2 * HOUR)
    await core.work()
    assert await core.said() == []


# --- answer timeouts: from the acceptance of the turn's last message


ASKING = """
flow: asking
triggers: [{keyword: [ciao], interrupts: true}]
start: a
steps:
  a: {send: Uno, next: b}
  b: {send: Due, next: q}
  q: {ask: text, text: Tre?, timeout: {after: 1 hour, goto: gone}, next: end}
  gone: {send: Ci sei?, next: end}
"""


async def asked(core: Core) -> None:
    await core.publish(ASKING)
    await core.hears("ciao")
    await core.work()


async def due_in(core: Core) -> int:
    return int(await core.value("SELECT due_at FROM timer WHERE purpose = 'answer'")) - core.now


async def settle_head(core: Core, state: str, **values: Any) -> None:
    head = (await core.rows("SELECT id FROM outbox WHERE state = 1 ORDER BY id LIMIT 1"))[0].id
    marked = await core.do(lambda c: outbox.mark(c, [head], now=core.now))
    result = Result(id=head, attempt=marked[head], state=state, at=core.now, **values)
    await core.do(lambda c: settling.settle(c, [result], new_id=core.new_id, now=core.now))


async def test_the_timeout_begins_with_the_last_of_several_messages(core: Core) -> None:
    await asked(core)
    assert await due_in(core) == HOUR + outbox.REPLY_LIFE_MS, "not before the question can have left"
    for _ in range(2):
        core.now += MINUTE
        await settle_head(core, "sent")
        assert await due_in(core) > HOUR
    core.now += MINUTE
    await settle_head(core, "sent")
    assert await due_in(core) == HOUR
    await core.time(HOUR)
    await core.work()
    assert await core.said() == ["Ci sei?"]


async def test_a_question_that_is_tried_again_has_its_whole_time(core: Core) -> None:
    """Held up by the platform for longer than the timeout would have lasted since the turn."""
    await core.publish(ASKING.replace("1 hour", "5 minutes"))
    await core.hears("ciao")
    await core.work()
    for _ in range(2):
        await settle_head(core, "sent")
    await settle_head(core, "retry", retry_at=core.now + 10 * MINUTE, counts_as_try=False)
    await core.time(10 * MINUTE)
    await core.work()
    assert await core.said() == ["Tre?"], (
        "nobody is asked whether they are there before they were asked anything"
    )
    await settle_head(core, "sent")
    assert await due_in(core) == 5 * MINUTE


async def test_a_message_that_fails_or_is_unknown_starts_the_timeout_all_the_same(core: Core) -> None:
    """The last one refused for its content; the person gone; nobody knows, twice."""
    await asked(core)
    for state in ("sent", "sent", "failed"):
        core.now += MINUTE
        await settle_head(core, state)
    assert await due_in(core) == HOUR
    await core.hears("ciao")
    await core.work()
    core.now += MINUTE
    await settle_head(core, "failed", rest="skip", reason="blocked")
    assert await due_in(core) == HOUR, "the rest of the turn will never leave"
    await core.hears("ciao")
    await core.work()
    for state in ("sent", "sent", "unknown"):
        await settle_head(core, state)
    assert await due_in(core) > HOUR, "it goes once more"
    core.now += MINUTE
    await settle_head(core, "unknown")
    assert await due_in(core) == HOUR


async def test_a_turn_behind_another_counts_from_the_end_of_both(core: Core) -> None:
    """A second turn is held until the first has left; its timeout counts from its own last message."""
    await asked(core)
    await core.hears("ciao")
    await core.work()
    assert len(await core.said()) == 6
    for number in range(6):
        core.now += MINUTE
        await settle_head(core, "sent")
        assert (await due_in(core) == HOUR) is (number == 5)


async def test_a_timeout_is_bound_to_step_visit_and_version(core: Core) -> None:
    """One that has fired and lies in intake while the session is answered, asked anew, or taken to another version."""
    await asked(core)
    await deliver(core)
    core.now += HOUR
    await core.hears("Bruno")
    await core.do(lambda c: timers.fire(c, core.runtime))
    await core.work()
    assert await core.said() == [], "answered in the last moment"
    await core.hears("ciao")
    await core.work()
    await deliver(core)
    session = (await core.rows("SELECT id, conversation_id FROM flow_session WHERE status = 'waiting'"))[0]
    old = await core.value("SELECT flow_version_id FROM timer WHERE purpose = 'answer'")
    made = await core.publish(ASKING.replace("Tre?", "Quattro?"))
    assert made.version_id > old > 0
    await core.do(lambda c: restart(c, core, session, made.version_id))
    core.now += HOUR
    await core.do(lambda c: timers.fire(c, core.runtime))
    await core.work()
    assert "Ci sei?" not in await core.said(), "it was set in another version"
    assert (await core.said())[-1] == "Quattro?"


def restart(connection: Any, core: Core, session: Any, version_id: int) -> None:
    """Asks that a session begins anew in another version."""
    where = connection.execute(
        text("SELECT channel_id, slot, intake_key FROM conversation WHERE id = :id"),
        {"id": session.conversation_id},
    ).one()
    event = SessionCommand(
        key="move:1",
        occurred_at=core.now,
        conversation_id=session.conversation_id,
        what="move",
        data={"session": session.id, "version": version_id, "how": "restart"},
    )
    intake.append_own(
        connection,
        [(WORKSPACE, where.channel_id, where.slot, where.intake_key, event)],
        sealer=core.sealer,
        new_id=core.new_id,
        now=core.now,
    )
