"""Templates of RapidPro as text: where their expressions are, and changing them without understanding the rest.

`@name.path` and `@( … )` are expressions, `@@` is an at sign, anything else is text: an at sign before a name that is
no root of the context stays text, so that e-mail addresses do.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Container

_NAME = re.compile(r"[^\W\d_]\w*(?:\.\w+)*")
_TOKEN = re.compile(r'"(?:[^"\\]|\\.|"")*"|[^\W\d]\w*|\.|\s+|.', re.DOTALL)


def rewritten(
    template: str,
    roots: Container[str],
    *,
    path: Callable[[str], str],
    expression: Callable[[str], str],
) -> str:
    """The template with each `@name.path` (without its at sign) given to `path` and each inside of `@( … )` to
    `expression`; what they return stands in its place, at signs and brackets included. Linear in the text."""
    out: list[str] = []
    at = 0
    while (found := template.find("@", at)) >= 0:
        out.append(template[at:found])
        at = found + 1
        following = template[at : at + 1]
        if following == "@":
            out.append("@@")
            at += 1
        elif following == "(" and (end := _closing(template, at)) > 0:
            out.append(expression(template[at + 1 : end]))
            at = end + 1
        elif (name := _NAME.match(template, at)) and name[0].split(".")[0].lower() in roots:
            out.append(path(name[0]))
            at = name.end()
        else:
            out.append("@")
    out.append(template[at:])
    return "".join(out)


def literal(text: str) -> str:
    """The template that says just this text."""
    return text.replace("@", "@@")


def constant(template: str) -> bool:
    """Whether there is nothing to evaluate."""
    return "@" not in template.replace("@@", "")


def references(expression: str, change: Callable[[str, str], str | None]) -> str:
    """The inside of an expression with names changed: `change(name, the name behind its dot)` returns what stands for
    a root name (not one behind a dot, not one in quotes), or None to leave it."""
    tokens = _TOKEN.findall(expression)
    out: list[str] = []
    for number, token in enumerate(tokens):
        is_root = (token[0].isalpha() or token[0] == "_") and (not out or out[-1] != ".")
        if is_root:
            behind = tokens[number + 2] if tokens[number + 1 : number + 2] == ["."] else ""
            changed = change(token, behind if behind[:1].isalnum() else "")
            out.append(token if changed is None else changed)
        else:
            out.append(token)
    return "".join(out)


def _closing(template: str, start: int) -> int:
    """Where the bracket at `start` closes; -1 when it does not."""
    depth, at, quoted = 0, start, False
    while at < len(template):
        sign = template[at]
        if quoted:
            if sign == "\\":
                at += 1
            quoted = sign != '"'
        elif sign == '"':
            quoted = True
        elif sign == "(":
            depth += 1
        elif sign == ")":
            depth -= 1
            if depth == 0:
                return at
        at += 1
    return -1
