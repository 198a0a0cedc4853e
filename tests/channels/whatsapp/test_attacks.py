"""Hostile deliveries cost no more than their length."""

from __future__ import annotations

import time

import pytest

from bot.channels.whatsapp.inbound import parse


@pytest.mark.parametrize("tail", [b"", b"\\", b'"', b'\\"'])
def test_a_text_without_its_end_is_read_once(tail: bytes) -> None:
    """Ten thousand quotes took more than a second, and each doubling four times as long."""
    began = time.process_time()
    events = parse(b'{"entry":"' + b'\\"' * 200_000 + tail)
    assert len(events) == 1
    assert time.process_time() - began < 5
