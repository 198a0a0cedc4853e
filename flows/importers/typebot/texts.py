"""Texts, variables and expressions of Typebot as ours.

Texts are lists of rich-text nodes: `[{"type": "p", "children": [{"text": "Hi {{Name}}", "bold": true}]}]`; older
exports have `plainText` beside them. Variables stand in texts by name, `{{Lead Score}}`; ours are `session.lead_score`.

Values of "Set variable" are JavaScript, tried as code first and taken as text when that fails
(https://docs.typebot.io/editor/blocks/logic/set-variable). Carried over: numbers, texts, variables and + - * / % with
parentheses; everything else that is code is refused by `Untranslatable`.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from domain.messages import escape_markup

VARIABLE = re.compile(r"\{\{([^{}]{1,200})\}\}")
MAX_NODES = 2_000  # of one rich text
MAX_EXPRESSION = 2_000  # characters
MAX_DEPTH = 30  # parentheses, nodes inside nodes
_CODE = re.compile(
    r"\b(return|new|const|let|var|function|await|typeof)\b|=>|[;\[\]]|&&|\|\||===?|!=|[A-Za-z_$][\w$]*\s*\(|\?[^?]*:"
)


class Untranslatable(ValueError):
    """Something that our language has no counterpart for; the text says what."""


@dataclass(frozen=True, slots=True)
class Wording:
    """A text of ours; `markup` when it has bold, italic or struck parts."""

    text: str
    markup: bool = False


def rich(content: Mapping[str, Any], names: Mapping[str, str], *, markup: bool = True) -> Wording:
    """The text of a bubble. `names` maps a variable's name to its path of ours. Without `markup` its marks go."""
    nodes = content.get("richText")
    if not isinstance(nodes, list) or not nodes:
        plain = content.get("plainText")
        return Wording(with_paths(plain.strip("\n"), names)) if isinstance(plain, str) else Wording("")
    styled = markup and any(_styled(leaf) for leaf in leaves(nodes))
    lines = _Lines(names, styled)
    for node in nodes:
        lines.block(node, 0)
    return Wording("\n".join(lines.done).strip("\n"), styled)


def with_paths(text: str, names: Mapping[str, str]) -> str:
    """A text whose `{{Name}}` are paths of ours; an unknown name shows nothing, as there."""
    parts: list[str] = []
    end = 0
    for found in VARIABLE.finditer(text):
        parts.append(literal(text[end : found.start()]))
        path = names.get(found[1].strip())
        parts.append(f"{{{{ {path} | default('') }}}}" if path else "")
        end = found.end()
    parts.append(literal(text[end:]))
    return "".join(parts)


def unknown_names(text: str, names: Mapping[str, str]) -> list[str]:
    """The `{{Name}}` of a text that are no variables, `{{= code =}}` among them."""
    return [found[1].strip() for found in VARIABLE.finditer(text) if found[1].strip() not in names]


def literal(text: str) -> str:
    """Text in which braces do not begin a placeholder of ours."""
    return re.sub(r"\{[{%#]", lambda found: "{{ '" + found[0] + "' }}", text)


def _styled(leaf: Mapping[str, Any]) -> bool:
    return any(leaf.get(mark) for mark in ("bold", "italic", "strikethrough")) and bool(
        str(leaf.get("text", "")).strip()
    )


def leaves(nodes: Any, depth: int = 0) -> Iterator[Mapping[str, Any]]:
    """Every piece of text of rich-text nodes, in order."""
    for node in nodes if isinstance(nodes, list) and depth <= MAX_DEPTH else ():
        if isinstance(node, dict):
            if isinstance(node.get("text"), str):
                yield node
            yield from leaves(node.get("children"), depth + 1)


class _Lines:
    """Rich text becoming lines: each block of it is one, list items begin with a dash or their number."""

    def __init__(self, names: Mapping[str, str], styled: bool) -> None:
        self.done: list[str] = []
        self._names = names
        self._styled = styled
        self._count = 0

    def block(self, node: Any, depth: int, mark: str = "") -> None:
        self._count += 1
        if self._count > MAX_NODES or depth > MAX_DEPTH:
            raise Untranslatable("a text with too many parts")
        if not isinstance(node, dict):
            return
        kind, children = node.get("type"), node.get("children")
        items = [child for child in children if isinstance(child, dict)] if isinstance(children, list) else []
        if kind in ("ol", "ul"):
            for number, item in enumerate(items, 1):
                self.block(item, depth + 1, f"{number}. " if kind == "ol" else "- ")
        elif kind in ("li", "lic", "variable", "blockquote") and any("children" in item for item in items):
            for item in items:
                if isinstance(item.get("text"), str):
                    self.done.append(mark + self._inline(item, depth))
                else:
                    self.block(item, depth + 1, mark)
                mark = "  " if mark else ""
        else:
            self.done.append(mark + "".join(self._inline(item, depth) for item in items))

    def _inline(self, node: Mapping[str, Any], depth: int) -> str:
        self._count += 1
        if self._count > MAX_NODES or depth > MAX_DEPTH:
            raise Untranslatable("a text with too many parts")
        text = node.get("text")
        if isinstance(text, str):
            return self._leaf(node, text)
        children = node.get("children")
        inner = "".join(
            self._inline(child, depth + 1)
            for child in (children if isinstance(children, list) else [])
            if isinstance(child, dict)
        )
        url = node.get("url")
        if node.get("type") == "a" and isinstance(url, str) and url:
            address = with_paths(url, self._names)
            return address if inner.strip() in ("", address) else f"{inner} ({address})"
        return inner

    def _leaf(self, leaf: Mapping[str, Any], text: str) -> str:
        if not self._styled:
            return with_paths(text, self._names)
        shown = "".join(
            part if part.startswith("{{") else escape_markup(part)
            for part in re.split(r"(\{\{.*?\}\})", with_paths(text, self._names))
        )
        for key, mark in (("bold", "*"), ("italic", "_"), ("strikethrough", "~")):
            if leaf.get(key) and shown.strip():
                before = shown[: len(shown) - len(shown.lstrip())]
                after = shown[len(shown.rstrip()) :]
                shown = f"{before}{mark}{shown.strip()}{mark}{after}"
        return shown


# --- expressions ------------------------------------------------------------------------------------------------------

_TOKEN = re.compile(
    r"\s*(?:(?P<number>[0-9]+(?:\.[0-9]+)?)|(?P<variable>\{\{[^{}]+\}\})"
    r"|(?P<text>\"[^\"\\\n]*\"|'[^'\\\n]*'|`[^`\\$]*`)|(?P<mark>[-+*/%()]))"
)
_FILTERS = {"+": "plus", "-": "minus", "*": "times", "/": "divided_by", "%": "modulo"}


def value(source: str, names: Mapping[str, str], *, code: bool) -> Any:
    """What a "Set variable" sets: a number, or a text (a template of ours). Raises Untranslatable for code that our
    templates cannot say; `code`: its author marked it as code, so it is never taken as text."""
    source = source.strip()
    if len(source) > MAX_EXPRESSION:
        raise Untranslatable("an expression that is too long")
    if re.fullmatch(r"-?(0|[1-9][0-9]{0,14})(\.[0-9]{1,9})?", source):
        return float(source) if "." in source else int(source)
    try:
        return _Expression(source, names).template()
    except Untranslatable:
        if code or _CODE.search(VARIABLE.sub("x", source)):
            raise Untranslatable("code that only JavaScript can run") from None
        return with_paths(source, names)


@dataclass(frozen=True, slots=True)
class _Part:
    """A piece of an expression: the inside of a placeholder, or text around placeholders once texts were joined."""

    inside: str | None
    text: str | None = None

    def shown(self) -> str:
        return self.text if self.text is not None else f"{{{{ {self.inside} }}}}"


class _Expression:
    """Reads `{{A}} + 10 * ({{B}} - 1)` by precedence."""

    def __init__(self, source: str, names: Mapping[str, str]) -> None:
        self._names = names
        self._tokens: list[tuple[str, str]] = []
        at = 0
        while source[at:].strip():
            found = _TOKEN.match(source, at)
            if found is None or found.lastgroup is None:
                raise Untranslatable("no expression")
            self._tokens.append((found.lastgroup, found[found.lastgroup]))
            at = found.end()
        self._tokens.append(("end", ""))
        self._at = 0

    def template(self) -> str:
        part = self._sum(0)
        if self._tokens[self._at][0] != "end":
            raise Untranslatable("no expression")
        return part.shown()

    def _next(self, *marks: str) -> str | None:
        kind, token = self._tokens[self._at]
        if kind == "mark" and token in marks:
            self._at += 1
            return token
        return None

    def _sum(self, depth: int) -> _Part:
        left = self._product(depth)
        while mark := self._next("+", "-"):
            right = self._product(depth)
            if mark == "+" and (left.text is not None or right.text is not None):
                left = _Part(None, left.shown() + right.shown())
            else:
                left = self._joined(left, mark, right)
        return left

    def _product(self, depth: int) -> _Part:
        left = self._single(depth)
        while mark := self._next("*", "/", "%"):
            left = self._joined(left, mark, self._single(depth))
        return left

    def _joined(self, left: _Part, mark: str, right: _Part) -> _Part:
        if left.inside is None or right.inside is None:
            raise Untranslatable("arithmetic with texts")
        return _Part(f"{left.inside} | {_FILTERS[mark]}({right.inside})")

    def _single(self, depth: int) -> _Part:
        if depth > MAX_DEPTH:
            raise Untranslatable("an expression nested too deep")
        kind, token = self._tokens[self._at]
        if self._next("("):
            inner = self._sum(depth + 1)
            if not self._next(")"):
                raise Untranslatable("a parenthesis is not closed")
            return inner
        if self._next("-"):
            return self._joined(_Part("0"), "-", self._single(depth + 1))
        self._at += 1
        if kind == "number":
            return _Part(token)
        if kind == "variable":
            path = self._names.get(token[2:-2].strip())
            if path is None:
                raise Untranslatable(f"a variable that does not exist: {token}")
            return _Part(path)
        if kind == "text":
            return _Part(None, with_paths(token[1:-1], self._names))
        raise Untranslatable("no expression")
