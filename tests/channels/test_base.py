"""The registry finds every channel once, and importing them stays cheap and tells no secrets."""

from __future__ import annotations

import subprocess
import sys

import pytest

from bot.channels.base import Credentials, channel, channel_of, registry
from domain.errors import RejectedInput


def test_every_package_is_found() -> None:
    """A channel is added by adding its folder."""
    assert {"telegram", "whatsapp"} <= set(registry())
    for kind, found in registry().items():
        assert found.kind == kind
        assert set(found.label) >= {"it", "en"}
        assert found.secret_fields <= set(found.config.model_fields) | set(found.generated_secrets)


def test_a_second_channel_of_a_kind_is_an_error() -> None:
    """Two packages with one name would hide each other."""
    with pytest.raises(RuntimeError, match="registered twice"):
        channel("telegram")(type(channel_of("telegram")))


def test_an_unknown_kind_is_refused_with_the_known_ones() -> None:
    """Whoever mistypes sees what there is."""
    with pytest.raises(RejectedInput, match=r"--kind: unknown channel kind 'telegran'; known are .*telegram"):
        channel_of("telegran", where="--kind")


def test_credentials_show_no_secret() -> None:
    """They may be formatted by accident: names only."""
    credentials = Credentials({"token": "110201543:TEST-secret"}, ("110201543",))
    assert "TEST-secret" not in f"{credentials} {credentials!r}"
    assert credentials.get("missing") == ""


def test_the_library_is_not_imported_with_the_channels() -> None:
    """python-telegram-bot costs 0.8 s and 22 MB: only the facade loads it, when it is used."""
    check = (
        "import sys; from bot.channels.base import registry; registry(); sys.exit('telegram' in sys.modules)"
    )
    assert subprocess.run([sys.executable, "-c", check], check=False).returncode == 0
