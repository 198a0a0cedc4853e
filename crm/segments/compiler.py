"""From a predicate tree to one SQL condition."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from sqlalchemy import Connection

from crm.segments.operators import twin
from crm.segments.sources import subject
from crm.segments.subjects import Builder
from domain.comparisons import fold, moment, number
from domain.operators.matches_pattern import compiled
from domain.predicates import All, AnyOf, Not, Predicate, Test, grounded


@dataclass(frozen=True, slots=True)
class Fragment:
    """A condition and its parameters; it is true or false for every row, never NULL."""

    sql: str
    parameters: dict[str, Any]


def compile_predicate(
    connection: Connection, predicate: Predicate, *, now: int, contact: str = "c", prefix: str = "p"
) -> Fragment:
    """The condition of a predicate on the contact row of that alias, for this connection's database.

    `now` grounds "now" and spans. `prefix` keeps the parameters apart from the caller's. Raises RejectedInput for a
    subject or pattern that segments cannot use. The statement must run on this connection (see `prepare`).
    """
    prepare(connection)
    build = Builder(connection.dialect.name, contact, prefix)
    condition = _condition(grounded(predicate, now), build, "predicate")
    return Fragment(condition.sql, build.parameters)


def prepare(connection: Connection) -> None:
    """Gives a SQLite connection the functions that conditions call; once for each connection, nothing elsewhere."""
    if connection.dialect.name != "sqlite" or connection.info.get("segments"):
        return
    raw: Any = connection.connection.driver_connection
    raw.create_function("pp_fold", 1, _folded, deterministic=True)
    raw.create_function("pp_number", 1, _spelled_number, deterministic=True)
    raw.create_function("pp_moment", 1, _spelled_moment, deterministic=True)
    raw.create_function("pp_found", 2, _found, deterministic=True)
    connection.info["segments"] = True


@dataclass(frozen=True, slots=True)
class _Condition:
    cost: int  # of the dearest subject in it, see `Subject`
    sql: str


def _condition(predicate: Predicate, build: Builder, where: str) -> _Condition:
    match predicate:
        case Test(path, op, value):
            asked = subject(path, build, where=where)
            # Not COALESCE: as an argument of that, SQLite works out both sides of every AND and OR.
            return _Condition(asked.cost, f"({twin(op)(asked, value, build)}) IS TRUE")
        case All(parts):
            return _joined(parts, build, f"{where}.all", " AND ", "TRUE")
        case AnyOf(parts):
            return _joined(parts, build, f"{where}.any", " OR ", "FALSE")
        case Not(part):
            inner = _condition(part, build, f"{where}.not")
            return _Condition(inner.cost, f"NOT {inner.sql}")


def _joined(parts: Sequence[Predicate], build: Builder, where: str, word: str, none: str) -> _Condition:
    """The cheap ones first, else in the author's order: SQLite keeps to it, and does not ask what decides nothing any
    more."""
    conditions = [_condition(part, build, f"{where}[{n}]") for n, part in enumerate(parts)]
    if not conditions:
        return _Condition(0, none)
    conditions.sort(key=lambda one: one.cost)
    return _Condition(conditions[-1].cost, f"({word.join(one.sql for one in conditions)})")


def _folded(text: Any) -> str | None:
    return fold(text) if isinstance(text, str) else None


def _spelled_number(text: Any) -> float | None:
    found = number(text) if isinstance(text, str) else None
    return None if found is None else float(found)


def _spelled_moment(text: Any) -> str | None:
    return moment(text) if isinstance(text, str) else None


def _found(pattern: str, text: Any) -> int:
    return int(isinstance(text, str) and compiled(pattern).search(text) is not None)
