"""Every struct of the vocabulary comes back from its JSON as it was, and every text can be made storable."""

from __future__ import annotations

import typing
from functools import cache
from types import UnionType
from typing import Any, get_args

import msgspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from domain import effects, events, messages
from domain.events import storable

TEXT = st.text(max_size=12).map(storable)
WIDE = st.integers(-(1 << 63), (1 << 63) - 1)
ANY = st.recursive(
    st.none() | st.booleans() | WIDE | st.floats(allow_nan=False, allow_infinity=False) | TEXT,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(TEXT, inner, max_size=3),
    max_leaves=5,
)


def values(kind: Any) -> st.SearchStrategy[Any]:
    """Values of a field's type."""
    origin, arguments = typing.get_origin(kind), get_args(kind)
    if kind is str:
        return TEXT
    if kind is int:
        return WIDE
    if kind is float:
        return st.floats(allow_nan=False, allow_infinity=False)
    if kind is Any:
        return ANY
    if origin is tuple:
        return st.lists(values(arguments[0]), max_size=2).map(tuple)
    if origin is dict:
        return st.dictionaries(values(arguments[0]), values(arguments[1]), max_size=2)
    if origin in (typing.Union, UnionType):
        return st.one_of([values(one) for one in arguments])
    if isinstance(kind, type) and issubclass(kind, msgspec.Struct):
        return structs(kind)
    return st.from_type(kind)


@cache
def structs(kind: type[msgspec.Struct]) -> st.SearchStrategy[Any]:
    """Structs of a kind; one that may hold others of its own kind holds none that do so again."""
    hints = typing.get_type_hints(kind)
    own = [name for name in kind.__struct_fields__ if kind in get_args(hints[name])]
    flat = {name: values(hints[name]) for name in kind.__struct_fields__ if name not in own}
    inner = st.builds(kind, **flat)
    return st.builds(kind, **flat, **{name: st.lists(inner, max_size=2).map(tuple) for name in own})


def names(kinds: Any) -> list[Any]:
    return [pytest.param(kind, id=kind.__name__) for kind in get_args(kinds)]


@pytest.mark.parametrize("kind", names(messages.Content))
@settings(max_examples=15, deadline=None)
@given(data=st.data())
def test_content_comes_back(kind: type[msgspec.Struct], data: st.DataObject) -> None:
    content = data.draw(structs(kind))
    text = messages.encode(content)
    assert messages.decode_content(text) == content
    assert msgspec.json.decode(text)["kind"] == kind.__struct_config__.tag
    assert isinstance(messages.text_of(content), str)


@pytest.mark.parametrize("kind", names(messages.Received))
@settings(max_examples=15, deadline=None)
@given(data=st.data())
def test_received_content_comes_back(kind: type[msgspec.Struct], data: st.DataObject) -> None:
    content = data.draw(structs(kind))
    assert messages.decode_received(messages.encode(content)) == content
    assert isinstance(messages.text_of(content), str)


@pytest.mark.parametrize("kind", names(events.Event))
@settings(max_examples=15, deadline=None)
@given(data=st.data())
def test_an_event_comes_back(kind: type[msgspec.Struct], data: st.DataObject) -> None:
    event = data.draw(structs(kind))
    assert events.decode(events.encode(event)) == event


@pytest.mark.parametrize("kind", names(effects.Effect))
@settings(max_examples=15, deadline=None)
@given(data=st.data())
def test_effects_come_back_in_their_order(kind: type[msgspec.Struct], data: st.DataObject) -> None:
    asked = data.draw(st.lists(structs(kind), max_size=3))
    assert effects.decode(effects.encode(asked)) == asked


@given(text=st.text() | st.text(st.characters(categories=["Cs"])))
def test_storable_text_can_be_stored_and_loses_nothing_else(text: str) -> None:
    clean = storable(text)
    clean.encode()
    assert "\x00" not in clean
    assert len(clean) == len(text)
    assert all(new in (old, "\ufffd") for new, old in zip(clean, text, strict=True))
    assert storable(clean) is clean


def test_what_nobody_knows_is_refused_with_its_path() -> None:
    with pytest.raises(msgspec.ValidationError, match=r"\$\.kind"):
        messages.decode_content('{"kind": "telepathy"}')
    with pytest.raises(msgspec.ValidationError, match=r"\$\.buttons\[0\]"):
        messages.decode_content('{"kind": "text", "text": "Ciao", "buttons": [{"id": 1, "title": "Sì"}]}')
    with pytest.raises(msgspec.ValidationError, match=r"\$\.type"):
        events.decode('{"type": "seance"}')


def test_a_field_of_a_newer_release_is_passed_over() -> None:
    """Rows may have been written by the next version before it was taken back."""
    assert messages.decode_content('{"kind":"text","text":"Ciao","glow":true}') == messages.Text("Ciao")


def test_status_ranks_cover_every_outgoing_status() -> None:
    outgoing = set(messages.MessageStatus) - {messages.MessageStatus.received}
    assert messages.RANK.keys() == outgoing


@given(text=st.text())
def test_escaped_markup_reads_as_it_was_written(text: str) -> None:
    escaped = messages.escape_markup(text)
    assert len(escaped) == len(text) + sum(text.count(mark) for mark in "\\*_~`")
