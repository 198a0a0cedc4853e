"""The channel contract: what a package of this folder gives, and what the rest of `bot` may ask of it.

A channel kind is one package: `config.py` (what the owner gives), `inbound.py` (verify and parse, pure),
`outbound.py` (render and explain, pure), `client.py` (bytes on the wire). Its `__init__.py` joins them in one
class registered with `@channel("<kind>")`, found by a folder scan; the one instance per kind holds no state.

The way in:   headers, body -> `verify` -> `parse` -> domain.events
The way out:  domain.messages -> `render` -> [ApiCall] -> (the sender marks `sending`) -> `Client.send`
              -> Receipt

Stored files: before `render` the sender puts the platform's ids that it has cached into the content
(`with_platform_ids`); what is left stands in `ApiCall.needs_media`, and the sender hands the bytes to
`Client.send`. How they get there (in the same request, or uploaded before) is the client's affair;
`Receipt.uploaded` says under which ids they can be used again.
"""

from __future__ import annotations

import importlib
import pkgutil
import re
from collections.abc import Callable, Mapping
from enum import StrEnum
from functools import cache
from typing import Any, Literal, Protocol, TypeVar

import msgspec
from aiohttp import ClientSession
from msgspec import Struct, field
from pydantic import BaseModel

from bot.channels.posting import Poster
from domain.errors import RejectedInput, SendError
from domain.events import PlatformEvent
from domain.messages import (
    Album,
    Content,
    Ephemeral,
    Media,
    MediaKind,
    MediaSource,
    MessageStatus,
    Template,
    TemplateParameter,
)

# --- what a channel can do ----------------------------------------------------------------------------------


class ButtonLimits(Struct, frozen=True, kw_only=True):
    """Choices below a message. `count` 0: none. `links`: how many of them may open a page."""

    count: int
    title_length: int  # characters
    id_bytes: int  # UTF-8 bytes of `Button.id`
    links: int = 0
    mixed: bool = False  # links and answers may stand below the same message


class ListLimits(Struct, frozen=True, kw_only=True):
    """A list that opens on demand. `rows` counts over all sections."""

    rows: int
    title_length: int
    description_length: int
    id_bytes: int
    opener_length: int


class MediaLimits(Struct, frozen=True, kw_only=True):
    """One kind of file. `mimes` empty: any. `max_bytes_by_url`: files that the platform fetches itself."""

    max_bytes: int
    max_bytes_by_url: int
    mimes: frozenset[str] = frozenset()
    caption: bool = True
    buttons: bool = True


class Rate(Struct, frozen=True):
    """A bucket: `per_second` flows in, at most `burst` lies ready."""

    per_second: float
    burst: int = 1


class Pace(Struct, frozen=True, kw_only=True):
    """How fast a channel may send; the sender's pacing reads this. None: only the platform's 429 slows it."""

    per_channel: Rate  # bulk
    replies_per_channel: Rate | None
    per_address: Rate | None  # one person
    replies_wait: bool = True  # answers keep to `per_address` too; else only the platform's 429 slows them
    per_group: Rate | None  # one group or outlet
    pause_on_429: Literal["channel", "address"] = "channel"  # what waits when the platform does not say


class Ordering(StrEnum):
    """When the next message of a turn may start."""

    acceptance = "acceptance"  # as soon as the one before was accepted
    delivered = "delivered"  # after media: when it was delivered, at most 3 s later


class Capabilities(Struct, frozen=True, kw_only=True):
    """What one channel can show, carry and tell: `render` degrades by it, `flow check` warns by it."""

    text_length: int  # characters
    caption_length: int
    buttons: ButtonLimits
    list_rows: ListLimits | None
    media: Mapping[MediaKind, MediaLimits]
    album: int  # most files shown together; 0: one message each
    markup: Literal["html", "marks", "none"]
    window_hours: int | None  # free answers only this long after the person's last message
    receipts: frozenset[MessageStatus]  # of ours that the platform tells about
    ordering: Ordering
    pace: Pace
    edit: bool = False
    reactions: bool = False
    templates: bool = False
    typing: bool = False
    marks_read: bool = False  # what a person wrote can be marked as read
    polls: bool = False
    contact_request: bool = False
    location_request: bool = False
    outlets: bool = False
    polling: bool = False  # works without a public URL


# --- one connected channel ----------------------------------------------------------------------------------


class Credentials(Struct, frozen=True):
    """What one connected channel needs, decrypted by the caller. Its repr shows no secret.

    `values`: the config model's fields plus what was made by us (`generated_secrets`), all as text.
    """

    values: Mapping[str, str]
    accounts: tuple[str, ...] = ()

    def __getitem__(self, name: str) -> str:
        return self.values[name]

    def get(self, name: str) -> str:
        """The value, or "" where there is none."""
        return self.values.get(name, "")

    def __repr__(self) -> str:
        return f"Credentials({', '.join(sorted(self.values))}; accounts={self.accounts})"


class Delivery(Struct, frozen=True):
    """One webhook request as it arrived. `headers`: those of `signature_headers`, names in lower case."""

    headers: Mapping[str, str]
    body: bytes


# --- going out ----------------------------------------------------------------------------------------------


class MediaNeed(Struct, frozen=True):
    """A stored file that a call needs. `slot` is the place in the payload that the client fills."""

    media_id: int
    slot: str
    media: MediaKind
    filename: str | None = None
    mime: str | None = None


class ApiCall(Struct, frozen=True, kw_only=True):
    """One request, ready but for stored files. `idempotent`: doing it twice does no harm (edits)."""

    method: str
    payload: dict[str, Any]
    needs_media: tuple[MediaNeed, ...] = ()
    idempotent: bool = False


class StoredFile(Struct, frozen=True):
    """The bytes of a stored file of ours, loaded by the sender within the channel's `max_bytes`."""

    data: bytes
    filename: str
    mime: str


_CONTROL = re.compile(r"[\x00-\x1f\x7f]")
_MIME = re.compile(r"[\w.+-]{1,100}/[\w.+-]{1,100}(?: *; *[\w.+-]+=[\w.+-]+)*", re.ASCII)


def named(file: StoredFile, need: MediaNeed) -> tuple[str, str]:
    """A file's name and type for a multipart request. People name files: what would end a header's line becomes `_`,
    and a type that is none says nothing."""
    mime = need.mime or file.mime
    return (
        _CONTROL.sub("_", need.filename or file.filename) or "file",
        mime if _MIME.fullmatch(mime) else "application/octet-stream",
    )


class Uploaded(Struct, frozen=True):
    """A stored file that the platform now keeps. `expires_s`: seconds from now, None for good."""

    media_id: int
    platform_id: str
    expires_s: int | None = None


class Receipt(Struct, frozen=True, kw_only=True):
    """The platform took it. `external_id` names the message ("" for calls that make none), the first of
    `external_ids` where one call makes several (an album)."""

    external_id: str = ""
    external_ids: tuple[str, ...] = ()
    uploaded: tuple[Uploaded, ...] = ()
    extra: dict[str, Any] = field(default_factory=dict)  # as the vendor names it: wa_id, message_status …


class Downloaded(Struct, frozen=True):
    """A file fetched from the platform."""

    data: bytes
    mime: str | None = None
    filename: str | None = None


class Client(Protocol):
    """One connected channel on a session that somebody else owns. Never retries: only the sender does."""

    async def send(self, call: ApiCall, files: Mapping[int, StoredFile] = ...) -> Receipt:
        """Makes the call once. Raises SendError, which says whether it can have been executed."""

    async def request(self, method: str, body: bytes) -> tuple[int, bytes]:
        """The seam: JSON bytes to a method, status and bytes back. Raises SendError without an answer."""

    async def download(self, platform_id: str, *, max_bytes: int) -> Downloaded:
        """A file that somebody sent to us. Raises SendError(media_invalid) when it is gone or too large."""


class Account(Struct, frozen=True, kw_only=True):
    """Who the platform says we are."""

    id: str
    name: str
    username: str = ""
    detail: dict[str, Any] = field(default_factory=dict)


class WebhookHealth(Struct, frozen=True, kw_only=True):
    """What the platform says about delivering to us."""

    url: str
    pending: int = 0
    last_error: str = ""
    last_error_at: int = 0  # ms UTC


class Management(Protocol):
    """The rare calls: connecting, checking, disconnecting. All raise SendError."""

    async def identify(self) -> Account:
        """Asks the platform who we are: proves the credentials."""

    async def register_webhook(self, url: str) -> None:
        """Has deliveries sent to `url`. Idempotent."""

    async def remove_webhook(self) -> None:
        """Has deliveries stopped; what is queued there stays queued. Idempotent."""

    async def webhook_health(self) -> WebhookHealth:
        """How deliveries fare."""


class Channel(Protocol):
    """What a package registers: one instance per kind, no state; all but the last two members is pure."""

    kind: str  # set by `@channel`

    @property
    def label(self) -> Mapping[str, str]:
        """The kind's name for people: {"it": …, "en": …}."""

    @property
    def config(self) -> type[BaseModel]:
        """What the owner gives."""

    @property
    def secret_fields(self) -> frozenset[str]:
        """Of `config` and `generated_secrets`: kept encrypted."""

    @property
    def generated_secrets(self) -> tuple[str, ...]:
        """Secrets that are made by us when the channel is added."""

    @property
    def signature_headers(self) -> tuple[str, ...]:
        """Lower case; what `verify` reads."""

    def account_ids(self, values: Mapping[str, str]) -> tuple[str, ...]:
        """The platform's own ids of the account, as far as the config tells them."""

    def capabilities(self, values: Mapping[str, str]) -> Capabilities:
        """What this channel can do; `values` as in `Credentials`."""

    def link(self, values: Mapping[str, str]) -> str:
        """The public address that opens this channel with a payload, which `{}` stands for; "" where the config does
        not tell the public name. `parse` gives the payload back as `MessageReceived.deep_link`."""

    def public_name(self, account: Account) -> dict[str, str]:
        """What the platform's word on the account adds to `values` for `link`; empty where it says nothing."""

    def verify(self, delivery: Delivery, credentials: Credentials) -> None:
        """Raises SignatureInvalid unless the platform signed it. Constant time, on bytes."""

    def handshake(self, query: Mapping[str, str], credentials: Credentials) -> str:
        """The answer to the platform's question whether the endpoint is ours. Raises NotAllowed."""

    def parse(self, body: bytes) -> list[PlatformEvent]:
        """Events in the order of the body. Never raises: what cannot be read becomes `Unrecognised`."""

    def render(
        self,
        content: Content,
        *,
        address: str,
        topic: str | None = None,
        own_id: int = 0,
        language: str = "en",
        capabilities: Capabilities | None = None,
    ) -> list[ApiCall]:
        """The calls for one message, in order; degraded by rule, never cut.

        `own_id` is our message id; the platform brings it back with taps or statuses if it can (0: none).
        `capabilities` None: the kind's own. Raises SendError(rejected | media_invalid | template_invalid)
        saying why the content cannot be shown here.
        """

    def render_ephemeral(
        self, ephemeral: Ephemeral, *, address: str, topic: str | None = None
    ) -> ApiCall | None:
        """The call for it, or None where the channel has no such thing."""

    def explain(self, call: ApiCall, status: int, body: bytes) -> Receipt | SendError:
        """What an answer means. The error table of the channel; returns the error, raises nothing."""

    def rate_scope(self, address: str) -> Literal["address", "group"]:
        """Which bucket of `Pace` an address falls into."""

    def client(
        self, credentials: Credentials, session: ClientSession, *, origin: str, poster: Poster | None = None
    ) -> Client:
        """A client for one connected channel; `origin` is the base URL setting."""

    def management(self, credentials: Credentials, session: ClientSession, *, origin: str) -> Management:
        """The rare calls for one connected channel."""


# --- the registry -------------------------------------------------------------------------------------------

ChannelClass = TypeVar("ChannelClass", bound=Channel)
_registry: dict[str, Channel] = {}


def channel(kind: str) -> Callable[[type[ChannelClass]], type[ChannelClass]]:
    """Registers a channel class under its kind; a second one of that kind is an error at start."""

    def register(cls: type[ChannelClass]) -> type[ChannelClass]:
        if kind in _registry:
            raise RuntimeError(f"channel {kind!r} is registered twice: {cls.__module__}")
        instance = cls()
        instance.kind = kind
        _registry[kind] = instance
        return cls

    return register


@cache
def registry() -> Mapping[str, Channel]:
    """Every channel by kind; scans the packages of this folder once."""
    package = importlib.import_module("bot.channels")
    for module in pkgutil.iter_modules(package.__path__):
        if module.ispkg:
            importlib.import_module(f"{package.__name__}.{module.name}")
    return dict(sorted(_registry.items()))


def channel_of(kind: str, *, where: str = "kind") -> Channel:
    """The channel of that kind. Raises RejectedInput listing the known ones."""
    found = registry().get(kind)
    if found is None:
        raise RejectedInput(f"unknown channel kind {kind!r}; known are {', '.join(registry())}", where=where)
    return found


# --- stored files in content --------------------------------------------------------------------------------


def media_ids(content: Content) -> tuple[int, ...]:
    """Stored files of ours that the content shows, in order, each once."""
    return tuple(
        dict.fromkeys(s.media_id for s in _sources(content) if s.media_id is not None and not s.platform_id)
    )


def with_platform_ids(content: Content, known: Mapping[int, str]) -> Content:
    """The content with stored files replaced by the platform's ids; `known`: media id -> platform id."""
    if not known:
        return content
    match content:
        case Media():
            return _known_media(content, known)
        case Album(items=items):
            return Album(items=tuple(_known_media(item, known) for item in items))
        case Template(header=header):
            return msgspec.structs.replace(content, header=tuple(_known_parameter(p, known) for p in header))
        case _:
            return content


def _sources(content: Content) -> list[MediaSource]:
    match content:
        case Media(source=source):
            return [source]
        case Album(items=items):
            return [item.source for item in items]
        case Template(header=header):
            return [parameter.source for parameter in header if parameter.source is not None]
        case _:
            return []


def _known_media(media: Media, known: Mapping[int, str]) -> Media:
    source = _known_source(media.source, known)
    return media if source is media.source else msgspec.structs.replace(media, source=source)


def _known_parameter(parameter: TemplateParameter, known: Mapping[int, str]) -> TemplateParameter:
    if parameter.source is None:
        return parameter
    return msgspec.structs.replace(parameter, source=_known_source(parameter.source, known))


def _known_source(source: MediaSource, known: Mapping[int, str]) -> MediaSource:
    found = known.get(source.media_id) if source.media_id is not None else None
    if found is None:
        return source
    return MediaSource(platform_id=found, filename=source.filename, mime=source.mime)
