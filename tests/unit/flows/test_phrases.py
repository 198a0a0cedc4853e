"""What people write (`phrases.txt`), read by each typed answer at a fixed moment and place."""

from __future__ import annotations

import json
import shlex
import time
from datetime import datetime
from pathlib import Path
from typing import Any, NamedTuple
from zoneinfo import ZoneInfo

import msgspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from domain.messages import (
    MediaKind,
    Received,
    ReceivedContact,
    ReceivedLocation,
    ReceivedMedia,
    ReceivedText,
    Tap,
)
from flows import state
from flows.answers import Invalid, Reading, Valid, answer_type, registry
from flows.words import WORDS

TABLE = Path(__file__).with_name("phrases.txt")
USUAL: dict[str, str] = {"now": "2026-11-21T12:00", "zone": "Europe/Rome", "region": "IT"}
MOST_MS = 5.0  # of CPU for one answer, however long or odd


class Phrase(NamedTuple):
    line: int
    kind: str
    language: str
    text: str
    expected: Any  # the value, or Invalid
    setting: dict[str, str]


def phrases() -> list[Phrase]:
    found: list[Phrase] = []
    setting = dict(USUAL)
    for number, line in enumerate(TABLE.read_text().splitlines(), 1):
        if line.startswith("@"):
            for word in shlex.split(line[1:]):
                key, _, value = word.partition("=")
                setting = dict(USUAL) if key == "reset" else {**setting, key: value}
        elif line and not line.startswith("#"):
            kind, language, text, expected = (part.strip(" ") for part in line.split(" | ", 3))
            text = json.loads(text) if text.startswith('"') else text
            refused = expected.removeprefix("refused: ")
            read_as: Any = Invalid(refused) if refused != expected else json.loads(expected)
            found.append(Phrase(number, kind, language, text, read_as, setting))
    return found


def reading(language: str, setting: dict[str, str]) -> Reading:
    zone = ZoneInfo(setting["zone"])
    now = datetime.fromisoformat(setting["now"]).replace(tzinfo=zone)
    return Reading(
        language,
        setting["region"],
        now.date(),
        _bound(setting.get("min")),
        _bound(setting.get("max")),
        int(now.timestamp() * 1000),
        zone,
        setting.get("currency", ""),
        "american" in setting,
    )


def _bound(text: str | None) -> float | str | None:
    return float(text) if text and text.isdigit() else text


PHRASES = phrases()


@pytest.mark.parametrize(
    "phrase", PHRASES, ids=lambda phrase: f"{phrase.line} {phrase.kind} {phrase.text[:30]!a}"
)
def test_phrase(phrase: Phrase) -> None:
    """Each phrase gives the value of the table, or is refused for the reason that stands there."""
    found = answer_type(phrase.kind).read(ReceivedText(phrase.text), reading(phrase.language, phrase.setting))
    if isinstance(phrase.expected, Invalid):
        assert found == phrase.expected
    else:
        assert isinstance(found, Valid), found
        assert found.value == phrase.expected
        assert type(found.value) is type(phrase.expected)


def test_the_table_is_large_enough_and_covers_what_can_be_written() -> None:
    """Several hundred phrases, and every type that reads words is among them."""
    assert len({(phrase.kind, phrase.language, phrase.text) for phrase in PHRASES}) >= 400
    assert {phrase.kind for phrase in PHRASES} >= set(registry()) - {"text", "choice", "choices"}


@pytest.mark.parametrize("kind", sorted(registry()))
def test_every_reason_is_said_in_both_languages(kind: str) -> None:
    """A refusal always has words, and the docstring shows an example and the value that it gives."""
    found = answer_type(kind)
    assert set(found.label) >= {"it", "en"}
    assert found.reasons
    for reason in found.reasons:
        assert set(WORDS[f"invalid.{reason}"]) >= {"it", "en"}, reason
    module = __import__(type(found).__module__, fromlist=["x"])
    assert f"`{kind}`:" in (module.__doc__ or "")
    assert "→" in (module.__doc__ or "") or kind in ("name", "email", "phone")


_WORDS = sorted({word for phrase in PHRASES for word in phrase.text.split()})
_TEXTS = st.one_of(
    st.text(max_size=100),
    st.lists(st.sampled_from(_WORDS), max_size=12).map(" ".join),
    st.text(alphabet="0123456789/.:,-+ €$eE'T", max_size=40),
    st.text(max_size=20).map(lambda text: text * 50),
)
_RECEIVED: st.SearchStrategy[Received] = st.one_of(
    _TEXTS.map(ReceivedText),
    st.builds(Tap, st.text(max_size=10), st.text(max_size=10)),
    st.builds(ReceivedLocation, st.floats(), st.floats(), address=st.text(max_size=60)),
    st.builds(ReceivedContact, st.none() | st.text(max_size=20), own=st.booleans()),
    st.builds(
        ReceivedMedia, st.sampled_from(MediaKind), st.text(max_size=10), mime=st.none() | st.text(max_size=12)
    ),
)


@settings(max_examples=300, deadline=None)
@given(
    received=_RECEIVED,
    kind=st.sampled_from(sorted(registry())),
    language=st.sampled_from(["it", "en", "de"]),
    region=st.sampled_from(["IT", "GB", "US", "NL", "ZZ", ""]),
    american=st.booleans(),
)
def test_anything_gives_a_plain_value_or_a_known_reason(
    received: Received, kind: str, language: str, region: str, american: bool
) -> None:
    """Whatever is sent: a value that survives being written and read, or one of the type's reasons."""
    setting = {**USUAL, "region": region} | ({"american": ""} if american else {})
    found = answer_type(kind).read(received, reading(language, setting))
    if isinstance(found, Invalid):
        assert found.reason in answer_type(kind).reasons
        return
    kept = state.SessionState("f", 1, results={"a": state.Result(found.value, found.category, found.input)})
    assert state.decode(state.encode(kept)) == kept
    assert msgspec.json.decode(msgspec.json.encode(found.value)) == found.value


def test_long_and_hostile_texts_cost_less_than_five_milliseconds() -> None:
    """The grammar gives up early, the expressions never go back and forth."""
    hostile = [
        "9" * 100_000, "alle " * 3_000, "domani alle 9 " * 300, "1/1/" * 1_000, "e mezzo " * 9, "meno " * 15 + "1",
        "milamilionemille" * 5, "1.000" * 16, "1 000" * 16, "a@" * 50_000, "via " * 60, "((((" * 20, "uno " * 19,
        "le nove e un quarto meno dieci e tre quarti alle otto", "sabato 5 dicembre 2026 alle nove e mezza di sera ok",
        "one hundred and " * 5, "a." * 900 + "com", "http://" + "a-" * 900, "0" * 79, "x " * 40, "1, " * 300,
        "20 euro e " * 8, "🔟" * 60, "\u202e" * 100, " " * 100_000, "CAP " * 7, "il mio il mio il mio cap 1",
        "12345 " * 40, "SW1A 1A" * 30,
    ]  # fmt: skip
    place = reading("it", USUAL)
    for kind in sorted(registry()):
        answer_type(kind).read(ReceivedText("anna@example.com"), place)  # what loads a library has loaded it
        answer_type(kind).read(ReceivedText("+44 7700 900123"), place)
        for text in hostile:
            costs = []
            for _ in range(3):
                started = time.process_time()
                assert isinstance(answer_type(kind).read(ReceivedText(text), place), (Valid, Invalid))
                costs.append((time.process_time() - started) * 1000)
            assert min(costs) < MOST_MS, (kind, text[:40])
