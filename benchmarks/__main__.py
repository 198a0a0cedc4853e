"""`python -m benchmarks [NAME…] [--json FILE] [--markdown FILE] [--quick] [--long]`: numbers with units and verdicts.

Everything runs on 127.0.0.1 in a temporary folder that is removed at the end. Exit status 0 also when a row falls
short: on a busy machine that is a question, not an answer. 1: a measurement failed, 2: usage.
"""

from __future__ import annotations

import argparse
import asyncio
import importlib
import json
import os
import sys
import tempfile
import time
from pathlib import Path

import uvloop

from benchmarks import machine
from benchmarks.options import Options, Skipped
from benchmarks.postgresql import PostgreSQL
from benchmarks.rows import SHORT, Row, document, markdown, table

NAMES = (
    "accept",
    "pipeline",
    "processes",
    "peers",
    "statuses",
    "engine",
    "dispatch",
    "audience",
    "growth",
    "start",
    "memory",
)
ROUNDS = 5
LIMIT_S = 590.0  # for all of them: the whole command ends within ten minutes
LONG_LIMIT_S = 7_200.0


def main() -> int:
    """Parses, measures, prints; gives the exit status."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks", description=__doc__)
    parser.add_argument("names", nargs="*", metavar="NAME", help=f"of: {', '.join(NAMES)}; none: all of them")
    parser.add_argument("--json", type=Path, metavar="FILE", help="write one object per row, under its name")
    parser.add_argument(
        "--markdown", type=Path, metavar="FILE", help="write the tables of docs/benchmarks.md"
    )
    parser.add_argument(
        "--quick", action="store_true", help="two rounds and a tenth of the amounts: does it run?"
    )
    parser.add_argument(
        "--long",
        action="store_true",
        help="also what does not fit into ten minutes: growth on PostgreSQL, the whole campaign of a million",
    )
    arguments = parser.parse_args()
    unknown = [name for name in arguments.names if name not in NAMES]
    if unknown:
        parser.error(f"no measurement is called {unknown[0]!r}; there are {', '.join(NAMES)}")
    os.sched_setaffinity(0, {machine.cores()[1]})
    return uvloop.run(_all(arguments))


async def _all(arguments: argparse.Namespace) -> int:
    print(f"on {machine.describe()}", flush=True)
    with tempfile.TemporaryDirectory(prefix="passaparola-benchmarks-") as folder:
        # Compiled modules are kept, as where the product is installed, but not in the checkout.
        os.environ.pop("PYTHONDONTWRITEBYTECODE", None)
        os.environ["PYTHONPYCACHEPREFIX"] = str(Path(folder) / "compiled")
        postgresql = PostgreSQL(Path(folder) / "postgresql")
        options = Options(
            folder=Path(folder),
            rounds=2 if arguments.quick else ROUNDS,
            scale=0.1 if arguments.quick else 1.0,
            long=arguments.long,
            postgresql=postgresql,
        )
        try:
            found, failed = await _measured(arguments.names or NAMES, options)
        finally:
            await postgresql.close()
    rows = [row for each in found.values() for row in each]
    short = [row.name for row in rows if row.verdict == SHORT]
    promised = sum(bool(row.verdict) for row in rows)
    print("\n  ".join([f"\n{len(short)} of {promised} budgets fall short", *short]))
    if arguments.json is not None:
        arguments.json.write_text(json.dumps(document(rows), indent=1, ensure_ascii=False) + "\n")
    if arguments.markdown is not None:
        sections = [f"### {name}\n\n{markdown(each)}\n" for name, each in found.items()]
        arguments.markdown.write_text("\n".join(sections))
    return 1 if failed else 0


async def _measured(names: list[str] | tuple[str, ...], options: Options) -> tuple[dict[str, list[Row]], int]:
    """The rows of each measurement that could be done, printed as they come, and how many failed."""
    rows: dict[str, list[Row]] = {}
    failed = 0
    ends = time.monotonic() + (LONG_LIMIT_S if options.long else LIMIT_S)
    for name in names:
        begun = time.monotonic()
        try:
            async with asyncio.timeout(max(1.0, ends - begun)):
                found = await importlib.import_module(f"benchmarks.{name}").run(options)
        except Skipped as why:
            print(f"\n{name}: skipped: {why}", flush=True)
            continue
        except Exception as error:
            failed += 1
            print(f"\n{name}: failed: {type(error).__name__}: {error}", file=sys.stderr, flush=True)
            continue
        rows[name] = found
        print(f"\n{name} ({time.monotonic() - begun:.0f} s)\n{table(found)}", flush=True)
    return rows, failed


if __name__ == "__main__":
    sys.exit(main())
