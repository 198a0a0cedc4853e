"""Hostile names of files: people choose them, and they stand in headers."""

from __future__ import annotations

import pytest

from bot.channels.base import ApiCall, MediaNeed, StoredFile, named
from bot.channels.telegram.client import _form
from domain.messages import MediaKind


@pytest.mark.parametrize(
    ("filename", "mime", "shown"),
    [
        ('a"\r\nX-Evil: 1\r\n\r\n.pdf', "application/pdf", ('a"__X-Evil: 1____.pdf', "application/pdf")),
        ("listino è.pdf", "text/plain; charset=utf-8", ("listino è.pdf", "text/plain; charset=utf-8")),
        ("\x00\x7f", "a/b\r\nX: y", ("__", "application/octet-stream")),
        ("", "", ("file", "application/octet-stream")),
    ],
)
def test_no_name_ends_a_headers_line(filename: str, mime: str, shown: tuple[str, str]) -> None:
    """Such a file could not be sent, and its message counted as unknown though nothing had left."""
    file = StoredFile(b"%PDF", filename, mime)
    need = MediaNeed(7, "document", MediaKind.document)
    assert named(file, need) == shown
    call = ApiCall(method="sendDocument", payload={"chat_id": 1}, needs_media=(need,))
    _form({"chat_id": 1}, call, {7: file})
