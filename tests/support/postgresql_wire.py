"""PostgreSQL's protocol as far as faults need it: a disk that is full, a COMMIT whose answer never comes.

The proxy's tap reads the client's messages (https://www.postgresql.org/docs/current/protocol-message-formats.html).
An order to fail is carried out by the real server: in place of the statement it gets one that raises the error, so
that its transaction is truly in the state that the client is told.
"""

from __future__ import annotations

import re
import struct
from collections.abc import Iterator
from dataclasses import dataclass, field

from tests.support.proxy import Cut

DISK_FULL = (
    "DO $$ BEGIN RAISE EXCEPTION 'could not extend file: No space left on device' "
    "USING ERRCODE = '53100'; END $$"
)
_WRITES = re.compile(r"^\s*(WITH\b.*?\b)?(INSERT|UPDATE|DELETE)\b", re.IGNORECASE | re.DOTALL)
_HEAD = 5  # bytes: type and length


@dataclass
class Faults:
    """What is wrong with the server; changed by the test at any time, counted by the taps.

    `lose_commit`: a pattern; the next `times` transactions that ran a statement in which it is found lose their
    connection at COMMIT (a statement outside BEGIN and COMMIT: at its end): `committed` says whether the server did it
    before.
    """

    disk_full: bool = False
    lose_commit: str = ""
    committed: bool = True
    times: int = 0
    refused: int = field(default=0, init=False)  # writes that were told 53100
    lost: int = field(default=0, init=False)  # transactions that lost their connection at COMMIT

    def lose(self, pattern: str, *, committed: bool, times: int = 1) -> None:
        """From now on."""
        self.lose_commit, self.committed, self.times = pattern, committed, times


class Wire:
    """One connection's tap."""

    def __init__(self, faults: Faults) -> None:
        self._faults = faults
        self._buffer = b""
        self._started = False
        self._statements: dict[bytes, str] = {}
        self._ran: list[str] = []  # in the open transaction
        self._open = False  # between BEGIN and COMMIT
        self._alone = False  # a statement outside them was bound: the next Sync commits it
        self._failing = False  # the rest of this batch, up to its Sync, is replaced
        self._committing = False

    def from_client(self, data: bytes) -> bytes:
        """The client's messages, each passed on, replaced or dropped."""
        self._buffer += data
        return b"".join(self._pass(kind, message) for kind, message in self._messages())

    def from_server(self, data: bytes) -> bytes:
        """Passed on, but for the answer to a COMMIT that is to be lost."""
        if self._committing:  # it answers only once it has committed
            self._faults.lost += 1
            raise Cut
        return data

    def _messages(self) -> Iterator[tuple[bytes, bytes]]:
        """(type, whole message) of what is complete; type is empty before the session has started."""
        while True:
            head = _HEAD if self._started else _HEAD - 1
            if len(self._buffer) < head:
                return
            (length,) = struct.unpack_from("!i", self._buffer, head - 4)
            end = head - 4 + length
            if len(self._buffer) < end:
                return
            message, self._buffer = self._buffer[:end], self._buffer[end:]
            if not self._started:
                (code,) = struct.unpack_from("!i", message, 4)
                self._started = code >> 16 == 3  # the others ask for encryption, or to cancel
                yield b"", message
            else:
                yield message[:1], message

    def _pass(self, kind: bytes, message: bytes) -> bytes:
        body = message[_HEAD:]
        if self._failing:
            if kind != b"S":
                return b""
            self._failing = self._alone = False
            return _query(DISK_FULL)
        if kind == b"P":
            name, sql = body.split(b"\0", 2)[:2]
            self._statements[name] = sql.decode()
        elif kind == b"B":
            self._alone = not self._open
            if self._alone:
                self._ran.clear()
            if self._refuses(self._statements.get(body.split(b"\0", 2)[1], "")):
                self._failing = True
                return b""
        elif kind == b"S" and self._alone:
            self._alone = False
            self._lose_commit()
        elif kind == b"Q":
            return self._simple(body.rstrip(b"\0").decode(), message)
        return message

    def _simple(self, sql: str, message: bytes) -> bytes:
        word = sql.strip(" ;").upper()
        if word.startswith("BEGIN"):
            self._ran.clear()
            self._open = True
        elif word == "COMMIT":
            self._open = False
            self._lose_commit()
        elif word == "ROLLBACK":
            self._open = False
        elif self._refuses(sql):
            return _query(DISK_FULL)
        return message

    def _refuses(self, sql: str) -> bool:
        self._ran.append(sql)
        if not (self._faults.disk_full and _WRITES.match(sql)):
            return False
        self._faults.refused += 1
        return True

    def _lose_commit(self) -> None:
        faults = self._faults
        if not faults.times or not any(re.search(faults.lose_commit, sql) for sql in self._ran):
            return
        faults.times -= 1
        if not faults.committed:
            faults.lost += 1
            raise Cut
        self._committing = True


def _query(sql: str) -> bytes:
    body = sql.encode() + b"\0"
    return b"Q" + struct.pack("!i", len(body) + 4) + body
