"""Steps, flows and outcomes that are named and do not exist; flows that call themselves."""

from __future__ import annotations

from collections.abc import Iterator

from flows.inspection import inspects
from flows.inspection.findings import Finding, at, of_flow
from flows.inspection.graph import ANY, FAILED, calls
from flows.inspection.scene import Scene


@inspects
def steps(scene: Scene) -> Iterator[Finding]:
    """Exits to steps that are not there."""
    flow = scene.flow
    if flow.start not in flow.steps:
        yield of_flow(
            flow.document.lines.of("start"), "error", "unknown_step", **_unknown("start", flow.start)
        )
    for step in scene.steps:
        for exit in step.exits:
            if exit.flow is None and exit.target not in (None, "end") and exit.target not in flow.steps:
                yield at(step, "error", "unknown_step", **_unknown(exit.name, str(exit.target)))


def _unknown(name: str, target: str) -> dict[str, str]:
    return {
        "it": f"{name} porta a {target}, che non esiste",
        "en": f"{name} leads to {target}, which does not exist",
        "fix_it": f"aggiungi il passo {target} o correggi il nome",
        "fix_en": f"add the step {target} or correct the name",
    }


@inspects
def flows(scene: Scene) -> Iterator[Finding]:
    """Flows that are not there, steps of theirs that are not, and circles of calls."""
    for step in scene.steps:
        named: list[tuple[str, str | None]] = [(step.calls, None)] if step.calls else []
        named += [(exit.flow, exit.target) for exit in step.exits if exit.flow]
        for key, target in named:
            other = scene.flows.get(key)
            if other is None:
                yield at(
                    step,
                    "error",
                    "unknown_flow",
                    it=f"il flusso {key} non c'è",
                    en=f"there is no flow {key}",
                    fix_it="pubblicalo insieme a questo o correggi il nome",
                    fix_en="publish it together with this one or correct the name",
                )
            elif target is not None and target not in other.steps:
                yield at(step, "error", "unknown_step", **_unknown(f"goto {key}", str(target)))
        if step.calls and calls(step.calls, scene.flow.key, scene.flows):
            yield at(
                step,
                "error",
                "flows_in_circle",
                it=f"il flusso {step.calls} richiama questo flusso",
                en=f"the flow {step.calls} calls this flow again",
                fix_it="usa goto invece di sub_flow, o togli uno dei due richiami",
                fix_en="use goto in place of sub_flow, or take out one of the calls",
            )


@inspects
def outcomes(scene: Scene) -> Iterator[Finding]:
    """Outcomes of a sub-flow that it never gives, and those with which nothing is done."""
    for step in scene.steps:
        called = scene.flows.get(step.calls) if step.calls else None
        if called is None or calls(called.key, scene.flow.key, scene.flows):
            continue
        given = scene.graph.outcomes(called.key, ANY)
        mapped = {exit.name.removeprefix("exit ") for exit in step.exits if exit.name != "next"}
        never = sorted(mapped - given - {FAILED})
        if never and given:
            shown, has = ", ".join(never), ", ".join(sorted(given))
            yield at(
                step,
                "warning",
                "outcome_never_given",
                it=f"il flusso {called.key} non finisce mai con {shown}, ma con {has}",
                en=f"the flow {called.key} never ends with {shown}, but with {has}",
                fix_it="correggi il nome dell'esito, o aggiungi un end o un return che lo dia",
                fix_en="correct the outcome's name, or add an end or a return that gives it",
            )
        left = sorted(given - mapped)
        if left and any(exit.name == "next" and exit.target is None for exit in step.exits):
            shown = ", ".join(left)
            yield at(
                step,
                "warning",
                "outcome_not_handled",
                it=f"se il flusso {called.key} finisce con {shown}, la conversazione finisce qui",
                en=f"when the flow {called.key} ends with {shown}, the conversation ends here",
                fix_it="aggiungi next, o l'esito a outcomes",
                fix_en="add next, or the outcome to outcomes",
            )
