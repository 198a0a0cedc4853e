"""`location`: a place, shared with the platform's own means."""

from __future__ import annotations

from domain.messages import Received, ReceivedLocation
from domain.operators import in_words
from flows.answers import Invalid, Reading, Valid, answer


@answer
class Location:
    """Gives `{"lat": 41.9, "lon": 12.5, "name": …, "address": …}` (degrees; empty texts are left out)."""

    key = "location"
    label = in_words("posizione", "location")
    asks_for = "location"

    def read(self, received: Received, reading: Reading) -> Valid | Invalid:
        if not isinstance(received, ReceivedLocation):
            return Invalid("location")
        if not (-90 <= received.latitude <= 90 and -180 <= received.longitude <= 180):
            return Invalid("location")
        value = {"lat": received.latitude, "lon": received.longitude}
        extra = {"name": received.name, "address": received.address}
        shown = f"{received.latitude:.5f}, {received.longitude:.5f}"
        return Valid(value | {key: text for key, text in extra.items() if text}, received.name or shown)
