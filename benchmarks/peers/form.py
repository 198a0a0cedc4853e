"""What the peers' forms share: the words, the check of an e-mail, the finished contacts, starting and ending.

The words contain what the scripted people of `benchmarks.script` wait for. A finished contact is one row in SQLite
(WAL, `synchronous=FULL`, as ours), one commit each. The check of an e-mail is one regular expression: cheaper than
ours.
"""

from __future__ import annotations

import asyncio
import json
import signal
import sys
from dataclasses import dataclass
from pathlib import Path

import aiosqlite

ASK_NAME = "Hello! What is your name?"
ASK_EMAIL = "Thank you, {name}. What is your e-mail?"
WRONG_EMAIL = "That does not look like an e-mail. Please try again."
ASK_PHONE = "Which number can we call you on?"
ASK_CONSENT = "May we write to you about offers?"
DONE = "All done, {name}: thanks for joining Corner Bakery."
YES, NO = "Yes", "No"
EMAIL = r"^[^@\s]+@[^@\s]+\.[^@\s.]{2,}$"


@dataclass(frozen=True)
class Arguments:
    """`API TOKEN PORT SECRET FOLDER [REDIS]`: the simulator's origin, where to listen, where to keep files."""

    api: str
    token: str
    port: int
    secret: str
    folder: Path
    redis: str

    @property
    def path(self) -> str:
        """Of the webhook, without the leading slash; the secret travels in Telegram's header."""
        return "webhook"

    @property
    def url(self) -> str:
        """What is registered with setWebhook."""
        return f"http://127.0.0.1:{self.port}/{self.path}"


def arguments() -> Arguments:
    """Those of this process."""
    api, token, port, secret, folder, *rest = sys.argv[1:]
    return Arguments(api, token, int(port), secret, Path(folder), rest[0] if rest else "")


class Contacts:
    """Finished contacts: `await add(…)` returns when the row is on the disk."""

    def __init__(self, database: aiosqlite.Connection) -> None:
        self._database = database

    @classmethod
    async def open(cls, folder: Path) -> Contacts:
        """The table, made when it is missing."""
        database = await aiosqlite.connect(folder / "contacts.sqlite3")
        await database.execute("PRAGMA journal_mode=WAL")
        await database.execute("PRAGMA synchronous=FULL")
        await database.execute(
            "CREATE TABLE IF NOT EXISTS contact (id INTEGER PRIMARY KEY, person INTEGER, name TEXT, email TEXT, "
            "phone TEXT, consent INTEGER, made_at TEXT DEFAULT CURRENT_TIMESTAMP)"
        )
        await database.commit()
        return cls(database)

    async def add(self, person: int, *, name: str, email: str, phone: str, consent: bool) -> None:
        await self._database.execute(
            "INSERT INTO contact (person, name, email, phone, consent) VALUES (?, ?, ?, ?, ?)",
            (person, name, email, phone, int(consent)),
        )
        await self._database.commit()

    async def close(self) -> None:
        await self._database.close()


def ready(port: int) -> None:
    """Tells whoever started this process that it listens."""
    print(json.dumps({"port": port}), flush=True)


async def told_to_end() -> None:
    """Until SIGTERM comes or standard input closes."""
    ended = asyncio.Event()
    loop = asyncio.get_running_loop()
    loop.add_signal_handler(signal.SIGTERM, ended.set)
    loop.add_reader(sys.stdin.fileno(), ended.set)  # nothing is ever written: readable means closed
    await ended.wait()
