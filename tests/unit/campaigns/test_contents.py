"""What a person reads: language, values, and what cannot be made."""

from __future__ import annotations

from typing import Any

import pytest

from campaigns import contents
from domain.contacts import ContactView
from domain.errors import RejectedInput
from domain.messages import Button, Content, Media, MediaKind, MediaSource, Template, TemplateParameter, Text
from flows.business import BusinessView

ANNA = ContactView(id=1, first_name="Anna", fields={"city": "Roma"}, timezone="Europe/Rome")
BUSINESS = BusinessView(name="Bottega Esempio")
NOW = 1_790_000_000_000


def composed(content: Content, contact: ContactView = ANNA) -> Content:
    composer = contents.Composer({"it": content}, "it")
    return composer.compose(contact, language="it", business=BUSINESS, now=NOW)


def test_values_stand_in_every_text_a_person_reads() -> None:
    """Text, buttons and their links; ids stay."""
    content = Text(
        "Ciao {{ contact.first_name }} da {{ business.name }}",
        buttons=(Button("{{x}}", "{{ contact.fields.city }}", url="https://example.com/{{ contact.id }}"),),
    )
    made = composed(content)
    assert made == Text(
        "Ciao Anna da Bottega Esempio", buttons=(Button("{{x}}", "Roma", url="https://example.com/1"),)
    )


def test_captions_and_template_parameters_too() -> None:
    """With the names of named parameters and templates left alone."""
    media = Media(MediaKind.image, MediaSource(media_id=5), caption="Per {{ contact.first_name }}")
    assert composed(media) == Media(MediaKind.image, MediaSource(media_id=5), caption="Per Anna")
    template = Template(
        "saldi_{{", "it", body=(TemplateParameter("{{ contact.first_name }}", name="first_name"),)
    )
    made = composed(template)
    assert isinstance(made, Template)
    assert (made.name, made.body[0]) == ("saldi_{{", TemplateParameter("Anna", name="first_name"))


def test_constant_contents_are_made_once() -> None:
    """Everybody gets the same object."""
    content = Text("Ciao a tutti")
    assert composed(content) is content


def test_values_cannot_write_markup_or_templates() -> None:
    """What somebody typed as a name stays what they typed."""
    eve = ContactView(id=2, first_name="*{{ business.name }}*")
    assert composed(Text("Ciao {{ contact.first_name }}", markup=True), eve) == Text(
        "Ciao \\*{{ business.name }}\\*", markup=True
    )


@pytest.mark.parametrize(
    ("content", "contact", "reason"),
    [
        (Text("{{ contact.first_name }}"), ContactView(), "rendering_empty"),
        (Template("t", "it", body=(TemplateParameter("{{ contact.email }}"),)), ANNA, "rendering_empty"),
        (Text("{{ contact.name }}" * 3), ContactView(name="x" * 4_000), "rendering"),
    ],
)
def test_what_cannot_be_made_says_why(content: Content, contact: ContactView, reason: str) -> None:
    """One person's reason; the caller goes on with the next."""
    with pytest.raises(contents.CannotCompose) as caught:
        composed(content, contact)
    assert caught.value.reason == reason


def test_the_language_is_the_persons_where_there_is_one() -> None:
    """The contact's, else the platform's, else the campaign's."""
    composer = contents.Composer({"it": Text("Ciao"), "en": Text("Hi")}, "it")
    wishes = [("en", None), ("en-GB", None), (None, "en_US"), ("de", "en"), ("de", "fr"), (None, None)]
    assert [composer.language_for(*w) for w in wishes] == ["en", "en", "en", "en", "it", "it"]


@pytest.mark.parametrize(
    ("data", "words"),
    [
        (None, "content"),
        ({}, "content"),
        ({"it": 5}, "content.it"),
        ({"it": {"kind": "text"}}, "content.it"),
        ({str(n): "x" for n in range(21)}, "20 languages"),
    ],
)
def test_bad_contents_are_refused(data: Any, words: str) -> None:
    """Naming the place."""
    with pytest.raises(RejectedInput, match=words):
        contents.parse(data)


def test_contents_survive_their_column() -> None:
    """And one that is too large is refused."""
    said = contents.parse({"it": "Ciao", "en": {"kind": "text", "text": "Hi"}})
    assert contents.decode(contents.encode(said)) == said
    with pytest.raises(RejectedInput, match="bytes"):
        contents.encode({"it": Text("x" * 70_000)})
