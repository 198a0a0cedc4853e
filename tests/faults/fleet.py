"""Many processes of one installation: roles apart, on one PostgreSQL and, if wished, one Redis, behind one front door.

    async with Fleet(run, folder, origin, url, redis=redis_url) as fleet:
        await fleet.start("web", "web", "worker", "sender,scheduler")
        await fleet.stop(fleet.of("worker")[0])

The door takes a connection and passes it to the next web process that accepts it, as a load balancer would; platforms
know only the door.
"""

from __future__ import annotations

import asyncio
import signal
from collections.abc import Mapping
from contextlib import suppress
from pathlib import Path
from typing import Self

from tests.support.processes import Server
from tests.support.run import Run

STOP_S = 25.0  # 20 s for what is on the wire, and the way out
FIRST_S = 5.0
CHUNK = 65_536


class Door:
    """One public address before all web processes."""

    def __init__(self) -> None:
        self.ports: list[int] = []  # of processes that should be there
        self.port = 0
        self._turn = 0
        self._server: asyncio.Server | None = None
        self._open: set[asyncio.Task[None]] = set()

    async def __aenter__(self) -> Self:
        self._server = await asyncio.start_server(self._serve, "127.0.0.1", 0)
        self.port = self._server.sockets[0].getsockname()[1]
        return self

    async def __aexit__(self, *_: object) -> None:
        assert self._server is not None
        self._server.close()
        for task in self._open:
            task.cancel()
        await asyncio.gather(*self._open, return_exceptions=True)

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.current_task()
        assert task is not None
        self._open.add(task)
        try:
            with suppress(asyncio.CancelledError):  # the door closes: asyncio would log it
                await self._connect(reader, writer)
        finally:
            self._open.discard(task)
            writer.transport.abort()

    async def _connect(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        # The first process tells its port and registers its webhooks in the same moment: what comes back waits for it.
        with suppress(TimeoutError):
            async with asyncio.timeout(FIRST_S):
                while not self.ports:  # noqa: ASYNC110 (the list tells it)
                    await asyncio.sleep(0.01)
        for _ in self.ports:
            self._turn += 1
            try:
                theirs, ours = await asyncio.open_connection(
                    "127.0.0.1", self.ports[self._turn % len(self.ports)]
                )
            except OSError:
                continue
            with suppress(OSError):
                passing = [
                    asyncio.create_task(_pass(reader, ours)),
                    asyncio.create_task(_pass(theirs, writer)),
                ]
                try:
                    await asyncio.wait(passing, return_when=asyncio.FIRST_COMPLETED)
                finally:
                    for one in passing:
                        one.cancel()
                    await asyncio.gather(*passing, return_exceptions=True)
                    ours.transport.abort()
            return


async def _pass(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    while data := await reader.read(CHUNK):
        writer.write(data)
        await writer.drain()


class Fleet:
    """The processes, by what they do."""

    def __init__(
        self,
        run: Run,
        folder: Path,
        origin: str,
        url: str,
        *,
        redis: str = "",
        settings: Mapping[str, str] | None = None,
    ) -> None:
        self._run = run
        self._folder = folder
        self._origin = origin
        self._url = url
        self._settings = {"PASSAPAROLA_REDIS_URL": redis, **(settings or {})}
        self._door = Door()
        self.servers: list[tuple[str, Server]] = []

    async def __aenter__(self) -> Self:
        await self._door.__aenter__()
        self._settings["PASSAPAROLA_PUBLIC_URL"] = f"http://127.0.0.1:{self._door.port}"
        return self

    async def __aexit__(self, *details: object) -> None:
        for _, server in self.servers:
            await server.__aexit__(*details)
        await self._door.__aexit__(*details)

    def of(self, role: str) -> list[Server]:
        """The processes with this role."""
        return [server for roles, server in self.servers if role in roles.split(",") or roles == "all"]

    async def start(self, *each: str) -> list[Server]:
        """One more process for each list of roles; returns when all of them answer."""
        new = [
            (
                roles,
                Server(
                    self._run, self._folder, self._origin, url=self._url, roles=roles, settings=self._settings
                ),
            )
            for roles in each
        ]
        await asyncio.gather(*(server.start() for _, server in new))
        self.servers += new
        self._door.ports = [server.port for server in self.of("web")]
        return [server for _, server in new]

    async def stop(self, server: Server) -> None:
        """SIGTERM; it must end by itself with status 0 in time. It does not come back."""
        await self._end(server)
        self.servers = [one for one in self.servers if one[1] is not server]
        self._door.ports = [one.port for one in self.of("web")]

    async def restart(self, server: Server) -> None:
        """SIGTERM, as `stop`, and a new start; returns when it answers."""
        await self._end(server)
        again = await server.start()
        assert again.status is None, again.printed[-4000:]

    async def _end(self, server: Server) -> None:
        child = server.child
        assert child is not None
        child.send(signal.SIGTERM)
        assert await child.ended(within_s=STOP_S) == 0, child.printed[-4000:]
        assert "Traceback" not in child.printed, child.printed[-4000:]
