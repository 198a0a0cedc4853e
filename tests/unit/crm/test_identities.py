"""Who wrote becomes one contact, however the platform names them and however often at once."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

import pytest
from sqlalchemy import Connection

from crm.identities import (
    FOUND,
    IdentityRequest,
    NewPeople,
    Reached,
    ResolvedIdentity,
    identity_ids_of,
    move,
    resolve,
    set_reachability,
)
from domain.errors import Conflict
from domain.events import ExternalId, Person
from tests.unit.crm.conftest import BOT, NOW, NUMBER, WORKSPACE, Desk, telegram, whatsapp


async def test_unknown_people_become_contacts_with_identity_and_keys(desk: Desk) -> None:
    anna, bruno = await desk.resolve(telegram(1), whatsapp(bsuid="IT.1", phone="15550100"))
    assert anna.created
    assert bruno.created
    assert anna.contact_id != bruno.contact_id
    assert await desk.rows("SELECT name, first_name, language, phone FROM contact ORDER BY id") == [
        ("Anna", "Anna", "it", None),
        ("Bruno", "Bruno", None, "+15550100"),
    ]
    assert await desk.rows("SELECT kind, count(*) FROM identity_key GROUP BY kind ORDER BY kind") == [
        ("telegram_user", 1),
        ("wa_bsuid", 1),
        ("wa_phone", 1),
    ]
    assert await desk.rows("SELECT kind, address FROM identity ORDER BY id") == [
        ("telegram_user", "1"),
        ("wa_phone", "15550100"),
    ]


async def test_the_same_new_person_many_times_in_one_call_is_one(desk: Desk) -> None:
    people = await desk.resolve(*[telegram(1), telegram(2), telegram(1)] * 5)
    assert len({person.contact_id for person in people}) == 2
    assert [p.identity_id for p in people[:3]] == [p.identity_id for p in people[3:6]]
    assert await desk.rows("SELECT count(*) FROM contact") == [(2,)]
    assert await desk.rows("SELECT count(*) FROM timeline_entry WHERE kind = 'created'") == [(2,)]


async def test_two_requests_that_share_only_one_id_are_one_person(desk: Desk) -> None:
    first, second, third = await desk.resolve(
        whatsapp(phone="15550100"), whatsapp(bsuid="IT.1", phone="15550100"), whatsapp(bsuid="IT.1")
    )
    assert first.identity_id == second.identity_id == third.identity_id


async def test_known_people_are_found_and_what_changed_is_written(desk: Desk) -> None:
    (before,) = await desk.resolve(telegram(1))
    later = replace(telegram(1, first="Anna Maria"), at=NOW + 5)
    (after,) = await desk.resolve(later)
    assert (after.identity_id, after.created, after.last_inbound_at) == (before.identity_id, False, NOW + 5)
    assert await desk.rows("SELECT display_name, last_inbound_at FROM identity") == [("Anna Maria", NOW + 5)]
    assert await desk.rows("SELECT first_name FROM contact") == [
        ("Anna",)
    ]  # theirs to change, not the platform's
    await desk.resolve(replace(later, at=NOW - 5))
    assert await desk.rows("SELECT last_inbound_at FROM identity") == [(NOW + 5,)]


async def test_a_person_without_phone_is_known_by_user_id_and_learns_the_phone(desk: Desk) -> None:
    (alone,) = await desk.resolve(whatsapp(bsuid="IT.1"))
    assert await desk.rows("SELECT kind, address FROM identity") == [("wa_bsuid", "IT.1")]
    (both,) = await desk.resolve(whatsapp(bsuid="IT.1", phone="15550100"))
    (phone,) = await desk.resolve(whatsapp(phone="15550100"))
    assert alone.identity_id == both.identity_id == phone.identity_id
    assert await desk.rows("SELECT phone FROM contact") == [("+15550100",)]


@pytest.mark.parametrize("address", ["15550100", "+15550100"])
async def test_a_number_that_has_a_new_owner_leads_to_the_new_owner(desk: Desk, address: str) -> None:
    """Whatever is still sent to the old one does not reach the new one."""
    (old,) = await desk.resolve(replace(whatsapp(bsuid="IT.1", phone="15550100"), address=address))
    (new,) = await desk.resolve(whatsapp(bsuid="IT.2"))
    await desk.resolve(replace(whatsapp(bsuid="IT.2", phone="15550100"), address=address))
    (by_phone,) = await desk.resolve(whatsapp(phone="15550100"))
    assert by_phone.identity_id == new.identity_id != old.identity_id
    states = await desk.rows("SELECT id, state FROM identity ORDER BY state")
    assert states == [(old.identity_id, "gone"), (new.identity_id, "reachable")]


async def test_two_who_exchange_their_numbers_can_both_be_reached(desk: Desk) -> None:
    """Though the second one wrote before the first one's message was handled."""

    def owner(bsuid: str, phone: str) -> IdentityRequest:
        return replace(whatsapp(bsuid=bsuid, phone=phone), address=f"+{phone}")

    await desk.resolve(owner("IT.1", "15550100"), owner("IT.2", "15550200"))
    await desk.resolve(owner("IT.2", "15550100"), now=NOW + 9)
    assert await desk.rows("SELECT count(*) FROM identity WHERE state = 'gone'") == [(1,)]
    await desk.resolve(replace(owner("IT.1", "15550200"), at=NOW + 5), now=NOW + 10)
    assert await desk.rows("SELECT address, state FROM identity ORDER BY id") == [
        ("+15550200", "reachable"),
        ("+15550100", "reachable"),
    ]


async def owners(desk: Desk) -> list[tuple[object, ...]]:
    """Of each key its kind and identity, the oldest identity first."""
    return await desk.rows("SELECT identity_id, kind FROM identity_key ORDER BY identity_id, kind")


@pytest.mark.parametrize("address", ["15550100", "+15550100"])
async def test_a_recycled_number_with_an_unknown_user_id_is_somebody_new(desk: Desk, address: str) -> None:
    """A user id is stable while somebody keeps a number: two of them with one number are two people."""
    anna = replace(whatsapp(bsuid="IT.1", phone="15550100"), address=address)
    bruno = replace(whatsapp(bsuid="IT.2", phone="15550100"), address=address)
    (old,) = await desk.resolve(anna)
    (unknown,) = await known(desk, bruno)
    assert unknown == 0
    (new,) = await desk.resolve(bruno, now=NOW + 9)
    assert new.created
    assert new.contact_id != old.contact_id
    (same, by_phone) = await desk.resolve(bruno, whatsapp(phone="15550100"))
    assert same.identity_id == by_phone.identity_id == new.identity_id
    assert await owners(desk) == [
        (old.identity_id, "wa_bsuid"),
        (new.identity_id, "wa_bsuid"),
        (new.identity_id, "wa_phone"),
    ]
    assert await desk.rows("SELECT id, state, state_at FROM identity ORDER BY id") == [
        (old.identity_id, "gone", NOW + 9),
        (new.identity_id, "reachable", None),
    ]
    (back,) = await desk.resolve(replace(whatsapp(bsuid="IT.1", phone="15550200"), at=NOW + 10))
    assert (back.contact_id, back.state) == (old.contact_id, "reachable")


async def known(desk: Desk, *requests: IdentityRequest) -> list[int]:
    people = [(one.workspace_id, one.channel_id, one.person) for one in requests]
    return await desk.do(lambda c: identity_ids_of(c, people, keyed_hash=desk.sealer.keyed_hash))


@pytest.mark.parametrize("before", ["nobody", "number", "number and user id"])
async def test_a_number_that_changes_hands_within_one_call(desk: Desk, before: str) -> None:
    """Who was known by number alone is the first who comes with it; the last one has it."""
    anna = whatsapp(bsuid="IT.1", phone="15550100")
    bruno = whatsapp(bsuid="IT.2", phone="15550100")
    alone = whatsapp(phone="15550100")
    earlier = []
    if before != "nobody":
        earlier = await desk.resolve(anna if before == "number and user id" else alone)
    one, two, three, again = await desk.resolve(anna, bruno, alone, bruno)
    assert [person.identity_id for person in earlier] in ([], [one.identity_id])
    assert two.identity_id == three.identity_id == again.identity_id != one.identity_id
    assert await owners(desk) == [
        (one.identity_id, "wa_bsuid"),
        (two.identity_id, "wa_bsuid"),
        (two.identity_id, "wa_phone"),
    ]
    assert await desk.rows("SELECT id, state FROM identity ORDER BY id") == [
        (one.identity_id, "gone"),
        (two.identity_id, "reachable"),
    ]


async def test_two_new_owners_of_one_number_in_the_same_moment_are_two(desk: Desk) -> None:
    """Neither sees the other before it writes: who comes second has the number, and is not the first."""
    import crm.identities as identities

    (first,) = await desk.resolve(whatsapp(bsuid="IT.1", phone="15550100"))
    look, looks = identities._find, []

    def blind_once(connection: object, keys: list[dict[str, object]], *ahead: object) -> dict[object, object]:
        looks.append(keys)
        return {} if len(looks) == 1 else look(connection, keys)  # type: ignore[arg-type, return-value]

    identities._find = blind_once  # type: ignore[assignment]
    try:
        (second,) = await desk.resolve(whatsapp(bsuid="IT.2", phone="15550100"))
    finally:
        identities._find = look
    assert second.created
    assert second.contact_id != first.contact_id
    assert await owners(desk) == [
        (first.identity_id, "wa_bsuid"),
        (second.identity_id, "wa_bsuid"),
        (second.identity_id, "wa_phone"),
    ]
    assert await desk.rows("SELECT id, state FROM identity ORDER BY id") == [
        (first.identity_id, "gone"),
        (second.identity_id, "reachable"),
    ]


async def test_only_one_of_two_becomes_who_was_known_by_number_alone(desk: Desk) -> None:
    """Both come in the same moment, each with a user id: one of them gets the contact, the other begins anew."""
    import asyncio

    async def comes(bsuid: str) -> ResolvedIdentity:
        while True:
            try:
                (person,) = await desk.resolve(whatsapp(bsuid=bsuid, phone=phone))
            except Conflict:
                continue
            return person

    for n in range(8):
        phone = f"1555010{n}"
        (before,) = await desk.resolve(whatsapp(phone=phone))
        two = await asyncio.gather(comes(f"IT.{n}1"), comes(f"IT.{n}2"))
        assert len({person.contact_id for person in two}) == 2
        assert before.identity_id in {person.identity_id for person in two}


async def test_an_address_has_the_kind_of_its_id(desk: Desk) -> None:
    """A number is written with a plus; who changes it is written to at the new one."""
    await desk.resolve(replace(whatsapp(bsuid="IT.1", phone="15550100"), address="+15550100"))
    assert await desk.rows("SELECT kind, address FROM identity") == [("wa_phone", "+15550100")]
    old = (ExternalId("wa_bsuid", "IT.1"),)
    new = (ExternalId("wa_bsuid", "IT.2"), ExternalId("wa_phone", "15550101"))
    await desk.do(
        lambda c: move(
            c,
            workspace_id=WORKSPACE,
            channel_id=NUMBER,
            old=old,
            new=new,
            keyed_hash=desk.sealer.keyed_hash,
            now=NOW + 1,
        )
    )
    assert await desk.rows("SELECT kind, address FROM identity") == [("wa_phone", "15550101")]


async def test_what_tells_no_address_leaves_it_to_the_next_owner_of_the_number(desk: Desk) -> None:
    """The owner's answer on the phone, a message in a group: the conversation stays where it was, and so do we."""
    both = whatsapp(bsuid="IT.1", phone="15550100")
    for silent in (replace(both, address=""), replace(whatsapp(bsuid="IT.1"), address="", inbound=False)):
        await desk.resolve(both)
        await desk.resolve(silent)
        assert await desk.rows("SELECT kind, address FROM identity") == [("wa_phone", "15550100")]
    await desk.resolve(whatsapp(bsuid="IT.2", phone="15550100"))
    assert await desk.rows("SELECT state FROM identity ORDER BY id") == [("gone",), ("reachable",)]
    await desk.resolve(replace(whatsapp(bsuid="IT.1"), address="", at=NOW + 1))
    assert await desk.rows("SELECT address, state FROM identity ORDER BY id LIMIT 1") == [
        ("IT.1", "reachable")
    ]


class Looked:
    """Who looked for people a moment ago: what was found then."""

    def __init__(self, rows: Sequence[Sequence[Any]]) -> None:
        self.rows = rows
        self.seen_again: list[dict[str, Any]] = []

    def find(self, connection: Connection, keys: Sequence[Mapping[str, Any]]) -> Sequence[Sequence[Any]]:
        return self.rows

    def meet(self, people: NewPeople) -> None:
        raise AssertionError("nobody here is new")


async def test_a_number_that_somebody_got_since_the_look_is_taken_from_them(desk: Desk) -> None:
    """Two messages of one person in two lanes: one tells the user id and the number, the other the number alone."""
    (known,) = await desk.resolve(whatsapp(bsuid="IT.1"))
    [found] = await desk.rows(
        f"SELECT {', '.join(FOUND)} FROM identity_key k JOIN identity i ON i.id = k.identity_id"
    )
    (meanwhile,) = await desk.resolve(whatsapp(phone="15550100"))
    both = whatsapp(bsuid="IT.1", phone="15550100")
    for _ in range(2):  # the second time it leads to them already, which they did not see either
        (same,) = await desk.do(
            lambda c: resolve(
                c,
                [both],
                keyed_hash=desk.sealer.keyed_hash,
                new_id=desk.new_id,
                now=NOW,
                ahead=Looked([found]),
            )
        )
    assert same.identity_id == known.identity_id != meanwhile.identity_id
    assert await desk.rows("SELECT DISTINCT identity_id FROM identity_key") == [(known.identity_id,)]
    states = await desk.rows("SELECT id, state FROM identity ORDER BY state")
    assert states == [(meanwhile.identity_id, "gone"), (known.identity_id, "reachable")]


async def test_the_same_person_in_another_workspace_or_channel_is_somebody_else(desk: Desk) -> None:
    people = await desk.resolve(telegram(1), telegram(1, channel=99), telegram(1, channel=98, workspace=12))
    assert len({person.contact_id for person in people}) == 3
    assert len({row[0] for row in await desk.rows("SELECT external_key FROM identity_key")}) == 2


async def test_who_loses_the_race_for_a_key_uses_the_winners_identity(desk: Desk) -> None:
    """The other transaction commits between our look and our write: here the write of its keys comes first."""
    import crm.identities as identities

    look = identities._find
    looks = []

    (winner,) = await desk.resolve(whatsapp(bsuid="IT.1"))

    def blind_once(connection: object, keys: list[dict[str, object]], *ahead: object) -> dict[object, object]:
        looks.append(keys)
        return {} if len(looks) == 1 else look(connection, keys)  # type: ignore[arg-type, return-value]

    identities._find = blind_once  # type: ignore[assignment]
    try:
        (loser, other) = await desk.resolve(whatsapp(bsuid="IT.1", phone="15550100"), telegram(3))
    finally:
        identities._find = look
    assert loser.identity_id == winner.identity_id
    assert not loser.created
    assert other.created
    assert await desk.rows("SELECT count(*) FROM contact") == [(2,)]
    (by_phone,) = await desk.resolve(whatsapp(phone="15550100"))
    assert by_phone.identity_id == winner.identity_id


async def test_parallel_batches_with_the_same_new_people_make_each_once(desk: Desk) -> None:
    import asyncio

    people = [telegram(n) for n in range(40)]
    batches = await asyncio.gather(*(desk.resolve(*people[n:], *people[:n]) for n in range(0, 40, 5)))
    assert len({p.identity_id for batch in batches for p in batch}) == 40
    assert await desk.rows("SELECT count(*) FROM contact") == [(40,)]
    assert await desk.rows("SELECT count(*) FROM identity") == [(40,)]


async def test_a_message_lifts_an_older_block_and_not_a_newer_one(desk: Desk) -> None:
    await desk.resolve(telegram(1))
    blocked = Reached(WORKSPACE, BOT, telegram(1).person, "blocked", NOW + 10)
    assert await desk.do(lambda c: set_reachability(c, [blocked], keyed_hash=desk.sealer.keyed_hash)) == 1
    (late,) = await desk.resolve(replace(telegram(1), at=NOW + 9))
    assert late.state == "blocked"
    (after,) = await desk.resolve(replace(telegram(1), at=NOW + 11))
    assert after.state == "reachable"
    assert await desk.rows("SELECT state FROM identity") == [("reachable",)]


async def test_the_newest_word_on_reachability_counts_in_any_order(desk: Desk) -> None:
    await desk.resolve(telegram(1))
    words = [
        Reached(WORKSPACE, BOT, telegram(1).person, s, NOW + n) for n, s in ((3, "reachable"), (2, "blocked"))
    ]
    await desk.do(lambda c: set_reachability(c, words, keyed_hash=desk.sealer.keyed_hash))
    assert await desk.rows("SELECT state, state_at FROM identity") == [("reachable", NOW + 3)]


async def test_nobody_opens_a_window_by_a_notice_of_the_platform(desk: Desk) -> None:
    (someone,) = await desk.resolve(replace(telegram(1), inbound=False))
    assert someone.last_inbound_at is None


@pytest.mark.parametrize("known", ["both", "phone"])
async def test_a_changed_number_moves_the_identity_and_frees_the_old_number(desk: Desk, known: str) -> None:
    request = whatsapp(bsuid="IT.1" if known == "both" else "", phone="15550100")
    (before,) = await desk.resolve(request)
    old, new = (ExternalId("wa_phone", "15550100"),), (ExternalId("wa_phone", "15550101"),)
    moved = await desk.do(
        lambda c: move(
            c,
            workspace_id=WORKSPACE,
            channel_id=NUMBER,
            old=old,
            new=new,
            keyed_hash=desk.sealer.keyed_hash,
            now=NOW + 1,
        )
    )
    assert moved == before.identity_id
    (same, stranger) = await desk.resolve(whatsapp(phone="15550101"), whatsapp(phone="15550100"))
    assert same.contact_id == before.contact_id
    assert stranger.contact_id != before.contact_id
    assert await desk.rows("SELECT address FROM identity WHERE id = :id", id=before.identity_id) == [
        ("15550101",)
    ]


async def test_moving_somebody_unknown_does_nothing(desk: Desk) -> None:
    old, new = (ExternalId("wa_phone", "15550100"),), (ExternalId("wa_phone", "15550101"),)
    moved = await desk.do(
        lambda c: move(
            c,
            workspace_id=WORKSPACE,
            channel_id=NUMBER,
            old=old,
            new=new,
            keyed_hash=desk.sealer.keyed_hash,
            now=NOW,
        )
    )
    assert moved is None


async def test_odd_names_are_stored(desk: Desk) -> None:
    person = Person(ids=(ExternalId("telegram_user", "7"),), first_name="A\x00\ud800" + "x" * 500)
    await desk.resolve(IdentityRequest(WORKSPACE, BOT, "telegram", person, "7", NOW))
    ((name,),) = await desk.rows("SELECT first_name FROM contact")
    assert isinstance(name, str)
    assert name.startswith("A\ufffd\ufffdx")
    assert len(name) == 200
