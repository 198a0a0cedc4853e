"""People inside a flow move to its new version while the server runs, and while it is restarted; what they went through
replays to the letter afterwards."""

from __future__ import annotations

from bot import flow_history, flow_publishing, replay, standing
from bot.flow_publishing import Source, Wish
from tests.support.town import BOT, Town, until

FLOW = """
flow: form
languages: [it]
triggers: [{keyword: [ciao], interrupts: true}]
start: name
steps:
  name: {ask: text, text: Come ti chiami?, save: session.name, timeout: {after: 1 day, goto: bye}, next: bye}
  bye: {send: "Ciao {{ session.name | default('tu') }}", next: end}
"""
NEW = FLOW.replace("name:", "who:").replace("start: name", "start: who").replace("Ciao {{", "Salve {{")


async def test_over_a_restart(any_town: Town) -> None:
    """The job is cut off by the stop and goes on after the start; nobody is asked again, and answers count anew."""
    town = any_town
    await town.telegram()
    await town.publish(FLOW)
    people = [await town.simulators.telegram_person(first_name="Anna", language_code="it") for _ in range(3)]
    for person in people:
        await town.simulators.telegram_act(BOT, person, "say", text="ciao")
        await town.telegram_messages(person, 1)
    await town.settle()
    wish = Wish(by="test", people="move", mapping={"name": "who"})
    [done] = await flow_publishing.publish(town.app.runtime, town.workspace_id, [Source("form", NEW)], wish)
    assert [(one.step_id, one.people, one.becomes, one.to_step) for one in done.prospects] == [
        ("name", 3, "goes_on", "who")
    ]
    await town.app.stop()
    await town.start()
    database = town.app.database
    flow = await database.read(lambda c: flow_history.by_key(c, town.workspace_id, "form"))

    async def moved() -> bool:
        here = await standing.where(database, town.workspace_id, flow.id, "form", now=town.app.clock())
        return [(one.number, one.step_id, one.people) for one in here] == [(2, "who", 3)]

    await until(moved, "everybody stands in the new version")
    for person in people:
        await town.simulators.telegram_act(BOT, person, "say", text="Bea")
        messages = await town.telegram_messages(person, 2)
        assert [one["text"] for one in messages] == ["Come ti chiami?", "Salve Bea"]
    await town.settle()
    for row in await town.rows("SELECT id FROM conversation"):
        kept = await database.read(
            lambda c, row=row: replay.of_conversation(  # type: ignore[misc]
                c, workspace_id=town.workspace_id, conversation_id=row.id, sealer=town.app.sealer
            )
        )
        [played] = replay.play(kept)
        assert (played.same, played.turns) == (True, 3), played
