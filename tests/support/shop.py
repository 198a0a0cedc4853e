"""Two shops in one installation, over HTTP, without platforms: for tests of the API and the console.

`Shop.open` makes a database with every table, two workspaces with a row of every kind that has an id, and serves API,
console and health on a free port of this machine. No worker and no sender runs: what is queued stays queued. Time
stands still unless a test moves it.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Self, TypeVar

import aiohttp
import msgspec
import sqlalchemy
from aiohttp import web
from aiohttp.test_utils import TestServer
from sqlalchemy import Connection, text
from sqlmodel import SQLModel

import api.app
import console.app
import storage.tables  # noqa: F401 (fills the metadata)
from api.routing import ApiContext
from bot import connecting, flow_drafts, flow_store, intake, outbox
from bot.channel_store import ConnectedChannel
from bot.channels.base import Client
from bot.live import Live
from bot.runtime import Runtime, slot_of
from campaigns import drafts, posts
from crm import accounts, consent, contacts, identities, outcomes, saved_segments
from domain.effects import PatchContact
from domain.events import ExternalId, Person, Unrecognised
from domain.ids import IdMaker, to_text
from domain.messages import MessageClass, Text
from storage import jobs
from storage.database import Database, rows_of
from storage.sealing import Sealer
from storage.signals.local import LocalSignals
from storage.tables.channels import MediaFile, Outlet
from storage.tables.conversations import Conversation
from storage.tables.workspaces import Workspace as WorkspaceRow
from webhooks import health, receive

T = TypeVar("T")

NOW = 1_797_000_000_000  # 2026-12-11T14:40:00Z
TOKEN = "110201543:TEST-abcdefghijklmnopqrstuvwxyz0123456"
HOSTILE = "<img src=x onerror=alert(1)>\"'><script>alert(2)</script>{{7*7}}"
FLOW = """
flow: hello
title: {it: Ciao, en: Hello}
languages: [en]
triggers: [{keyword: [hello]}]
start: greet
steps:
  greet:
    send: Hello!
    next: over
  over:
    end: done
"""


@dataclass
class Workspace:
    """One business. `ids`: one public id of each kind; `numbers`: the same as numbers."""

    id: int
    key: str = ""
    key_id: int = 0
    user_id: int = 0
    numbers: dict[str, int] = field(default_factory=dict)

    @property
    def ids(self) -> dict[str, str]:
        return {kind: to_text(kind, number) for kind, number in self.numbers.items()}


class Shop:
    """See the module. `mine` and `other`: the two workspaces; `client`: without any credentials."""

    mine: Workspace
    other: Workspace
    live: Live
    client: aiohttp.ClientSession

    def __init__(self, url: str, folder: Path) -> None:
        self.url = url
        self.folder = folder
        self.now = NOW
        self.monotonic = 1_000.0
        self._server: TestServer | None = None

    async def __aenter__(self) -> Self:
        self.database = await Database.open(self.url)
        self.sealer = Sealer("test secret that is long enough to be one")
        self.maker = IdMaker(1, lambda: self.now)
        self.runtime = Runtime(
            database=self.database,
            sealer=self.sealer,
            new_id=self.maker.next,
            clock=lambda: self.now,
            monotonic=lambda: self.monotonic,
            signals=LocalSignals(),
            owner="test",
            random=lambda: 0.5,
        )
        self.live = Live(self.runtime, clients=_no_client, media_folder=self.folder / "media", roles=())
        self.mine, self.other = await self.do(self._fill)
        await self.live.reload()
        self._server = TestServer(self.application())
        await self._server.start_server()
        self.origin = f"http://127.0.0.1:{self._server.port}"
        self.client = aiohttp.ClientSession(
            base_url=self.origin,
            timeout=aiohttp.ClientTimeout(total=20),
            cookie_jar=aiohttp.CookieJar(unsafe=True),
        )
        return self

    async def __aexit__(self, *_: object) -> None:
        await self.client.close()
        assert self._server is not None
        await self._server.close()
        await self.runtime.signals.close()
        await self.database.close()

    def application(self, *, secure: bool = False) -> web.Application:
        """What the composition root builds, without the rest of the process."""
        app = web.Application(client_max_size=receive.MAX_BODY)
        receive.add_routes(app, receive.Receiver(self.live.channels, self.live.intake))
        health.add_routes(app, self.live, metrics_token="test-metrics-token")
        api.app.add_routes(
            app, self.live, ApiContext(base_url=lambda: "https://chat.example.com", public=True)
        )
        console.app.add_routes(app, self.live, secure=secure)
        return app

    async def do(self, work: Callable[[Connection], T]) -> T:
        return await self.database.write(work)

    async def rows(self, sql: str, **parameters: Any) -> list[Any]:
        return list(await self.database.read(lambda c: rows_of(c, sql, parameters)))

    async def value(self, sql: str, **parameters: Any) -> Any:
        rows = await self.rows(sql, **parameters)
        return rows[0][0] if rows else None

    async def dump(self) -> dict[str, list[tuple[Any, ...]]]:
        """Every row of every table but what every request may touch: proof that nothing has changed."""
        tables = sorted(set(SQLModel.metadata.tables) - {"api_key", "console_session"})
        return {
            name: sorted(map(tuple, await self.rows(f"SELECT * FROM {name}")), key=repr) for name in tables
        }

    # --- asking

    async def call(
        self,
        method: str,
        path: str,
        *,
        key: str | None = "",
        json: Any = None,
        data: bytes | None = None,
        headers: dict[str, str] | None = None,
    ) -> tuple[int, Any, aiohttp.ClientResponse]:
        """One request to the API as (status, JSON or None, response). `key` "": mine; None: none."""
        given = dict(headers or {})
        if key is not None:
            given.setdefault("Authorization", f"Bearer {key or self.mine.key}")
        if json is not None:
            data = msgspec.json.encode(json)
        if data is not None:
            given.setdefault("Content-Type", "application/json")
        async with self.client.request(
            method, f"/api/v1{path}", data=data, headers=given, skip_auto_headers=["Content-Type"]
        ) as response:
            body = await response.read()
            return response.status, msgspec.json.decode(body) if body else None, response

    async def key_with(self, *scopes: str, workspace_id: int | None = None) -> str:
        """A new key of these scopes only."""
        owner = self.mine.id if workspace_id is None else workspace_id
        _, key = await self.do(
            lambda c: accounts.add_key(
                c, workspace_id=owner, name="narrow", scopes=scopes, new_id=self.maker.next, now=self.now
            )
        )
        return key

    async def sign_in(self, role: str = "owner") -> aiohttp.ClientSession:
        """A browser of a team member of `mine`; the caller closes it."""
        user_id = await self.do(
            lambda c: accounts.add_user(
                c,
                workspace_id=self.mine.id,
                email=f"{role}{self.maker.next()}@example.com",
                role=role,
                new_id=self.maker.next,
                now=self.now,
            )
        )
        token = await self.link(user_id)
        browser = aiohttp.ClientSession(
            base_url=self.origin,
            timeout=aiohttp.ClientTimeout(total=20),
            cookie_jar=aiohttp.CookieJar(unsafe=True),
        )
        async with browser.get(f"/console/sign-in/{token}") as response:
            assert response.status == 200, await response.text()
        return browser

    async def link(self, user_id: int) -> str:
        """The token of a one-time link."""
        return await self.do(
            lambda c: accounts.make_sign_in_link(c, workspace_id=self.mine.id, user_id=user_id, now=self.now)
        )

    # --- the rows

    def _fill(self, connection: Connection) -> tuple[Workspace, Workspace]:
        SQLModel.metadata.create_all(connection)
        return self._workspace(connection, "Bottega Esempio"), self._workspace(connection, "Altra Bottega")

    def _workspace(self, connection: Connection, name: str) -> Workspace:
        new_id = self.maker.next
        made = Workspace(new_id())
        insert(connection, WorkspaceRow(id=made.id, workspace_id=made.id, name=name, created_at=self.now))
        made.key_id, made.key = accounts.add_key(
            connection, workspace_id=made.id, name="all", scopes=(), new_id=new_id, now=self.now
        )
        numbers = made.numbers
        numbers["channel"] = connecting.connect(
            connection,
            made.id,
            kind="telegram",
            name="bot",
            given={"token": TOKEN},
            mode="webhook",
            sealer=self.sealer,
            new_id=new_id,
            now=self.now,
        )
        self._person(connection, made)
        self._thread(connection, made)
        self._published(connection, made)
        self._outcomes(connection, made)
        return made

    def _person(self, connection: Connection, made: Workspace) -> None:
        channel, new_id = made.numbers["channel"], self.maker.next
        person = Person(ids=(ExternalId("telegram_user", "777000111"),), first_name="Anna", language="it")
        request = identities.IdentityRequest(made.id, channel, "telegram", person, "777000111", self.now)
        (found,) = identities.resolve(
            connection, [request], keyed_hash=self.sealer.keyed_hash, new_id=new_id, now=self.now
        )
        made.numbers["contact"], made.numbers["identity"] = found.contact_id, found.identity_id
        patch = PatchContact(step_id="t", set={"email": "anna@example.com"}, add_tags=("lead",))
        contacts.update(
            connection, workspace_id=made.id, contact_id=found.contact_id, patch=patch, now=self.now
        )
        entry = consent.NewConsent(
            workspace_id=made.id,
            identity_id=found.identity_id,
            contact_id=found.contact_id,
            channel_id=channel,
            purpose="marketing",
            action="granted",
            wording="May I send you news?",
            wording_version="1",
            language="en",
            occurred_at=self.now,
            source={"flow": "hello", "step": "consent"},
            evidence={"text": "yes"},
        )
        (made.numbers["consent"],) = consent.record(
            connection, [entry], keyed_hash=self.sealer.keyed_hash, new_id=new_id, now=self.now
        )
        jobs.add(
            connection,
            workspace_id=made.id,
            kind="mydata",
            key="1",
            payload={"contact_id": found.contact_id},
            due_at=self.now,
            sealer=self.sealer,
            new_id=new_id,
            now=self.now,
        )
        made.numbers["job"] = connection.execute(
            text("SELECT id FROM job WHERE workspace_id = :w"), {"w": made.id}
        ).scalar_one()

    def _thread(self, connection: Connection, made: Workspace) -> None:
        numbers, new_id = made.numbers, self.maker.next
        key = self.sealer.keyed_hash("conversation", str(numbers["channel"]), "777000111")
        slot = slot_of(numbers["channel"], key)
        numbers["conversation"] = new_id()
        insert(
            connection,
            Conversation(
                id=numbers["conversation"],
                workspace_id=made.id,
                channel_id=numbers["channel"],
                conversation_key=f"i:{numbers['identity']}",
                intake_key=key,
                slot=slot,
                identity_id=numbers["identity"],
                contact_id=numbers["contact"],
                address="777000111",
                last_message_at=self.now,
                created_at=self.now,
            ),
        )
        numbers["message"] = new_id()
        outbox.enqueue(
            connection,
            [
                outbox.Outgoing(
                    id=numbers["message"],
                    workspace_id=made.id,
                    channel_id=numbers["channel"],
                    address="777000111",
                    content=Text("Hello Anna"),
                    conversation_id=numbers["conversation"],
                    contact_id=numbers["contact"],
                    identity_id=numbers["identity"],
                    message_class=MessageClass.service,
                )
            ],
            now=self.now,
        )
        odd = Unrecognised(key="upd:1", what="gift", raw="{}", problem="odd", malformed=True)
        intake.append_own(
            connection,
            [(made.id, numbers["channel"], slot, key, odd)],
            sealer=self.sealer,
            new_id=new_id,
            now=self.now,
        )
        connection.execute(
            text("UPDATE intake SET state = 1, attempts = 5, problem = 'odd' WHERE workspace_id = :w"),
            {"w": made.id},
        )
        numbers["event"] = connection.execute(
            text("SELECT id FROM intake WHERE workspace_id = :w"), {"w": made.id}
        ).scalar_one()

    def _published(self, connection: Connection, made: Workspace) -> None:
        numbers, new_id = made.numbers, self.maker.next
        flow = flow_store.publish(
            connection, workspace_id=made.id, source=FLOW, name="hello", new_id=new_id, now=self.now
        )
        numbers["flow"], numbers["flow_version"] = flow.flow_id, flow.version_id
        flow_drafts.save(
            connection,
            workspace_id=made.id,
            flow_id=flow.flow_id,
            source=FLOW.replace("Hello!", "Hello there!"),
            revision=0,
            now=self.now,
        )
        draft = drafts.Draft(
            name="Spring", channel_id=numbers["channel"], content={"en": {"kind": "text", "text": "News!"}}
        )
        numbers["campaign"] = drafts.create(connection, made.id, draft, new_id=new_id, now=self.now)
        numbers["segment"] = saved_segments.create(
            connection,
            made.id,
            name="Leads",
            predicate={"subject": "contact.tags", "op": "has_tag", "value": "lead"},
            new_id=new_id,
            now=self.now,
        )
        numbers["outlet"] = new_id()
        insert(
            connection,
            Outlet(
                id=numbers["outlet"],
                workspace_id=made.id,
                channel_id=numbers["channel"],
                address="-1001234567890",
                title="News",
                added_at=self.now,
            ),
        )
        numbers["post"] = posts.create(
            connection,
            made.id,
            numbers["outlet"],
            "Open on Sunday",
            at=self.now + 3_600_000,
            new_id=new_id,
            now=self.now,
        )
        numbers["media"] = new_id()
        file = MediaFile(
            id=numbers["media"],
            workspace_id=made.id,
            sha256="x",
            mime="image/jpeg",
            filename="a.jpg",
            size=1,
            created_at=self.now,
        )
        insert(connection, file)

    def _outcomes(self, connection: Connection, made: Workspace) -> None:
        numbers, new_id = made.numbers, self.maker.next
        shared = {"workspace_id": made.id, "contact_id": numbers["contact"], "at": self.now}
        walk = {
            **shared,
            "conversation_id": numbers["conversation"],
            "session_id": 1,
            "flow_version_id": numbers["flow_version"],
            "step_id": "s",
        }
        for kind in ("conversion", "feedback", "referral", "notification"):
            numbers[kind] = new_id()
        order = {"id": numbers["conversion"], "name": "order", "amount": 4990, "currency": "EUR"}
        outcomes.write_conversions(connection, [{**walk, **order}])
        score = {"id": numbers["feedback"], "kind": "nps", "topic": "visit", "score": 9, "comment": "Good"}
        outcomes.write_feedback(connection, [{**walk, **score}])
        by = {"program": "summer", "referrer_id": numbers["contact"], "count": "fields.invited_summer"}
        outcomes.write_referrals(connection, [{**shared, **by, "id": numbers["referral"]}])
        outcomes.write_subscriptions(
            connection,
            [{**shared, "topic": topic, "state": 1, "step_id": "s"} for topic in ("bags", "shoes")],
        )
        told = {
            "kind": "notify",
            "team": "sales",
            "conversation_id": numbers["conversation"],
            "text": "An order",
        }
        outcomes.write_notifications(connection, [{**shared, **told, "id": numbers["notification"]}])


def insert(connection: Connection, row: SQLModel) -> None:
    """One row, with the defaults of its table."""
    connection.execute(sqlalchemy.insert(type(row)).values(row.model_dump()))


def _no_client(channel: ConnectedChannel) -> Client:
    raise AssertionError("nothing is sent in these tests")
