"""Triggers: who is started by what, and what may interrupt."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import pytest

from domain.events import MessageReceived
from domain.messages import MediaKind, ReceivedMedia, Tap
from flows import starting
from flows.versions import CompiledFlow
from tests.unit.flows.conftest import make_flow, said

STEPS = {"a": {"send": "x", "next": "end"}}
LEAD = make_flow(
    STEPS, key="lead", triggers=[{"keyword": ["ciao", "Sì", "info prezzi"]}, {"deep_link": "promo-*"}]
)
HELP = make_flow(STEPS, key="help", triggers=[{"keyword": "aiuto", "interrupts": True}, "first_message"])
REST = make_flow(
    STEPS, key="rest", triggers=[{"fallback": True}, {"deep_link": "promo-x", "channels": "whatsapp"}]
)
FLOWS = [LEAD, HELP, REST]


def doors_find(
    flows: Sequence[CompiledFlow],
    event: MessageReceived,
    *,
    first_message: bool,
    session_waiting: bool,
    channel_kind: str,
) -> starting.Match | None:
    """What a message starts on a channel of that kind."""
    occasion = starting.heard(event, first_message=first_message)
    return starting.Doors(flows, channel_kind).find(occasion, session_waiting=session_waiting)


def find(content: Any, *, first: bool = False, waiting: bool = False, deep_link: str | None = None) -> Any:
    found = doors_find(
        FLOWS,
        said(content, deep_link=deep_link),
        first_message=first,
        session_waiting=waiting,
        channel_kind="telegram",
    )
    return (found.flow.key, found.kind) if found else None


@pytest.mark.parametrize("words", ["ciao", "CIAO", " Ciao! ", "sì", "SÌ.", "info  Prezzi?"])
def test_keywords_are_folded_and_exact(words: str) -> None:
    """Case, spaces and closing punctuation do not count."""
    assert find(words) == ("lead", "keyword")


@pytest.mark.parametrize("words", ["ciao a tutti", "ci ao", "cia", ""])
def test_near_keywords_fall_back(words: str) -> None:
    """Anything else is for the fallback."""
    assert find(words) == ("rest", "fallback")


def test_first_message_comes_before_fallback_and_after_keywords() -> None:
    """A first message is greeted, unless it says what it wants."""
    assert find("buonasera", first=True) == ("help", "first_message")
    assert find("ciao", first=True) == ("lead", "keyword")
    assert find(ReceivedMedia(MediaKind.image, "p"), first=True) == ("help", "first_message")


def test_a_waiting_session_is_interrupted_only_where_it_is_said() -> None:
    """Keywords need `interrupts`; first message and fallback never interrupt."""
    assert find("ciao", waiting=True) is None
    assert find("aiuto", waiting=True) == ("help", "keyword")
    assert find("altro", waiting=True, first=True) is None


def test_deep_links_and_start_always_come_in() -> None:
    """A deep link goes to its flow; plain /start to the greeting; an unknown link, too."""
    assert find("/start promo-1", deep_link="promo-1", waiting=True) == ("lead", "deep_link")
    assert find("/start promo-x", deep_link="promo-x") == ("lead", "deep_link")
    assert find("/start", waiting=True) == ("help", "first_message")
    assert find("/start other", deep_link="other", waiting=True) == ("help", "first_message")
    assert find("/started", waiting=True) is None


@pytest.mark.parametrize(
    ("pattern", "payload", "fits"),
    [
        ("promo", "promo", True),
        ("promo", "promo-1", False),
        ("promo-*", "promo-", True),
        ("*", "x", True),
        ("*-it", "lead-it", True),
        ("a*b*c", "aXbYc", True),
        ("a*b*c", "acb", False),
        ("ab*ba", "aba", False),
        ("a.c", "abc", False),
        ("*a" * 32, "a" * 5_000 + "b", False),
    ],
)
def test_patterns_of_deep_links(pattern: str, payload: str, fits: bool) -> None:
    """A star stands for anything, everything else for itself; hostile patterns take no time."""
    flow = make_flow(STEPS, triggers=[{"deep_link": pattern}])
    found = doors_find(
        [flow],
        said("x", deep_link=payload),
        first_message=False,
        session_waiting=True,
        channel_kind="telegram",
    )
    assert (found is not None) is fits


def test_channels_narrow_a_trigger() -> None:
    """A trigger for another kind of channel is not heard."""
    found = doors_find(
        [REST],
        said("x", deep_link="promo-x"),
        first_message=False,
        session_waiting=True,
        channel_kind="whatsapp",
    )
    assert found is not None
    assert found.kind == "deep_link"
    assert found.value == "promo-x"


def test_a_tap_counts_by_its_words() -> None:
    """A button of an old message that reads like a keyword starts that flow."""
    assert find(Tap("x", "Ciao")) == ("lead", "keyword")


def test_nothing_published_nothing_started() -> None:
    """No flow, no match."""
    nothing = doors_find([], said("ciao"), first_message=True, session_waiting=False, channel_kind="telegram")
    assert nothing is None
