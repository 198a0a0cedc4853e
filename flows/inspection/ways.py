"""Steps that nobody gets to, exits that lead nowhere, questions that nobody can leave."""

from __future__ import annotations

from collections.abc import Iterator

from flows.inspection import inspects
from flows.inspection.findings import Finding, at
from flows.inspection.scene import Scene
from flows.state import ANSWER


@inspects
def unreachable(scene: Scene) -> Iterator[Finding]:
    """Steps to which no way leads, from the start or from another flow."""
    for step in scene.steps:
        if step.id not in scene.reached:
            yield at(
                step,
                "warning",
                "unreachable",
                it="nessuno arriva mai a questo passo",
                en="nobody ever gets to this step",
                fix_it="collegalo da un altro passo o toglilo",
                fix_en="lead to it from another step or take it out",
            )


@inspects
def dead_ends(scene: Scene) -> Iterator[Finding]:
    """Exits without a target. Those of a sub-flow that we know are told by its outcomes (`targets`)."""
    for step in scene.steps:
        if step.id not in scene.reached or (step.calls and step.calls in scene.flows):
            continue
        for exit in step.exits:
            if exit.target is None and exit.flow is None:
                yield at(
                    step,
                    "warning",
                    "dead_end",
                    it=f"l'uscita {exit.name} non porta da nessuna parte: la conversazione finisce qui",
                    en=f"the exit {exit.name} leads nowhere: the conversation ends here",
                    fix_it="indica il passo seguente, o end se deve finire",
                    fix_en="name the next step, or end if it should end",
                )


@inspects
def held(scene: Scene) -> Iterator[Finding]:
    """A question without any other way out in a flow that nothing interrupts holds whoever does not know the answer.

    Elsewhere a question without a time limit is no fault: keywords and links get people out of it."""
    if scene.flow.document.interruptible:
        return
    for step in scene.steps:
        names = {exit.name for exit in step.exits}
        if step.waits != ANSWER or step.id not in scene.reached or step.ways or step.blank:
            continue
        if names.isdisjoint(("timeout", "otherwise", "skip")) and not any(
            name.startswith("category ") for name in names
        ):
            yield at(
                step,
                "warning",
                "question_holds",
                it="nessuno può uscire da questa domanda: il flusso non si interrompe, e lei non ha altre uscite",
                en="nobody can leave this question: nothing interrupts the flow, and it has no other way out",
                fix_it="aggiungi timeout, skip, o tries con otherwise",
                fix_en="add timeout, skip, or tries with otherwise",
            )
