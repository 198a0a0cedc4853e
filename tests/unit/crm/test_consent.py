"""The ledger proves what was agreed to, cannot be rewritten unseen, and loses nothing but the person by erasure."""

from __future__ import annotations

import asyncio
from dataclasses import replace
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from crm import consent, proof, suppression
from crm.consent import NewConsent, OptOut, State, advance
from crm.identities import ResolvedIdentity
from crm.proof import fold
from crm.suppression import Accepted, Suppress
from domain.errors import RejectedInput
from domain.events import ExternalId, MessageReceived, Origin, Place, Preference, Reachability
from domain.messages import ReceivedText
from tests.unit.crm.conftest import BOT, NOW, WORKSPACE, Desk, telegram, whatsapp


def entry(person: ResolvedIdentity, action: str = "granted", **changes: Any) -> NewConsent:
    base = NewConsent(
        workspace_id=WORKSPACE,
        identity_id=person.identity_id,
        contact_id=person.contact_id,
        channel_id=BOT,
        purpose="marketing",
        action=action,
        wording="Vuoi ricevere le nostre offerte?",
        wording_version="3",
        language="it",
        occurred_at=NOW,
        source={"flow": "lead", "step": "consent"},
        evidence={"words": "sì"},
    )
    return replace(base, **changes)


async def record(desk: Desk, *entries: NewConsent, now: int = NOW) -> list[int]:
    return await desk.do(
        lambda c: consent.record(c, entries, keyed_hash=desk.sealer.keyed_hash, new_id=desk.new_id, now=now)
    )


async def verify(desk: Desk) -> list[str]:
    return await desk.do(lambda c: proof.verify(c, workspace_id=WORKSPACE))


async def states(desk: Desk) -> list[tuple[object, ...]]:
    return await desk.rows(
        "SELECT purpose, state, mailable, consent_id FROM consent_state ORDER BY identity_id, purpose"
    )


def mailable(actions: list[tuple[str, dict[str, Any]]]) -> bool:
    state = State()
    for n, (action, more) in enumerate(actions):
        proven, double = more.get("proven", True), more.get("double", False)
        state = advance(state, entry_id=n + 1, action=action, double_opt_in=double, proven=proven, at=n)
    return state.mailable


DOUBLE = {"double": True}


@pytest.mark.parametrize(
    ("actions", "expected"),
    [
        ([("asked", {})], False),
        ([("asked", {}), ("granted", {})], True),
        ([("granted", DOUBLE)], False),
        ([("granted", DOUBLE), ("confirmed", {})], True),
        ([("confirmed", {})], False),
        ([("asked", {}), ("confirmed", {})], False),
        ([("granted", DOUBLE), ("withdrawn", {}), ("confirmed", {})], False),
        ([("granted", {}), ("withdrawn", {})], False),
        ([("granted", {}), ("denied", {})], False),
        ([("granted", {}), ("asked", {})], True),
        ([("granted", {}), ("granted", DOUBLE)], True),
        ([("granted", {}), ("expired", {})], False),
        ([("imported", {"proven": True})], True),
        ([("imported", {"proven": False})], False),
        ([("withdrawn", {}), ("imported", {})], False),
        ([("denied", {}), ("imported", {})], False),
        ([("withdrawn", {}), ("granted", {})], True),
    ],
)
def test_what_counts_as_consent(actions: list[tuple[str, dict[str, Any]]], expected: bool) -> None:
    assert mailable(actions) is expected


@given(st.lists(st.tuples(st.sampled_from(consent.ACTIONS), st.booleans(), st.booleans()), max_size=12))
def test_nobody_is_mailable_after_a_no_until_they_say_yes(rows: list[tuple[str, bool, bool]]) -> None:
    state, said_no = State(), False
    for n, (action, double, proven) in enumerate(rows):
        state = advance(state, entry_id=n, action=action, double_opt_in=double, proven=proven, at=n)
        said_no = action in ("denied", "withdrawn") or (said_no and action != "granted")
        assert not (said_no and state.mailable)


async def test_rows_are_chained_and_the_state_is_their_fold(desk: Desk) -> None:
    anna, bruno = await desk.resolve(telegram(1), whatsapp(bsuid="IT.1"))
    ids = await record(
        desk,
        entry(anna, "asked", evidence={}),
        entry(bruno, double_opt_in=True),
        entry(anna),
        entry(anna, purpose="profiling", action="denied"),
    )
    assert len(set(ids)) == 4
    assert await states(desk) == [
        ("marketing", "granted", 1, ids[2]),
        ("profiling", "denied", 0, ids[3]),
        ("marketing", "granted", 0, ids[1]),
    ]
    (confirmed,) = await record(desk, entry(bruno, "confirmed"), now=NOW + 1)
    assert (await states(desk))[2] == ("marketing", "confirmed", 1, confirmed)
    assert await desk.rows("SELECT position FROM consent_entry ORDER BY identity_id, position") == [
        (0,), (1,), (2,), (0,), (1,),
    ]  # fmt: skip
    assert await verify(desk) == []


@pytest.mark.parametrize(
    ("damage", "words"),
    [
        ("UPDATE consent_entry SET wording = 'Altro' WHERE position = 1", "row 1 of the ledger was changed"),
        (
            'UPDATE consent_entry SET evidence = \'{"words":"no"}\' WHERE position = 0',
            "evidence of row 0 was changed",
        ),
        ("UPDATE consent_entry SET evidence = '{}' WHERE position = 0", "evidence of row 0 is missing"),
        ("DELETE FROM consent_entry WHERE position = 0", "does not follow"),
        ("DELETE FROM consent_entry WHERE position = 2", "end of the ledger"),
        ("UPDATE consent_state SET mailable = 1", "not what the ledger says"),
        ("DELETE FROM consent_state", "not what the ledger says"),
        ("UPDATE consent_anchor SET digest = 'x'", "anchor 0"),
    ],
)
async def test_what_was_tampered_with_is_named(desk: Desk, damage: str, words: str) -> None:
    (anna,) = await desk.resolve(telegram(1))
    await record(desk, entry(anna), entry(anna, "withdrawn"), entry(anna, "asked"))
    await desk.do(lambda c: proof.anchor(c, workspace_id=WORKSPACE, new_id=desk.new_id, now=NOW))
    assert await verify(desk) == []
    await desk.do(lambda c: c.exec_driver_sql(damage))
    assert any(words in problem for problem in await verify(desk)), await verify(desk)


async def test_anchors_cover_what_was_added_and_notice_a_rewritten_chain(desk: Desk) -> None:
    def anchored() -> Any:
        return desk.do(lambda c: proof.anchor(c, workspace_id=WORKSPACE, new_id=desk.new_id, now=NOW))

    assert await anchored() is None
    people = await desk.resolve(telegram(1), telegram(2))
    await record(desk, *(entry(person) for person in people), entry(people[0], "asked"))
    assert await anchored() is not None
    assert await anchored() is None
    assert await desk.rows("SELECT position, heads FROM consent_anchor") == [(0, 2)]
    await desk.do(lambda c: c.exec_driver_sql("DELETE FROM consent_entry WHERE position = 1"))
    assert any("anchor 0 does not fit" in problem for problem in await verify(desk))


async def test_parallel_writers_make_one_chain(desk: Desk) -> None:
    anna, bruno = await desk.resolve(telegram(1), telegram(2))
    await asyncio.gather(
        *(record(desk, entry(anna), entry(bruno, "asked"), entry(anna, "asked")) for _ in range(10))
    )
    assert await desk.rows("SELECT position FROM consent_head ORDER BY position") == [(9,), (19,)]
    assert await verify(desk) == []


async def test_a_yes_and_a_stop_of_one_batch_count_in_their_order(desk: Desk) -> None:
    anna, bruno = await desk.resolve(telegram(1), telegram(2))
    stops = [
        OptOut(WORKSPACE, who.identity_id, "*", {}, {"w": "stop"}, "it", NOW + 5, "stop_word")
        for who in (anna, bruno)
    ]
    items: list[NewConsent | OptOut] = [
        entry(anna, occurred_at=NOW),
        stops[0],
        stops[1],
        entry(bruno, occurred_at=NOW + 6),
    ]
    await desk.do(
        lambda c: consent.write(c, items, keyed_hash=desk.sealer.keyed_hash, new_id=desk.new_id, now=NOW + 9)
    )
    rows = await desk.rows("SELECT state FROM consent_state WHERE purpose = 'marketing' ORDER BY identity_id")
    assert rows == [("withdrawn",), ("granted",)]
    assert (await is_suppressed(desk, 1), await is_suppressed(desk, 2)) == (True, False)
    assert await verify(desk) == []


async def test_an_unknown_action_or_identity_is_refused_and_nothing_is_written(desk: Desk) -> None:
    (anna,) = await desk.resolve(telegram(1))
    for wrong in (entry(anna, "maybe"), entry(anna, identity_id=5), entry(anna, workspace_id=12)):
        with pytest.raises(RejectedInput):
            await record(desk, entry(anna), wrong)
    assert await desk.rows("SELECT count(*) FROM consent_entry") == [(0,)]


def stop(number: int, text: str = "STOP") -> MessageReceived:
    person = telegram(number).person
    origin = Origin(Place.private, str(number))
    return MessageReceived(
        key=f"m{number}",
        person=person,
        origin=origin,
        content=ReceivedText(text),
        external_id="77",
        opt_out=True,
    )


async def accept(desk: Desk, *events: Any, at: int = NOW) -> None:
    accepted = [Accepted(WORKSPACE, BOT, event, at) for event in events]
    await desk.do(lambda c: suppression.suppress_at_intake(c, accepted, keyed_hash=desk.sealer.keyed_hash))


async def is_suppressed(desk: Desk, number: int, purpose: str = "marketing") -> bool:
    person = telegram(number).person
    return await desk.do(
        lambda c: suppression.suppressed(
            c, workspace_id=WORKSPACE, person=person, purpose=purpose, keyed_hash=desk.sealer.keyed_hash
        )
    )


async def opt_out(desk: Desk, *wishes: OptOut | None) -> list[int]:
    known = [wish for wish in wishes if wish]
    return await desk.do(
        lambda c: consent.opt_out(
            c, known, keyed_hash=desk.sealer.keyed_hash, new_id=desk.new_id, now=NOW + 50
        )
    )


async def test_a_stop_word_suppresses_at_intake_and_is_proven_by_the_worker(desk: Desk) -> None:
    (anna,) = await desk.resolve(telegram(1))
    await record(desk, entry(anna), entry(anna, purpose="news"))
    await accept(desk, stop(1), at=NOW + 5)
    assert await is_suppressed(desk, 1)
    assert not await is_suppressed(desk, 2)
    wish = consent.event_opt_out(
        stop(1), workspace_id=WORKSPACE, identity_id=anna.identity_id, language="it", at=NOW + 5
    )
    assert len(await opt_out(desk, wish)) == 2
    assert [row[:3] for row in await states(desk)] == [
        ("marketing", "withdrawn", 0),
        ("news", "withdrawn", 0),
    ]
    assert await verify(desk) == []


async def test_a_stop_of_somebody_who_never_agreed_is_proven_too(desk: Desk) -> None:
    (anna,) = await desk.resolve(telegram(1))
    wish = consent.event_opt_out(
        stop(1), workspace_id=WORKSPACE, identity_id=anna.identity_id, language="it", at=NOW
    )
    await opt_out(desk, wish)
    assert [row[:3] for row in await states(desk)] == [("*", "withdrawn", 0)]
    assert await is_suppressed(desk, 1, "anything")


async def test_only_a_consent_given_after_the_stop_lifts_it(desk: Desk) -> None:
    (anna,) = await desk.resolve(telegram(1))
    await accept(desk, stop(1), at=NOW + 5)
    await record(desk, entry(anna, occurred_at=NOW + 4))  # tapped before, handled after
    assert await is_suppressed(desk, 1)
    await record(desk, entry(anna, "imported", occurred_at=NOW + 9))
    assert await is_suppressed(desk, 1)
    await record(desk, entry(anna, double_opt_in=True, occurred_at=NOW + 10), entry(anna, "withdrawn"))
    assert await is_suppressed(desk, 1)
    await record(desk, entry(anna, double_opt_in=True, occurred_at=NOW + 10))
    assert await is_suppressed(desk, 1)
    await record(desk, entry(anna, "confirmed", occurred_at=NOW + 11))
    assert not await is_suppressed(desk, 1)


async def test_an_operators_entry_is_lifted_by_an_operator_only(desk: Desk) -> None:
    (anna,) = await desk.resolve(telegram(1))
    rows = [Suppress(WORKSPACE, telegram(1).person.ids, reason, NOW) for reason in ("operator", "stop_word")]
    for row in rows:
        await desk.do(lambda c, row=row: suppression.suppress(c, [row], keyed_hash=desk.sealer.keyed_hash))  # type: ignore[misc]
    await record(desk, entry(anna, occurred_at=NOW + 10))
    assert await is_suppressed(desk, 1)
    ids = telegram(1).person.ids
    gone = await desk.do(
        lambda c: suppression.unsuppress(
            c, workspace_id=WORKSPACE, externals=ids, keyed_hash=desk.sealer.keyed_hash
        )
    )
    assert gone == 1
    assert not await is_suppressed(desk, 1)


async def test_a_withdrawal_for_one_purpose_leaves_the_others(desk: Desk) -> None:
    (anna,) = await desk.resolve(telegram(1))
    await record(desk, entry(anna), entry(anna, purpose="news"))
    await desk.do(
        lambda c: consent.withdraw(
            c,
            workspace_id=WORKSPACE,
            identity_id=anna.identity_id,
            purpose="news",
            source={"flow": "preferences"},
            evidence={"words": "basta novità"},
            language="it",
            at=NOW + 1,
            reason="preference",
            keyed_hash=desk.sealer.keyed_hash,
            new_id=desk.new_id,
            now=NOW + 1,
        )
    )
    assert [row[:3] for row in await states(desk)] == [("marketing", "granted", 1), ("news", "withdrawn", 0)]
    assert (await is_suppressed(desk, 1, "news"), await is_suppressed(desk, 1, "marketing")) == (True, False)


async def test_platform_preferences_and_blocks_count_like_words(desk: Desk) -> None:
    anna, bruno = await desk.resolve(telegram(1), telegram(2))
    await record(desk, entry(anna), entry(bruno))
    origin = Origin(Place.private, "2")
    preference = Preference(key="p1", person=telegram(1).person, wanted=False)
    block = Reachability(key="r1", person=telegram(2).person, origin=origin, reachable=False)
    await accept(desk, preference, block, at=NOW + 5)
    assert await is_suppressed(desk, 1)
    assert not await is_suppressed(desk, 2)  # another bot of the business was not meant
    assert await desk.rows("SELECT state FROM identity ORDER BY id") == [("reachable",), ("blocked",)]
    wishes = [
        consent.event_opt_out(
            event, workspace_id=WORKSPACE, identity_id=who.identity_id, language="it", at=NOW + 5
        )
        for event, who in ((preference, anna), (block, bruno))
    ]
    await opt_out(desk, *wishes)
    assert [row[1] for row in await states(desk)] == ["withdrawn", "withdrawn"]


async def test_one_person_on_two_bots_opting_out_in_one_batch(desk: Desk) -> None:
    one, other = await desk.resolve(telegram(1), telegram(1, channel=99))
    wishes = [
        OptOut(WORKSPACE, who.identity_id, "*", {}, {"w": "stop"}, "it", NOW + n, "stop_word")
        for n, who in enumerate((one, other))
    ]
    await opt_out(desk, *wishes)
    assert await desk.rows("SELECT at FROM suppression") == [(NOW + 1,)]


async def test_the_proof_sheet_shows_wording_words_and_an_intact_chain(desk: Desk) -> None:
    (anna,) = await desk.resolve(telegram(1))
    ids = await record(desk, entry(anna, "asked", evidence={}), entry(anna), entry(anna, purpose="news"))
    sheet = await desk.do(
        lambda c: proof.sheet(c, workspace_id=WORKSPACE, identity_id=anna.identity_id, purpose="marketing")
    )
    assert sheet.intact
    assert sheet.state.consent_id == ids[1]
    assert [row["action"] for row in sheet.entries] == ["asked", "granted"]
    assert sheet.entries[1]["evidence"] == {"words": "sì"}
    assert sheet.entries[1]["wording"] == "Vuoi ricevere le nostre offerte?"
    stranger = await desk.do(
        lambda c: proof.sheet(c, workspace_id=12, identity_id=anna.identity_id, purpose="marketing")
    )
    assert stranger.entries == []


def test_the_fold_of_nothing_is_nothing() -> None:
    assert fold([]) == {}


def test_a_phone_number_counts_by_its_digits() -> None:
    from crm.identities import external_key
    from storage.sealing import Sealer

    keyed = Sealer("test secret that is long enough to be one").keyed_hash
    same = {external_key(keyed, 1, ExternalId("wa_phone", v)) for v in ("+1 555 0100", "15550100")}
    assert len(same) == 1
    assert external_key(keyed, 2, ExternalId("wa_phone", "15550100")) not in same
