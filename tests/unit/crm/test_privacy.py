"""A person gets everything that is held of them, and after erasure nothing of them is left anywhere."""

from __future__ import annotations

from typing import Any

import msgspec
import pytest
from sqlalchemy import Connection
from sqlmodel import SQLModel

from crm import privacy, proof
from crm.contacts import ContactPatch, apply_patches
from crm.identities import IdentityRequest
from crm.privacy import Receipt, erase, erase_unit, export, readable
from domain.effects import PatchContact
from domain.errors import NotFound
from domain.events import ExternalId, Person
from tests.canary import CANARY_EMAIL, CANARY_PHONE, CANARY_TEXT
from tests.unit.crm.conftest import NOW, NUMBER, OTHER_WORKSPACE, WORKSPACE, Desk, telegram
from tests.unit.crm.test_consent import entry, record, states, verify

USER_ID = "IT.canary0199"
CANARIES = (CANARY_EMAIL, CANARY_PHONE, CANARY_PHONE.lstrip("+"), CANARY_TEXT, USER_ID, "Nightingale")


async def nightingale(desk: Desk) -> int:
    """A person with something of everything; returns the contact."""
    ids = (ExternalId("wa_bsuid", USER_ID), ExternalId("wa_phone", CANARY_PHONE.lstrip("+")))
    person = Person(ids=ids, first_name="Florence", last_name="Nightingale", phone=CANARY_PHONE)
    request = IdentityRequest(WORKSPACE, NUMBER, "whatsapp", person, CANARY_PHONE.lstrip("+"), NOW)
    (found,) = await desk.resolve(request)
    changes = PatchContact(
        step_id="s",
        set={"email": CANARY_EMAIL, "fields.note": CANARY_TEXT, "fields.vip": True},
        add_tags=("vip",),
    )
    await desk.do(lambda c: apply_patches(c, [ContactPatch(WORKSPACE, found.contact_id, changes)], now=NOW))
    evidence = {"words": CANARY_TEXT, "address": CANARY_PHONE}
    await record(desk, entry(found, "asked", evidence={}), entry(found, evidence=evidence))
    return found.contact_id


async def everything(desk: Desk) -> dict[str, str]:
    def read(connection: Connection) -> dict[str, str]:
        tables = SQLModel.metadata.tables.values()
        return {t.name: repr([tuple(row) for row in connection.execute(t.select())]) for t in tables}

    return await desk.do(read)


async def forget(desk: Desk, contact_id: int, workspace_id: int = WORKSPACE) -> Receipt:
    return await desk.do(
        lambda c: erase(
            c,
            workspace_id=workspace_id,
            contact_id=contact_id,
            actor="person",
            new_id=desk.new_id,
            now=NOW + 5,
        )
    )


@pytest.fixture
def layer(monkeypatch: pytest.MonkeyPatch) -> list[tuple[Any, ...]]:
    """The only layer above: it registers an eraser and an exporter, and wants three calls."""
    monkeypatch.setattr(privacy, "_erasers", {})
    monkeypatch.setattr(privacy, "_exporters", {})
    calls: list[tuple[Any, ...]] = []

    @privacy.erases("letters")
    def erase_letters(
        connection: Connection, workspace: int, contact: int, identities: Any, now: int
    ) -> bool:
        calls.append((workspace, contact, list(identities)))
        return len(calls) < 3

    @privacy.exports("letters")
    def export_letters(connection: Connection, workspace: int, contact: int, identities: Any) -> list[Any]:
        return [{"text": "Dear all", "read": True}]

    return calls


async def test_nothing_of_a_forgotten_person_is_left_in_any_table(desk: Desk) -> None:
    contact_id = await nightingale(desk)
    before = await everything(desk)
    assert {name for name, rows in before.items() if any(c in rows for c in CANARIES)} >= {
        "contact",
        "identity",
    }
    receipt = await forget(desk, contact_id)
    after = await everything(desk)
    assert {name: rows for name, rows in after.items() if any(canary in rows for canary in CANARIES)} == {}
    assert receipt.contact in after["audit_entry"]
    assert await desk.rows("SELECT count(*) FROM contact") == [(0,)]


async def test_the_chain_of_a_forgotten_person_still_verifies_and_proves_nothing_about_them(
    desk: Desk,
) -> None:
    contact_id = await nightingale(desk)
    (anna,) = await desk.resolve(telegram(1))
    await record(desk, entry(anna))
    await desk.do(lambda c: proof.anchor(c, workspace_id=WORKSPACE, new_id=desk.new_id, now=NOW))
    await forget(desk, contact_id)
    assert await verify(desk) == []
    assert len(await states(desk)) == 1
    rows = await desk.rows("SELECT evidence, length(evidence_commitment) FROM consent_entry ORDER BY id")
    assert rows[:2] == [("{}", 0), ("{}", 64)]
    await desk.do(
        lambda c: c.exec_driver_sql("UPDATE consent_entry SET action = 'denied' WHERE position = 1")
    )
    assert any("was changed" in problem for problem in await verify(desk))


async def test_suppression_survives_and_a_returning_person_is_somebody_new(desk: Desk) -> None:
    contact_id = await nightingale(desk)
    await forget(desk, contact_id)
    assert await desk.rows("SELECT reason FROM suppression") == [("erased",), ("erased",)]
    again = await nightingale(desk)
    assert again != contact_id
    # Their new consent, given after the erasure, lifts it; an import would not have.
    identity = (await desk.rows("SELECT id, contact_id FROM identity"))[0]
    assert await desk.rows("SELECT count(*) FROM suppression") == [(2,)]
    from crm.identities import ResolvedIdentity

    person = ResolvedIdentity(int(str(identity[0])), again, False, "reachable", "", None)
    await record(desk, entry(person, occurred_at=NOW + 6))
    assert await desk.rows("SELECT count(*) FROM suppression") == [(0,)]


async def test_erasure_goes_in_units_that_may_be_repeated(desk: Desk, layer: list[tuple[Any, ...]]) -> None:
    contact_id = await nightingale(desk)
    cursors: list[str] = [""]
    while True:
        for _ in range(
            2 if cursors[-1] in ("", "begin", "end") else 1
        ):  # a crash before the cursor was noted
            step = await desk.do(
                lambda c: erase_unit(
                    c,
                    workspace_id=WORKSPACE,
                    contact_id=contact_id,
                    cursor=cursors[-1],
                    actor="person",
                    new_id=desk.new_id,
                    now=NOW + 5,
                )
            )
        if isinstance(step, Receipt):
            break
        cursors.append(step)
    assert cursors == ["", "letters", "letters", "letters", "end"]
    assert step.erased == ("contacts", "letters")
    assert all(call[:2] == (WORKSPACE, contact_id) for call in layer)
    assert len(layer[0][2]) == 1


async def test_from_the_first_unit_on_nothing_is_sent_and_writing_makes_somebody_new(desk: Desk) -> None:
    contact_id = await nightingale(desk)
    await desk.do(
        lambda c: erase_unit(
            c,
            workspace_id=WORKSPACE,
            contact_id=contact_id,
            cursor="",
            actor="",
            new_id=desk.new_id,
            now=NOW + 5,
        )
    )
    assert await desk.rows("SELECT state FROM identity") == [("gone",)]
    assert await nightingale(desk) != contact_id


async def test_erasing_in_the_wrong_workspace_erases_nothing(desk: Desk) -> None:
    contact_id = await nightingale(desk)
    await forget(desk, contact_id, OTHER_WORKSPACE)
    assert await desk.rows("SELECT count(*) FROM contact") == [(1,)]
    assert await desk.rows("SELECT count(*) FROM identity_key") == [(2,)]
    with pytest.raises(NotFound):
        await desk.do(lambda c: export(c, workspace_id=OTHER_WORKSPACE, contact_id=contact_id, now=NOW))


async def test_a_copy_holds_everything_as_data_and_as_text(desk: Desk, layer: list[tuple[Any, ...]]) -> None:
    contact_id = await nightingale(desk)
    data = await desk.do(lambda c: export(c, workspace_id=WORKSPACE, contact_id=contact_id, now=NOW))
    assert data["contact"]["fields"] == {"note": CANARY_TEXT, "vip": True}
    assert data["contact"]["tags"] == ["vip"]
    assert data["identities"][0]["address"] == CANARY_PHONE.lstrip("+")
    assert [one["action"] for one in data["consents"]] == ["asked", "granted"]
    assert data["consents"][1]["evidence"]["words"] == CANARY_TEXT
    assert data["exported_at"] == "2026-12-11T14:40:00Z"
    assert msgspec.json.decode(msgspec.json.encode(data)) == data
    italian, english = readable(data, "it"), readable(data, "en")
    assert italian.startswith("I TUOI DATI\nCopia del: 2026-12-11T14:40:00Z\n\nSU DI TE\n")
    assert english.startswith("YOUR DATA\nCopy of: 2026-12-11T14:40:00Z\n\nABOUT YOU\n")
    for shown in (italian, english):
        assert all(value in shown for value in (CANARY_EMAIL, CANARY_TEXT, CANARY_PHONE, "Nightingale"))
        assert "Dear all" in shown
    assert "Read: sì" in italian
    assert "Telefono: " in italian
    assert "Phone: " in english


def test_two_layers_of_one_name_are_an_error_at_start(layer: list[tuple[Any, ...]]) -> None:
    with pytest.raises(RuntimeError, match="twice"):
        privacy.erases("letters")(lambda *_: None)
    with pytest.raises(RuntimeError, match="twice"):
        privacy.exports("letters")(lambda *_: None)
