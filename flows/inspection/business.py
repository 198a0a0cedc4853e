"""What only the business file and the installation know: purposes, places, secrets; and dates that have passed."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import UTC, datetime
from typing import Any

from flows.inspection import inspects
from flows.inspection.findings import Finding, at
from flows.inspection.scene import Scene
from flows.referrals import PREFIX
from flows.steps.wait import Until, moment
from flows.triggers import pattern_fits


@inspects
def purposes(scene: Scene) -> Iterator[Finding]:
    """Of consent steps and of messages that are marketing."""
    if scene.business is None:
        return
    for step in scene.steps:
        document = scene.flow.document.steps[step.id]
        for key in ("consent", "withdraw", "marketing"):
            purpose: Any = getattr(document, key, None)
            if isinstance(purpose, str) and purpose not in scene.business.purposes:
                yield at(
                    step,
                    "error",
                    "unknown_purpose",
                    it=f"lo scopo {purpose} non ha un testo nei dati dell'attività",
                    en=f"the purpose {purpose} has no wording in the business file",
                    fix_it="aggiungi lo scopo con il suo testo",
                    fix_en="add the purpose with its wording",
                )


@inspects
def places(scene: Scene) -> Iterator[Finding]:
    """`nearest: business` without places."""
    for step in scene.steps:
        named = getattr(scene.flow.document.steps[step.id], "nearest", None)
        if named == "business" and scene.business is not None and not scene.business.places:
            yield at(
                step,
                "warning",
                "no_places",
                it="nei dati dell'attività non c'è nessun luogo: si esce sempre da none",
                en="there are no places in the business file: it always leaves by none",
                fix_it="aggiungi places ai dati dell'attività, o i luoghi a questo passo",
                fix_en="add places to the business file, or the places to this step",
            )


@inspects
def doors(scene: Scene) -> Iterator[Finding]:
    """A personal link that no flow answers leads a friend to nothing."""
    links = [
        str(pattern)
        for one in scene.flows.values()
        for trigger in one.document.triggers
        if (pattern := getattr(trigger, "deep_link", None))
    ]
    for step in scene.steps:
        program = getattr(scene.flow.document.steps[step.id], "referral", None)
        if program is None or any(pattern_fits(link, f"{PREFIX}-{program}-0") for link in links):
            continue
        yield at(
            step,
            "warning",
            "link_without_flow",
            it=f"nessun flusso parte dai link di {program}",
            en=f"no flow starts by the links of {program}",
            fix_it=f'aggiungi il trigger {{deep_link: "{PREFIX}-{program}-*"}}',
            fix_en=f'add the trigger {{deep_link: "{PREFIX}-{program}-*"}}',
        )


@inspects
def secrets(scene: Scene) -> Iterator[Finding]:
    """Names of secrets that are not set."""
    for step in scene.steps:
        for name in sorted(step.secrets - set(scene.secrets)) if scene.secrets is not None else ():
            yield at(
                step,
                "warning",
                "unknown_secret",
                it=f"il segreto {name} non c'è: la chiamata non parte",
                en=f"there is no secret {name}: the call is not made",
                fix_it=f"impostalo con: passaparola secret set {name}",
                fix_en=f"set it with: passaparola secret set {name}",
            )


@inspects
def passed(scene: Scene) -> Iterator[Finding]:
    """Waits until a date that is over: nobody waits there."""
    if scene.now is None:
        return
    for step in scene.steps:
        wait: Any = getattr(scene.flow.document.steps[step.id], "wait", None)
        fixed = isinstance(wait, Until) and not wait.before and not wait.after
        due = moment(wait.until) if fixed else None
        if due is None:
            continue
        over = datetime(due.year, due.month, due.day, tzinfo=UTC).timestamp() * 1000 + 2 * 86_400_000
        if over < scene.now:  # wherever on earth
            yield at(
                step,
                "warning",
                "moment_passed",
                it=f"{wait.until} è passato: qui nessuno aspetta",
                en=f"{wait.until} has passed: nobody waits here",
                fix_it="metti una data che deve venire, o togli il passo",
                fix_en="put a date that is still to come, or take the step out",
            )
