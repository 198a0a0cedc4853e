"""What happens while things go wrong: one business on both networks, its data made once, and a few busy minutes of it.

`prepare` fills a database as the owner's commands would: a Telegram bot and a WhatsApp number, the lead form and a
reminder, twenty people who have agreed to news, a campaign to them that has just been started, and a post that is
due. `begin` sets people going through the simulators: some walk the whole form (on both networks), everybody of the
campaign's audience says hello, two of them say STOP, one asks for their data, one for a reminder.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import msgspec
from sqlalchemy import Connection, text

from bot import channel_store, flow_store
from campaigns import drafts, posts, runs
from campaigns.drafts import Draft
from config.bootstrap import App, build
from config.settings import Settings
from crm import consent, identities
from domain.events import ExternalId, Person
from simulators.control import SimulatorControl
from tests.canary import CANARY_PHONE, CANARY_SECRET, CANARY_TOKEN
from tests.support.posting import MIRROR
from tests.support.town import ACCESS, BUSINESS, BUSINESS_JSON, NUMBER, ROOT, VERIFY, WEBHOOK_SECRET

BOT = CANARY_TOKEN
OUTLET = -1_001_234_567_890
AUDIENCE = range(7_001, 7_021)
STOPPING = (7_005, 7_006)
CURIOUS, FORGETFUL = 7_010, 7_011
WALKERS, WHATSAPP_WALKERS = 2, 1
SLICE = 2_000  # people who agree in one statement
CAMPAIGN_TEXT = "Saldi in bottega da sabato"
POST_TEXT = "Aperti anche domenica"

REMINDER = """
flow: reminder
title: {it: Promemoria, en: Reminder}
languages: [it, en]
triggers: [{keyword: [promemoria], interrupts: true}]
start: pause
steps:
  pause: {wait: 1 second, next: remind}
  remind: {send: {it: Ecco il promemoria, en: Here is your reminder}, next: end}
"""

_NUMBER = {
    "phone_number_id": NUMBER,
    "business_account_id": BUSINESS,
    "access_token": ACCESS,
    "app_secret": CANARY_SECRET,
    "verify_token": VERIFY,
}

SEED: dict[str, Any] = {
    "telegram": {
        "bots": [{"token": BOT, "username": "bottega_bot", "name": "Bottega"}],
        "people": [{"id": n, "first_name": "Anna", "language_code": "it"} for n in AUDIENCE],
        "chats": [{"type": "channel", "title": "Bottega Esempio", "id": OUTLET, "admins": [BOT]}],
    }
}

TELEGRAM_FORM: list[dict[str, Any]] = [
    {"do": "say", "text": "ciao"},
    {"wait_for": "come ti chiami", "do": "say", "text": "Anna Prova"},
    {"wait_for": "la tua e-mail", "do": "say", "text": "anna{n}@example.com"},
    {"wait_for": "a quale numero", "do": "say", "text": CANARY_PHONE},
    {"wait_for": {"button": "Prezzi"}, "do": "tap", "text": "Prezzi"},
    {"wait_for": {"button": "Sì"}, "do": "tap", "text": "Sì"},
    {"wait_for": {"button": "Sì, confermo"}, "do": "tap", "text": "Sì, confermo"},
    {"wait_for": "ti terremo aggiornato"},
]
# On WhatsApp; people without a number there are asked for it, of the others it is known and not asked again.
NUMBERLESS_FORM = [
    {**step, "title": step["text"]} if step.get("do") == "tap" else step for step in TELEGRAM_FORM
]
WHATSAPP_FORM = [step for step in NUMBERLESS_FORM if step.get("text") != CANARY_PHONE]


@dataclass(frozen=True)
class Begun:
    """What was set going: plays by their numbers; the update in which each person said STOP."""

    plays: tuple[int, ...]
    stops: dict[int, int]


async def prepare(
    folder: Path,
    url: str = "",
    *,
    talkative: bool = True,
    audience: range = AUDIENCE,
    bulk_per_second: int = 30,
) -> None:
    """Fills the data folder (and the database at `url`, if that is another one).

    Not `talkative`: without flows, so that the campaign and the post have the sender to themselves.
    """
    settings = Settings(
        data_dir=folder,
        database_url=url or f"sqlite:///{folder / 'passaparola.sqlite3'}",
        _env_file=None,
    )
    async with build(settings, roles=()) as app:
        await app.database.write(
            lambda connection: _fill(connection, app, talkative, audience, bulk_per_second)
        )


async def prepare_mirror(
    folder: Path,
    url: str = "",
    *,
    bulk_per_second: int = 30,
    audience: range = range(0),
    number: bool = False,
) -> None:
    """A data folder (and the database at `url`, if that is another one) with a Telegram bot that gives back what people
    say, and nothing else but a fast number of WhatsApp that does the same, if wanted, and a campaign to the audience,
    just started, if there is one."""
    settings = Settings(
        data_dir=folder,
        database_url=url or f"sqlite:///{folder / 'passaparola.sqlite3'}",
        _env_file=None,
    )

    def fill(connection: Connection, app: App) -> None:
        workspace_id = _workspace(connection, app)
        values = {"token": BOT, "webhook_secret": WEBHOOK_SECRET, "bulk_per_second": str(bulk_per_second)}
        telegram = _channel(connection, app, workspace_id, "telegram", values)
        if number:
            _channel(connection, app, workspace_id, "whatsapp", {**_NUMBER, "messages_per_second": "1000"})
        new_id, now = app.runtime.new_id, app.clock()
        flow_store.publish(
            connection, workspace_id=workspace_id, source=MIRROR, name="mirror", new_id=new_id, now=now
        )
        if audience:
            _campaign(connection, app, workspace_id, telegram, audience)

    async with build(settings, roles=()) as app:
        await app.database.write(lambda connection: fill(connection, app))


def crowd_seed(audience: range) -> dict[str, Any]:
    """`SEED` for many: everybody has opened the chat long ago."""
    crowd = {"first": audience.start, "count": len(audience), "bot": BOT, "language_code": "it"}
    return {"telegram": {**SEED["telegram"], "people": [], "crowds": [crowd]}}


def _fill(connection: Connection, app: App, talkative: bool, audience: range, bulk_per_second: int) -> None:
    new_id, now = app.runtime.new_id, app.clock()
    workspace_id = _workspace(connection, app)
    telegram = _channel(
        connection,
        app,
        workspace_id,
        "telegram",
        {"token": BOT, "webhook_secret": WEBHOOK_SECRET, "bulk_per_second": str(bulk_per_second)},
    )
    _channel(connection, app, workspace_id, "whatsapp", _NUMBER)
    lead = (ROOT / "gallery/lead/flow.yaml").read_text()
    for name, source in (("lead", lead), ("reminder", REMINDER)) if talkative else ():
        flow_store.publish(
            connection, workspace_id=workspace_id, source=source, name=name, new_id=new_id, now=now
        )
    _campaign(connection, app, workspace_id, telegram, audience)
    outlet = new_id()
    connection.execute(
        text(
            "INSERT INTO outlet (id, workspace_id, channel_id, address, kind, title, state, rights, added_at) "
            "VALUES (:id, :workspace, :channel, :address, 'channel', 'Bottega Esempio', 'active', '{}', :now)"
        ),
        {"id": outlet, "workspace": workspace_id, "channel": telegram, "address": str(OUTLET), "now": now},
    )
    posts.create(connection, workspace_id, outlet, POST_TEXT, at=now + 1, new_id=new_id, now=now)


def _campaign(
    connection: Connection, app: App, workspace_id: int, channel_id: int, audience: Sequence[int]
) -> None:
    """An audience that has agreed, and a campaign to it that has just been started."""
    new_id, now = app.runtime.new_id, app.clock()
    for first in range(0, len(audience), SLICE):
        agree(connection, app, workspace_id, channel_id, audience[first : first + SLICE])
    draft = Draft(name="Saldi", channel_id=channel_id, content={"it": CAMPAIGN_TEXT})
    campaign = drafts.create(connection, workspace_id, draft, new_id=new_id, now=now)
    runs.start(connection, workspace_id, campaign, new_id=new_id, now=now)


def _workspace(connection: Connection, app: App) -> int:
    workspace_id = app.runtime.new_id()
    connection.execute(
        text(
            "INSERT INTO workspace (id, workspace_id, name, locale, timezone, state, encrypt_personal, business, "
            "created_at) VALUES (:id, :id, 'Bottega Esempio', 'it', 'Europe/Rome', 'active', 0, :business, 0)"
        ),
        {"id": workspace_id, "business": msgspec.json.encode(BUSINESS_JSON).decode()},
    )
    return workspace_id


def _channel(connection: Connection, app: App, workspace_id: int, kind: str, values: dict[str, str]) -> int:
    return channel_store.add(
        connection,
        workspace_id=workspace_id,
        kind=kind,
        name=kind,
        values=values,
        mode="webhook",
        sealer=app.sealer,
        new_id=app.runtime.new_id,
        now=app.clock(),
    )


def agree(
    connection: Connection, app: App, workspace_id: int, channel_id: int, audience: Sequence[int]
) -> None:
    """Some of the campaign's audience: people who have agreed to news, with proof."""
    now = app.clock()
    asked = [
        identities.IdentityRequest(
            workspace_id=workspace_id,
            channel_id=channel_id,
            channel_kind="telegram",
            person=Person(ids=(ExternalId("telegram_user", str(n)),), first_name="Anna", language="it"),
            address=str(n),
            at=now,
            inbound=False,
        )
        for n in audience
    ]
    keyed_hash, new_id = app.sealer.keyed_hash, app.runtime.new_id
    people = identities.resolve(connection, asked, keyed_hash=keyed_hash, new_id=new_id, now=now)
    grants = [
        consent.NewConsent(
            workspace_id=workspace_id,
            identity_id=person.identity_id,
            contact_id=person.contact_id,
            channel_id=channel_id,
            purpose="marketing",
            action="granted",
            wording="Posso scriverti le novità?",
            wording_version="1",
            language="it",
            occurred_at=now,
            source={"form": "carta fedeltà"},
        )
        for person in people
    ]
    consent.record(connection, grants, keyed_hash=keyed_hash, new_id=new_id, now=now)


async def settle_in(simulators: SimulatorControl, audience: Sequence[int] = AUDIENCE) -> None:
    """Before the server starts: the number exists, and everybody of the audience has opened the chat."""
    await simulators.whatsapp_number(
        phone_number_id=NUMBER,
        business_account_id=BUSINESS,
        display_phone_number="+15555550001",
        access_token=ACCESS,
        app_secret=CANARY_SECRET,
        verify_token=VERIFY,
    )
    await simulators.whatsapp_knobs(status_delay_ms=5)
    for person in audience:
        await simulators.telegram_act(BOT, person, "start")


async def begin(simulators: SimulatorControl, *, talkative: bool = True, patience_s: int = 40) -> Begun:
    """Sets people going, who wait `patience_s` for each answer; without flows they only say STOP."""
    plays: list[int] = []
    if talkative:
        for network, endpoint, form, people in (
            ("telegram", BOT, TELEGRAM_FORM, WALKERS),
            ("whatsapp", NUMBER, WHATSAPP_FORM, WHATSAPP_WALKERS),
        ):
            person = {"name": "Anna {n}"} if network == "whatsapp" else {"language_code": "it"}
            spec = {"people": people, "person": person, "timeout_s": patience_s}
            plays.append(await simulators.play(network, endpoint, form, **spec))
        await simulators.telegram_act(BOT, FORGETFUL, "say", text="promemoria")
        await simulators.telegram_act(BOT, CURIOUS, "say", text="/mydata")
    stops = {n: (await simulators.telegram_act(BOT, n, "say", text="Stop!"))[0] for n in STOPPING}
    return Begun(tuple(plays), stops)
