"""The format of flow documents has a number; a document of an older format is read as if it were written in the newest.

`format: 2` at the top says in which format a document is written; without it, it is 1. What stands in the database
(every version that was ever published) and in people's files stays as its author wrote it: the upgrades apply when it
is read.

An upgrade is one file, `to_<n>.py`, with one pure function over plain data: a document of format n - 1 in, the same in
format n out, its argument unchanged. It meets documents with faults, too, and leaves alone what it does not understand:
the fault is then reported as it stands in the text. A change that only adds keys is no new format. Taking a key away,
renaming it, demanding one, giving one another meaning is: raise FORMAT, write the upgrade, keep documents of the old
format in `tests/fixtures/flows/format-<n>/` (`checks/formats.py` refuses less).
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

from domain.errors import RejectedInput
from flows.upgrades import to_2
from flows.yaml_reader import read

FORMAT = 2

UPGRADES: Mapping[int, Callable[[Mapping[str, Any]], dict[str, Any]]] = {2: to_2.upgrade}


def upgraded(data: Mapping[str, Any], *, name: str) -> dict[str, Any]:
    """The document in the newest format. Raises RejectedInput for a format that is not known here."""
    written = data.get("format", 1)
    if not isinstance(written, int) or isinstance(written, bool) or written < 1:
        raise RejectedInput(f"must be a whole number from 1 to {FORMAT}", where=f"{name}, format")
    if written > FORMAT:
        raise RejectedInput(
            f"{written} is the format of a newer Passaparola; this one reads up to {FORMAT}",
            where=f"{name}, format",
        )
    newest = dict(data)
    for number in range(written + 1, FORMAT + 1):
        newest = UPGRADES[number](newest)
    return {**newest, "format": FORMAT}


def data_of(text: str, *, name: str) -> dict[str, Any]:
    """The plain data of a document's text in the newest format, whatever faults it has. Raises RejectedInput for what
    is no readable mapping."""
    data = read(text, name=name).data
    if not isinstance(data, dict):
        raise RejectedInput("a flow is a mapping with flow, start and steps", where=name)
    return upgraded(data, name=name)
