"""`keyword`: words that the person writes, or that stand on a button.

```yaml
- {keyword: [ciao, info], interrupts: true}
- {keyword: {it: [prezzi, listino], en: [prices]}, match: fuzzy}
- {keyword: ordine, match: prefix}
- {keyword: "ordine +(?P<order>[0-9]{4,8})", match: regex}
```

`match`: `exact` (the whole message; case, spaces and closing punctuation do not count), `prefix` (it begins with the
words), `contains` (the words stand in it), `fuzzy` (the whole message, with the slips of a hurried hand: one in words
of 4 to 7 letters, two in longer ones), `regex` (RE2, found anywhere). What stands behind a prefix or around contained
words is `session.rest`; the named groups of a pattern become variables. Words by language count for everybody, and
somebody whose language is not known yet is spoken to in theirs.
"""

from __future__ import annotations

from functools import cached_property
from typing import Annotated, Any, ClassVar, Literal

from pydantic import BeforeValidator, Field, field_validator, model_validator

from domain.comparisons import fold
from domain.errors import RejectedInput
from flows.options import plain
from flows.similarity import edits
from flows.triggers import MAX_KEYWORDS, WORDS, Fit, Occasion, Trigger, trigger

MAX_TEXT = 1_000  # characters of a message that are looked at; longer is a letter, not a wish
MAX_PATTERN = 200  # characters of a regular expression
MAX_REGEX = 5  # patterns of a trigger: every message is held against them
FEW, MANY = 4, 8  # letters from which one slip, and two, are forgiven
START = "/start"  # what Telegram sends when somebody opens the bot
_PRECISION = {"exact": 5, "prefix": 4, "contains": 3, "regex": 2, "fuzzy": 1}

Keyword = Annotated[str, Field(min_length=1, max_length=MAX_PATTERN)]
Words = Annotated[tuple[Keyword, ...], Field(max_length=MAX_KEYWORDS)]


def _by_language(value: Any) -> Any:
    if not isinstance(value, dict):
        return {"": [value] if isinstance(value, str) else value}
    return {language: [words] if isinstance(words, str) else words for language, words in value.items()}


@trigger("keyword")
class KeywordTrigger(Trigger):
    """`keyword` maps a language ("": none said) to words."""

    rank: ClassVar[int] = WORDS
    in_groups: ClassVar[bool] = True

    keyword: Annotated[dict[str, Words], BeforeValidator(_by_language), Field(min_length=1)]
    match: Literal["exact", "prefix", "contains", "fuzzy", "regex"] = "exact"

    @field_validator("keyword")
    @classmethod
    def _languages(cls, keyword: dict[str, tuple[str, ...]]) -> dict[str, tuple[str, ...]]:
        for language in keyword:
            if language and not (len(language) in (2, 3) and language.isascii() and language.islower()):
                raise ValueError(f"{language!r} is not a language code such as it or en")
        if not any(keyword.values()):
            raise ValueError("names no word")
        return keyword

    @model_validator(mode="after")
    def _patterns(self) -> KeywordTrigger:
        if self.match == "regex":
            if len(self.words) > MAX_REGEX:
                raise ValueError(f"at most {MAX_REGEX} patterns in a trigger")
            from domain.operators import operator  # RE2 is loaded by flows that need it

            for word in self.words:
                try:
                    operator("matches_pattern").check(word, where="keyword")
                except RejectedInput as error:
                    raise ValueError(error.what) from None
        elif not all(plain(word) for word in self.words):
            raise ValueError("a keyword needs a letter or a figure")
        return self

    @property
    def words(self) -> tuple[str, ...]:
        """All words, as they were written."""
        return tuple(word for words in self.keyword.values() for word in words)

    @property
    def precision(self) -> int:
        return _PRECISION[self.match]

    @cached_property
    def folded(self) -> dict[str, str]:
        """The words as they are compared, each with its language; of a pattern, as it was written."""
        made: dict[str, str] = {}
        for language, words in self.keyword.items():
            for word in words:
                made.setdefault(word if self.match == "regex" else plain(word), language)
        return made

    @property
    def claims(self) -> frozenset[str]:
        return frozenset(self.folded) if self.match in ("exact", "prefix", "fuzzy") else frozenset()

    @property
    def gives(self) -> frozenset[str] | None:
        if self.match == "regex":
            return None  # the named groups of the pattern that fits
        return frozenset({"rest"}) if self.match in ("prefix", "contains") else frozenset()

    def fits(self, occasion: Occasion) -> Fit | None:
        if not occasion.words:
            return None
        match self.match:
            case "exact":
                language = self.folded.get(occasion.words)
                return None if language is None else Fit(occasion.words, {}, language)
            case "fuzzy":
                return self._nearly(occasion.words)
            case "regex":
                return self._found(occasion.text[:MAX_TEXT])
            case _:
                return self._within(occasion.text[:MAX_TEXT])

    def _nearly(self, words: str) -> Fit | None:
        for keyword, language in self.folded.items():
            if alike(keyword, words):
                return Fit(keyword, {}, language)
        return None

    def _within(self, written: str) -> Fit | None:
        text = " ".join(fold(written).split())
        for keyword, language in self.folded.items():
            at = _stands(keyword, text, only_first=self.match == "prefix")
            if at is not None:
                rest = " ".join(f"{text[:at]} {text[at + len(keyword) :]}".split()).strip(" .,;:!?¡¿")
                return Fit(keyword, {"rest": rest}, language)
        return None

    def _found(self, text: str) -> Fit | None:
        from domain.operators.matches_pattern import compiled

        for pattern, language in self.folded.items():
            found = compiled(pattern).search(text)
            if found is not None:
                groups = {key: value for key, value in found.groupdict().items() if value is not None}
                return Fit(found.group(0)[:100], groups, language)
        return None


def _stands(keyword: str, text: str, *, only_first: bool) -> int | None:
    """Where the words stand in the text with nothing but signs around them; None: nowhere."""
    at = text.find(keyword)
    while at >= 0:
        end = at + len(keyword)
        before, after = text[at - 1 : at], text[end : end + 1]
        if only_first and text[:at].strip(" .,;:!?¡¿\"'“”«»("):
            return None
        if not before.isalnum() and not after.isalnum():
            return at
        at = text.find(keyword, at + 1)
    return None


def alike(keyword: str, words: str) -> bool:
    """Whether the words are the keyword with the slips that its length forgives: a letter too many, one missing, a
    wrong one, or two neighbours changed over count one each. At most 200 × 5 comparisons."""
    if keyword == words:
        return True
    slips = 0 if len(keyword) < FEW else 1 if len(keyword) < MANY else 2
    if not slips or abs(len(keyword) - len(words)) > slips:
        return False
    return edits(keyword, words, slips) <= slips
