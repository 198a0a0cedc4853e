"""Settings: defaults, wrong values and unknown names; the secret that is made once."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from config.settings import Settings, environment, load_settings, secret_key
from domain.errors import RejectedInput
from tests.canary import CANARY_SECRET


@pytest.fixture(autouse=True)
def nowhere(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """No setting, and an empty working folder."""
    for name in list(os.environ):
        if name.startswith("PASSAPAROLA_"):
            monkeypatch.delenv(name)
    monkeypatch.chdir(tmp_path)


def test_nothing_is_needed(tmp_path: Path) -> None:
    settings = load_settings()
    assert settings.store_url == f"sqlite:///{tmp_path}/data/passaparola.sqlite3"
    assert settings.base_url == "http://127.0.0.1:8080"
    assert (settings.log_level, settings.log_format) == ("info", "console")


def test_environment_wins_over_the_file(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    (tmp_path / ".env").write_text("PASSAPAROLA_PORT=9000\nPASSAPAROLA_HOST=0.0.0.0\nSOMETHING_ELSE=1\n")
    monkeypatch.setenv("PASSAPAROLA_PORT", "9001")
    settings = load_settings()
    assert settings.base_url == "http://127.0.0.1:9001"
    assert load_settings(port=9002).port == 9002


@pytest.mark.parametrize(
    ("name", "value", "words"),
    [
        ("PORT", "lots", "PASSAPAROLA_PORT: must be a whole number between 0 and 65535"),
        ("PORT", "70000", "PASSAPAROLA_PORT: must be a whole number"),
        ("LOG_LEVEL", "loud", "PASSAPAROLA_LOG_LEVEL: must be debug, info, warning or error"),
        ("LOG_FORMAT", "xml", "PASSAPAROLA_LOG_FORMAT: must be console or json"),
        ("PUBLIC_URL", "chat.example.com", "PASSAPAROLA_PUBLIC_URL: must look like https://chat.example.com"),
        ("PUBLIC_URL", "https://chat.example.com:port", "PASSAPAROLA_PUBLIC_URL: must look like"),
        ("TELEGRAM_API_URL", "ftp://example.com", "PASSAPAROLA_TELEGRAM_API_URL: must look like"),
        ("WHATSAPP_API_VERSION", "25", "PASSAPAROLA_WHATSAPP_API_VERSION: must look like v25.0"),
        ("REDIS_URL", "http://example.com", "PASSAPAROLA_REDIS_URL: must look like redis://"),
        ("SECRET_KEY", CANARY_SECRET[:20], "PASSAPAROLA_SECRET_KEY: must have at least 32 characters"),
        ("PROT", "1", "PASSAPAROLA_PROT: there is no such setting; the nearest one is PASSAPAROLA_PORT"),
        ("DATABASE", "1", "the nearest one is PASSAPAROLA_DATABASE_URL"),
    ],
)
def test_a_wrong_setting_is_named_and_its_value_is_not(
    name: str, value: str, words: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv(f"PASSAPAROLA_{name}", value)
    with pytest.raises(RejectedInput) as caught:
        load_settings()
    assert words in str(caught.value)
    if name == "SECRET_KEY":
        assert value not in str(caught.value)


def test_an_unknown_name_in_the_file_is_refused(tmp_path: Path) -> None:
    (tmp_path / ".env").write_text("PASSAPAROLA_LOG_LEVLE=debug\n")
    with pytest.raises(RejectedInput, match="the nearest one is PASSAPAROLA_LOG_LEVEL"):
        load_settings()


def test_a_file_that_is_no_text_is_refused(tmp_path: Path) -> None:
    (tmp_path / ".env").write_bytes(b"\xff\xfe")
    with pytest.raises(RejectedInput, match=r"\.env: is not text in UTF-8"):
        load_settings()


def test_the_environment_of_a_business_file_includes_the_file(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    (tmp_path / ".env").write_text("SHOP_TOKEN=7:TEST-from-file\nSHOP_OTHER=file\n")
    monkeypatch.setenv("SHOP_OTHER", "environment")
    found = environment()
    assert (found["SHOP_TOKEN"], found["SHOP_OTHER"]) == ("7:TEST-from-file", "environment")


def test_the_secret_is_made_once_for_its_owner_only(tmp_path: Path) -> None:
    settings = load_settings()
    first = secret_key(settings)
    path = tmp_path / "data" / "secret_key"
    assert len(first) >= 32
    assert path.stat().st_mode & 0o777 == 0o600
    assert secret_key(settings) == first
    assert [file.name for file in path.parent.iterdir()] == ["secret_key"]


def test_a_lost_secret_is_not_replaced(tmp_path: Path) -> None:
    settings = load_settings()
    settings.data_dir.mkdir()
    (settings.data_dir / "passaparola.sqlite3").write_bytes(b"something")
    with pytest.raises(RejectedInput, match="is gone: bring it back"):
        secret_key(settings)


def test_no_secret_is_shown(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PASSAPAROLA_SECRET_KEY", CANARY_SECRET)
    monkeypatch.setenv("PASSAPAROLA_DATABASE_URL", f"postgresql+asyncpg://user:{CANARY_SECRET}@127.0.0.1/x")
    assert CANARY_SECRET not in repr(load_settings())


def test_every_setting_says_what_it_is() -> None:
    assert all(field.description for field in Settings.model_fields.values())
