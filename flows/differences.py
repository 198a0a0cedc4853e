"""What has changed between two texts of a flow, in words that its owner understands.

Pure, over the documents' plain data: a draft with faults can be compared as well, as long as it can be read as YAML.
The order is always the same: the flow itself, its triggers, its steps in their new order, steps that are gone, the
order of steps, the canvas. A step that was only given another id is said to be renamed, and who leads to it is not
changed by it.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any, NamedTuple

from flows.steps import registry

MAX_SHOWN = 200  # characters of a text that are shown of it
_DEFAULT_LANGUAGES = ("it", "en")
_FLOW_KEYS = ("flow", "title", "languages", "start")
_NAMES = frozenset(("save", "result", "id", "ask", "team", "comment"))  # words that may look like a step's id
_MISSING: Any = object()


class Difference(NamedTuple):
    """One change. `kind`: added | removed | renamed | changed | leads | order | canvas; `step` "" for the flow itself;
    `key` the path inside it; `language` of a text, else ""; `before`, `after` as text, "" where there is none; `text`
    the sentence, {"it": …, "en": …}."""

    kind: str
    step: str
    key: str
    language: str
    before: str
    after: str
    text: Mapping[str, str]


def differences(before: Mapping[str, Any], after: Mapping[str, Any]) -> list[Difference]:
    """All differences of two documents as plain data (see `upgrades.data_of`), in their order."""
    return list(_Comparison(before, after).all())


def renamed(before: Mapping[str, Any], after: Mapping[str, Any]) -> dict[str, str]:
    """Steps that are the same under another id: old → new. What people inside can be mapped by."""
    return _Comparison(before, after).renamed


class _Comparison:
    def __init__(self, before: Mapping[str, Any], after: Mapping[str, Any]) -> None:
        self.before, self.after = before, after
        self.old, self.new = _steps(before), _steps(after)
        self.languages = {*_languages(before), *_languages(after)}
        self.renamed = self._renamed()

    def all(self) -> Iterator[Difference]:
        yield from self._flow()
        yield from self._triggers()
        back = {new: old for old, new in self.renamed.items()}
        for step_id, new in self.new.items():
            old_id = back.get(step_id, step_id)
            if old_id in self.old:
                if old_id != step_id:
                    yield _renaming(old_id, step_id)
                yield from self._step(step_id, self.old[old_id], new)
            else:
                yield _presence("added", step_id, new)
        for step_id, old in self.old.items():
            if step_id not in self.new and step_id not in self.renamed:
                yield _presence("removed", step_id, old)
        yield from self._order()
        yield from self._canvas()

    def _renamed(self) -> dict[str, str]:
        gone = {step: data for step, data in self.old.items() if step not in self.new}
        come = {step: data for step, data in self.new.items() if step not in self.old}
        found: dict[str, str] = {}
        for old_id, data in gone.items():
            same = [
                new_id for new_id, other in come.items() if other == data and new_id not in found.values()
            ]
            if len(same) == 1 and sum(other == data for other in gone.values()) == 1:
                found[old_id] = same[0]
        return found

    def _flow(self) -> Iterator[Difference]:
        others = [
            key
            for key in {**self.before, **self.after}
            if key not in (*_FLOW_KEYS, "steps", "triggers", "canvas", "format")
        ]
        for key in (*_FLOW_KEYS, *others):
            yield from self._value("", (key,), self.before.get(key, _MISSING), self.after.get(key, _MISSING))

    def _triggers(self) -> Iterator[Difference]:
        old, new = (
            [_trigger(one) for one in _list(data.get("triggers"))] for data in (self.before, self.after)
        )
        for one in new:
            if one not in old:
                yield Difference(
                    "added", "", "triggers", "", "", one, _both(f"avvio nuovo: {one}", f"new trigger: {one}")
                )
        for one in old:
            if one not in new:
                said = _both(f"avvio tolto: {one}", f"trigger gone: {one}")
                yield Difference("removed", "", "triggers", "", one, "", said)
        kept_old, kept_new = [one for one in old if one in new], [one for one in new if one in old]
        if kept_old != kept_new:
            said = _both("gli avvii hanno un altro ordine", "the triggers are in another order")
            yield Difference("order", "", "triggers", "", "", "", said)

    def _step(self, step_id: str, old: Any, new: Any) -> Iterator[Difference]:
        if old == new:
            return
        before, after = _type(old), _type(new)
        if before != after:
            said = _both(
                f"{step_id}: era {before}, ora è {after}", f"{step_id}: was {before}, is now {after}"
            )
            yield Difference("changed", step_id, "", "", before, after, said)
        old, new = (one if isinstance(one, dict) else {} for one in (old, new))
        for key in {**new, **old}:
            yield from self._value(step_id, (key,), old.get(key, _MISSING), new.get(key, _MISSING))

    def _value(self, step: str, path: tuple[str, ...], old: Any, new: Any) -> Iterator[Difference]:
        if old is new or (_MISSING not in (old, new) and old == new):
            return
        if self._is_text(old) or self._is_text(new):
            yield from self._text(step, path, old, new)
        elif (
            old is not _MISSING
            and new is not _MISSING
            and (parts := _parts(old)) is not None
            and (others := _parts(new)) is not None
        ):
            for key in {**others, **parts}:
                yield from self._value(
                    step, (*path, key), parts.get(key, _MISSING), others.get(key, _MISSING)
                )
            if [key for key in parts if key in others] != [key for key in others if key in parts]:
                said = _both(f"{_place(step, path)}: un altro ordine", f"{_place(step, path)}: another order")
                yield Difference("order", step, ".".join(path), "", "", "", said)
        else:
            found = self._leaf(step, path, old, new)
            if found is not None:
                yield found

    def _is_text(self, value: Any) -> bool:
        """Whether it is a text in languages; `{yes: …, no: …}` is none, unless the flow speaks Norwegian."""
        return (
            isinstance(value, dict)
            and bool(value)
            and all(key in self.languages and not isinstance(one, dict) for key, one in value.items())
        )

    def _text(self, step: str, path: tuple[str, ...], old: Any, new: Any) -> Iterator[Difference]:
        before, after = _by_language(old), _by_language(new)
        for language in sorted({*before, *after}):
            if before.get(language) != after.get(language):
                yield _change(
                    "changed",
                    step,
                    path,
                    before.get(language, _MISSING),
                    after.get(language, _MISSING),
                    language,
                )

    def _leaf(self, step: str, path: tuple[str, ...], old: Any, new: Any) -> Difference | None:
        if step and path[-1] not in _NAMES and self._leads(old, self.old) and self._leads(new, self.new):
            if old is not _MISSING and self.renamed.get(old, old) == new:
                return None
            return _leading(step, path, old, new)
        if path == ("start",) and old is not _MISSING and self.renamed.get(old, old) == new:
            return None
        return _change("changed", step, path, old, new)

    @staticmethod
    def _leads(value: Any, steps: Mapping[str, Any]) -> bool:
        return value is _MISSING or (isinstance(value, str) and (value == "end" or value in steps))

    def _order(self) -> Iterator[Difference]:
        old = [self.renamed.get(step, step) for step in self.old]
        kept = [step for step in old if step in self.new]
        now = [step for step in self.new if step in set(kept)]
        moved = _moved(kept, now)
        if moved:
            names = ", ".join(moved)
            said = _both(f"in un altro punto del testo: {names}", f"in another place of the text: {names}")
            yield Difference("order", "", "steps", "", ", ".join(kept), ", ".join(now), said)

    def _canvas(self) -> Iterator[Difference]:
        old, new = (_mapping(data.get("canvas")) for data in (self.before, self.after))
        moved = [step for step in self.new if step in old and step in new and old[step] != new[step]]
        if moved:
            names = ", ".join(moved)
            said = _both(f"spostati sul disegno: {names}", f"moved on the canvas: {names}")
            yield Difference("canvas", "", "canvas", "", "", names, said)


def _moved(before: list[str], after: list[str]) -> list[str]:
    """The fewest steps whose moving explains the new order: all but a longest run that kept its order."""
    place = {step: n for n, step in enumerate(before)}
    best: list[list[str]] = []  # best[n]: a run of n + 1 steps in order, with the earliest possible end
    for step in after:
        n = 0
        while n < len(best) and place[best[n][-1]] < place[step]:
            n += 1
        run = [*(best[n - 1] if n else []), step]
        best[n : n + 1] = [run]
    kept = set(best[-1]) if best else set()
    return [step for step in after if step not in kept]


def _both(it: str, en: str) -> Mapping[str, str]:
    return {"it": it, "en": en}


def _presence(kind: str, step_id: str, data: Any) -> Difference:
    what, said = _type(data), _summary(data)
    tail = f": {said}" if said else ""
    if kind == "added":
        text = _both(f"passo nuovo {step_id} ({what}){tail}", f"new step {step_id} ({what}){tail}")
        return Difference(kind, step_id, "", "", "", what, text)
    text = _both(
        f"il passo {step_id} ({what}) non c'è più{tail}", f"the step {step_id} ({what}) is gone{tail}"
    )
    return Difference(kind, step_id, "", "", what, "", text)


def _renaming(old: str, new: str) -> Difference:
    text = _both(f"il passo {old} ora si chiama {new}", f"the step {old} is now called {new}")
    return Difference("renamed", new, "", "", old, new, text)


def _leading(step: str, path: tuple[str, ...], old: Any, new: Any) -> Difference:
    before, after = ("" if one is _MISSING else str(one) for one in (old, new))
    place = _place(step, path)
    if not before:
        text = _both(f"{place}: ora porta a {after}", f"{place}: now leads to {after}")
    elif not after:
        text = _both(f"{place}: non porta più a {before}", f"{place}: no longer leads to {before}")
    else:
        text = _both(
            f"{place}: portava a {before}, ora porta a {after}",
            f"{place}: led to {before}, now leads to {after}",
        )
    return Difference("leads", step, ".".join(path), "", before, after, text)


def _change(
    kind: str, step: str, path: tuple[str, ...], old: Any, new: Any, language: str = ""
) -> Difference:
    before, after = (_shown(one) for one in (old, new))
    place = _place(step, path) + (f" ({language})" if language else "")
    if old is _MISSING:
        text = _both(f"{place}: nuovo, {_quoted(after)}", f"{place}: new, {_quoted(after)}")
    elif new is _MISSING:
        text = _both(f"{place}: tolto, era {_quoted(before)}", f"{place}: gone, was {_quoted(before)}")
    else:
        arrow = f"{place}: {_quoted(before)} → {_quoted(after)}"
        text = _both(arrow, arrow)
    return Difference(kind, step, ".".join(path), language, before, after, text)


def _place(step: str, path: tuple[str, ...]) -> str:
    return ", ".join(part for part in (step, ".".join(path)) if part)


def _quoted(text: str) -> str:
    return f"«{text if len(text) <= MAX_SHOWN else text[: MAX_SHOWN - 1].rstrip() + '…'}»"


def _shown(value: Any) -> str:
    match value:
        case str():
            return value
        case None:
            return "null"
        case bool():
            return str(value).lower()
        case list():
            return ", ".join(_shown(one) for one in value)
        case dict():
            return ", ".join(f"{key}: {_shown(one)}" for key, one in value.items())
        case _:
            return "" if value is _MISSING else str(value)


def _steps(data: Mapping[str, Any]) -> dict[str, Any]:
    return _mapping(data.get("steps"))


def _mapping(value: Any) -> dict[str, Any]:
    return value if isinstance(value, dict) else {}


def _list(value: Any) -> list[Any]:
    return value if isinstance(value, list) else []


def _languages(data: Mapping[str, Any]) -> tuple[str, ...]:
    written = data.get("languages")
    return tuple(map(str, written)) if isinstance(written, list) else _DEFAULT_LANGUAGES


def _type(data: Any) -> str:
    """The step's type, as far as it can be told."""
    return next((key for key in data if key in registry()), "?") if isinstance(data, dict) else "?"


def _summary(data: Any) -> str:
    """What the step says, in the first of its languages."""
    kind = _type(data)
    if kind == "?":
        return ""
    said = data.get("text", data[kind])
    words = next(iter(said.values()), "") if isinstance(said, dict) and said else said
    return _quoted(_shown(words)) if isinstance(words, str | list) and words else ""


def _trigger(value: Any) -> str:
    return value if isinstance(value, str) else _shown(value)


def _by_language(value: Any) -> dict[str, Any]:
    """A text by language; one that is the same in all stands under ""."""
    if value is _MISSING:
        return {}
    return dict(value) if isinstance(value, dict) else {"": value}


def _parts(value: Any) -> dict[str, Any] | None:
    """What can be compared part by part: mappings, and lists of things that have an id, or are mappings."""
    if isinstance(value, dict):
        return value
    if isinstance(value, list) and value and all(isinstance(one, dict) for one in value):
        if all("id" in one for one in value) and len({str(one["id"]) for one in value}) == len(value):
            return {str(one["id"]): one for one in value}
        return {str(n + 1): one for n, one in enumerate(value)}
    return None
