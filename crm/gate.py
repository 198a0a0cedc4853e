"""`may_send`: the only way to decide whether a message to a person may leave.

A pure function over `SendingFacts`, which `load_facts` reads in bulk. Flows, campaigns, the inbox, the API, dry runs
and the sender all ask it; the sender asks inside the transaction that marks messages `sending`, after locking the
persons' consent rows, so that an opt-out is either seen or waits for that mark (I5). There is no SQL twin:
`superset` only narrows who needs to be asked about, and a property test holds it to never losing anybody.

What will not change by waiting is `Deny`; what will is `Later`. A stop button or a stopped channel is `Later`: the
message keeps its place and goes when the owner resumes, or expires.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from datetime import UTC, datetime, timedelta
from enum import StrEnum
from functools import lru_cache
from typing import Any
from zoneinfo import ZoneInfo

from msgspec import Struct
from sqlalchemy import Connection

from crm.policies import OPEN, Policy, policy_of
from domain.errors import RejectedInput
from domain.messages import MessageClass
from storage.bulk_writes import BulkUpdate
from storage.database import dialect
from storage.statements import bulk, bulk_keyed, json_rows, prepared

HOUR_MS = 3_600_000
DAY_MS = 24 * HOUR_MS
STOP_REST_MS = 5_000  # how long something stopped rests before it is looked at again


class Reason(StrEnum):
    """Why a message may not leave, or not now: the closed list. The sentences stand in `SENTENCES`."""

    stopped = "stopped"
    channel_stopped = "channel_stopped"
    channel_gone = "channel_gone"
    workspace_gone = "workspace_gone"
    person_gone = "person_gone"
    blocked = "blocked"
    unreachable = "unreachable"
    suppressed = "suppressed"
    no_consent = "no_consent"
    unconfirmed = "unconfirmed"
    withdrawn = "withdrawn"
    age_unknown = "age_unknown"
    too_young = "too_young"
    window_closed = "window_closed"
    platform_cap = "platform_cap"
    quiet_hours = "quiet_hours"
    frequency_cap = "frequency_cap"


SENTENCES: Mapping[Reason, Mapping[str, str]] = {
    Reason.stopped: {"it": "Gli invii sono fermi.", "en": "Sending is stopped."},
    Reason.channel_stopped: {"it": "Il canale è fermo.", "en": "The channel is stopped."},
    Reason.channel_gone: {"it": "Il canale non c'è più.", "en": "The channel is gone."},
    Reason.workspace_gone: {
        "it": "Lo spazio di lavoro viene eliminato.",
        "en": "The workspace is being deleted.",
    },
    Reason.person_gone: {"it": "La persona non c'è più.", "en": "The person is not there any more."},
    Reason.blocked: {"it": "La persona ci ha bloccati.", "en": "The person has blocked us."},
    Reason.unreachable: {
        "it": "La persona non è più raggiungibile su questo canale.",
        "en": "The person can no longer be reached on this channel.",
    },
    Reason.suppressed: {
        "it": "La persona ha chiesto di non ricevere più messaggi promozionali.",
        "en": "The person asked not to receive marketing any more.",
    },
    Reason.no_consent: {
        "it": "La persona non ha dato il consenso a questo scopo.",
        "en": "The person has not agreed to this purpose.",
    },
    Reason.unconfirmed: {
        "it": "Il consenso non è ancora stato confermato.",
        "en": "The consent has not been confirmed yet.",
    },
    Reason.withdrawn: {
        "it": "Il consenso è stato revocato, negato o è scaduto.",
        "en": "The consent was withdrawn, denied, or has expired.",
    },
    Reason.age_unknown: {"it": "L'età della persona non è nota.", "en": "The person's age is not known."},
    Reason.too_young: {
        "it": "La persona è più giovane dell'età minima.",
        "en": "The person is younger than the minimum age.",
    },
    Reason.window_closed: {
        "it": "La finestra di risposta è chiusa: si può mandare solo un modello approvato.",
        "en": "The answer window is closed: only an approved template can be sent.",
    },
    Reason.platform_cap: {
        "it": "La piattaforma non accetta ora altri messaggi promozionali per questa persona.",
        "en": "The platform takes no more marketing for this person for now.",
    },
    Reason.quiet_hours: {
        "it": "Per la persona ora è fascia di silenzio.",
        "en": "These are quiet hours where the person is.",
    },
    Reason.frequency_cap: {
        "it": "La persona ha già ricevuto oggi il numero massimo di messaggi promozionali.",
        "en": "The person has already had today's most marketing messages.",
    },
}


class Allow(Struct, frozen=True):
    """It may leave. `consent_id`: the ledger row that proves it (0 where none is needed)."""

    consent_id: int


class Deny(Struct, frozen=True):
    """It may not leave, and waiting does not help."""

    reason: Reason


class Later(Struct, frozen=True):
    """Not before `at` (ms UTC, in the future); then it has to be asked again."""

    at: int
    reason: Reason


Decision = Allow | Deny | Later


class SendingFacts(Struct):
    """All that `may_send` looks at, of one message. Times are ms UTC."""

    id: int
    workspace_id: int
    identity_id: int  # 0: a post on an outlet, to nobody in person
    message_class: MessageClass
    template: bool = False
    window_hours: int | None = (
        None  # free answers only this long after the person's last message; None: always
    )
    stop: str = ""  # "" | marketing | everything: the strongest stop that stands
    workspace_state: str = "active"
    channel_state: str = "active"  # active | stopped | deleting; "": not there
    identity_state: str = "reachable"  # reachable | blocked | gone; "": not there
    last_inbound_at: int | None = None
    suppressed: bool = False
    consent_state: str = ""
    mailable: bool = False
    consent_id: int = 0
    timezone: str | None = None
    workspace_timezone: str = "Europe/Rome"
    birth_year: int | None = None
    marketing_day: int = 0  # days since 1970 (UTC) of the last marketing message
    marketing_count: int = 0  # on that day
    marketing_not_before: int | None = None
    policy: Policy = OPEN


def may_send(facts: SendingFacts, *, now: int) -> Decision:
    """Whether the message may leave now. Replies and service messages need no consent, but a way to the person."""
    marketing = facts.message_class == MessageClass.marketing
    if facts.workspace_state != "active":
        return Deny(Reason.workspace_gone)
    if facts.channel_state not in ("active", "stopped"):
        return Deny(Reason.channel_gone)
    if facts.identity_id and (refusal := _person_refuses(facts, marketing=marketing, now=now)) is not None:
        return Deny(refusal)
    if facts.stop == "everything" or (facts.stop and marketing):
        return Later(now + STOP_REST_MS, Reason.stopped)
    if facts.channel_state == "stopped":
        return Later(now + STOP_REST_MS, Reason.channel_stopped)
    if marketing and facts.identity_id:
        return _not_now(facts, now) or Allow(facts.consent_id)
    return Allow(0)


def _person_refuses(facts: SendingFacts, *, marketing: bool, now: int) -> Reason | None:
    if facts.identity_state != "reachable":
        by_state = {"blocked": Reason.blocked, "gone": Reason.unreachable}
        return by_state.get(facts.identity_state, Reason.person_gone)
    if marketing:
        if facts.suppressed:
            return Reason.suppressed
        if not facts.mailable:
            return _why_not_mailable(facts.consent_state)
        if facts.policy.minimum_age is not None and (reason := _age_refuses(facts, now)) is not None:
            return reason
    if facts.window_hours is not None and not facts.template:
        last = facts.last_inbound_at
        if last is None or now >= last + facts.window_hours * HOUR_MS:
            return Reason.window_closed
    return None


def _why_not_mailable(state: str) -> Reason:
    if state in ("granted", "imported"):
        return Reason.unconfirmed
    return Reason.no_consent if state in ("", "asked") else Reason.withdrawn


def _age_refuses(facts: SendingFacts, now: int) -> Reason | None:
    """By the year alone a person may be a year younger than it seems: the doubt is theirs."""
    if facts.birth_year is None:
        return Reason.age_unknown
    surely = datetime.fromtimestamp(now / 1000, UTC).year - facts.birth_year - 1
    return Reason.too_young if surely < (facts.policy.minimum_age or 0) else None


def _not_now(facts: SendingFacts, now: int) -> Later | None:
    if facts.marketing_not_before is not None and now < facts.marketing_not_before:
        return Later(facts.marketing_not_before, Reason.platform_cap)
    if facts.policy.quiet is not None:
        zone = zone_of(facts.timezone) or zone_of(facts.workspace_timezone) or _ROME
        until = quiet_until(facts.policy.quiet, zone, now)
        if until is not None:
            return Later(until, Reason.quiet_hours)
    per_day = facts.policy.per_day
    if per_day is not None and facts.marketing_day == now // DAY_MS and facts.marketing_count >= per_day:
        return Later((now // DAY_MS + 1) * DAY_MS, Reason.frequency_cap)
    return None


_ROME = ZoneInfo("Europe/Rome")


@lru_cache(maxsize=1_000)
def zone_of(name: str | None) -> ZoneInfo | None:
    """A time zone by its IANA name; None for a name that is none (people and files write many)."""
    try:
        return ZoneInfo(name) if name else None
    except (KeyError, ValueError, OSError):  # unknown, malformed, a folder's name
        return None


def quiet_until(quiet: tuple[int, int], zone: ZoneInfo, now: int) -> int | None:
    """The end of the quiet hours that `now` (ms UTC) lies in, or None. Right across changes of summer time: a wall
    time that does not exist counts as the moment after the gap, one that comes twice as the next to come."""
    local = datetime.fromtimestamp(now / 1000, zone)
    if not _is_quiet(quiet, local):
        return None
    end = local.replace(
        hour=quiet[1] // 60 % 24, minute=quiet[1] % 60, second=0, microsecond=0, fold=0, tzinfo=None
    )
    for day in (0, 1):
        for fold in (0, 1):
            moment = int((end + timedelta(days=day)).replace(tzinfo=zone, fold=fold).timestamp() * 1000)
            if moment > now and not _is_quiet(quiet, datetime.fromtimestamp(moment / 1000, zone)):
                return moment
    return now + HOUR_MS  # no end in sight (all day, or a zone that skipped a day): ask again


def _is_quiet(quiet: tuple[int, int], local: datetime) -> bool:
    start, end = quiet
    minute = local.hour * 60 + local.minute
    return start <= minute < end if start < end else minute >= start or minute < end


# --- facts ------------------------------------------------------------------------------------------------------------


class Asked(Struct, frozen=True):
    """A message that somebody wants to send. `identity_id` 0: a post on an outlet. `window_hours`: of the channel.

    `template_category`: the platform's, where the message is a template: a marketing template is marketing whatever
    its author calls it.
    """

    id: int
    workspace_id: int
    channel_id: int
    identity_id: int
    message_class: MessageClass
    contact_id: int = 0
    campaign_id: int = 0
    purpose: str = ""
    template: bool = False
    window_hours: int | None = None
    template_category: str = ""

    @property
    def is_marketing(self) -> bool:
        """Whether it is, after the platform's word on templates."""
        return self.message_class is MessageClass.marketing or self.template_category == "marketing"


# A place is what messages have in common: read once, however many people there are. The others are two numbers each.
_PLACE = {
    "number": "BIGINT",
    "workspace_id": "BIGINT",
    "channel_id": "BIGINT",
    "campaign_id": "BIGINT",
    "purpose": "TEXT",
    "marketing": "SMALLINT",
    "policy": "BIGINT",  # the message with which its workspace's policy is to come, if it is
}
_PLACES = json_rows(_PLACE, parameter="places")
_PERSONS = (
    "SELECT CAST(e.key AS BIGINT) AS id, CAST(e.value ->> 0 AS BIGINT) AS place, "
    "CAST(e.value ->> 1 AS BIGINT) AS identity_id FROM json_each(:persons) e"
)

# All by primary keys; suppression is looked at for marketing alone. The last columns: the strongest stop that stands,
# and the business as its owner described it.
_FACTS = f"""
WITH p AS MATERIALIZED (
    SELECT a.number, a.workspace_id, a.channel_id, a.purpose, a.marketing, a.policy,
           COALESCE(w.state, 'gone') AS workspace_state, COALESCE(ch.state, '') AS channel_state,
           COALESCE(w.timezone, 'Europe/Rome') AS timezone,
           (SELECT max(CASE halt.what WHEN 'everything' THEN 2 ELSE 1 END) FROM stop halt
            WHERE (halt.workspace_id = 0 AND halt.scope = 'installation')
               OR (halt.workspace_id = a.workspace_id AND (halt.scope = 'workspace'
                   OR (halt.scope = 'channel' AND halt.target_id = a.channel_id)
                   OR (halt.scope = 'campaign' AND halt.target_id = a.campaign_id)))) AS stop,
           CASE WHEN a.policy IS NOT NULL THEN w.business END AS business
    FROM ({_PLACES}) a
    LEFT JOIN workspace w ON w.id = a.workspace_id AND +w.workspace_id = a.workspace_id
    LEFT JOIN channel ch ON ch.id = a.channel_id AND +ch.workspace_id = a.workspace_id
), r AS MATERIALIZED ({_PERSONS})
SELECT r.id, p.workspace_state, p.channel_state, COALESCE(i.state, ''), i.last_inbound_at,
       c.timezone, p.timezone, c.birth_year,
       COALESCE(i.marketing_day, 0), COALESCE(i.marketing_count, 0), i.marketing_not_before,
       COALESCE(s.state, ''), COALESCE(s.mailable, 0), COALESCE(s.consent_id, 0),
       CASE WHEN p.marketing = 1 AND EXISTS (
           SELECT 1 FROM identity_key k JOIN suppression x ON x.workspace_id = k.workspace_id
                AND x.external_key = k.external_key AND x.purpose IN (p.purpose, '*')
           WHERE k.identity_id = i.id AND k.workspace_id = i.workspace_id) THEN 1 ELSE 0 END,
       p.stop, CASE WHEN p.policy = r.id THEN p.business END
FROM p CROSS JOIN r
LEFT JOIN identity i ON i.id = r.identity_id AND +i.workspace_id = p.workspace_id AND +i.channel_id = p.channel_id
LEFT JOIN contact c ON c.id = i.contact_id AND +c.workspace_id = i.workspace_id
LEFT JOIN consent_state s ON s.identity_id = i.id AND s.purpose = p.purpose AND +s.workspace_id = i.workspace_id
WHERE p.number = r.place
"""
# In the order in which an opt-out takes the same rows.
_LOCK = f"""
SELECT s.identity_id FROM ({_PLACES}) p JOIN ({_PERSONS}) r ON r.place = p.number
JOIN consent_state s ON s.identity_id = r.identity_id AND s.purpose = p.purpose AND +s.workspace_id = p.workspace_id
WHERE p.marketing = 1 ORDER BY s.identity_id, s.purpose FOR UPDATE OF s
"""
_STOPS = ("", "marketing", "everything")


def load_facts(
    connection: Connection, asked: Sequence[Asked], *, now: int, lock: bool = False
) -> dict[int, SendingFacts]:
    """The facts of every message by its id, in one statement.

    `lock`: first locks the consent rows until the transaction ends (the caller marks messages as `sending`); where
    the writer is alone there is nothing to lock. Several marketing messages to one person in one call count each
    other for the frequency cap, as if all before had left.
    """
    if not asked:
        return {}
    places: dict[tuple[object, ...], dict[str, object]] = {}
    persons: dict[int, tuple[object, int]] = {}
    policies: dict[int, int] = {}  # workspace → the message with which its policy comes
    for one in asked:
        marketing = one.is_marketing
        key = (one.workspace_id, one.channel_id, one.campaign_id, one.purpose, marketing)
        place = places.get(key)
        if place is None:
            place = places[key] = {
                "number": len(places),
                "workspace_id": one.workspace_id,
                "channel_id": one.channel_id,
                "campaign_id": one.campaign_id,
                "purpose": one.purpose,
                "marketing": int(marketing),
                "policy": one.id if marketing and one.workspace_id not in policies else None,
            }
            if marketing:
                policies.setdefault(one.workspace_id, one.id)
        persons[one.id] = (place["number"], one.identity_id)
    values = {"places": bulk(places.values()), "persons": bulk_keyed(persons)}
    if policies and lock and dialect(connection).for_update:
        connection.execute(prepared(_LOCK), values).all()
    found = {row[0]: row for row in connection.execute(prepared(_FACTS), values)}
    known = {
        workspace_id: _policy(found[message_id][16])
        for workspace_id, message_id in policies.items()
        if found[message_id][16] is not None
    }
    facts = {one.id: _facts(one, found[one.id], known.get(one.workspace_id, OPEN)) for one in asked}
    if policies:
        _count_each_other(facts.values(), now // DAY_MS)
    return facts


def _facts(one: Asked, row: Any, policy: Policy) -> SendingFacts:
    mailable = bool(row[12])
    return SendingFacts(
        one.id,
        one.workspace_id,
        one.identity_id,
        MessageClass.marketing if one.is_marketing else one.message_class,
        template=one.template,
        window_hours=one.window_hours,
        stop=_STOPS[row[15] or 0],
        workspace_state=row[1],
        channel_state=row[2],
        identity_state=row[3],
        last_inbound_at=row[4],
        suppressed=bool(row[14]),
        consent_state=row[11],
        mailable=mailable,
        consent_id=row[13] if mailable else 0,
        timezone=row[5],
        workspace_timezone=row[6],
        birth_year=row[7],
        marketing_day=row[8],
        marketing_count=row[9],
        marketing_not_before=row[10],
        policy=policy,
    )


def _count_each_other(facts: Iterable[SendingFacts], today: int) -> None:
    ahead: dict[int, int] = {}
    for one in facts:
        if one.message_class is not MessageClass.marketing or not one.identity_id:
            continue
        before = ahead.get(one.identity_id, 0)
        if before:
            one.marketing_count = before + (one.marketing_count if one.marketing_day == today else 0)
            one.marketing_day = today
        ahead[one.identity_id] = before + 1


# `apply` refuses a file that does not fit; for a row that got there otherwise marketing rests until it is mended.
_SHUT = Policy(quiet=(0, 24 * 60))


def _policy(business: str) -> Policy:
    try:
        return policy_of(business)
    except RejectedInput:
        return _SHUT


_spend = BulkUpdate(
    "identity",
    {"id": "BIGINT", "workspace_id": "BIGINT", "n": "SMALLINT"},
    sets="marketing_count = v.n + "
    "CASE WHEN identity.marketing_day = CAST(:day AS BIGINT) THEN identity.marketing_count ELSE 0 END, "
    "marketing_day = CAST(:day AS BIGINT), marketing_last_at = CAST(:now AS BIGINT)",
    where="identity.id = v.id AND +identity.workspace_id = v.workspace_id",
)


def spend(connection: Connection, facts: Iterable[SendingFacts], *, now: int) -> None:
    """Counts marketing messages that are being sent now against their persons' caps, in one statement."""
    counts: dict[tuple[int, int], int] = {}
    for one in facts:
        if one.identity_id and one.message_class == MessageClass.marketing:
            key = (one.identity_id, one.workspace_id)
            counts[key] = counts.get(key, 0) + 1
    _spend(connection, [(*key, counts[key]) for key in sorted(counts)], day=now // DAY_MS, now=now)


# --- narrowing --------------------------------------------------------------------------------------------------------


def superset(*, identity: str = "i", purpose: str = ":purpose") -> str:
    """A SQL condition on an identity row that everybody fulfils whom `may_send` would allow marketing of a purpose.

    `purpose` is the name of a bound parameter. By the primary key of consent_state. Whoever it leaves out would be
    denied for being unreachable or without consent; whoever it keeps is still asked about one by one.
    """
    return (
        f"{identity}.state = 'reachable' AND EXISTS (SELECT 1 FROM consent_state gs "
        f"WHERE gs.identity_id = {identity}.id AND +gs.workspace_id = {identity}.workspace_id "
        f"AND gs.purpose = {purpose} AND gs.mailable = 1)"
    )
