"""Inspection: what is wrong, or will be, with a flow that reads well. Each finding has a place and a remedy.

`error` stops publishing; `warning` is worth a look. The checks walk the graph of steps and exits; what a step says,
reads and writes was noted by the compiler, so no check knows a step type.
"""

from __future__ import annotations

import re
from collections import deque
from collections.abc import Collection, Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from flows import trigger_checks
from flows.business import BusinessView
from flows.referrals import PREFIX
from flows.state import CALL
from flows.texts import ANY, LocalText
from flows.triggers import pattern_fits
from flows.versions import CompiledFlow, CompiledStep

Words = Mapping[str, str]  # {"it": …, "en": …}
_CHANGES = re.compile(r"\{\{|@[(\w]")  # a text whose length is known only when it is said


@dataclass(frozen=True, slots=True)
class Finding:
    """`severity` is error or warning; `code` a stable word; `step` "" for the flow itself; `line` counts from 1."""

    severity: str
    code: str
    step: str
    line: int
    text: Words
    remedy: Words

    def sentence(self, language: str = "en") -> str:
        """One line for a person."""
        at = f"line {self.line}, {self.step}" if self.step else f"line {self.line}"
        return f"{self.severity}: {at}: {self.text[language]} ({self.remedy[language]})"


@dataclass(frozen=True, slots=True)
class Limits:
    """What a channel takes, in characters and numbers. The figures are the platforms' own, see each constant."""

    name: str
    text: int
    text_with_buttons: int
    caption: int
    buttons: int  # more become a list
    rows: int  # more become numbered text
    button_title: int
    row_title: int
    row_description: int = 0  # 0: as long as the text
    opener: int = 0  # of a list, 0: there are no lists
    templates: bool = False


# https://core.telegram.org/bots/api#sendmessage: 4,096 characters; captions 1,024; a keyboard has up to 100 buttons.
# Longer button titles are shown cut by the apps, from about 40 characters on.
TELEGRAM = Limits("Telegram", 4_096, 4_096, 1_024, 100, 100, 40, 40)
# https://developers.facebook.com/docs/whatsapp/cloud-api/messages: 3 reply buttons of 20 characters, else a list of
# 10 rows of 24 characters; the body of an interactive message 1,024, of a text 4,096.
WHATSAPP = Limits("WhatsApp", 4_096, 1_024, 1_024, 3, 10, 20, 24, 72, 20, True)
CHANNELS: Mapping[str, Limits] = {"telegram": TELEGRAM, "whatsapp": WHATSAPP}


def check(
    flow: CompiledFlow,
    library: Mapping[str, CompiledFlow],
    *,
    channels: Mapping[str, Limits] = CHANNELS,
    business: BusinessView | None = None,
    beside: Mapping[str, CompiledFlow] | None = None,
    secrets: Collection[str] | None = None,
) -> list[Finding]:
    """All findings, in the order of lines. `library` holds the flows it may call; `channels` those it will run on;
    with `business` the purposes of consent steps are checked, too, with `secrets` (names) that those used are there."""
    graph = _Graph(flow)
    found = [
        *_targets(flow),
        *_flows(flow, library),
        *_unknown_names(flow),
        *_unreachable(flow, graph),
        *_dead_ends(flow, graph),
        *_loops(flow, graph, library),
        *_unset(flow, graph, library),
        *_translations(flow),
        *_channel_limits(flow, channels),
        *_triggers(flow, beside or {}, business),
        *(_purposes(flow, business) if business else ()),
        *(_places(flow, business) if business else ()),
        *_doors(flow, library),
        *(_secrets(flow, secrets) if secrets is not None else ()),
    ]
    return sorted(found, key=lambda finding: (finding.line, finding.severity, finding.code))


_AT_ONCE = {"consent": "yes"}  # steps that wait, but let those pass who have answered before: by this exit


class _Graph:
    """Which step leads to which, and what can be reached from the start. `at_once`: without waiting."""

    def __init__(self, flow: CompiledFlow) -> None:
        self.next: dict[str, list[str]] = {
            step.id: [
                exit.target
                for exit in step.exits
                if exit.target in flow.steps and exit.flow is None and exit.target
            ]
            for step in flow.steps.values()
        }
        self.at_once: dict[str, list[str]] = {
            step.id: [
                exit.target
                for exit in step.exits
                if exit.target in flow.steps
                and exit.flow is None
                and exit.target
                and exit.name != "on_message"
                and (step.waits in ("", CALL) or exit.name == _AT_ONCE.get(step.type))
            ]
            for step in flow.steps.values()
        }
        self.reached = self._from([flow.start] if flow.start in flow.steps else [])

    def _from(self, starts: list[str]) -> set[str]:
        seen = set(starts)
        ahead = deque(starts)
        while ahead:
            for target in self.next[ahead.popleft()]:
                if target not in seen:
                    seen.add(target)
                    ahead.append(target)
        return seen


def _targets(flow: CompiledFlow) -> Iterator[Finding]:
    if flow.start not in flow.steps:
        line = flow.document.lines.of("start")
        yield _finding("error", "unknown_step", "", line, **_unknown("start", flow.start))
    for step in flow.steps.values():
        for exit in step.exits:
            if exit.flow is None and exit.target not in (None, "end") and exit.target not in flow.steps:
                yield _at(step, "error", "unknown_step", **_unknown(exit.name, str(exit.target)))


def _unknown(name: str, target: str) -> dict[str, str]:
    return {
        "it": f"{name} porta a {target}, che non esiste",
        "en": f"{name} leads to {target}, which does not exist",
        "fix_it": f"aggiungi il passo {target} o correggi il nome",
        "fix_en": f"add the step {target} or correct the name",
    }


def _unknown_names(flow: CompiledFlow) -> Iterator[Finding]:
    """Names in RapidPro's expressions that are neither a function nor of the context: what holds them shows nothing."""
    for step in flow.steps.values():
        if step.unknown:
            shown = ", ".join(sorted(step.unknown))
            yield _at(
                step,
                "warning",
                "unknown_name",
                it=f"nelle espressioni nessuno conosce {shown}: al loro posto non si vedrà nulla",
                en=f"nothing in expressions is called {shown}: nothing will be shown in their place",
                fix_it="correggi il nome, o togli l'espressione",
                fix_en="correct the name, or take the expression out",
            )


def _flows(flow: CompiledFlow, library: Mapping[str, CompiledFlow]) -> Iterator[Finding]:
    for step in flow.steps.values():
        named: list[tuple[str, str | None]] = [(step.calls, None)] if step.calls else []
        named += [(exit.flow, exit.target) for exit in step.exits if exit.flow]
        for key, target in named:
            other = flow if key == flow.key else library.get(key)
            if other is None:
                yield _at(
                    step,
                    "error",
                    "unknown_flow",
                    it=f"il flusso {key} non c'è",
                    en=f"there is no flow {key}",
                    fix_it="pubblicalo insieme a questo o correggi il nome",
                    fix_en="publish it together with this one or correct the name",
                )
            elif target is not None and target not in other.steps:
                yield _at(step, "error", "unknown_step", **_unknown(f"goto {key}", str(target)))
        if step.calls and _calls(step.calls, flow.key, {**library, flow.key: flow}):
            yield _at(
                step,
                "error",
                "flows_in_circle",
                it=f"il flusso {step.calls} richiama questo flusso",
                en=f"the flow {step.calls} calls this flow again",
                fix_it="usa goto invece di sub_flow, o togli uno dei due richiami",
                fix_en="use goto in place of sub_flow, or take out one of the calls",
            )


def _calls(key: str, wanted: str, library: Mapping[str, CompiledFlow]) -> bool:
    """Whether a flow reaches another one by sub-flows."""
    seen: set[str] = set()
    ahead = [key]
    while ahead:
        current = ahead.pop()
        if current == wanted:
            return True
        if current not in seen and current in library:
            seen.add(current)
            ahead.extend(step.calls for step in library[current].steps.values() if step.calls)
    return False


def _unreachable(flow: CompiledFlow, graph: _Graph) -> Iterator[Finding]:
    for step in flow.steps.values():
        if step.id not in graph.reached:
            yield _at(
                step,
                "warning",
                "unreachable",
                it="nessuno arriva mai a questo passo",
                en="nobody ever gets to this step",
                fix_it="collegalo da un altro passo o toglilo",
                fix_en="lead to it from another step or take it out",
            )


def _dead_ends(flow: CompiledFlow, graph: _Graph) -> Iterator[Finding]:
    for step in flow.steps.values():
        for exit in step.exits:
            if exit.target is None and exit.flow is None and step.id in graph.reached:
                yield _at(
                    step,
                    "warning",
                    "dead_end",
                    it=f"l'uscita {exit.name} non porta da nessuna parte: la conversazione finisce qui",
                    en=f"the exit {exit.name} leads nowhere: the conversation ends here",
                    fix_it="indica il passo seguente, o end se deve finire",
                    fix_en="name the next step, or end if it should end",
                )


def _loops(flow: CompiledFlow, graph: _Graph, library: Mapping[str, CompiledFlow]) -> Iterator[Finding]:
    """Circles of steps that never wait: found once each, at the step of theirs that comes first in the document."""
    quick = {step.id for step in flow.steps.values() if _passes(step, library, set())}
    reported: set[str] = set()
    for step in flow.steps.values():
        if step.id in quick and step.id not in reported:
            circle = _circle(step.id, graph, quick)
            if circle and not reported & set(circle):
                reported.update(circle)
                shown = " → ".join([*circle, circle[0]])
                yield _at(
                    step,
                    "error",
                    "loop_without_input",
                    it=f"questi passi girano in tondo senza mai aspettare: {shown}",
                    en=f"these steps go round without ever waiting: {shown}",
                    fix_it="metti una domanda o un'attesa nel giro",
                    fix_en="put a question or a wait into the circle",
                )


def _passes(step: CompiledStep, library: Mapping[str, CompiledFlow], inside: set[str]) -> bool:
    """Whether a session can get through a step without waiting. A sub-flow is passed when some way through it is."""
    if step.waits not in ("", CALL):  # services answer by themselves: nobody is waited for
        return step.type in _AT_ONCE
    called = library.get(step.calls) if step.calls else None
    if called is None or called.key in inside:
        return True
    seen = {called.start}
    ahead = [called.start]
    while ahead:
        current = called.steps.get(ahead.pop())
        if current is None or not _passes(current, library, inside | {called.key}):
            continue
        ways = [
            exit
            for exit in current.exits
            if current.waits in ("", CALL) or exit.name == _AT_ONCE.get(current.type)
        ]
        targets = [exit.target or "end" for exit in ways]
        if not targets or "end" in targets or any(exit.flow for exit in ways):
            return True
        ahead.extend(target for target in targets if target not in seen)
        seen.update(targets)
    return False


def _circle(start: str, graph: _Graph, quick: set[str]) -> list[str]:
    """A shortest way from a step back to itself over steps that do not wait; empty when there is none."""
    before: dict[str, str] = {}
    ahead = deque([start])
    while ahead:
        current = ahead.popleft()
        for target in graph.at_once[current]:
            if target == start:
                way = [current]
                while way[-1] != start:
                    way.append(before[way[-1]])
                return way[::-1]
            if target in quick and target not in before:
                before[target] = current
                ahead.append(target)
    return []


def _unset(flow: CompiledFlow, graph: _Graph, library: Mapping[str, CompiledFlow]) -> Iterator[Finding]:
    """Session variables and results that a text shows although some way to it has not set them.

    `given[step]` is what every way to the step has set: the meet over its predecessors, to a fixed point. What a
    question writes counts on all its exits but the ones without an answer."""
    others = {key: other for key, other in library.items() if other.key != flow.key}
    callers = [key for key in others if _calls(key, flow.key, library)]
    given: dict[str, set[str]] = {
        flow.start: set().union(*(_left_by(others[key], flow.key, others) for key in callers))
    }
    ahead = deque([flow.start])
    while ahead:
        step = flow.steps.get(ahead.popleft())
        if step is None:
            continue
        for exit in step.exits:
            if exit.target is None or exit.target not in flow.steps:
                continue
            there = given[step.id] | _written(step, exit.name) | _brought_back(step, others)
            known = given.get(exit.target)
            meet = there if known is None else known & there
            if meet != known:
                given[exit.target] = meet
                ahead.append(exit.target)
    for step in flow.steps.values():
        if step.id not in graph.reached:
            continue
        for path in sorted(step.reads):
            key = ".".join(path.split(".")[:2])
            if key.startswith(("session.", "result.")) and key not in given.get(step.id, set()):
                yield _at(
                    step,
                    "warning",
                    "read_before_set",
                    it=f"{key} può essere ancora vuoto qui",
                    en=f"{key} may still be empty here",
                    fix_it="chiedilo o impostalo prima, o aggiungi | default('…')",
                    fix_en="ask for it or set it before, or add | default('…')",
                )


NO_ANSWER = ("timeout", "skip", "otherwise", "on_message")


def _written(step: CompiledStep, exit: str) -> set[str]:
    if step.waits == "answer" and exit in NO_ANSWER:
        return set()
    own = {f"result.{step.result}"} if step.result else set()
    if step.waits == CALL and exit != "next":  # what is kept of an answer is kept of a good one
        return own
    return set(step.writes) | own


def _left_by(caller: CompiledFlow, key: str, others: Mapping[str, CompiledFlow]) -> set[str]:
    """What a caller has set before it runs this flow: all that it may set, or what it gives where scopes are apart."""
    given = [step.own_scope for step in caller.steps.values() if step.calls == key]
    if given and all(names is not None for names in given):
        return {f"session.{name}" for names in given if names is not None for name in names}
    return _written_by(caller.key, others)


def _brought_back(step: CompiledStep, others: Mapping[str, CompiledFlow]) -> set[str]:
    """What a sub-flow has set for its caller: nothing where its scope is its own."""
    return set() if step.own_scope is not None else _written_by(step.calls, others)


def _written_by(key: str | None, library: Mapping[str, CompiledFlow]) -> set[str]:
    """What a flow, with those it calls, may set: taken as set, since only the flow itself could tell more."""
    found: set[str] = set()
    for other in library.values():
        if key is not None and (other.key == key or _calls(key, other.key, library)):
            found.update(*(_written(step, "next") for step in other.steps.values()))
    return found


def _translations(flow: CompiledFlow) -> Iterator[Finding]:
    for step in flow.steps.values():
        for field, text in (*step.texts, *((f"option {key}", label) for key, label in step.buttons)):
            missing = _missing(flow, text)
            if missing:
                yield _at(
                    step,
                    "warning",
                    "missing_translation",
                    it=f"{field} manca in {', '.join(missing)}",
                    en=f"{field} is missing in {', '.join(missing)}",
                    fix_it="aggiungi la traduzione, o togli la lingua da languages",
                    fix_en="add the translation, or take the language out of languages",
                )


def _missing(flow: CompiledFlow, text: LocalText) -> list[str]:
    return [] if ANY in text.wordings else [one for one in flow.languages if one not in text.languages()]


def _channel_limits(flow: CompiledFlow, channels: Mapping[str, Limits]) -> Iterator[Finding]:
    for step in flow.steps.values():
        for limits in channels.values():
            yield from _too_many(step, limits)
            yield from _too_long(step, limits)
            yield from _parts_too_long(step, limits)
            yield from _without_templates(step, limits)


def _too_many(step: CompiledStep, limits: Limits) -> Iterator[Finding]:
    number = sum(1 for option_id, _ in step.buttons if option_id)  # links have none
    if number > limits.rows:
        yield _at(
            step,
            "warning",
            "too_many_options",
            it=f"{number} scelte: {limits.name} ne mostra al massimo {limits.rows}, diventano testo numerato",
            en=f"{number} options: {limits.name} shows at most {limits.rows}, they become numbered text",
            fix_it="dividi la domanda in due",
            fix_en="divide the question in two",
        )


def _too_long(step: CompiledStep, limits: Limits) -> Iterator[Finding]:
    most = limits.button_title if len(step.buttons) <= limits.buttons else limits.row_title
    for _, label in step.buttons:
        longest = max(
            (text for _, _, text in label.sources() if not _CHANGES.search(text)), key=len, default=""
        )
        if len(longest) > most:
            yield _at(
                step,
                "warning",
                "label_too_long",
                it=f"“{longest}” è troppo lungo per {limits.name} ({len(longest)} caratteri, al massimo {most})",
                en=f"“{longest}” is too long for {limits.name} ({len(longest)} characters, at most {most})",
                fix_it="accorcia la scelta",
                fix_en="shorten the label",
            )
    most = limits.text_with_buttons if step.buttons else limits.text
    for field, text in step.texts:
        length = max(len(source) for _, _, source in text.sources())
        if length > most:
            yield _at(
                step,
                "warning",
                "text_too_long",
                it=f"{field} ha {length} caratteri: {limits.name} ne prende {most}, sarà diviso",
                en=f"{field} has {length} characters: {limits.name} takes {most}, it will be divided",
                fix_it="accorcia il testo o dividilo in più passi",
                fix_en="shorten the text or divide it into several steps",
            )


def _parts_too_long(step: CompiledStep, limits: Limits) -> Iterator[Finding]:
    """Captions, descriptions of rows and the label of a list's opener, which have limits of their own."""
    for field, text in step.texts:
        if step.shows == "media" and (field == "send" or field.endswith(".caption")):
            most, it, en = limits.caption, "sarà un messaggio a parte", "it will be a message of its own"
        elif field.startswith(("buttons.", "options.")) and field.endswith(".description"):
            most = limits.row_description
            it, en = "le scelte diventano testo numerato", "the choices become numbered text"
        elif field == "list":
            most, it, en = limits.opener, "il messaggio sarebbe rifiutato", "the message would be refused"
        else:
            continue
        length = max(
            (len(source) for _, _, source in text.sources() if not _CHANGES.search(source)), default=0
        )
        if most and length > most:
            yield _at(
                step,
                "warning",
                "part_too_long",
                it=f"{field} ha {length} caratteri: {limits.name} ne prende {most}, {it}",
                en=f"{field} has {length} characters: {limits.name} takes {most}, {en}",
                fix_it="accorcialo",
                fix_en="shorten it",
            )


def _without_templates(step: CompiledStep, limits: Limits) -> Iterator[Finding]:
    if step.shows == "template" and not limits.templates:
        yield _at(
            step,
            "warning",
            "no_templates",
            it=f"{limits.name} non ha modelli: lì questo passo non dice niente",
            en=f"{limits.name} has no templates: this step says nothing there",
            fix_it="aggiungi text al modello, o limita il flusso a WhatsApp",
            fix_en="add text to the template, or keep the flow to WhatsApp",
        )


def _triggers(
    flow: CompiledFlow, beside: Mapping[str, CompiledFlow], business: BusinessView | None
) -> Iterator[Finding]:
    for remark in trigger_checks.remarks(flow, beside, business):
        line = flow.document.lines.of("triggers", remark.number)
        yield _finding(remark.severity, remark.code, "", line, **remark.words)


def _purposes(flow: CompiledFlow, business: BusinessView) -> Iterator[Finding]:
    for step in flow.steps.values():
        purpose: Any = getattr(flow.document.steps[step.id], "consent", None)
        if purpose is not None and purpose not in business.purposes:
            yield _at(
                step,
                "error",
                "unknown_purpose",
                it=f"lo scopo {purpose} non ha un testo nei dati dell'attività",
                en=f"the purpose {purpose} has no wording in the business file",
                fix_it="aggiungi lo scopo con il suo testo",
                fix_en="add the purpose with its wording",
            )


def _places(flow: CompiledFlow, business: BusinessView) -> Iterator[Finding]:
    for step in flow.steps.values():
        if getattr(flow.document.steps[step.id], "nearest", None) == "business" and not business.places:
            yield _at(
                step,
                "warning",
                "no_places",
                it="nei dati dell'attività non c'è nessun luogo: si esce sempre da none",
                en="there are no places in the business file: it always leaves by none",
                fix_it="aggiungi places ai dati dell'attività, o i luoghi a questo passo",
                fix_en="add places to the business file, or the places to this step",
            )


def _doors(flow: CompiledFlow, library: Mapping[str, CompiledFlow]) -> Iterator[Finding]:
    """A personal link that no flow answers leads a friend to nothing."""
    links = [
        str(pattern)
        for one in {**library, flow.key: flow}.values()
        for trigger in one.document.triggers
        if (pattern := getattr(trigger, "deep_link", None))
    ]
    for step in flow.steps.values():
        program = getattr(flow.document.steps[step.id], "referral", None)
        if program is None or any(pattern_fits(link, f"{PREFIX}-{program}-0") for link in links):
            continue
        yield _at(
            step,
            "warning",
            "link_without_flow",
            it=f"nessun flusso parte dai link di {program}",
            en=f"no flow starts by the links of {program}",
            fix_it=f'aggiungi il trigger {{deep_link: "{PREFIX}-{program}-*"}}',
            fix_en=f'add the trigger {{deep_link: "{PREFIX}-{program}-*"}}',
        )


def _secrets(flow: CompiledFlow, known: Collection[str]) -> Iterator[Finding]:
    for step in flow.steps.values():
        for name in sorted(step.secrets - set(known)):
            yield _at(
                step,
                "warning",
                "unknown_secret",
                it=f"il segreto {name} non c'è: la chiamata non parte",
                en=f"there is no secret {name}: the call is not made",
                fix_it=f"impostalo con: passaparola secret set {name}",
                fix_en=f"set it with: passaparola secret set {name}",
            )


def _at(step: CompiledStep, severity: str, code: str, **words: str) -> Finding:
    return _finding(severity, code, step.id, step.line, **words)


def _finding(
    severity: str, code: str, step: str, line: int, *, it: str, en: str, fix_it: str, fix_en: str
) -> Finding:
    return Finding(severity, code, step, line, {"it": it, "en": en}, {"it": fix_it, "en": fix_en})
