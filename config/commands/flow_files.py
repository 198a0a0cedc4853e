"""The flow files that a command line names."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

if TYPE_CHECKING:
    from flows.versions import CompiledFlow

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
