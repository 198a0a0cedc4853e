"""The demo town: the simulators as a child process, the example business on a database of its own, all of it served.

The town is built anew at every start, in `DATA_DIR/demo`: the simulators remember nothing, so a town that did would
belong to people who are not there any more. Nothing leaves the machine. The child ends with this process, however that
ends; Ctrl-C ends both.
"""

from __future__ import annotations

import asyncio
import contextlib
import errno
import fcntl
import json
import os
import shutil
import socket
import sys
from collections.abc import AsyncIterator, Iterator, Mapping
from contextlib import asynccontextmanager, contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any
from urllib.parse import urlsplit

from config import business, control, serving
from config.sentences import language
from config.settings import Settings
from domain.errors import Conflict, Unavailable

if TYPE_CHECKING:
    from config.bootstrap import App

READY_S = 30.0  # for the simulators to answer: a slow machine imports for a while
END_S = 5.0  # for the child to end by itself
MARK = "this-folder-is-made-anew-by-the-demo"

EXAMPLE = Path(__file__).with_name("business.example.yaml")
SHOP = "https://shop.example.com"  # whom the gallery's flows ask; here the simulators answer in its place
SHOP_KEY = "demo-key-of-the-shop"
TELEGRAM_TOKEN = "110201543:DEMO-bottega-esempio-simulated"  # noqa: S105 (means something to the simulators only)
WHATSAPP = {
    "phone_number_id": "100000000000001",
    "business_account_id": "200000000000001",
    "access_token": "EAADEMObottegaesempiosimulated",
    "app_secret": "demo-app-secret-of-the-simulators",
    "verify_token": "demo-verify-token",
}
# Phone numbers of the range that is reserved for fiction.
TOWN: dict[str, Any] = {
    "telegram": {
        "bots": [{"token": TELEGRAM_TOKEN, "username": "bottega_esempio_bot", "name": "Bottega Esempio"}],
        "people": [
            {"id": 5001, "first_name": "Anna", "last_name": "Bianchi", "language_code": "it"},
            {"id": 5002, "first_name": "Marco", "last_name": "Verdi", "language_code": "it"},
            {"id": 5003, "first_name": "Emily", "last_name": "Stone", "language_code": "en"},
        ],
        "chats": [
            {
                "type": "channel",
                "title": "Bottega Esempio, le novità",
                "username": "bottega_esempio",
                "owner": 5001,
                "admins": [TELEGRAM_TOKEN],
            }
        ],
    },
    "whatsapp": {
        "numbers": [
            {
                **{
                    key: WHATSAPP[key]
                    for key in ("phone_number_id", "business_account_id", "access_token", "app_secret")
                },
                "display_phone_number": "+1 555 555 0100",
                "verified_name": "Bottega Esempio",
            }
        ],
        "people": [
            {"phone": "15555550111", "name": "Giulia Rossi"},
            {"phone": "15555550112", "name": "Tom Baker"},
        ],
    },
}
CAMPAIGN = {
    "it": "Ciao {{ contact.first_name | default('a te') }}! Questa settimana alla Bottega Esempio: prodotti nuovi e il "
    "10% di sconto. Per non ricevere più novità scrivi STOP.",
    "en": "Hi {{ contact.first_name | default('there') }}! This week at Bottega Esempio: new products and 10% off. "
    "Write STOP to end the news.",
}


async def run(settings: Settings) -> int:
    """Builds the town and serves it until a signal comes; gives the exit status. Raises AppError when it cannot."""
    refuse_taken_port(settings.host, settings.port)
    with _own_folder(settings.data_dir / "demo") as folder:
        _never_by_proxy()
        async with simulators(folder) as (origin, ended):
            own = settings.model_copy(
                update={
                    "data_dir": folder,
                    "database_url": "",
                    "redis_url": "",
                    "public_url": "",
                    "secret_key": None,
                    "telegram_api_url": origin,
                    "whatsapp_api_url": origin,
                    "outgoing_allow": urlsplit(_shop(origin)).netloc,
                    "log_level": "warning" if settings.log_level == "info" else settings.log_level,
                }
            )

            async def ready(app: App) -> None:
                print(_welcome(await settle(app, origin), origin), flush=True)

            return await serving.serve(
                own, ("web", "worker", "sender", "scheduler"), ready=ready, until=ended
            )


def refuse_taken_port(host: str, port: int) -> None:
    """Raises Conflict when the port is taken, before anything else is begun."""
    if not port:
        return
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    with socket.socket(family, socket.SOCK_STREAM) as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind((host, port))
        except OSError as error:
            if error.errno == errno.EADDRINUSE:
                raise Conflict(
                    f"port {port} is already taken by another program: "
                    "stop it, or choose another with PASSAPAROLA_PORT=…"
                ) from error
            raise Conflict(f"cannot listen on {host}:{port}: {error.strerror}") from error


async def settle(app: App, simulators_url: str) -> str:
    """Opens the shop: business, channels, flows, a campaign to send; gives the link to sign in."""
    import msgspec

    from config.operations import run as operation
    from config.operations.accounts import sign_in_url
    from crm import accounts

    context = await control.context_of(app, lambda _done, _total, _what: None)
    shop = business.read(EXAMPLE, environment())
    # The demo is looked at in the evening as well, and its campaign button is pressed more than twice.
    shop.stored = {
        key: value for key, value in shop.stored.items() if key not in ("quiet_hours", "marketing")
    }
    for flow in shop.flows:
        flow.source = flow.source.replace(SHOP, _shop(simulators_url))
    await operation(context, "secret.set", {"name": "shop_key", "value": SHOP_KEY})
    done = await operation(context, "apply", {"business": msgspec.to_builtins(shop)})
    callback = f"{app.base_url}/webhooks/whatsapp/{done['channels']['bottega-whatsapp']}"
    await app.live.reload()
    await _connect_number(app, simulators_url, callback)

    def write(connection: Any) -> str:
        given = {"workspace_id": context.workspace_id, "now": context.now}
        _draft(
            connection,
            context.workspace_id,
            done["channels"]["bottega-telegram"],
            context.new_id,
            context.now,
        )
        user_id = accounts.add_user(
            connection, email="owner@example.com", role="owner", new_id=context.new_id, **given
        )
        return accounts.make_sign_in_link(connection, user_id=user_id, **given)

    return sign_in_url(app.base_url, await app.database.write(write))


def _shop(simulators_url: str) -> str:
    """The shop's own system, by another name than that of the platforms, which no flow may call."""
    return f"http://localhost:{urlsplit(simulators_url).port}/shop"


def environment() -> Mapping[str, str]:
    """What the example business file asks the environment for."""
    return {
        "TELEGRAM_TOKEN": TELEGRAM_TOKEN,
        **{f"WHATSAPP_{key.upper()}": value for key, value in WHATSAPP.items()},
    }


def _draft(connection: Any, workspace_id: int, channel: str, new_id: Any, now: int) -> None:
    from campaigns import drafts
    from domain import ids

    draft = drafts.Draft(
        name="Novità della settimana",
        channel_id=ids.from_text("channel", channel),
        content=CAMPAIGN,
        default_language="it",
    )
    drafts.create(connection, workspace_id, draft, new_id=new_id, now=now)


async def _connect_number(app: App, simulators_url: str, callback: str) -> None:
    """What the owner of a real number does in Meta's dashboard: enters the webhook's address and the verify token."""
    number = {
        **TOWN["whatsapp"]["numbers"][0],
        "callback_url": callback,
        "verify_token": WHATSAPP["verify_token"],
    }
    async with app.session.post(f"{simulators_url}/sim/whatsapp/numbers", json=number) as answer:
        if answer.status >= 400:
            raise Unavailable(f"the simulators refuse the WhatsApp number: {await answer.text()}")


@asynccontextmanager
async def simulators(folder: Path) -> AsyncIterator[tuple[str, asyncio.Task[int]]]:
    """Runs the simulators as a child; gives their address, and a task that is done when the child has ended."""
    seed = folder / "town.json"
    seed.write_text(json.dumps(TOWN, ensure_ascii=False))
    child = await asyncio.create_subprocess_exec(
        sys.executable,
        *("-m", "simulators", "--port", "0", "--print-url", "--seed", str(seed)),
        *("--exit-with-parent", str(os.getpid())),
        stdin=asyncio.subprocess.DEVNULL,
        stdout=asyncio.subprocess.PIPE,
        start_new_session=True,  # Ctrl-C reaches us; we end the child after the server
    )
    ended = asyncio.create_task(child.wait())
    try:
        assert child.stdout is not None
        try:
            async with asyncio.timeout(READY_S):
                origin = (await child.stdout.readline()).decode().strip()
        except TimeoutError:
            origin = ""
        if not origin:
            raise Unavailable("the simulators did not start")
        yield origin, ended
    finally:
        if child.returncode is None:
            with contextlib.suppress(ProcessLookupError):
                child.terminate()
            try:
                async with asyncio.timeout(END_S):
                    await asyncio.shield(ended)
            except TimeoutError:
                child.kill()
        await ended


@contextmanager
def _own_folder(folder: Path) -> Iterator[Path]:
    """The demo's folder, emptied, and ours while the block runs. Raises Conflict when another demo has it, or when it
    holds something that no demo has made."""
    folder = folder.absolute()
    folder.parent.mkdir(parents=True, exist_ok=True)
    with folder.with_name("demo.lock").open("a") as lock:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError as error:
            raise Conflict(f"a demo is running in {folder} already: stop it first") from error
        if folder.exists():
            if any(folder.iterdir()) and not (folder / MARK).exists():
                raise Conflict(f"{folder} holds something that the demo has not made: move it away")
            shutil.rmtree(folder)
        folder.mkdir(mode=0o700)
        (folder / MARK).touch()
        yield folder


def _never_by_proxy() -> None:
    """The simulators are on this machine: a proxy that the environment names could not reach them."""
    for name in ("NO_PROXY", "no_proxy"):
        hosts = [host for host in os.environ.get(name, "").split(",") if host]
        os.environ[name] = ",".join(dict.fromkeys([*hosts, "127.0.0.1", "localhost"]))


def _welcome(sign_in: str, simulators_url: str) -> str:
    if language() == "it":
        return (
            "\nLa città di prova è aperta: Bottega Esempio\n\n"
            f"  il telefono             {simulators_url}/\n"
            f"  la pagina del negozio   {sign_in}\n"
            "                          (il collegamento vale una volta sola)\n\n"
            "Apri il telefono nel browser e scrivi «ciao», o «menu» per vedere tutto; poi apri la pagina del negozio.\n"
            "Ctrl-C chiude tutto; la prossima volta la città ricomincia da capo.\n"
        )
    return (
        "\nThe demo town is open: Bottega Esempio\n\n"
        f"  the phone             {simulators_url}/\n"
        f"  the business's page   {sign_in}\n"
        "                        (the link works once)\n\n"
        'Open the phone in a browser and write "ciao", or "menu" for all of it; then open the page of the business.\n'
        "Ctrl-C ends everything; the next time the town begins anew.\n"
    )
