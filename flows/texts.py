"""Texts of a flow, in one or several languages, each in one or several wordings."""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Annotated, Any

from pydantic import GetJsonSchemaHandler, PlainSerializer, PlainValidator
from pydantic.json_schema import JsonSchemaValue
from pydantic_core import CoreSchema

MAX_TEXT = 4_096  # characters of one text: a message of Telegram, the longest there is
MAX_WORDINGS = 10
MAX_LANGUAGES = 20  # as many as a flow may be written in
ANY = ""  # the language of a text that is the same in all


@dataclass(frozen=True, slots=True)
class LocalText:
    """`wordings` maps a language ("" = any) to one or more wordings, of which each turn picks one by its seed."""

    wordings: dict[str, tuple[str, ...]]

    def languages(self) -> set[str]:
        """The languages it is written in; empty when one text serves all."""
        return set(self.wordings) - {ANY}

    def sources(self) -> Iterator[tuple[str, int, str]]:
        """Each `(language, wording number, text)`."""
        for language, texts in self.wordings.items():
            for number, text in enumerate(texts):
                yield language, number, text


def local_text(data: Any) -> LocalText:
    """A LocalText from `Ciao`, `[Ciao, Salve]` or `{it: Ciao, en: [Hi, Hello]}`. Raises ValueError."""
    if isinstance(data, LocalText):
        return data
    if not isinstance(data, dict):
        return LocalText({ANY: _wordings(data)})
    if not 1 <= len(data) <= MAX_LANGUAGES:
        raise ValueError(f"a text needs at least one language, and has at most {MAX_LANGUAGES}")
    for language, value in data.items():
        if value is None:
            raise ValueError(f"{language!r} has no text; inside {{ }} a text with a comma stands in quotes")
        if not (2 <= len(language) <= 3 and language.isascii() and language.isalpha() and language.islower()):
            raise ValueError(f"{language!r} is not a language code such as it or en")
    return LocalText({language: _wordings(value) for language, value in data.items()})


def _wordings(data: Any) -> tuple[str, ...]:
    texts = data if isinstance(data, list) else [data]
    if not 1 <= len(texts) <= MAX_WORDINGS:
        raise ValueError(f"1 to {MAX_WORDINGS} wordings")
    return tuple(_wording(text) for text in texts)


def _wording(text: Any) -> str:
    if isinstance(text, (int, float)) and not isinstance(text, bool):
        text = str(text)
    if not isinstance(text, str) or not text.strip():
        raise ValueError("must be a text that is not empty")
    if len(text) > MAX_TEXT:
        raise ValueError(f"a text has at most {MAX_TEXT} characters")
    return text


def plain_text(text: LocalText) -> Any:
    """The shortest form that reads back as the same text."""
    short: dict[str, Any] = {
        language: texts[0] if len(texts) == 1 else list(texts) for language, texts in text.wordings.items()
    }
    return short[ANY] if set(short) == {ANY} else short


class _Schema:
    """What an editor's form needs to know of a text."""

    @staticmethod
    def __get_pydantic_json_schema__(_: CoreSchema, __: GetJsonSchemaHandler) -> JsonSchemaValue:
        one = {"anyOf": [{"type": "string"}, {"type": "array", "items": {"type": "string"}}]}
        return {"title": "Text", "anyOf": [one, {"type": "object", "additionalProperties": one}]}


Texts = Annotated[LocalText, PlainValidator(local_text), PlainSerializer(plain_text), _Schema]
