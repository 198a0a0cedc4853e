"""Formatted text on the simulated Telegram: three parse modes, lists of entities, and what it finds by itself."""

from __future__ import annotations

import pytest

from simulators.telegram.errors import ApiError
from simulators.telegram.text import formatted, found

Span = tuple[str, int, int]


def spans(text: str, mode: str) -> tuple[str, list[Span]]:
    result = formatted(text, mode, None)
    return result.text, [(each["type"], each["offset"], each["length"]) for each in result.entities]


CASES: list[tuple[str, str, str, list[Span]]] = [
    ("HTML", "<b>Hi</b> <i>you</i>", "Hi you", [("bold", 0, 2), ("italic", 3, 3)]),
    ("HTML", "<B><i>x</i></B>", "x", [("italic", 0, 1), ("bold", 0, 1)]),
    ("HTML", "a &lt; b &amp; c &#233; &quot;&nbsp;", 'a < b & c é "&nbsp;', []),
    ("HTML", "😀<u>x</u>", "😀x", [("underline", 2, 1)]),
    ("HTML", '<a href="https://example.com/?a=1&amp;b=2">go</a>', "go", [("text_link", 0, 2)]),
    ("HTML", '<span class="tg-spoiler">x</span>', "x", [("spoiler", 0, 1)]),
    ("HTML", "<tg-spoiler>y</tg-spoiler>", "y", [("spoiler", 0, 1)]),
    ("HTML", '<pre><code class="language-py">x = 1</code></pre>', "x = 1", [("pre", 0, 5)]),
    ("HTML", "<blockquote expandable>q</blockquote>", "q", [("expandable_blockquote", 0, 1)]),
    ("HTML", "  <b> x </b>  ", "x", [("bold", 0, 1)]),
    ("HTML", "<s></s>x", "x", []),
    (
        "MarkdownV2",
        r"*b* _i_ __u__ ~s~ ||p|| `c`",
        "b i u s p c",
        [
            ("bold", 0, 1),
            ("italic", 2, 1),
            ("underline", 4, 1),
            ("strikethrough", 6, 1),
            ("spoiler", 8, 1),
            ("code", 10, 1),
        ],
    ),
    ("MarkdownV2", r"1\.5 \*not bold\*", "1.5 *not bold*", []),
    ("MarkdownV2", "*b _bi_*", "b bi", [("bold", 0, 4), ("italic", 2, 2)]),
    ("MarkdownV2", "[x](https://example.com/\\))", "x", [("text_link", 0, 1)]),
    ("MarkdownV2", "```py\nx.y\n```", "x.y", [("pre", 0, 3)]),
    ("MarkdownV2", ">one\n>two\nthree", "one\ntwo\nthree", [("blockquote", 0, 8)]),
    (
        "Markdown",
        "*b* _i_ `c` [x](https://example.com) 2_3".replace("2_3", "2\\_3"),
        "b i c x 2_3",
        [("bold", 0, 1), ("italic", 2, 1), ("code", 4, 1), ("text_link", 6, 1)],
    ),
]


@pytest.mark.parametrize(("mode", "source", "text", "entities"), CASES)
def test_markup_becomes_text_and_entities(mode: str, source: str, text: str, entities: list[Span]) -> None:
    """Offsets count UTF-16 units; white space at the ends goes."""
    plain, given = spans(source, mode)
    assert plain == text
    assert sorted(given) == sorted(entities)


def test_it_finds_links_commands_and_mentions() -> None:
    """What people type is marked as the app does it."""
    kinds = [
        each["type"]
        for each in found("/start @annlee https://example.com a@example.com #sale $EUR example.com")
    ]
    assert kinds == ["bot_command", "mention", "url", "email", "hashtag", "cashtag", "url"]
    assert found("nothing here; 5 > 3") == []
    assert found("😀 /help")[0] == {"offset": 3, "length": 5, "type": "bot_command"}


def test_given_entities_are_kept_and_moved() -> None:
    """A list of entities needs no escaping; leading space shifts it."""
    result = formatted(
        "  *x*  ", "", [{"type": "bold", "offset": 2, "length": 3}, {"type": "new", "offset": 0, "length": 1}]
    )
    assert result.text == "*x*"
    assert result.entities == [{"type": "bold", "offset": 0, "length": 3}]


@pytest.mark.parametrize(
    ("mode", "source"),
    [
        ("HTML", "<b"),
        ("HTML", "<a href=>x</a>"),
        ("HTML", '<a href="x>y'),
        ("HTML", "<span>x</span>"),
        ("HTML", "</"),
        ("MarkdownV2", "["),
        ("MarkdownV2", "[x](y"),
        ("MarkdownV2", "|x"),
        ("MarkdownV2", "`"),
        ("MarkdownV2", "a!"),
        ("Markdown", "`x"),
        ("Markdown", "[x"),
    ],
)
def test_broken_markup_is_refused_and_never_crashes(mode: str, source: str) -> None:
    """One sentence for the first thing that is wrong."""
    with pytest.raises(ApiError, match="can't parse entities"):
        formatted(source, mode, None)
