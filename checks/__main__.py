"""Run every rule over the project that this folder belongs to; exit status 1 when one is broken."""

from __future__ import annotations

import sys
from pathlib import Path

from checks import (
    dependencies,
    deployment,
    formats,
    http_client,
    limits,
    lock_files,
    migrations,
    routes,
    tables,
    words,
)

RULES = (
    dependencies,
    lock_files,
    tables,
    migrations,
    formats,
    limits,
    routes,
    http_client,
    words,
    deployment,
)


def main(root: Path) -> int:
    found = 0
    for rule in RULES:
        for problem in rule.problems(root):
            found += 1
            print(f"{rule.__name__}: {problem}", file=sys.stderr)
    if not found:
        print(f"checks: {len(RULES)} rules hold")
    return 1 if found else 0


if __name__ == "__main__":
    sys.exit(main(Path(__file__).resolve().parent.parent))
