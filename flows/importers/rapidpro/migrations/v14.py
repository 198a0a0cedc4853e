"""14.0 → 14.4.2."""

from __future__ import annotations

from typing import Any

from flows.importers.rapidpro.migrations import Flow, to
from flows.importers.rapidpro.migrations.shapes import (
    actions,
    object_at,
    objects,
    routers,
    split_on,
    text,
    translations,
)

MAX_EXPIRES = {"messaging": 20_160, "voice": 15}  # minutes: two weeks, a quarter of an hour
MAX_QUICK_REPLIES = 10
WEBHOOKS = ("call_webhook", "call_resthook")
STATUSES = ("@webhook.status", "@webhook.json.status", "@(default(webhook.status, 0))")
LOCALS = {"open_ticket": "_new_ticket", "transfer_airtime": "_new_transfer"}
ONE_ARGUMENT = (
    "has_only_text",
    "has_phrase",
    "has_only_phrase",
    "has_any_word",
    "has_all_words",
    "has_beginning",
    "has_pattern",
)


@to("14.0.0")
def expiry_and_names(flow: Flow) -> Flow:
    """Flows expire after two weeks at most; every category has a name."""
    expires, most = flow.get("expire_after_minutes"), MAX_EXPIRES.get(text(flow, "type"))
    if most is not None and isinstance(expires, (int, float)) and expires > most:
        flow["expire_after_minutes"] = most
    for router in routers(flow):
        for category in objects(router, "categories"):
            if not text(category, "name"):
                category["name"] = "Match"
    return flow


@to("14.1.0")
def webhooks_split_on_status(flow: Flow) -> Flow:
    """What comes of a webhook is decided by its status, not by the result that the action saves."""
    for _, router in split_on(flow, *WEBHOOKS):
        cases = objects(router, "cases")
        if text(router, "operand").startswith("@results.") and cases and _is_usual(router, cases):
            _success_by_status(router, cases[0])
    for action in actions(flow, "send_msg", "send_broadcast"):
        replies = action.get("quick_replies")
        if isinstance(replies, list):
            action["quick_replies"] = replies[:MAX_QUICK_REPLIES]
    return flow


def _is_usual(router: Flow, cases: list[Flow]) -> bool:
    """Whether the split has the form that editors give it: the first case is success, all else goes the default way.
    Another order or another way was written by hand, and works as it was written."""
    default = router.get("default_category_uuid")
    return not _is_failure(cases[0]) and all(case.get("category_uuid") == default for case in cases[1:])


def _is_failure(case: Flow) -> bool:
    arguments = case.get("arguments")
    return isinstance(arguments, list) and any(str(one).lower().startswith("fail") for one in arguments)


def _success_by_status(router: Flow, case: Flow) -> None:
    case |= {"type": "has_number_between", "arguments": ["200", "299"]}
    router |= {"operand": "@webhook.status", "cases": [case]}


@to("14.2.0")
def tickets_have_notes(flow: Flow) -> Flow:
    """A ticket's text is its note; translations into what is no language go."""
    for action in actions(flow, "open_ticket"):
        body = action.get("body")
        if isinstance(body, str) and body:
            action["note"] = action.pop("body")
    localization = object_at(flow, "localization")
    for language in list(localization or ()):
        if localization is not None and len(language) != 3:
            del localization[language]
    return flow


@to("14.3.0")
def tickets_and_airtime_split_on_locals(flow: Flow) -> Flow:
    """Whether a ticket or a transfer came about is seen by a local variable; the router saves the result."""
    for action, router in split_on(flow, *LOCALS):
        cases = objects(router, "cases")
        if text(router, "operand").startswith("@results.") and cases and _is_usual(router, cases):
            cases[0] |= {"type": "has_text", "arguments": []}
            router |= {"operand": f"@locals.{LOCALS[text(action, 'type')]}", "cases": [cases[0]]}
            router["result_name"] = action.pop("result_name", None)
    return flow


@to("14.3.1")
def text_tests_have_one_argument(flow: Flow) -> Flow:
    """Words that an editor had written as several arguments are one."""
    for router in routers(flow):
        for case in objects(router, "cases"):
            if text(case, "type") in ONE_ARGUMENT:
                _join(case)
                for language in translations(flow):
                    _join(object_at(language, text(case, "uuid")) or {})
    return flow


def _join(data: dict[str, Any]) -> None:
    arguments = data.get("arguments")
    if isinstance(arguments, list) and len(arguments) > 1:
        data["arguments"] = [" ".join(one for one in arguments if isinstance(one, str))]


@to("14.4.0")
def one_address_each(flow: Flow) -> Flow:
    """A message goes to one address of the contact, never to all."""
    for action in actions(flow, "send_msg"):
        if action.pop("all_urns", None) is True:
            action["_all_urns"] = True  # what the importer has to name
    return flow


@to("14.4.1")
def webhooks_have_one_case(flow: Flow) -> Flow:
    """Splits behind webhooks have one form; others, left behind by earlier versions, read the wrong status. RapidPro
    rewrites any operand; one that reads something else of the answer was meant, and stays."""
    for _, router in split_on(flow, *WEBHOOKS):
        cases = objects(router, "cases")
        if cases and text(router, "operand") in STATUSES and not _is_failure(cases[0]):
            for language in translations(flow):
                for case in cases:
                    (object_at(language, text(case, "uuid")) or {}).pop("arguments", None)
            _success_by_status(router, cases[0])
    return flow


@to("14.4.2")
def webhooks_may_not_happen(flow: Flow) -> Flow:
    """A webhook that was not called has the status 0."""
    for _, router in split_on(flow, *WEBHOOKS):
        if text(router, "operand") == "@webhook.status":
            router["operand"] = "@(default(webhook.status, 0))"
    return flow
