"""`location`: a place, shared with the platform's own means, or written as coordinates.

A shared place → `{"lat": 41.9, "lon": 12.5, "name": "Bar", "address": "Via Roma 1"}` (degrees; empty texts are
left out); `41.9028, 12.4964` → `{"lat": 41.9028, "lon": 12.4964}`. Addresses in words are what `address` asks
for.
"""

from __future__ import annotations

import re

from domain.messages import Received, ReceivedLocation
from domain.operators import in_words
from flows.answers import AnswerType, Invalid, Reading, Valid, answer, words_of

MAX_INPUT = 60  # characters of coordinates

_COORDINATES = re.compile(
    r"\(?(-?[0-9]{1,2}\.[0-9]{2,15}) ?[,; ] ?(-?[0-9]{1,3}\.[0-9]{2,15})\)?\Z", re.ASCII
)


@answer
class Location(AnswerType):
    """Gives `{"lat", "lon"}` with `name` and `address` where the platform has them."""

    key = "location"
    label = in_words("posizione", "location")
    reasons = ("location",)
    asks_for = "location"

    def read(self, received: Received, reading: Reading) -> Valid | Invalid:
        if not isinstance(received, ReceivedLocation):
            text = words_of(received)
            found = _COORDINATES.match(text) if text and len(text) <= MAX_INPUT else None
            if found is None:
                return Invalid("location")
            received = ReceivedLocation(float(found[1]), float(found[2]))
        if not (-90 <= received.latitude <= 90 and -180 <= received.longitude <= 180):
            return Invalid("location")
        value = {"lat": received.latitude, "lon": received.longitude}
        extra = {"name": received.name, "address": received.address}
        shown = f"{received.latitude:.5f}, {received.longitude:.5f}"
        return Valid(value | {key: text for key, text in extra.items() if text}, received.name or shown)
