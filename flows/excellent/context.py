"""What names at the top of the context mean on a turn of ours: RapidPro's words for our data.

| name | is |
|---|---|
| `contact` | the contact; written: its name, else its number. `groups` are its tags (name and uuid are the tag) |
| `contact.tickets` | empty: a conversation is handed over, there are none |
| `fields` | `contact.fields` |
| `urns` | the contact's addresses by scheme (tel, telegram, whatsapp, mailto …), the first of each |
| `results` | results of this flow: value, category, input, name; written: the value |
| `input` | what the contact sent last; written: its text |
| `run`, `parent`, `child` | this flow, its caller and the flow it called last: flow, status, results, contact |
| `locals` | the session's variables |
| `globals`, `webhook`, `legacy_extra` | the session's variables so called; `webhook` has status, headers, json |
| `ticket` | nothing |
| `trigger`, `resume`, `node` | how the session began (its variable `trigger`), how it went on, `visit_count` |

A name is asked only when it is read: a template that says `@contact.name` makes nothing else.
"""

from __future__ import annotations

import uuid
from collections.abc import Callable, Iterable, Mapping
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from functools import partial
from typing import TYPE_CHECKING, Any

from flows import languages
from flows.excellent.environment import MONTH_FIRST, Environment
from flows.excellent.values import MAX_TEXT, Object, lift, text
from flows.state import Result

if TYPE_CHECKING:
    from flows.turns import Turn

_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_SPACE = uuid.UUID(
    "6f0c1a52-7d0e-5b52-9d0f-2f4f0f3a9b11"
)  # ours: ids of contacts and flows as RapidPro shows them
_SCHEMES = {
    "telegram_user": "telegram", "wa_phone": "whatsapp", "wa_bsuid": "whatsapp", "phone": "tel", "email": "mailto",
}  # fmt: skip


def environment_of(turn: Turn) -> Environment:
    """How values are read and written for this contact. Places are not known to a business of ours: none."""
    zone = turn.zone()
    region = turn.business.region
    return Environment(
        now=datetime.fromtimestamp(turn.now / 1000, zone),
        zone=zone,
        region=region,
        phone=_phone(turn),
        language=turn.language,
        month_first=region in MONTH_FIRST,
    )


def root_of(turn: Turn) -> Callable[[str], Callable[[], Any] | None]:
    """What answers the names of the context for a turn."""

    def root(name: str) -> Callable[[], Any] | None:
        made = _ROOTS.get(name)
        return None if made is None else lambda: made(turn)

    return root


def path_of(path: tuple[str, ...]) -> str | None:
    """A path of the context in the words of our own templates, for inspection; None where ours has no such word."""
    lower = [part.lower() for part in path]
    match lower:
        case ["results" | "result", key, *_]:
            return f"result.{path[1]}"
        case ["run", "results", key, *_]:
            return f"result.{path[2]}"
        case ["locals", key, *_]:
            return f"session.{path[1]}"
        case ["fields", key, *_]:
            return f"contact.fields.{key}"
        case ["contact", "fields", key, *_]:
            return f"contact.fields.{key}"
        case ["contact", ("name" | "first_name" | "language" | "timezone") as key, *_]:
            return f"contact.{key}"
        case ["contact"]:
            return "contact.name"
        case ["node", "visit_count"] | ["node"]:
            return "node.visit_count"
    return None


# --- contact ------------------------------------------------------------------------------------------------


def _contact(turn: Turn) -> Object:
    view = turn.contact
    return Object(
        {
            "uuid": lambda: str(uuid.uuid5(_SPACE, f"contact {view.id}")),
            "id": lambda: str(view.id),
            "name": lambda: view.name,
            "first_name": lambda: view.first_name or view.name.partition(" ")[0],
            "last_name": lambda: view.last_name,
            "language": lambda: _three(view.language),
            "timezone": lambda: view.timezone or str(turn.zone()),
            "status": lambda: "active",
            "created_on": lambda: _moment(turn, view.created_at),
            "last_seen_on": lambda: _moment(turn, turn.state.last.at) if turn.state.last else None,
            "urns": lambda: [f"{scheme}:{path}" for scheme, path in _addresses(turn)],
            "urn": lambda: next((f"{scheme}:{path}" for scheme, path in _addresses(turn)), ""),
            "groups": lambda: [Object({"uuid": tag, "name": tag}) for tag in sorted(view.tags)],
            "fields": lambda: _fields(turn),
            "channel": lambda: Object(
                {
                    "uuid": turn.channel.kind,
                    "name": turn.channel.name or turn.channel.kind,
                    "address": turn.channel.link,
                },
                default=turn.channel.name or turn.channel.kind,
            ),
            "tickets": lambda: [],
            "email": lambda: view.email or "",
            "tel": lambda: view.phone or "",
        },
        default=view.name or view.phone or str(view.id),
        lazy=True,
    )


def _fields(turn: Turn) -> Object:
    fields = turn.contact.fields
    return Object(fields, default=lambda: _lines(fields.items()), dynamic=True, raw=True)


def _lines(values: Iterable[tuple[str, Any]]) -> str:
    """How RapidPro writes all fields or results: a line `Favorite Color: red` for each that has a value."""
    shown = [(_named(key), text(lift(value))) for key, value in values]
    return "\n".join(sorted(f"{name}: {value}" for name, value in shown if value))[:MAX_TEXT]


def _named(key: str) -> str:
    """What RapidPro calls a thing with that key, as far as the key says it."""
    return " ".join(word[:1].upper() + word[1:] for word in key.split("_"))


def _urns(turn: Turn) -> Object:
    found: dict[str, str] = {}
    for scheme, path in _addresses(turn):
        found.setdefault(scheme, f"{scheme}:{path}")
    return Object(found, dynamic=True)


def _addresses(turn: Turn) -> list[tuple[str, str]]:
    """The contact's addresses as (scheme, path)."""
    view = turn.contact
    found = []
    for identity in view.identities:
        kind, value = str(identity.get("kind", "")), str(identity.get("value", ""))
        if kind and value:
            found.append((_SCHEMES.get(kind, kind), value.removeprefix("+") if kind == "wa_phone" else value))
    if view.phone:
        found.append(("tel", view.phone))
    if view.email:
        found.append(("mailto", view.email))
    return found


def _phone(turn: Turn) -> str:
    """A number of the contact with its country; empty when none is known."""
    for scheme, path in _addresses(turn):
        if scheme == "tel":
            return path
        if scheme == "whatsapp" and path.isdecimal():
            return f"+{path}"
    return ""


def _three(language: str | None) -> str:
    """RapidPro's three letters of a language."""
    return languages.long(language or "")


def _moment(turn: Turn, ms: int) -> datetime | None:
    return (_EPOCH + timedelta(milliseconds=ms)).astimezone(turn.zone()) if ms else None


# --- results and runs ---------------------------------------------------------------------------------------


def _results(turn: Turn, results: Mapping[str, Result]) -> Object:
    return Object(
        {key: partial(_result, turn, key, result) for key, result in results.items()},
        default=lambda: _lines((key, result.value) for key, result in results.items()),
        lazy=True,
    )


def _own_results(turn: Turn) -> Object:
    return _results(turn, turn.state.results)


def _nothing(turn: Turn) -> None:
    return None


def _result(turn: Turn, key: str, result: Result) -> Object:
    value = lift(result.value)
    return Object(
        {
            "name": _named(key),
            "value": value,
            "values": [value],
            "category": result.category,
            "categories": [result.category],
            "category_localized": result.localized or result.category,
            "input": result.input,
            "extra": lift(result.extra),
            "created_on": _moment(turn, result.at),
        },
        default="" if value is None else value,
    )


def _run(turn: Turn) -> Object:
    return _run_of(turn, turn.state.flow, "active", turn.state.results)


def _run_of(turn: Turn, flow: str, status: str, results: Mapping[str, Result] | None) -> Object:
    return Object(
        {
            "uuid": lambda: str(uuid.uuid5(_SPACE, f"run {turn.contact.id} {flow}")),
            "contact": lambda: _contact(turn),
            "flow": lambda: Object({"uuid": flow, "name": _title(turn, flow)}, default=_title(turn, flow)),
            "status": lambda: status,
            "run": lambda: Object({"status": status}),  # `@child.run.status` is how exports of 13.0 ask
            "results": lambda: _results(turn, results or {}),
            "fields": lambda: _fields(turn),
            "urns": lambda: _urns(turn),
            "created_on": lambda: None,
            "exited_on": lambda: None,
        },
        default=f"{turn.contact.name or turn.contact.phone or turn.contact.id}@{_title(turn, flow)}",
        lazy=True,
    )


def _title(turn: Turn, key: str) -> str:
    """What a flow is called, in the session's language; its key where it has no title."""
    flow = turn.flow if turn.flow.key == key else turn.library.get(key)
    title = flow.document.title if flow is not None else None
    if title is None:
        return key
    return (title.wordings.get(turn.language) or next(iter(title.wordings.values())))[0]


def _parent(turn: Turn) -> Object | None:
    """The caller's run; one that shares its values with the sub-flow has the same results."""
    stack = turn.state.stack
    if not stack:
        return None
    frame = stack[-1]
    results = frame.results if frame.results is not None else turn.state.results
    return _run_of(turn, frame.flow, "active", results)


_STATUSES = {"completed": "completed", "failed": "failed", "expired": "expired"}


def _child(turn: Turn) -> Object | None:
    """The run of the flow that was called last; what shared this flow's values wrote its results here."""
    child = turn.state.child
    if child is None:
        return None
    return _run_of(
        turn, child.flow, _STATUSES.get(child.outcome, "completed"), child.results or turn.state.results
    )


# --- what came in -------------------------------------------------------------------------------------------


def _input(turn: Turn) -> Object | None:
    last = turn.state.last
    if last is None:
        return None
    return Object(
        {
            "uuid": lambda: str(uuid.uuid5(_SPACE, f"input {turn.contact.id} {last.at}")),
            "text": lambda: last.text,
            "attachments": lambda: list(last.attachments),
            "created_on": lambda: _moment(turn, last.at),
            "urn": lambda: next((f"{scheme}:{path}" for scheme, path in _addresses(turn)), ""),
            "channel": lambda: _contact(turn).get("channel"),
            "external_id": lambda: "",
            "payload": lambda: lift(last.payload),
            "type": lambda: "msg",
        },
        default="\n".join([last.text, *last.attachments]).strip("\n"),
        lazy=True,
    )


def _trigger(turn: Turn) -> Object:
    known = turn.state.variables.get("trigger")
    found = {str(key): lift(value) for key, value in known.items()} if isinstance(known, dict) else {}
    params = lift({key: value for key, value in turn.state.variables.items() if key != "trigger"})
    defaults: dict[str, Any] = {
        "type": "msg" if turn.state.last is not None else "manual",
        "params": params, "keyword": "", "user": "", "origin": "", "campaign": None, "optin": None, "ticket": None,
    }  # fmt: skip
    return Object(defaults | found)


def _resume(turn: Turn) -> Object:
    return Object({"type": "msg" if turn.state.last is not None else "wait_timeout", "dial": None})


def _node(turn: Turn) -> Object:
    entered = turn.state.visits.get(f"{turn.state.flow}/{turn.state.step}", 1)
    return Object({"uuid": turn.state.step, "visit_count": Decimal(entered)})


def _webhook(turn: Turn) -> Object:
    """What the `http` step kept: an object with status, headers and json; anything else counts as the json."""
    known = turn.state.variables.get("webhook")
    if isinstance(known, dict) and "json" in known:
        return lift({"status": 0, "headers": {}, **known})  # type: ignore[no-any-return]  # a dict gives an Object
    return Object({"status": Decimal(0), "headers": Object({}), "json": lift(known)})


def _variables(name: str) -> Callable[[Turn], Object]:
    def made(turn: Turn) -> Object:
        known = turn.state.variables.get(name)
        return Object(known if isinstance(known, dict) else {}, dynamic=True, raw=True)

    return made


def _legacy_extra(turn: Turn) -> Any:
    """What came from outside so far: what the flow was started with, groups of patterns, answers of services, the later
    ones before those of the same name. Where something was put there by hand, that alone."""
    if "legacy_extra" in turn.state.variables:
        return _variables("legacy_extra")(turn)
    found: dict[str, Any] = {}
    trigger = turn.state.variables.get("trigger")
    answer = turn.state.variables.get("webhook")
    answered = answer.get("json") if isinstance(answer, dict) and "json" in answer else answer
    for source in (trigger, *(result.extra for result in turn.state.results.values()), answered):
        if isinstance(source, dict):
            found |= source
        elif isinstance(source, list):
            found |= {str(number): item for number, item in enumerate(source)}
    return lift(found)


def _locals(turn: Turn) -> Object:
    return Object(turn.state.variables, dynamic=True, raw=True)


_ROOTS: dict[str, Callable[[Turn], Any]] = {
    "contact": _contact,
    "fields": _fields,
    "urns": _urns,
    "results": _own_results,
    "input": _input,
    "run": _run,
    "child": _child,
    "parent": _parent,
    "ticket": _nothing,
    "webhook": _webhook,
    "node": _node,
    "globals": _variables("globals"),
    "locals": _locals,
    "trigger": _trigger,
    "resume": _resume,
    "legacy_extra": _legacy_extra,
}
ROOTS = frozenset(_ROOTS)
