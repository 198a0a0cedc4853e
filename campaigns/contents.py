"""What a campaign says: one content per language, with the flows' templates in its texts.

Stored as JSON `{"it": Content, "en": Content}`. Every text in a content may hold paths and filters such as
`{{ contact.first_name | default('') }}` (`flows.expressions`); ids, addresses and kinds may not, because they are ours
and the platform's. A content without templates is made once and shared by everybody. `Composer.compose` either gives
what a person will read or raises `CannotCompose` with a reason: that person's row fails, the run goes on.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from datetime import UTC, date, datetime
from typing import TYPE_CHECKING, Any, cast
from zoneinfo import ZoneInfo, ZoneInfoNotFoundError

import msgspec
from msgspec.structs import replace

from bot.channels.base import Channel
from domain.contacts import ContactView
from domain.errors import AppError, RejectedInput, SendError
from domain.messages import Album, Content, Media, Poll, Template, Text
from flows.business import BusinessView
from flows.expressions import template
from flows.state import SessionState
from flows.words import WORDS

if TYPE_CHECKING:
    from flows.turns import Turn

MAX_LANGUAGES = 20  # of one campaign; more are several campaigns
MAX_BYTES = 65_536  # of a campaign's content as JSON: many times what any channel carries

# Fields of contents that people write and read; everything else is taken as it stands.
_TEXTS = {"text", "caption", "title", "description", "url", "list_title", "question", "options", "preview"}
SAMPLE_ADDRESS = "15550100000"  # a person's, for every kind of channel, when content is tried out
_CAMPAIGN_KINDS = (Text, Media, Album, Template, Poll)

Leaf = Callable[["_Reading"], Any]


class CannotCompose(AppError):
    """This person cannot be written to as the campaign stands; `reason` is what their row says."""

    def __init__(self, reason: str) -> None:
        super().__init__(reason)
        self.reason = reason


class _Reading:
    """What templates read of a turn, for somebody who is in no flow: no variables and no results."""

    __slots__ = ("_now", "_zones", "business", "contact", "language", "state")

    def __init__(self, contact: ContactView, language: str, business: BusinessView, now: int) -> None:
        self.contact = contact
        self.language = language
        self.business = business
        self.state = _NO_STATE
        self._now = now

    def words(self, key: str) -> Any:
        """Fixed words of ours in the person's language; English where it has none."""
        found = WORDS[key]
        return found.get(self.language) or found["en"]

    def today(self) -> date:
        """The day at the contact's place, else at the business's."""
        for name in (self.contact.timezone, self.business.timezone):
            try:
                if name:
                    return datetime.fromtimestamp(self._now / 1000, ZoneInfo(name)).date()
            except (ZoneInfoNotFoundError, ValueError, OSError):
                continue
        return datetime.fromtimestamp(self._now / 1000, UTC).date()


_NO_STATE = SessionState(flow="", version=0)


class Composer:
    """A campaign's contents, compiled once for all its people. Raises RejectedInput for contents that are not sound."""

    def __init__(self, contents: Mapping[str, Content], default_language: str) -> None:
        if default_language not in contents:
            raise RejectedInput(
                "there is no content in the default language", where=f"content.{default_language}"
            )
        self.default_language = default_language
        paths: set[str] = set()
        self._compiled = {
            language: _compiled(content, f"content.{language}", paths)
            for language, content in contents.items()
        }
        # Whether a contact's own row is enough: no tags, consents or identities are read.
        self.plain = all(_is_plain(path) for path in paths)
        self.reads_fields = any(path == "contact" or path.startswith("contact.fields") for path in paths)

    @property
    def constant(self) -> bool:
        """Whether everybody of a language reads the same, so that nothing has to be known of them."""
        return all(content is not None for content, _ in self._compiled.values())

    def language_for(self, *wishes: str | None) -> str:
        """The language of a person's content: the first wish that there is (`en-GB` is served by `en`)."""
        for wish in wishes:
            if wish:
                for language in (wish, wish.lower(), wish.lower().replace("_", "-").split("-")[0]):
                    if language in self._compiled:
                        return language
        return self.default_language

    def compose(self, contact: ContactView, *, language: str, business: BusinessView, now: int) -> Content:
        """What this person reads. Raises CannotCompose."""
        constant, leaf = self._compiled[language]
        if constant is not None:
            return constant
        try:
            content: Content = leaf(_Reading(contact, language, business, now))
        except (ValueError, TypeError, ArithmeticError, LookupError) as error:
            # Whatever a person's data makes of a template is that person's affair and never the run's.
            raise CannotCompose("rendering") from error
        if _lacks_text(content):
            raise CannotCompose("rendering_empty")
        return content


def decode(stored: str) -> dict[str, Content]:
    """Contents from their column."""
    return _decoder.decode(stored)


def encode(contents: Mapping[str, Content]) -> str:
    """Contents for their column. Raises RejectedInput when they are too large."""
    payload = msgspec.json.encode(dict(contents))
    if len(payload) > MAX_BYTES:
        raise RejectedInput(f"at most {MAX_BYTES} bytes", where="content")
    return payload.decode()


_decoder = msgspec.json.Decoder(dict[str, Content])


def parse(data: Any, *, where: str = "content") -> dict[str, Content]:
    """Contents from outside: `{"it": {"kind": "text", "text": "Ciao"}}`, or a plain text per language. Raises
    RejectedInput naming the place."""
    if not isinstance(data, dict) or not data:
        raise RejectedInput("must be an object of one content per language", where=where)
    if len(data) > MAX_LANGUAGES:
        raise RejectedInput(f"at most {MAX_LANGUAGES} languages", where=where)
    return {str(language): _parsed(content, f"{where}.{language}") for language, content in data.items()}


def parse_one(data: Any, *, where: str = "content") -> Content:
    """One content from outside. Raises RejectedInput naming the place."""
    return _parsed(data, where)


def check(
    contents: Mapping[str, Content], default_language: str, channel: Channel, *, where: str = "content"
) -> Composer:
    """The composer of contents that this channel can show. Raises RejectedInput naming the first that is not sound."""
    composer = Composer(contents, default_language)
    for language, content in contents.items():
        if not isinstance(content, _CAMPAIGN_KINDS):
            raise RejectedInput(
                "a campaign sends text, media, an album, a poll or a template", where=f"{where}.{language}"
            )
        if _lacks_text(content):
            raise RejectedInput("must not be empty", where=f"{where}.{language}")
        showable(content, channel, language=language, where=f"{where}.{language}")
    return composer


def showable(
    content: Content, channel: Channel, *, address: str = SAMPLE_ADDRESS, language: str, where: str
) -> None:
    """Raises RejectedInput when the channel says that it cannot show this content."""
    try:
        channel.render(content, address=address, language=language)
    except SendError as error:
        raise RejectedInput(error.detail or error.reason.value, where=where) from error


def _parsed(data: Any, where: str) -> Content:
    if isinstance(data, str):
        return Text(data)
    if not isinstance(data, (dict, msgspec.Struct)):
        raise RejectedInput("must be a text or an object with a kind", where=where)
    try:
        content: Content = msgspec.convert(msgspec.to_builtins(data), Content)
    except msgspec.ValidationError as error:
        raise RejectedInput(str(error), where=where) from error
    return content


def _is_plain(path: str) -> bool:
    root, _, rest = path.partition(".")
    return root != "contact" or rest.partition(".")[0] in _PLAIN


_PLAIN = {"name", "first_name", "last_name", "language", "timezone", "email", "phone", "fields"}


def _compiled(content: Content, where: str, paths: set[str]) -> tuple[Content | None, Leaf]:
    tree = msgspec.to_builtins(content)
    markup = bool(tree.get("markup"))
    made = {
        key: _leaf(node, f"{where}.{key}", markup=markup, readable=key in _TEXTS, paths=paths)
        for key, node in tree.items()
    }
    parts = {key: leaf for key, leaf in made.items() if leaf is not None}
    if not parts:
        return content, lambda reading: content
    if all(
        isinstance(tree[key], str) for key in parts
    ):  # the usual case: one text, and no need to build it anew
        return None, lambda reading: replace(content, **{key: leaf(reading) for key, leaf in parts.items()})
    return None, lambda reading: msgspec.convert(
        {**tree, **{key: leaf(reading) for key, leaf in parts.items()}}, Content
    )


def _leaf(node: Any, where: str, *, markup: bool, readable: bool, paths: set[str]) -> Leaf | None:
    """A function that makes this part anew for each person, or None where nothing in it changes. What its templates
    read is added to `paths`."""
    if isinstance(node, str):
        return _text(node, where, markup=markup, paths=paths) if readable else None
    if isinstance(node, dict):
        made = {
            key: _leaf(value, f"{where}.{key}", markup=markup, readable=key in _TEXTS, paths=paths)
            for key, value in node.items()
        }
        parts = {key: leaf for key, leaf in made.items() if leaf is not None}
        return (
            (lambda reading: {**node, **{key: leaf(reading) for key, leaf in parts.items()}})
            if parts
            else None
        )
    if isinstance(node, (list, tuple)):
        items = [
            _leaf(item, f"{where}[{n}]", markup=markup, readable=readable, paths=paths)
            for n, item in enumerate(node)
        ]
        if any(items):
            return lambda reading: [leaf(reading) if leaf else node[n] for n, leaf in enumerate(items)]
    return None


def _text(source: str, where: str, *, markup: bool, paths: set[str]) -> Leaf | None:
    compiled = template(source, where=where)
    paths |= compiled.paths
    if compiled.constant is not None:
        return None
    # A template reads of a turn only what `_Reading` has.
    return lambda reading: compiled.render(cast("Turn", reading), markup=markup)


def _lacks_text(content: Content) -> bool:
    """Whether something that must be there is empty: a platform refuses it, so it is not even tried."""
    match content:
        case Text(text=text):
            return not text.strip()
        case Template(header=header, body=body, buttons=buttons):
            return any(p.text is not None and not p.text.strip() for p in (*header, *body, *buttons.values()))
        case Poll(question=question, options=options):
            return not question.strip() or not all(option.strip() for option in options)
    return False
