"""The whole main job as an owner has it: a business file, the command, the server, the API, and two networks of people.

Nothing of ours runs in the test's process: the simulators and the server are processes, the owner uses the command
beside the running server, a program uses the API.
"""

from __future__ import annotations

import asyncio
import json
import shutil
import signal
import sys
from pathlib import Path
from typing import Any

import aiohttp

from tests.canary import CANARY_SECRET, CANARY_TOKEN
from tests.faults.load import NUMBERLESS_FORM, TELEGRAM_FORM
from tests.support.processes import ROOT, Child, Server, Simulators
from tests.support.run import Run
from tests.support.town import ACCESS, BUSINESS, NUMBER, VERIFY, until

SHOP = f"""
business: Bottega Esempio
locale: it
timezone: Europe/Rome
channels:
  - {{kind: telegram, name: bot, token: "{CANARY_TOKEN}"}}
  - {{kind: whatsapp, name: numero, phone_number_id: "{NUMBER}", business_account_id: "{BUSINESS}",
      access_token: "{ACCESS}", app_secret: "{CANARY_SECRET}", verify_token: "{VERIFY}"}}
flows: [lead.yaml]
purposes:
  marketing: {{version: "1", wording: {{it: "Posso scriverti le novità?", en: "May I send you news?"}}}}
"""
SEED = {"telegram": {"bots": [{"token": CANARY_TOKEN, "username": "bottega_bot"}]}}
WALKERS = 3


async def test_a_day_in_the_shop(run: Run, tmp_path: Path) -> None:
    """Set up by a file; people on both networks become contacts who agreed; a campaign reaches each of them once."""
    folder = tmp_path / "data"
    (tmp_path / "shop.yaml").write_text(SHOP)
    shutil.copy(ROOT / "gallery/lead/flow.yaml", tmp_path / "lead.yaml")
    async with (
        Simulators(run, tmp_path, SEED) as simulators,
        Server(run, folder, simulators.origin) as server,
        aiohttp.ClientSession() as http,
    ):
        control = simulators.control
        await control.whatsapp_number(
            phone_number_id=NUMBER,
            business_account_id=BUSINESS,
            display_phone_number="+15555550001",
            access_token=ACCESS,
            app_secret=CANARY_SECRET,
            verify_token=VERIFY,
        )
        await control.whatsapp_knobs(status_delay_ms=5, bsuid_mode="bsuid")
        child = await server.start()
        applied = await command(run, server, "apply", str(tmp_path / "shop.yaml"))
        assert applied["changes"]
        assert (await command(run, server, "apply", str(tmp_path / "shop.yaml")))["changes"] == []
        channels = {c["kind"]: c["id"] for c in (await command(run, server, "channel", "list"))["channels"]}

        async def registered() -> bool:
            counters = await control.counters()
            return bool(counters.get("telegram.calls.setWebhook.200") and await control.log(kind="handshake"))

        await until(registered, "both platforms know where to deliver")
        plays = [
            await control.play("telegram", CANARY_TOKEN, TELEGRAM_FORM, people=WALKERS),
            await control.play(
                "whatsapp", NUMBER, NUMBERLESS_FORM, people=WALKERS, person={"name": "Anna {n}"}
            ),
        ]
        for play in plays:
            report = await control.play_finished(play)
            assert (report["done"], report["failures"]) == (WALKERS, [])

        key = (await command(run, server, "apikey", "add", "--name", "shop"))["key"]
        api = Api(http, f"{server.base_url}/api/v1", key)
        contacts = (await api.get("/contacts"))["data"]
        assert sorted(c["email"] for c in contacts) == sorted(
            [f"anna{n}@example.com" for n in range(WALKERS)] * 2
        )

        campaign = await api.post(
            "/campaigns",
            {"name": "Saldi", "channel_id": channels["telegram"], "content": {"it": "Saldi da sabato"}},
        )
        await api.post(f"/campaigns/{campaign['id']}/start", {})

        async def finished() -> bool:
            return bool((await api.get(f"/campaigns/{campaign['id']}"))["state"] == "finished")

        await until(finished, "the campaign finished")
        progress = (await command(run, server, "campaign", "status", campaign["id"]))["progress"]
        assert (progress["sent"], progress["total"], progress["unknown"]) == (WALKERS, WALKERS, 0)
        reached = [e["to"] for e in await control.log(kind="message") if e["text"] == "Saldi da sabato"]
        assert len(reached) == len(set(reached)) == WALKERS
        assert (await command(run, server, "parked", "list"))["parked"] == []
        child.send(signal.SIGTERM)
        assert await child.ended(within_s=25) == 0


class Api:
    """Our API, as a program uses it."""

    def __init__(self, http: aiohttp.ClientSession, base: str, key: str) -> None:
        self._http, self._base, self._headers = http, base, {"Authorization": f"Bearer {key}"}

    async def get(self, path: str) -> Any:
        async with self._http.get(self._base + path, headers=self._headers) as response:
            assert response.status == 200, await response.text()
            return await response.json()

    async def post(self, path: str, body: dict[str, Any]) -> Any:
        async with self._http.post(self._base + path, json=body, headers=self._headers) as response:
            assert response.status < 300, await response.text()
            return await response.json()


async def command(run: Run, server: Server, *arguments: str) -> Any:
    """What a command prints with `--json`, beside the running server."""
    line = [sys.executable, "-m", "config.cli", *arguments, "--json"]
    child = Child(run, "command", line, server.environment)
    assert await child.ended() == 0, child.printed
    return await asyncio.to_thread(lambda: json.loads(child.printed))
