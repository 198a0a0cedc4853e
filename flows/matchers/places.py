"""States, districts and wards by their names.

They match only names that the environment knows (`Environment.places`, paths such as `Italia > Lazio > Roma`). There
is no world-wide list in here: without one nothing matches, and an import says so.
"""

from __future__ import annotations

from flows.excellent.environment import Environment
from flows.excellent.tokens import words
from flows.matchers import Match, register

PLACES = 300  # price
STATE, DISTRICT, WARD = 2, 3, 4  # parts of the path


@register("has_state", "text", it="contiene una regione", en="has a state", price=PLACES)
def has_state(environment: Environment, text: str) -> Match | None:
    """`I live in Lazio` → `Italia > Lazio`."""
    return _found(environment, text, STATE)


@register("has_district", "text, [text]", it="contiene una provincia", en="has a district", price=PLACES)
def has_district(environment: Environment, text: str, state: str | None = None) -> Match | None:
    """A district, of that state where one is named."""
    return _found(environment, text, DISTRICT, state)


@register("has_ward", "text, [text], [text]", it="contiene un comune", en="has a ward", price=PLACES)
def has_ward(
    environment: Environment, text: str, district: str | None = None, state: str | None = None
) -> Match | None:
    """A ward, of that district and state where they are named."""
    return _found(environment, text, WARD, state, district)


def _found(environment: Environment, text: str, level: int, *above: str | None) -> Match | None:
    said = [word.lower() for word in words(text)]
    for path in environment.places:
        parts = [part.strip() for part in path.split(">")]
        if len(parts) != level or not _within(parts, above):
            continue
        name = [word.lower() for word in words(parts[-1])]
        if name and any(said[at : at + len(name)] == name for at in range(len(said) - len(name) + 1)):
            return Match(path)
    return None


def _within(parts: list[str], above: tuple[str | None, ...]) -> bool:
    """Whether the parts above are those that were named, by name or path."""
    return all(
        not wanted or wanted.rpartition(">")[2].strip().lower() == parts[at].lower()
        for at, wanted in enumerate(above, 1)
    )
