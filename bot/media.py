"""Stored files: sealed under DATA_DIR/media, uploaded to each platform once and then named by its id.

A file's row holds its hash, type and size; its bytes lie in `<media dir>/<first two of the id>/<id>`, sealed with the
row as associated data. Names come from us, never from people.
"""

from __future__ import annotations

import asyncio
import base64
import hashlib
from collections.abc import Callable, Iterable, Mapping, Sequence
from pathlib import Path

from sqlalchemy import Connection, text

from bot.channels.base import MediaNeed, StoredFile, Uploaded
from domain.errors import RejectedInput, SendError, SendFailure
from storage.database import Database, Queue
from storage.sealing import Sealer
from storage.statements import bulk_values

MAX_FILE = 50_000_000  # bytes: the most that a platform takes by upload (Telegram)
MAX_NAME = 200
RENEW_BEFORE_MS = 24 * 3_600_000  # a platform's id is not relied on in its last day


class MediaStore:
    """Files of all workspaces."""

    def __init__(
        self,
        folder: Path,
        database: Database,
        sealer: Sealer,
        new_id: Callable[[], int],
        clock: Callable[[], int],
    ) -> None:
        self.folder = folder
        self._database = database
        self._sealer = sealer
        self._new_id = new_id
        self._clock = clock

    async def save(
        self, workspace_id: int, data: bytes, *, filename: str, mime: str, contact_id: int = 0
    ) -> int:
        """Stores a file; the same bytes of the same owner (a contact, or 0: the business) give the same id. Raises
        RejectedInput past 50 MB."""
        if len(data) > MAX_FILE:
            raise RejectedInput(f"a file may have {MAX_FILE // 1_000_000} MB", where="file")
        digest = hashlib.sha256(data).hexdigest()
        known = await self._database.read(lambda c: _known_file(c, workspace_id, contact_id, digest))
        if known is not None:
            return known
        media_id = self._new_id()
        await asyncio.to_thread(self._write, media_id, data)
        row = {
            "id": media_id,
            "workspace_id": workspace_id,
            "contact_id": contact_id,
            "sha256": digest,
            "mime": mime[:MAX_NAME],
            "filename": Path(filename).name[:MAX_NAME] or "file",
            "size": len(data),
            "created_at": self._clock(),
        }
        await self._database.write(lambda c: _insert_file(c, row))
        return media_id

    async def load(self, workspace_id: int, needs: Sequence[MediaNeed]) -> dict[int, StoredFile]:
        """The bytes of the files that a call needs. Raises SendError(media_invalid) when one is not there."""
        ids = [need.media_id for need in needs]
        rows = await self._database.read(lambda c: _files(c, workspace_id, ids))
        found: dict[int, StoredFile] = {}
        for media_id, (filename, mime) in rows.items():
            data = await asyncio.to_thread(self._read, media_id)
            found[media_id] = StoredFile(data, filename, mime)
        if missing := [i for i in ids if i not in found]:
            raise SendError(SendFailure.media_invalid, f"stored file {missing[0]} is not there")
        return found

    async def known(self, channel_id: int, media_ids: Sequence[int]) -> dict[int, str]:
        """The platform's ids of files that were uploaded before and will stay for another day."""
        now = self._clock()
        return await self._database.read(lambda c: _platform_ids(c, channel_id, media_ids, now))

    async def forget(self, channel_id: int, media_ids: Iterable[int]) -> None:
        """A platform refused ids that it gave: the next send uploads again."""
        keys = bulk_values(str(i) for i in media_ids)
        await self._database.write(lambda c: _forget(c, channel_id, keys), queue=Queue.live, durable=False)

    async def remember(self, workspace_id: int, channel_id: int, uploaded: Sequence[Uploaded]) -> None:
        """Keeps the platform's ids for the next send."""
        now = self._clock()
        await self._database.write(
            lambda c: _remember(c, workspace_id, channel_id, uploaded, now), queue=Queue.live, durable=False
        )

    async def erase_bytes(self, workspace_id: int, contact_id: int) -> None:
        """Removes the bytes of a person's files; the rows go with the other rows of the erasure."""
        ids = await self._database.read(lambda c: _files_of(c, workspace_id, contact_id))
        await asyncio.to_thread(self._unlink, ids)

    def _unlink(self, ids: Sequence[int]) -> None:
        for media_id in ids:
            self._path(media_id).unlink(missing_ok=True)

    def _write(self, media_id: int, data: bytes) -> None:
        path = self._path(media_id)
        path.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
        sealed = self._sealer.seal(data, table="media_file", row=media_id, column="bytes")
        temporary = path.with_suffix(".part")
        temporary.write_bytes(base64.b64decode(sealed))
        temporary.replace(path)

    def _read(self, media_id: int) -> bytes:
        try:
            sealed = base64.b64encode(self._path(media_id).read_bytes()).decode()
        except FileNotFoundError as error:
            raise SendError(SendFailure.media_invalid, f"stored file {media_id} is not there") from error
        return self._sealer.open(sealed, table="media_file", row=media_id, column="bytes")

    def _path(self, media_id: int) -> Path:
        return self.folder / f"{media_id % 256:02x}" / str(media_id)


def _known_file(connection: Connection, workspace_id: int, contact_id: int, digest: str) -> int | None:
    return connection.execute(
        text(
            "SELECT id FROM media_file WHERE workspace_id = :workspace AND contact_id = :contact AND sha256 = :digest"
        ),
        {"workspace": workspace_id, "contact": contact_id, "digest": digest},
    ).scalar()


def _files_of(connection: Connection, workspace_id: int, contact_id: int) -> list[int]:
    rows = connection.execute(
        text("SELECT id FROM media_file WHERE workspace_id = :workspace AND contact_id = :contact"),
        {"workspace": workspace_id, "contact": contact_id},
    ).all()
    return [row.id for row in rows]


def _insert_file(connection: Connection, row: Mapping[str, object]) -> None:
    connection.execute(
        text(
            "INSERT INTO media_file (id, workspace_id, contact_id, sha256, mime, filename, size, created_at) "
            "VALUES (:id, :workspace_id, :contact_id, :sha256, :mime, :filename, :size, :created_at)"
        ),
        row,
    )


def _files(connection: Connection, workspace_id: int, ids: Sequence[int]) -> dict[int, tuple[str, str]]:
    rows = connection.execute(
        text(
            "SELECT id, filename, mime FROM media_file WHERE workspace_id = :workspace "
            "AND id IN (SELECT CAST(e.value ->> 'v' AS BIGINT) FROM json_each(:ids) e)"
        ),
        {"workspace": workspace_id, "ids": bulk_values(ids)},
    ).all()
    return {row.id: (row.filename, row.mime) for row in rows}


def _platform_ids(connection: Connection, channel_id: int, ids: Sequence[int], now: int) -> dict[int, str]:
    rows = connection.execute(
        text(
            "SELECT media_key, platform_id FROM uploaded_media WHERE channel_id = :channel "
            "AND media_key IN (SELECT e.value ->> 'v' FROM json_each(:ids) e) "
            "AND (expires_at IS NULL OR expires_at > :safe)"
        ),
        {"channel": channel_id, "ids": bulk_values(str(i) for i in ids), "safe": now + RENEW_BEFORE_MS},
    ).all()
    return {int(row.media_key): row.platform_id for row in rows}


def _forget(connection: Connection, channel_id: int, keys: str) -> None:
    connection.execute(
        text(
            "DELETE FROM uploaded_media WHERE channel_id = :channel "
            "AND media_key IN (SELECT e.value ->> 'v' FROM json_each(:keys) e)"
        ),
        {"channel": channel_id, "keys": keys},
    )


def _remember(
    connection: Connection, workspace_id: int, channel_id: int, uploaded: Sequence[Uploaded], now: int
) -> None:
    for one in uploaded:
        connection.execute(
            text(
                "INSERT INTO uploaded_media (workspace_id, channel_id, media_key, platform_id, expires_at) "
                "VALUES (:workspace, :channel, :key, :platform_id, :expires) ON CONFLICT (channel_id, media_key) "
                "DO UPDATE SET platform_id = excluded.platform_id, expires_at = excluded.expires_at"
            ),
            {
                "workspace": workspace_id,
                "channel": channel_id,
                "key": str(one.media_id),
                "platform_id": one.platform_id,
                "expires": None if one.expires_s is None else now + one.expires_s * 1000,
            },
        )
