"""A migration only adds, so that the program before goes on beside the new one (a rolling restart).

Refused are dropping and renaming of tables and columns, changes of a column, columns that must be filled but have no
default of the database's own, and statements that do such things as text. What no program uses any more may be taken
away by a migration that says so: `contract = "0005"`, the first version whose program does without; it must be an
earlier one, because that program has to be running everywhere before. The way: one release adds, the next writes and
reads the new, the one after takes the old away.
"""

from __future__ import annotations

import ast
import re
from collections.abc import Iterator
from pathlib import Path

FOLDER = Path("storage") / "migrations" / "versions"
_REMOVE = {
    "drop_table": "drops a table",
    "drop_column": "drops a column",
    "rename_table": "renames a table",
    "alter_column": "changes a column",
}
_TEXT = re.compile(
    r"\b(DROP\s+TABLE|DROP\s+COLUMN|RENAME\s+(?:COLUMN|TO)|ALTER\s+COLUMN|SET\s+NOT\s+NULL|TRUNCATE)\b", re.I
)
# 0002 makes SQLite's tables anew, each with the columns and rows that it had; one program has such a file to itself.
SAME_AFTERWARDS = {"0002_one_tree_a_table.py"}


def problems(root: Path) -> Iterator[str]:
    for path in sorted((root / FOLDER).glob("[0-9]*_*.py")):
        tree = ast.parse(path.read_text())
        for line, what in _found(tree, path.name):
            yield f"{path.name}:{line}: {what}"


def _found(tree: ast.Module, name: str) -> Iterator[tuple[int, str]]:
    contract = _constant(tree, "contract")
    version = name.partition("_")[0]
    if contract is not None:
        if not re.fullmatch(r"\d{4}", contract) or not contract < version:
            yield 1, f"contract = {contract!r} must name a version before {version}, which does without"
        return
    if name in SAME_AFTERWARDS:
        return
    for function in tree.body:
        if isinstance(function, ast.FunctionDef) and function.name != "downgrade":
            for line, what in _takes_away(function):
                yield (
                    line,
                    f"{what}: programs of the version before still use it (see checks/migrations.py: contract)",
                )


def _takes_away(function: ast.FunctionDef) -> Iterator[tuple[int, str]]:
    for node in ast.walk(function):
        if (
            isinstance(node, ast.Constant)
            and isinstance(node.value, str)
            and (found := _TEXT.search(node.value))
        ):
            yield node.lineno, f"says {' '.join(found[1].split()).upper()}"
        if not isinstance(node, ast.Call) or not isinstance(node.func, ast.Attribute):
            continue
        if node.func.attr in _REMOVE:
            yield node.lineno, _REMOVE[node.func.attr]
        if node.func.attr == "add_column" and any(_must_be_filled(argument) for argument in node.args):
            yield node.lineno, "adds a column that must be filled and has no server_default"


def _must_be_filled(argument: ast.expr) -> bool:
    if not isinstance(argument, ast.Call):
        return False
    given = {keyword.arg: keyword.value for keyword in argument.keywords}
    nullable = given.get("nullable")
    required = isinstance(nullable, ast.Constant) and nullable.value is False
    return (required or "primary_key" in given) and "server_default" not in given


def _constant(tree: ast.Module, name: str) -> str | None:
    for node in tree.body:
        targets = node.targets if isinstance(node, ast.Assign) else []
        if any(isinstance(target, ast.Name) and target.id == name for target in targets):
            assert isinstance(node, ast.Assign)
            return (
                str(node.value.value) if isinstance(node.value, ast.Constant) and node.value.value else None
            )
    return None
