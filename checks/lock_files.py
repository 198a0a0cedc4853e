"""No lock file names a host: one lock serves everybody, whatever registry or mirror they install from."""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path

from checks.house import files

NAMES = re.compile(r".*\.lock|package-lock\.json|requirements.*\.txt|\.npmrc|(uv|pip)\.(toml|conf)")
HOST = re.compile(
    r"[a-z+]+://|--(index-url|extra-index-url|find-links|trusted-host)|^\s*registry\s*=|@\s*git\+",
    re.IGNORECASE,
)
FUNDING = re.compile(r'^\s*"(url|funding)":')  # package-lock.json quotes where a package asks for donations


def problems(root: Path) -> Iterator[str]:
    for path in files(root):
        if NAMES.fullmatch(path.name):
            for number, line in enumerate(path.read_text().splitlines(), start=1):
                if HOST.search(line) and not FUNDING.match(line):
                    yield f"{path.relative_to(root)}:{number} names a host: make it anew with `make lock`"
