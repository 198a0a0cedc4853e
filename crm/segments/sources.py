"""Where subjects of segments come from: one source for each first word of a subject, registered by its owner.

    @predicate_source("recipient")
    def recipient(path: str, build: Builder) -> Subject | None: …

`path` is what follows the first dot; None says that there is no such subject. This layer's own are `contact` and
`consent`; layers above add theirs when their package is imported.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping

from crm.segments.subjects import Builder, Subject
from domain.errors import RejectedInput

Source = Callable[[str, Builder], Subject | None]

_KEY = re.compile(r"[^\x00-\x1f\"\\]{1,100}")  # quotes and backslashes would need escaping in a JSON path
_sources: dict[str, Source] = {}


def predicate_source(name: str) -> Callable[[Source], Source]:
    """Registers the source of subjects `<name>.…`; a second one of that name is an error at start."""

    def register(source: Source) -> Source:
        if name in _sources:
            raise RuntimeError(f"predicate source {name!r} is registered twice: {source.__module__}")
        _sources[name] = source
        return source

    return register


def sources() -> Mapping[str, Source]:
    """Every source by name."""
    return _sources


def subject(path: str, build: Builder, *, where: str) -> Subject:
    """The subject of that path. Raises RejectedInput naming it when segments do not know it."""
    name, _, rest = path.partition(".")
    source = _sources.get(name)
    found = source(rest, build) if source is not None else None
    if found is None:
        known = ", ".join(f"{one}.…" for one in sorted(_sources))
        raise RejectedInput(
            f"{path!r} cannot be used in a segment; known are {known}", where=f"{where}.subject"
        )
    return found


_TEXTS = ("name", "first_name", "last_name", "email", "phone", "language", "timezone")


@predicate_source("contact")
def _contact(path: str, build: Builder) -> Subject | None:
    """`contact.<column>`, `contact.fields.<key>`, `contact.tags`."""
    row = build.contact
    if path in _TEXTS:
        column = f"{row}.{path}"
        return Subject(
            missing=f"COALESCE({column}, '') = ''",
            text=column,
            same=lambda text: build.same_text(column, text),
        )
    if path == "created_at":
        column = f"{row}.{path}"
        return Subject(missing="FALSE", number=column, integer=column)
    if path == "tags":
        tags = f"SELECT 1 FROM contact_tag t WHERE t.contact_id = {row}.id AND +t.workspace_id = {row}.workspace_id"
        return Subject(
            missing=f"NOT EXISTS ({tags})",
            member=lambda text: f"EXISTS ({tags} AND t.tag = {text})",
            cost=2,
        )
    if path.startswith("fields.") and _KEY.fullmatch(path[7:]):
        return build.json_field(f"{row}.fields", path[7:])
    return None


@predicate_source("consent")
def _consent(path: str, build: Builder) -> Subject | None:
    """`consent.<purpose>`: of all identities of the contact, the state that changed last, as in a contact's view."""
    if not path:
        return None
    row, purpose = build.contact, build.text(path)
    state = (
        "(SELECT s.state FROM identity si JOIN consent_state s ON s.identity_id = si.id "
        "AND +s.workspace_id = si.workspace_id "
        f"WHERE si.workspace_id = {row}.workspace_id AND si.contact_id = {row}.id AND s.purpose = {purpose} "
        "ORDER BY s.changed_at DESC, s.identity_id DESC LIMIT 1)"
    )
    return Subject(missing=f"COALESCE({state}, '') = ''", text=state, cost=2)
