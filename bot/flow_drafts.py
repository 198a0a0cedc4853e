"""Drafts: what is being written of a flow, one for each; and the tests that belong to a flow.

A draft is kept with whatever faults it has, as long as it is text of a bounded size; what is wrong with it is told when
it is saved and read, and stops it only when it is published. Two people who write at once: a save names the revision
that it was made from, and one that is stale is refused and says what has changed meanwhile.

Tests (`*.test.yaml`) belong to the flow and not to one of its versions: publishing may require that they pass.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping, Sequence
from functools import cached_property

from msgspec import Struct
from sqlalchemy import Connection, text

from domain.errors import Conflict, NotFound, RejectedInput
from flows import upgrades
from flows.differences import Difference, differences
from flows.steps import FLOW_KEY
from flows.yaml_reader import MAX_SIZE

MAX_TESTS = 100  # of a flow
MAX_NOTE = 500
MAX_TEST_NAME = 100
MAX_TOLD = 20  # differences that a refused save tells; there is `flow diff` for all of them


class Draft(Struct, frozen=True, kw_only=True):
    """A flow's draft."""

    flow_id: int
    key: str
    document: str
    note: str
    by: str
    updated_at: int
    revision: int


class Test(Struct, frozen=True, kw_only=True):
    """A test of a flow: the text of a `*.test.yaml`."""

    name: str
    document: str
    by: str
    updated_at: int


class DraftChanged(Conflict):
    """Somebody saved the draft meanwhile. `draft` is what stands there now, None when it was discarded; `differences`
    lead from it to what was to be saved. They are found when they are asked for (for the sentence, too): that takes a
    third of a second for a thousand steps, which is nothing for the transaction that raises this."""

    def __init__(self, draft: Draft | None, source: str) -> None:
        super().__init__("the draft was published or discarded meanwhile" if draft is None else "")
        self.draft = draft
        self.source = source

    @cached_property
    def differences(self) -> Sequence[Difference]:
        return compared(self.draft.document, self.source) if self.draft is not None else ()

    def __str__(self) -> str:
        draft, found = self.draft, self.differences
        if draft is None:
            return super().__str__()
        told = "; ".join(one.text["en"] for one in found[:MAX_TOLD])
        more = f" … and {len(found) - MAX_TOLD} more" if len(found) > MAX_TOLD else ""
        return (
            f"the draft was saved meanwhile by {draft.by or 'somebody'} (revision {draft.revision}); "
            f"what saving would change in it: {told or 'nothing'}{more}"
        )


def key_of(source: str, *, name: str) -> str:
    """The flow's key in a text that may have other faults. Raises RejectedInput when there is none."""
    key = upgrades.data_of(source, name=name).get("flow")
    if not isinstance(key, str) or not re.fullmatch(FLOW_KEY, key):
        raise RejectedInput("the document needs a key of its flow, such as flow: lead", where=f"{name}, flow")
    return key


def flow_of(
    connection: Connection,
    workspace_id: int,
    key: str,
    *,
    new_id: Callable[[], int],
    now: int,
) -> int:
    """The id of the flow with this key; a new flow, with nothing published, when there is none."""
    values = {"workspace": workspace_id, "key": key, "id": new_id(), "now": now}
    connection.execute(
        text(
            "INSERT INTO flow (id, workspace_id, key, title, state, current_version_id, created_at) "
            "VALUES (:id, :workspace, :key, :key, 'active', 0, :now) ON CONFLICT DO NOTHING"
        ),
        values,
    )
    found = connection.execute(
        text("SELECT id FROM flow WHERE workspace_id = :workspace AND key = :key"), values
    ).scalar_one()
    return int(found)


def find(connection: Connection, workspace_id: int, flow_id: int) -> Draft | None:
    """The draft of a flow, None when there is none."""
    row = connection.execute(
        text(
            "SELECT d.flow_id, f.key, d.document, d.note, d.by, d.updated_at, d.revision FROM flow_draft d "
            "JOIN flow f ON f.id = d.flow_id AND f.workspace_id = d.workspace_id "
            "WHERE d.workspace_id = :workspace AND d.flow_id = :flow"
        ),
        {"workspace": workspace_id, "flow": flow_id},
    ).one_or_none()
    return None if row is None else Draft(**row._mapping)


def get(connection: Connection, workspace_id: int, flow_id: int) -> Draft:
    """The draft of a flow. Raises NotFound."""
    found = find(connection, workspace_id, flow_id)
    if found is None:
        raise NotFound("this flow has no draft")
    return found


def save(
    connection: Connection,
    *,
    workspace_id: int,
    flow_id: int,
    source: str,
    revision: int,
    note: str = "",
    by: str = "",
    now: int,
) -> int:
    """Saves the draft of a flow that was made from `revision` (0: from none); gives the new revision.

    Raises DraftChanged when another revision stands there by now, NotFound without the flow, RejectedInput for a text
    that is too long.
    """
    if len(source) > MAX_SIZE:
        raise RejectedInput(f"at most {MAX_SIZE} characters", where="document")
    if len(note) > MAX_NOTE:
        raise RejectedInput(f"at most {MAX_NOTE} characters", where="note")
    values = {
        "workspace": workspace_id,
        "flow": flow_id,
        "document": source,
        "note": note,
        "by": by,
        "now": now,
        "revision": revision,
    }
    known = connection.execute(
        text("SELECT 1 FROM flow WHERE workspace_id = :workspace AND id = :flow"), values
    ).first()
    if known is None:
        raise NotFound("there is no such flow")
    statement = (
        "UPDATE flow_draft SET document = :document, note = :note, by = :by, updated_at = :now, "
        "revision = revision + 1 WHERE workspace_id = :workspace AND flow_id = :flow AND revision = :revision"
        if revision
        else "INSERT INTO flow_draft (flow_id, workspace_id, document, note, by, updated_at, revision) "
        "VALUES (:flow, :workspace, :document, :note, :by, :now, 1) ON CONFLICT DO NOTHING"
    )
    if not connection.execute(text(statement), values).rowcount:
        raise DraftChanged(find(connection, workspace_id, flow_id), source)
    return revision + 1


def discard(connection: Connection, workspace_id: int, flow_id: int) -> bool:
    """Throws the draft away; false when there was none."""
    gone = connection.execute(
        text("DELETE FROM flow_draft WHERE workspace_id = :workspace AND flow_id = :flow"),
        {"workspace": workspace_id, "flow": flow_id},
    )
    return bool(gone.rowcount)


def compared(before: str, after: str) -> list[Difference]:
    """What leads from one text to the other; of texts that cannot be read, that they differ."""
    if before == after:
        return []
    try:
        found = differences(upgrades.data_of(before, name="before"), upgrades.data_of(after, name="after"))
    except RejectedInput as error:
        said = {
            "it": f"i testi sono diversi, ma non si possono confrontare: {error}",
            "en": f"the texts differ, but cannot be compared: {error}",
        }
        return [Difference("changed", "", "", "", "", "", said)]
    if not found:
        said = {"it": "solo commenti e forma del testo", "en": "only comments and the form of the text"}
        return [Difference("form", "", "", "", "", "", said)]
    return found


# --- tests of a flow


def tests(connection: Connection, workspace_id: int, flow_id: int) -> list[Test]:
    """The tests of a flow, by name."""
    rows = connection.execute(
        text(
            "SELECT name, document, by, updated_at FROM flow_test "
            "WHERE workspace_id = :workspace AND flow_id = :flow ORDER BY name"
        ),
        {"workspace": workspace_id, "flow": flow_id},
    ).all()
    return [Test(**row._mapping) for row in rows]


def keep_tests(
    connection: Connection,
    *,
    workspace_id: int,
    flow_id: int,
    documents: Mapping[str, str],
    by: str,
    now: int,
    replace: bool = False,
) -> None:
    """Stores tests by name; `replace`: these and no others. Raises RejectedInput for too many or too long ones."""
    if replace:
        connection.execute(
            text("DELETE FROM flow_test WHERE workspace_id = :workspace AND flow_id = :flow"),
            {"workspace": workspace_id, "flow": flow_id},
        )
    for name, document in documents.items():
        if not 0 < len(name) <= MAX_TEST_NAME:
            raise RejectedInput(f"a test's name has 1 to {MAX_TEST_NAME} characters", where="tests")
        if len(document) > MAX_SIZE:
            raise RejectedInput(f"at most {MAX_SIZE} characters", where=f"tests, {name}")
        connection.execute(
            text(
                "INSERT INTO flow_test (workspace_id, flow_id, name, document, by, updated_at) "
                "VALUES (:workspace, :flow, :name, :document, :by, :now) ON CONFLICT (flow_id, name) DO UPDATE SET "
                "document = excluded.document, by = excluded.by, updated_at = excluded.updated_at"
            ),
            {
                "workspace": workspace_id,
                "flow": flow_id,
                "name": name,
                "document": document,
                "by": by,
                "now": now,
            },
        )
    count = connection.execute(
        text("SELECT count(*) FROM flow_test WHERE workspace_id = :workspace AND flow_id = :flow"),
        {"workspace": workspace_id, "flow": flow_id},
    ).scalar_one()
    if count > MAX_TESTS:
        raise RejectedInput(f"a flow has at most {MAX_TESTS} tests", where="tests")
