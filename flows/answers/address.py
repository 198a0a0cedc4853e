"""`address`: a postal address, taken apart as far as it can be read. Nothing is looked up.

`Via Roma 10, 20121 Milano (MI)` → `{"line": "Via Roma 10", "postal_code": "20121", "city": "Milano", "province":
"MI", "country": "IT"}`; `10 High Street, London SW1A 1AA, UK` → `{"line": "10 High Street", "postal_code": "SW1A
1AA", "city": "London", "country": "GB"}`. `line` is always there, the rest where it was said; `country` is then
the one that the question or the business is in. A shared place with an address also counts, with its `lat` and
`lon`. In a text the whole reads as it would on an envelope, `{{ session.address.city }}` is a part of it.
"""

from __future__ import annotations

import re
from typing import Any

from domain.comparisons import fold
from domain.messages import Received, ReceivedLocation
from domain.operators import in_words
from flows.answers import AnswerType, Invalid, Reading, Valid, answer, words_of
from flows.answers.postal_code import normal, pattern

MAX_ADDRESS = 250  # characters: four lines of an envelope

_BEFORE = frozenset(  # words that a street's name begins with
    "via viale vicolo piazza piazzale piazzetta corso largo strada stradone contrada localita località loc borgo "
    "salita discesa lungomare lungotevere lungarno campo fondamenta rione frazione traversa vico v v.le "
    "p.zza p.za c.so rue chemin allee calle avenida rua".split()
)
_BEHIND = frozenset(  # words that follow it
    "street st road rd avenue ave av lane ln drive dr boulevard blvd square sq court ct place pl way terrace row close "
    "crescent gardens straße strasse weg platz".split()
)
_COUNTRIES = {
    name: code
    for code, names in {
        "IT": "italia|italy|it", "SM": "san marino", "VA": "vaticano|vatican", "CH": "svizzera|switzerland|ch",
        "FR": "francia|france|fr", "DE": "germania|germany|de", "AT": "austria|at", "ES": "spagna|spain|es",
        "GB": "regno unito|inghilterra|united kingdom|uk|u.k|england|scotland|wales|great britain|gb",
        "IE": "irlanda|ireland|ie", "US": "stati uniti|usa|u.s.a|united states|us|america", "NL": "olanda|paesi bassi|"
        "netherlands|holland|nl", "BE": "belgio|belgium|be", "PT": "portogallo|portugal|pt", "SI": "slovenia|si",
        "HR": "croazia|croatia|hr", "PL": "polonia|poland|pl", "CA": "canada", "LU": "lussemburgo|luxembourg",
    }.items()
    for name in names.split("|")
}  # fmt: skip
_PROVINCE = re.compile(r"[ ,]*(?:\(([A-Za-z]{2})\)|(?<=[a-zà-ú0-9] )([A-Z]{2}))\Z")
_STATE = re.compile(r"[A-Z]{2}\Z", re.ASCII)
_PIECES = re.compile(r"[,;\n]+")
_UNFIT = re.compile(r"[@<>{}\\^|?]|https?:")
_OPENING = re.compile(
    r"(?:il mio indirizzo è|l'indirizzo è|abito in|abito a|sto in|siamo in|in|my address is|i live at|at)[: ]+",
    re.IGNORECASE,
)


@answer
class Address(AnswerType):
    """Gives `{"line": …}` with `postal_code`, `city`, `province`, `country` as far as they were read."""

    key = "address"
    label = in_words("indirizzo", "address")
    reasons = ("address",)
    takes = frozenset(("country",))

    def read(self, received: Received, reading: Reading) -> Valid | Invalid:
        if isinstance(received, ReceivedLocation):
            return _shared(received, reading)
        text = words_of(received)
        if not text or len(text) > MAX_ADDRESS or _UNFIT.search(text):
            return Invalid("address")
        value = _read(text, reading.region)
        return Invalid("address") if value is None else Valid(value, text)


def _shared(place: ReceivedLocation, reading: Reading) -> Valid | Invalid:
    near = -90 <= place.latitude <= 90 and -180 <= place.longitude <= 180
    if not near or not place.address or len(place.address) > MAX_ADDRESS:
        return Invalid("address")
    value = _read(place.address, reading.region) or {"line": place.address.strip()}
    return Valid({**value, "lat": place.latitude, "lon": place.longitude}, place.address)


def _read(text: str, region: str) -> dict[str, Any] | None:
    text = _OPENING.sub("", text, count=1) if _OPENING.match(text) else text
    pieces = [
        piece for piece in (" ".join(piece.split()).strip(" .") for piece in _PIECES.split(text)) if piece
    ]
    country = region
    if len(pieces) > 1 and fold(pieces[-1]) in _COUNTRIES:
        country = _COUNTRIES[fold(pieces.pop())]
    value: dict[str, str] = {}
    if pieces and country == "IT" and (found := _PROVINCE.search(pieces[-1])) and found.start():
        value["province"] = (found[1] or found[2]).upper()
        pieces[-1] = pieces[-1][: found.start()].rstrip(" ,")
    pieces = _without_code(pieces, country, value)
    if not pieces:
        return None
    line, city = _line_and_city(pieces)
    if country == "US" and _STATE.match(city) and ", " in line:
        value["province"] = city
        line, _, city = line.rpartition(", ")
    if not _is_line(line, placed=bool(city), coded="postal_code" in value):
        return None
    value |= {"line": line, "city": city, "country": country}
    return {
        key: value[key] for key in ("line", "postal_code", "city", "province", "country") if value.get(key)
    }


def _without_code(pieces: list[str], country: str, value: dict[str, str]) -> list[str]:
    """The pieces without the postal code; what stood before and behind it in the same piece becomes two."""
    form = pattern(country)
    if form is None:
        return pieces
    search = re.compile(rf"(?<![A-Za-z0-9]){form}(?![A-Za-z0-9])", re.IGNORECASE | re.ASCII)
    for place in range(len(pieces) - 1, -1, -1):
        for found in search.finditer(pieces[place]):
            if place == 0 and found.start() == 0:
                continue  # the number of the house, where that comes first
            code = normal(found[0].upper(), country)
            if code is not None:
                value["postal_code"] = code
                around = (pieces[place][: found.start()], pieces[place][found.end() :])
                parts = [part for part in (text.strip(" -") for text in around) if part]
                return [*pieces[:place], *parts, *pieces[place + 1 :]]
    return pieces


def _line_and_city(pieces: list[str]) -> tuple[str, str]:
    """The last piece is the city when there are several. A line may itself have a comma: `Via Roma, 10, Milano`."""
    *line, last = pieces
    if not line or any(sign.isdigit() for sign in last):
        return ", ".join(pieces), ""
    return ", ".join(line), last


def _is_line(line: str, *, placed: bool, coded: bool) -> bool:
    """Whether it is where somebody lives: a street with its number or its city, or anything with number and code."""
    numbered = any(sign.isdigit() for sign in line) or fold(line).endswith(" snc")
    if not any(sign.isalpha() for sign in line):
        return False
    return (numbered and coded) or (_is_street(line) and (numbered or placed))


def _is_street(line: str) -> bool:
    words = fold(line).split()
    first = words[0] in _BEFORE or words[0].strip(".") in _BEFORE
    return len(words) > 1 and (first or any(word.strip(".,") in _BEHIND for word in words[1:]))
