"""What the store may say to a delivery, and what the platform is told: come again, or 200 for what will never fit."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any, cast

import pytest
from sqlalchemy import text

from bot import claiming, handlers
from bot.parked import parked
from domain.events import MessageReceived
from tests.faults.conftest import Counted
from tests.support.posting import MIRROR, Poster
from tests.support.town import Town, until

FIRST = 5_100_000


async def test_an_event_that_the_store_refuses_is_set_aside_alone(town: Town, counted: Counted) -> None:
    """One of thirty deliveries that are stored together is refused by the database: it is parked, answered 200, and
    nobody else notices."""
    channel = await town.telegram()
    await town.publish(MIRROR, "mirror")
    people = town.crowd(FIRST, 30)
    key = town.app.sealer.keyed_hash("conversation", str(channel), str(people[7]))
    await town.app.database.write(
        lambda c: c.exec_driver_sql(
            "CREATE TRIGGER refuse BEFORE INSERT ON intake WHEN NEW.intake_key = "
            f"'{key}' AND NEW.state = 0 BEGIN SELECT RAISE(ABORT, 'no room for this one'); END"
        )
    )
    async with Poster(town.webhook(channel)) as poster:
        answers = await asyncio.gather(*(poster.say(person, "ciao") for person in people))
    assert {one.status for one in answers} == {200}
    await town.settle()
    assert await town.value("SELECT count(*) FROM message WHERE direction = 'in'") == 29
    sealer = town.app.sealer
    [aside] = await town.app.database.read(lambda c: parked(c, town.workspace_id, sealer=sealer))
    assert "the store refused it: IntegrityError" in aside.problem
    counted("refused by the store for good", deliveries=len(answers), parked=1)


@pytest.mark.parametrize(("lost_races", "status"), [(1, 200), (9, 503)])
async def test_a_lost_race_is_tried_again_and_then_told(
    town_on_postgresql: Town, lost_races: int, status: int
) -> None:
    """Another process was first (serialisation failure): once more at once; then 503, and the next one succeeds."""
    town = town_on_postgresql
    channel = await town.telegram()
    await town.publish(MIRROR, "mirror")
    [person] = town.crowd(FIRST, 1)
    await town.app.database.write(
        lambda c: [c.execute(text(one)) for one in _RACES.format(n=lost_races).split(";;")]
    )
    async with Poster(town.webhook(channel)) as poster:
        update = poster.update(person, "ciao")
        answered = await poster.post(*update)
        assert (answered.status, answered.retry_after) == (status, "" if status == 200 else "1")
        await poster.insist(*update)
    await town.settle()
    assert await town.value("SELECT count(*) FROM message WHERE direction = 'in'") == 1


# A sequence is not taken back by a rollback: so it counts attempts.
_RACES = """
CREATE SEQUENCE races;;
CREATE FUNCTION lose_race() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN
  IF nextval('races') <= {n} THEN RAISE EXCEPTION 'could not serialize access' USING ERRCODE = '40001'; END IF;
  RETURN NEW;
END $$;;
CREATE TRIGGER races BEFORE INSERT ON seen FOR EACH ROW EXECUTE FUNCTION lose_race()
"""


@pytest.fixture
async def town_on_postgresql(tmp_path: Path, postgres_url: str) -> AsyncIterator[Town]:
    """A town whose store is PostgreSQL."""
    async with Town(tmp_path, postgres_url) as opened:
        yield opened


async def test_an_event_that_the_store_cannot_bear_parks_and_an_outage_parks_nothing(
    town_on_postgresql: Town, monkeypatch: pytest.MonkeyPatch, counted: Counted
) -> None:
    """Handling it ends the connection each time. That looks like an outage, until others are handled in between: then
    it is the event, and it parks after its five tries. Those who were with it lose nothing."""
    monkeypatch.setattr(claiming, "RETRY_MS", (1, 1, 1, 1))
    town = town_on_postgresql
    channel = await town.telegram()
    await town.publish(MIRROR, "mirror")
    poisonous, *others = town.crowd(FIRST, 4)
    registry = cast(dict[type, Any], handlers.registry())
    healthy = registry[MessageReceived]

    def deadly(scope: Any, flows: Any, event: MessageReceived) -> None:
        if event.origin.address == str(poisonous):
            scope.connection.execute(text("SELECT pg_terminate_backend(pg_backend_pid())"))
        healthy(scope, flows, event)

    monkeypatch.setitem(registry, MessageReceived, deadly)
    said = 0
    async with Poster(town.webhook(channel)) as poster:
        together = [poster.update(person, "uno") for person in (poisonous, *others)]
        await asyncio.gather(*(poster.insist(*one) for one in together))

        async def parked_now() -> bool:
            nonlocal said
            said += 1
            await poster.insist(*poster.update(others[0], "due"))
            return bool(await town.value("SELECT count(*) FROM intake WHERE state = 1"))

        await until(parked_now, "it is parked", within_s=40, every_s=0.2)
    await town.settle()
    assert await town.value("SELECT count(*) FROM intake WHERE state = 1") == 1
    assert await town.value("SELECT count(*) FROM message WHERE direction = 'in'") == len(others) + said
    counted("an event that the store cannot bear", parked=1, handled=len(others) + said)
