"""`nearest`: shows the places of a list that are nearest to where the contact is.

```yaml
shops:
  nearest:
    - {name: Centro, address: Via Roma 1, lat: 45.4642, lon: 9.19, hours: {it: "lun–sab 9–19", en: "Mon–Sat 9–19"}}
    - {name: Navigli, address: Via Ascanio Sforza 5, lat: 45.4519, lon: 9.1773}
  of: result.where
  count: 2
  max_km: 30
  exits: {found: thanks, none: ask_again, too_far: sorry}
  next: thanks
```

`nearest: business` takes the places of the business file. `of` is where the location is: the answer of a question of
the kind location, or a value `{lat, lon}` of the contact or the session. One text lists the places with distance and
opening hours, and each follows as a location (`pins: false`: only the text). The distance is as the crow flies.
`result` holds the nearest one: its name, and `{name, address, km}` as the value.
"""

from dataclasses import dataclass
from typing import TYPE_CHECKING, Annotated, Any, Literal

from pydantic import BaseModel, ConfigDict, Field

from domain.comparisons import is_number
from domain.messages import LocationContent, Text
from flows import distances
from flows.business import Place
from flows.expressions import Template
from flows.options import Templates
from flows.state import Result
from flows.steps import SavePath, StepDocument, StepId, StepRun, step
from flows.steps.send import WebAddress
from flows.texts import ANY, LocalText, Texts, local_text

if TYPE_CHECKING:
    from flows.compiler import Maker
    from flows.turns import Turn

MAX_PLACES = 500  # in a flow: more belong into a system of their own, asked by http
MAX_SHOWN = 5  # each is a message


class PlaceDocument(BaseModel):
    """A place. Degrees, WGS 84."""

    model_config = ConfigDict(frozen=True, extra="forbid", hide_input_in_errors=True)
    name: Annotated[str, Field(min_length=1, max_length=200)]
    lat: Annotated[float, Field(ge=-90, le=90, allow_inf_nan=False)]
    lon: Annotated[float, Field(ge=-180, le=180, allow_inf_nan=False)]
    address: Annotated[str, Field(max_length=300)] = ""
    phone: Annotated[str, Field(max_length=40)] = ""
    url: WebAddress | None = None
    hours: Texts | None = None

    def place(self) -> Place:
        """As the business file's are kept."""
        return Place(
            self.name, self.lat, self.lon, self.address, self.phone, self.url or "", _plain(self.hours)
        )


def _plain(text: LocalText | None) -> dict[str, str]:
    return {language: wordings[0] for language, wordings in text.wordings.items()} if text else {}


class Exits(BaseModel):
    """Where it goes on; what is not named goes to `next`."""

    model_config = ConfigDict(frozen=True, extra="forbid", hide_input_in_errors=True)
    found: StepId | None = None
    none: StepId | None = None  # no location is known, or there are no places
    too_far: StepId | None = None


@step("nearest")
class Nearest(StepDocument):
    """`text` is said before the list; `max_km`: further away is too far."""

    nearest: (
        Literal["business"] | Annotated[tuple[PlaceDocument, ...], Field(min_length=1, max_length=MAX_PLACES)]
    )
    of: Annotated[str, Field(min_length=1, max_length=200)]
    count: Annotated[int, Field(ge=1, le=MAX_SHOWN)] = 1
    max_km: Annotated[float, Field(gt=0, le=20_100)] | None = None
    text: Texts | None = None
    pins: bool = True
    save: SavePath | None = None  # the name of the nearest one
    exits: Exits = Exits()

    def prepare(self, maker: "Maker") -> "NearestRun":
        exits = {name: getattr(self.exits, name) or self.next for name in ("found", "none", "too_far")}
        for name, target in exits.items():
            if name != "too_far" or self.max_km is not None:
                maker.exit(name, target)
        if self.exits.too_far is not None and self.max_km is None:
            raise ValueError("too_far needs max_km: how far is that?")
        maker.blank("none")
        maker.gives(maker.step_id)
        if self.save is not None:
            maker.writes(self.save)
        places = None if isinstance(self.nearest, str) else tuple(place.place() for place in self.nearest)
        source = self.of if "{{" in self.of or self.of.startswith("@") else f"{{{{ {self.of} }}}}"
        return NearestRun(
            places=places,
            of=maker.value("of", local_text(source)),
            count=self.count,
            max_km=self.max_km,
            text=maker.text("text", self.text) if self.text else None,
            pins=self.pins,
            save=self.save,
            exits=exits,
        )


@dataclass(frozen=True, slots=True)
class NearestRun(StepRun):
    places: tuple[Place, ...] | None
    of: Template
    count: int
    max_km: float | None
    text: Templates | None
    pins: bool
    save: str | None
    exits: dict[str, str | None]

    def enter(self, turn: "Turn") -> None:
        places = turn.business.places if self.places is None else self.places
        here = degrees(self.of.evaluate(turn))
        if here is None or not places:
            self._leave(turn, "none")
            return
        ranked = sorted(
            ((distances.kilometres(*here, place.latitude, place.longitude), place) for place in places),
            key=lambda each: each[0],
        )
        near = [(km, place) for km, place in ranked[: self.count] if self.max_km is None or km <= self.max_km]
        if not near:
            self._leave(turn, "too_far", *ranked[0])
            return
        self._show(turn, near)
        self._leave(turn, "found", *near[0])

    def _leave(self, turn: "Turn", category: str, km: float = 0, place: Place | None = None) -> None:
        value = None
        if place is not None:
            value = {"name": place.name, "address": place.address, "km": round(km, 1)}
        turn.record(turn.state.step, Result(value, category, place.name if place else ""))
        if self.save is not None:
            turn.save(self.save, place.name if place and category == "found" else None)
        turn.go(self.exits[category])

    def _show(self, turn: "Turn", near: list[tuple[float, Place]]) -> None:
        lines = [turn.text(self.text)] if self.text else []
        for number, (km, place) in enumerate(near, 1):
            head = ", ".join(part for part in (place.name, place.address) if part)
            mark = f"{number}. " if len(near) > 1 else ""
            lines.append(f"{mark}{head}: {distances.shown(km, turn.language)}")
            hours = (
                place.hours.get(turn.language) or place.hours.get(ANY) or next(iter(place.hours.values()), "")
            )
            lines += [line for line in (hours, place.phone, place.url) if line]
        turn.send(Text("\n".join(lines), preview_links=False))
        if self.pins:
            for _, place in near:
                turn.send(LocationContent(place.latitude, place.longitude, place.name, place.address))


def degrees(value: Any) -> tuple[float, float] | None:
    """Latitude and longitude of `{lat, lon}` or `"45.46, 9.19"`; None for anything else."""
    lat: Any
    lon: Any
    if isinstance(value, dict):
        lat, lon = value.get("lat"), value.get("lon")
    elif isinstance(value, str) and value.count(",") == 1 and len(value) <= 60:
        try:
            lat, lon = (float(part) for part in value.split(","))
        except ValueError:
            return None
    else:
        return None
    if not (is_number(lat) and is_number(lon) and -90 <= lat <= 90 and -180 <= lon <= 180):
        return None
    return float(lat), float(lon)
