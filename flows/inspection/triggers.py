"""Triggers: words that are taken, flows that ask for the same, occasions that never come, circles of flows that start
one another. What only shows together is seen with the flows that are published beside this one."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from datetime import UTC, datetime, timedelta

from domain.optout import is_opt_out
from flows.business import BusinessView
from flows.inspection import inspects
from flows.inspection.findings import Finding, of_flow
from flows.inspection.scene import Scene
from flows.triggers import Trigger
from flows.triggers import named as meant
from flows.triggers.consent_given import ConsentGivenTrigger
from flows.triggers.consent_withdrawn import ConsentWithdrawnTrigger
from flows.triggers.feedback import FeedbackTrigger
from flows.triggers.field_changed import FieldChangedTrigger
from flows.triggers.keyword import KeywordTrigger
from flows.triggers.schedule import ScheduleTrigger
from flows.triggers.stage import FIELD, StageTrigger
from flows.triggers.tag_added import TagAddedTrigger
from flows.versions import CompiledFlow

Library = Mapping[str, CompiledFlow]
Said = Iterator[tuple[str, str, dict[str, str]]]


@inspects
def triggers(scene: Scene) -> Iterator[Finding]:
    """Each trigger for itself, and beside those of other flows."""
    flow, business = scene.flow, scene.business
    others = {key: other for key, other in scene.beside.items() if key != flow.key}
    for number, trigger in enumerate(flow.document.triggers):
        for severity, code, words in (
            *_reserved(trigger),
            *_greedy(trigger),
            *_idle(trigger),
            *_purpose(trigger, business),
            *_never(trigger, scene),
            *_collides(trigger, flow, number, others),
            *_circle(trigger, flow, others),
            *_marketing(trigger, flow),
        ):
            yield of_flow(flow.document.lines.of("triggers", number), severity, code, **words)


def _reserved(trigger: Trigger) -> Said:
    """Words that the platform's STOP rule takes before any flow hears them."""
    taken = (
        [word for word in trigger.words if is_opt_out(word)] if isinstance(trigger, KeywordTrigger) else []
    )
    if taken:
        yield (
            "error",
            "reserved_word",
            {
                "it": f"{', '.join(taken)} è riservata a chi non vuole più messaggi",
                "en": f"{', '.join(taken)} is kept for people who want no more messages",
                "fix_it": "scegli un'altra parola",
                "fix_en": "choose another word",
            },
        )


def _greedy(trigger: Trigger) -> Said:
    if (
        isinstance(trigger, KeywordTrigger)
        and trigger.may_interrupt
        and trigger.match not in ("exact", "prefix")
    ):
        yield (
            "warning",
            "greedy_trigger",
            {
                "it": f"interrompe ogni domanda la cui risposta corrisponde ({trigger.match})",
                "en": f"it takes the answer away from every question when it fits ({trigger.match})",
                "fix_it": "togli interrupts o usa match: exact",
                "fix_en": "take interrupts out, or use match: exact",
            },
        )


def _idle(trigger: Trigger) -> Said:
    if trigger.interrupts and not trigger.may_interrupt:
        yield (
            "warning",
            "never_interrupts",
            {
                "it": f"{trigger.type} non interrompe mai: interrupts non ha effetto",
                "en": f"{trigger.type} never interrupts: interrupts does nothing here",
                "fix_it": "togli interrupts",
                "fix_en": "take interrupts out",
            },
        )


def _purpose(trigger: Trigger, business: BusinessView | None) -> Said:
    if (
        business is not None
        and isinstance(trigger, ScheduleTrigger)
        and trigger.purpose not in business.purposes
    ):
        yield (
            "error",
            "unknown_purpose",
            {
                "it": f"lo scopo {trigger.purpose} non ha un testo nei dati dell'attività",
                "en": f"the purpose {trigger.purpose} has no wording in the business file",
                "fix_it": "aggiungi lo scopo con il suo testo",
                "fix_en": "add the purpose with its wording",
            },
        )


def _never(trigger: Trigger, scene: Scene) -> Said:
    """Occasions that do not exist: other kinds of channels, purposes that nobody is asked about, dates that are over,
    scores between two bounds that exclude each other."""
    why = _why_never(trigger, scene)
    if why is not None:
        it, en = why
        yield (
            "warning",
            "never_fires",
            {
                "it": f"{trigger.type} non scatta mai: {it}",
                "en": f"{trigger.type} never fires: {en}",
                "fix_it": "correggilo o toglilo",
                "fix_en": "correct it or take it out",
            },
        )


def _why_never(trigger: Trigger, scene: Scene) -> tuple[str, str] | None:
    if trigger.channels and set(trigger.channels).isdisjoint(scene.channels):
        shown = ", ".join(trigger.channels)
        return f"non ci sono canali di tipo {shown}", f"there are no channels of the kind {shown}"
    if isinstance(trigger, ConsentGivenTrigger | ConsentWithdrawnTrigger) and scene.business is not None:
        named = getattr(trigger, trigger.type)
        if not any(meant(named, purpose) is not None for purpose in scene.business.purposes):
            shown = ", ".join(named)
            return f"nessuno scopo si chiama {shown}", f"no purpose is called {shown}"
    if isinstance(trigger, ScheduleTrigger) and scene.now is not None:
        yesterday = datetime.fromtimestamp(scene.now / 1000, UTC).date() - timedelta(
            days=2
        )  # anywhere on earth
        if trigger.date_after(yesterday) is None:
            return "le sue date sono passate", "its dates are over"
    if isinstance(trigger, FeedbackTrigger) and trigger.below is not None and trigger.above is not None:
        if trigger.above + 1 < trigger.below:  # scores are whole
            return None
        return "nessun punteggio sta tra above e below", "no score lies between above and below"
    return None


def _collides(trigger: Trigger, flow: CompiledFlow, number: int, others: Library) -> Said:
    """The same words, link, tag … in two flows: one of them never starts by it."""
    earlier = [(flow, one) for one in flow.document.triggers[:number]]
    theirs = [(other, one) for other in others.values() for one in other.document.triggers]
    for other, one in (*earlier, *theirs):
        shared = trigger.claims & one.claims if _same_place(trigger, one) else frozenset()
        if shared:
            what = ", ".join(sorted(shared)[:3]) or trigger.type
            yield (
                "warning",
                "trigger_collides",
                {
                    "it": f"{what} avvia anche il flusso {other.key}: vince quello creato per primo",
                    "en": f"{what} also starts the flow {other.key}: the one that was made first wins",
                    "fix_it": "usa altre parole, un'altra priority, o canali diversi",
                    "fix_en": "use other words, another priority, or different channels",
                },
            )
            return


def _same_place(one: Trigger, other: Trigger) -> bool:
    """Whether nothing decides between two triggers but the order of their flows."""
    if one.type != other.type or one.priority != other.priority or one.precision != other.precision:
        return False
    return not one.channels or not other.channels or not set(one.channels).isdisjoint(other.channels)


def _circle(trigger: Trigger, flow: CompiledFlow, others: Library) -> Said:
    """Flows that start one another by what they write into the contact."""
    everything = {**others, flow.key: flow}
    way = _way_back(flow, trigger, everything)
    if way:
        shown = " → ".join(way)
        yield (
            "warning",
            "flows_start_one_another",
            {
                "it": f"questi flussi si avviano a vicenda: {shown}; dopo cinque ci fermiamo",
                "en": f"these flows start one another: {shown}; after five we stop",
                "fix_it": "togli il trigger, o fai in modo che il passo non si ripeta",
                "fix_en": "take the trigger out, or do not change the same thing again",
            },
        )


def _way_back(flow: CompiledFlow, trigger: Trigger, flows: Library) -> list[str]:
    """The flows from one that sets the trigger off back to the one that this flow sets off; empty: there is no way."""
    ways = [[key] for key, other in sorted(flows.items()) if _sets_off(other, trigger)]
    seen = {way[0] for way in ways}
    while ways:
        way = ways.pop(0)
        if way[-1] == flow.key:
            return [flow.key, *reversed(way[:-1]), flow.key] if len(way) > 1 else [flow.key, flow.key]
        current = flows[way[-1]]
        for key, other in sorted(flows.items()):
            if key not in seen and any(_sets_off(other, one) for one in current.document.triggers):
                seen.add(key)
                ways.append([*way, key])
    return []


def _sets_off(flow: CompiledFlow, trigger: Trigger) -> bool:
    """Whether some step certainly does what the trigger hears (tags and fields that are written out)."""
    if isinstance(trigger, TagAddedTrigger):
        tags = [tag for step in flow.document.steps.values() for tag in _tags(step)]
        return any(
            meant(trigger.tag_added, tag) is not None for tag in tags if "{{" not in tag and "@" not in tag
        )
    written = {path.removeprefix("contact.") for step in flow.steps.values() for path in step.writes}
    if isinstance(trigger, StageTrigger):
        return f"fields.{FIELD}" in written
    if isinstance(trigger, FieldChangedTrigger) and trigger.to is None:
        return any(meant(trigger.field_changed, path.removeprefix("fields.")) is not None for path in written)
    return False


def _tags(step: object) -> list[str]:
    tags = getattr(step, "tag", None)
    return [tag for tag in ([tags] if isinstance(tags, str) else tags or []) if isinstance(tag, str)]


def _marketing(trigger: Trigger, flow: CompiledFlow) -> Said:
    if trigger.type != "consent_withdrawn":
        return
    marked = [key for key, step in flow.document.steps.items() if getattr(step, "marketing", None)]
    if marked:
        yield (
            "error",
            "marketing_after_withdrawal",
            {
                "it": f"chi ha appena tolto il consenso non riceve pubblicità: {', '.join(marked)}",
                "en": f"whoever has just taken back a consent gets no marketing: {', '.join(marked)}",
                "fix_it": "togli marketing da quel passo, o il trigger",
                "fix_en": "take marketing out of the step, or the trigger out",
            },
        )
