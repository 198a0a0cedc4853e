"""The format of flow documents changes only with an upgrade and with documents of the old one to try it on.

Every format has a folder `tests/fixtures/flows/format-<n>/` with documents as people wrote them, and the newest one its
list of keys, `keys.json`: what a step, a trigger, an option may and must say. A key that is in the list and not in the
models any more (taken away, renamed), or one that documents did without and now must have, is another format: raise
`FORMAT` in `flows/upgrades/__init__.py`, write `to_<n>.py` and documents, then `make docs` writes the new list. Keys
that only come are no new format; `make docs` adds them. As long as a key has been in no release it may change its name:
delete the list and `make docs`.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any, get_args

FIXTURES = Path("tests") / "fixtures" / "flows"
UPGRADES = Path("flows") / "upgrades"
MAX_DEPTH = 6  # of things inside things: nothing is written deeper
_OURS = ("name", "lines")  # of FlowDocument, never in a text
Keys = dict[str, dict[str, bool]]  # what → its keys → whether each must be there


def problems(root: Path) -> Iterator[str]:
    from flows.upgrades import FORMAT
    from flows.upgrades import UPGRADES as known

    for number in range(1, FORMAT + 1):
        if not list((root / FIXTURES / f"format-{number}").glob("*.yaml")):
            yield f"there are no documents of format {number}: {FIXTURES}/format-{number}/*.yaml"
        if number > 1 and (number not in known or not (root / UPGRADES / f"to_{number}.py").exists()):
            yield f"there is no upgrade to format {number}: {UPGRADES}/to_{number}.py"
    yield from changed(recorded(root, FORMAT), keys())


def changed(before: Keys | None, now: Keys) -> Iterator[str]:
    """What makes documents of before unreadable."""
    if before is None:
        yield f"the keys of the newest format are not recorded: {FIXTURES}/format-…/keys.json (make docs)"
        return
    for what, known in before.items():
        if what not in now:
            yield f"{what} is gone: raise FORMAT and write an upgrade (see checks/formats.py)"
            continue
        for key in sorted(known.keys() - now[what].keys()):
            yield f"{what} has no key {key!r} any more: raise FORMAT and write an upgrade (see checks/formats.py)"
        for key, required in now[what].items():
            if required and not known.get(key, False):
                yield f"{what} must have {key!r} now: raise FORMAT and write an upgrade (see checks/formats.py)"


def recorded(root: Path, number: int) -> Keys | None:
    """The list of a format's keys; None when there is none."""
    path = root / FIXTURES / f"format-{number}" / "keys.json"
    if not path.exists():
        return None
    found: Keys = json.loads(path.read_text())
    return found


def keys() -> Keys:
    """The keys of the present models: of the document, of each step type, of what stands inside them."""
    from flows.answers import registry as answers
    from flows.document import FlowDocument
    from flows.steps import registry
    from flows.triggers import registry as triggers

    found: Keys = {}
    _add(found, "flow", FlowDocument)
    for kind, model in registry().items():
        _add(found, f"step {kind}", model)
    for kind, trigger in triggers().items():
        _add(found, f"trigger {kind}", trigger)
    found["kinds of answers"] = dict.fromkeys(answers(), False)
    return dict(sorted(found.items()))


def _add(found: Keys, what: str, *models: Any) -> None:
    """The keys at a place of the document; where several forms may stand, a key must be there when all demand it."""
    if what in found or what.count(".") > MAX_DEPTH:
        return
    fields = [
        {field.alias or name: field for name, field in model.model_fields.items() if name not in _OURS}
        for model in models
    ]
    names = list(dict.fromkeys(name for one in fields for name in one))
    found[what] = {name: all(name in one and one[name].is_required() for one in fields) for name in names}
    for name in names:
        inner = [model for one in fields if name in one for model in _models(one[name].annotation)]
        inner = [model for model in inner if model.__name__ not in ("StepDocument", "Trigger")]
        if inner:
            _add(found, f"{what}.{name}", *dict.fromkeys(inner))


def _models(annotation: Any) -> Iterator[Any]:
    from pydantic import BaseModel

    if isinstance(annotation, type) and issubclass(annotation, BaseModel):
        yield annotation
    for part in get_args(annotation):
        yield from _models(part)


def written(root: Path) -> tuple[Path, str]:
    """The list of the newest format's keys as it should stand: what was there stays, what is new is added."""
    from flows.upgrades import FORMAT

    before = recorded(root, FORMAT) or {}
    now = keys()
    merged = {what: {**now.get(what, {}), **before.get(what, {})} for what in sorted({*before, *now})}
    path = root / FIXTURES / f"format-{FORMAT}" / "keys.json"
    return path, json.dumps(merged, indent=1, ensure_ascii=False) + "\n"
