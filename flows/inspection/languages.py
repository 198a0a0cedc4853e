"""Texts that are not written in every language of the flow: what is said, buttons, messages for errors, and the words
that answers are held against."""

from __future__ import annotations

from collections.abc import Iterator

from flows.inspection import inspects
from flows.inspection.findings import Finding, at
from flows.inspection.scene import Scene
from flows.texts import ANY


@inspects
def untranslated(scene: Scene) -> Iterator[Finding]:
    """A text without a language in brackets serves all."""
    for step in scene.steps:
        buttons = (
            (f"option {key}" if key else "link", label) for key, label in (*step.buttons, *step.second)
        )
        for field, text in (*step.texts, *buttons):
            if ANY in text.wordings:
                continue
            missing = [language for language in scene.flow.languages if language not in text.wordings]
            if missing:
                yield at(
                    step,
                    "warning",
                    "missing_translation",
                    it=f"{field} manca in {', '.join(missing)}",
                    en=f"{field} is missing in {', '.join(missing)}",
                    fix_it="aggiungi la traduzione, o togli la lingua da languages",
                    fix_en="add the translation, or take the language out of languages",
                )
