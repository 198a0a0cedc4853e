"""Once per `Idempotency-Key`: a POST that is sent again, also at the same moment, has one effect and the same answer.

The key is claimed in the transaction that does the work and the answer is stored there too, so there is no state in
between: a repetition waits for the first (on SQLite for the writer, on PostgreSQL for the row) and then finds its
answer. What was refused was rolled back and may be tried again with the same key. Answers are sealed and kept a day.
"""

from __future__ import annotations

import hashlib

from pydantic import BaseModel
from sqlalchemy import Connection, text

from domain.errors import RejectedInput
from storage.sealing import Sealer

LIFE_MS = 24 * 3_600_000
MAX_KEY = 255
SWEEP = 100  # old rows that go with each new one: the table shrinks by itself

HEADER = "Idempotency-Key"


class Repeated(Exception):
    """The request was done before; `body` is its answer."""

    def __init__(self, body: bytes) -> None:
        super().__init__("done before")
        self.body = body


class Claim:
    """One request's key."""

    def __init__(self, workspace_id: int, key_id: int, key: str, method: str, path: str, body: bytes) -> None:
        if not 0 < len(key) <= MAX_KEY or not key.isascii() or not key.isprintable():
            raise RejectedInput(f"must have 1 to {MAX_KEY} printable ASCII characters", where=HEADER)
        self._values = {"workspace": workspace_id, "key_id": key_id, "key": key}
        self._row = f"{workspace_id}/{key_id}/{key}"
        self._fingerprint = hashlib.sha256(f"{method} {path}\n".encode() + body).hexdigest()

    def take(self, connection: Connection, *, sealer: Sealer, now: int) -> None:
        """Claims the key. Raises Repeated when the request was done, RejectedInput when the key was another's."""
        connection.execute(
            text(
                "DELETE FROM idempotent_request WHERE (workspace_id, key_id, request_key) IN (SELECT workspace_id, "
                "key_id, request_key FROM idempotent_request WHERE created_at < :old ORDER BY created_at LIMIT :n)"
            ),
            {"old": now - LIFE_MS, "n": SWEEP},
        )
        claimed = connection.execute(
            text(
                "INSERT INTO idempotent_request (workspace_id, key_id, request_key, fingerprint, answer, created_at) "
                "VALUES (:workspace, :key_id, :key, :fingerprint, '', :now) ON CONFLICT DO NOTHING"
            ),
            {**self._values, "fingerprint": self._fingerprint, "now": now},
        )
        if claimed.rowcount:
            return
        row = connection.execute(
            text(
                "SELECT fingerprint, answer FROM idempotent_request "
                "WHERE workspace_id = :workspace AND key_id = :key_id AND request_key = :key"
            ),
            self._values,
        ).one()
        if row.fingerprint != self._fingerprint:
            raise RejectedInput("was used for another request", where=HEADER)
        raise Repeated(sealer.open(row.answer, table="idempotent_request", row=self._row, column="answer"))

    def keep(self, connection: Connection, answer: BaseModel | None, *, sealer: Sealer) -> None:
        """Stores the answer, in the transaction of the work."""
        body = b"" if answer is None else answer.model_dump_json().encode()
        sealed = sealer.seal(body, table="idempotent_request", row=self._row, column="answer")
        connection.execute(
            text(
                "UPDATE idempotent_request SET answer = :answer "
                "WHERE workspace_id = :workspace AND key_id = :key_id AND request_key = :key"
            ),
            {**self._values, "answer": sealed},
        )
