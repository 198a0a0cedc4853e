"""Where flows may call, out of the settings: the owner's list, and never ourselves or the platforms' APIs."""

from __future__ import annotations

import pytest

from bot.outgoing import CallFailed, Outgoing, Request
from config.bootstrap import _policy
from config.settings import Settings, load_settings
from domain.errors import RejectedInput


def test_the_policy_of_the_settings() -> None:
    """Our own address and the platforms' origins are never called, whatever they are set to."""
    policy = _policy(
        Settings(
            host="0.0.0.0",  # noqa: S104 (compared, not bound)
            port=8080,
            public_url="https://chat.example.com",
            telegram_api_url="http://bot-api.example.com:8081",
            outgoing_allow="erp.example.com:8443, 10.0.0.5:80",
            _env_file=None,
        )
    )
    assert policy.allow == {("erp.example.com", 8443), ("10.0.0.5", 80)}
    assert set(policy.own) == {
        ("127.0.0.1", 8080),
        ("chat.example.com", 443),
        ("bot-api.example.com", 8081),
        ("graph.facebook.com", 443),
    }


async def test_what_the_owner_allows_does_not_open_ourselves() -> None:
    """An address on both lists is not called: a flow that calls its own webhook would never end."""
    settings = Settings(
        public_url="https://chat.example.com", outgoing_allow="chat.example.com:443", _env_file=None
    )
    client = Outgoing(_policy(settings))
    with pytest.raises(CallFailed, match="not_allowed"):
        await client.call(Request("GET", "https://chat.example.com/webhooks/x"))
    await client.close()


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("OUTGOING_ALLOW", "shop.example.net"),
        ("OUTGOING_ALLOW", "10.0.0.0/8"),
        ("OUTGOING_ALLOW", "*:80"),
        ("AI_URL", "models.example.net/v1"),
        ("AI_URL", "file:///etc/passwd"),
    ],
)
def test_a_wrong_setting_is_named(name: str, value: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(f"PASSAPAROLA_{name}", value)
    with pytest.raises(RejectedInput) as refused:
        load_settings()
    assert refused.value.where == f"PASSAPAROLA_{name}"
    assert value not in refused.value.what
