"""Tests of flows: dialogues in `*.test.yaml` beside a flow, played on a virtual clock.

```yaml
flow: lead
with: {channel: telegram, language: it, contact: {tags: [vip]}}
dialogue:
  - user: ciao                # or {tap: price}, {after: 2 days}, {location: {lat, lon}}, {file: {kind, name}},
  - bot: Ciao a te!           #    {contact: {phone}}, {deep_link: promo-1}
  - bot: ~e-mail              # ~ contains, in any case; without it the whole text counts
  - buttons: [Prezzi, Una visita]
  - message: {kind: album, items.0.caption: La sala}   # takes the next message like `bot`, and looks at all it is
  - expect: {http.method: GET, http.url: https://shop.example.com/orders/12}
  - http: {status: 200, body: {status: sent}}      # the answer to that call; status 0: no connection
  - expect: {contact.email: anna@example.com, session.interest: price, ended: true}
```

`bot` takes the next message of the turn; messages that are not mentioned need not be. Several dialogues stand under
`dialogues: {name: […]}`. A dialogue that begins with `bot` or `message` starts the flow by itself, else its triggers
decide.
`expect` reads the paths that templates read, `http.method|url|headers.…|body…` of the last call, and `ended`,
`outcome`, `step`, `waiting`, `bot_messages` (how many).
`with` also takes `new: false`: the contact has written here before, so that nothing starts by a first message.
What the flow brought about so far stands in `notified` (what the team was told), `conversions` (`[order 49.90 EUR]`),
`feedback.<topic or step>` (the score), `referrals` (programs) and `topics` (those that are followed).
`{referred: summer}` comes by the link of somebody else who invites to that program.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from difflib import get_close_matches
from typing import Any

import msgspec

from domain.comparisons import fold
from domain.effects import (
    Effect,
    HandOver,
    NotifyTeam,
    RecordConversion,
    RecordFeedback,
    RecordReferral,
    SessionFailed,
    Subscribe,
)
from domain.errors import RejectedInput
from domain.messages import Content, text_of
from flows import amounts, happenings, paths, referrals
from flows import business as businesses
from flows.business import BusinessView, Purpose
from flows.player import call, contact_from, http_answer
from flows.rehearsal import START_AT, Rehearsal, received, span
from flows.versions import CompiledFlow
from flows.yaml_reader import Document, read

MAX_LINES = 2_000  # of all dialogues in a file
SAYS = ("user", "tap", "location", "file", "contact", "deep_link", "referred")
_LINES = (*SAYS, "bot", "message", "buttons", "expect", "after", "http", *happenings.LINES)
AROUND = 60  # characters before and behind the first difference of long texts


@dataclass(frozen=True, slots=True)
class Result:
    """How a dialogue went. `line` is that of the first difference (0: none), `difference` what differs, and
    `transcript` all that was said until then, one line each."""

    name: str
    passed: bool
    line: int = 0
    difference: str = ""
    transcript: list[str] = field(default_factory=list)

    def __str__(self) -> str:
        if self.passed:
            return f"passed  {self.name}"
        said = "\n".join(f"    {line}" for line in self.transcript)
        return f"FAILED  {self.name}, line {self.line}\n{said}\n  {self.difference}"


def run(
    text: str, name: str, flows: Sequence[CompiledFlow], *, business: BusinessView | None = None
) -> list[Result]:
    """Plays every dialogue of a test file. `flows` hold the tested one and those it may call; `name` is the file's.

    Raises RejectedInput when the file itself is at fault; a difference is a Result.
    """
    document = read(text, name=name)
    data = document.data
    if not isinstance(data, dict):
        raise RejectedInput("a test file is a mapping with flow and dialogue", where=name)
    unknown = set(data) - {"flow", "with", "dialogue", "dialogues"}
    if unknown:
        raise RejectedInput(f"no such key: {', '.join(sorted(unknown))}", where=name)
    ordered = sorted(flows, key=lambda flow: flow.key != data.get("flow"))
    if not ordered or ordered[0].key != data.get("flow"):
        raise RejectedInput(f"there is no flow {data.get('flow')!r} among those given", where=f"{name}, flow")
    results = []
    for title, path in _dialogues(document, name):
        stage = _Stage(document, path, name, ordered, business or businesses.sample())
        results.append(stage.play(title))
    return results


def _dialogues(document: Document, name: str) -> list[tuple[str, tuple[str, ...]]]:
    data = document.data
    found: list[tuple[str, tuple[str, ...]]] = []
    if "dialogue" in data:
        found.append(("dialogue", ("dialogue",)))
    if isinstance(data.get("dialogues"), dict):
        found.extend((title, ("dialogues", title)) for title in data["dialogues"])
    lines = [_at(data, path) for _, path in found]
    if not found or not all(isinstance(each, list) and each for each in lines):
        raise RejectedInput("needs dialogue: [ … ] or dialogues: {name: [ … ]}", where=name)
    if sum(len(each) for each in lines) > MAX_LINES:
        raise RejectedInput(f"at most {MAX_LINES} lines", where=name)
    return found


def _at(data: Any, path: Sequence[str]) -> Any:
    for part in path:
        data = data[part]
    return data


class _Difference(Exception):
    """What was expected is not what came."""


class _Stage:
    """One dialogue while it is played."""

    def __init__(
        self,
        document: Document,
        path: tuple[str, ...],
        name: str,
        flows: Sequence[CompiledFlow],
        business: BusinessView,
    ) -> None:
        self._document = document
        self._path = path
        self._name = name
        self._lines: list[Any] = _at(document.data, path)
        self._setting = _setting(document.data.get("with") or {}, f"{name}, with")
        self._rehearsal = Rehearsal(
            flows,
            channel_kind=self._setting["channel"],
            language=self._setting["language"],
            contact=contact_from(self._setting["contact"]),
            business=_business(business, self._setting["business"], f"{name}, with.business"),
            now=START_AT,
            new=bool(self._setting["new"]),
        )
        self._unread: list[Content] = []  # messages of this turn that no line has taken
        self._shown: list[Content] = []  # messages that a tap may mean
        self._current: Content | None = None
        self._transcript: list[str] = []

    def play(self, title: str) -> Result:
        number = 0
        try:
            if isinstance(self._lines[0], dict) and not {"bot", "message"}.isdisjoint(self._lines[0]):
                self._rehearsal.begin()
                self._spoken()
            for number, line in enumerate(self._lines):
                self._play(line, number)
        except _Difference as difference:
            at = self._document.line((*self._path, number))
            return Result(title, False, at, str(difference), self._transcript)
        return Result(title, True, transcript=self._transcript)

    def _play(self, line: Any, number: int) -> None:
        where = f"{self._name}, line {self._document.line((*self._path, number))}"
        if not isinstance(line, dict) or len(line) != 1:
            raise RejectedInput(_no_line(line), where=where)
        (key, value), *_ = line.items()
        if key in SAYS:
            self._transcript.append(f"{key}: {value}")
            self._hear(key, value, where)
        elif key in happenings.LINES:
            self._transcript.append(f"{key}: {value}")
            self._rehearsal.occur(happenings.happening(key, value, where=where))
            self._spoken()
        elif key == "after":
            self._transcript.append(f"after: {value}")
            self._rehearsal.pass_time(span(value, where=where))
            self._spoken()
        elif key == "http":
            self._transcript.append(f"http: {value}")
            status, body, problem = http_answer(value, where=where)
            if not self._rehearsal.answer_call(status, body, problem):
                raise _Difference("no call waits for an answer")
            self._spoken()
        elif key == "bot":
            self._bot(_words(value))
        elif key == "buttons":
            self._buttons(value, where)
        elif key == "message":
            self._message(value, where)
        elif key == "expect":
            self._expect(value, where)
        else:
            raise RejectedInput(_unknown_line(str(key)), where=where)

    def _hear(self, key: str, value: Any, where: str) -> None:
        if key == "referred":
            rehearsal = self._rehearsal
            somebody = 1 if rehearsal.contact.id != 1 else 2
            key, value = "deep_link", referrals.payload(rehearsal.channel.key, str(value), somebody)
        if key == "deep_link":
            content = received({"text": f"/start {value}"}, (), where=where)
            self._rehearsal.hear(content, deep_link=str(value))
        else:
            short = {"text": _words(value)} if key == "user" else {key: value}
            self._rehearsal.hear(received(short, self._shown, where=where))
        self._spoken()

    def _spoken(self) -> None:
        messages = self._rehearsal.messages
        self._unread = list(messages)
        self._current = None
        self._shown = messages or self._shown
        for content in messages:
            titles = [button.title for button in getattr(content, "buttons", ())]
            self._transcript.append(f"bot: {text_of(content)}" + (f"  {titles}" if titles else ""))

    def _bot(self, wanted: str) -> None:
        if not self._unread:
            raise _Difference(f"expected a message {wanted!r}, but nothing more was said")
        self._current = self._unread.pop(0)
        said = text_of(self._current)
        if wanted.startswith("~"):
            if fold(wanted[1:].strip()) not in fold(said):
                raise _Difference(f"expected {wanted[1:].strip()!r} in {said!r}{self._later(wanted)}")
        elif wanted != said:
            raise _Difference(unlike(wanted, said) + self._later(wanted))

    def _later(self, wanted: str) -> str:
        """That it comes, but not as the next message."""
        part = fold(wanted[1:].strip()) if wanted.startswith("~") else ""
        for number, content in enumerate(self._unread, 2):
            said = text_of(content)
            if said == wanted or (part and part in fold(said)):
                return f"\n(that is message {number} from here: a message before it was not expected)"
        return ""

    def _message(self, wanted: Any, where: str) -> None:
        if not isinstance(wanted, dict):
            raise RejectedInput("message is a mapping, such as {kind: location, latitude: 41.9}", where=where)
        if not self._unread:
            raise _Difference(f"expected a message {wanted!r}, but nothing more was said")
        self._current = self._unread.pop(0)
        for path, value in wanted.items():
            actual = msgspec.to_builtins(self._current)
            for part in path.split("."):
                actual = _part(actual, part)
            if actual != value:
                raise _Difference(f"expected the message's {path} to be {value!r}, but it is {actual!r}")

    def _buttons(self, wanted: Any, where: str) -> None:
        if not isinstance(wanted, list):
            raise RejectedInput("buttons is a list of labels", where=where)
        content = self._current or (self._shown[-1] if self._shown else None)
        titles = [button.title for button in getattr(content, "buttons", ())]
        if titles != [str(label) for label in wanted]:
            raise _Difference("of the buttons: " + unlike([str(label) for label in wanted], titles))

    def _expect(self, wanted: Any, where: str) -> None:
        if not isinstance(wanted, dict):
            raise RejectedInput("expect is a mapping of paths to values", where=where)
        for path, value in wanted.items():
            actual = self._read(path, where)
            if isinstance(actual, (set, frozenset)):
                actual = sorted(actual)
                value = sorted(value) if isinstance(value, list) else value
            if actual != value:
                raise _Difference(f"expected {path} to be {value!r}, but it is {actual!r}{self._left(path)}")

    def _left(self, path: str) -> str:
        """The messages that no line took, where their number is asked for."""
        if path != "bot_messages" or not self._unread:
            return ""
        return "".join(f"\n  also said: {text_of(content)!r}" for content in self._unread)

    def _read(self, path: str, where: str) -> Any:
        rehearsal = self._rehearsal
        session = rehearsal.state or rehearsal.last_state
        match path.split("."):
            case ["ended"]:
                return rehearsal.ended
            case ["outcome"]:
                return rehearsal.outcome
            case ["step"]:
                return session.step if session else None
            case ["waiting"]:
                return rehearsal.state.waiting if rehearsal.state else ""
            case ["bot_messages"]:
                return len(rehearsal.messages)
            case ["notified" | "conversions" | "feedback" | "referrals" | "topics", *rest] if len(rest) < 2:
                return brought_about(rehearsal.happened, *path.split(".", 1))
            case ["contact", "fields", key]:
                return rehearsal.contact.fields.get(key)
            case ["contact", key] if key in rehearsal.contact.__struct_fields__:
                return getattr(rehearsal.contact, key)
            case ["consent", purpose]:
                return rehearsal.contact.consents.get(purpose)
            case ["http", ("method" | "url" | "body") as part]:
                return None if rehearsal.last_call is None else call(rehearsal.last_call)[part]
            case ["http", "headers", name]:
                return None if rehearsal.last_call is None else call(rehearsal.last_call)["headers"].get(name)
            case ["http", "body", *inside] if inside and rehearsal.last_call is not None:
                return _inside(rehearsal.last_call.body or "", ".".join(inside), where)
            case ["session", *keys]:
                value: Any = session.variables if session else {}
                for key in keys:
                    value = value.get(key) if isinstance(value, dict) else None
                return value
            case ["result", key, *part]:
                result = session.results.get(key) if session else None
                return getattr(result, part[0] if part else "value", None)
        raise RejectedInput(f"{path} leads nowhere", where=where)


def unlike(wanted: object, got: object) -> str:
    """Two things one under the other, with a mark at the first place where they differ; of long ones what is around it.

    expected 'Salve!'
         got 'Ciao!'
              ^
    """
    first, second = repr(wanted), repr(got)
    at = next((n for n, (a, b) in enumerate(zip(first, second, strict=False)) if a != b), None)
    at = min(len(first), len(second)) if at is None else at
    begin = max(0, at - AROUND) if max(len(first), len(second)) > 2 * AROUND else 0
    mark = " " * (len("expected ") + (begin > 0) + at - begin) + "^"
    return f"expected {_piece(first, begin)}\n     got {_piece(second, begin)}\n{mark}"


def _piece(text: str, begin: int) -> str:
    end = begin + 2 * AROUND
    return ("…" if begin else "") + text[begin:end] + ("…" if end < len(text) else "")


def _no_line(line: Any) -> str:
    if isinstance(line, dict) and len(line) > 1:
        return f"one thing a line: {', '.join(map(str, line))} are several; put a dash before each"
    example = "such as {user: ciao} or {bot: ~benvenuto}"
    return f"a line is a word and what belongs to it, {example}; there are {', '.join(_LINES)}"


def _unknown_line(key: str) -> str:
    meant = get_close_matches(key, _LINES, 1)
    hint = f"perhaps {meant[0]} is meant; " if meant else ""
    return f"no such line: {key}; {hint}there are {', '.join(_LINES)}"


def _inside(body: str, path: str, where: str) -> Any:
    """What a way leads to in a body of JSON."""
    try:
        data = json.loads(body)
    except ValueError:
        return None
    return paths.path(path, where=where).read(data)


def brought_about(happened: Sequence[Effect], what: str, which: str = "") -> Any:
    """What effects amount to, in the short form of `expect`."""
    match what:
        case "notified":
            return [text for effect in happened for text in (_told(effect),) if text is not None]
        case "conversions":
            found = [effect for effect in happened if isinstance(effect, RecordConversion)]
            return [
                f"{one.name} {amounts.plain(one.amount, one.currency)}" if one.currency else one.name
                for one in found
            ]
        case "feedback":
            scores = [effect for effect in happened if isinstance(effect, RecordFeedback)]
            return next((one.score for one in reversed(scores) if which in (one.topic, one.step_id)), None)
        case "referrals":
            return [effect.program for effect in happened if isinstance(effect, RecordReferral)]
    topics = {effect.topic: effect.on for effect in happened if isinstance(effect, Subscribe)}
    return [topic for topic, on in topics.items() if on]


def _told(effect: Effect) -> str | None:
    """What the team is told by it; None when it is not told."""
    match effect:
        case NotifyTeam(text=text) | HandOver(note=text):
            return text
        case SessionFailed(step_id=step_id, problem=problem):
            return f"step {step_id}: {problem}"
    return None


def _part(data: Any, part: str) -> Any:
    """What stands inside, by key or by number; None where there is nothing."""
    if isinstance(data, dict):
        return data.get(part)
    inside = isinstance(data, (list, tuple)) and part.isdecimal() and int(part) < len(data)
    return data[int(part)] if inside else None


def _words(value: Any) -> str:
    """What the author wrote, also where YAML took it for a number or a truth."""
    return str(value).lower() if isinstance(value, bool) else "" if value is None else str(value)


def _setting(data: Any, where: str) -> dict[str, Any]:
    allowed: dict[str, Any] = {
        "channel": "telegram", "language": None, "contact": {}, "business": {}, "new": True,
    }  # fmt: skip
    if not isinstance(data, dict) or set(data) - set(allowed):
        raise RejectedInput(f"may have {', '.join(allowed)}", where=where)
    return {**allowed, **data}


def _business(default: BusinessView, data: Mapping[str, Any], where: str) -> BusinessView:
    """The business of the test: what it names, and for the rest the one given."""
    if not data:
        return default
    try:
        purposes = {
            key: Purpose(str(purpose["version"]), {k: str(v) for k, v in purpose["wording"].items()})
            for key, purpose in data.get("purposes", {}).items()
        }
    except (KeyError, TypeError, AttributeError):
        raise RejectedInput("purposes are {key: {version, wording: {it, en}}}", where=where) from None
    return msgspec.structs.replace(
        default,
        name=str(data.get("name", default.name)),
        region=str(data.get("region", default.region)),
        timezone=str(data.get("timezone", default.timezone)),
        purposes={**default.purposes, **purposes},
    )
