"""What the engine may know of the business: its names and the wording of what it asks consent for.

The business file holds it; whoever calls the engine passes it in, so that a turn can be replayed with the wording
that was in force.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import date, datetime
from zoneinfo import ZoneInfo

from msgspec import Struct, field


class Purpose(Struct, frozen=True):
    """What consent is asked for. `wording` maps a language to the exact sentence; `version` goes to the ledger."""

    version: str
    wording: dict[str, str]


class Place(Struct, frozen=True, omit_defaults=True):
    """A place of the business. Degrees, WGS 84; `hours` maps a language to the sentence with its opening hours."""

    name: str
    latitude: float
    longitude: float
    address: str = ""
    phone: str = ""
    url: str = ""
    hours: dict[str, str] = field(default_factory=dict)


class BusinessView(Struct, frozen=True, omit_defaults=True):
    """The business as flows see it. `region` (ISO 3166) completes phone numbers written without a country code."""

    name: str = ""
    region: str = "IT"
    timezone: str = "Europe/Rome"
    purposes: dict[str, Purpose] = field(default_factory=dict)
    language: str = ""  # of the team: what flows tell people of the business; "" not known
    places: tuple[Place, ...] = ()
    opening_hours: dict[str, list[str]] = field(
        default_factory=dict
    )  # {"mon": ["09:00-13:00", …], …}, its own time


DAYS = ("mon", "tue", "wed", "thu", "fri", "sat", "sun")
DAY_NAMES = {
    "it": ("lun", "mar", "mer", "gio", "ven", "sab", "dom"),
    "en": ("Mon", "Tue", "Wed", "Thu", "Fri", "Sat", "Sun"),
}


def is_open(business: BusinessView, moment: datetime) -> bool:
    """Whether the business is open at a moment of its own zone, by its opening hours; never without any."""
    clock = f"{moment:%H:%M}"
    for span in business.opening_hours.get(DAYS[moment.weekday()], ()):
        opens, _, closes = (part.strip().rjust(5, "0") for part in span.partition("-"))
        if opens <= clock < closes:
            return True
    return False


def receives(business: BusinessView, wish: datetime | date) -> bool:
    """Whether somebody may come on a day, or at a moment (of any zone): always where no opening hours are known."""
    if not business.opening_hours:
        return True
    if isinstance(wish, datetime):
        return is_open(business, wish.astimezone(ZoneInfo(business.timezone)))
    return bool(business.opening_hours.get(DAYS[wish.weekday()]))


def opening_sentence(hours: Mapping[str, Sequence[str]], language: str) -> str:
    """`lun–ven 09:00–13:00, 15:00–19:00; sab 09:00–13:00`: days with the same hours go together."""
    names = DAY_NAMES.get(language, DAY_NAMES["en"])
    groups: list[tuple[int, int, tuple[str, ...]]] = []
    for number, day in enumerate(DAYS):
        spans = tuple(hours.get(day, ()))
        if not spans:
            continue
        if groups and groups[-1][1] == number - 1 and groups[-1][2] == spans:
            groups[-1] = (groups[-1][0], number, spans)
        else:
            groups.append((number, number, spans))
    parts = []
    for first, last, spans in groups:
        days = names[first] if first == last else f"{names[first]}–{names[last]}"
        parts.append(f"{days} {', '.join(span.replace('-', '–') for span in spans)}")
    return "; ".join(parts)


def sample() -> BusinessView:
    """A business to rehearse flows with where none is given."""
    it = "Posso scriverti qui le novità e le offerte di Bottega Esempio? Puoi cambiare idea quando vuoi."
    en = "May I send you news and offers from Bottega Esempio here? You can change your mind at any time."
    return BusinessView(
        name="Bottega Esempio",
        purposes={
            "marketing": Purpose(version="1", wording={"it": it, "en": en}),
            "applications": Purpose(
                version="1",
                wording={
                    "it": "Usiamo i tuoi dati solo per questa selezione. Per cancellarli scrivi /forget. D'accordo?",
                    "en": "We use your data for this selection only. Write /forget to have them deleted. Do you agree?",
                },
            ),
        },
        language="it",
        opening_hours={day: ["09:00-13:00", "15:30-19:00"] for day in ("mon", "tue", "wed", "thu", "fri")}
        | {"sat": ["09:00-13:00"]},
        places=(
            Place(
                "Bottega Esempio, Centro",
                45.4642,
                9.19,
                "Via Esempio 1, Milano",
                hours={"it": "lun–ven 09:00–13:00, 15:30–19:00", "en": "Mon–Fri 09:00–13:00, 15:30–19:00"},
            ),
            Place("Bottega Esempio, Navigli", 45.4519, 9.1773, "Alzaia Esempio 5, Milano"),
            Place("Bottega Esempio, Bergamo", 45.6983, 9.6773, "Piazza Esempio 3, Bergamo"),
        ),
    )
