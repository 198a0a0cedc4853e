"""`http`: asks another service, and goes on with what it answers.

```yaml
look_up:
  http: https://shop.example.com/orders/{{ session.number }}
  headers:
    Authorization: {secret: shop_key, prefix: "Bearer "}
  query: {fields: status}
  timeout: 8 seconds
  save:
    order.status: session.status
    order.items[*].name: session.items
  result: order
  on: {404: not_found, 5xx: later}
  error: later
  next: show
not_found:
  send: {it: Non trovo questo ordine., en: I cannot find this order.}
  next: end
later:
  send: {it: Riprova più tardi., en: Please try again later.}
  next: end
show:
  send: "{{ session.status }}: {{ session.items | default('') }}"
  next: end
```
"""

import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Annotated, Any, ClassVar, Literal
from urllib.parse import quote

import msgspec
from pydantic import AfterValidator, BaseModel, BeforeValidator, ConfigDict, Field

from domain import durations
from domain.effects import CallHttp, SecretUse
from domain.errors import FlowError, RejectedInput
from domain.events import HttpAnswered
from flows import paths
from flows.expressions import Template
from flows.state import CALL, Result
from flows.steps import Duration, SavePath, StepDocument, StepId, StepRun, step
from flows.texts import local_text

if TYPE_CHECKING:
    from flows.compiler import Maker
    from flows.turns import Turn

MAX_TIMEOUT_MS = 15_000  # the conversation stands still for so long
TIMEOUT = "10 seconds"
# After the call's own time: for the job to start, to be taken over by another process, and for the answer to be stored.
GRACE_MS = 20_000
MAX_HEADERS = 20
MAX_PARAMETERS = 50  # of a query or a form
MAX_URL = 2_000  # characters; what servers take without a word
MAX_BODY = 64_000  # characters of a request
MAX_LEAVES = 200  # values of a JSON body
MAX_NESTING = 10  # of a JSON body
MAX_SAVES = 50
MAX_TEXT = 4_096  # characters of a text that is kept in the session
MAX_FIELD = 1_000  # characters of a text that is kept with the contact
MAX_WEBHOOK = 32_000  # bytes of JSON of an answer that is kept whole, for expressions to read in
MAX_KEPT = 10_000  # bytes of JSON of a list or object that is kept in the session

_ORIGIN = re.compile(r"https?://[A-Za-z0-9._:\[\]-]+(?=[/?#]|$)")
_TOKEN = re.compile(r"[A-Za-z0-9!#$%&'*+.^_`|~-]{1,64}")  # RFC 9110, 5.6.2
# Ours to write: they say how the message is framed, where it goes, or who we are.
_OURS = frozenset(
    (
        "accept-encoding",
        "connection",
        "content-length",
        "cookie",
        "expect",
        "host",
        "idempotency-key",
        "keep-alive",
        "te",
        "trailer",
        "transfer-encoding",
        "upgrade",
    )
)
_STATUS = re.compile(r"[1-5]([0-9]{2}|xx)")
_CONTROLS = re.compile(r"[\x00-\x1f\x7f]+")
_UNSAFE = "!#$%&'()*+,/:;=?@[]~-._"  # an address that is written as a whole keeps what addresses are made of
_NOTHING = Template([""], frozenset())

SecretName = Annotated[str, Field(pattern=r"^[a-z][a-z0-9_]{0,63}$")]


class Secret(BaseModel):
    """A value of the installation, by its name; `prefix` stands before it, e.g. `Bearer `."""

    model_config = ConfigDict(frozen=True, extra="forbid", hide_input_in_errors=True)
    secret: SecretName
    prefix: Annotated[str, Field(max_length=40, pattern=r"^[\x20-\x7e]*$")] = ""


def _text_of(value: Any) -> Any:
    """Numbers and truths as they are written in an address."""
    if isinstance(value, bool):
        return str(value).lower()
    return str(value) if isinstance(value, int | float) else value


def _header(name: str) -> str:
    if not _TOKEN.fullmatch(name) or name.lower() in _OURS or name.lower().startswith("proxy-"):
        raise ValueError(f"{name!r} is not a header that a flow can set")
    return name


def _status(value: Any) -> str:
    text = str(value).lower()
    if not _STATUS.fullmatch(text):
        raise ValueError(f"{value!r} is not a status such as 404 or 4xx")
    return text


def _call_time(text: str) -> str:
    if not 1_000 <= durations.parse(text) <= MAX_TIMEOUT_MS:
        raise ValueError(f"a call may take 1 to {MAX_TIMEOUT_MS // 1000} seconds")
    return text


Words = Annotated[str, Field(max_length=MAX_TEXT)]
Part = Annotated[Secret | Words, BeforeValidator(_text_of)]
Header = Annotated[str, AfterValidator(_header)]
Status = Annotated[str, BeforeValidator(_status)]
CallTime = Annotated[Duration, AfterValidator(_call_time)]


@step("http")
class Http(StepDocument):
    """The main argument is the address; values in it are encoded, and the server's name is always written out.

    `body` is a text, or a mapping that is sent as JSON with templates at its leaves; `form` is sent as a web form.
    Without `method` it is GET, with a body POST. `save` reads JSON: ways into the answer → places.
    """

    waits: ClassVar[str] = CALL

    http: Annotated[str, Field(min_length=8, max_length=MAX_URL)]
    method: Literal["GET", "HEAD", "POST", "PUT", "PATCH", "DELETE"] | None = None
    query: Annotated[dict[str, Part], Field(max_length=MAX_PARAMETERS)] = Field(default_factory=dict)
    headers: Annotated[dict[Header, Part], Field(max_length=MAX_HEADERS)] = Field(default_factory=dict)
    body: dict[str, Any] | list[Any] | Words | None = None
    form: (
        Annotated[dict[str, Annotated[Words, BeforeValidator(_text_of)]], Field(max_length=MAX_PARAMETERS)]
        | None
    ) = None
    timeout: CallTime = TIMEOUT
    idempotent: bool = False  # a POST or PATCH that may be sent twice
    save: Annotated[dict[str, SavePath], Field(max_length=MAX_SAVES)] = Field(default_factory=dict)
    result: Annotated[str, Field(pattern=r"^[A-Za-z0-9][A-Za-z0-9_-]{0,63}$")] | None = None
    on: Annotated[dict[Status, StepId], Field(max_length=20)] = Field(default_factory=dict)
    error: StepId | None = None

    def prepare(self, maker: "Maker") -> "HttpRun":
        method = self._method()
        named = [part for part in (*self.query.values(), *self.headers.values()) if isinstance(part, Secret)]
        if not _ORIGIN.match(self.http) and (named or not maker.excellent):
            raise ValueError("the address begins with https:// and the server's name, both written out")
        maker.exit("next", self.next)
        maker.exit("error", self.error)
        for status, target in self.on.items():
            maker.exit(f"status {status}", target)
        for place in self.save.values():
            maker.writes(place)
        if self.result is not None:
            maker.gives(self.result)
        for part in named:
            maker.secret(part.secret)
        return HttpRun(
            method=method,
            url=maker.value("http", local_text(self.http)),
            query=_parts(maker, "query", self.query),
            headers=_parts(maker, "headers", self.headers),
            secrets=_secrets(self.headers),
            secret_query=_secrets(self.query),
            body=_body(maker, self.body),
            form=None if self.form is None else _parts(maker, "form", self.form),
            timeout_ms=durations.parse(self.timeout),
            idempotent=self.idempotent or method not in ("POST", "PATCH"),
            save=tuple((_way(key), place) for key, place in self.save.items()),
            result=self.result,
            on=dict(self.on),
            error=self.error,
            next=self.next,
            excellent=maker.excellent,
        )

    def _method(self) -> str:
        sends = self.body is not None or self.form is not None
        if self.body is not None and self.form is not None:
            raise ValueError("body and form cannot both be sent")
        if self.method in ("GET", "HEAD") and sends:
            raise ValueError(f"{self.method} sends no body")
        return self.method or ("POST" if sends else "GET")


def _parts(maker: "Maker", field: str, parts: Mapping[str, Any]) -> tuple[tuple[str, Template], ...]:
    return tuple(
        (name, maker.value(f"{field}.{name}", local_text(part)) if part.strip() else _NOTHING)
        for name, part in parts.items()
        if not isinstance(part, Secret)
    )


def _secrets(parts: Mapping[str, Any]) -> dict[str, SecretUse]:
    return {
        name: SecretUse(part.secret, part.prefix) for name, part in parts.items() if isinstance(part, Secret)
    }


def _way(source: str) -> paths.Path:
    try:
        return paths.path(source, where="save")
    except RejectedInput as error:
        raise ValueError(error.what) from None


def _body(maker: "Maker", body: Any) -> Any:
    """The body with its texts made templates; a tree for JSON, a template for text, None for nothing."""
    leaves = 0

    def made(value: Any, field: str, depth: int) -> Any:
        nonlocal leaves
        leaves += 1
        if leaves > MAX_LEAVES or depth > MAX_NESTING:
            raise ValueError(f"a body has at most {MAX_LEAVES} values, {MAX_NESTING} deep")
        match value:
            case dict():
                return {str(key): made(item, f"{field}.{key}", depth + 1) for key, item in value.items()}
            case list():
                return [made(item, f"{field}.{n}", depth + 1) for n, item in enumerate(value)]
            case str():
                return maker.value(field, local_text(value)) if value.strip() else _NOTHING
            case _:
                return value

    return made(body, "body", 0)


@dataclass(frozen=True, slots=True)
class HttpRun(StepRun):
    method: str
    url: Template
    query: tuple[tuple[str, Template], ...]
    headers: tuple[tuple[str, Template], ...]
    secrets: dict[str, SecretUse]
    secret_query: dict[str, SecretUse]
    body: Any
    form: tuple[tuple[str, Template], ...] | None
    timeout_ms: int
    idempotent: bool
    save: tuple[tuple[paths.Path, str], ...]
    result: str | None
    on: dict[str, str]
    error: str | None
    next: str | None
    excellent: bool

    def enter(self, turn: "Turn") -> None:
        try:
            url, headers, body = self._url(turn), self._headers(turn), self._content(turn)
        except ValueError as error:
            raise FlowError(str(error), step_id=turn.state.step) from None
        if self.excellent and not _ORIGIN.match(url):  # nothing to call: as if nobody had answered, as there
            turn.fault(f"no web address to call: {url[:100]!r}")
            self.due(turn)
            return
        if body is not None and not any(name.lower() == "content-type" for name in headers):
            headers["Content-Type"] = self._content_type()
        turn.call(
            CallHttp(
                step_id=turn.state.step,
                visit=turn.state.visit,
                method=self.method,
                url=url,
                timeout_ms=self.timeout_ms,
                deadline=turn.now + self.timeout_ms + GRACE_MS,
                headers=headers,
                secrets=self.secrets,
                secret_query=self.secret_query,
                body=body,
                idempotent=self.idempotent,
            )
        )

    def called(self, turn: "Turn", answer: HttpAnswered) -> None:
        asked = self._asked(turn)
        usable = not answer.problem and answer.status > 0
        succeeded = usable and 200 <= answer.status < 300
        if succeeded and self.save:
            usable = succeeded = self._save(turn, answer.body)
        self._record(turn, answer.status, succeeded, asked, answer.body)
        turn.mark("answered" if usable else "timeout" if answer.problem == "timeout" else "invalid")
        turn.go(self._way_on(answer.status, succeeded) if usable else self.error)

    def due(self, turn: "Turn") -> None:
        self._record(turn, 0, False, self._asked(turn))
        turn.mark("timeout")
        turn.go(self.error)

    def _way_on(self, status: int, succeeded: bool) -> str | None:
        named = self.on.get(str(status)) or self.on.get(f"{status // 100}xx")
        return named or (self.next if succeeded else self.error)

    def _record(self, turn: "Turn", status: int, succeeded: bool, asked: str, body: str = "") -> None:
        data = self._webhook(turn, status, body) if self.excellent else None
        if self.result is not None:
            value = str(status) if self.excellent else status  # RapidPro's results are texts
            turn.record(self.result, Result(value, "Success" if succeeded else "Failure", asked, data))

    def _webhook(self, turn: "Turn", status: int, body: str) -> Any:
        """The last answer as RapidPro's expressions read it, `@webhook.status` and `@webhook.json`; gives its JSON."""
        try:
            data = paths.plain(msgspec.json.decode(body)) if body else None
        except (msgspec.DecodeError, RecursionError):
            data = None
        if len(msgspec.json.encode(data)) > MAX_WEBHOOK:
            data = None
        turn.save("session.webhook", {"status": status, "json": data})
        return data

    def _asked(self, turn: "Turn") -> str:
        """What was asked, for people: of the address what stands before its query, which is nobody's business."""
        try:
            url = self._url(turn)
            shown = url if self.excellent else url.partition("?")[0]  # flows of RapidPro's may read it again
            return f"{self.method} {shown}"[:MAX_FIELD]
        except ValueError:  # what it is made of has grown since
            return self.method

    def _save(self, turn: "Turn", body: str) -> bool:
        """Keeps what the ways lead to; false, and nothing kept, when the answer is no JSON."""
        try:
            data = msgspec.json.decode(body)
        except (msgspec.DecodeError, RecursionError):
            return False
        for way, place in self.save:
            turn.save(place, fitting(way.read(data), place))
        return True

    def _url(self, turn: "Turn") -> str:
        if self.excellent:  # its authors encode values themselves (`url_encode`)
            url = quote(_CONTROLS.sub("", self.url.render(turn)).strip(), safe=_UNSAFE)
        else:
            url = self.url.render(turn, escape=_encoded)
        given = "&".join(f"{_encoded(name)}={_encoded(value.render(turn))}" for name, value in self.query)
        if given:
            url = url.partition("#")[0]
            url += ("&" if "?" in url else "?") + given
        if len(url) > 2 * MAX_URL:
            raise ValueError(f"the address grew past {2 * MAX_URL} characters")
        return url

    def _headers(self, turn: "Turn") -> dict[str, str]:
        """Headers of one line each: what a person wrote must not begin another one."""
        return {
            name: _CONTROLS.sub(" ", value.render(turn)).strip()[:MAX_FIELD] for name, value in self.headers
        }

    def _content_type(self) -> str:
        if self.form is not None:
            return "application/x-www-form-urlencoded"
        return "application/json" if isinstance(self.body, dict | list) else "text/plain; charset=utf-8"

    def _content(self, turn: "Turn") -> str | None:
        if self.form is not None:
            body = "&".join(f"{_encoded(name)}={_encoded(value.render(turn))}" for name, value in self.form)
        elif self.body is None:
            return None
        elif isinstance(self.body, dict | list):
            body = msgspec.json.encode(_filled(self.body, turn)).decode()
        else:
            body = self.body.render(turn)
        if len(body) > MAX_BODY:
            raise ValueError(f"the body grew past {MAX_BODY} characters")
        return body


def _encoded(value: str) -> str:
    """Text as one part of an address: nothing in it can begin another part."""
    return quote(value, safe="")


def _filled(tree: Any, turn: "Turn") -> Any:
    """A body with its templates' values: a leaf that is one placeholder keeps its kind (number, list, nothing)."""
    match tree:
        case dict():
            return {key: _filled(item, turn) for key, item in tree.items()}
        case list():
            return [_filled(item, turn) for item in tree]
        case str() | int() | float() | None:
            return tree
        case _:
            return paths.plain(tree.evaluate(turn))


def fitting(value: Any, place: str) -> Any:
    """A value as its place can keep it; None where it cannot."""
    if place.startswith("session."):
        if isinstance(value, str):
            return value[:MAX_TEXT]
        if isinstance(value, list | dict) and len(msgspec.json.encode(value)) > MAX_KEPT:
            return None
        return value
    if place.startswith("contact.fields."):
        if isinstance(value, list):
            return [_short(item) for item in value if isinstance(item, str | int | float)]
        return None if isinstance(value, dict) else _short(value)
    return None if value is None or isinstance(value, list | dict) else str(_short(value))


def _short(value: Any) -> Any:
    return value[:MAX_FIELD] if isinstance(value, str) else value
