"""What the channels cannot show as it is written: too long, too many, or not at all.

Of a text with placeholders only what is written counts; when that alone is near the limit, the values may carry it
past (`may_grow_too_long`).
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import NamedTuple

from flows.contents import changes, written
from flows.inspection import inspects
from flows.inspection.findings import Finding, at
from flows.inspection.limits import Limits
from flows.inspection.scene import Scene
from flows.texts import LocalText
from flows.versions import CompiledStep

NEAR = 0.9  # of a limit: a name or a number may then be what is too much
Labels = Sequence[tuple[str, LocalText]]


class _Over(NamedTuple):
    """What happens when a text is longer than it should be, and what to do."""

    code: str
    it: str
    en: str
    fix_it: str = "accorcialo"
    fix_en: str = "shorten it"


_DIVIDED = _Over(
    "text_too_long",
    "sarà diviso",
    "it will be divided",
    "accorcia il testo o dividilo in più passi",
    "shorten the text or divide it into several steps",
)
_LISTED = _Over(
    "text_too_long",
    "le scelte prenderanno un'altra forma",
    "the buttons will take another form",
    "accorcia il testo o dividilo in più passi",
    "shorten the text or divide it into several steps",
)
_REFUSED = _Over("part_too_long", "il messaggio sarebbe rifiutato", "the message would be refused")
_APART = _Over("part_too_long", "sarà un messaggio a parte", "it will be a message of its own")
_NUMBERED = _Over("part_too_long", "le scelte diventano testo numerato", "the choices become numbered text")


@inspects
def texts(scene: Scene) -> Iterator[Finding]:
    """Every text against the limit of its place."""
    for step in scene.steps:
        for limits in scene.channels.values():
            for field, text in step.texts:
                if field in step.unsaid or (field.startswith("send.poll.") and not limits.polls):
                    continue
                most, over = _limit(step, field, limits)
                if most:
                    yield from _measured(step, field, text, most, over, limits)


def _limit(step: CompiledStep, field: str, limits: Limits) -> tuple[int, _Over]:
    if step.shows == "media" and (field == "send" or field.endswith(".caption")):
        return limits.caption, _APART
    if field.startswith(("buttons.", "options.")) and field.endswith(".description"):
        return limits.row_description, _NUMBERED
    if field == "list":
        return limits.opener, _REFUSED
    if step.shows == "request" and limits.request:
        return limits.request, _REFUSED
    if step.shows.startswith("template") and limits.template_value:
        return 0, _DIVIDED  # there the template itself is shown
    if any(0 < number <= limits.buttons for number in (len(step.buttons) + step.ways, len(step.second))):
        return limits.text_with_buttons, _LISTED
    return limits.text, _DIVIDED


def _measured(
    step: CompiledStep, field: str, text: LocalText, most: int, over: _Over, limits: Limits
) -> Iterator[Finding]:
    sources = [(len(written(source)), changes(source)) for _, _, source in text.sources()]
    length = max(size for size, _ in sources)
    if length > most:
        yield at(
            step,
            "warning",
            over.code,
            it=f"{field} ha {length} caratteri: {limits.name} ne prende {most}, {over.it}",
            en=f"{field} has {length} characters: {limits.name} takes {most}, {over.en}",
            fix_it=over.fix_it,
            fix_en=over.fix_en,
        )
        return
    near = max((size for size, open_ in sources if open_), default=0)
    if near > NEAR * most:
        yield at(
            step,
            "warning",
            "may_grow_too_long",
            it=f"{field} ha {near} caratteri senza i valori: {limits.name} ne prende {most}, poi {over.it}",
            en=f"{field} has {near} characters without its values: {limits.name} takes {most}, then {over.en}",
            fix_it=f"{over.fix_it}, o accorcia i valori con | truncate",
            fix_en=f"{over.fix_en}, or shorten the values with | truncate",
        )


@inspects
def labels(scene: Scene) -> Iterator[Finding]:
    """Buttons: how many there are and how long; a poll's options where polls are choices."""
    for step in scene.steps:
        for limits in scene.channels.values():
            for group, ways in ((step.buttons, step.ways), (step.second, 0)):
                yield from _too_many(step, group, ways, limits)
                yield from _labels_too_long(step, group, ways, limits)
            if not limits.polls:
                poll = [pair for pair in step.texts if pair[0].startswith("send.poll.options.")]
                yield from _too_many(step, poll, 0, limits)
                yield from _labels_too_long(step, poll, 0, limits)


def _too_many(step: CompiledStep, group: Labels, ways: int, limits: Limits) -> Iterator[Finding]:
    number = sum(1 for option_id, _ in group if option_id)  # links have none
    if number and number + ways > limits.rows:
        number += ways
        yield at(
            step,
            "warning",
            "too_many_options",
            it=f"{number} scelte: {limits.name} ne mostra al massimo {limits.rows}, diventano testo numerato",
            en=f"{number} options: {limits.name} shows at most {limits.rows}, they become numbered text",
            fix_it="dividi la domanda in due",
            fix_en="divide the question in two",
        )


def _labels_too_long(step: CompiledStep, group: Labels, ways: int, limits: Limits) -> Iterator[Finding]:
    most = limits.button_title if len(group) + ways <= limits.buttons else limits.row_title
    for _, label in group:
        sources = [(written(source), changes(source)) for _, _, source in label.sources()]
        longest = max((text for text, _ in sources), key=len)
        if len(longest) > most:
            yield at(
                step,
                "warning",
                "label_too_long",
                it=f"“{longest}” è troppo lungo per {limits.name} ({len(longest)} caratteri, al massimo {most})",
                en=f"“{longest}” is too long for {limits.name} ({len(longest)} characters, at most {most})",
                fix_it="accorcia la scelta",
                fix_en="shorten the label",
            )
            continue
        open_ = max((text for text, open_ in sources if open_), key=len, default="")
        if len(open_) > NEAR * most:
            yield at(
                step,
                "warning",
                "may_grow_too_long",
                it=f"“{open_}…” con il suo valore può superare i {most} caratteri di {limits.name}",
                en=f"“{open_}…” with its value may grow past the {most} characters of {limits.name}",
                fix_it="accorcia la scelta",
                fix_en="shorten the label",
            )
