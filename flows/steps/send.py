"""`send`: says something, with buttons, links or a file where wanted, or sends something else, and goes on.

```yaml
welcome:
  send: {it: "Ciao {{ contact.first_name | default('a te') }}!", en: Hi!}
  buttons: [{id: menu, text: {it: Menù, en: Menu}}, {id: person, text: {it: Una persona, en: A person}}]
  links: [{text: {it: Il sito, en: Our site}, url: https://example.com}]
  next: card
card:
  send: {it: Il menù di oggi, en: Menu of the day}
  media: {kind: image, url: https://example.com/menu.png}
  next: photos
photos:
  send:
    album:
      - {kind: image, url: https://example.com/1.jpg, caption: {it: La sala, en: The room}}
      - {kind: image, url: https://example.com/2.jpg}
  next: where
where: {send: {location: {latitude: 41.9, longitude: 12.5, name: Bottega Esempio}}, next: who}
who: {send: {card: {name: Anna Esempio, phone: "+15550100"}}, next: opinion}
opinion: {send: {poll: {question: {it: Ti piace?, en: Do you like it?}, options: [{it: Sì, en: Yes}, No]}}, next: ready}
ready:
  send:
    template:
      name: order_ready
      category: utility
      body: ["{{ contact.first_name | default('cliente') }}"]
      text: {it: Il tuo ordine è pronto., en: Your order is ready.}
  next: end
```

Buttons are quick replies: a tap on one of them, also much later, is understood by the step that then waits, by its id
or its words, else by the triggers.
"""

from dataclasses import dataclass
from typing import TYPE_CHECKING, Annotated, Any

from pydantic import Field, PlainSerializer, PlainValidator, model_validator

from flows.contents import (
    FORMS,
    MAX_BUTTONS,
    MAX_LINKS,
    File,
    Form,
    Link,
    QuickReply,
    Says,
    TemplateForm,
    WebAddress,
    Words,
)
from flows.steps import StepDocument, StepRun, step
from flows.texts import LocalText, Texts, local_text, plain_text

if TYPE_CHECKING:
    from flows.compiler import Maker
    from flows.turns import Turn

__all__ = ["Send", "SendRun", "WebAddress"]


def _said(data: Any) -> LocalText | Form:
    """A text, or a mapping with the one key of a form."""
    if isinstance(data, LocalText | Form):
        return data
    named = [key for key in data if key in FORMS] if isinstance(data, dict) else []
    if not named:
        return local_text(data)
    if len(data) != 1:
        raise ValueError(f"send is a text or one of {', '.join(FORMS)}, not several at once")
    form: Form = FORMS[named[0]].model_validate(data)
    return form


def _plain(said: LocalText | Form) -> Any:
    return (
        plain_text(said)
        if isinstance(said, LocalText)
        else said.model_dump(mode="json", exclude_defaults=True)
    )


Said = Annotated[
    LocalText | Form, PlainValidator(_said, json_schema_input_type=Texts | Form), PlainSerializer(_plain)
]


@step("send")
class Send(StepDocument):
    """A text; with `media` it is the file's caption. `list` labels the opener where buttons become a list. `markup`:
    *bold*, _italic_, ~struck~ and `code` count. `marketing`: the purpose that the message needs consent for.

    In place of a text one of `media` (a file without words), `album`, `location`, `card`, `poll`, `template`."""

    send: Said
    media: File | None = None
    buttons: Annotated[tuple[QuickReply, ...], Field(max_length=MAX_BUTTONS)] = ()
    list: Texts | None = None
    links: Annotated[tuple[Link, ...], Field(max_length=MAX_LINKS)] = ()
    markup: bool = False
    marketing: Annotated[str, Field(max_length=64)] | None = None

    @model_validator(mode="after")
    def _fitting(self) -> "Send":
        if not isinstance(self.send, LocalText) and (
            self.media or self.buttons or self.list or self.links or self.markup
        ):
            raise ValueError("media, buttons, list, links and markup belong to a text")
        if self.list is not None and (not self.buttons or self.media):
            raise ValueError("list is the label of the opener for buttons below a text")
        if isinstance(self.send, TemplateForm) and (
            (self.send.template.category == "marketing") != (self.marketing is not None)
        ):
            raise ValueError(
                "a marketing template, and only that, needs marketing: the purpose of the consent"
            )
        return self

    def prepare(self, maker: "Maker") -> "SendRun":
        maker.exit("next", self.next)
        if isinstance(self.send, LocalText):
            words = Words(
                text=self.send,
                media=self.media,
                buttons=self.buttons,
                list=self.list,
                links=self.links,
                markup=self.markup,
            )
            return SendRun(words.compiled(maker), self.marketing, self.next)
        return SendRun(self.send.compiled(maker), self.marketing, self.next)


@dataclass(frozen=True, slots=True)
class SendRun(StepRun):
    say: Says
    marketing: str | None
    next: str | None

    def enter(self, turn: "Turn") -> None:
        content = self.say(turn)
        if content is not None:
            turn.send(content, purpose=self.marketing)
        turn.go(self.next)
