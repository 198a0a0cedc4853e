"""Answers that cannot be told apart, or that no flow will ever hear."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator

from domain.optout import is_opt_out
from flows.contents import changes
from flows.inspection import inspects
from flows.inspection.findings import Finding, at
from flows.inspection.scene import Scene
from flows.options import plain
from flows.routing import rules_of
from flows.texts import ANY

_WHOLE = frozenset(("has_only_phrase", "has_only_text"))  # tests that the whole message has to pass


@inspects
def equal_options(scene: Scene) -> Iterator[Finding]:
    """Two options of a question that read the same in a language: who types it means the first."""
    for step in scene.steps:
        for group in (step.buttons, step.second):
            for language in scene.flow.languages:
                said = Counter(
                    plain(words[0])
                    for option_id, label in group
                    if option_id and (words := label.wordings.get(language) or label.wordings.get(ANY))
                    if not changes(words[0])
                )
                twice = [words for words, number in said.items() if number > 1]
                if twice:
                    yield at(
                        step,
                        "warning",
                        "equal_options",
                        it=f"due scelte hanno lo stesso testo: {', '.join(twice)}",
                        en=f"two options have the same text: {', '.join(twice)}",
                        fix_it="dai a ogni scelta un testo diverso",
                        fix_en="give each option a text of its own",
                    )
                    break


@inspects
def reserved_answers(scene: Scene) -> Iterator[Finding]:
    """Words that end all messages before a flow hears them, offered as an answer."""
    for step in scene.steps:
        words = [
            source
            for option_id, label in (*step.buttons, *step.second)
            if option_id
            for _, _, source in label.sources()
        ]
        for rule in rules_of(step.runner):
            if rule.test.key in _WHOLE:
                words += [
                    str(one) for given in rule.arguments.values() for one in given if isinstance(one, str)
                ]
        taken = sorted({word for word in words if is_opt_out(word)})
        if taken:
            yield at(
                step,
                "warning",
                "reserved_answer",
                it=f"{', '.join(taken)}: chi lo scrive non riceve più messaggi, e questo passo non lo sente",
                en=f"{', '.join(taken)}: whoever writes it gets no more messages, and this step does not hear it",
                fix_it="scegli un'altra parola",
                fix_en="choose another word",
            )
