"""Who may be written to, when, and why not: the one gate."""

from __future__ import annotations

import asyncio
from datetime import UTC, datetime
from typing import Any
from zoneinfo import ZoneInfo

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from sqlalchemy import text

from crm import consent, gate
from crm.gate import Allow, Asked, Deny, Later, Reason, SendingFacts, may_send, quiet_until
from crm.policies import Policy, parse, policy_of
from domain.errors import RejectedInput
from domain.messages import MessageClass
from tests.unit.crm.conftest import BOT, DAY, HOUR, NOW, NUMBER, WORKSPACE, Desk, telegram
from tests.unit.crm.test_consent import accept, entry, record, stop

ROME = ZoneInfo("Europe/Rome")


def facts(**changes: Any) -> SendingFacts:
    base: dict[str, Any] = {
        "id": 1,
        "workspace_id": WORKSPACE,
        "identity_id": 2,
        "message_class": MessageClass.marketing,
        "mailable": True,
        "consent_state": "granted",
        "consent_id": 77,
    }
    return SendingFacts(**{**base, **changes})


REPLY = {"message_class": MessageClass.reply, "mailable": False, "consent_state": ""}
SERVICE = {**REPLY, "message_class": MessageClass.service}
POST = {**REPLY, "identity_id": 0, "identity_state": ""}


@pytest.mark.parametrize(
    ("changes", "expected"),
    [
        ({}, Allow(77)),
        (REPLY, Allow(0)),
        (SERVICE, Allow(0)),
        (POST, Allow(0)),
        ({"workspace_state": "deleting"}, Deny(Reason.workspace_gone)),
        ({"channel_state": "deleting"}, Deny(Reason.channel_gone)),
        ({"channel_state": ""}, Deny(Reason.channel_gone)),
        ({"channel_state": "stopped"}, Later(NOW + 5_000, Reason.channel_stopped)),
        ({"stop": "marketing"}, Later(NOW + 5_000, Reason.stopped)),
        ({**REPLY, "stop": "marketing"}, Allow(0)),
        ({**REPLY, "stop": "everything"}, Later(NOW + 5_000, Reason.stopped)),
        ({**POST, "stop": "everything"}, Later(NOW + 5_000, Reason.stopped)),
        ({"identity_state": "blocked"}, Deny(Reason.blocked)),
        ({**REPLY, "identity_state": "blocked"}, Deny(Reason.blocked)),
        ({**SERVICE, "identity_state": "gone"}, Deny(Reason.unreachable)),
        ({**REPLY, "identity_state": ""}, Deny(Reason.person_gone)),
        ({"suppressed": True}, Deny(Reason.suppressed)),
        ({**REPLY, "suppressed": True}, Allow(0)),
        ({"mailable": False, "consent_state": ""}, Deny(Reason.no_consent)),
        ({"mailable": False, "consent_state": "asked"}, Deny(Reason.no_consent)),
        ({"mailable": False}, Deny(Reason.unconfirmed)),
        ({"mailable": False, "consent_state": "withdrawn"}, Deny(Reason.withdrawn)),
        ({"mailable": False, "consent_state": "expired"}, Deny(Reason.withdrawn)),
        ({"policy": Policy(minimum_age=18)}, Deny(Reason.age_unknown)),
        ({"policy": Policy(minimum_age=18), "birth_year": 2008}, Deny(Reason.too_young)),
        ({"policy": Policy(minimum_age=18), "birth_year": 2007}, Allow(77)),
        ({**REPLY, "policy": Policy(minimum_age=18)}, Allow(0)),
        ({**REPLY, "window_hours": 24}, Deny(Reason.window_closed)),
        ({**REPLY, "window_hours": 24, "last_inbound_at": NOW - 24 * HOUR}, Deny(Reason.window_closed)),
        ({**REPLY, "window_hours": 24, "last_inbound_at": NOW - 24 * HOUR + 1}, Allow(0)),
        ({"window_hours": 24, "template": True}, Allow(77)),
        ({"window_hours": 24}, Deny(Reason.window_closed)),
        ({"marketing_not_before": NOW + 1}, Later(NOW + 1, Reason.platform_cap)),
        ({"marketing_not_before": NOW}, Allow(77)),
        ({**REPLY, "marketing_not_before": NOW + 1}, Allow(0)),
        (
            {"policy": Policy(per_day=2), "marketing_day": NOW // DAY, "marketing_count": 2},
            Later((NOW // DAY + 1) * DAY, Reason.frequency_cap),
        ),
        ({"policy": Policy(per_day=2), "marketing_day": NOW // DAY, "marketing_count": 1}, Allow(77)),
        ({"policy": Policy(per_day=2), "marketing_day": NOW // DAY - 1, "marketing_count": 2}, Allow(77)),
        ({"policy": Policy(quiet=(21 * 60, 9 * 60))}, Allow(77)),  # 15:40 in Rome
        (
            {"policy": Policy(quiet=(21 * 60, 9 * 60)), "timezone": "Asia/Tokyo"},  # 23:40 there
            Later(NOW + 9 * HOUR + 20 * 60_000, Reason.quiet_hours),
        ),
        ({"policy": Policy(quiet=(21 * 60, 9 * 60)), "timezone": "Not/AZone"}, Allow(77)),
        ({**REPLY, "policy": Policy(quiet=(0, 1439))}, Allow(0)),
    ],
)
def test_the_gate(changes: dict[str, Any], expected: gate.Decision) -> None:
    assert may_send(facts(**changes), now=NOW) == expected


@given(
    states=st.fixed_dictionaries(
        {
            "workspace_state": st.sampled_from(["active", "deleting"]),
            "channel_state": st.sampled_from(["active", "stopped", "deleting", ""]),
            "identity_state": st.sampled_from(["reachable", "blocked", "gone", ""]),
            "suppressed": st.booleans(),
            "mailable": st.booleans(),
            "stop": st.sampled_from(["", "marketing", "everything"]),
            "message_class": st.sampled_from(list(MessageClass)),
            "last_inbound_at": st.sampled_from([None, NOW - 1, NOW - 100 * HOUR]),
            "window_hours": st.sampled_from([None, 24]),
            "marketing_not_before": st.sampled_from([None, NOW - 1, NOW + 1]),
        }
    )
)
def test_whatever_is_allowed_has_a_way_and_marketing_has_consent(states: dict[str, Any]) -> None:
    one = facts(**states)
    decision = may_send(one, now=NOW)
    if isinstance(decision, Later):
        assert decision.at > NOW
    if not isinstance(decision, Allow):
        return
    assert (one.workspace_state, one.channel_state, one.identity_state) == ("active", "active", "reachable")
    assert one.stop != "everything"
    if one.message_class == MessageClass.marketing:
        assert one.mailable
        assert not one.suppressed
        assert not one.stop
        assert decision.consent_id == 77


ZONES = ["Europe/Rome", "America/Sao_Paulo", "Asia/Kathmandu", "Australia/Lord_Howe", "Pacific/Apia", "UTC"]


@settings(max_examples=300)
@given(
    zone=st.sampled_from(ZONES),
    quiet=st.tuples(st.integers(0, 1439), st.integers(0, 1439)).filter(lambda q: q[0] != q[1]),
    now=st.integers(1_700_000_000_000, 1_900_000_000_000),
)
def test_quiet_hours_end_in_the_future_and_outside_of_themselves(
    zone: str, quiet: tuple[int, int], now: int
) -> None:
    until = quiet_until(quiet, ZoneInfo(zone), now)
    if until is None:
        return
    assert now < until <= now + 26 * HOUR
    assert quiet_until(quiet, ZoneInfo(zone), until) is None


def at(text_: str, zone: ZoneInfo, fold: int = 0) -> int:
    return int(datetime.fromisoformat(text_).replace(tzinfo=zone, fold=fold).timestamp() * 1000)


def test_quiet_hours_over_the_changes_of_summer_time() -> None:
    quiet = (60, 150)  # 01:00 to 02:30
    gap = quiet_until(quiet, ROME, at("2027-03-28 01:30", ROME))  # 02:30 does not exist that night
    assert gap is not None
    assert datetime.fromtimestamp(gap / 1000, ROME).isoformat() == "2027-03-28T03:30:00+02:00"
    assert quiet_until(quiet, ROME, at("2026-10-25 01:30", ROME)) == at("2026-10-25 02:30", ROME, 0)
    assert quiet_until(quiet, ROME, at("2026-10-25 02:10", ROME, 1)) == at("2026-10-25 02:30", ROME, 1)
    assert quiet_until((1260, 540), ROME, at("2026-12-11 22:00", ROME)) == at("2026-12-12 09:00", ROME)


def test_every_reason_has_its_sentences() -> None:
    assert set(gate.SENTENCES) == set(Reason)
    assert all(set(sentences) == {"it", "en"} for sentences in gate.SENTENCES.values())


def test_a_policy_is_read_from_the_business_file() -> None:
    business = (
        '{"quiet_hours": {"from": "21:00", "to": "09:00"}, "marketing": {"per_day": 2, "minimum_age": 14}}'
    )
    assert policy_of(business) == Policy((1260, 540), 2, 14)
    assert policy_of("{}") == Policy()


@pytest.mark.parametrize(
    ("business", "where"),
    [
        ({"quiet_hours": {"from": "21"}}, "business.quiet_hours"),
        ({"quiet_hours": {"from": "25:00", "to": "09:00"}}, "business.quiet_hours.from"),
        ({"marketing": {"per_day": 0}}, "business.marketing.per_day"),
        ({"marketing": {"minimum_age": "14"}}, "business.marketing.minimum_age"),
        ([], "business"),
    ],
)
def test_a_policy_that_does_not_fit_is_named(business: Any, where: str) -> None:
    with pytest.raises(RejectedInput) as caught:
        parse(business)
    assert caught.value.where == where


# --- facts from rows --------------------------------------------------------------------------------------------------


def asked(person: Any, number: int = 1, **changes: Any) -> Asked:
    base: dict[str, Any] = {
        "id": number,
        "workspace_id": WORKSPACE,
        "channel_id": BOT,
        "purpose": "marketing",
    }
    base |= {"identity_id": person.identity_id, "message_class": MessageClass.marketing}
    return Asked(**{**base, **changes})


async def decide(desk: Desk, *items: Asked, now: int = NOW, lock: bool = False) -> list[gate.Decision]:
    found = await desk.do(lambda c: gate.load_facts(c, items, now=now, lock=lock))
    return [may_send(found[item.id], now=now) for item in items]


async def test_facts_come_from_the_rows(desk: Desk) -> None:
    anna, bruno, carla, dario = await desk.resolve(*(telegram(n) for n in range(4)))
    ids = await record(desk, entry(anna), entry(bruno, double_opt_in=True), entry(dario))
    await accept(desk, stop(3), at=NOW + 1)
    items = [asked(who, n) for n, who in enumerate((anna, bruno, carla, dario))]
    assert await decide(desk, *items, lock=True) == [
        Allow(ids[0]),
        Deny(Reason.unconfirmed),
        Deny(Reason.no_consent),
        Deny(Reason.suppressed),
    ]
    replies = [
        asked(who, n, message_class=MessageClass.reply) for n, who in enumerate((anna, bruno, carla, dario))
    ]
    assert await decide(desk, *replies) == [Allow(0)] * 4


async def test_what_is_not_in_the_workspace_or_channel_is_denied(desk: Desk) -> None:
    (anna,) = await desk.resolve(telegram(1))
    await record(desk, entry(anna))
    items = [
        asked(anna, 1, workspace_id=12),
        asked(anna, 2, workspace_id=0),
        asked(anna, 3, channel_id=NUMBER),
        asked(anna, 4, identity_id=999),
        asked(anna, 5, purpose=""),
        asked(anna, 6, purpose="profiling"),
    ]
    assert await decide(desk, *items) == [
        Deny(Reason.channel_gone),
        Deny(Reason.workspace_gone),
        Deny(Reason.person_gone),
        Deny(Reason.person_gone),
        Deny(Reason.no_consent),
        Deny(Reason.no_consent),
    ]


async def test_a_marketing_template_is_marketing_whatever_it_is_called(desk: Desk) -> None:
    (anna,) = await desk.resolve(telegram(1))
    item = asked(anna, message_class=MessageClass.service, template=True, template_category="marketing")
    assert await decide(desk, item) == [Deny(Reason.no_consent)]


@pytest.mark.parametrize(
    ("workspace", "scope", "target", "what", "stops_marketing", "stops_replies"),
    [
        (0, "installation", 0, "everything", True, True),
        (WORKSPACE, "workspace", 0, "marketing", True, False),
        (WORKSPACE, "channel", BOT, "everything", True, True),
        (WORKSPACE, "channel", NUMBER, "everything", False, False),
        (WORKSPACE, "campaign", 5, "everything", True, False),
        (12, "workspace", 0, "everything", False, False),
    ],
)
async def test_stops_hold_in_their_scope(
    desk: Desk, workspace: int, scope: str, target: int, what: str, stops_marketing: bool, stops_replies: bool
) -> None:
    (anna,) = await desk.resolve(telegram(1))
    (consent_id,) = await record(desk, entry(anna))
    await desk.do(
        lambda c: c.execute(
            text(
                "INSERT INTO stop (workspace_id, scope, target_id, what, by, set_at) VALUES (:w, :s, :t, :what, '', 0)"
            ),
            {"w": workspace, "s": scope, "t": target, "what": what},
        )
    )
    marketing, reply = await decide(
        desk, asked(anna, 1, campaign_id=5), asked(anna, 2, message_class=MessageClass.reply)
    )
    stopped = Later(NOW + 5_000, Reason.stopped)
    assert marketing == (stopped if stops_marketing else Allow(consent_id))
    assert reply == (stopped if stops_replies else Allow(0))


async def policy(desk: Desk, business: str) -> None:
    await desk.do(lambda c: c.execute(text("UPDATE workspace SET business = :b"), {"b": business}))


async def test_spending_counts_against_the_cap_within_and_across_calls(desk: Desk) -> None:
    await policy(desk, '{"marketing": {"per_day": 2}}')
    anna, bruno = await desk.resolve(telegram(1), telegram(2))
    first, _ = await record(desk, entry(anna), entry(bruno))
    items = [asked(anna, n) for n in range(3)]
    capped = Later((NOW // DAY + 1) * DAY, Reason.frequency_cap)
    assert await decide(desk, *items) == [Allow(first), Allow(first), capped]
    found = await desk.do(lambda c: gate.load_facts(c, items[:2], now=NOW))
    await desk.do(lambda c: gate.spend(c, found.values(), now=NOW))
    assert await decide(desk, asked(anna)) == [capped]
    assert isinstance((await decide(desk, asked(bruno)))[0], Allow)
    assert await decide(desk, asked(anna), now=NOW + DAY) == [Allow(first)]
    rows = await desk.rows(
        "SELECT marketing_day, marketing_count, marketing_last_at FROM identity ORDER BY id"
    )
    assert rows == [(NOW // DAY, 2, NOW), (0, 0, None)]


async def test_a_broken_business_row_lets_marketing_rest_and_replies_go(desk: Desk) -> None:
    await policy(desk, '{"quiet_hours": 5}')
    (anna,) = await desk.resolve(telegram(1))
    await record(desk, entry(anna))
    marketing, reply = await decide(desk, asked(anna, 1), asked(anna, 2, message_class=MessageClass.reply))
    assert isinstance(marketing, Later)
    assert reply == Allow(0)


async def test_an_opt_out_waits_for_a_mark_or_is_seen_by_it(desk: Desk) -> None:
    """Whoever holds the consent rows makes an opt-out wait; whoever comes after the opt-out sees it (I5)."""
    (anna,) = await desk.resolve(telegram(1))
    await record(desk, entry(anna))
    order: list[str] = []

    def mark(connection: Any) -> str:
        decision = may_send(gate.load_facts(connection, [asked(anna)], now=NOW, lock=True)[1], now=NOW)
        if connection.dialect.name == "postgresql":
            connection.execute(
                text("SELECT pg_sleep(0.2)")
            )  # the time in which an opt-out would slip through
        return "sending" if isinstance(decision, Allow) else "denied"

    async def marked() -> None:
        order.append(await desk.do(mark))

    async def stopped() -> None:
        await accept(desk, stop(1), at=NOW + 1)
        order.append("accepted")

    await asyncio.gather(marked(), stopped(), marked())
    await marked()
    assert "sending" not in order[order.index("accepted") :]
    assert order[-1] == "denied"


async def test_the_superset_keeps_everybody_whom_the_gate_allows(desk: Desk) -> None:
    import random

    rng = random.Random(5)
    people = await desk.resolve(*(telegram(n) for n in range(300)))
    rows = []
    for person in people:
        for _ in range(rng.randint(0, 3)):
            action = rng.choice([*consent.ACTIONS, "granted", "granted"])
            purpose = rng.choice(["marketing", "news"])
            double = rng.random() < 0.3
            rows.append(entry(person, action, purpose=purpose, double_opt_in=double))
    await record(desk, *rows)
    await desk.do(
        lambda c: c.execute(
            text("UPDATE identity SET state = CASE WHEN id % 5 = 0 THEN 'blocked' ELSE state END")
        )
    )
    await accept(desk, *(stop(n) for n in range(0, 300, 7)))
    decisions = await decide(desk, *(asked(person, n) for n, person in enumerate(people)))
    allowed = {p.identity_id for p, d in zip(people, decisions, strict=True) if isinstance(d, Allow)}
    kept = await desk.rows(f"SELECT i.id FROM identity i WHERE {gate.superset()}", purpose="marketing")
    assert allowed <= {row[0] for row in kept}
    assert 10 < len(allowed) < len(people)
    assert len(kept) < len(people)


def test_now_is_what_the_tests_say_it_is() -> None:
    assert datetime.fromtimestamp(NOW / 1000, UTC).isoformat() == "2026-12-11T14:40:00+00:00"
