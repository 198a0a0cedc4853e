"""Words of a text: a phrase, any of some, all of some."""

from __future__ import annotations

from functools import lru_cache

from flows.excellent.environment import Environment
from flows.excellent.tokens import words
from flows.matchers import Match, register

WORDS = 100  # price


@register("has_phrase", "text, text", it="contiene la frase", en="has the phrase", price=WORDS)
def has_phrase(environment: Environment, text: str, phrase: str) -> Match | None:
    """The words one after the other, with none between. An empty phrase is in every text."""
    said, folded, wanted = _split(text, phrase)
    first = wanted[0] if wanted else None
    for at in range(len(said) - len(wanted) + 1):
        if (first is None or folded[at] == first) and folded[at : at + len(wanted)] == wanted:
            return Match(" ".join(said[at : at + len(wanted)]))
    return None


@register("has_only_phrase", "text, text", it="è la frase", en="has only the phrase", price=WORDS)
def has_only_phrase(environment: Environment, text: str, phrase: str) -> Match | None:
    """These words and no others."""
    said, folded, wanted = _split(text, phrase)
    return Match(" ".join(said)) if folded == wanted else None


@register(
    "has_any_word", "text, text", it="contiene una delle parole", en="has any of the words", price=WORDS
)
def has_any_word(environment: Environment, text: str, wanted: str) -> Match | None:
    """What fits are all words of the text that are wanted, in the text's order."""
    said, folded, listed = _split(text, wanted)
    among = set(listed)
    found = [word for word, plain in zip(said, folded, strict=True) if plain in among]
    return Match(" ".join(found)) if found else None


@register(
    "has_all_words", "text, text", it="contiene tutte le parole", en="has all of the words", price=WORDS
)
def has_all_words(environment: Environment, text: str, wanted: str) -> Match | None:
    """In any order. What fits are the wanted words, in the text's order."""
    said, folded, listed = _split(text, wanted)
    among = set(listed)
    if not among or not among <= set(folded):
        return None
    return Match(" ".join(word for word, plain in zip(said, folded, strict=True) if plain in among))


def _split(text: str, wanted: str) -> tuple[list[str], list[str], list[str]]:
    """The words said, the same without case, and the words wanted without case."""
    said, folded = _told(text)
    return list(said), list(folded), list(_told(wanted)[1])


@lru_cache(maxsize=32)
def _told(text: str) -> tuple[tuple[str, ...], tuple[str, ...]]:
    """The words of a text and the same without case: a step's rules ask for those of one message many times."""
    said = tuple(words(text))
    return said, tuple(word.lower() for word in said)
