"""Constant SQL, parsed once: on the message path the parsing of bound names costs as much as a small query.

Where a condition on `workspace_id` is written `+x.workspace_id`, the plus keeps SQLite, which has no statistics, from
walking an index that begins with the workspace in place of the key that names the row; both databases take it.
"""

from __future__ import annotations

from functools import cache

from sqlalchemy import TextClause, text


@cache
def prepared(sql: str) -> TextClause:
    """The statement of a constant SQL text; only for texts that are written down in the code."""
    return text(sql)
