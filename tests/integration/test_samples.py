"""Every real webhook body that we know of is answered 200, and each leaves events, statuses or a kept raw row."""

from __future__ import annotations

import hashlib
import hmac
from pathlib import Path

import pytest

from tests.support.town import APP_SECRET, ROOT, WEBHOOK_SECRET, Town

SAMPLES = ROOT.parent / "shared" / "samples"
KINDS = ("telegram", "whatsapp")


def bodies(kind: str) -> list[Path]:
    """The sample files, else our own fixtures of the same shapes."""
    found = sorted((SAMPLES / kind).glob("*.json"))
    return found or [
        file for file in sorted((ROOT / "tests/channels" / kind / "payloads").glob("*.json")) if _sound(file)
    ]


def _sound(file: Path) -> bool:
    """Whether it is a body of ours that the platform could have sent: not an expectation, not a malformed one."""
    expected = file.with_suffix(".expected.json")
    return expected.exists() and '"malformed": true' not in expected.read_text()


@pytest.mark.parametrize("kind", KINDS)
async def test_every_known_webhook_body_is_accepted(town: Town, kind: str) -> None:
    """200 for each, and the worker gets through all of them without parking any that is well-formed."""
    channel = await (town.telegram() if kind == "telegram" else town.whatsapp())
    await town.publish_lead()
    files = bodies(kind)
    assert len(files) > 10
    for file in files:
        body = file.read_bytes()
        if kind == "telegram":
            headers = {"X-Telegram-Bot-Api-Secret-Token": WEBHOOK_SECRET}
        else:
            signature = hmac.new(APP_SECRET.encode(), body, hashlib.sha256).hexdigest()
            headers = {"X-Hub-Signature-256": f"sha256={signature}"}
        async with town.app.session.post(town.webhook(channel), data=body, headers=headers) as response:
            assert response.status == 200, file.name
    await town.settle()
    assert await town.rows("SELECT problem FROM intake WHERE state = 1") == []
    kept = await town.value("SELECT count(*) FROM intake")
    statuses = await town.value("SELECT count(*) FROM status_orphan")
    assert kept + statuses >= len(files) * 0.6  # some are one status, or the same message twice


async def test_the_samples_are_the_platforms_own() -> None:
    """Where the collected samples are at hand, they are what the test above has used."""
    if not SAMPLES.is_dir():
        pytest.skip("the collected samples of webhook bodies are not beside this checkout")
    assert all(bodies(kind)[0].is_relative_to(SAMPLES) for kind in KINDS)
