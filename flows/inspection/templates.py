"""Approved templates: values that are missing, too long, or differ from how the same template is used elsewhere."""

from __future__ import annotations

from collections.abc import Iterator

from flows.contents import written
from flows.inspection import inspects
from flows.inspection.findings import Finding, at
from flows.inspection.limits import Limits
from flows.inspection.scene import Scene
from flows.inspection.values import given
from flows.versions import CompiledStep, TemplateUse


@inspects
def values(scene: Scene) -> Iterator[Finding]:
    """A value that comes out empty fails: the platform refuses the whole message."""
    there = given(scene)
    looked_at = {path for step in scene.steps for path in step.decides}  # a branch has made sure of it
    for step in scene.steps:
        if step.template is None or step.id not in there:
            continue
        for field, paths in step.template.open:
            if not all(path in looked_at | there[step.id] or _certain(path) for path in paths):
                yield _empty(step, field)
        for limits in scene.channels.values():
            yield from _too_long(step, step.template, limits)


def _certain(path: str) -> bool:
    """Whether something is always there, or is told as `read_before_set` when it is not."""
    return not path.startswith(("contact.", "event.", "consent.")) or path in (
        "contact.id",
        "contact.created_at",
    )


def _empty(step: CompiledStep, field: str) -> Finding:
    return at(
        step,
        "warning",
        "template_value_may_be_empty",
        it=f"{field} può restare vuoto, e un modello con un valore vuoto non parte",
        en=f"{field} may come out empty, and a template with an empty value is not sent",
        fix_it="aggiungi | default('…') al valore",
        fix_en="add | default('…') to the value",
    )


def _too_long(step: CompiledStep, use: TemplateUse, limits: Limits) -> Iterator[Finding]:
    sizes = {"body": 0, "header": 0, "code": 0}
    for field, source in use.sources:
        part = "code" if field.endswith(".copy_code") else field.split(".")[2]
        if part in sizes:
            sizes[part] += len(written(source))
    most = {"body": limits.template_value, "header": limits.template_header, "code": limits.template_code}
    for part, size in sizes.items():
        if 0 < most[part] < size:
            yield at(
                step,
                "warning",
                "part_too_long",
                it=f"send.template.{part} ha {size} caratteri: {limits.name} ne prende {most[part]}, "
                "il messaggio sarebbe rifiutato",
                en=f"send.template.{part} has {size} characters: {limits.name} takes {most[part]}, "
                "the message would be refused",
                fix_it="accorcialo",
                fix_en="shorten it",
            )


@inspects
def uses(scene: Scene) -> Iterator[Finding]:
    """A template takes the same values wherever it is sent: as many, in that order or by those names."""
    first: dict[tuple[str, str], tuple[str, TemplateUse]] = {}
    for flow in (scene.flow, *scene.others.values()):
        for step in flow.steps.values():
            if step.template is None:
                continue
            known = first.setdefault(
                (step.template.name, step.template.language), (f"{flow.key}.{step.id}", step.template)
            )
            if flow.key == scene.flow.key and not _same(known[1], step.template):
                yield _differs(step, *known)
            elif flow.key != scene.flow.key and known[0].startswith(f"{scene.flow.key}."):
                own = scene.flow.steps[known[0].partition(".")[2]]
                if not _same(known[1], step.template):
                    yield _differs(own, f"{flow.key}.{step.id}", step.template)


def _same(one: TemplateUse, other: TemplateUse) -> bool:
    return (sorted(one.values), one.header, sorted(one.buttons), one.category) == (
        sorted(other.values),
        other.header,
        sorted(other.buttons),
        other.category,
    )


def _differs(step: CompiledStep, where: str, other: TemplateUse) -> Finding:
    assert step.template is not None
    name, own, theirs = step.template.name, len(step.template.values), len(other.values)
    return at(
        step,
        "warning",
        "template_values_differ",
        it=f"il modello {name} ha qui {own} valori, in {where} {theirs} o di altro tipo: uno dei due è sbagliato",
        en=f"the template {name} has {own} values here, in {where} {theirs} or others: one of them is wrong",
        fix_it="usa gli stessi valori, nello stesso ordine, che il modello approvato prevede",
        fix_en="use the values, in the order, that the approved template asks for",
    )


@inspects
def elsewhere(scene: Scene) -> Iterator[Finding]:
    """Channels without templates."""
    for step in scene.steps:
        for limits in scene.channels.values():
            if step.shows == "template" and not limits.template_value:
                yield at(
                    step,
                    "warning",
                    "no_templates",
                    it=f"{limits.name} non ha modelli: lì questo passo non dice niente",
                    en=f"{limits.name} has no templates: this step says nothing there",
                    fix_it="aggiungi text al modello, o limita il flusso a WhatsApp",
                    fix_en="add text to the template, or keep the flow to WhatsApp",
                )
