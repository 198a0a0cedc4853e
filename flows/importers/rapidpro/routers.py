"""Routers of theirs as steps of ours: `listen` waits, `route` decides at once, `split` leaves it to chance."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from flows import matchers
from flows.importers.documents import Line, Names, Row
from flows.importers.rapidpro.actions import made, result_key
from flows.importers.rapidpro.definitions import Case, Category, Node, Router

if TYPE_CHECKING:
    from flows.importers.rapidpro.conversion import Flow, Made

MAX_RULES = 100
MAX_OPERAND = 4_096
MAX_ARGUMENT = 1_000


def carry(flow: Flow, node: Node, router: Router) -> list[Made]:
    """The steps of a router."""
    if router.type == "random":
        return _random(flow, node, router)
    wait = router.wait
    if wait is not None and wait.type != "msg":
        left = flow.left_out(
            wait.type, node.uuid, "nobody is called; what was to be decided goes the default way"
        )
        return [left, _route(flow, node, router, listens=False)]
    return [_route(flow, node, router, listens=wait is not None)]


def _route(flow: Flow, node: Node, router: Router, *, listens: bool) -> Made:
    word = "listen" if listens else "route"
    name = router.result_name
    data: dict[str, Any] = {word: _operand(flow, router)}
    rules = [rule for case in router.cases[:MAX_RULES] if (rule := _rule(flow, case)) is not None]
    if len(router.cases) > MAX_RULES:
        flow.lost("router", node.uuid, f"has {len(router.cases)} cases; the first {MAX_RULES} are carried")
    if rules:
        data["rules"] = rules
    if router.default is not None:
        data["category"] = router.default.name
    if name:
        data["result"] = result_key(name)
    if listens:
        timeout = _timeout(flow, router) or flow.waits_out()
        if timeout is not None:
            data["timeout"] = timeout
        if router.wait is not None and router.wait.hint:
            data["comment"] = f"Expects: {router.wait.hint}."
    data["otherwise"] = _target(router.default)
    return made(data, word, name or node.uuid[:8], ends=True)


def _operand(flow: Flow, router: Router) -> str:
    operand = router.operand.strip()
    if operand in flow.carried:  # what the action before it has done
        return "done"
    if operand.startswith("@locals._"):
        operand = "@locals." + operand.removeprefix("@locals.").lstrip("_")
    return operand[:MAX_OPERAND] or "@input.text"


def _rule(flow: Flow, case: Case) -> dict[str, Any] | None:
    if case.type not in matchers.registry():
        flow.lost(case.type, case.uuid or case.where, "there is no such test; the case never applies")
        return None
    rule: dict[str, Any] = {"test": case.type}
    value = _arguments(flow, case)
    if value:
        rule["value"] = value
    rule |= {"category": case.category.name, "goto": _target(case.category)}
    return rule if isinstance(value, dict) else Line(rule)


def _arguments(flow: Flow, case: Case) -> Any:
    base = _shortened(flow, case, case.arguments)
    translated = {
        language: Row(_shortened(flow, case, texts))
        for language, texts in flow.translations(case.uuid, "arguments").items()
        if language != flow.base()
    }
    if case.type == "has_group":
        uuid, name = [*base, "", ""][:2]
        if flow.is_smart(uuid, name):
            flow.lost(
                "group", uuid or name, "a group that a query fills is a segment; nobody carries it as a tag"
            )
    return {flow.base(): Row(base), **translated} if translated else Row(base)


def _shortened(flow: Flow, case: Case, arguments: list[str]) -> list[str]:
    if any(len(argument) > MAX_ARGUMENT for argument in arguments):
        flow.lost(case.type, case.uuid or case.where, f"an argument has more than {MAX_ARGUMENT} characters")
    return [argument[:MAX_ARGUMENT] for argument in arguments]


def _timeout(flow: Flow, router: Router) -> dict[str, Any] | None:
    from flows.importers.rapidpro.conversion import span

    wait = router.wait
    if wait is None or wait.timeout is None or wait.seconds <= 0:
        return None
    return Line(after=span(wait.seconds), goto=_target(wait.timeout), category=wait.timeout.name)


def _target(category: Category | None) -> Any:
    from flows.importers.rapidpro.conversion import To

    return To(category.target if category is not None else None)


def _random(flow: Flow, node: Node, router: Router) -> list[Made]:
    """Equal chances, drawn at every visit."""
    name = router.result_name or node.uuid[:8]
    if not router.categories:
        return [made({"goto": _target(None)}, "split", name, ends=True)]
    if len(router.categories) == 1:
        return [made({"goto": _target(router.categories[0])}, "split", name, ends=True)]
    names = Names()
    ways = [Line(name=names.take(each.name), goto=_target(each)) for each in router.categories]
    data: dict[str, Any] = {"split": ways, "sticky": False}
    if router.result_name:
        data["result"] = result_key(router.result_name)
    return [made(data, "split", name, ends=True)]
