"""The dry run: what a campaign would do to everybody if it began now, with one reason per person.

It looks at the real base, slice by slice so that no reader is held for long, and asks the same `may_send` as the
sender, so it shows what the rows say and not an estimate. Its steps are a waterfall that adds up at every step:

    contacts = not in the audience + in the audience
    in the audience = without this channel + unreachable + without consent + asked
    asked = may go now + later (by reason) + refused (by reason) + cannot be written (by reason)
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Sequence
from typing import Any

import msgspec
from msgspec import Struct, field
from sqlalchemy import Connection, text

from bot.channels.base import channel_of
from campaigns import audiences, contents
from campaigns.drafts import get
from crm import gate
from crm.contacts import load_views
from crm.segments import compile_predicate
from domain.errors import NotFound
from domain.messages import MessageClass, Template
from flows.business import BusinessView
from storage.database import Database

NOT_IN_AUDIENCE, NO_IDENTITY = "not_in_audience", "not_on_this_channel"


class Preview(Struct, kw_only=True):
    """The waterfall. `cursor` is the last contact id looked at; `complete` once it has reached `ceiling`. `excluded`:
    who falls out before `may_send` is asked, by reason; `denied`, `later`: its answers; `not_composed`: whose message
    cannot be made. `seconds`: how long sending to the allowed takes at the campaign's or the channel's pace."""

    campaign_id: int
    ceiling: int
    cursor: int = 0
    complete: bool = False
    contacts: int = 0
    in_audience: int = 0
    reachable: int = 0
    consented: int = 0
    allowed: int = 0
    excluded: dict[str, int] = field(default_factory=dict)
    denied: dict[str, int] = field(default_factory=dict)
    later: dict[str, int] = field(default_factory=dict)
    not_composed: dict[str, int] = field(default_factory=dict)
    languages: dict[str, int] = field(default_factory=dict)
    seconds: int | None = None


class Verdict(Struct, frozen=True):
    """What would happen to one person. `what`: allowed | later | denied | excluded | not_composed."""

    contact_id: int
    what: str
    reason: str = ""
    at: int = 0  # of later, ms UTC
    language: str = ""


async def preview(
    database: Database, workspace_id: int, campaign_id: int, *, now: int, slice_size: int = audiences.SLICE
) -> Preview:
    """The whole waterfall, in reads of one slice each. Raises NotFound, RejectedInput."""
    found = await database.read(lambda connection: begin(connection, workspace_id, campaign_id))
    while not found.complete:
        before = found
        found = await database.read(
            lambda connection, before=before: step(  # type: ignore[misc]
                connection, workspace_id, before, now=now, slice_size=slice_size
            )
        )
    return found


def begin(connection: Connection, workspace_id: int, campaign_id: int) -> Preview:
    """An empty preview: `step` it until it is complete. Raises NotFound."""
    get(connection, workspace_id, campaign_id)
    ceiling = connection.execute(
        text("SELECT COALESCE(max(id), 0) FROM contact WHERE workspace_id = :workspace"),
        {"workspace": workspace_id},
    ).scalar_one()
    return Preview(campaign_id=campaign_id, ceiling=ceiling, complete=ceiling == 0)


def step(
    connection: Connection, workspace_id: int, before: Preview, *, now: int, slice_size: int = audiences.SLICE
) -> Preview:
    """The preview with one more slice of contacts; the one before is not changed."""
    campaign = _Campaign(connection, workspace_id, before.campaign_id, now)
    upper = audiences.slice_end(connection, workspace_id, before.cursor, before.ceiling, slice_size)
    contacts, people = _people(connection, campaign, before.cursor, upper)
    counts: Counter[tuple[str, str]] = Counter()
    languages: Counter[str] = Counter()
    for verdict in _verdicts(connection, campaign, people):
        counts[verdict.what, verdict.reason] += 1
        if verdict.what == "allowed":
            languages[verdict.language] += 1
    return _added(before, upper, contacts, len(people), counts, languages, campaign.per_second)


def why(connection: Connection, workspace_id: int, campaign_id: int, contact_id: int, *, now: int) -> Verdict:
    """What would happen to one person. Raises NotFound for a campaign or contact that is not in this workspace."""
    campaign = _Campaign(connection, workspace_id, campaign_id, now)
    contacts, people = _people(connection, campaign, contact_id - 1, contact_id)
    if not contacts:
        raise NotFound("no such contact")
    return next(_verdicts(connection, campaign, people), Verdict(contact_id, "excluded", NOT_IN_AUDIENCE))


class _Campaign:
    """What is needed to judge people: compiled once for each slice."""

    def __init__(self, connection: Connection, workspace_id: int, campaign_id: int, now: int) -> None:
        row = get(connection, workspace_id, campaign_id)
        said = contents.decode(row.content)
        channel = connection.execute(
            text(
                "SELECT c.kind, c.config, w.name, w.timezone FROM channel c "
                "LEFT JOIN workspace w ON w.id = c.workspace_id "
                "WHERE c.id = :channel AND c.workspace_id = :workspace"
            ),
            {"channel": row.channel_id, "workspace": workspace_id},
        ).one()
        capabilities = channel_of(channel.kind).capabilities(msgspec.json.decode(channel.config))
        self.id, self.workspace_id, self.channel_id, self.purpose = (
            row.id,
            workspace_id,
            row.channel_id,
            row.purpose,
        )
        self.now = now
        self.wanted = compile_predicate(connection, audiences.decode(row.audience), now=now)
        self.composer = contents.Composer(said, row.default_language)
        self.templates = {language: isinstance(content, Template) for language, content in said.items()}
        self.window_hours = capabilities.window_hours
        pace = capabilities.pace.per_channel.per_second
        self.per_second = min(row.rate or pace, pace)
        self.business = BusinessView(name=channel.name or "", timezone=channel.timezone or "UTC")


def _people(connection: Connection, campaign: _Campaign, lower: int, upper: int) -> tuple[int, Sequence[Any]]:
    """How many contacts the slice has, and one row for each in the audience, with the identity that would be used."""
    values = {"workspace": campaign.workspace_id, "lower": lower, "upper": upper}
    contacts = connection.execute(
        text("SELECT count(*) FROM contact WHERE workspace_id = :workspace AND id > :lower AND id <= :upper"),
        values,
    ).scalar_one()
    rows = connection.execute(
        text(
            "SELECT c.id AS contact_id, c.language, i.id AS identity_id, i.state, i.language AS identity_language, "
            "s.mailable, s.state AS consent FROM contact c "
            "LEFT JOIN identity i ON i.channel_id = :channel AND i.contact_id = c.id "
            "AND +i.workspace_id = c.workspace_id "
            "LEFT JOIN consent_state s ON s.identity_id = i.id AND s.purpose = :purpose "
            "WHERE c.workspace_id = :workspace AND c.id > :lower AND c.id <= :upper "
            f"AND ({campaign.wanted.sql}) ORDER BY c.id, COALESCE(i.last_inbound_at, 0) DESC, i.id"
        ),
        {**values, "channel": campaign.channel_id, "purpose": campaign.purpose, **campaign.wanted.parameters},
    ).all()
    best: dict[int, Any] = {}
    for row in rows:  # the same choice as the run's: of those who could be asked about, who wrote last
        known = best.get(row.contact_id)
        if known is None or _standing(row) > _standing(known):
            best[row.contact_id] = row
    return contacts, list(best.values())


def _standing(row: Any) -> int:
    """How far a row comes before `may_send` is asked: 0 no identity, 1 unreachable, 2 no consent, 3 asked."""
    if row.identity_id is None:
        return 0
    if row.state != "reachable":
        return 1
    return 3 if row.mailable else 2


def _verdicts(connection: Connection, campaign: _Campaign, people: Sequence[Any]) -> Iterator[Verdict]:
    asked = [row for row in people if _standing(row) == 3]
    facts = gate.load_facts(connection, [_asked(campaign, row) for row in asked], now=campaign.now)
    views = load_views(
        connection, [(campaign.workspace_id, row.contact_id, row.identity_id) for row in asked]
    )
    for row in people:
        match _standing(row):
            case 0:
                yield Verdict(row.contact_id, "excluded", NO_IDENTITY)
            case 1:
                reason = gate.Reason.blocked if row.state == "blocked" else gate.Reason.unreachable
                yield Verdict(row.contact_id, "excluded", reason)
            case 2:
                yield Verdict(row.contact_id, "excluded", _without_consent(row))
            case _:
                yield _judged(
                    campaign, row, facts[row.identity_id], views.get((row.contact_id, row.identity_id))
                )


def _asked(campaign: _Campaign, row: Any) -> gate.Asked:
    language = campaign.composer.language_for(row.language, row.identity_language)
    return gate.Asked(
        id=row.identity_id,
        workspace_id=campaign.workspace_id,
        channel_id=campaign.channel_id,
        identity_id=row.identity_id,
        contact_id=row.contact_id,
        campaign_id=campaign.id,
        message_class=MessageClass.marketing,
        purpose=campaign.purpose,
        template=campaign.templates[language],
        window_hours=campaign.window_hours,
    )


def _judged(campaign: _Campaign, row: Any, facts: gate.SendingFacts, view: Any) -> Verdict:
    decision = gate.may_send(facts, now=campaign.now)
    if isinstance(decision, gate.Deny):
        return Verdict(row.contact_id, "denied", decision.reason)
    language = campaign.composer.language_for(row.language, row.identity_language)
    try:
        campaign.composer.compose(view, language=language, business=campaign.business, now=campaign.now)
    except contents.CannotCompose as error:
        return Verdict(row.contact_id, "not_composed", error.reason)
    if isinstance(decision, gate.Later):
        return Verdict(row.contact_id, "later", decision.reason, at=decision.at, language=language)
    return Verdict(row.contact_id, "allowed", language=language)


def _without_consent(row: Any) -> str:
    if row.consent in ("granted", "imported"):
        return gate.Reason.unconfirmed
    return gate.Reason.no_consent if row.consent in (None, "", "asked") else gate.Reason.withdrawn


_UNREACHABLE = (NO_IDENTITY, gate.Reason.blocked, gate.Reason.unreachable)


def _added(
    before: Preview,
    upper: int,
    contacts: int,
    in_audience: int,
    counts: Counter[tuple[str, str]],
    languages: Counter[str],
    per_second: float,
) -> Preview:
    excluded = Counter(before.excluded)
    groups = {name: Counter(getattr(before, name)) for name in ("denied", "later", "not_composed")}
    out = 0
    unreachable = 0
    for (what, reason), people in counts.items():
        if what == "excluded":
            excluded[reason] += people
            out += people
            unreachable += people if reason in _UNREACHABLE else 0
        elif what in groups:
            groups[what][reason] += people
    if contacts > in_audience:
        excluded[NOT_IN_AUDIENCE] += contacts - in_audience
    allowed = before.allowed + counts["allowed", ""]
    return Preview(
        campaign_id=before.campaign_id,
        ceiling=before.ceiling,
        cursor=upper,
        complete=upper >= before.ceiling,
        contacts=before.contacts + contacts,
        in_audience=before.in_audience + in_audience,
        reachable=before.reachable + in_audience - unreachable,
        consented=before.consented + in_audience - out,
        allowed=allowed,
        excluded=dict(excluded),
        denied=dict(groups["denied"]),
        later=dict(groups["later"]),
        not_composed=dict(groups["not_composed"]),
        languages=dict(Counter(before.languages) + languages),
        seconds=round(allowed / per_second),
    )
