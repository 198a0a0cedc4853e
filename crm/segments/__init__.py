"""Segments: the one predicate tree as a SQL condition over contacts, with the same meaning as `predicates.matches`.

`compile_predicate` gives a condition on the row alias `c` of `contact` with its parameters, for whoever needs the
contacts of a predicate: `count`, `sample` and `members` here, campaigns for their audiences. Each operator has its SQL
twin in `operators/<key>.py`; each subject comes from a source registered with `@predicate_source`. A contract test
holds both halves against each other with random contacts on both databases.
"""

from crm.segments.compiler import Fragment, compile_predicate, prepare
from crm.segments.lookup import lookup
from crm.segments.queries import count, members, sample
from crm.segments.sources import predicate_source
from crm.segments.subjects import Builder, Subject

__all__ = [
    "Builder",
    "Fragment",
    "Subject",
    "compile_predicate",
    "count",
    "lookup",
    "members",
    "predicate_source",
    "prepare",
    "sample",
]
