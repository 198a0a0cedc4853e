"""The command beside a running server, after one that was killed, and the demo town: whole processes, real sockets."""

from __future__ import annotations

import asyncio
import contextlib
import json
import os
import re
import signal
import socket
import sys
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import aiohttp
import psutil
import pytest

from config import control
from domain.errors import RejectedInput
from tests.canary import CANARY_TOKEN
from tests.support.run import Run

DEADLINE_S = 30.0
FLOW = "flow: hello\ntriggers: [{keyword: [hello]}]\nstart: a\nsteps: {a: {send: {it: Ciao, en: Hi}, next: end}}\n"


class Town:
    """Processes of the command on one data folder."""

    def __init__(self, folder: Path, run: Run) -> None:
        self.folder = folder
        self._run = run
        self.environment = {
            **{
                name: value
                for name, value in os.environ.items()
                if not name.startswith(("PASSAPAROLA_", "LC_"))
            },
            "PASSAPAROLA_DATA_DIR": str(folder),
            "PASSAPAROLA_PORT": "0",
            "LANG": "en_GB.UTF-8",
        }

    async def start(self, *arguments: str, **settings: str) -> asyncio.subprocess.Process:
        process = await asyncio.create_subprocess_exec(
            *(sys.executable, "-m", "config.cli", *arguments),
            cwd=Path(__file__).parents[2],
            env={**self.environment, **{f"PASSAPAROLA_{name}": value for name, value in settings.items()}},
            stdin=asyncio.subprocess.DEVNULL,
            stdout=asyncio.subprocess.PIPE,
            stderr=asyncio.subprocess.PIPE,
        )
        self._run.record(process.pid)
        return process

    async def done(self, *arguments: str, **settings: str) -> Any:
        """The JSON document of a command that must succeed."""
        status, out, err = await self.finish(await self.start(*arguments, "--json", **settings))
        assert status == 0, err
        return json.loads(out)

    async def finish(self, process: asyncio.subprocess.Process) -> tuple[int, str, str]:
        async with asyncio.timeout(DEADLINE_S):
            out, err = await process.communicate()
        (self._run.logs / f"command-{process.pid}").write_bytes(out + err)
        return process.returncode or 0, out.decode(), err.decode()

    @asynccontextmanager
    async def server(self) -> AsyncIterator[asyncio.subprocess.Process]:
        process = await self.start("serve")
        try:
            await until(lambda: answers(self.folder))
            yield process
        finally:
            if process.returncode is None:
                process.send_signal(signal.SIGTERM)
            await self.finish(process)


@pytest.fixture
def town(tmp_path: Path, run: Run) -> Town:
    return Town(tmp_path / "data", run)


async def until(true: Callable[[], Awaitable[bool]]) -> None:
    async with asyncio.timeout(DEADLINE_S):
        while not await true():  # noqa: ASYNC110 (another process is waited for)
            await asyncio.sleep(0.05)


async def answers(folder: Path) -> bool:
    path = control.socket_of(folder)
    if path is None:
        return False
    with contextlib.suppress(OSError):
        await control.ask(path, "parked.list", {}, lambda *_: None)
        return True
    return False


async def test_commands_beside_a_server_go_through_its_socket(town: Town, tmp_path: Path) -> None:
    (tmp_path / "hello.yaml").write_text(FLOW)
    async with town.server() as server:
        path = control.socket_of(town.folder)
        assert path is not None
        assert path.stat().st_mode & 0o777 == 0o600
        made = await town.done(
            "channel", "add", "telegram", "--name", "shop", "--token", CANARY_TOKEN, "--mode", "webhook"
        )
        assert not made["webhook_url"].startswith("http://127.0.0.1:0/")
        published = await town.done("flow", "publish", str(tmp_path / "hello.yaml"))
        assert published["flows"][0]["version"] == 1
        status, _out, err = await town.finish(await town.start("channel", "test", "nobody"))
        assert (status, err) == (1, "passaparola: there is no channel 'nobody'\n")
        async with aiohttp.ClientSession() as session:  # the new channel answers without a restart
            refused = await session.post(
                made["webhook_url"], data=b"{}", headers={"X-Telegram-Bot-Api-Secret-Token": "x"}
            )
            taken = await session.post(
                made["webhook_url"],
                data=b'{"update_id": 1}',
                headers={"X-Telegram-Bot-Api-Secret-Token": made["webhook_secret"]},
            )
        assert (refused.status, taken.status) == (401, 200)
        assert server.returncode is None
    assert control.socket_of(town.folder) is None
    assert len((await town.done("channel", "list"))["channels"]) == 1


async def test_a_second_server_is_refused_and_a_killed_one_leaves_the_way_free(town: Town) -> None:
    async with town.server() as server:
        status, _out, err = await town.finish(await town.start("serve"))
        assert status == 1
        assert f"another Passaparola server (process {server.pid}) is using" in err
        server.kill()
        await server.wait()
        assert control.socket_of(town.folder) is not None  # it could not tidy up
        assert (await town.done("parked", "list")) == {"parked": []}


async def test_a_path_too_long_for_a_socket_is_named_in_the_folder(tmp_path: Path, run: Run) -> None:
    town = Town(tmp_path / ("a-long-name-" * 8) / "data", run)
    async with town.server():
        path = control.socket_of(town.folder)
        assert path is not None
        assert path.parent != town.folder
        assert path.parent.stat().st_mode & 0o777 == 0o700
        assert (await town.done("channel", "list")) == {"channels": []}
    assert not path.parent.exists()


async def test_rubbish_on_the_socket_is_refused(town: Town) -> None:
    async with town.server():
        path = control.socket_of(town.folder)
        assert path is not None
        for rubbish in (
            b"",
            b"\n",
            b"{}\n",
            b"[]\n",
            b'{"command": 1, "arguments": 2}\n',
            b"\xff" * 100 + b"\n",
        ):
            reader, writer = await asyncio.open_unix_connection(str(path))
            writer.write(rubbish)
            writer.write_eof()
            answer = json.loads(await reader.readline())
            assert answer["error"]["kind"] == "RejectedInput"
            writer.close()
            await writer.wait_closed()
        with pytest.raises(RejectedInput, match="there is no such operation"):
            await control.ask(path, "dance", {}, lambda *_: None)
        with pytest.raises(RejectedInput, match="unknown field"):
            await control.ask(path, "channel.test", {"channel": "a", "b": 1}, lambda *_: None)


@pytest.mark.parametrize("command", ["serve", "demo"])
async def test_a_taken_port_gets_a_clear_sentence(command: str, town: Town) -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        port = taken.getsockname()[1]
        status, out, err = await town.finish(await town.start(command, PORT=str(port)))
    assert (status, out) == (1, "")
    taken_by = f"passaparola: port {port} is already taken by another program"
    assert err == f"{taken_by}: stop it, or choose another with PASSAPAROLA_PORT=…\n"
    if command == "demo":
        assert not town.folder.exists()


async def test_the_demo_opens_answers_and_leaves_nothing(town: Town) -> None:
    for _time in range(2):  # a second one works like the first
        demo = await town.start("demo")
        try:
            sign_in, phone, said = await welcome(demo)
            children = psutil.Process(demo.pid).children(recursive=True)
            assert len(children) == 1
            status, _out, err = await town.finish(await town.start("demo"))
            assert status == 1
            assert "a demo is running in" in err
            assert "/console/sign-in/" in sign_in
            await chat(phone)
            beside = {"DATA_DIR": str(town.folder / "demo")}
            bot = await town.done("channel", "test", "bottega-telegram", **beside)
            assert bot["account"]["username"] == "bottega_esempio_bot"
            number = await town.done("channel", "test", "bottega-whatsapp", **beside)
            assert number["account"]["name"] == "Bottega Esempio"
            assert (await town.done("doctor", "--platforms", **beside))["well"]
        finally:
            demo.send_signal(signal.SIGINT)
            status, _out, err = await town.finish(demo)
        assert (status, err) == (0, ""), said
        assert not any(child.is_running() for child in children)


async def welcome(demo: asyncio.subprocess.Process) -> tuple[str, str, str]:
    """The addresses that the demo prints."""
    assert demo.stdout is not None
    said = ""
    async with asyncio.timeout(DEADLINE_S):
        while "Ctrl-C" not in said:
            line = (await demo.stdout.readline()).decode()
            assert line, said
            said += line
    phone, sign_in = re.findall(r"http://\S+", said)
    return sign_in, phone.rstrip("/"), said


async def chat(phone: str) -> None:
    """Writes on both simulated networks and waits for the answers."""
    async with aiohttp.ClientSession() as session:

        async def call(method: str, path: str, body: Any = None) -> Any:
            async with session.request(method, f"{phone}/sim{path}", json=body) as answer:
                assert answer.status < 400, await answer.text()
                return await answer.json()

        from config.demo import TELEGRAM_TOKEN, WHATSAPP

        telegram = {"token": TELEGRAM_TOKEN, "person": 5001, "do": "say", "text": "ciao"}
        await call("POST", "/telegram/act", telegram)
        whatsapp = {
            "number": WHATSAPP["phone_number_id"],
            "person": "15555550111",
            "do": "say",
            "text": "orari",
        }
        await call("POST", "/whatsapp/act", whatsapp)

        # The gallery, and a service that one of its flows asks.
        for person, words in ((5003, "menu"), (5002, "ordine 10482")):
            await call("POST", "/telegram/act", {**telegram, "person": person, "text": words})

        async def answered() -> bool:
            entries = (await call("GET", "/log?limit=500"))["entries"]
            texts = [entry.get("text") or "" for entry in entries if entry["kind"] == "message"]
            wanted = ("Come ti chiami?", "Siamo aperti", "What can I do for you?", "10482 è partito")
            return all(any(words in text for text in texts) for words in wanted)

        await until(answered)
