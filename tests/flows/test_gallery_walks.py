"""Random walks through the gallery: people answer rightly and wrongly, tap old buttons, send files, fall silent;
services answer or do not. Whatever they do, each flow ends or waits, and says what both networks can show, in one
language.

A few hundred walks by default; `GALLERY_WALKS=10000 make test ARGS="tests/flows/test_gallery_walks.py"` for more.
"""

from __future__ import annotations

import os
import re
from functools import cache
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from bot.channels.telegram import outbound as telegram
from bot.channels.whatsapp import outbound as whatsapp
from domain import durations
from domain.contacts import ContactView
from domain.effects import SessionFailed
from domain.messages import (
    Content,
    MediaKind,
    Received,
    ReceivedContact,
    ReceivedLocation,
    ReceivedMedia,
    ReceivedText,
    Tap,
    Template,
    text_of,
)
from flows import compiler, dialogues, document, engine
from flows.business import sample
from flows.happenings import happening
from flows.rehearsal import Rehearsal
from flows.versions import CompiledFlow
from flows.words import WORDS

GALLERY = Path(__file__).parents[2] / "gallery"
FLOWS = {
    path.parent.name: compiler.compile(document.load(path.read_text(), str(path)), 1)
    for path in sorted(GALLERY.glob("*/flow.yaml"))
}
WALKS = int(os.environ.get("GALLERY_WALKS", "390"))  # of all flows together
LENGTH = 25  # things that happen in a walk
CHANNELS, LANGUAGES = ("telegram", "whatsapp"), ("it", "en")

# What fits a question of each kind, as people write it.
FITTING: dict[str, tuple[Received, ...]] = {
    "name": (ReceivedText("Anna Rossi"), ReceivedText("mi chiamo Bruno"), ReceivedText("I am Tom Baker")),
    "email": (ReceivedText("anna@example.com"),),
    "phone": (ReceivedText("+44 7700 900123"), ReceivedContact("+447700900123", name="Anna", own=True)),
    "text": (ReceivedText("Tre anni in un panificio"), ReceivedText("Fate consegne a casa?")),
    "integer": (ReceivedText("2"), ReceivedText("quattro"), ReceivedText("10482"), ReceivedText("6")),
    "datetime": (
        ReceivedText("domani alle 10"),
        ReceivedText("friday at 16:30"),
        ReceivedText("fra due settimane alle 11"),
        ReceivedText("domenica alle 10"),
    ),
    "date": (ReceivedText("lunedì"), ReceivedText("in two weeks")),
    "location": (ReceivedLocation(45.46, 9.19), ReceivedLocation(-33.9, 151.2), ReceivedText("Bergamo")),
    "file": (
        ReceivedMedia(MediaKind.document, platform_id="cv", filename="cv.pdf"),
        ReceivedMedia(MediaKind.image, platform_id="photo"),
    ),
}
# What people send at any time.
ANYTHING: tuple[Received, ...] = (
    *(
        ReceivedText(words)
        for words in ("sì", "no", "ok", "1", "3", "7", "10", "0", "-4", "1e9", "99999999999")
    ),
    *(ReceivedText(words) for words in ("grazie", "skip", "indietro", "back", "salta", "fatto", "tutti")),
    *(
        ReceivedText(words)
        for words in ("boh", "?", "🙂", "🙂🙂", "...", "Milano", "rome", "sposta", "annulla", "basta")
    ),
    *(
        ReceivedText(words)
        for words in ("ciao", "menu", "ordine 10482", "order", "evento", "/start", "29 febbraio")
    ),
    ReceivedText("{{ contact.name }} {% raw %} @contact"),
    ReceivedText("*ciao* _io_ <b>x</b> &amp; [a](b)"),
    ReceivedText("a" * 4_000),
    ReceivedText("הגיע 你好 \u202e odd"),
    *(item for items in FITTING.values() for item in items),
    ReceivedMedia(MediaKind.voice, platform_id="voice"),
    Tap("yes", "Sì"),
    Tap("confirm", "Yes, I confirm"),
    Tap("gone", "Un bottone di un anno fa"),
)
SPANS = ("2 minutes", "2 hours", "25 hours", "3 days", "40 days", "720 days")
HAPPENINGS = (
    ("tag_added", "visited"),
    ("tag_added", "giveaway-winner"),
    ("tag_added", "asleep"),
    ("consent_given", "marketing"),
    ("consent_withdrawn", "marketing"),
    ("field_changed", {"invited_friends": 1}),
    ("field_changed", {"invited_friends": 3}),
    ("schedule", "2026-02-01"),
)
ANSWERS = (
    (200, '{"status": "shipped", "delivery_date": "2026-01-08", "tracking_url": "https://example.com/t/1"}'),
    (200, '{"status": "preparing"}'),
    (201, '{"tickets": ["A1"], "free": 3}'),
    (200, '{"status": {"of": ["odd", 1]}, "delivery_date": 7, "tracking_url": "javascript:alert(1)"}'),
    (200, '{"status": "shipped", "delivery_date": "soon", "tracking_url": "ftp://example.com"}'),
    (200, "<html>"),
    (200, "[]"),
    (404, ""),
    (409, "{}"),
    (429, ""),
    (503, "x" * 10_000),
    (302, ""),
    (0, ""),
)
CONTACTS: tuple[dict[str, Any], ...] = (
    {},
    {"name": "Anna Rossi", "first_name": "Anna"},
    {
        "name": "Tom",
        "phone": "+447700900123",
        "email": "tom@example.org",
        "consents": {"marketing": "confirmed"},
    },
    {"fields": {"last_visit": "2025-06-01", "appointment": "2026-01-07T10:00:00+01:00", "tasting_seats": 2}},
    {"tags": {"giveaway-2027"}, "fields": {"application": "received", "appointment": "nonsense"}},
)
HOWS = ("tap", "tap", "tap", "fit", "fit", "fit", "any", "time", "http", "http", "occur")

# A channel without a public name, a business without places.
NEVER_REHEARSED = {"referral": {"no_link", "sorry"}, "shop_finder": {"no_places"}}
# Placeholders that were left in, and the gaps that empty ones leave.
RAW = re.compile(r"\{\{|\}\}|\{%|\bNone\b|\bsession\.|\bcontact\.|\[\]|  |,\s*[.!?]|\s[.!?,;](\s|$)|\(\)|«»")

steps_of_a_walk = st.lists(
    st.tuples(st.sampled_from(HOWS), st.integers(0, 10_000)), min_size=1, max_size=LENGTH
)


@pytest.mark.parametrize("name", sorted(FLOWS))
def test_whatever_people_do_the_flow_ends_or_waits(name: str) -> None:
    """No exception, no failed session, no endless loop; every message can be shown and is in one language."""

    @settings(
        max_examples=-(-WALKS // len(FLOWS)),
        deadline=None,
        derandomize="GALLERY_WALKS" not in os.environ,
        database=None,
        suppress_health_check=list(HealthCheck),
    )
    @given(
        channel=st.sampled_from(CHANNELS),
        language=st.sampled_from(LANGUAGES),
        known=st.booleans(),
        contact=st.sampled_from(range(len(CONTACTS))),
        acts=steps_of_a_walk,
    )
    def walk(channel: str, language: str, known: bool, contact: int, acts: list[tuple[str, int]]) -> None:
        flow = FLOWS[name]
        person = ContactView(id=7_000_001, language=language if known else None, **CONTACTS[contact])
        rehearsal = Rehearsal(
            [flow, *(other for other in FLOWS.values() if other is not flow)],
            channel_kind=channel,
            language=language,
            contact=person,
            business=sample(),
        )
        rehearsal.begin()
        shown = judged(rehearsal, [], language if known else "")
        for how, number in acts:
            act(rehearsal, how, number, shown)
            shown = judged(rehearsal, shown, language if known else "")

    walk()


def act(rehearsal: Rehearsal, how: str, number: int, shown: list[Content]) -> None:
    """One thing that happens; where it cannot, the person writes something else."""
    match how:
        case "time":
            rehearsal.pass_time(durations.parse(SPANS[number % len(SPANS)]))
            return
        case "http" if rehearsal.call is not None:
            rehearsal.answer_call(*ANSWERS[number % len(ANSWERS)])
            return
        case "occur":
            rehearsal.occur(happening(*HAPPENINGS[number % len(HAPPENINGS)], where="walk"))
            return
        case "tap" if buttons := [
            one for content in shown for one in getattr(content, "buttons", ()) if not one.url
        ]:
            button = buttons[number % len(buttons)]
            rehearsal.hear(Tap(button.id, button.title))
            return
        case "fit" if fitting := FITTING.get(asked(rehearsal)):
            rehearsal.hear(fitting[number % len(fitting)])
            return
    rehearsal.hear(ANYTHING[number % len(ANYTHING)])


def asked(rehearsal: Rehearsal) -> str:
    """The kind of answer that is waited for."""
    if rehearsal.state is None:
        return ""
    step = rehearsal.library[rehearsal.state.flow].document.steps[rehearsal.state.step]
    return str(getattr(step, "ask", ""))


def judged(rehearsal: Rehearsal, shown: list[Content], language: str) -> list[Content]:
    """Looks at what the last act brought about; gives the messages with buttons that may be tapped now."""
    failed = [effect for effect in rehearsal.effects if isinstance(effect, SessionFailed)]
    assert not failed, failed
    assert not rehearsal.faults, rehearsal.faults
    if rehearsal.state is not None:
        assert rehearsal.state.waiting, "a session that waits for nothing"
        assert (rehearsal.state.waiting == "call") is (rehearsal.call is not None)
    for content in rehearsal.messages:
        showable(content, rehearsal.channel_kind)
        readable(content, language)
    return rehearsal.messages or shown


def showable(content: Content, channel: str) -> None:
    """Both networks take it, and WhatsApp shows what can be chosen as buttons or as a list."""
    if not isinstance(content, Template):
        assert telegram.render(content, address="1000")
    else:
        assert channel == "whatsapp"
    calls = whatsapp.render(content, address="+15550100100")
    assert calls
    choices = [button for button in getattr(content, "buttons", ()) if not button.url]
    if choices and channel == "whatsapp":
        assert [call.payload["type"] for call in calls] == ["interactive"], "degraded to numbered text"
    for call in calls:
        within(call.payload.get("interactive"))


def within(interactive: Any) -> None:
    """https://developers.facebook.com/docs/whatsapp/cloud-api/messages: 3 buttons of 20 characters, 10 rows of 24."""
    if interactive is None:
        return
    assert len(interactive["body"]["text"]) <= (4_096 if interactive["type"] == "list" else 1_024)
    action = interactive["action"]
    buttons = [button["reply"]["title"] for button in action.get("buttons", ())]
    rows = [row["title"] for section in action.get("sections", ()) for row in section["rows"]]
    assert len(buttons) <= 3
    assert len(rows) <= 10
    assert all(len(title) <= 20 for title in buttons), buttons
    assert all(len(title) <= 24 for title in rows), rows


def readable(content: Content, language: str) -> None:
    """It says something, shows no raw placeholder, and is in one language: the person's, where that is known."""
    said = text_of(content)
    labels = [button.title for button in getattr(content, "buttons", ())]
    assert said.strip(), content
    assert all(label.strip() for label in labels), labels
    for text in (said, *labels):
        assert not RAW.search(text), text
    spoken = {one for one in LANGUAGES if any(piece in said or piece in labels for piece in pieces(one))}
    assert len(spoken) <= 1, f"both languages in {said!r} {labels}"
    assert not language or spoken <= {language}, f"{said!r} {labels} is not in {language}"


@cache
def pieces(language: str) -> tuple[str, ...]:
    """What stands in texts of this language alone: of the flows, our own words and the wording of purposes."""
    found: dict[str, set[str]] = {one: set() for one in LANGUAGES}
    for flow in FLOWS.values():
        for step in flow.steps.values():
            for _, text in (*step.texts, *step.buttons):
                for one in LANGUAGES:
                    for source in text.wordings.get(one, ()):
                        found[one].update(re.split(r"\{\{.*?\}\}", source))
    for words in WORDS.values():
        for one in LANGUAGES:
            found[one].update([words[one]] if isinstance(words[one], str) else [])
    for purpose in sample().purposes.values():
        for one in LANGUAGES:
            found[one].add(purpose.wording[one])
    own = {piece.strip() for piece in found[language]}
    others = {piece.strip() for one in LANGUAGES if one != language for piece in found[one]}
    return tuple(
        sorted(piece for piece in own - others if len(piece) >= 12 and not any(piece in o for o in others))
    )


@pytest.mark.parametrize("name", sorted(FLOWS))
def test_every_step_is_entered_by_some_dialogue(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """The flow's own tests go through all of it, but for what a rehearsal's sample business never needs."""
    entered: set[str] = set()
    take = Rehearsal._take

    def noted(self: Rehearsal, transition: engine.Transition) -> None:
        if transition.state.flow == name or any(frame.flow == name for frame in transition.state.stack):
            entered.update(step for step, _, _ in transition.path)
        take(self, transition)

    monkeypatch.setattr(Rehearsal, "_take", noted)
    flow: CompiledFlow = FLOWS[name]
    for path in sorted(GALLERY.glob(f"{name}/*.test.yaml")):
        dialogues.run(path.read_text(), path.name, list(FLOWS.values()))
    leaving = {step.id for step in flow.steps.values() if step.type == "goto"}
    assert set(flow.steps) - entered - leaving - NEVER_REHEARSED.get(name, set()) == set()
