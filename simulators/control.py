"""A small client of the control API, for tests and benchmarks.

async with SimulatorControl("http://127.0.0.1:8081") as sim:
    await sim.telegram_bot(token="110201543:TEST-a")
    anna = await sim.telegram_person(first_name="Anna")
    await sim.telegram_act("110201543:TEST-a", anna, "start")
    reply = await sim.wait_for(kind="message", to=str(anna))
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator, Callable, Mapping
from typing import Any

import aiohttp

Json = dict[str, Any]


class SimulatorError(Exception):
    """The control API refused: its sentence."""

    def __init__(self, status: int, sentence: str) -> None:
        super().__init__(f"{status}: {sentence}")
        self.status = status


class SimulatorControl:
    """One method per control route. `base_url` is what the simulators print when they are ready."""

    def __init__(self, base_url: str) -> None:
        self.base_url = base_url.rstrip("/")
        self._session: aiohttp.ClientSession | None = None

    async def __aenter__(self) -> SimulatorControl:
        self._session = aiohttp.ClientSession()
        return self

    async def __aexit__(self, *_: object) -> None:
        await self.close()

    async def close(self) -> None:
        if self._session is not None:
            await self._session.close()
            self._session = None

    async def call(self, method: str, path: str, body: Mapping[str, Any] | None = None, **query: Any) -> Json:
        """Any route under `/sim`; raises SimulatorError when it refuses."""
        if self._session is None:
            self._session = aiohttp.ClientSession()
        given = {key: str(value) for key, value in query.items() if value is not None}
        async with self._session.request(
            method, f"{self.base_url}/sim{path}", json=body, params=given
        ) as response:
            answer: Json = await response.json()
            if response.status >= 400:
                raise SimulatorError(response.status, str(answer.get("error", answer)))
            return answer

    # --- shared -----------------------------------------------------------------------------------------------------

    async def health(self) -> Json:
        return await self.call("GET", "/health")

    async def reset(self) -> None:
        await self.call("POST", "/reset")

    async def now_ms(self) -> int:
        return int((await self.call("GET", "/clock"))["now"])

    async def freeze(self, at_ms: int | None = None) -> None:
        """Stop time, here or at a moment."""
        await self.call("POST", "/clock", {"mode": "virtual"} | ({} if at_ms is None else {"at": at_ms}))

    async def advance(self, seconds: float) -> None:
        """Move time forward through every timer on the way."""
        await self.call("POST", "/clock", {"advance": seconds})

    async def unfreeze(self) -> None:
        await self.call("POST", "/clock", {"mode": "real"})

    async def fault(self, network: str, kind: str, **spec: Any) -> int:
        """`when, method, target, times, retry_after, delay_s, probability` as in `simulators.faults`."""
        return int((await self.call("POST", "/faults", {"network": network, "kind": kind, **spec}))["id"])

    async def clear_faults(self) -> None:
        await self.call("DELETE", "/faults")

    async def latency(self, network: str, ms: float) -> None:
        await self.call("POST", "/latency", {"network": network, "ms": ms})

    async def limits(self, network: str, **spec: Any) -> Json:
        return await self.call("POST", "/limits", {"network": network, **spec})

    async def counters(self) -> Json:
        return await self.call("GET", "/counters")

    # --- log --------------------------------------------------------------------------------------------------------

    async def log_page(
        self,
        since: int = 0,
        limit: int = 1000,
        network: str | None = None,
        kind: str | None = None,
        wait_s: int = 0,
    ) -> Json:
        return await self.call(
            "GET", "/log", since=since, limit=limit, network=network, kind=kind, wait=wait_s
        )

    async def log(self, since: int = 0, network: str | None = None, kind: str | None = None) -> list[Json]:
        """Every entry that matches, page by page."""
        return [entry async for entry in self._entries(since, network, kind)]

    async def _entries(self, since: int, network: str | None, kind: str | None) -> AsyncIterator[Json]:
        while True:
            page = await self.log_page(since, 10_000, network, kind)
            for entry in page["entries"]:
                yield entry
            if len(page["entries"]) < 10_000:
                return
            since = page["next"]

    async def log_position(self) -> int:
        """Where the log stands now; pass it as `since` to see only what comes."""
        return int((await self.counters())["log.next"])

    async def wait_for(
        self,
        kind: str,
        *,
        network: str | None = None,
        since: int = 0,
        timeout_s: float = 10.0,
        where: Callable[[Json], bool] | None = None,
        **fields: Any,
    ) -> Json:
        """The first entry of this kind from `since` whose `fields` are equal and for which `where` holds.

        Raises TimeoutError after `timeout_s` real seconds.
        """
        deadline = time.monotonic() + timeout_s
        while True:
            page = await self.log_page(since, 1000, network, kind, wait_s=1)
            for entry in page["entries"]:
                if all(entry.get(name) == value for name, value in fields.items()) and (
                    where is None or where(entry)
                ):
                    return dict(entry)
            since = page["next"]
            if time.monotonic() > deadline:
                raise TimeoutError(f"no {kind} entry with {fields} within {timeout_s} s")

    async def messages_to(
        self, person: int | str, *, network: str | None = None, since: int = 0
    ) -> list[Json]:
        """The messages that reached a person or chat, in order."""
        entries = await self.log(since, network, "message")
        return [entry for entry in entries if entry["to"] == str(person)]

    # --- scripted people --------------------------------------------------------------------------------------------

    async def play(self, network: str, endpoint: str, script: list[Json], **spec: Any) -> int:
        """Start a script (`people, person, think_s, rate_per_s, timeout_s`); gives its number."""
        body = {"network": network, "endpoint": endpoint, "script": script, **spec}
        return int((await self.call("POST", "/people/scripts", body))["id"])

    async def play_report(self, play_id: int) -> Json:
        return await self.call("GET", f"/people/scripts/{play_id}")

    async def play_finished(self, play_id: int, timeout_s: float = 60.0) -> Json:
        """The report once nobody walks any more; raises TimeoutError."""
        deadline = time.monotonic() + timeout_s
        while (report := await self.play_report(play_id))["state"] == "running":
            if time.monotonic() > deadline:
                raise TimeoutError(f"script {play_id} still runs after {timeout_s} s: {report}")
            await asyncio.sleep(0.05)
        return report

    # --- Telegram ---------------------------------------------------------------------------------------------------

    async def telegram_bot(self, token: str, **spec: Any) -> Json:
        """`username, name, privacy, paid_broadcast, stars`; gives `{id, username}`."""
        return await self.call("POST", "/telegram/bots", {"token": token, **spec})

    async def telegram_person(self, **spec: Any) -> int:
        """`id, first_name, last_name, username, language_code, phone_number, bio`; gives the id."""
        return int((await self.call("POST", "/telegram/people", spec))["id"])

    async def telegram_act(self, token: str, person: int, do: str, **spec: Any) -> list[int]:
        """The update ids that the bot gets of it."""
        answer = await self.call(
            "POST", "/telegram/act", {"token": token, "person": person, "do": do, **spec}
        )
        return list(answer["update_ids"])

    async def telegram_chat(self, type: str, title: str, **spec: Any) -> int:
        """`username, owner, admins`; gives the id."""
        return int((await self.call("POST", "/telegram/chats", {"type": type, "title": title, **spec}))["id"])

    async def telegram_admin(
        self, chat: int, token: str, rights: Mapping[str, bool] | None = None
    ) -> list[int]:
        body = {"token": token} | ({} if rights is None else {"rights": rights})
        return list((await self.call("POST", f"/telegram/chats/{chat}/admin", body))["update_ids"])

    async def telegram_messages(self, token: str, chat: int) -> list[Json]:
        return list((await self.call("GET", f"/telegram/chats/{chat}/messages", token=token))["messages"])

    # --- WhatsApp ---------------------------------------------------------------------------------------------------

    async def whatsapp_number(self, **spec: Any) -> Json:
        return await self.call("POST", "/whatsapp/numbers", spec)

    async def whatsapp_person(self, **spec: Any) -> str:
        return str((await self.call("POST", "/whatsapp/people", spec))["id"])

    async def whatsapp_act(self, number: str, person: str, do: str, **spec: Any) -> Json:
        return await self.call(
            "POST", "/whatsapp/act", {"number": number, "person": person, "do": do, **spec}
        )

    async def whatsapp_change_person(self, person: str, **fields: Any) -> None:
        """`on_whatsapp, receipts, reads, phone_off, stopped_marketing, marketing_capped, fails_with, username, name`"""
        await self.call("POST", f"/whatsapp/people/{person}", fields)

    async def whatsapp_messages(self, number: str, person: str) -> list[Json]:
        """Both sides of the conversation, oldest first: `{external_id, direction, type, text, status, …}`."""
        answer = await self.call("GET", f"/whatsapp/people/{person}/messages", number=number)
        return list(answer["messages"])

    async def whatsapp_knobs(self, **knobs: Any) -> Json:
        """Turn the knobs of `simulators.whatsapp.knobs`; gives all of them."""
        return await self.call("POST", "/whatsapp/knobs", knobs)

    async def whatsapp_event(self, event: str, **spec: Any) -> None:
        """An account event (`number` or `account`): quality, tier, restriction, lift_restriction, echo, raw, …"""
        await self.call("POST", "/whatsapp/events", {"event": event, **spec})

    async def whatsapp_template(self, business_account_id: str, **definition: Any) -> str:
        """A template that is approved at once (or has the `status` given) and tells nobody; gives the id."""
        body = {"business_account_id": business_account_id, **definition}
        return str((await self.call("POST", "/whatsapp/templates", body))["id"])

    async def whatsapp_change_template(self, template: str, **change: Any) -> Json:
        """`status, reason, title, quality, category, notice`; the callback is told of each."""
        return await self.call("POST", f"/whatsapp/templates/{template}", change)

    async def whatsapp_webhooks_done(self, timeout_s: float = 30.0) -> None:
        """Return once no webhook item waits for its first attempt; raises TimeoutError."""
        deadline = time.monotonic() + timeout_s
        while waiting := (await self.call("GET", "/whatsapp/queues"))["waiting"]:
            if time.monotonic() > deadline:
                raise TimeoutError(f"{waiting} webhook items still wait after {timeout_s} s")
            await asyncio.sleep(0.02)
