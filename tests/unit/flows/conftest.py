"""What tests of the engine share: small flows from plain data, and events."""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import Any

import pytest

from domain.events import MessageReceived, Origin, Person, Place
from domain.messages import Received, ReceivedText
from flows import compiler, document
from flows.versions import CompiledFlow

Make = Callable[..., CompiledFlow]


def make_flow(steps: dict[str, Any], *, key: str = "tested", version: int = 1, **more: Any) -> CompiledFlow:
    """A compiled flow; the first step is its start."""
    data = {"flow": key, "start": next(iter(steps)), "steps": steps, **more}
    return compiler.compile(document.load(json.dumps(data), f"{key}.yaml"), version)


def said(content: Received | str, *, deep_link: str | None = None) -> MessageReceived:
    """The contact sends something."""
    return MessageReceived(
        key="k",
        person=Person(ids=()),
        origin=Origin(Place.private, "1"),
        content=ReceivedText(content) if isinstance(content, str) else content,
        deep_link=deep_link,
    )


@pytest.fixture
def flow() -> Make:
    return make_flow


@pytest.fixture
def event() -> Callable[..., MessageReceived]:
    return said
