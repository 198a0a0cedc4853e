"""What starts a flow, over real sockets: a slip of the hand, a tag, a date, silence, a program; on both databases."""

from __future__ import annotations

import time
from pathlib import Path
from typing import Any

from crm import accounts
from domain import ids
from tests.support.town import BOT, Town, until

HOUR, DAY = 3_600_000, 86_400_000

FLOWS = (
    """
flow: hours
triggers: [{keyword: [orari], match: fuzzy}]
start: a
steps: {a: {send: Dalle 9 alle 18, next: mark}, mark: {tag: [curious], next: end}}
""",
    """
flow: curious
triggers: [{tag_added: curious}]
start: a
steps: {a: {ask: text, text: Vuoi sapere altro?, next: b}, b: {send: Bene, next: end}}
""",
    """
flow: remind
triggers: [{no_answer: 3 hours, question: true}]
start: a
steps: {a: {send: Ci sei?, next: end}}
""",
    """
flow: agree
triggers: [{keyword: novità}]
start: a
steps: {a: {consent: marketing, exits: {yes: end, no: end}}}
""",
    """
flow: news
triggers: [{schedule: daily, at: "09:00", when: {subject: contact.tags, op: has_tag, value: curious}}]
start: a
steps: {a: {send: Le novità di oggi, next: end}}
""",
    """
flow: order
triggers: [{event: "order_*"}]
start: a
steps: {a: {send: "Ordine {{ session.order }}", next: end}}
""",
)


class Program:
    """A program of the owner's, at the API."""

    def __init__(self, town: Town, key: str) -> None:
        self._town, self._headers = town, {"Authorization": f"Bearer {key}"}

    @staticmethod
    async def of(town: Town) -> Program:
        app = town.app
        made = await app.database.write(
            lambda c: accounts.add_key(
                c,
                workspace_id=town.workspace_id,
                name="shop",
                scopes=[],
                new_id=app.runtime.new_id,
                now=app.clock(),
            )
        )
        return Program(town, made[1])

    async def call(self, method: str, path: str, body: Any = None, once: str = "") -> tuple[int, Any]:
        headers = {**self._headers, **({"Idempotency-Key": once} if once else {})}
        url = f"{self._town.app.base_url}/api/v1{path}"
        async with self._town.app.session.request(method, url, json=body, headers=headers) as response:
            return response.status, await response.json()


async def test_what_starts_a_flow(tmp_path: Path, any_database_url: str) -> None:
    ahead = [0]
    async with Town(tmp_path, any_database_url, clock=lambda: time.time_ns() // 1_000_000 + ahead[0]) as town:
        await town.telegram()
        for source in FLOWS:
            await town.publish(source)
        person = await town.simulators.telegram_person(first_name="Anna", language_code="it")
        await town.simulators.telegram_act(BOT, person, "say", text="orrari")
        assert await town.telegram_texts(person, 2) == ["Dalle 9 alle 18", "Vuoi sapere altro?"]
        await town.settle()
        ahead[0] += 3 * HOUR + 60_000
        assert (await town.telegram_texts(person, 3))[2] == "Ci sei?"

        program = await Program.of(town)
        contact = (await program.call("GET", "/contacts"))[1]["data"][0]["id"]
        paid = {"name": "order_paid", "data": {"order": "4711"}}
        for _ in range(2):
            answer = await program.call("POST", f"/contacts/{contact}/events", paid, once="order-4711")
            assert answer == (202, {"accepted": True})
        assert (await town.telegram_texts(person, 4))[3] == "Ordine 4711"
        flow = ids.to_text("flow", int(await town.value("SELECT id FROM flow WHERE key = 'hours'")))
        status, _ = await program.call(
            "POST", f"/flows/{flow}/start", {"contact_id": contact}, once="start-1"
        )
        assert status == 202
        await program.call("POST", f"/flows/{flow}/start", {"contact_id": contact}, once="start-1")
        assert (await town.telegram_texts(person, 5))[4] == "Dalle 9 alle 18"
        status, problem = await program.call("POST", f"/flows/{flow}/start", {})
        assert (status, "contact_id" in str(problem)) == (422, True)
        await program.call("PATCH", f"/contacts/{contact}", {"remove_tags": ["curious"]})
        await program.call("PATCH", f"/contacts/{contact}", {"add_tags": ["curious"]})
        assert (await town.telegram_texts(person, 6))[5] == "Vuoi sapere altro?"
        await town.simulators.telegram_act(BOT, person, "say", text="no")
        assert (await town.telegram_texts(person, 7))[6] == "Bene"

        await town.simulators.telegram_act(BOT, person, "say", text="novità")
        await town.telegram_texts(person, 8)
        await town.simulators.telegram_act(BOT, person, "say", text="sì")

        async def agreed() -> bool:
            return bool(await town.value("SELECT count(*) FROM consent_state WHERE mailable = 1"))

        await until(agreed, "the consent is written")
        for number in (9, 10):
            ahead[0] += DAY
            assert (await town.telegram_texts(person, number))[number - 1] == "Le novità di oggi"
            await town.settle()
        assert len(await town.telegram_texts(person, 10)) == 10
        assert await town.rows("SELECT id FROM intake WHERE state = 1") == []
