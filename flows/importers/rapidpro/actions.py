"""Actions of theirs as steps of ours, one function a type, registered by `@action("<type>")`.

Each returns its steps in order; their `next` is set by `conversion`. An action that nobody here knows is left out,
with its name.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from string import ascii_lowercase
from typing import TYPE_CHECKING, Any

from flows import languages
from flows.importers.documents import Line, Row, slug
from flows.importers.rapidpro.definitions import Action, Node
from flows.importers.rapidpro.names import MAX_KEY, result_key, snake
from flows.importers.rapidpro.templates import constant, literal
from flows.importers.sources import Item
from flows.texts import MAX_TEXT

if TYPE_CHECKING:
    from flows.importers.rapidpro.conversion import Flow, Made

MAX_VALUE = 1_000  # characters of a value that a step sets
MAX_BUTTONS = 10
MAX_LABEL = 200  # characters of a button's label, as a template
MAX_ADDRESS = 2_000
MAX_ATTACHMENTS = 10
_KINDS = {
    "image": "image",
    "video": "video",
    "audio": "audio",
    "application": "document",
    "document": "document",
}
_ADDRESS = re.compile(r"@[a-z(]|https?://[\w.-]+(:\d+)?([/?#]|$)", re.IGNORECASE)
_GEO = re.compile(r"geo:(-?\d{1,3}(?:\.\d{1,12})?),(-?\d{1,3}(?:\.\d{1,12})?)\Z")
_LOCAL = re.compile(r"_?[a-z0-9][a-z0-9_]{0,62}\Z")
_FIELD = re.compile(r"[^\W]+\Z")
_REPLY = re.compile(r"<(?P<type>[a-z]{1,20})>(?P<label>.*)\Z", re.DOTALL)

Carrier = Callable[["Flow", Action, Node], "list[Made]"]
_registry: dict[str, Carrier] = {}


def action(key: str) -> Callable[[Carrier], Carrier]:
    """Registers how actions of a type are carried."""

    def registered(carrier: Carrier) -> Carrier:
        _registry[key] = carrier
        return carrier

    return registered


def registry() -> Mapping[str, Carrier]:
    """Every type of action that is known, whether it is carried or not."""
    return _registry


def carry(flow: Flow, found: Action, node: Node) -> list[Made]:
    """The steps of an action."""
    carrier = _registry.get(found.type)
    if carrier is None:
        return [flow.left_out(found.named, found.place, "there is no such step")]
    return carrier(flow, found, node)


def made(data: dict[str, Any], word: str, name: str = "", *, ends: bool = False) -> Made:
    from flows.importers.rapidpro.conversion import Made

    return Made(data, word, name, ends)


# --- messages ---------------------------------------------------------------------------------------------------------


@action("send_msg")
def send_msg(flow: Flow, found: Action, node: Node) -> list[Made]:
    """One message: text, the first files, quick replies as buttons."""
    item = found.item
    if item.object("templating") is not None or item.object("template") is not None:
        flow.lost(
            "template", found.place, "message templates are chosen in a send step; the text is sent instead"
        )
    if item.data.get("_all_urns") is True:
        flow.lost("all_urns", found.place, "it is sent once, by the channel that the contact writes on")
    text = flow.text(found.uuid, "text", item.text("text", ""))
    files = _files(flow, found)
    buttons = _buttons(flow, found)
    return [*_messages(found.uuid, text, files, buttons), *_places(found)] or [_nothing(found)]


def _messages(uuid: str, text: Any, files: list[dict[str, Any]], buttons: list[Any]) -> list[Made]:
    name = uuid[:8]
    said: dict[str, Any] = {"send": text} if text is not None else {}
    below: dict[str, Any] = {"buttons": buttons} if buttons else {}
    if len(files) > 1 and (buttons or not said):  # an album has no buttons: the files, then the text
        after = [made({**said, **below}, "send", name)] if said else []
        return [made({"send": {"album": files}}, "send", name), *after]
    if len(files) > 1:
        files[0] = {**files[0], "caption": text}
        return [made({"send": {"album": files}}, "send", name)]
    if files and said:
        return [made({**said, "media": files[0], **below}, "send", name)]
    if files:
        return [made({"send": {"media": files[0]}}, "send", name)]
    return [made({**said, **below}, "send", name)] if said else []


def _files(flow: Flow, found: Action) -> list[dict[str, Any]]:
    """Attachments `image/jpeg:https://…`, with the addresses of other languages. What is none is left out."""
    files = []
    translated = {
        language: [_file(flow.template(each, found.place)) for each in texts]
        for language, texts in flow.translations(found.uuid, "attachments").items()
    }
    for number, attachment in enumerate(found.item.texts("attachments", MAX_ATTACHMENTS)):
        file = _file(flow.template(attachment, found.place))
        if file is not None:
            files.append(_localized(flow, found, file, number, translated))
        elif attachment.strip() and _place(attachment) is None:
            flow.lost(
                "attachment", found.place, f"{attachment[:60]} is no file with a kind and a web address"
            )
    if any(len(others) > len(files) for others in translated.values()):
        flow.lost("attachments", found.place, "a translation has more files than the flow's own language")
    return files


def _file(attachment: str) -> dict[str, Any] | None:
    """The file of an attachment; None for what has no kind or no web address."""
    kind, colon, address = attachment.partition(":")
    known = _KINDS.get(kind.split("/")[0].lower())
    address = address.strip()
    if not colon or known is None or len(address) > MAX_ADDRESS or not address.isprintable():
        return None
    return Line(kind=known, url=address) if _ADDRESS.match(address) else None


def _localized(
    flow: Flow,
    found: Action,
    file: dict[str, Any],
    number: int,
    translated: dict[str, list[dict[str, Any] | None]],
) -> dict[str, Any]:
    """The file with an address for each language that has one of its own, of the same kind."""
    urls = {flow.base(): file["url"]}
    for language, others in translated.items():
        other = others[number] if number < len(others) else None
        if other is None or other["kind"] != file["kind"]:
            flow.lost("attachments", found.place, f"the file in {language} is missing or of another kind")
        else:
            urls.setdefault(language, other["url"])
    return {**file, "url": urls} if len(urls) > 1 else file


def _places(found: Action) -> list[Made]:
    """Attachments `geo:41.9,12.5`: places, each a message of its own."""
    places = [_place(each) for each in found.item.texts("attachments", MAX_ATTACHMENTS)]
    return [
        made({"send": {"location": place}}, "send", found.uuid[:8]) for place in places if place is not None
    ]


def _place(attachment: str) -> dict[str, Any] | None:
    spot = _GEO.match(attachment.strip())
    if spot is None or abs(float(spot[1])) > 90 or abs(float(spot[2])) > 180:
        return None
    return Line(latitude=float(spot[1]), longitude=float(spot[2]))


def _buttons(flow: Flow, found: Action) -> list[Any]:
    base = [_reply(flow, found, each) for each in _replies(found.item)]
    translated = flow.translations(found.uuid, "quick_replies")
    if any(len(texts) != len(base) for texts in translated.values()):
        flow.lost("quick_replies", found.place, "a translation has another number of quick replies")
    buttons = []
    taken: set[str] = set()
    for number, label in enumerate(base[:MAX_BUTTONS]):
        text = flow.text(found.uuid, "quick_replies", label, number, MAX_LABEL)
        if text is not None:
            key = _reply_id(label, number, taken)
            buttons.append({"id": key, "text": text} if isinstance(text, dict) else Line(id=key, text=text))
    return buttons


def _reply_id(label: str, number: int, taken: set[str]) -> str:
    """The id of a quick reply: its words. Never a number of ours, since tests look at the id of a tap, too, where its
    words fit none: `has_number` would take it for an answer."""
    plain = slug(label)[:30].strip("_") if constant(label) else ""
    key = plain if plain and plain not in taken else f"{plain or 'reply'}_{ascii_lowercase[number]}"
    taken.add(key)
    return key


def _replies(item: Item) -> list[str]:
    """Quick replies: texts, or objects of newer versions."""
    replies = []
    for number, each in enumerate(item.entries("quick_replies")):
        if isinstance(each, dict):
            reply = Item(each, f"{item.at('quick_replies')}[{number}]")
            kind = reply.text("type", "text")
            text = reply.text("text", "")
            replies.append(text if kind == "text" else f"<{kind}>{text}")
        else:
            replies.append(Item({"text": each}, f"{item.at('quick_replies')}[{number}]").text("text", ""))
    return replies


def _reply(flow: Flow, found: Action, label: str) -> str:
    special = _REPLY.match(label)
    if special is None:
        return label
    flow.lost(
        "quick_reply",
        found.place,
        f"a quick reply of the type {special['type']} is carried as a plain button",
    )
    return special["label"].partition("<")[0]


@action("say_msg")
def say_msg(flow: Flow, found: Action, node: Node) -> list[Made]:
    """What a call would say is written, its recording sent."""
    text = flow.text(found.uuid, "text", found.item.text("text", ""))
    recording = found.item.text("audio_url", "").strip()
    file = _file(f"audio:{recording}") if recording else None
    flow.lost(found.named, found.place, "what is said in a call is sent as a message")
    return _messages(found.uuid, text, [file] if file else [], []) or [_nothing(found)]


@action("play_audio")
def play_audio(flow: Flow, found: Action, node: Node) -> list[Made]:
    file = _file(f"audio:{found.item.text('audio_url', '').strip()}")
    if file is None:
        return [flow.left_out(found.named, found.place, "it has no web address")]
    flow.lost(found.named, found.place, "what is played in a call is sent as a file")
    return _messages(found.uuid, None, [file], [])


def _nothing(found: Action) -> Made:
    return made(
        {"goto": None, "comment": f"{found.type} ({found.uuid}) says nothing."}, "send", found.uuid[:8]
    )


# --- the contact ------------------------------------------------------------------------------------------------------


def _setting(flow: Flow, found: Action, path: str, value: str, name: str) -> list[Made]:
    """A step that sets one thing; an empty value clears it."""
    if len(value) > MAX_VALUE:
        return [flow.left_out(found.named, found.place, f"the value has more than {MAX_VALUE} characters")]
    return [made({"set": {path: flow.template(value, found.uuid).strip() or None}}, "set", name)]


@action("set_contact_name")
def set_contact_name(flow: Flow, found: Action, node: Node) -> list[Made]:
    return _setting(flow, found, "contact.name", found.item.text("name", ""), "name")


@action("set_contact_language")
def set_contact_language(flow: Flow, found: Action, node: Node) -> list[Made]:
    """A code that is written out becomes ours at once; what an expression gives is understood when it is set."""
    language = found.item.text("language", "")
    value = languages.short(language) if constant(language) else language
    return _setting(flow, found, "contact.language", value, "language")


@action("set_contact_timezone")
def set_contact_timezone(flow: Flow, found: Action, node: Node) -> list[Made]:
    return _setting(flow, found, "contact.timezone", found.item.text("timezone", ""), "timezone")


@action("set_contact_field")
def set_contact_field(flow: Flow, found: Action, node: Node) -> list[Made]:
    reference = found.item.object("field") or Item({}, found.item.at("field"))
    key = snake(reference.text("key", "") or reference.text("name", ""))[:MAX_KEY].lstrip("_")
    if not _FIELD.match(key):
        return [flow.left_out(found.named, found.place, "the field has no key")]
    return _setting(flow, found, f"contact.fields.{key}", found.item.text("value", ""), key)


@action("add_contact_urn")
def add_contact_urn(flow: Flow, found: Action, node: Node) -> list[Made]:
    """A number or an e-mail address is the contact's; identities on channels come from the channels alone."""
    columns = {"tel": "contact.phone", "mailto": "contact.email"}
    column = columns.get(found.item.text("scheme", "").lower())
    if column is None:
        return [
            flow.left_out(found.named, found.place, "an identity on a channel comes from the channel itself")
        ]
    flow.carried.add("@locals._has_urn")
    return _setting(flow, found, column, found.item.text("path", ""), column.removeprefix("contact."))


@action("add_contact_groups")
def add_contact_groups(flow: Flow, found: Action, node: Node) -> list[Made]:
    """Groups are tags."""
    tags = flow.tags(found.item.objects("groups", 100))
    return _tagging(flow, found, "tag", tags, {"tag": Row(tags)})


@action("remove_contact_groups")
def remove_contact_groups(flow: Flow, found: Action, node: Node) -> list[Made]:
    if found.item.flag("all_groups"):
        return [flow.left_out(found.named, found.place, "tags are taken off by name; this takes all of them")]
    tags = flow.tags(found.item.objects("groups", 100))
    return _tagging(flow, found, "untag", tags, {"tag": Row(), "remove": Row(tags)})


def _tagging(flow: Flow, found: Action, word: str, tags: list[str], data: dict[str, Any]) -> list[Made]:
    if not tags:
        return [flow.left_out(found.named, found.place, "it names no group")]
    if len(tags) > 20:
        return [flow.left_out(found.named, found.place, "more than 20 groups at once")]
    return [made(data, word, tags[0])]


@action("add_input_labels")
def add_input_labels(flow: Flow, found: Action, node: Node) -> list[Made]:
    """Messages have no labels here; the timeline keeps what was said and how it was labelled."""
    labels = [
        label.text("name", "") or label.text("name_match", "") for label in found.item.objects("labels", 100)
    ]
    flow.lost(
        found.named, found.place, "messages have no labels; a note in the contact's timeline keeps them"
    )
    shown = ", ".join(label if "@" in label else literal(label) for label in labels if label)[:300]
    return [
        made(
            {"note": f'{shown}: @(default(input.text, ""))' if shown else '@(default(input.text, ""))'},
            "label",
            labels[0] if labels else "",
        )
    ]


@action("set_contact_status")
def set_contact_status(flow: Flow, found: Action, node: Node) -> list[Made]:
    why = "who is blocked or wants no more messages is decided by people and by the words STOP and START"
    return [flow.left_out(found.named, found.place, why)]


@action("set_contact_channel")
def set_contact_channel(flow: Flow, found: Action, node: Node) -> list[Made]:
    return [
        flow.left_out(found.named, found.place, "an answer leaves by the channel that the contact writes on")
    ]


# --- results and variables --------------------------------------------------------------------------------------------


@action("set_run_result")
def set_run_result(flow: Flow, found: Action, node: Node) -> list[Made]:
    item = found.item
    name = item.text("name", "")
    value = flow.template(item.text("value", "")[:MAX_VALUE], found.uuid)
    category = item.text("category", "").strip()[:MAX_KEY]
    kept = Line(text=value, category=literal(category)) if category else Line(text=value)
    localized = flow.names(found.uuid, "category")
    if localized:
        kept["localized"] = Line(localized)
    return [made({"set": {f"result.{result_key(name)}": kept}}, "result", name)]


@action("set_run_local")
def set_run_local(flow: Flow, found: Action, node: Node) -> list[Made]:
    """`operation` is set, increment or clear."""
    item = found.item
    key = local_key(item.text("local", "") or item.text("name", ""))
    value, operation = item.text("value", ""), item.text("operation", "set") or "set"
    path = f"session.{key}"
    if not key:
        return [flow.left_out(found.named, found.place, "the variable has no name")]
    if operation == "clear":
        return [made({"set": {path: None}}, "clear", key)]
    if operation != "increment":
        return _setting(flow, found, path, value, key)
    if constant(value) and _is_number(value):
        by = float(value)
        return [made({"set": {path: Line(add=int(by) if by.is_integer() else by)}}, "count", key)]
    inside = value[1:].removeprefix("(").removesuffix(")") if value.startswith("@") else f'"{value}"'
    sum_of = f"@(default(number(locals.{key}), 0) + default(number({inside}), 0))"
    return _setting(flow, found, path, sum_of, key)


def _is_number(text: str) -> bool:
    return re.fullmatch(r"\s*-?\d{1,15}(\.\d{1,15})?\s*", text) is not None


def local_key(name: str) -> str:
    """The variable that a local is; those of RapidPro's own begin with a line (`_llm_output`)."""
    return name.lower() if _LOCAL.match(name.lower()) else snake(name)[:MAX_KEY]


# --- elsewhere --------------------------------------------------------------------------------------------------------


@action("enter_flow")
def enter_flow(flow: Flow, found: Action, node: Node) -> list[Made]:
    """Another flow with results of its own; a terminal one ends this flow."""
    reference = found.item.object("flow")
    key = flow.flow_key(reference, found)
    if found.item.flag("terminal"):
        return [made({"goto": Line(flow=key, fresh=True)}, "leave_for", key, ends=True)]
    return [made({"sub_flow": key, "scope": "own"}, "run", key)]


@action("call_webhook")
def call_webhook(flow: Flow, found: Action, node: Node) -> list[Made]:
    """One call; its answer is `@webhook`, and the router behind it decides by the status."""
    item = found.item
    address = item.text("url", "").strip()
    method = item.text("method", "GET").upper()
    if not 8 <= len(address) <= MAX_ADDRESS:
        return _uncalled(flow, found, "it has no address that can be called")
    if method not in ("GET", "HEAD", "POST", "PUT", "PATCH", "DELETE"):
        return _uncalled(flow, found, f"calls by {method[:20]} are not made")
    data: dict[str, Any] = {"http": flow.template(address, found.uuid), "method": method}
    headers = _headers(flow, found)
    if headers:
        data["headers"] = headers
    body = flow.template(item.text("body", ""), found.uuid)
    if len(body) > MAX_TEXT:
        return _uncalled(flow, found, f"its body has more than {MAX_TEXT} characters")
    if body.strip() and method not in ("GET", "HEAD"):
        data["body"] = body
    name = item.text("result_name", "")
    if name:
        data["result"] = result_key(name)
    return [made(data, "call", name or found.uuid[:8])]


def _headers(flow: Flow, found: Action) -> dict[str, str]:
    from flows.steps.http import MAX_HEADERS, _header

    kept = {}
    for name, value in found.item.mapping("headers").items():
        try:
            kept[_header(name)] = flow.template(value[:MAX_TEXT], found.uuid)
        except ValueError as error:
            if name.strip():
                flow.lost("header", found.place, str(error))
    if len(kept) > MAX_HEADERS:
        flow.lost("header", found.place, f"more than {MAX_HEADERS} headers")
    return dict(list(kept.items())[:MAX_HEADERS])


@action("open_ticket")
def open_ticket(flow: Flow, found: Action, node: Node) -> list[Made]:
    """A ticket that ends a flow hands the conversation over; one in the middle tells the team, and the flow goes on."""
    item = found.item
    topic = item.object("topic")
    team = (topic.text("name", "") if topic is not None else "")[:64].strip()
    note = flow.template((item.text("note", "") or item.text("body", ""))[:MAX_TEXT], found.uuid).strip()
    flow.carried.add("@locals._new_ticket")
    last = node.router is None and node.target is None and node.actions[-1] is found
    if last and flow.definition.uuid not in flow.around.called:
        about = {"about": note} if note else {}
        return [made({"hand_over": team or True, **about}, "hand_over", team, ends=True)]
    name = item.text("result_name", "")
    kept = Line(text="@contact.uuid", category="Success")
    after = [made({"set": {f"result.{result_key(name)}": kept}}, "result", name)] if name else []
    said = note or f"{literal(team) or 'Ticket'}: @contact.name"
    return [made({"notify": said, **({"team": team} if team else {})}, "ticket", team), *after]


@action("call_llm")
def call_llm(flow: Flow, found: Action, node: Node) -> list[Made]:
    """The model that the owner has set up, with its answer in the same variable; `<ERROR>` when there is none."""
    item = found.item
    key = local_key(item.text("output_local", "_llm_output")) or "_llm_output"
    instructions = flow.template(item.text("instructions", "")[:MAX_TEXT], found.uuid).strip()
    question = flow.template(item.text("input", "")[:MAX_TEXT], found.uuid).strip()
    failed = made({"set": {f"session.{key}": "<ERROR>"}}, "before", key)
    if not instructions or not question or "prompt(" in instructions:
        return [
            flow.left_out(found.named, found.place, "it has no instructions of its own, or no input"),
            failed,
        ]
    asked = {"ai": instructions, "question": question, "say": False, "save": f"session.{key}"}
    return [failed, made(asked, "ai", key)]


_ELSEWHERE = {
    "send_broadcast": "messages to others are sent by campaigns",
    "start_session": "flows for others are started by campaigns, triggers and the API",
    "send_email": "there is no e-mail here; a notify step tells the team",
    "transfer_airtime": "airtime is nothing that can be sent",
    "call_resthook": "subscribers are told by outgoing webhooks, which flows do not call",
    "call_classifier": "there is no such service; a route step decides by words",
    "request_optin": "consent is asked for by a consent step, with the wording of a purpose of the business",
}


def _left_out(flow: Flow, found: Action, node: Node) -> list[Made]:
    return _uncalled(flow, found, _ELSEWHERE[found.type])


def _uncalled(flow: Flow, found: Action, why: str) -> list[Made]:
    """What other systems did is missing; what it would have failed with is kept, so that the rest goes its way."""
    left = [flow.left_out(found.named, found.place, why)]
    if found.type in ("call_webhook", "call_resthook"):  # an earlier answer must not count as theirs
        left.append(made({"set": {"session.webhook": None}}, "unanswered", found.uuid[:8]))
    local = local_key(found.item.text("output_local", ""))
    if local:
        left.append(made({"set": {f"session.{local}": "<ERROR>"}}, "failed", local))
    name = found.item.text("result_name", "")
    if name:
        failed = {"set": {f"result.{result_key(name)}": Line(text="0", category="Failure")}}
        left.append(made(failed, "result", name))
    return left


for _type in _ELSEWHERE:
    action(_type)(_left_out)
