"""`flow import`: flows of other systems become flow files.

All or nothing: every file is read and written beside its place first and only then gets its name; when one name is
taken by something else, nothing is written. A file that holds this very text already counts as written.
"""

from __future__ import annotations

import os
from pathlib import Path
from typing import Annotated

import typer

from config.commands.output import Json, show, words
from config.sentences import say

MAX_BYTES = 64_000_000  # of a source: what a text of the importers' limit can take in UTF-8


def import_flows(
    file: Annotated[Path, typer.Argument(help="The export of the other system.")],
    format: Annotated[str, typer.Option(help="rapidpro (RapidPro, TextIt; 11.x to 14.x) or typebot.")],
    out: Annotated[Path, typer.Option(help="The folder for the flow files; made when it is missing.")],
    replace: Annotated[bool, typer.Option("--replace", help="Write over files that are there.")] = False,
    json: Json = False,
) -> None:
    """Import flows from RapidPro/TextIt or Typebot: one file a flow, and a list of what could not be carried."""
    from domain.errors import RejectedInput
    from flows import importers

    source = _source(file)
    try:
        imported = importers.read(source, format)
    except RejectedInput as error:
        raise RejectedInput(error.what, where=str(file) if error.where == "file" else error.where) from None
    paths = {flow.id: out / f"{flow.id}.yaml" for flow in imported.flows}
    _write({paths[flow.id]: flow.text for flow in imported.flows}, out, replace=replace)
    result = {
        "flows": [{"id": flow.id, "file": str(paths[flow.id])} for flow in imported.flows],
        "unsupported": [{"what": one.what, "where": one.where} for one in imported.unsupported],
    }

    def lines() -> list[str]:
        told = [f"{flow.id}: {paths[flow.id]}" for flow in imported.flows]
        if imported.unsupported:
            told.append(words("Non riportato:", "Not carried over:"))
        return told + [f"  {one.what} ({one.where}): {say(one.why)}" for one in imported.unsupported]

    show(result, json, lines)


def _source(file: Path) -> str:
    from config.business import file_text
    from domain.errors import RejectedInput

    try:
        size = file.stat().st_size
    except OSError:
        return file_text(file)  # says why it cannot be read
    if size > MAX_BYTES:
        raise RejectedInput(f"has {size} bytes; at most {MAX_BYTES}", where=str(file))
    return file_text(file)


def _write(texts: dict[Path, str], out: Path, *, replace: bool) -> None:
    """Writes all files or none. Raises RejectedInput naming a file that is in the way."""
    from config.business import file_text
    from domain.errors import RejectedInput

    wanted = {path: text for path, text in texts.items() if not (path.is_file() and file_text(path) == text)}
    taken = [path for path in wanted if path.exists() and not (replace and path.is_file())]
    if taken:
        raise RejectedInput(
            "is there already with other content; --replace writes over it", where=str(taken[0])
        )
    waiting: list[tuple[Path, Path]] = []
    try:
        out.mkdir(parents=True, exist_ok=True)
        for path, text in wanted.items():
            beside = path.with_name(f".{path.name}.{os.getpid()}.new")
            waiting.append((beside, path))
            beside.write_text(text, "utf-8")
        for beside, path in waiting:
            beside.replace(path)
    except OSError as error:
        raise RejectedInput(f"cannot be written: {error.strerror}", where=str(out)) from error
    finally:
        for beside, _path in waiting:
            beside.unlink(missing_ok=True)
