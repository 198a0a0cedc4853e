"""Routers of theirs as steps of ours: `listen` waits, `route` decides at once, `split` leaves it to chance."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from flows import matchers
from flows.importers.documents import Line, Names, Row
from flows.importers.rapidpro.actions import made
from flows.importers.rapidpro.definitions import Case, Category, Node, Router
from flows.importers.rapidpro.names import result_key
from flows.importers.rapidpro.templates import constant

if TYPE_CHECKING:
    from flows.importers.rapidpro.conversion import Flow, Made

MAX_HINT = 500  # characters of what an answer should be: RapidPro's are a word

PLACES = ("has_state", "has_district", "has_ward")
MAX_OPERAND = 4_096
MAX_SECONDS = 31_536_000  # a year
MAX_ARGUMENT = 1_000


def carry(flow: Flow, node: Node, router: Router) -> list[Made]:
    """The steps of a router."""
    if router.type == "random":
        return _random(flow, node, router)
    if router.type != "switch":
        why = "there is no such router; everybody goes the default way"
        left = flow.left_out(router.type, node.uuid, why)
        return [left, made({"goto": _target(router.default)}, "split", node.uuid[:8], ends=True)]
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
    operand = _operand(flow, node, router)
    rules = [rule for case in router.cases if (rule := _rule(flow, case)) is not None]
    data: dict[str, Any] = (
        {"listen": rules, "operand": operand} if listens else {"route": operand, "rules": rules}
    )
    if router.default is not None:
        data["category"] = router.default.name
    if name:
        data["result"] = result_key(name)
        called = {
            each.name: Line(names) for each in router.categories if (names := flow.names(each.uuid, "name"))
        }
        if called:
            data["categories"] = called
    if listens:
        timeout = _timeout(flow, router) or flow.waits_out()
        if timeout is not None:
            data["timeout"] = timeout
        if node is flow.definition.nodes[0]:
            data["take_first"] = True
        if router.wait is not None and router.wait.hint:
            data["comment"] = f"Expects: {router.wait.hint[:MAX_HINT]}."
    data["otherwise"] = _target(router.default) if router.default is not None else flow.without_default()
    return made(data, word, name or node.uuid[:8], ends=True)


def _operand(flow: Flow, node: Node, router: Router) -> str:
    operand = router.operand.strip()
    if operand in flow.carried:  # what the action before it has done
        return "done"
    return flow.template(operand[:MAX_OPERAND], node.uuid) or "@input.text"


def _rule(flow: Flow, case: Case) -> dict[str, Any] | None:
    if case.type not in matchers.registry():
        flow.lost(case.named, case.place, "there is no such test; the case never applies")
        return None
    rule: dict[str, Any] = {"test": case.type}
    if case.type in PLACES:
        flow.lost(case.named, case.place, "places of a country are not known; the case never applies")
    value = _arguments(flow, case)
    if value is None:
        return None
    if value:
        rule["value"] = value
    rule |= {"category": case.category.name, "goto": _target(case.category)}
    return rule if isinstance(value, dict) else Line(rule)


def _arguments(flow: Flow, case: Case) -> Any:
    """The arguments, by language where they are translated; None when the test cannot be made with them."""
    base = _fitting(flow, case, case.arguments)
    if base is None:
        return None
    translated = {
        language: Row(fitting)
        for language, texts in flow.translations(case.uuid, "arguments").items()
        if language != flow.base() and (fitting := _fitting(flow, case, texts)) is not None
    }
    if case.type == "has_group":
        uuid, name = [*base, "", ""][:2]
        name = flow.around.groups.get(uuid, name)
        base = [uuid, name] if name else [uuid]
        if not name and constant(uuid):
            flow.lost(
                "group", uuid or case.place, "nobody knows what it is called; nobody carries it as a tag"
            )
        if flow.is_smart(uuid, name):
            flow.lost(
                "group", uuid or name, "a group that a query fills is a segment; nobody carries it as a tag"
            )
    return {flow.base(): Row(base), **translated} if translated else Row(base)


def _fitting(flow: Flow, case: Case, arguments: list[str]) -> list[str] | None:
    """The arguments that the test takes; None when there are too few or a pattern cannot be read."""
    test, where = matchers.registry()[case.type], case.place
    if any(len(argument) > MAX_ARGUMENT for argument in arguments):
        flow.lost(
            case.named, where, f"an argument has more than {MAX_ARGUMENT} characters; the case never applies"
        )
        return None
    fitting = [flow.template(argument, where) for argument in arguments]
    if len(fitting) < test.least:
        flow.lost(case.named, where, f"it needs {test.needs}; the case never applies")
        return None
    if case.type == "has_pattern" and constant(fitting[0]) and not _readable(fitting[0].replace("@@", "@")):
        flow.lost(case.named, where, "its pattern cannot be read; the case never applies")
        return None
    return fitting if test.most < 0 else fitting[: test.most]


def _readable(pattern: str) -> bool:
    from flows.matchers.patterns import program

    try:
        program(pattern.strip())
    except ValueError:
        return False
    return True


def _timeout(flow: Flow, router: Router) -> dict[str, Any] | None:
    from flows.importers.rapidpro.conversion import span

    wait = router.wait
    if wait is None or wait.timeout is None or wait.seconds <= 0:
        return None
    return Line(
        after=span(min(wait.seconds, MAX_SECONDS)), goto=_target(wait.timeout), category=wait.timeout.name
    )


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
