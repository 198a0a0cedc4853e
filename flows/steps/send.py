"""`send`: says something, with links or a file where wanted, and goes on.

```yaml
welcome:
  send: {it: "Ciao {{ contact.first_name | default('a te') }}!", en: Hi!}
  links: [{text: {it: Il sito, en: Our site}, url: https://example.com}]
  next: email
```
"""

from dataclasses import dataclass
from typing import TYPE_CHECKING, Annotated
from urllib.parse import urlsplit

from pydantic import AfterValidator, BaseModel, ConfigDict, Field

from domain.messages import Button, Media, MediaKind, MediaSource, Text
from flows.options import Templates
from flows.steps import StepDocument, StepRun, step
from flows.texts import Texts

if TYPE_CHECKING:
    from flows.compiler import Maker
    from flows.turns import Turn


def _web_address(url: str) -> str:
    parts = urlsplit(url)
    if (
        parts.scheme not in ("http", "https")
        or not parts.hostname
        or len(url) > 2_000
        or not url.isprintable()
    ):
        raise ValueError("must be a web address beginning with https:// or http://")
    return url


WebAddress = Annotated[str, AfterValidator(_web_address)]


class Link(BaseModel):
    """A button that opens a page."""

    model_config = ConfigDict(frozen=True, extra="forbid", hide_input_in_errors=True)
    text: Texts
    url: WebAddress


class File(BaseModel):
    """A file: `{kind: image, url: https://example.com/menu.png}`; the platform fetches it."""

    model_config = ConfigDict(frozen=True, extra="forbid", hide_input_in_errors=True)
    kind: MediaKind
    url: WebAddress
    filename: str | None = Field(default=None, max_length=200)


@step("send")
class Send(StepDocument):
    """A message. With `media` the text is its caption. `markup`: *bold*, _italic_, ~struck~ and `code` count."""

    send: Texts
    media: File | None = None
    links: Annotated[tuple[Link, ...], Field(max_length=10)] = ()
    markup: bool = False
    marketing: Annotated[str, Field(max_length=64)] | None = None  # the purpose that it needs consent for

    def prepare(self, maker: "Maker") -> "SendRun":
        maker.exit("next", self.next)
        source = MediaSource(url=self.media.url, filename=self.media.filename) if self.media else None
        return SendRun(
            text=maker.text("send", self.send),
            media=(self.media.kind, source) if self.media and source else None,
            links=tuple((maker.label("", link.text), link.url) for link in self.links),
            markup=self.markup,
            marketing=self.marketing,
            next=self.next,
        )


@dataclass(frozen=True, slots=True)
class SendRun(StepRun):
    text: Templates
    media: tuple[MediaKind, MediaSource] | None
    links: tuple[tuple[Templates, str], ...]
    markup: bool
    marketing: str | None
    next: str | None

    def enter(self, turn: "Turn") -> None:
        text = turn.text(self.text, markup=self.markup)
        buttons = tuple(
            Button(f"link{number}", turn.text(label), url) for number, (label, url) in enumerate(self.links)
        )
        if self.media is not None:
            kind, source = self.media
            turn.send(Media(kind, source, text, buttons, self.markup), purpose=self.marketing)
        elif text.strip():  # a text whose values are all missing says nothing
            turn.send(Text(text, buttons, markup=self.markup), purpose=self.marketing)
        turn.go(self.next)
