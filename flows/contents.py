"""What a `send` step can say, as authors write it and as it runs: one class for each form.

`compiled(maker)` makes the texts ready and gives the function that, in a turn, gives the content, or None when there is
nothing to say. How a content looks on a channel that has not the very thing is the channels' business (`render`).
"""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Annotated, Any, Literal
from urllib.parse import quote, urlsplit

from pydantic import AfterValidator, BaseModel, ConfigDict, Field, model_validator

from domain import ids
from domain.errors import FlowError, RejectedInput
from domain.messages import (
    Album,
    Button,
    ContactCard,
    Content,
    LocationContent,
    Media,
    MediaKind,
    MediaSource,
    Poll,
    Template,
    TemplateParameter,
    Text,
)
from flows.options import Templates
from flows.steps import OptionId
from flows.texts import LocalText, Texts, local_text
from flows.versions import TemplateUse

if TYPE_CHECKING:
    from flows.compiler import Maker
    from flows.turns import Turn

MAX_BUTTONS = 50  # as in a question; past a channel's own number they become numbered text
MAX_LINKS = 10  # below one message: more is a page
MAX_URL = 2_000  # characters: what platforms and browsers take
MAX_FILES = 10  # of an album: the platforms' own limit
MAX_VALUES = 50  # that a template takes; the longest approved ones have a dozen
TEMPLATES_ON = frozenset({"whatsapp"})  # kinds of channels that know approved templates
# https://core.telegram.org/bots/api#sendpoll: the only channel with polls of its own
MAX_QUESTION, MAX_POLL_OPTIONS, MAX_POLL_OPTION = 300, 12, 100

_PLACEHOLDER = re.compile(r"\{\{[^{}]*\}\}|@\([^()]*(?:\([^()]*\)[^()]*)*\)|@[A-Za-z]\w*(?:\.\w+)+")

Says = Callable[["Turn"], Content | None]


def _web_address(url: str) -> str:
    parts = urlsplit(url)
    if (
        parts.scheme not in ("http", "https")
        or not parts.hostname
        or len(url) > MAX_URL
        or not url.isprintable()
    ):
        raise ValueError("must be a web address beginning with https:// or http://")
    return url


def written(source: str) -> str:
    """What stands in a text for certain: the text without its placeholders."""
    return _PLACEHOLDER.sub("", source)


def changes(source: str) -> bool:
    """Whether a text is filled in while the flow runs: `{{ … }}`, or `@…` in flows that came from RapidPro."""
    return "{{" in source or "@" in source


def _address(url: str) -> str:
    whole = url.lstrip().startswith(("{{", "@"))
    if not whole:
        _web_address(url.partition("{{")[0] if "{{" in url else url)
    return url


def _stored(file: str) -> str:
    if not changes(file):
        try:
            ids.from_text("media", file)
        except RejectedInput as error:
            raise ValueError(error.what) from None
    return file


WebAddress = Annotated[str, AfterValidator(_web_address)]
Address = Annotated[str, Field(min_length=1, max_length=MAX_URL), AfterValidator(_address)]
Language = Annotated[str, Field(pattern=r"^[a-z]{2,3}$")]
StoredFile = Annotated[str, Field(min_length=1, max_length=500), AfterValidator(_stored)]
Short = Annotated[str, Field(min_length=1, max_length=500)]


class _Form(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid", hide_input_in_errors=True)


# --- parts of messages ------------------------------------------------------------------------------------------------


class Link(_Form):
    """A button that opens a page. Values in the middle of the address are escaped."""

    text: Texts
    url: Address


class QuickReply(_Form):
    """`{id: menu, text: {it: Menù, en: Menu}}`: comes back as its id or its words, also long after; `description`
    stands beside it where it is a row of a list."""

    id: OptionId
    text: Texts
    description: Texts | None = None


class File(_Form):
    """A file: `{kind: image, url: https://example.com/menu.png}`, which the platform fetches (one
    for each language: `url: {it: …, en: …}`), or `{kind: document, file: med_…}`, a stored one.
    `filename` is what the person sees of a document."""

    kind: MediaKind
    url: Address | Annotated[dict[Language, Address], Field(min_length=1, max_length=20)] | None = None
    file: StoredFile | None = None
    filename: Short | None = None

    @model_validator(mode="after")
    def _one(self) -> File:
        if (self.url is None) == (self.file is None):
            raise ValueError("needs either url or file")
        return self

    def source(self, maker: Maker, field: str) -> Callable[[Turn], MediaSource | None]:
        """The function that says where the file is; None when the address or id came out empty."""
        filename = maker.value(f"{field}.filename", local_text(self.filename)) if self.filename else None

        def named(turn: Turn) -> str | None:
            return filename.render(turn).strip()[:200] or None if filename else None

        if self.file is not None:
            stored = maker.value(f"{field}.file", local_text(self.file))
            return lambda turn: _stored_source(turn, stored.render(turn).strip(), named(turn))
        by_language = self.url if isinstance(self.url, dict) else {"": self.url or ""}
        addresses = {code: url_of(url, f"{field}.url", maker) for code, url in by_language.items()}

        def address(turn: Turn) -> str:
            wished = (turn.language, "", turn.flow.languages[0], next(iter(addresses)))
            return next(addresses[code] for code in wished if code in addresses)(turn)

        def fetched(turn: Turn) -> MediaSource | None:
            url = address(turn)
            return MediaSource(url=url, filename=named(turn)) if url else None

        return fetched


class AlbumFile(File):
    """A file of an album."""

    caption: Texts | None = None


def url_of(url: str, field: str, maker: Maker) -> Callable[[Turn], str]:
    """The function that gives an address; "" when it is empty. A value that is the whole address stands as it is, one
    inside is escaped."""
    template = maker.value(field, local_text(url))
    if template.constant is not None and not maker.excellent:  # imported ones fail when they are sent
        _web_address(template.constant)
        return lambda turn: url
    whole = maker.excellent or url.lstrip().startswith("{{")  # RapidPro's authors encode values themselves
    escape, excellent = None if whole else _escaped, maker.excellent

    def filled(turn: Turn) -> str:
        made = template.render(turn, escape=escape).strip()
        if excellent:
            made = quote(made, safe=IN_ADDRESSES)
        try:
            return _web_address(made) if made else ""
        except ValueError:
            raise FlowError(
                f"{field} came out as something else than a web address", step_id=turn.state.step
            ) from None

    return filled


IN_ADDRESSES = "!#$%&'()*+,/:;=?@[]~-._"  # what an address that is written as a whole is made of


def _escaped(value: str) -> str:
    return quote(value, safe="")


def _stored_source(turn: Turn, file: str, filename: str | None) -> MediaSource | None:
    if not file:
        return None
    try:
        return MediaSource(media_id=ids.from_text("media", file), filename=filename)
    except RejectedInput as error:
        raise FlowError(error.what, step_id=turn.state.step) from None


# --- forms ------------------------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True, kw_only=True)
class Words:
    """A text with what stands below it, or a file with the text as its caption."""

    text: LocalText | None
    media: File | None
    buttons: tuple[QuickReply, ...]
    list: LocalText | None
    links: tuple[Link, ...]
    markup: bool

    def compiled(self, maker: Maker) -> Says:
        """Nothing is said when all values of the text are missing and there is no file."""
        text = maker.text("send", self.text) if self.text else None
        opener = maker.text("list", self.list) if self.list else None
        source = self.media.source(maker, "media") if self.media else None
        kind = self.media.kind if self.media else MediaKind.image
        below = _below(self.buttons, self.links, maker)
        if self.media:
            maker.shows("media")

        def say(turn: Turn) -> Content | None:
            said = turn.text(text, markup=self.markup) if text else ""
            where = source(turn) if source else None
            if where is not None:
                return Media(kind, where, said, below(turn), self.markup)
            if not said.strip():
                return None
            return Text(said, below(turn), turn.text(opener) if opener else None, markup=self.markup)

        return say


def _below(
    replies: tuple[QuickReply, ...], links: tuple[Link, ...], maker: Maker
) -> Callable[[Turn], tuple[Button, ...]]:
    """The buttons below a message: replies first, then links."""
    if len({reply.id for reply in replies}) != len(replies):
        raise ValueError("two buttons have the same id")
    answers = [
        (
            reply.id,
            maker.label(reply.id, reply.text),
            maker.text(f"buttons.{reply.id}.description", reply.description) if reply.description else None,
        )
        for reply in replies
    ]
    pages = [
        (maker.label("", link.text), url_of(link.url, f"links.{number}.url", maker))
        for number, link in enumerate(links)
    ]

    def made(turn: Turn) -> tuple[Button, ...]:
        found = [
            Button(key, turn.text(label), description=turn.text(about) if about else None, lasting=True)
            for key, label, about in answers
        ]
        for number, (label, address) in enumerate(pages):
            if url := address(turn):
                found.append(Button(f"link{number}", turn.text(label), url))
        return tuple(found)

    return made if answers or pages else lambda turn: ()


class MediaForm(_Form):
    """`{media: {kind: image, url: …}}`: a file without words."""

    media: File

    def compiled(self, maker: Maker) -> Says:
        source = self.media.source(maker, "send.media")

        def say(turn: Turn) -> Content | None:
            where = source(turn)
            return None if where is None else Media(self.media.kind, where)

        return say


class AlbumForm(_Form):
    """`{album: [{kind: image, url: …, caption: …}, …]}`: 2 to 10 files shown together."""

    album: Annotated[tuple[AlbumFile, ...], Field(min_length=2, max_length=MAX_FILES)]

    def compiled(self, maker: Maker) -> Says:
        """Files whose address came out empty are left out."""
        maker.shows("media")
        parts: list[tuple[MediaKind, Callable[[Turn], MediaSource | None], Templates | None]] = []
        for number, file in enumerate(self.album):
            field = f"send.album.{number}"
            caption = maker.text(f"{field}.caption", file.caption) if file.caption else None
            parts.append((file.kind, file.source(maker, field), caption))

        def say(turn: Turn) -> Content | None:
            items = []
            for kind, source, caption in parts:
                where = source(turn)
                if where is not None:
                    items.append(Media(kind, where, turn.text(caption) if caption else ""))
            return Album(tuple(items)) if len(items) > 1 else items[0] if items else None

        return say


class Place(_Form):
    """Degrees (WGS 84), as numbers or placeholders."""

    latitude: float | Short
    longitude: float | Short
    name: Texts | None = None
    address: Texts | None = None


class LocationForm(_Form):
    """`{location: {latitude: 41.9, longitude: 12.5, name: Bottega Esempio}}`."""

    location: Place

    def compiled(self, maker: Maker) -> Says:
        place = self.location
        latitude = _degrees(place.latitude, "send.location.latitude", 90, maker)
        longitude = _degrees(place.longitude, "send.location.longitude", 180, maker)
        name = maker.text("send.location.name", place.name) if place.name else None
        address = maker.text("send.location.address", place.address) if place.address else None
        return lambda turn: LocationContent(
            latitude(turn),
            longitude(turn),
            turn.text(name) if name else "",
            turn.text(address) if address else "",
        )


def _degrees(value: float | str, field: str, most: int, maker: Maker) -> Callable[[Turn], float]:
    template = maker.value(field, local_text(value))
    if template.constant is not None:
        fixed = _degree(template.constant, most)
        if fixed is None:
            raise ValueError(f"{field.rpartition('.')[2]} must lie between -{most} and {most} degrees")
        return lambda turn: fixed

    def filled(turn: Turn) -> float:
        made = _degree(template.render(turn), most)
        if made is None:
            raise FlowError(f"{field} came out as no degree within ±{most}", step_id=turn.state.step)
        return made

    return filled


def _degree(text: str, most: int) -> float | None:
    try:
        number = float(text.strip().replace(",", "."))
    except ValueError:
        return None
    return number if abs(number) <= most else None  # false for nan, too


class Card(_Form):
    """Name and phone are what every platform shows."""

    name: Short
    phone: Short
    email: Short | None = None
    company: Short | None = None


class CardForm(_Form):
    """`{card: {name: Anna Esempio, phone: "+15550100"}}`: a contact to be saved with one tap."""

    card: Card

    def compiled(self, maker: Maker) -> Says:
        parts = {
            key: maker.value(f"send.card.{key}", local_text(value))
            for key, value in self.card.model_dump(exclude_none=True).items()
        }

        def say(turn: Turn) -> Content | None:
            made = {key: template.render(turn).strip() for key, template in parts.items()}
            if not made["name"] or not made["phone"]:
                raise FlowError("the contact card has no name or no phone", step_id=turn.state.step)
            return ContactCard(
                made["name"], made["phone"], made.get("email") or None, made.get("company") or None
            )

        return say


class PollText(_Form):
    """What a poll asks."""

    question: Texts
    options: Annotated[tuple[Texts, ...], Field(min_length=2, max_length=MAX_POLL_OPTIONS)]
    anonymous: bool = True
    several: bool = False


class PollForm(_Form):
    """`{poll: {question: …, options: [ … ]}}`: for opinions; votes lead nowhere (that is `choose`). Where there are no
    polls it becomes choices."""

    poll: PollText

    def compiled(self, maker: Maker) -> Says:
        poll = self.poll
        _bounded(poll.question, MAX_QUESTION, "question")
        for option in poll.options:
            _bounded(option, MAX_POLL_OPTION, "option")
        question = maker.text("send.poll.question", poll.question)
        options = [
            maker.text(f"send.poll.options.{number}", option) for number, option in enumerate(poll.options)
        ]

        def say(turn: Turn) -> Content | None:
            words = (
                turn.text(question)[:MAX_QUESTION],
                *(turn.text(one)[:MAX_POLL_OPTION] for one in options),
            )
            if not all(word.strip() for word in words):
                raise FlowError("the poll's question or an option came out empty", step_id=turn.state.step)
            return Poll(words[0], words[1:], poll.anonymous, poll.several)

        return say


def _bounded(text: LocalText, most: int, what: str) -> None:
    longest = max((len(source) for _, _, source in text.sources() if not changes(source)), default=0)
    if longest > most:
        raise ValueError(f"a poll's {what} has at most {most} characters, this one {longest}")


class TemplateButton(_Form):
    """The value of one of a template's buttons: what comes back from a tap, the end of an address, or a code."""

    quick_reply: Short | None = None
    url: Short | None = None
    copy_code: Short | None = None

    @model_validator(mode="after")
    def _one(self) -> TemplateButton:
        if len(self.model_fields_set) != 1:
            raise ValueError("is one of quick_reply, url, copy_code")
        return self


class TemplateText(_Form):
    """A template that the platform has approved, by its name, with its values.

    `category` is the platform's: a marketing template needs the step's `marketing: purpose`. `language` is the
    template's own code (`it`, `en_US`), the session's language when it is left out. `text` is how it reads: for our own
    log, and what is said on channels that have no templates.
    """

    name: Annotated[str, Field(pattern=r"^[a-z0-9_]{1,512}$")]
    category: Literal["marketing", "utility", "authentication"]
    language: Annotated[str, Field(pattern=r"^[a-z]{2,3}(_[A-Z]{2})?$")] | None = None
    header: Short | File | None = None
    body: (
        Annotated[tuple[Short, ...], Field(max_length=MAX_VALUES)]
        | Annotated[
            dict[Annotated[str, Field(pattern=r"^[a-z][a-z0-9_]{0,63}$")], Short],
            Field(max_length=MAX_VALUES),
        ]
    ) = ()
    buttons: Annotated[
        dict[Annotated[str, Field(pattern=r"^[0-9]$")], TemplateButton], Field(max_length=10)
    ] = {}
    text: Texts | None = None


class TemplateForm(_Form):
    """`{template: {name: order_ready, category: utility, body: ["{{ contact.first_name }}"], text: …}}`."""

    template: TemplateText

    def compiled(self, maker: Maker) -> Says:
        form = self.template
        maker.shows("template" if form.text is None else "template with text")
        text = maker.text("send.template.text", form.text) if form.text else None
        filled = _Values(maker)
        header = _header(form.header, filled) if form.header else None
        named = form.body.items() if isinstance(form.body, dict) else ((None, each) for each in form.body)
        body = [
            (name, filled(source, f"send.template.body.{name or number}"))
            for number, (name, source) in enumerate(named)
        ]
        buttons: list[tuple[str, str, Callable[[Turn], str]]] = []
        for index, button in form.buttons.items():
            ((kind, source),) = button.model_dump(exclude_unset=True).items()
            buttons.append((index, kind, filled(source, f"send.template.buttons.{index}.{kind}")))

        names = tuple(form.body) if isinstance(form.body, dict) else ("",) * len(form.body)
        maker.template(
            TemplateUse(
                form.name,
                form.category,
                form.language or "",
                bool(form.header),
                names,
                tuple(form.buttons),
                tuple(filled.sources),
                tuple(filled.open),
            )
        )
        if form.category == "marketing":
            maker.costs("marketing")

        def say(turn: Turn) -> Content | None:
            preview = turn.text(text) if text else ""
            if turn.channel.kind not in TEMPLATES_ON:
                return Text(preview) if preview.strip() else None
            return Template(
                form.name,
                form.language or turn.language,
                form.category,
                (header(turn),) if header else (),
                tuple(TemplateParameter(text=value(turn), name=name) for name, value in body),
                {index: TemplateParameter(text=value(turn), name=kind) for index, kind, value in buttons},
                preview,
            )

        return say


def _header(header: str | File, values: _Values) -> Callable[[Turn], TemplateParameter]:
    if isinstance(header, str):
        value = values(header, "send.template.header")
        return lambda turn: TemplateParameter(text=value(turn))
    source, kind = header.source(values.maker, "send.template.header"), header.kind

    def file(turn: Turn) -> TemplateParameter:
        where = source(turn)
        if where is None:
            raise FlowError("the template's header came out empty", step_id=turn.state.step)
        return TemplateParameter(media=kind, source=where)

    return file


class _Values:
    """The values of a template: one line each, never empty, or the platform refuses the whole message."""

    def __init__(self, maker: Maker) -> None:
        self.maker = maker
        self.sources: list[tuple[str, str]] = []
        self.open: list[tuple[str, frozenset[str]]] = []

    def __call__(self, source: str, field: str) -> Callable[[Turn], str]:
        """The function that gives one value."""
        template = self.maker.value(field, local_text(source))
        self.sources.append((field, source))
        if template.reads and not written(source).strip():
            self.open.append((field, template.reads))

        def filled(turn: Turn) -> str:
            made = " ".join(template.render(turn).split())
            if not made:
                raise FlowError(f"{field} came out empty", step_id=turn.state.step)
            return made

        return filled


Form = MediaForm | AlbumForm | LocationForm | CardForm | PollForm | TemplateForm
FORMS: dict[str, type[Any]] = {
    "media": MediaForm,
    "album": AlbumForm,
    "location": LocationForm,
    "card": CardForm,
    "poll": PollForm,
    "template": TemplateForm,
}
