"""Secrets by the command: set from standard input or the environment, listed by name, taken away, never shown."""

from __future__ import annotations

import json
import sqlite3
from pathlib import Path

import pytest

from tests.canary import CANARY_SECRET
from tests.support.command import Command, passaparola

__all__ = ["passaparola"]

FLOW = """flow: orders
languages: [en]
triggers: [{keyword: [order]}]
start: call
steps:
  call:
    http: https://shop.example.com/orders
    headers: {Authorization: {secret: shop_key, prefix: "Bearer "}}
    error: end
    next: end
"""


def everything(folder: Path) -> str:
    """All text in the database."""
    with sqlite3.connect(folder / "data" / "passaparola.sqlite3") as connection:
        found = "\n".join(connection.iterdump())
    connection.close()
    return found


def test_a_secrets_life(passaparola: Command, monkeypatch: pytest.MonkeyPatch) -> None:
    """It is sealed, listed by its name, replaced, and gone; each change leaves a line in the audit."""
    assert passaparola.done("secret", "set", "shop_key", stdin=f"{CANARY_SECRET}\n") == {
        "name": "shop_key",
        "added": True,
    }
    monkeypatch.setenv("SHOP_KEY", CANARY_SECRET + "2")
    assert passaparola.done("secret", "set", "shop_key", "--from-env", "SHOP_KEY")["added"] is False
    [listed] = passaparola.done("secret", "list")["secrets"]
    assert (listed["name"], listed["by"]) == ("shop_key", "command")
    assert CANARY_SECRET not in json.dumps(listed)
    assert CANARY_SECRET not in everything(passaparola.folder)
    assert passaparola.done("secret", "remove", "shop_key")["removed"]
    assert passaparola.done("secret", "list")["secrets"] == []
    gone = passaparola("secret", "remove", "shop_key")
    assert (gone.status, "there is no secret" in gone.err) == (1, True)
    assert everything(passaparola.folder).count("secret.set") == 2


@pytest.mark.parametrize("value", ["", "two\nlines", "caffè", "x" * 4_001])
def test_a_value_that_no_header_holds_is_refused_and_not_repeated(value: str, passaparola: Command) -> None:
    answer = passaparola("secret", "set", "shop_key", stdin=value)
    assert answer.status == 1
    assert not value or value not in answer.err


@pytest.mark.parametrize("name", ["Shop", "shop-key", "9key", "a" * 65])
def test_a_name_is_what_flows_can_write(name: str, passaparola: Command) -> None:
    assert passaparola("secret", "set", name, stdin="test-value").status == 1


def test_an_empty_variable_is_said(passaparola: Command) -> None:
    answer = passaparola("secret", "set", "shop_key", "--from-env", "NOT_SET_ANYWHERE")
    assert (answer.status, "NOT_SET_ANYWHERE" in answer.err) == (1, True)


def test_publishing_says_which_secrets_are_missing(passaparola: Command) -> None:
    """And publishes all the same: the key may come later."""
    (passaparola.folder / "orders.yaml").write_text(FLOW)
    [published] = passaparola.done("flow", "publish", "orders.yaml")["flows"]
    assert published["missing_secrets"] == ["shop_key"]
    assert "shop_key" in passaparola("flow", "publish", "orders.yaml").out
    passaparola.done("secret", "set", "shop_key", stdin="test-value")
    [published] = passaparola.done("flow", "publish", "orders.yaml")["flows"]
    assert published["missing_secrets"] == []
