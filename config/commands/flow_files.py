"""The flow files that a command line names."""

from __future__ import annotations

import re
from itertools import islice
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

if TYPE_CHECKING:
    from flows.versions import CompiledFlow

MAX_AROUND = 1_000  # files of a folder that are looked at for a flow: nobody keeps more beside each other

Files = Annotated[list[Path], typer.Argument(help="Flow files; a folder stands for the flows in it.")]


def flow_files(given: list[Path]) -> list[Path]:
    """The flow files among those given, folders searched. Raises RejectedInput for a folder without any."""
    from domain.errors import RejectedInput

    found: list[Path] = []
    for path in given:
        if path.is_dir():
            inside = [p for p in sorted(path.rglob("*.yaml")) if not p.name.endswith(".test.yaml")]
            if not inside:
                raise RejectedInput(f"there are no flows in {path}")
            found += inside
        else:
            found.append(path)
    return list(dict.fromkeys(found))


def compiled(path: Path) -> CompiledFlow:
    """The flow in a file. Raises RejectedInput naming file, line and what is wrong."""
    from config.business import file_text
    from flows import compiler, document

    return compiler.compile(document.load(file_text(path), str(path)), 0)


def neighbours(paths: list[Path], flows: list[CompiledFlow]) -> list[CompiledFlow]:
    """The flows that these run or go to and that are not among them, looked for in the folders around: three levels
    from each file's own folder, then from the one above it. What cannot be read there, or is not there, is left out."""
    from domain.errors import RejectedInput

    known = {flow.key for flow in flows}
    found: list[CompiledFlow] = []
    ahead = list(flows)
    while ahead:
        flow = ahead.pop()
        for key in sorted(_named(flow) - known):
            known.add(key)
            path = _file_of(key, paths)
            if path is None:
                continue
            try:
                other = compiled(path)
            except RejectedInput:
                continue
            found.append(other)
            ahead.append(other)
    return found


def _named(flow: CompiledFlow) -> set[str]:
    """The keys of the flows that a flow runs or goes to."""
    keys = {step.calls for step in flow.steps.values()}
    keys |= {exit.flow for step in flow.steps.values() for exit in step.exits}
    return {key for key in keys if key}


def _file_of(key: str, paths: list[Path]) -> Path | None:
    begins = re.compile(rf"^flow:\s*[\"']?{re.escape(key)}[\"']?\s*(?:#.*)?$", re.MULTILINE)
    folders = dict.fromkeys(path.resolve().parent for path in paths)
    for folder in (*folders, *dict.fromkeys(folder.parent for folder in folders)):
        inside = (path for depth in ("*", "*/*", "*/*/*") for path in folder.glob(f"{depth}.yaml"))
        near = islice((path for path in inside if not path.name.endswith(".test.yaml")), MAX_AROUND)
        for path in sorted(near):
            try:
                if begins.search(path.read_text()):
                    return path
            except (OSError, UnicodeDecodeError):
                continue
    return None
