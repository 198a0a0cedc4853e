"""What inspection says: a finding with its place and its remedy, in Italian and English."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from flows.versions import CompiledStep

Words = Mapping[str, str]  # {"it": …, "en": …}


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
        line, severity = "line", self.severity
        if language == "it":
            line, severity = "riga", {"error": "errore", "warning": "avviso"}.get(severity, severity)
        at = f"{line} {self.line}, {self.step}" if self.step else f"{line} {self.line}"
        return f"{severity}: {at}: {self.text[language]} ({self.remedy[language]})"


def at(
    step: CompiledStep,
    severity: str,
    code: str,
    line: int = 0,
    /,
    *,
    it: str,
    en: str,
    fix_it: str,
    fix_en: str,
) -> Finding:
    """A finding at a step; `line`: a more exact one than the step's own."""
    return Finding(
        severity, code, step.id, line or step.line, {"it": it, "en": en}, {"it": fix_it, "en": fix_en}
    )


def of_flow(line: int, severity: str, code: str, *, it: str, en: str, fix_it: str, fix_en: str) -> Finding:
    """A finding about the flow itself."""
    return Finding(severity, code, "", line, {"it": it, "en": en}, {"it": fix_it, "en": fix_en})
