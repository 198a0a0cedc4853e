"""What flows see of a contact, and how patches change it."""

from __future__ import annotations

import asyncio

import pytest
from sqlalchemy import text

from crm import contacts
from crm.contacts import ContactPatch, TimelineLine, apply_patches, load_views
from domain.effects import PatchContact
from domain.errors import NotFound, RejectedInput
from tests.unit.crm.conftest import NOW, OTHER_WORKSPACE, WORKSPACE, Desk, telegram, whatsapp


def patch(contact_id: int, workspace: int = WORKSPACE, **changes: object) -> ContactPatch:
    return ContactPatch(workspace, contact_id, PatchContact(step_id="s", **changes))  # type: ignore[arg-type]


async def test_a_view_holds_columns_fields_tags_consents_and_identities(desk: Desk) -> None:
    anna, bruno = await desk.resolve(telegram(1), whatsapp(bsuid="IT.1"))
    changes = patch(
        anna.contact_id, set={"email": "anna@example.com", "fields.city": "Roma"}, add_tags=("vip", "new")
    )
    await desk.do(lambda c: apply_patches(c, [changes], now=NOW))
    await desk.do(
        lambda c: c.execute(
            text(
                "INSERT INTO consent_state (workspace_id, identity_id, purpose, contact_id, channel_id, state,"
                " mailable, consent_id, double_opt_in, changed_at)"
                " VALUES (11, :i, 'marketing', :c, 21, 'granted', 1, 5, 0, 1)"
            ),
            {"i": anna.identity_id, "c": anna.contact_id},
        )
    )
    refs = [(WORKSPACE, p.contact_id, p.identity_id) for p in (anna, bruno)]
    views = await desk.do(lambda c: load_views(c, [*refs, refs[0], (WORKSPACE, anna.contact_id, 0)]))
    view = views[(anna.contact_id, anna.identity_id)]
    assert (view.first_name, view.email, view.language) == ("Anna", "anna@example.com", "it")
    assert view.fields == {"city": "Roma"}
    assert view.tags == {"vip", "new"}
    assert view.consents == {"marketing": "granted"} == views[(anna.contact_id, 0)].consents
    assert view.identities[0]["kind"] == "telegram_user"
    assert views[(bruno.contact_id, bruno.identity_id)].tags == set()


async def test_a_contact_of_another_workspace_is_not_there(desk: Desk) -> None:
    (anna,) = await desk.resolve(telegram(1))
    assert (
        await desk.do(lambda c: load_views(c, [(OTHER_WORKSPACE, anna.contact_id, anna.identity_id)])) == {}
    )
    foreign = patch(anna.contact_id, workspace=OTHER_WORKSPACE, set={"name": "X"}, add_tags=("x",))
    await desk.do(lambda c: apply_patches(c, [foreign], now=NOW))
    assert await desk.rows("SELECT name FROM contact") == [("Anna",)]
    assert await desk.rows("SELECT count(*) FROM contact_tag") == [(0,)]
    with pytest.raises(NotFound):
        await desk.do(lambda c: contacts.get(c, workspace_id=OTHER_WORKSPACE, contact_id=anna.contact_id))


async def test_patches_of_one_batch_apply_in_their_order(desk: Desk) -> None:
    (anna,) = await desk.resolve(telegram(1))
    one = anna.contact_id
    batch = [
        patch(one, set={"fields.visits": 2, "fields.old": "x"}, add_tags=("a", "b")),
        patch(one, increment={"fields.visits": 1.0, "fields.new": 0.5}, remove_tags=("a",)),
        patch(one, set={"fields.old": None, "last_name": "Rossi", "timezone": "Europe/Rome"}),
    ]
    await desk.do(lambda c: apply_patches(c, batch, now=NOW + 1))
    view = await desk.do(lambda c: contacts.get(c, workspace_id=WORKSPACE, contact_id=one))
    assert view.fields == {"visits": 3, "new": 0.5}
    assert view.tags == {"b"}
    assert (view.name, view.timezone) == ("Anna Rossi", "Europe/Rome")


async def test_parallel_patches_of_one_contact_lose_nothing(desk: Desk) -> None:
    people = await desk.resolve(*(telegram(n) for n in range(5)))
    ones = [p.contact_id for p in people]

    async def change(n: int) -> None:
        batch = [
            patch(c, increment={"fields.n": 1}, set={f"fields.k{n}": n})
            for c in (ones if n % 2 else ones[::-1])
        ]
        await desk.do(lambda c: apply_patches(c, batch, now=NOW))

    await asyncio.gather(*(change(n) for n in range(10)))
    views = await desk.do(lambda c: load_views(c, [(WORKSPACE, one, 0) for one in ones]))
    assert [view.fields["n"] for view in views.values()] == [10] * 5
    assert all(len(view.fields) == 11 for view in views.values())


async def test_unsetting_and_odd_values(desk: Desk) -> None:
    (anna,) = await desk.resolve(telegram(1))
    one = anna.contact_id
    await desk.do(
        lambda c: apply_patches(c, [patch(one, set={"email": "a@example.com", "fields.n": "12"})], now=NOW)
    )
    odd = {
        "email": None,
        "first_name": "",
        "fields.text": "a\x00b",
        "birth_year": 1990,
        "fields.list": ["x", "y"],
    }
    await desk.do(lambda c: apply_patches(c, [patch(one, set=odd, increment={"fields.n": 1})], now=NOW))
    view = await desk.do(lambda c: contacts.get(c, workspace_id=WORKSPACE, contact_id=one))
    assert (view.email, view.first_name) == (None, "")
    assert view.fields == {"text": "a\ufffdb", "n": 13, "list": ["x", "y"]}
    assert await desk.rows("SELECT birth_year FROM contact") == [(1990,)]


async def test_contacts_are_made_listed_found_and_changed(desk: Desk) -> None:
    def made(n: int) -> PatchContact:
        return PatchContact(step_id="api", set={"first_name": f"Person{n}", "email": f"p{n}_@example.com"})

    ids = [
        await desk.do(
            lambda c, n=n: contacts.create(
                c, workspace_id=WORKSPACE, patch=made(n), new_id=desk.new_id, now=NOW
            )  # type: ignore[misc]
        )
        for n in range(5)
    ]
    first = await desk.do(lambda c: contacts.list_contacts(c, workspace_id=WORKSPACE, limit=3))
    assert ([v.id for v in first.contacts], first.next) == (ids[:3], ids[2])
    rest = await desk.do(lambda c: contacts.list_contacts(c, workspace_id=WORKSPACE, limit=3, after=ids[2]))
    assert ([v.id for v in rest.contacts], rest.next) == (ids[3:], None)
    found = await desk.do(lambda c: contacts.list_contacts(c, workspace_id=WORKSPACE, search="P3_@EX"))
    assert [v.id for v in found.contacts] == [ids[3]]
    changed = await desk.do(
        lambda c: contacts.update(
            c,
            workspace_id=WORKSPACE,
            contact_id=ids[0],
            patch=PatchContact(step_id="", set={"language": "en"}),
            now=NOW,
        )
    )
    assert changed.language == "en"
    assert (await desk.do(lambda c: contacts.list_contacts(c, workspace_id=OTHER_WORKSPACE))).contacts == []


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"set": {"colour": "red"}}, "colour: not a property"),
        ({"set": {"fields.Città": "Roma"}}, "small letters"),
        ({"set": {"fields.a": {"b": 1}}}, "a list of texts"),
        ({"set": {"fields.a": "x" * 5000}}, "4096 characters"),
        ({"set": {"fields.a": 1 << 64}}, "too large"),
        ({"set": {"name": 5}}, "must be a text"),
        ({"set": {"birth_year": 90}}, "a year"),
        ({"increment": {"name": 1}}, "only fields"),
        ({"add_tags": (" ",)}, "a tag has"),
    ],
)
def test_what_does_not_fit_is_named(changes: dict[str, object], words: str) -> None:
    with pytest.raises(RejectedInput, match=words):
        contacts.check(PatchContact(step_id="", **changes))  # type: ignore[arg-type]


async def test_the_timeline_is_read_newest_first_in_pages(desk: Desk) -> None:
    (anna,) = await desk.resolve(telegram(1))
    lines = [TimelineLine(WORKSPACE, anna.contact_id, "note", NOW + n, {"n": n}) for n in range(3)]
    await desk.do(lambda c: contacts.append_timeline(c, lines, new_id=desk.new_id))
    page = await desk.do(
        lambda c: contacts.timeline(c, workspace_id=WORKSPACE, contact_id=anna.contact_id, limit=2)
    )
    assert [line["data"] for line in page] == [{"n": 2}, {"n": 1}]
    rest = await desk.do(
        lambda c: contacts.timeline(
            c, workspace_id=WORKSPACE, contact_id=anna.contact_id, before=page[-1]["id"]
        )
    )
    assert [line["kind"] for line in rest] == ["note", "created"]
