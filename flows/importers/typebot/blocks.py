"""Each block of Typebot as steps of ours: one function per kind, found by its name in the export.

A function gets the block and a `Place` (where it stands, where it leads) and gives the step as plain data, or None
when there is nothing to do. What it cannot carry it tells `place.lose`; what stays then still runs.
"""

from __future__ import annotations

import json
import re
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any
from urllib.parse import urlsplit

from domain.errors import RejectedInput
from flows import paths
from flows.importers.documents import Line, Names, slug
from flows.importers.typebot import texts
from flows.importers.typebot.conditions import predicate
from flows.importers.typebot.reading import Block, Export, mapping, objects, text
from flows.importers.typebot.texts import Untranslatable, with_paths

Step = dict[str, Any]


@dataclass
class Place:
    """Where a block stands. `step` is its id of ours, `next` where the way out leads; `said` the text of the bubble
    before it, which becomes the question."""

    export: Export
    block: Block
    step: str
    next: str
    said: str
    target: Callable[[str], str | None]  # edge id → step; None: leads nowhere
    group: Callable[[str, str], str | None]  # (group id, block id) → step
    flow: Callable[[str], str | None]  # id of another bot → the key of its flow
    lost: list[tuple[str, str]] = field(default_factory=list)

    def lose(self, where: str = "") -> None:
        """This block, or the item of it with that id, is not carried over whole."""
        self.lost.append((self.block.type or "block", where or self.block.id))

    def words(self, value: Any) -> str:
        """A text of the export with our paths; names that are no variables are reported."""
        found = value if isinstance(value, str) else ""
        if any(name.startswith("=") for name in texts.unknown_names(found, self.export.names)):
            self.lose()
        return with_paths(found, self.export.names)

    def path(self, variable: Any) -> str | None:
        """Our path of a variable's id."""
        return self.export.paths.get(variable) if isinstance(variable, str) else None


Make = Callable[[Block, Place], Step | None]
KINDS: dict[str, Make] = {}
INPUTS: set[str] = set()  # kinds that ask something


def kind(*names: str, asks: bool = False) -> Callable[[Make], Make]:
    """Registers the function for kinds of blocks."""

    def registered(make: Make) -> Make:
        for name in names:
            KINDS[name] = make
            if asks:
                INPUTS.add(name)
        return make

    return registered


# --- bubbles ----------------------------------------------------------------------------------------------------------


@kind("text")
def _text(block: Block, place: Place) -> Step | None:
    wording = texts.rich(block.content, place.export.names)
    place.words(wording_source(block))
    if not wording.text.strip():
        return None
    return {
        "send": wording.text,
        **({"markup": True} if wording.markup else {}),
        "next": place.next,
    }


def wording_source(block: Block) -> str:
    """All words of a bubble, for what is unknown in them."""
    return " ".join(leaf["text"] for leaf in texts.leaves(block.content.get("richText")))


@kind("image", "video", "audio", "embed")
def _file(block: Block, place: Place) -> Step | None:
    url = text(block.content, "url").strip()
    shown = place.words(url).strip()
    if not shown:
        return None
    video_page = block.type == "video" and block.content.get("type") in (
        "youtube",
        "vimeo",
        "tiktok",
        "gumlet",
    )
    if block.type == "embed" or video_page or "{{" in shown or not _web_address(url):
        return {"send": shown, "next": place.next}  # the app shows a preview of the page
    media = {"kind": block.type, "url": url}
    click = text(mapping(block.content, "clickLink"), "url")
    if block.type == "image" and click and _web_address(click) and "{{" not in click:
        alt = text(mapping(block.content, "clickLink"), "alt")
        label = place.words(alt).strip() or urlsplit(click).hostname or click
        return {"send": label, "media": media, "links": [{"text": label, "url": click}], "next": place.next}
    return {"send": {"media": media}, "next": place.next}


def _web_address(url: str) -> bool:
    parts = urlsplit(url)
    return parts.scheme in ("http", "https") and bool(parts.hostname) and len(url) <= 2_000


# --- inputs -----------------------------------------------------------------------------------------------------------


def _asked(block: Block, place: Place, answer: str, **more: Any) -> Step:
    options = block.options
    labels = mapping(options, "labels")
    retry = place.words(options.get("retryMessageContent"))
    path = place.path(options.get("variableId"))
    question = place.said or place.words(labels.get("placeholder")) or QUESTION
    step: Step = {"ask": answer, "text": question, **more}
    if retry.strip():
        step["invalid"] = retry
    return {**step, **_kept(path), "next": place.next}


QUESTION = {"en": "Please answer:", "it": "Rispondi, per favore:"}
CHOICE = {"en": "Please choose:", "it": "Scegli, per favore:"}


def _kept(path: str | None) -> Step:
    return {"save": path, "result": path.removeprefix("session.")} if path else {}


@kind("text input", asks=True)
def _text_input(block: Block, place: Place) -> Step:
    for extra in ("audioClip", "attachments"):
        if mapping(block.options, extra).get("isEnabled"):
            place.lose()
    return _asked(block, place, "text")


@kind("number input", asks=True)
def _number_input(block: Block, place: Place) -> Step:
    bounds = {}
    for key in ("min", "max"):
        value = block.options.get(key)
        if isinstance(value, int | float) and not isinstance(value, bool) and abs(value) < MAX_BOUND:
            bounds[key] = value
        elif value is not None:
            place.lose()
    return _asked(block, place, "number", **bounds)


MAX_BOUND = 1e15


@kind("email input", asks=True)
def _email_input(block: Block, place: Place) -> Step:
    return _asked(block, place, "email")


@kind("url input", asks=True)
def _url_input(block: Block, place: Place) -> Step:
    return _asked(block, place, "url")


@kind("phone number input", asks=True)
def _phone_input(block: Block, place: Place) -> Step:
    return _asked(block, place, "phone")


@kind("date input", asks=True)
def _date_input(block: Block, place: Place) -> Step:
    options = block.options
    if options.get("isRange") or options.get("min") or options.get("max"):
        place.lose()
    return _asked(block, place, "datetime" if options.get("hasTime") else "date")


@kind("time input", asks=True)
def _time_input(block: Block, place: Place) -> Step:
    return _asked(block, place, "time")


@kind("rating input", asks=True)
def _rating_input(block: Block, place: Place) -> Step:
    length, first = block.options.get("length"), block.options.get("startsAt")
    most = length if isinstance(length, int) and 1 <= length <= 10 else 10
    if first is not None and first != 1:
        place.lose()
    return _asked(block, place, "rating", max=most)


@kind("file input", asks=True)
def _file_input(block: Block, place: Place) -> Step:
    optional = block.options.get("isRequired") is False
    return _asked(block, place, "file", **({"skip": True} if optional else {}))


@kind("choice input", "picture choice input", asks=True)
def _choice(block: Block, place: Place) -> Step | None:
    options = block.options
    dynamic = options.get("dynamicVariableId") or mapping(options, "dynamicItems").get("isEnabled")
    taken = Names()
    offered: list[Step] = []
    several = options.get("isMultipleChoice") is True
    for item in block.items:
        label = _label(item, place)
        if not label:
            continue
        if mapping(item, "displayCondition").get("isEnabled"):
            place.lose(text(item, "id"))
        option = Line({"id": taken.take(slug(label)[:36] or "option"), "text": label, "value": label})
        leads = place.target(text(item, "outgoingEdgeId"))
        if leads is not None and not several:
            option["goto"] = leads
        offered.append(option)
    if dynamic or not offered or len(offered) > MAX_OPTIONS:
        place.lose()
        return None
    question = place.said or CHOICE
    retry = place.words(options.get("retryMessageContent"))
    more = {"invalid": retry} if retry.strip() else {}
    kept = _kept(place.path(options.get("variableId")))
    if several:
        return {"ask": "choices", "text": question, "options": offered, **more, **kept, "next": place.next}
    return {"choose": question, "options": offered, **more, **kept, "next": place.next}


MAX_OPTIONS = 50


def _label(item: dict[str, Any], place: Place) -> str:
    return place.words(text(item, "content") or text(item, "title")).strip()


@kind("cards", asks=True)
def _cards(block: Block, place: Place) -> Step | None:
    """Each card's buttons become options; the pictures stay behind."""
    taken = Names()
    offered: list[Step] = []
    for item in block.items:
        title = place.words(text(item, "title")).strip()
        for way in objects(item, "paths"):
            label = " ".join(part for part in (title, place.words(text(way, "text")).strip()) if part)
            leads = place.target(text(way, "outgoingEdgeId"))
            if label:
                offered.append(
                    Line(
                        {
                            "id": taken.take(slug(label)[:36] or "option"),
                            "text": label,
                            "value": title or label,
                            **({"goto": leads} if leads is not None else {}),
                        }
                    )
                )
    place.lose()
    if not offered or len(offered) > MAX_OPTIONS:
        return None
    mapped = objects(block.options, "saveResponseMapping")
    path = next((p for one in mapped if (p := place.path(one.get("variableId")))), None)
    return {"choose": place.said or CHOICE, "options": offered, **_kept(path), "next": place.next}


# --- logic ------------------------------------------------------------------------------------------------------------


@kind("Condition")
def _condition(block: Block, place: Place) -> Step | None:
    cases: list[Step] = []
    for item in block.items:
        leads = place.target(text(item, "outgoingEdgeId")) or place.next
        try:
            cases.append({"when": predicate(item.get("content"), place.export.paths), "goto": leads})
        except Untranslatable:
            place.lose(text(item, "id"))
    return {"branch": cases, "otherwise": place.next} if cases else None


@kind("Set variable")
def _set_variable(block: Block, place: Place) -> Step | None:
    options = block.options
    path = place.path(options.get("variableId"))
    if path is None:
        return None
    how = options.get("type") or "Custom"
    if isinstance(how, str) and how in FIXED:
        return {"set": {path: FIXED[how]}, "next": place.next}
    if how == "Append value(s)":
        return {"set": {path: {"append": place.words(options.get("item"))}}, "next": place.next}
    if how != "Custom":
        place.lose()
        return None
    source = options.get("expressionToEvaluate")
    if not isinstance(source, str) or not source.strip():
        return {"set": {path: None}, "next": place.next}
    try:
        value = texts.value(source, place.export.names, code=options.get("isCode") is True)
    except Untranslatable:
        place.lose()
        return None
    return {"set": {path: value}, "next": place.next}


FIXED: dict[str, Any] = {
    "Empty": None,
    "Today": "{{ today }}",
    "Now": "{{ now }}",
    "Yesterday": "{{ today | add_days(-1) }}",
    "Tomorrow": "{{ today | add_days(1) }}",
    "Phone number": "{{ contact.phone | default('') }}",
    "Contact name": "{{ contact.name | default('') }}",
    "User ID": "{{ contact.id }}",
    "Environment name": "{{ channel.kind }}",
}


@kind("AB test")
def _ab_test(block: Block, place: Place) -> Step:
    share = block.options.get("aPercent")
    first = share if isinstance(share, int) and not isinstance(share, bool) and 0 <= share <= 100 else 50
    ways = {
        text(item, "path"): place.target(text(item, "outgoingEdgeId")) or place.next for item in block.items
    }
    return {
        "split": [
            Line({"name": "a", "weight": first, "goto": ways.get("a", place.next)}),
            Line({"name": "b", "weight": 100 - first, "goto": ways.get("b", place.next)}),
        ],
    }


@kind("Wait")
def _wait(block: Block, place: Place) -> Step | None:
    seconds = block.options.get("secondsToWaitFor")
    try:
        span = (
            float(seconds)
            if isinstance(seconds, int | float | str) and not isinstance(seconds, bool)
            else 0.0
        )
    except ValueError:
        place.lose()
        return None
    if not 0 < span <= MAX_WAIT_S:
        if seconds not in (None, "", 0, "0"):
            place.lose()
        return None
    return {"wait": f"{max(1, round(span))} seconds", "next": place.next}


MAX_WAIT_S = 86_400  # theirs waits seconds


@kind("Jump")
def _jump(block: Block, place: Place) -> Step | None:
    leads = place.group(text(block.options, "groupId"), text(block.options, "blockId"))
    if leads is None:
        place.lose()
        return None
    return {"goto": leads}


@kind("Typebot link")
def _link(block: Block, place: Place) -> Step | None:
    wanted = text(block.options, "typebotId")
    if wanted in ("current", place.export.id):
        leads = place.group(text(block.options, "groupId"), "")
        if leads is None or place.next != "end":
            place.lose()  # ours does not come back from there
        return {"goto": leads} if leads is not None else None
    flow = place.flow(wanted)
    if flow is None:
        place.lose()
        return None
    if text(block.options, "groupId"):
        place.lose()  # ours begins at the start
    return {"sub_flow": flow, "next": place.next}


@kind("Redirect")
def _redirect(block: Block, place: Place) -> Step | None:
    url = place.words(block.options.get("url")).strip()
    return {"send": url, "next": place.next} if url else None


# --- calls ------------------------------------------------------------------------------------------------------------


@kind("Webhook", "Make.com", "Zapier", "Pabbly")
def _http(block: Block, place: Place) -> Step | None:
    webhook = mapping(block.options, "webhook")
    url = place.words(webhook.get("url")).strip()
    method = text(webhook, "method") or "POST"
    if not _ORIGIN.match(url) or method not in METHODS or block.options.get("proxyCredentialsId"):
        place.lose()
        return None
    step: Step = {"http": url, "method": method}
    for key, name in (("query", "queryParams"), ("headers", "headers")):
        pairs = {text(one, "key").strip(): place.words(one.get("value")) for one in objects(webhook, name)}
        pairs.pop("", None)
        if not all(_HEADER.fullmatch(header) for header in pairs if key == "headers"):
            place.lose()
            pairs = {header: value for header, value in pairs.items() if _HEADER.fullmatch(header)}
        if pairs:
            step[key] = pairs
    if method not in ("GET", "HEAD"):
        step |= _body(webhook.get("body"), place)
    saved = {}
    for one in objects(block.options, "responseVariableMapping"):
        path, where = place.path(one.get("variableId")), text(one, "bodyPath").strip()
        if path and where == "statusCode":
            place.lose()
        elif path and where:
            way = _way(where)
            try:
                paths.path(way, where="bodyPath")
            except RejectedInput:
                place.lose()
            else:
                saved[way] = path
    if saved:
        step["save"] = saved
    return {**step, "error": place.next, "next": place.next}


METHODS = ("GET", "HEAD", "POST", "PUT", "PATCH", "DELETE")
# Those that say how a message is framed are the client's own.
_HEADER = re.compile(
    r"(?i)(?!(?:connection|content-length|cookie|expect|host|te|trailer|transfer-encoding|upgrade|keep-alive"
    r"|accept-encoding|idempotency-key|proxy-.*)$)[A-Za-z0-9!#$%&'*+.^_`|~-]{1,64}"
)
_ORIGIN = re.compile(r"https?://[A-Za-z0-9._:-]+(?=[/?#]|$)")


def _body(body: Any, place: Place) -> Step:
    """What is sent. Without a body of its author theirs sends all answers, which ours does not."""
    if not isinstance(body, str) or body.strip() in ("", "{{state}}"):
        place.lose()
        return {}
    try:
        data = json.loads(body)
    except (ValueError, RecursionError):
        return {"body": place.words(body)}
    return {"body": _leaves(data, place, 0)} if isinstance(data, dict | list) else {"body": place.words(body)}


def _leaves(data: Any, place: Place, depth: int) -> Any:
    if depth > texts.MAX_DEPTH:
        raise Untranslatable("a body nested too deep")
    if isinstance(data, dict):
        return {key: _leaves(value, place, depth + 1) for key, value in data.items()}
    if isinstance(data, list):
        return [_leaves(value, place, depth + 1) for value in data]
    return place.words(data) if isinstance(data, str) else data


def _way(path: str) -> str:
    """`data.order.state` as a way into the answer; `.map(item => item.name)` of theirs is `[*].name`."""
    mapped = re.sub(r"\.map\((\w+) *=> *\1\.([\w.]+)\)", r"[*].\2", path)
    return re.sub(r"^data\b\.?", "", mapped) or "$"
