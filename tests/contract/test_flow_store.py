"""Publishing: what stands in the table can run, the same text changes nothing, a refused one neither."""

from __future__ import annotations

from collections.abc import AsyncIterator

import pytest

from bot import flow_store
from domain.errors import RejectedInput
from flows import compiler, document
from tests.support.core import OTHER_WORKSPACE, WORKSPACE, Core

FLOW = """
flow: hello
title: {it: Saluto, en: Greeting}
triggers: [first_message]
start: greet
steps:
  greet: {send: Ciao, next: over}
  over: {end: true}
"""
TABLES = ("flow", "flow_version", "flow_channel")


@pytest.fixture
async def core(store_url: str) -> AsyncIterator[Core]:
    made = await Core.open(store_url)
    yield made
    await made.database.close()


async def everything(core: Core) -> list[list[object]]:
    return [
        [tuple(row) for row in await core.rows(f"SELECT * FROM {table} ORDER BY 1, 2, 3")] for table in TABLES
    ]


async def test_the_same_text_again_changes_nothing(core: Core) -> None:
    first = await core.publish(FLOW)
    assert (first.key, first.number, first.changed) == ("hello", 1, True)
    before = await everything(core)
    core.now += 1_000
    again = await core.publish(FLOW)
    assert (again.flow_id, again.version_id, again.number) == (first.flow_id, first.version_id, 1)
    assert not again.changed
    assert await everything(core) == before


async def test_another_text_is_the_next_version_and_the_old_one_stays(core: Core) -> None:
    first = await core.publish(FLOW)
    second = await core.publish(FLOW.replace("Ciao", "Salve"))
    back = await core.publish(FLOW)
    assert [one.number for one in (first, second, back)] == [1, 2, 3]
    assert len({one.version_id for one in (first, second, back)}) == 3
    assert {one.flow_id for one in (first, second, back)} == {first.flow_id}
    documents = await core.rows("SELECT document FROM flow_version ORDER BY number")
    assert [row.document for row in documents] == [FLOW, FLOW.replace("Ciao", "Salve"), FLOW], "word for word"
    published = core.flows.published(WORKSPACE, "hello")
    assert published is not None
    assert published.version == back.version_id
    assert core.flows.version(first.version_id) is not None


async def test_old_versions_make_room_and_published_ones_stay(
    core: Core, monkeypatch: pytest.MonkeyPatch
) -> None:
    """By number and by size, the one unused longest first; never one that was just asked for."""
    monkeypatch.setattr(flow_store, "OLD_VERSIONS", 2)
    still = await core.publish(FLOW.replace("flow: hello", "flow: still"))
    old = [(await core.publish(FLOW.replace("Ciao", f"Ciao {n}"))).version_id for n in range(5)]
    flows = core.flows
    assert [flows.version(one) is not None for one in old] == [False, False, True, True, True]
    await core.do(lambda c: flows.ensure(c, old[:2]))
    assert all(flows.version(one) is not None for one in old), "what a round needs is at hand"
    await core.publish(FLOW.replace("Ciao", "Salve"))
    assert [flows.version(one) is not None for one in old] == [True, True, False, True, True]
    await core.do(lambda c: flows.ensure(c, [old[0]]))
    await core.do(lambda c: flows.ensure(c, [old[3]]))
    await core.publish(FLOW.replace("Ciao", "Addio"))
    assert [flows.version(one) is not None for one in old] == [True, False, False, True, False]
    assert flows.published(WORKSPACE, "still") is flows.version(still.version_id)
    assert flows.flow_id(still.version_id) == still.flow_id
    monkeypatch.setattr(flow_store, "OLD_CHARACTERS", len(FLOW))
    await core.do(lambda c: flows.ensure(c, [old[1]]))
    assert [flows.version(one) is not None for one in old] == [False, True, False, False, False]


async def test_a_document_that_was_checked_is_not_compiled_again(
    core: Core, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Neither in the transaction that publishes nor in the look at what is published: both hold everybody up."""
    checked = compiler.compile(document.load(FLOW, "hello"), 0)

    def never(*_: object) -> None:
        raise AssertionError("compiled where nobody else can do anything")

    with monkeypatch.context() as patch:
        patch.setattr(document, "load", never)
        published = await core.do(
            lambda c: flow_store.publish(
                c,
                workspace_id=WORKSPACE,
                source=FLOW,
                name="hello",
                checked=checked,
                new_id=core.new_id,
                now=core.now,
            )
        )
    rows = await core.database.read(core.flows.missing)
    ready = flow_store.compiled(rows)
    assert list(ready) == [published.version_id]
    monkeypatch.setattr(document, "load", never)
    await core.database.read(lambda c: core.flows.load(c, ready))
    assert core.flows.published(WORKSPACE, "hello") is ready[published.version_id]


@pytest.mark.parametrize(
    "bad",
    [
        "flow: [",
        "flow: hello\nstart: greet\nsteps: {}",
        FLOW.replace("send: Ciao", "shout: Ciao"),
        FLOW.replace("send: Ciao", "send: '{{ contact.name.upper() }}'"),
        "",
    ],
)
async def test_a_refused_document_changes_nothing(core: Core, bad: str) -> None:
    await core.publish(FLOW)
    before = await everything(core)
    with pytest.raises(RejectedInput):
        await core.publish(bad)
    assert await everything(core) == before


async def test_workspaces_do_not_see_each_others_flows(core: Core) -> None:
    mine = await core.publish(FLOW)
    assert core.flows.on_channel(OTHER_WORKSPACE, core.channel_id) == ()
    assert core.flows.published(OTHER_WORKSPACE, "hello") is None
    theirs = await core.publish(FLOW.replace("Ciao", "Loro"), workspace_id=OTHER_WORKSPACE)
    assert mine.flow_id != theirs.flow_id
    assert [one.version for one in core.flows.on_channel(WORKSPACE, core.channel_id)] == [mine.version_id]


async def test_a_flow_may_answer_on_some_channels_only(core: Core) -> None:
    second = await core.bot(WORKSPACE)

    async def publish(*channels: int) -> None:
        await core.do(
            lambda c: flow_store.publish(
                c,
                workspace_id=WORKSPACE,
                source=FLOW,
                name="flow",
                channel_ids=channels,
                new_id=core.new_id,
                now=core.now,
            )
        )
        await core.database.read(core.flows.load)

    await publish()
    assert [len(core.flows.on_channel(WORKSPACE, c)) for c in (core.channel_id, second)] == [1, 1]
    await publish(second)
    assert [len(core.flows.on_channel(WORKSPACE, c)) for c in (core.channel_id, second)] == [0, 1]
    await publish(core.channel_id, second)
    assert [len(core.flows.on_channel(WORKSPACE, c)) for c in (core.channel_id, second)] == [1, 1]


async def test_old_versions_are_found_again_when_a_session_wakes(
    core: Core, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The cache is bounded; what left it is compiled anew."""
    monkeypatch.setattr(flow_store, "OLD_VERSIONS", 2)
    versions = [(await core.publish(FLOW.replace("Ciao", f"Ciao {n}"))).version_id for n in range(6)]
    kept = [version for version in versions if core.flows.version(version) is not None]
    assert len(kept) <= 4
    assert versions[-1] in kept
    assert core.flows.version(versions[0]) is None
    await core.database.read(lambda c: core.flows.ensure(c, versions[:1]))
    assert core.flows.version(versions[0]) is not None
