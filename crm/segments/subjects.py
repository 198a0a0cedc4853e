"""What SQL gives of a subject's value, and the pieces of SQL in which the databases differ.

A value in JSON or in a column has one type; a `Subject` has one expression for each type that it may have, NULL when
the value is of another. Operators compare the types that they know and leave out the others, as their pure halves do.

On SQLite, texts beyond ASCII are folded, and texts are read as numbers or dates and searched for patterns, by functions
of ours in the connection (see `compiler.prepare`): the very functions of the pure operators. PostgreSQL has what it
takes; numbers there are double precision, as in the pure half, so whole numbers beyond 2^53 are not told from their
neighbours.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any

from crm.segments.patterns import postgresql_pattern
from domain.comparisons import DATE_PATTERN, NUMBER_PATTERN, OFFSET_PATTERN
from domain.operators.matches_pattern import MAX_INPUT
from storage.statements import bulk_values

# Characters beyond ASCII that fold into it, by what they become: İ, and the Kelvin sign.
INTO_ASCII = {"i": "\u0130", "k": "\u212a"}
_MOMENT = 'YYYY-MM-DD"T"HH24:MI:SS"Z"'  # PostgreSQL's word for a moment's text


@dataclass(frozen=True, slots=True)
class Subject:
    """SQL expressions of a value by its type; None: it never has that type.

    `missing` is a condition that is never NULL: there is no value, or "" or an empty list. `text` holds only where
    `is_text` is true (None: always). `same(folded)` is the condition that the value is a text that folds to this one,
    where there is a cheaper one than to fold it (None: there is not). `integer` counts as a date in ms; `boolean` is 1
    or 0; `member(parameter)` is the condition that a list has a text. `cost`: 0 a column, 1 to be read out of JSON,
    2 looked up elsewhere.
    """

    missing: str
    text: str | None = None
    is_text: str | None = None
    same: Callable[[str], str] | None = None
    number: str | None = None
    integer: str | None = None
    boolean: str | None = None
    member: Callable[[str], str] | None = None
    cost: int = 0

    def of_text(self, make: Callable[[str], str]) -> str | None:
        """What `make` makes of the text, where the value is one; None when it never is."""
        if self.text is None:
            return None
        return (
            make(self.text)
            if self.is_text is None
            else f"CASE WHEN {self.is_text} THEN {make(self.text)} END"
        )


@dataclass
class Builder:
    """Collects parameters while a condition is built. `contact` is the alias of the contact row."""

    dialect: str  # sqlite | postgresql
    contact: str = "c"
    prefix: str = "p"
    parameters: dict[str, Any] = field(default_factory=dict)

    def text(self, value: str) -> str:
        """A bound text."""
        return f"CAST({self._bind(value)} AS TEXT)"

    def number(self, value: float) -> str:
        """A bound number."""
        return f"CAST({self._bind(float(value))} AS DOUBLE PRECISION)"

    def whole(self, value: int) -> str:
        """A bound 64-bit number."""
        return f"CAST({self._bind(value)} AS BIGINT)"

    def _bind(self, value: Any) -> str:
        name = f"{self.prefix}{len(self.parameters)}"
        self.parameters[name] = value
        return f":{name}"

    # --- where the databases differ ---

    def folded(self, expression: str) -> str:
        """The text without upper case, as `comparisons.fold`."""
        if self.dialect != "sqlite":
            return f"lower({expression})"
        if "(" in expression:  # more than a column: dearer to work out three times than to call ours
            return f"pp_fold({expression})"
        beyond_ascii = f"length(CAST({expression} AS BLOB)) <> length({expression})"
        return f"CASE WHEN {beyond_ascii} THEN pp_fold({expression}) ELSE lower({expression}) END"

    def same_text(self, expression: str, folded: str) -> str:
        """The condition that a text folds to this one. The database's own lower case does for ASCII; only a text of as
        many characters and more bytes, which may be spelled with others, is folded in full."""
        value, count = self.text(folded), self.whole(len(folded))
        in_full = f"{self.folded(expression)} = {value}"
        if "\0" in folded:  # where SQLite's `length` and NOCASE stop
            return in_full
        if self.dialect == "sqlite":
            alike, size = f"{expression} = {value} COLLATE NOCASE", f"length(CAST({expression} AS BLOB))"
        else:
            alike, size = f'lower({expression} COLLATE "C") = {value}', f"octet_length({expression})"
        return f"({alike} OR ({size} > {count} AND length({expression}) = {count} AND {in_full}))"

    def spelled_number(self, expression: str) -> str:
        """The number that a text spells, or NULL."""
        if self.dialect == "sqlite":
            return f"pp_number({expression})"
        return f"CASE WHEN {expression} ~ '{NUMBER_PATTERN}' THEN CAST({expression} AS DOUBLE PRECISION) END"

    def spelled_moment(self, expression: str) -> str:
        """The moment that a text spells, as `YYYY-MM-DDTHH:MM:SSZ`, or NULL (`comparisons.moment`); such texts order
        like their instants."""
        if self.dialect == "sqlite":
            return f"pp_moment({expression})"
        midnight = self.text("T00:00:00Z")
        offset = self.text(OFFSET_PATTERN)  # bound: it has colons
        month = f"CAST(substr({expression}, 1, 7) || '-01' AS date)"
        # A cast of a day that does not exist is an error, so the length of the month is looked at before.
        days = f"extract(day FROM {month} + interval '1 month' - interval '1 day')"
        utc = f"CAST({expression} AS timestamptz) AT TIME ZONE 'UTC'"
        shown = f"to_char({utc}, {self.text(_MOMENT)})"
        return (
            f"(CASE WHEN {expression} ~ '{DATE_PATTERN}' THEN CASE WHEN length({expression}) = 10 "
            f"THEN {expression} || {midnight} ELSE {expression} END "
            f"WHEN {expression} ~ {offset} THEN CASE WHEN CAST(substr({expression}, 9, 2) AS int) <= {days} "
            f'THEN {shown} END END COLLATE "C")'
        )

    def position(self, haystack: str, needle: str) -> str:
        """Where a text stands in another, from 1; 0 when it does not."""
        return f"{'instr' if self.dialect == 'sqlite' else 'strpos'}({haystack}, {needle})"

    def found(self, expression: str, pattern: str) -> str:
        """The condition that an RE2 pattern is found. Raises RejectedInput for one that this database cannot do."""
        looked_at = f"substr({expression}, 1, {MAX_INPUT})"
        if self.dialect == "sqlite":
            return f"pp_found({self.text(pattern)}, {looked_at}) = 1"
        return f"{looked_at} ~ {self.text(postgresql_pattern(pattern))}"

    def values(self, values: Sequence[str]) -> str:
        """A bound list of texts, to stand after IN."""
        return f"(SELECT e.value ->> 'v' FROM json_each({self._bind(bulk_values(values))}) e)"

    def json_field(self, column: str, key: str) -> Subject:
        """A top-level key of a JSON object column (text)."""
        return (
            self._sqlite_field(column, key)
            if self.dialect == "sqlite"
            else self._postgresql_field(column, key)
        )

    def _sqlite_field(self, column: str, key: str) -> Subject:
        path = self.text(f'$."{key}"')
        kind, value = f"json_type({column}, {path})", f"json_extract({column}, {path})"

        def same(folded: str) -> str:
            return (
                f"({self._may_hold(column, folded)} AND {kind} = 'text' AND {self.same_text(value, folded)})"
            )

        return Subject(
            missing=(
                f"(COALESCE({kind}, 'null') = 'null' OR ({kind} = 'text' AND {value} = '') "
                f"OR ({kind} = 'array' AND json_array_length({column}, {path}) = 0))"
            ),
            text=value,
            is_text=f"{kind} = 'text'",
            same=same,
            number=f"CASE WHEN {kind} IN ('integer', 'real') THEN {value} END",
            integer=f"CASE WHEN {kind} = 'integer' THEN {value} END",
            boolean=f"CASE {kind} WHEN 'true' THEN 1 WHEN 'false' THEN 0 END",
            member=lambda text: (
                f"({kind} = 'array' AND EXISTS (SELECT 1 FROM json_each({column}, {path}) m "
                f"WHERE m.type = 'text' AND m.value = {text}))"
            ),
            cost=1,
        )

    def _postgresql_field(self, column: str, key: str) -> Subject:
        bound = self.text(key)
        value, shown = f"(CAST({column} AS json) -> {bound})", f"(CAST({column} AS json) ->> {bound})"
        kind = f"json_typeof({value})"
        whole = f"{kind} = 'number' AND {shown} ~ '^-?[0-9]{{1,18}}$'"

        def same(folded: str) -> str:
            compared = f"CASE WHEN {kind} = 'string' THEN {self.folded(shown)} = {self.text(folded)} END"
            return f"({self._may_hold(column, folded)} AND {compared})"

        items = f"CASE WHEN {kind} = 'array' THEN {value} ELSE CAST('[]' AS json) END"
        return Subject(
            missing=(
                f"(COALESCE({kind}, 'null') = 'null' OR ({kind} = 'string' AND {shown} = '') "
                f"OR ({kind} = 'array' AND json_array_length({items}) = 0))"
            ),
            text=shown,
            is_text=f"{kind} = 'string'",
            same=same,
            number=f"CASE WHEN {kind} = 'number' THEN CAST({shown} AS DOUBLE PRECISION) END",
            integer=f"CASE WHEN {whole} THEN CAST({shown} AS BIGINT) END",
            boolean=f"CASE WHEN {kind} = 'boolean' THEN CASE {shown} WHEN 'true' THEN 1 ELSE 0 END END",
            member=lambda text: (
                f"EXISTS (SELECT 1 FROM json_array_elements({items}) m "
                f"WHERE json_typeof(m) = 'string' AND m #>> '{{}}' = {text})"
            ),
            cost=1,
        )

    def _may_hold(self, column: str, folded: str) -> str:
        """Whether a JSON object may have a text that folds to this one, told from its spelling, which costs a fraction
        of reading it: the text stands there in quotes, in whatever case, or something is escaped, or there is a
        character beyond ASCII that folds into it. TRUE where that says nothing."""
        if not (folded.isascii() and folded.isprintable()) or set(folded) & set('"\\%_'):
            return "TRUE"
        quoted = f'"{folded}"'
        if self.dialect == "sqlite":
            spelled = f"{column} LIKE {self.text(f'%{quoted}%')}"
        else:
            lower = f'lower({column} COLLATE "C")'
            spelled = f"{self.position(lower, self.text(quoted))} > 0"
        odd = ["\\", *(other for letter, other in INTO_ASCII.items() if letter in folded)]
        return either([spelled, *(f"{self.position(column, self.text(one))} > 0" for one in odd)])


def either(conditions: Sequence[str]) -> str:
    """At least one of the conditions; none: false."""
    return f"({' OR '.join(conditions)})" if conditions else "FALSE"
