"""A segment has exactly the contacts that its predicate matches: every operator against its SQL twin, both databases.

Every kind of value stands in a field of some contact, and every operator is asked with every kind of author's value;
then random trees over all subjects. The pure half (`predicates.matches`) is the judge.
"""

from __future__ import annotations

import random
import sys
from collections.abc import AsyncIterator
from typing import Any

import msgspec
import pytest
from sqlalchemy import Connection, text
from sqlmodel import SQLModel

import storage.tables  # noqa: F401 (fills the metadata)
from crm import segments
from crm.contacts import load_views
from crm.segments.operators import twins
from crm.segments.patterns import postgresql_pattern
from crm.segments.subjects import INTO_ASCII
from domain import predicates
from domain.comparisons import fold, missing
from domain.contacts import ContactView
from domain.errors import RejectedInput
from domain.operators import registry
from storage.database import Database
from storage.statements import bulk, insert_rows

NOW = 1_797_000_000_000  # 2026-12-11T14:40:00Z
DAY = 86_400_000
WORKSPACE = 1

ABSENT = object()
VALUES: list[Any] = [
    ABSENT, None, "", " ", "Roma", "ROMA", "roma ", "Città di Roma", "ÀÉÎ", "àéî", "İzmir", "izmir", "straße", "ΣΟΦΟΣ",
    "\u212aİLO", "kilo", "Ki\u0307lo", "Ro\\ma", "ro\"MA", "ro%ma", "r_ma",
    "5", "5.0", "05", "+5", "-5", "1e3", "5 ", "٥", "NaN", "inf", "123456789012345", "1234567890123456", "0.1", ".5",
    0, 1, 5, -5, 18, 30, 1000, 9007199254740991, 5.0, 5.5, 0.1, -0.5, 1e21, True, False,
    "2026-12-05", "2026-12-05T00:00:00Z", "2026-12-05T10:00:00Z", "2026-12-11", "2026-13-45", "2026-12-05 10:00",
    "2026-12-05T10:30:00+01:00", "2026-12-05T00:30:00+02:00", "2026-12-04T20:30:00-05:00", "2026-02-30T10:00:00+01:00",
    "2028-02-29T10:00:00+01:00", "2026-12-31T23:59:59-14:00", "9999-12-31T23:00:00-05:00", "0001-01-01T00:00:00+14:00",
    "2026-12-05T10:00:00+15:00", "2026-12-05T24:00:00+01:00", "2026-12-05T10:00+01:00",
    "2026-12-05\n", NOW, NOW - 1, NOW - DAY, NOW - 30 * DAY, NOW - 30 * DAY - 1, NOW + 1, float(NOW),
    [], ["vip"], ["vip", "new"], ["VIP"], [5], ["5"], [None, "vip"], {}, {"vip": 1},
    "codice AB1234", "ab1234", "a\nb", "x" * 5000 + "AB1234", "naïve café", "a.b", "tab\there", "50% [ok] {1}",
]  # fmt: skip

ASKED: dict[str, list[Any]] = {
    "text": ["Roma", "roma", "àéî", "İZMIR", "izmir", "5", "5.0", "vip", "true", "1e3", "2026-12-05", "STRASSE", "%",
             "kilo", "STRAẞE", "KİLO", "ro\\ma", 'RO"ma', "RO%MA", "R_MA", "a\nb"],
    "plain": [5, 5.0, 0, 0.1, -5, 1000, True, False, NOW, "Roma", "5", "5.0", "0.1", "+5", "roma "],
    "number": [0, 5, 5.0, 4.999, -5, 18, 0.1, 1e9],
    "date": ["2026-12-05", "2026-12-05T10:00:00Z", "2026-12-11", "now", "1970-01-01", "9999-12-31"],
    "span": ["1 second", "1 day", "30 days", "500 weeks"],
    "pattern": [
        "AB", "^AB", "[A-Z]{2}[0-9]{4}$", "(?i)ab1234", "a.b", r"a\.b", r"\bcaf", r"\d+%\s\[ok\]", "(vip|roma)",
        "a[^x]b", r"^\w+$", r"[\w.]+\.b", "^$", "x{3,}A", "(?:ro)+ma", r"\{1\}", "x{,2}", r"[[:alpha:]]+ di", r"\t",
        "^[^0-9]*$", "o?m*a+?", r"\W", r"\Bo", "é$", "[à-ÿ]", "a|",
    ],
}  # fmt: skip
BY_OPERATOR: dict[str, list[Any]] = {
    "equals": ASKED["plain"] + ASKED["text"],
    "not_equals": ASKED["plain"],
    "one_of": [["Roma", "5", 18], [True], [0.1, "àéî"], ["x"], [1, 2, 3], ["izmir", "ROMA ", False]],
    "contains": ASKED["text"],
    "starts_with": ASKED["text"],
    "is_set": [None],
    "is_not_set": [None],
    "greater": ASKED["number"],
    "less": ASKED["number"],
    "at_least": ASKED["number"],
    "at_most": ASKED["number"],
    "between": [[0, 5], [5, 18], [-5.5, 0.1], [1e9, 1e15]],
    "has_tag": ["vip", "VIP", "5", "null"],
    "before": ASKED["date"],
    "after": ASKED["date"],
    "within_last": ASKED["span"],
    "matches_pattern": ASKED["pattern"],
}
SUBJECTS = [
    "contact.fields.x",
    "contact.fields.y",
    "contact.name",
    "contact.email",
    "contact.language",
    "contact.created_at",
    "contact.tags",
    "consent.marketing",
]


@pytest.fixture
async def database(any_database_url: str) -> AsyncIterator[Database]:
    database = await Database.open(any_database_url)
    await database.write(_fill)
    yield database
    await database.close()


def _fill(connection: Connection) -> None:
    """One contact for each value: in a field, and, where it is a text, as name and e-mail."""
    SQLModel.metadata.create_all(connection)
    rng = random.Random(20)
    contacts, tags, identities, states = [], [], [], []
    for n, value in enumerate(VALUES):
        fields = {} if value is ABSENT else {"x": value}
        fields["y"] = rng.choice([v for v in VALUES if v is not ABSENT])
        shown = value if isinstance(value, str) else ""
        contacts.append(
            {
                "id": n + 1,
                "workspace_id": WORKSPACE,
                "name": shown,
                "first_name": "",
                "last_name": "",
                "email": rng.choice([None, "", shown, "anna@example.com"]),
                "language": rng.choice([None, "it", "en"]),
                "fields": msgspec.json.encode(fields).decode(),
                "source": "",
                "created_at": value
                if isinstance(value, int) and not isinstance(value, bool)
                else NOW - n * DAY,
                "updated_at": 0,
            }
        )
        tags += [
            {"workspace_id": WORKSPACE, "contact_id": n + 1, "tag": t}
            for t in ("vip", "new")
            if rng.random() < 0.4
        ]
        for k in range(rng.randint(0, 2)):
            identities.append(_identity(n + 1, 1000 + 2 * n + k))
            if rng.random() < 0.7:
                states.append(_state(n + 1, 1000 + 2 * n + k, rng))
    for table, rows in (
        ("contact", contacts),
        ("contact_tag", tags),
        ("identity", identities),
        ("consent_state", states),
    ):
        columns = {key: "BIGINT" if isinstance(value, int) else "TEXT" for key, value in rows[0].items()}
        connection.execute(text(insert_rows(table, columns)), {"rows": bulk(rows)})


def _identity(contact_id: int, number: int) -> dict[str, Any]:
    row: dict[str, Any] = {"id": number, "workspace_id": WORKSPACE, "channel_id": 1, "contact_id": contact_id}
    row |= {
        "kind": "telegram_user",
        "address": str(number),
        "display_name": "",
        "state": "reachable",
        "salt": "",
    }
    return row | {"marketing_day": 0, "marketing_count": 0, "created_at": 0}


def _state(contact_id: int, identity_id: int, rng: random.Random) -> dict[str, Any]:
    row: dict[str, Any] = {"workspace_id": WORKSPACE, "identity_id": identity_id, "purpose": "marketing"}
    row |= {"contact_id": contact_id, "channel_id": 1, "mailable": 0, "consent_id": 1, "double_opt_in": 0}
    return row | {"state": rng.choice(["granted", "withdrawn", "asked"]), "changed_at": rng.choice([1, 2])}


def _views(connection: Connection) -> list[ContactView]:
    return list(load_views(connection, [(WORKSPACE, n + 1, 0) for n in range(len(VALUES))]).values())


def _disagreement(connection: Connection, views: list[ContactView], data: dict[str, Any]) -> str:
    predicate = predicates.parse(data)
    in_sql = segments.members(connection, workspace_id=WORKSPACE, predicate=predicate, now=NOW)
    absolute = predicates.grounded(predicate, NOW)
    pure = {view.id for view in views if predicates.matches(absolute, segments.lookup(view))}
    wrong = pure ^ set(in_sql)
    return f"{data}: {[(n in pure, VALUES[n - 1]) for n in sorted(wrong)]}" if wrong else ""


def test_every_operator_has_a_twin_and_values_here() -> None:
    assert set(twins()) == set(registry()) == set(BY_OPERATOR)


@pytest.mark.parametrize("op", sorted(BY_OPERATOR))
async def test_an_operator_means_the_same_in_sql(database: Database, op: str) -> None:
    def compare(connection: Connection) -> list[str]:
        views = _views(connection)
        found = []
        for subject in SUBJECTS:
            for value in BY_OPERATOR[op]:
                data = {"subject": subject, "op": op} | ({} if value is None else {"value": value})
                found.append(_disagreement(connection, views, data))
        return [problem for problem in found if problem]

    problems = await database.write(compare)
    assert not problems, "\n".join(problems[:10])


async def test_a_text_is_found_however_its_object_is_spelled(database: Database) -> None:
    """Other writers may escape what ours writes as it is, and put spaces where ours puts none."""
    spelled = [
        '{"x":"Roma"}', '{ "x" : "ROMA" }', '{"x":"\\u0052oma"}', '{"x":"rom\\u0041","z":1}', '{"z":"Roma"}',
        '{"Roma":"x"}', '{"x":["Roma"]}', '{"x":{"x":"Roma"}}', '{"z":"\\"Roma\\""}', '{"x":"K\u0130lo"}',
        '{"x":"\u212ailo"}', '{"x":"\\u212aILO","z":"é"}', '{"x":"Kilo","z":"Roma"}', '{"x":"Città"}',
        '{"x":"CITT\\u00c0"}',
    ]  # fmt: skip

    def compare(connection: Connection) -> list[str]:
        connection.execute(text("UPDATE contact SET fields = '{}'"))
        for number, fields in enumerate(spelled, start=1):
            change = text("UPDATE contact SET fields = :fields WHERE id = :id")
            connection.execute(change, {"fields": fields, "id": number})
        views = _views(connection)
        asked = [
            {"subject": "contact.fields.x", "op": "equals", "value": v} for v in ("roma", "KILO", "città")
        ]
        sizes = [
            segments.count(connection, workspace_id=WORKSPACE, predicate=predicates.parse(data), now=NOW)
            for data in asked
        ]
        assert sizes == [4, 4, 2]
        return [problem for data in asked if (problem := _disagreement(connection, views, data))]

    problems = await database.write(compare)
    assert not problems, "\n".join(problems)


def test_every_character_that_folds_into_ascii_is_known() -> None:
    """What may spell an ASCII text with others; and folding changes neither a text's length nor what is folded."""
    everything = [chr(n) for n in range(sys.maxunicode + 1) if not 0xD800 <= n < 0xE000]
    assert {fold(c): c for c in everything if not c.isascii() and fold(c).isascii()} == INTO_ASCII
    assert all(len(fold(c)) == 1 and fold(fold(c)) == fold(c) for c in everything)


async def test_random_trees_mean_the_same_in_sql(database: Database) -> None:
    def compare(connection: Connection) -> list[str]:
        views, rng = _views(connection), random.Random(7)
        found = [_disagreement(connection, views, _tree(rng, 3)) for _ in range(250)]
        return [problem for problem in found if problem]

    problems = await database.write(compare)
    assert not problems, "\n".join(problems[:3])


def _tree(rng: random.Random, depth: int) -> dict[str, Any]:
    kind = rng.choice(["all", "any", "not", "test"] if depth else ["test"])
    if kind == "test":
        op = rng.choice(sorted(BY_OPERATOR))
        value = rng.choice(BY_OPERATOR[op])
        return {"subject": rng.choice(SUBJECTS), "op": op} | ({} if value is None else {"value": value})
    if kind == "not":
        return {"not": _tree(rng, depth - 1)}
    return {kind: [_tree(rng, depth - 1) for _ in range(rng.randint(0, 3))]}


async def test_count_sample_and_pages_agree_and_stay_in_the_workspace(database: Database) -> None:
    predicate = predicates.parse({"subject": "contact.fields.x", "op": "is_set"})

    def look(connection: Connection) -> Any:
        arguments: dict[str, Any] = {"predicate": predicate, "now": NOW}
        everybody = segments.members(connection, workspace_id=WORKSPACE, **arguments)
        pages, after = [], 0
        while page := segments.members(connection, workspace_id=WORKSPACE, after=after, limit=7, **arguments):
            pages += page
            after = page[-1]
        size = segments.count(connection, workspace_id=WORKSPACE, **arguments)
        newest = segments.sample(connection, workspace_id=WORKSPACE, limit=5, **arguments)
        return everybody, pages, size, newest, segments.count(connection, workspace_id=2, **arguments)

    everybody, pages, size, newest, elsewhere = await database.read(look)
    assert pages == everybody
    assert size == len(everybody) == sum(1 for v in VALUES if v is not ABSENT and not missing(v))
    assert newest == everybody[:-6:-1]
    assert elsewhere == 0


@pytest.mark.parametrize(
    "path", ["session.x", "contact.salary", "contact.fields.", 'contact.fields.a"b', "consent.", "x"]
)
async def test_a_subject_that_segments_do_not_know_is_named(database: Database, path: str) -> None:
    predicate = predicates.parse({"all": [{"subject": path, "op": "is_set"}]})
    with pytest.raises(RejectedInput, match=r"predicate\.all\[0\]\.subject: .*cannot be used in a segment"):
        await database.read(lambda c: segments.compile_predicate(c, predicate, now=NOW))


@pytest.mark.parametrize(
    "pattern", [r"\p{L}", "(?P<n>a)", "a(?i)b", "a{300}", r"[\D]", r"\x41", "[[:^alpha:]]"]
)
def test_what_postgresql_cannot_say_is_refused(pattern: str) -> None:
    with pytest.raises(RejectedInput, match="cannot be used in segments"):
        postgresql_pattern(pattern)


async def test_what_costs_less_is_asked_first(database: Database) -> None:
    """Columns before fields before other tables; otherwise the author's order, also inside."""
    data = {
        "all": [
            {"subject": "consent.marketing", "op": "equals", "value": "granted"},
            {"not": {"subject": "contact.fields.y", "op": "is_set"}},
            {
                "any": [
                    {"subject": "contact.tags", "op": "is_set"},
                    {"subject": "contact.email", "op": "is_set"},
                ]
            },
            {"subject": "contact.name", "op": "is_set"},
            {"subject": "contact.phone", "op": "is_set"},
        ]
    }
    made = await database.read(
        lambda c: segments.compile_predicate(c, predicates.parse(data), now=NOW, contact="who")
    )
    words = ["who.name", "who.phone", "who.fields", "consent_state", "who.email", "contact_tag"]
    assert sorted(words, key=made.sql.index) == words


async def test_hostile_values_stay_values(database: Database) -> None:
    hostile = "x' OR '1'='1'; DROP TABLE contact; -- :p0 %s"
    for op in ("equals", "contains", "starts_with", "has_tag"):
        for subject in (
            f"contact.fields.{hostile}"[:90],
            "contact.name",
            "contact.tags",
            f"consent.{hostile}",
        ):
            predicate = predicates.parse({"subject": subject, "op": op, "value": hostile})
            found = await database.read(
                lambda c, p=predicate: segments.count(c, workspace_id=WORKSPACE, predicate=p, now=NOW)  # type: ignore[misc]
            )
            assert found == 0
