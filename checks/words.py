"""Words that must not be in the project: registries' hosts, one machine's paths, unfinished work."""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path

from checks.house import files

TEXT = {
    ".py",
    ".md",
    ".toml",
    ".yaml",
    ".yml",
    ".json",
    ".html",
    ".css",
    ".js",
    ".ts",
    ".svelte",
    ".lock",
    ".txt",
    ".ini",
    ".mako",
    "",
}

# Written in pieces, so that this file does not break its own rule.
FORBIDDEN = {
    "the host of a package registry": re.compile(
        r"\bpypi\.(" "org|python)|pythonhosted" r"\.org|npmjs\." r"(org|com)|\bdevpi\b"
    ),
    "a path of one machine": re.compile(r"(?<![\w.])/(work|root|home/[a-z]+|Users/[A-Za-z]+)/"),
    "unfinished work": re.compile(r"\b(TO" "DO|FIX" "ME|X" "XX|NotImplemented" r"Error)\b"),
}


def problems(root: Path) -> Iterator[str]:
    for path in files(root):
        if path.suffix in TEXT:
            for number, line in enumerate(path.read_text(errors="replace").splitlines(), start=1):
                for what, words in FORBIDDEN.items():
                    if words.search(line):
                        yield f"{path.relative_to(root)}:{number} holds {what}: {line.strip()[:80]}"
