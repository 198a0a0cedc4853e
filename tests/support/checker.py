"""Whether a history kept the promises I1 to I6 and I8: a pure function over what the simulators saw and our rows say.

The simulators' log is the outside truth: which deliveries we answered 200, which requests of ours were executed, what
reached whom. The rows are our own account of it. `check` compares the two when everything has drained and says what is
wrong in plain sentences; nothing wrong is an empty list. What a killed process leaves unknown is allowed only for
messages that were marked `sending` when it died (`History.sending_at_death`).

    I1  every event that we answered 200 for is known, and every event that is known is done or parked
    I2  one turn per event, one inbound message row per platform message; one row for every message that was sent
    I3  events of a conversation are handled in order of acceptance; messages of a turn leave in order
    I4  nobody gets a run's message twice; totals add up and equal the recipients
    I5  every marketing message names the consent that allowed it; none leaves 2 s after the 200 to an opt-out
        replies twice only when marked "possibly twice"; `unknown` only where nobody can know, and never sent again;
        an opt-out that was answered 200 stands in the ledger
    I6  every row lies in its channel's workspace
    I8  what a recipient's or a post's row says is what its message says

I7 (bounded) shows in what is answered past a limit, not in what is left: the tests of overload assert it.
"""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import msgspec

from storage.sealing import event_key

Json = Mapping[str, Any]
Sent = tuple[int, str, str]  # channel id, address, external id

# What a check needs of each table; read by `load`.
TABLES = {
    "channel": "SELECT id, kind FROM channel",
    "seen": "SELECT channel_id, key FROM seen",
    "intake": "SELECT id, channel_id, state, problem FROM intake",
    "conversation": "SELECT id, channel_id, address FROM conversation",
    "identity": "SELECT id, channel_id, contact_id, address FROM identity",
    "outlet": "SELECT id, address FROM outlet",
    "message": "SELECT id, channel_id, conversation_id, contact_id, identity_id, outlet_id, turn_id, run_id, "
    "direction, message_class, external_id, status, possibly_twice, consent_id FROM message",
    "outbox": "SELECT id, state FROM outbox",
    "turn": "SELECT id, conversation_id, event_id FROM turn",
    "run": "SELECT id, state, totals FROM campaign_run",
    "delta": "SELECT run_id, name, amount FROM run_delta",
    "recipient": "SELECT run_id, contact_id, state, message_id FROM recipient",
    "consent": "SELECT id, identity_id, action FROM consent_entry",
    "post": "SELECT id, state, message_id FROM post",
    "stray": " UNION ALL ".join(
        f"SELECT '{table}' AS what, r.id FROM {table} r JOIN channel c ON c.id = r.channel_id "
        "WHERE r.workspace_id <> c.workspace_id"
        for table in ("intake", "conversation", "identity", "message", "outbox", "consent_entry")
    ),
}
_OUTCOMES = ("pending", "pending", "sent", "failed", "skipped", "unknown")  # by recipient.state
_ARRIVED = {"sent", "delivered", "read"}
_TOLD = {"sent", "unknown"}  # outcomes that only a message can have brought
# By status of the message: what its recipient's row may say. A delivery report may fail what was sent.
_OUTCOME_OF = {
    **{status: {"sent"} for status in _ARRIVED},
    "failed": {"failed", "sent"},
    "skipped": {"skipped"},
    "expired": {"skipped", "failed"},
    "unknown": {"unknown"},
}
_POST_OF = {**_OUTCOME_OF, "skipped": {"failed"}, "expired": {"failed"}}  # a post has no state for these two
_HONEST = {200, 503, 0}  # taken, come back later, no answer (the process had died)
_PERSONAL = {"chat_id", "to", "recipient", "biz_opaque_callback_data"}
_OPT_OUT_GRACE_MS = 2_000  # a message already marked `sending` may finish (DESIGN, I5)


@dataclass(frozen=True)
class History:
    """What happened. `stops`: Telegram address → the update in which its person opted out."""

    log: Sequence[Json]
    rows: Mapping[str, Sequence[Any]]
    sending_at_death: Collection[int] = ()
    stops: Mapping[str, int] = field(default_factory=dict)


@dataclass(frozen=True)
class Verdict:
    """`problems` is empty when every promise was kept; `counts` and `unknown` (message ids) are for people to read."""

    problems: list[str]
    counts: dict[str, int]
    unknown: list[int]


def load(query: Callable[[str], Sequence[Any]]) -> dict[str, Sequence[Any]]:
    """The rows of a history; `query(sql)` gives named tuples."""
    return {name: list(query(sql)) for name, sql in TABLES.items()}


def check(history: History) -> Verdict:
    """Every promise, on a history that has drained."""
    facts = _Facts(history)
    problems = [
        *_acknowledged(facts),
        *_once(facts),
        *_in_order(facts),
        *_sent_as_recorded(facts),
        *_campaigns(facts),
        *_consented(facts),
        *_apart(facts),
    ]
    return Verdict(problems, _counts(facts), sorted(m.id for m in facts.outgoing if m.status == "unknown"))


class _Facts:
    """The history, looked up from both sides."""

    def __init__(self, history: History) -> None:
        self.history = history
        self.rows = history.rows
        self.channels = {row.kind: row.id for row in self.rows["channel"]}
        self.outgoing = [row for row in self.rows["message"] if row.direction == "out"]
        self.inbound = [row for row in self.rows["message"] if row.direction == "in"]
        self._addresses = {row.id: row.address for row in self.rows["conversation"]}
        self._identities = {row.id: row.address for row in self.rows["identity"]}
        self._outlets = {row.id: row.address for row in self.rows["outlet"]}
        self.acknowledged = [e for e in history.log if e["kind"] == "delivery" and e["status"] == 200]
        self._acknowledged_at: dict[int, int] = {}
        for entry in self.acknowledged:
            if "update_id" in entry:
                self._acknowledged_at.setdefault(entry["update_id"], entry["at"])
        self.calls = [dict(entry) for entry in history.log if _is_send(entry)]

    def address(self, message: Any) -> str:
        """Where a message of ours went."""
        if message.outlet_id:
            return str(self._outlets[message.outlet_id])
        return str(self._addresses.get(message.conversation_id) or self._identities[message.identity_id])

    def acknowledged_at(self, update: int | None) -> int | None:
        """When an update was first answered 200, ms UTC."""
        return None if update is None else self._acknowledged_at.get(update)

    def sent(self) -> dict[Sent, list[int]]:
        """Executed requests that put a message before somebody: what it is → their places in the log."""
        found: dict[Sent, list[int]] = defaultdict(list)
        for call in self.calls:
            channel, address = self.channels[call["network"]], _address(call)
            found[(channel, address, str(call["result_id"]))].append(call["n"])
        return found


def _is_send(entry: Json) -> bool:
    if entry["kind"] != "call" or not entry["executed"] or not entry["result_id"]:
        return False
    if entry["network"] == "telegram":
        return str(entry["method"]).startswith("send") and entry["method"] != "sendChatAction"
    return bool(entry["to"]) and str(entry["result_id"]).startswith("wamid")


def _address(call: Json) -> str:
    return str(call["chat"] if call["network"] == "telegram" else call["to"])


def _acknowledged(facts: _Facts) -> Iterator[str]:
    seen = {(row.channel_id, row.key) for row in facts.rows["seen"]}
    for entry in facts.acknowledged:
        for key in _keys(entry):
            if (facts.channels[entry["network"]], event_key(entry["network"], key)) not in seen:
                yield f"I1: {key} was answered 200 (log entry {entry['n']}) and is not known"
    for entry in facts.history.log:
        if entry["kind"] == "delivery" and entry["status"] not in _HONEST:
            yield f"I1: a well-signed delivery (log entry {entry['n']}) was answered {entry['status']}"
    for row in facts.rows["intake"]:
        if row.state == 0:
            yield f"I1: event {row.id} is still open"
    for row in facts.rows["outbox"]:
        yield f"I1: message {row.id} still waits in the outbox (state {row.state})"


def _keys(entry: Json) -> list[str]:
    """Names of a delivery's events in `seen`; statuses are not kept there: they are idempotent."""
    if entry["network"] == "telegram":
        return [f"upd:{entry['update_id']}"]
    return [f"msg:{name}" for name in entry["ids"] if str(name).startswith("wamid") and ":" not in str(name)]


def _once(facts: _Facts) -> Iterator[str]:
    for event_id, times in Counter(row.event_id for row in facts.rows["turn"]).items():
        if times > 1:
            yield f"I2: event {event_id} had {times} turns"
    platform = [(m.channel_id, m.contact_id, m.external_id, m.id) for m in facts.inbound if m.external_id]
    for (_, contact, external), times in Counter(key[:3] for key in platform).items():
        if times > 1:
            yield f"I2: message {external} of contact {contact} was taken in {times} times"


def _in_order(facts: _Facts) -> Iterator[str]:
    handled: dict[int, list[int]] = defaultdict(list)
    for row in sorted(facts.rows["turn"], key=lambda row: row.id):
        handled[row.conversation_id].append(row.event_id)
    for conversation, events in handled.items():
        if events != sorted(events):
            yield f"I3: conversation {conversation} handled its events in the order {events}"
    sent = facts.sent()
    turns: dict[int, list[Any]] = defaultdict(list)
    for message in facts.outgoing:
        if message.turn_id and message.status in _ARRIVED and message.external_id:
            turns[message.turn_id].append(message)
    for turn, messages in turns.items():
        places = [
            max(sent.get((m.channel_id, facts.address(m), m.external_id), [0]))
            for m in sorted(messages, key=lambda m: m.id)
        ]
        if places != sorted(places):
            yield f"I3: the messages of turn {turn} left in the order {places}"


def _sent_as_recorded(facts: _Facts) -> Iterator[str]:
    """Each executed request belongs to a row; a surplus is covered by what is marked unknown or possibly twice."""
    sent = facts.sent()
    recorded: Counter[Sent] = Counter()
    allowed: Counter[tuple[int, str]] = Counter()
    for message in facts.outgoing:
        place = (message.channel_id, facts.address(message))
        if message.external_id:
            recorded[(*place, message.external_id)] += 1
        if message.possibly_twice or message.status == "unknown":
            # One that is marked and unknown has lost both its answers.
            allowed[place] += bool(message.possibly_twice) + (message.status == "unknown")
            if message.id not in facts.history.sending_at_death:
                yield f"unknown: message {message.id} is {message.status}, though it was not being sent at the death"
        if message.status in _ARRIVED and message.external_id and not sent.get((*place, message.external_id)):
            yield f"I8: message {message.id} counts as {message.status}, but no request of it was executed"
        if message.status not in _ARRIVED | {"unknown", "skipped", "failed", "expired"}:
            yield f"I1: message {message.id} ended as {message.status}"
    for key, times in recorded.items():
        if times > 1:
            yield f"I2: {times} messages claim to be {key[2]} at one address"
    surplus: Counter[tuple[int, str]] = Counter()
    for key, places in sent.items():
        surplus[key[:2]] += len(places) - recorded[key]
    for place, times in surplus.items():
        if times > allowed[place]:
            yield f"I2: {times} requests to one address belong to no row, {allowed[place]} may ({place[0]})"


def _campaigns(facts: _Facts) -> Iterator[str]:
    addresses: Counter[tuple[int, int]] = Counter()
    for message in facts.outgoing:
        if message.run_id:
            addresses[(message.run_id, message.contact_id)] += 1
    for (run, contact), times in addresses.items():
        if times > 1:
            yield f"I4: contact {contact} has {times} messages of run {run}"
    for run in facts.rows["run"]:
        totals = Counter(msgspec.json.decode(run.totals, type=dict[str, int]))
        for delta in facts.rows["delta"]:
            if delta.run_id == run.id:
                totals[delta.name] += delta.amount
        counted = Counter(_OUTCOMES[r.state] for r in facts.rows["recipient"] if r.run_id == run.id)
        shown = {name: totals[name] for name in sorted(set(_OUTCOMES))}
        if shown != {name: counted[name] for name in shown} or totals["total"] != sum(shown.values()):
            yield f"I4: run {run.id} shows {dict(totals)}, its recipients are {dict(counted)}"
    statuses = {message.id: message.status for message in facts.outgoing}
    for row in facts.rows["recipient"]:
        outcome, status = _OUTCOMES[row.state], statuses.get(row.message_id)
        if outcome not in _OUTCOME_OF.get(str(status), {outcome}) or (outcome in _TOLD and status is None):
            yield f"I8: contact {row.contact_id} is {outcome}, their message is {status}"
    for row in facts.rows["post"]:
        status = statuses.get(row.message_id)
        if row.state not in _POST_OF.get(str(status), {row.state}) or (row.state in _TOLD and status is None):
            yield f"I8: post {row.id} is {row.state}, its message is {status}"


def _apart(facts: _Facts) -> Iterator[str]:
    for row in facts.rows["stray"]:
        yield f"I6: {row.what} {row.id} lies in another workspace than its channel"


def _consented(facts: _Facts) -> Iterator[str]:
    proofs = {row.id: row for row in facts.rows["consent"] if row.action in ("granted", "confirmed")}
    marketing = [m for m in facts.outgoing if m.message_class == "marketing"]
    for message in marketing:
        if message.status in _ARRIVED | {"unknown"}:
            proof = proofs.get(message.consent_id)
            if proof is None or proof.identity_id != message.identity_id:
                yield f"I5: marketing message {message.id} left without its person's consent"
    yield from _opted_out(facts)
    runs: dict[str, set[int]] = defaultdict(set)
    for message in marketing:
        runs[facts.address(message)].add(message.run_id)
    for place, calls in _marketing_calls(facts, marketing).items():
        # Unknown ones cannot be told apart by id, so requests are told apart by what they said.
        if len(calls) > len(runs[place[1]]):
            yield f"I4: {len(calls)} marketing messages reached one person"
        acknowledged = facts.acknowledged_at(facts.history.stops.get(place[1]))
        if acknowledged is None:
            continue
        for call in calls:
            if call["at"] > acknowledged + _OPT_OUT_GRACE_MS:
                late = call["at"] - acknowledged
                yield f"I5: a marketing request (log entry {call['n']}) {late} ms after the 200 to an opt-out"


def _opted_out(facts: _Facts) -> Iterator[str]:
    """Who said STOP and was answered 200 stands in the ledger with it."""
    withdrawn = {row.identity_id for row in facts.rows["consent"] if row.action == "withdrawn"}
    left = {row.address for row in facts.rows["identity"] if row.id in withdrawn}
    for address, update in facts.history.stops.items():
        if address not in left and facts.acknowledged_at(update) is not None:
            yield f"I5: the opt-out of update {update} was answered 200 and is not in the ledger"


def _marketing_calls(facts: _Facts, marketing: Sequence[Any]) -> dict[tuple[int, str], list[Json]]:
    """Executed requests by person that say what a marketing message with a known id says."""
    known = {(m.channel_id, facts.address(m), m.external_id) for m in marketing if m.external_id}
    texts = {
        _said(call)
        for call in facts.calls
        if (facts.channels[call["network"]], _address(call), str(call["result_id"])) in known
    }
    found: dict[tuple[int, str], list[Json]] = defaultdict(list)
    for call in facts.calls:
        if _said(call) in texts:
            found[(facts.channels[call["network"]], _address(call))].append(call)
    return found


def _said(call: Json) -> str:
    """A request's content without whom it is for."""
    told = {key: value for key, value in dict(call["params"]).items() if key not in _PERSONAL}
    return msgspec.json.encode(told, order="deterministic").decode()


def _counts(facts: _Facts) -> dict[str, int]:
    outcomes = Counter(_OUTCOMES[row.state] for row in facts.rows["recipient"])
    return {
        "deliveries answered 200": len(facts.acknowledged),
        "events": len(facts.rows["intake"]),
        "turns": len(facts.rows["turn"]),
        "replies": sum(1 for m in facts.outgoing if m.message_class == "reply"),
        "requests executed": len(facts.calls),
        "possibly twice": sum(m.possibly_twice for m in facts.outgoing),
        **{f"campaign {name}": outcomes[name] for name in ("sent", "failed", "skipped", "unknown")},
        "posts unknown": sum(1 for row in facts.rows["post"] if row.state == "unknown"),
    }
