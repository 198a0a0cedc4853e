"""The business file: what a business is, in one YAML document, and how it becomes rows. Applying it twice changes
nothing.

    business: Bottega Esempio            # its name, as customers read it
    locale: it                           # of built-in texts, where a person's language is not known
    timezone: Europe/Rome
    region: IT                           # completes phone numbers written without a country code
    channels:                            # secrets come from the environment or `.env`: ${NAME}
      - {kind: telegram, name: shop, token: "${TELEGRAM_TOKEN}"}
    flows: flows                         # a folder, or a list of files, beside this file
    purposes:                            # what people are asked to consent to; a new wording is a new version
      marketing: {version: "1", wording: {it: …, en: …}}
    texts: {privacy: {it: …, en: …}}     # the owner's own wording of built-in texts
    opening_hours: {mon-fri: ["09:00-13:00", "15:00-19:00"], sat: ["09:00-13:00"]}
    keywords:                            # words that are answered, or that start a flow
      - {words: [orari, hours], answer: {it: "Siamo aperti {opening_hours}.", en: "We are open {opening_hours}."}}
    places:                              # shops, offices: what a flow's step `nearest: business` looks through
      - {name: Centro, address: Via Roma 1, lat: 45.46, lon: 9.19, opening_hours: {mon-sat: "09:00-19:00"}}
    team: {chat: {channel: shop, address: "-1001234567890"}}   # a group in which the bot tells the team what happens
    quiet_hours: {from: "21:00", to: "09:00"}
    marketing: {per_day: 2, minimum_age: 14}

`read` runs where the file lies (the command) and makes plain data of it; `apply` runs where the store is (the command
or, through the control socket, the server) and writes what differs, all or nothing.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any
from zoneinfo import ZoneInfo

import msgspec
from sqlalchemy import Connection, text

from bot import channel_store, connecting, flow_store
from bot.channels.base import channel_of, registry
from bot.texts import TEXTS
from crm import policies
from domain.errors import RejectedInput
from flows.business import DAY_NAMES, DAYS, opening_sentence
from flows.yaml_reader import Document
from flows.yaml_reader import read as read_yaml
from storage.sealing import Sealer

FIRST_WORKSPACE = 1  # the business of an installation that has one
MAX_FLOWS = 500
MAX_CHANNELS = 100
MAX_PLACES = 500  # each is compared with where somebody is: a millisecond for all of them
MAX_TEXT = 3_500  # characters: below every channel's limit

_KEYS = frozenset(
    "business locale timezone region channels flows purposes texts opening_hours places team keywords quiet_hours "
    "marketing".split()
)
_PLACE = ("name", "address", "lat", "lon", "phone", "url", "opening_hours")
_VARIABLE = re.compile(r"\$\{([A-Za-z_][A-Za-z0-9_]*)\}")
_LANGUAGE = re.compile(r"[a-z]{2,3}")
_REGION = re.compile(r"[A-Z]{2}")
_KEY = re.compile(r"[a-z][a-z0-9_-]{0,63}")
_HOURS = re.compile(r"([01][0-9]|2[0-3]):[0-5][0-9]-(([01][0-9]|2[0-3]):[0-5][0-9]|24:00)")

Texts = dict[str, str]  # language → text


class ChannelSpec(msgspec.Struct):
    """A channel of the file; `values` are its kind's settings, as text."""

    kind: str
    name: str
    values: dict[str, str]


class FlowSpec(msgspec.Struct):
    """A flow's text and the name of its file."""

    name: str
    source: str


class Business(msgspec.Struct):
    """A business file as plain data: what `apply` takes. `stored` is what the workspace row keeps."""

    name: str
    locale: str
    timezone: str
    stored: dict[str, Any]
    channels: list[ChannelSpec] = msgspec.field(default_factory=list)
    flows: list[FlowSpec] = msgspec.field(default_factory=list)


@dataclass(frozen=True)
class Applied:
    """What `apply` did: lines such as `channel shop: added`; empty when everything was so already."""

    changes: list[str]
    channels: dict[str, int] = field(default_factory=dict)  # name → id, of all in the file


# --- reading --------------------------------------------------------------------------------------------------------


def read(path: Path, environment: Mapping[str, str]) -> Business:
    """The business of a file. Raises RejectedInput naming the file, the line and what is wrong there."""
    document = read_yaml(file_text(path), name=path.name)
    reader = _Reader(document, path, environment)
    return reader.business()


def file_text(path: Path) -> str:
    """A text file of the owner's. Raises RejectedInput saying why it cannot be read."""
    try:
        return path.read_text("utf-8")
    except FileNotFoundError as error:
        raise RejectedInput("there is no such file", where=str(path)) from error
    except UnicodeDecodeError as error:
        raise RejectedInput("is not text in UTF-8", where=str(path)) from error
    except OSError as error:
        raise RejectedInput(f"cannot be read: {error.strerror}", where=str(path)) from error


class _Reader:
    """Walks the document; every refusal names file, line and key."""

    def __init__(self, document: Document, path: Path, environment: Mapping[str, str]) -> None:
        self._document = document
        self._path = path
        self._environment = environment

    def business(self) -> Business:
        data = self._mapping(self._document.data, ())
        if unknown := sorted(set(data) - _KEYS):
            raise self._refused(f"there is no such key; known are {', '.join(sorted(_KEYS))}", unknown[0])
        locale = self._matched(
            data.get("locale", "it"), _LANGUAGE, "must be a language such as it or en", "locale"
        )
        hours = self._opening_hours(data.get("opening_hours"))
        stored: dict[str, Any] = {
            "region": self._matched(
                data.get("region", "IT"), _REGION, "must be a country such as IT", "region"
            ),
            "purposes": self._purposes(data.get("purposes")),
            "texts": self._own_texts(data.get("texts"), hours),
            "opening_hours": hours,
        }
        stored |= {key: data[key] for key in ("quiet_hours", "marketing") if data.get(key) is not None}
        if data.get("places"):
            stored["places"] = self._places(data["places"])
        if data.get("team"):
            stored["team"] = self._team(data["team"])
        try:
            policies.parse(stored, where="")
        except RejectedInput as error:
            key, *rest = error.where.strip(".").split(".")
            raise self._refused(error.what, key, *rest) from None
        return Business(
            name=self._text(data.get("business"), "business", limit=200),
            locale=locale,
            timezone=self._zone(data.get("timezone", "Europe/Rome")),
            stored=stored,
            channels=self._channels(data.get("channels")),
            flows=[*self._flows(data.get("flows")), *self._keywords(data.get("keywords"), hours)],
        )

    def _channels(self, value: Any) -> list[ChannelSpec]:
        specs: list[ChannelSpec] = []
        for number, item in enumerate(self._list(value, "channels", limit=MAX_CHANNELS)):
            at = ("channels", number)
            entry = self._mapping(item, at)
            kind = self._text(entry.get("kind"), *at, "kind")
            if kind not in registry():
                raise self._refused(f"must be one of {', '.join(registry())}", *at, "kind")
            name = self._text(entry.get("name"), *at, "name", limit=100)
            if name in [spec.name for spec in specs]:
                raise self._refused("two channels have this name", *at, "name")
            given = {
                key: self._expanded(item, *at, key)
                for key, item in entry.items()
                if key not in ("kind", "name")
            }
            try:
                values = connecting.checked_values(kind, given)
            except RejectedInput as error:
                raise self._refused(error.what, *at, error.where) from None
            # The mode is left to the settings where the file does not say it.
            specs.append(
                ChannelSpec(kind, name, {k: v for k, v in values.items() if k != "mode" or "mode" in given})
            )
        return specs

    def _flows(self, value: Any) -> list[FlowSpec]:
        if value is None:
            return []
        if isinstance(value, str):
            folder = self._path.parent / value
            if not folder.is_dir():
                raise self._refused(f"there is no folder {value!r} beside the file", "flows")
            paths = [p for p in sorted(folder.rglob("*.yaml")) if not p.name.endswith(".test.yaml")]
        else:
            names = self._list(value, "flows", limit=MAX_FLOWS)
            paths = [self._path.parent / self._text(name, "flows", n) for n, name in enumerate(names)]
        if len(paths) > MAX_FLOWS:
            raise self._refused(f"at most {MAX_FLOWS} flows", "flows")
        here = self._path.parent
        return [
            FlowSpec(str(path.relative_to(here) if path.is_relative_to(here) else path), file_text(path))
            for path in paths
        ]

    def _keywords(self, value: Any, hours: dict[str, list[str]]) -> list[FlowSpec]:
        """A word that is answered is a small flow of its own; one that starts a flow as well, with a jump."""
        specs = []
        for number, item in enumerate(self._list(value, "keywords")):
            at = ("keywords", number)
            entry = self._mapping(item, at)
            if unknown := sorted(set(entry) - {"words", "answer", "flow"}):
                raise self._refused("there is no such key; known are words, answer, flow", *at, unknown[0])
            said_words = self._list(entry.get("words"), *at, "words")
            words = [self._text(word, *at, "words", n, limit=100) for n, word in enumerate(said_words)]
            if not words or ("answer" in entry) == ("flow" in entry):
                raise self._refused("needs words, and either answer or flow", *at)
            languages = ["it", "en"]
            if "answer" in entry:
                said = self._texts(entry["answer"], *at, "answer", hours=hours)
                step: dict[str, Any] = {"send": said, "next": "end"}
                languages = [*said]
            else:
                step = {
                    "goto": {"flow": self._matched(entry["flow"], _KEY, "must be a flow's key", *at, "flow")}
                }
            key = "keyword-" + re.sub(r"[^a-z0-9]+", "-", words[0].lower()).strip("-")
            flow = {
                "flow": key if key != "keyword-" else f"keyword-{number + 1}",
                "title": {"it": f"Parola: {words[0]}", "en": f"Word: {words[0]}"},
                "languages": languages,
                "triggers": [{"keyword": words}],
                "start": "answer",
                "steps": {"answer": step},
            }
            source = msgspec.json.format(msgspec.json.encode(flow), indent=1).decode() + "\n"
            specs.append(FlowSpec(f"{self._path.name}, keywords.{number}", source))
        return specs

    def _purposes(self, value: Any) -> dict[str, dict[str, Any]]:
        purposes = {}
        for key, item in self._mapping(value or {}, ("purposes",)).items():
            at = ("purposes", key)
            if not _KEY.fullmatch(key):
                raise self._refused("must be a short word in lower case", *at)
            entry = self._mapping(item, at)
            if set(entry) - {"version", "wording"}:
                raise self._refused("has a version and a wording, nothing else", *at)
            version = str(entry.get("version", "1"))
            purposes[key] = {"version": version, "wording": self._texts(entry.get("wording"), *at, "wording")}
        return purposes

    def _places(self, value: Any) -> list[dict[str, Any]]:
        """Places as flows see them (`flows.business.Place`): hours are sentences in each of our languages."""
        places = []
        for number, item in enumerate(self._list(value, "places", limit=MAX_PLACES)):
            at = ("places", number)
            entry = self._mapping(item, at)
            if unknown := sorted(set(entry) - set(_PLACE)):
                raise self._refused(f"there is no such key; known are {', '.join(_PLACE)}", *at, unknown[0])
            hours = self._opening_hours(entry.get("opening_hours"), *at)
            place: dict[str, Any] = {
                "name": self._text(entry.get("name"), *at, "name", limit=200),
                "latitude": self._degrees(entry.get("lat"), 90, *at, "lat"),
                "longitude": self._degrees(entry.get("lon"), 180, *at, "lon"),
            }
            place |= {
                key: self._text(entry[key], *at, key, limit=300)
                for key in ("address", "phone", "url")
                if entry.get(key) is not None
            }
            if hours:
                place["hours"] = {language: opening_sentence(hours, language) for language in DAY_NAMES}
            places.append(place)
        return places

    def _degrees(self, value: Any, most: int, *at: str | int) -> float:
        if isinstance(value, bool) or not isinstance(value, int | float) or not -most <= value <= most:
            raise self._refused(f"must be degrees from -{most} to {most}", *at)
        return float(value)

    def _team(self, value: Any) -> dict[str, Any]:
        """The chat in which the team is told what happens; `apply` knows whether there is such a channel."""
        team = self._mapping(value, ("team",))
        if set(team) != {"chat"}:
            raise self._refused("has a chat, nothing else", "team")
        chat = self._mapping(team["chat"], ("team", "chat"))
        if set(chat) != {"channel", "address"}:
            raise self._refused("has a channel and an address", "team", "chat")
        address = chat["address"]
        said = str(address) if isinstance(address, int) and not isinstance(address, bool) else address
        return {
            "chat": {
                "channel": self._text(chat["channel"], "team", "chat", "channel", limit=100),
                "address": self._text(said, "team", "chat", "address", limit=100),
            }
        }

    def _own_texts(self, value: Any, hours: dict[str, list[str]]) -> dict[str, Texts]:
        found = self._mapping(value or {}, ("texts",))
        for key in found:
            if key not in TEXTS:
                raise self._refused(
                    f"there is no such text; known are {', '.join(sorted(TEXTS))}", "texts", key
                )
        return {key: self._texts(item, "texts", key, hours=hours) for key, item in found.items()}

    def _opening_hours(self, value: Any, *above: str | int) -> dict[str, list[str]]:
        """Hours by day; `mon-fri` stands for five of them. `above`: where they stand."""
        hours: dict[str, list[str]] = {}
        for key, item in self._mapping(value or {}, (*above, "opening_hours")).items():
            first, _, last = key.partition("-")
            if (
                first not in DAYS
                or (last or first) not in DAYS
                or DAYS.index(last or first) < DAYS.index(first)
            ):
                raise self._refused(
                    "must be a day such as mon, or days such as mon-fri", *above, "opening_hours", key
                )
            spans = self._list([item] if isinstance(item, str) else item, *above, "opening_hours", key)
            for span in spans:
                self._matched(span, _HOURS, "must be hours such as 09:00-13:00", *above, "opening_hours", key)
            for day in DAYS[DAYS.index(first) : DAYS.index(last or first) + 1]:
                hours[day] = list(spans)
        return {day: hours[day] for day in DAYS if hours.get(day)}

    def _texts(self, value: Any, *at: str | int, hours: dict[str, list[str]] | None = None) -> Texts:
        texts = self._mapping(value, at)
        if not texts:
            raise self._refused("must have a text for each language, such as {it: …, en: …}", *at)
        for language in texts:
            self._matched(language, _LANGUAGE, "must be a language such as it or en", *at, language)
        said = {language: self._text(item, *at, language) for language, item in texts.items()}
        if hours is None:
            return said
        return {lang: t.replace("{opening_hours}", opening_sentence(hours, lang)) for lang, t in said.items()}

    def _expanded(self, value: Any, *at: str | int) -> str:
        """A channel's value with `${NAME}` from the environment; the error names the variable only."""
        if isinstance(value, bool):
            return "true" if value else "false"
        if isinstance(value, int | float):
            return str(value)

        def variable(found: re.Match[str]) -> str:
            given = self._environment.get(found[1], "")
            if not given:
                raise self._refused(f"the environment has no {found[1]}", *at)
            return given

        return _VARIABLE.sub(variable, self._text(value, *at, limit=2_000))

    def _zone(self, value: Any) -> str:
        try:
            return ZoneInfo(str(value)).key
        except (KeyError, ValueError, OSError):
            raise self._refused("must be a time zone such as Europe/Rome", "timezone") from None

    def _text(self, value: Any, *at: str | int, limit: int = MAX_TEXT) -> str:
        if not isinstance(value, str) or not value.strip() or len(value) > limit:
            raise self._refused(
                "is missing" if value is None else f"must be a text of 1 to {limit} characters", *at
            )
        return value.strip()

    def _matched(self, value: Any, pattern: re.Pattern[str], what: str, *at: str | int) -> str:
        if not isinstance(value, str) or not pattern.fullmatch(value):
            raise self._refused(what, *at)
        return value

    def _list(self, value: Any, *at: str | int, limit: int = 100) -> list[Any]:
        if value is None:
            return []
        if not isinstance(value, list) or len(value) > limit:
            raise self._refused(f"must be a list of at most {limit}", *at)
        return value

    def _mapping(self, value: Any, at: tuple[str | int, ...]) -> dict[str, Any]:
        if not isinstance(value, dict):
            raise self._refused("is missing" if value is None else "must be a mapping", *at)
        return value

    def _refused(self, what: str, *at: str | int) -> RejectedInput:
        line = self._document.line(at)
        place = ".".join(str(part) for part in at)
        return RejectedInput(what, where=f"{self._path.name}, line {line}" + (f", {place}" if place else ""))


# --- writing --------------------------------------------------------------------------------------------------------


def ensure_workspace(connection: Connection, *, now: int) -> int:
    """The id of the installation's business, made (without a name) when there is none."""
    found = connection.execute(text("SELECT id FROM workspace ORDER BY id LIMIT 1")).scalar()
    if found is not None:
        return int(found)
    connection.execute(
        text(
            "INSERT INTO workspace (id, workspace_id, name, locale, timezone, state, encrypt_personal, business, "
            "created_at) VALUES (:id, :id, '', 'it', 'Europe/Rome', 'active', 0, '{}', :now) ON CONFLICT DO NOTHING"
        ),
        {"id": FIRST_WORKSPACE, "now": now},
    )
    return FIRST_WORKSPACE


def apply(
    connection: Connection,
    business: Business,
    *,
    workspace_id: int,
    default_mode: str,
    sealer: Sealer,
    new_id: Callable[[], int],
    now: int,
) -> Applied:
    """Makes the workspace what the file says; what the file does not name stays as it is.

    `default_mode` is that of a channel whose file does not say it and whose kind can poll. Raises RejectedInput.
    """
    changes: list[str] = []
    if _store_workspace(connection, business, workspace_id):
        changes.append("business: changed")
    channels = {}
    for spec in business.channels:
        channel_id, change = _apply_channel(connection, spec, workspace_id, default_mode, sealer, new_id, now)
        channels[spec.name] = channel_id
        if change:
            changes.append(f"channel {spec.name}: {change}")
    _check_team(connection, business, workspace_id)
    for flow in business.flows:
        published = flow_store.publish(
            connection,
            workspace_id=workspace_id,
            source=flow.source,
            name=flow.name,
            by="business file",
            new_id=new_id,
            now=now,
        )
        if published.changed:
            changes.append(f"flow {published.key}: version {published.number}")
    if changes:
        channel_store.raise_revision(connection, "flows")  # businesses are read with the flows
    return Applied(changes, channels)


def _check_team(connection: Connection, business: Business, workspace_id: int) -> None:
    """On WhatsApp one may write only to who wrote in the last day, so a team's chat there would fall silent: it must be
    on a network that lets a bot write at any time. Raises RejectedInput."""
    chat = business.stored.get("team", {}).get("chat")
    if chat is None:
        return
    kind = connection.execute(
        text("SELECT kind FROM channel WHERE workspace_id = :workspace AND name = :name"),
        {"workspace": workspace_id, "name": chat["channel"]},
    ).scalar()
    if kind is None:
        raise RejectedInput(f"there is no channel {chat['channel']!r}", where="team.chat.channel")
    if channel_of(kind).capabilities({}).window_hours is not None:
        raise RejectedInput(f"on {kind} a bot cannot write first", where="team.chat.channel")


def _store_workspace(connection: Connection, business: Business, workspace_id: int) -> bool:
    new = {
        "name": business.name,
        "locale": business.locale,
        "timezone": business.timezone,
        "business": msgspec.json.encode(business.stored).decode(),
    }
    old = connection.execute(
        text("SELECT name, locale, timezone, business FROM workspace WHERE id = :id"), {"id": workspace_id}
    ).one()
    if dict(old._mapping) == new:
        return False
    connection.execute(
        text(
            "UPDATE workspace SET name = :name, locale = :locale, timezone = :timezone, business = :business "
            "WHERE id = :id"
        ),
        {**new, "id": workspace_id},
    )
    return True


def _apply_channel(
    connection: Connection,
    spec: ChannelSpec,
    workspace_id: int,
    default_mode: str,
    sealer: Sealer,
    new_id: Callable[[], int],
    now: int,
) -> tuple[int, str]:
    known = connection.execute(
        text(
            "SELECT id, kind, mode, config, secrets FROM channel WHERE workspace_id = :workspace AND name = :name"
        ),
        {"workspace": workspace_id, "name": spec.name},
    ).one_or_none()
    if known is None:
        mode = spec.values.get("mode") or fitting_mode(spec.kind, public=default_mode == "webhook")
        channel_id = connecting.connect(
            connection,
            workspace_id,
            kind=spec.kind,
            name=spec.name,
            given={**spec.values, **said_mode(spec.kind, mode)},
            mode=mode,
            sealer=sealer,
            new_id=new_id,
            now=now,
        )
        return channel_id, "added"
    if known.kind != spec.kind:
        raise RejectedInput(f"is a {known.kind} channel already", where=f"channel {spec.name}")
    sealed = sealer.open(known.secrets, table="channel", row=known.id, column="secrets")
    before: dict[str, str] = {**msgspec.json.decode(known.config), **msgspec.json.decode(sealed)}
    mode = spec.values.get("mode") or known.mode
    kept = {name: before[name] for name in channel_of(spec.kind).generated_secrets if name in before}
    after = {**connecting.checked_values(spec.kind, {**spec.values, **said_mode(spec.kind, mode)}), **kept}
    if after == before and mode == known.mode:
        return known.id, ""
    channel_store.change(connection, known.id, spec.kind, values=after, mode=mode, sealer=sealer)
    return known.id, "changed"


def fitting_mode(kind: str, *, public: bool) -> str:
    """webhook where a public address makes it possible or the kind knows nothing else, else polling."""
    return "webhook" if public or "mode" not in channel_of(kind).config.model_fields else "polling"


def said_mode(kind: str, mode: str) -> dict[str, str]:
    """The mode as a value of the channel, where its kind has such a setting."""
    return {"mode": mode} if "mode" in channel_of(kind).config.model_fields else {}
