"""11.x and earlier → 13.0: from action sets and rule sets to nodes.

```json
{"base_language": "eng", "flow_type": "F", "version": "11.12", "entry": "<uuid>",
 "metadata": {"uuid": "…", "name": "Registration", "expires": 720},
 "action_sets": [{"uuid": "…", "x": 0, "y": 0, "destination": "…", "exit_uuid": "…",
                  "actions": [{"type": "reply", "uuid": "…", "msg": {"eng": "How old are you?", "spa": "…"}}]}],
 "rule_sets": [{"uuid": "…", "x": 0, "y": 100, "label": "Age", "ruleset_type": "wait_message",
                "operand": "@step.value", "config": {},
                "rules": [{"uuid": "…", "category": {"eng": "Adult"}, "destination": "…", "destination_type": "A",
                           "test": {"type": "gte", "test": "18"}}]}]}
```

A rule set becomes a node with a router: each rule is a case, a category and an exit, the rule that is always true the
default, the timeout rule the wait's. Texts carry all their languages with them there and move to `localization`.
Raises RejectedInput naming the place; kinds of actions, rule sets and tests that nobody knows stay as they are and are
reported later.
"""

from __future__ import annotations

import json
import re
from collections.abc import Callable
from typing import Any

from flows.importers.rapidpro.legacy_expressions import translated
from flows.importers.rapidpro.migrations.v13 import derived
from flows.importers.rapidpro.names import snake
from flows.importers.sources import Item, refused

Flow = dict[str, Any]
MAX_SETS = 1_000
MAX_RULES = 500
_KIND = re.compile(r"[a-z]+(/[\w.+-]+)?:(?!//)")
TYPES = {"": "messaging", "F": "messaging", "M": "messaging", "V": "voice", "S": "messaging_offline"}
WAITS = {
    "wait_message": "",
    "wait_menu": "digits",
    "wait_audio": "audio",
    "wait_video": "video",
    "wait_photo": "image",
    "wait_gps": "location",
    "wait_recording": "audio",
    "wait_digit": "digits",
    "wait_digits": "digits",
}
# What a rule set without one of these labels would have sent: who calls, what they said, what the flow knows.
PAYLOAD = (
    '@(json(object("contact", object("uuid", contact.uuid, "name", contact.name, "urn", contact.urn), '
    '"flow", object("uuid", run.flow.uuid, "name", run.flow.name), '
    '"results", results, "run", object("uuid", run.uuid, "created_on", run.created_on), "input", input)))'
)


def to_13(data: Flow, where: str) -> Flow:
    """The definition as 13.0 writes it."""
    return _Migration(Item(data, where)).flow()


def is_legacy(data: Flow) -> bool:
    """Whether a definition is of the old kind."""
    return "nodes" not in data and any(key in data for key in ("action_sets", "rule_sets", "flow_type"))


class _Migration:
    """One flow on its way. Texts with languages leave their translations in `localization`."""

    def __init__(self, flow: Item) -> None:
        self._flow = flow
        self._base = flow.text("base_language", "base") or "base"
        self._localization: dict[str, dict[str, dict[str, list[str]]]] = {}
        self._nodes: set[str] = set()

    def flow(self) -> Flow:
        flow = self._flow
        metadata = flow.object("metadata") or Item({}, flow.at("metadata"))
        action_sets = flow.objects("action_sets", MAX_SETS)
        rule_sets = flow.objects("rule_sets", MAX_SETS)
        self._nodes = {each.text("uuid") for each in (*action_sets, *rule_sets)}
        placed = [(self._action_set(each), each) for each in action_sets]
        placed += [(self._rule_set(each), each) for each in rule_sets]
        entry = flow.text("entry", "")
        placed.sort(
            key=lambda pair: (pair[0]["uuid"] != entry, pair[1].number("y"))
        )  # the entry first, then downwards
        uuid = (
            metadata.text("uuid", "") or flow.text("uuid", "") or derived(f"{metadata.text('name', '')}:flow")
        )
        return {
            "uuid": uuid,
            "name": metadata.text("name", "") or flow.text("name", ""),
            "spec_version": "13.0.0",
            "language": self._base,
            "type": TYPES.get(flow.text("flow_type", ""), "messaging"),
            "expire_after_minutes": int(metadata.number("expires")),
            "localization": self._localization,
            "nodes": [node for node, _ in placed],
            "_ui": {
                "nodes": {
                    node["uuid"]: {"position": {"left": each.number("x"), "top": each.number("y")}}
                    for node, each in placed
                },
                **self._notes(metadata),
            },
        }

    def _notes(self, metadata: Item) -> Flow:
        notes = metadata.data.get("notes")
        return {"stickies": dict(enumerate(notes))} if isinstance(notes, list) and notes else {}

    # --- texts in several languages

    def _said(self, item: Item, key: str, uuid: str, name: str, *, plain: bool = False) -> str:
        """The base text at a key; the others go to the item's translations under `name`."""
        value = item.data.get(key)
        if value is None or isinstance(value, str):
            return self._template(item.text(key, ""), plain)
        texts = item.mapping(key)
        for language, text in texts.items():
            if language != self._base and text:
                texts_of = self._localization.setdefault(language, {}).setdefault(uuid, {})
                texts_of[name] = [self._template(text, plain)]
        base = texts.get(self._base)
        if base is None:
            base = next(iter(texts.values()), "")
        return self._template(base, plain)

    def _template(self, text: str, plain: bool) -> str:
        return text if plain else translated(text)

    # --- action sets

    def _action_set(self, item: Item) -> Flow:
        uuid = item.text("uuid")
        actions = [
            self._action(action, uuid, number) for number, action in enumerate(item.objects("actions"))
        ]
        exit = item.text("exit_uuid", "") or derived(f"{uuid}:exit")
        return {
            "uuid": uuid,
            "actions": actions,
            "exits": [{"uuid": exit, "destination_uuid": self._destination(item)}],
        }

    def _destination(self, item: Item) -> str | None:
        target = item.text("destination", "")
        return target if target in self._nodes else None

    def _action(self, item: Item, node: str, number: int) -> Flow:
        kind = item.text("type")
        uuid = item.text("uuid", "") or derived(f"{node}:action:{number}")
        made = _ACTIONS.get(kind)
        migrated = made(self, item, uuid) if made else {**item.data, "type": kind}
        return {**migrated, "uuid": uuid, "_type": kind, "_where": item.text("uuid", node)}

    def _reply(self, item: Item, uuid: str) -> Flow:
        text = self._said(item, "msg", uuid, "text")
        media = self._said(item, "media", uuid, "attachments")
        everywhere = {"all_urns": True} if item.data.get("send_all") is True else {}
        return {
            **everywhere,
            "type": "send_msg",
            "text": text,
            "attachments": [media if _KIND.match(media) else f"image:{media}"] if media else [],
            "quick_replies": self._quick_replies(item, uuid),
        }

    def _quick_replies(self, item: Item, uuid: str) -> list[str]:
        if isinstance(item.data.get("quick_replies"), dict):
            raise refused(item.at("quick_replies"), "must be a list")
        base: list[str] = []
        others: dict[str, dict[int, str]] = {}  # language → the reply's number → its text
        for number, reply in enumerate(item.objects("quick_replies", 100)):
            texts = {language: reply.text(language, "") for language in reply.data}
            base.append(translated(texts.get(self._base) or next(iter(texts.values()), "")))
            for language, text in texts.items():
                if language != self._base:
                    others.setdefault(language, {})[number] = translated(text)
        for language, texts_of in others.items():
            replies = [texts_of.get(number, "") for number in range(len(base))]
            self._localization.setdefault(language, {}).setdefault(uuid, {})["quick_replies"] = replies
        return base

    def _send(self, item: Item, uuid: str) -> Flow:
        return {**self._reply(item, uuid), "type": "send_broadcast", **self._receivers(item)}

    def _receivers(self, item: Item) -> Flow:
        return {
            "contacts": item.entries("contacts"),
            "groups": _named(item, "groups"),
            "legacy_vars": [translated(each.text("id", "")) for each in item.objects("variables")],
        }

    def _email(self, item: Item, uuid: str) -> Flow:
        return {
            "type": "send_email",
            "addresses": [translated(address) for address in item.texts("emails")],
            "subject": translated(item.text("subject", "")),
            "body": self._said(item, "msg", uuid, "body"),
        }

    def _save(self, item: Item, uuid: str) -> Flow:
        field, value = item.text("field"), translated(item.text("value", ""))
        if field == "name":
            return {"type": "set_contact_name", "name": value}
        if field == "first_name":
            return {"type": "set_contact_name", "name": f"{value.strip()} @(word_slice(contact.name, 1, -1))"}
        if field in ("tel_e164", "tel", "mailto"):
            return {"type": "add_contact_urn", "scheme": field.removesuffix("_e164"), "path": value}
        label = item.text("label", field)
        return {"type": "set_contact_field", "field": {"key": field, "name": label}, "value": value}

    def _api(self, item: Item, uuid: str) -> Flow:
        """A call amid other actions: nothing splits on it, its answer is read as `@extra`."""
        return _call(item, item.text("action", "") or "POST", item.text("webhook", ""), item)

    def _groups(self, item: Item, uuid: str) -> Flow:
        groups = _named(item, "groups")
        if item.text("type") == "add_group":
            return {"type": "add_contact_groups", "groups": groups}
        return {"type": "remove_contact_groups", "groups": groups, "all_groups": not groups}

    def _say(self, item: Item, uuid: str) -> Flow:
        text = self._said(item, "msg", uuid, "text")
        recording = self._said(item, "recording", uuid, "audio_url", plain=True)
        return {"type": "say_msg", "text": text, "audio_url": recording}

    # --- rule sets

    def _rule_set(self, item: Item) -> Flow:
        uuid = item.text("uuid")
        kind = item.text("ruleset_type", "wait_message") or "wait_message"
        label = item.text("label", "")
        config = item.object("config") or Item({}, item.at("config"))
        rules = self._rules(item, uuid)
        router: Flow = {
            "type": "switch",
            "operand": "@input",
            "result_name": label,
            "cases": rules.cases,
            "categories": rules.categories,
            "default_category_uuid": rules.default or None,
        }
        actions: list[Flow] = []
        make = _RULE_SETS.get(kind)
        if kind in WAITS:
            self._wait(item, kind, rules, router)
        elif make is not None:
            actions = [{**action, "_type": kind} for action in make(self, item, config, router)]
        else:  # nobody knows what it did: what it would have tested, the contact's last words, decides
            actions = [{"uuid": uuid, "type": kind}]
        return {"uuid": uuid, "actions": actions, "router": router, "exits": rules.exits}

    def _rules(self, item: Item, node: str) -> _Rules:
        rules = _Rules()
        for number, rule in enumerate(item.objects("rules", MAX_RULES)):
            uuid = rule.text("uuid", "") or derived(f"{node}:rule:{number}")
            test = rule.object("test") or Item({"type": "true"}, rule.at("test"))
            category = derived(f"{uuid}:category")
            name = self._said(rule, "category", category, "name", plain=True) or "Other"
            category = rules.category(uuid, name, category, self._destination(rule), test.text("type"))
            self._rule(test, uuid, category, rules)
        return rules

    def _rule(self, test: Item, uuid: str, category: str, rules: _Rules) -> None:
        kind = test.text("type")
        if kind == "true":
            rules.default = category
        elif kind == "timeout":
            rules.timeout, rules.seconds = category, int(test.number("minutes") * 60)
        elif kind in ("webhook_status", "airtime_status") and _status(test) != "Success":
            rules.default = category
        else:
            case = self._test(kind, test, uuid)
            rules.cases.append({"uuid": uuid, "category_uuid": category, "_type": kind, **case})

    def _test(self, kind: str, test: Item, uuid: str) -> Flow:
        """The case of a test; one that nobody knows keeps its name."""
        if kind in _WORDS:
            argument = self._said(test, "test", uuid, "arguments", plain=kind == "regex")
            return {"type": _WORDS[kind], "arguments": [argument]}
        if kind in _NUMBERS:
            return {"type": _NUMBERS[kind], "arguments": [translated(test.text("test", ""))]}
        if kind in _DATES:
            return {"type": _DATES[kind], "arguments": [translated(test.text("test", ""), raw_dates=True)]}
        if kind in _ALONE:
            return {"type": _ALONE[kind], "arguments": []}
        match kind:
            case "between":
                bounds = [translated(test.text(key, "")) for key in ("min", "max")]
                return {"type": "has_number_between", "arguments": bounds}
            case "in_group":
                given = test.data.get("test")
                group = Item({"name": given} if isinstance(given, str) else given or {}, test.at("test"))
                return {"type": "has_group", "arguments": [group.text("uuid", ""), group.text("name", "")]}
            case "subflow":
                return {"type": "has_only_text", "arguments": [test.text("exit_type", "completed")]}
            case "webhook_status" | "airtime_status":
                return {"type": "has_only_text", "arguments": [_status(test)]}
            case "district":
                return {"type": "has_district", "arguments": [translated(test.text("test", ""))]}
            case "ward":
                places = [translated(test.text(key, "")) for key in ("district", "state")]
                return {"type": "has_ward", "arguments": places}
        return {"type": kind, "arguments": []}

    def _wait(self, item: Item, kind: str, rules: _Rules, router: Flow) -> None:
        wait: Flow = {"type": "msg"}
        if WAITS[kind]:
            wait["hint"] = {"type": WAITS[kind]}
        if rules.timeout and rules.seconds > 0:
            wait["timeout"] = {"seconds": rules.seconds, "category_uuid": rules.timeout}
        router["wait"] = wait
        operand = item.text("operand", "@step.value") or "@step.value"
        # what was waited for, whatever the editor had written there
        router["operand"] = "@input.text" if kind.startswith("wait_digit") else translated(operand)

    def _sub_flow(self, item: Item, config: Item, router: Flow) -> list[Flow]:
        flow = config.object("flow") or Item({}, config.at("flow"))
        router["operand"] = "@child.status"
        reference = {"uuid": flow.text("uuid", ""), "name": flow.text("name", "")}
        return [{"uuid": _of(item), "type": "enter_flow", "flow": reference, "terminal": False}]

    def _webhook(self, item: Item, config: Item, router: Flow) -> list[Flow]:
        method = config.text("webhook_action", "") or item.text("webhook_action", "") or "POST"
        address = config.text("webhook", "") or item.text("webhook", "") or item.text("webhook_url", "")
        self._by_result(item, router)
        return [_call(item, method, address, config)]

    def _by_result(self, item: Item, router: Flow) -> None:
        router["operand"] = f"@results.{snake(item.text('label', ''))}.category"
        router["result_name"] = ""

    def _resthook(self, item: Item, config: Item, router: Flow) -> list[Flow]:
        self._by_result(item, router)
        slug, name = config.text("resthook", ""), item.text("label", "")
        return [{"uuid": _of(item), "type": "call_resthook", "resthook": slug, "result_name": name}]

    def _airtime(self, item: Item, config: Item, router: Flow) -> list[Flow]:
        self._by_result(item, router)
        amounts = {}
        for country in config.data:
            each = config.object(country)
            if each is not None:
                amounts[each.text("currency_code", country)] = each.number("amount")
        name = item.text("label", "")
        return [{"uuid": _of(item), "type": "transfer_airtime", "amounts": amounts, "result_name": name}]

    def _form_field(self, item: Item, config: Item, router: Flow) -> list[Flow]:
        operand = translated(item.text("operand", "@step.value")).removeprefix("@")
        delimiter = json.dumps(config.text("field_delimiter", " "), ensure_ascii=False)
        router["operand"] = f"@(field({operand}, {int(config.number('field_index'))}, {delimiter}))"
        return []

    def _field(self, item: Item, config: Item, router: Flow) -> list[Flow]:
        itself = item.text("ruleset_type") == "expression"
        router["operand"] = translated(item.text("operand", ""), or_itself=itself) or "@input"
        return []

    def _group(self, item: Item, config: Item, router: Flow) -> list[Flow]:
        router["operand"] = "@contact.groups"
        return []

    def _random(self, item: Item, config: Item, router: Flow) -> list[Flow]:
        """The old rules cut 0 … 1 into equal pieces, which is what a random router does."""
        router["type"] = "random"
        for key in ("operand", "cases", "default_category_uuid"):
            del router[key]
        return []


class _Rules:
    """What the rules of a rule set have become. Rules of one category name share the category, as they did."""

    def __init__(self) -> None:
        self.cases: list[Flow] = []
        self.categories: list[Flow] = []
        self.exits: list[Flow] = []
        self.default = ""
        self.timeout = ""
        self.seconds = 0
        self._by_name: dict[str, str] = {}

    def category(self, rule: str, name: str, uuid: str, target: str | None, test: str) -> str:
        """The category of a rule: a new one, or that of an earlier rule with the same name."""
        known = self._by_name.get(name)
        if known is not None and test not in ("true", "timeout"):
            return known
        self._by_name[name] = uuid
        self.exits.append({"uuid": rule, "destination_uuid": target})
        self.categories.append({"uuid": uuid, "name": name, "exit_uuid": rule})
        return uuid


def _call(item: Item, method: str, address: str, config: Item) -> Flow:
    """The call of a rule set or an action."""
    method = method.upper()
    headers = {"Content-Type": "application/json"} if method == "POST" else {}
    for header in config.objects("webhook_headers"):
        if header.text("name", ""):
            headers[header.text("name")] = translated(header.text("value", ""))
    return {
        "uuid": item.text("uuid", ""),
        "type": "call_webhook",
        "method": method,
        "url": translated(address, for_address=True),
        "headers": headers,
        "body": PAYLOAD if method == "POST" else "",
        "result_name": item.text("label", ""),
    }


def _status(test: Item) -> str:
    given = test.text("status", "") or test.text("exit_status", "")
    return "Success" if given == "success" else "Failure"


def _of(item: Item) -> str:
    """The id of the action that a rule set did by being one."""
    return item.text("uuid")


def _named(item: Item, key: str) -> list[Flow]:
    """Groups and labels: objects with a name, or a text with the name, perhaps as an expression."""
    found: list[Flow] = []
    for number, each in enumerate(item.entries(key)):
        if isinstance(each, str):
            found.append({"name_match": translated(each)} if "@" in each else {"name": each})
        else:
            named = Item(each, f"{item.at(key)}[{number}]")
            found.append({"uuid": named.text("uuid", ""), "name": named.text("name", "")})
    return found


_WORDS = {
    "contains": "has_all_words",
    "contains_any": "has_any_word",
    "contains_phrase": "has_phrase",
    "contains_only_phrase": "has_only_phrase",
    "regex": "has_pattern",
    "starts": "has_beginning",
    "starts_with": "has_beginning",
}
_NUMBERS = {
    "eq": "has_number_eq",
    "gt": "has_number_gt",
    "gte": "has_number_gte",
    "lt": "has_number_lt",
    "lte": "has_number_lte",
}
_DATES = {"date_after": "has_date_gt", "date_before": "has_date_lt", "date_equal": "has_date_eq"}
_ALONE = {
    "date": "has_date",
    "has_email": "has_email",
    "email": "has_email",
    "not_empty": "has_text",
    "number": "has_number",
    "phone": "has_phone",
    "state": "has_state",
}

_ACTIONS: dict[str, Callable[[_Migration, Item, str], Flow]] = {
    "reply": _Migration._reply,
    "send": _Migration._send,
    "email": _Migration._email,
    "save": _Migration._save,
    "add_group": _Migration._groups,
    "del_group": _Migration._groups,
    "say": _Migration._say,
    "play": lambda _, item, uuid: {"type": "play_audio", "audio_url": translated(item.text("url", ""))},
    "lang": lambda _, item, uuid: {"type": "set_contact_language", "language": item.text("lang", "")},
    "api": _Migration._api,
    "channel": lambda _, item, uuid: {
        "type": "set_contact_channel",
        "channel": {"uuid": item.text("channel", ""), "name": item.text("name", "")},
    },
    "add_label": lambda _, item, uuid: {"type": "add_input_labels", "labels": _named(item, "labels")},
    "flow": lambda _, item, uuid: {"type": "enter_flow", "flow": item.data.get("flow"), "terminal": True},
    "trigger-flow": lambda migration, item, uuid: {
        "type": "start_session",
        "flow": item.data.get("flow"),
        **migration._receivers(item),
    },
}

_RULE_SETS: dict[str, Callable[[_Migration, Item, Item, Flow], list[Flow]]] = {
    "subflow": _Migration._sub_flow,
    "webhook": _Migration._webhook,
    "resthook": _Migration._resthook,
    "airtime": _Migration._airtime,
    "form_field": _Migration._form_field,
    "flow_field": _Migration._field,
    "contact_field": _Migration._field,
    "expression": _Migration._field,
    "group": _Migration._group,
    "random": _Migration._random,
}
