"""Every kind of finding: found in a small faulty flow at its step and line, and not in the same flow mended.

The flows stand in `findings.txt`. A kind of finding that is not in it fails the suite.
"""

from __future__ import annotations

import re
from dataclasses import dataclass, field
from pathlib import Path

import msgspec
import pytest

from flows import compiler, document, inspection
from flows.business import sample
from flows.inspection import Finding
from flows.versions import CompiledFlow

TABLE = Path(__file__).with_suffix("").with_name("findings.txt")
SOURCES = Path(inspection.__file__).parent
NOW = 1_795_000_000_000  # 18 November 2026
SECRETS = {"shop_key"}


@dataclass
class Case:
    code: str
    step: str
    line: int
    besides: set[str]
    without: str
    faulty: str = ""
    mended: str = ""
    beside: list[str] = field(default_factory=list)
    beside_mended: list[str] = field(default_factory=list)


def cases() -> list[Case]:
    """The table, read."""
    found = []
    text = re.sub(r"«x(\d+)»", lambda at: "x" * int(at[1]), TABLE.read_text())
    for part in re.split(r"^=== ", text, flags=re.MULTILINE)[1:]:
        head, _, body = part.partition("\n")
        code, step, line, besides, without = re.fullmatch(
            r"(\w+) \((\w*), (\d+)\)(?: \+ (\w+))?(?: - (\w+))?", head
        ).groups()  # type: ignore[union-attr]
        case = Case(code, step, int(line), {besides} - {None}, without or "")
        case.faulty, *sections = re.split(r"^--- ", body.rstrip() + "\n", flags=re.MULTILINE)
        for section in sections:
            what, _, flow = section.partition("\n")
            match what:
                case "mended":
                    case.mended = flow
                case "beside":
                    case.beside.append(flow)
                case "beside the mended":
                    case.beside_mended.append(flow)
        assert case.mended, head
        found.append(case)
    return found


def compiled(text: str) -> CompiledFlow:
    return compiler.compile(document.load(text, "flow.yaml"), 1)


def checked(text: str, beside: list[str], *, without: str = "") -> list[Finding]:
    flow = compiled(text)
    library = {one.key: one for one in (flow, *map(compiled, beside))}
    business = sample()
    if without:
        business = msgspec.structs.replace(business, **{without: ()})
    return inspection.check(flow, library, business=business, beside=library, secrets=SECRETS, now=NOW)


@pytest.mark.parametrize("case", cases(), ids=lambda case: f"{case.code}-{case.step}-{case.line}")
def test_the_fault_is_found_and_the_mended_flow_is_silent(case: Case) -> None:
    """At its step and line, with a remedy in both languages, and nothing else is said."""
    found = checked(case.faulty, case.beside, without=case.without)
    assert {(one.code, one.step, one.line) for one in found if one.code not in case.besides} == {
        (case.code, case.step, case.line)
    }
    for finding in found:
        assert finding.severity in ("error", "warning")
        assert set(finding.text) == set(finding.remedy) == {"it", "en"}
        assert finding.sentence("it") != finding.sentence("en")
    silent = checked(case.mended, [*case.beside, *case.beside_mended])
    assert [one.sentence() for one in silent] == []


def codes() -> set[str]:
    """Every code that stands in the sources of inspection."""
    text = "".join(path.read_text() for path in SOURCES.glob("*.py"))
    return set(re.findall(r'"(?:error|warning)",\s*"(\w+)"', text)) | set(
        re.findall(r'_Over\(\s*"(\w+)"', text)
    )


def test_every_kind_of_finding_is_in_the_table() -> None:
    """Whoever adds a finding adds a faulty flow and its mended twin."""
    assert len(codes()) > 30
    assert sorted(codes() - {case.code for case in cases()}) == []
