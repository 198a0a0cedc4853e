"""`make migration NAME=what_changed`: writes the next file of `storage/migrations/versions/` from the tables.

The tables are compared with a database made by the migrations that exist. `--first` writes 0001 anew instead; that is
only right before a release. Read and try what comes out: Alembic sees neither renames nor what rows need.
"""

from __future__ import annotations

import argparse
import asyncio
import re
import subprocess
import sys
import tempfile
from pathlib import Path

from storage import schema
from storage.database import parse_url
from storage.sqlite import sqlite_engine

FOLDER = schema.MIGRATIONS / "versions"
FIRST = FOLDER / "0001_first.py"
# Large and swept by age: partitioned by id, and so by time, on PostgreSQL.
PARTITIONED = ("intake", "message")
_MARKS = re.compile(r"^ *# ### .*\n", re.MULTILINE)  # Alembic's own comments
_PARTITION = """    if op.get_context().dialect.name == "postgresql":
        for table in PARTITIONED:
            op.execute(f"CREATE TABLE {table}_default PARTITION OF {table} DEFAULT")
"""


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m checks.migration")
    parser.add_argument("name", nargs="?", default="first", type=_name)
    parser.add_argument("--first", action="store_true", help="write 0001 anew")
    wanted = parser.parse_args()
    if wanted.first:
        FIRST.unlink(missing_ok=True)
        schema.versions.cache_clear()
    path = asyncio.run(write(wanted.name))
    for order in (["format", "--quiet"], ["check", "--quiet", "--fix"]):
        subprocess.run([sys.executable, "-m", "ruff", *order, str(path)], check=True)  # noqa: S603 (our own file)
    print(path.relative_to(Path.cwd()) if path.is_relative_to(Path.cwd()) else path)


async def write(name: str) -> Path:
    """Writes the next migration; gives its path."""
    from alembic import command

    number = f"{len(schema.versions()) + 1:04d}"
    with tempfile.TemporaryDirectory() as folder:
        url = f"sqlite:///{folder}/empty.sqlite3"
        if schema.versions():
            await schema.migrate(url)
        engine = sqlite_engine(parse_url(url))
        with engine.connect() as connection:
            command.revision(schema.configuration(connection), name, autogenerate=True, rev_id=number)
        engine.dispose()
    path = FOLDER / f"{number}_{name}.py"
    text = path.read_text()
    path.write_text(_MARKS.sub("", _partitioned(text) if number == "0001" else text))
    return path


def _partitioned(text: str) -> str:
    for table in PARTITIONED:
        start = text.index(
            f'op.create_table("{table}"'
            if f'op.create_table("{table}"' in text
            else f"op.create_table('{table}'"
        )
        end = text.index("\n    )", start)
        text = f'{text[:end]},\n    postgresql_partition_by="RANGE (id)",{text[end:]}'
    body, mark, rest = text.partition("    # ### end Alembic commands ###\n")  # of `upgrade`
    names = ", ".join(f'"{table}"' for table in PARTITIONED)
    body = body.replace(
        "depends_on = None\n",
        "depends_on = None\n\n# On PostgreSQL by id, and so by time; all rows are in the default partition until "
        f"others are attached.\nPARTITIONED = ({names})\n",
    )
    return body + _PARTITION + mark + rest


def _name(text: str) -> str:
    if not re.fullmatch(r"[a-z][a-z0-9_]{2,40}", text):
        raise argparse.ArgumentTypeError("a few words in lower case, joined by _")
    return text


if __name__ == "__main__":
    main()
