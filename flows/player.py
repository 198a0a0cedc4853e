"""Plays a flow: one line in, one object out, on a virtual clock. What `flow play --json` prints.

In, one JSON object each: `{"text": …}`, `{"tap": option id or text}`, `{"after": "2 days"}`,
`{"location": {lat, lon}}`, `{"file": {kind, name}}`, `{"contact": {phone}}`, `{"http": {status, body}}`. Out, the first
before any input: `{"messages": [{"text", "buttons", "media"}], "waiting", "ended", "contact", "session", "http"}`,
and `faults` where expressions went wrong. An `http` that is not empty, `{method, url, headers, body}`, waits for its
answer; status 0 is a failed connection. Secrets in it are shown by their names.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any

import msgspec

from domain.contacts import ContactView
from domain.effects import CallHttp
from domain.errors import RejectedInput
from domain.messages import Album, Button, ContactRequest, Content, LocationRequest, Media, Text, text_of
from flows import business as businesses
from flows.business import BusinessView
from flows.rehearsal import START_AT, Rehearsal, received, span
from flows.versions import CompiledFlow

MAX_LINE = 100_000  # characters of one input line


def play(
    flows: Sequence[CompiledFlow],
    inputs: Iterable[str | Mapping[str, Any]],
    *,
    channel_kind: str = "telegram",
    language: str | None = None,
    contact: Mapping[str, Any] | None = None,
    business: BusinessView | None = None,
    now: int = START_AT,
    seed: int = 1,
) -> Iterator[dict[str, Any]]:
    """Plays the first flow, the others being at hand as sub-flows; yields one object first and one for each input.

    `contact` is a starting contact as `contact_from` takes it; `now` in ms UTC. Raises RejectedInput naming the input
    by number (counted from 1) when it is none of the forms above. Triggers are not asked: every input goes to the
    session, and once that has ended nothing answers.
    """
    rehearsal = Rehearsal(
        flows,
        channel_kind=channel_kind,
        language=language,
        contact=contact_from(contact or {}),
        business=business or businesses.sample(),
        now=now,
        seed=seed,
    )
    rehearsal.begin()
    shown = rehearsal.messages
    yield output(rehearsal)
    for number, line in enumerate(inputs, 1):
        where = f"input {number}"
        data = _parsed(line, where)
        if data is None:
            continue
        if set(data) == {"after"}:
            rehearsal.pass_time(span(data["after"], where=f"{where}, after"))
        elif set(data) == {"http"}:
            status, body, problem = http_answer(data["http"], where=f"{where}, http")
            if not rehearsal.answer_call(status, body, problem):
                raise RejectedInput("no call waits for an answer", where=where)
        else:
            rehearsal.answer(received(data, shown, where=where))
        shown = rehearsal.messages or shown
        yield output(rehearsal)


def contact_from(data: Mapping[str, Any]) -> ContactView:
    """The contact in `{name, first_name, last_name, email, phone, language, timezone, fields, tags, identities}`, all
    optional. Raises RejectedInput naming the key."""
    unknown = set(data) - set(ContactView.__struct_fields__)
    if unknown:
        raise RejectedInput(f"no such key: {', '.join(sorted(unknown))}", where="contact")
    try:
        made = msgspec.convert(dict(data), ContactView, strict=True)
    except msgspec.ValidationError as error:
        raise RejectedInput(str(error), where="contact") from None
    if made.name and not made.first_name:
        first, _, last = made.name.partition(" ")
        made = msgspec.structs.replace(made, first_name=first, last_name=made.last_name or last)
    return made


def output(rehearsal: Rehearsal) -> dict[str, Any]:
    """The object that is printed after a turn."""
    contact = rehearsal.contact
    session = rehearsal.state or rehearsal.last_state
    shown: dict[str, Any] = {
        "messages": [message(content) for content in rehearsal.messages],
        "waiting": rehearsal.state is not None and bool(rehearsal.state.waiting),
        "ended": rehearsal.ended,
        "contact": {
            "name": contact.name,
            "first_name": contact.first_name,
            "last_name": contact.last_name,
            "email": contact.email,
            "phone": contact.phone,
            "language": contact.language,
            "timezone": contact.timezone,
            "fields": contact.fields,
            "tags": sorted(contact.tags),
            "identities": contact.identities,
            "consents": contact.consents,
        },
        "session": {
            "flow": session.flow if session else None,
            "step": session.step if session else None,
            "outcome": rehearsal.outcome if rehearsal.ended else None,
            "variables": session.variables if session else {},
            "results": {
                key: {"value": result.value, "category": result.category, "input": result.input}
                for key, result in (session.results if session else {}).items()
            },
        },
        "effects": [msgspec.to_builtins(effect) for effect in rehearsal.effects],
        "http": None if rehearsal.call is None else call(rehearsal.call),
    }
    return {**shown, "faults": rehearsal.faults} if rehearsal.faults else shown


def call(waiting: CallHttp) -> dict[str, Any]:
    """A call as the player shows it: `{method, url, headers, body}`, secrets by their names."""
    url = waiting.url
    for name, use in waiting.secret_query.items():
        url += f"{'&' if '?' in url else '?'}{name}={use.prefix}{use.name}"
    secrets = {name: f"{use.prefix}{use.name}" for name, use in waiting.secrets.items()}
    return {
        "method": waiting.method,
        "url": url,
        "headers": {**waiting.headers, **secrets},
        "body": waiting.body or "",
    }


def http_answer(data: Any, *, where: str) -> tuple[int, str, str]:
    """(status, body, problem) of `{status, body}`; a body that is no text is written as JSON. Status 0, or none: a
    failed connection, of which `problem` is the word. Raises RejectedInput naming `where`."""
    if not isinstance(data, dict) or set(data) - {"status", "body", "problem"}:
        raise RejectedInput("an answer is {status, body}", where=where)
    status, body, problem = data.get("status", 0), data.get("body", ""), data.get("problem", "")
    if not isinstance(status, int) or isinstance(status, bool) or not (status == 0 or 100 <= status <= 599):
        raise RejectedInput("a status is a number between 100 and 599, or 0", where=where)
    if not isinstance(problem, str):
        raise RejectedInput("problem is a word", where=where)
    text = body if isinstance(body, str) else "" if body is None else json.dumps(body, ensure_ascii=False)
    return status, text, problem


def message(content: Content) -> dict[str, Any]:
    """A message as the player shows it."""
    buttons: list[Button] = list(getattr(content, "buttons", ()))
    shown: dict[str, Any] = {"text": text_of(content), "buttons": [_button(button) for button in buttons]}
    match content:
        case Text():
            media: list[Any] = []
        case Media(media=kind, source=source):
            media = [{"kind": kind.value, **msgspec.to_builtins(source)}]
        case Album(items=items):
            media = [{"kind": item.media.value, **msgspec.to_builtins(item.source)} for item in items]
        case ContactRequest(button=button):
            media, shown["asks_for"] = [], {"what": "contact", "button": button}
        case LocationRequest(button=button):
            media, shown["asks_for"] = [], {"what": "location", "button": button}
        case _:
            media = [msgspec.to_builtins(content)]
    return {**shown, "media": media}


def _button(button: Button) -> dict[str, str]:
    shown = {"id": button.id, "title": button.title}
    return {**shown, "url": button.url} if button.url else shown


def _parsed(line: str | Mapping[str, Any], where: str) -> Mapping[str, Any] | None:
    """One input; None for an empty line."""
    if not isinstance(line, str):
        return line
    if not line.strip():
        return None
    if len(line) > MAX_LINE:
        raise RejectedInput(f"at most {MAX_LINE} characters", where=where)
    try:
        data = json.loads(line)
    except (ValueError, RecursionError) as error:
        raise RejectedInput(f"not readable as JSON: {error}", where=where) from None
    if not isinstance(data, dict) or len(data) != 1:
        raise RejectedInput('must be an object with one key, such as {"text": "ciao"}', where=where)
    return data
