"""Our light markup becomes each channel's, and no text is lost on the way."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from bot.channels.markup import literal_marks, to_html, to_marks, to_plain
from domain.messages import escape_markup

CASES = [
    # ours, html, plain, whatsapp
    ("Ciao", "Ciao", "Ciao", "Ciao"),
    ("a < b & c", "a &lt; b &amp; c", "a < b & c", "a < b & c"),
    ("*Ciao* Anna", "<b>Ciao</b> Anna", "Ciao Anna", "*Ciao* Anna"),
    ("_sì_ e ~no~", "<i>sì</i> e <s>no</s>", "sì e no", "_sì_ e ~no~"),
    ("*a _b_ c*", "<b>a <i>b</i> c</b>", "a b c", "*a _b_ c*"),
    ("`x *y* z`", "<code>x *y* z</code>", "x *y* z", "```x *y* z```"),
    ("snake_case_name", "snake_case_name", "snake_case_name", "snake_case_name"),
    ("2*3*4", "2*3*4", "2*3*4", "2*3*4"),
    ("* not a list *", "* not a list *", "* not a list *", "* not a list *"),
    ("https://example.com/_a_b_", "https://example.com/<i>a_b</i>", "https://example.com/a_b", None),
    ("*open", "*open", "*open", "*open"),
    ("*one\ntwo*", "*one\ntwo*", "*one\ntwo*", "*one\ntwo*"),
    (r"\*stars\*", "*stars*", "*stars*", "∗stars∗"),
    (r"back\slash \\", "back\\slash \\", "back\\slash \\", "back\\slash \\"),
    ("*a _b* c_", "<b>a _b</b> c_", "a _b c_", "*a _b* c_"),
    ("**bold**", "*<b>bold</b>*", "*bold*", "**bold**"),
]


@pytest.mark.parametrize(("ours", "html", "plain", "marks"), CASES)
def test_each_dialect(ours: str, html: str, plain: str, marks: str | None) -> None:
    """A text reads the same everywhere, with the marks that the channel has."""
    assert to_html(ours) == html
    assert to_plain(ours) == plain
    if marks is not None:
        assert to_marks(ours) == marks


@given(st.text(alphabet=st.sampled_from("ab *_~`\\\n<&"), max_size=60))
def test_what_a_person_wrote_is_shown_as_it_is(value: str) -> None:
    """A value that a template escaped is read back unchanged, whatever it holds."""
    assert to_plain(escape_markup(value)) == value
    assert "<b>" not in to_html(escape_markup(value))


@given(st.text(alphabet=st.sampled_from("ab *_~`\\\n"), max_size=60))
def test_tags_are_nested(text: str) -> None:
    """Telegram refuses crossed tags: we never write them."""
    stack: list[str] = []
    html = to_html(text)
    for tag in [part.split(">")[0] for part in html.split("<")[1:]]:
        if tag.startswith("/"):
            assert stack.pop() == tag[1:]
        else:
            stack.append(tag)
    assert stack == []


def test_plain_text_on_whatsapp_is_not_formatted_by_accident() -> None:
    """Only characters that WhatsApp would read as marks are replaced."""
    assert literal_marks("*sconto* 2*3 a_b") == "∗sconto∗ 2*3 a_b"
    assert literal_marks("nothing here") == "nothing here"


def test_long_hostile_text_takes_linear_time() -> None:
    """Four thousand opening marks and as many closing ones are one pass."""
    text = "*a _b ~c " * 4000 + "c~ b_ a* " * 4000
    assert len(to_plain(text)) <= len(text)
