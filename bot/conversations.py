"""The worker: takes open events of the slots it owns, in order, and writes everything they cause in one transaction.

Theory of operation. Lanes (ranges of slots) are leased. One round:

  claim   a short transaction raises `attempts` of up to 64 open events, at most 8 of a conversation, fair between
          workspaces; it need not survive a power cut, only a crash of ours
  handle  one transaction: locks its lease rows by fence (a takeover waits), loads people, conversations, sessions and
          contacts in bulk (`loading.py`), runs handlers and the pure engine, writes all rows, closes the events
  hand    after the commit: queued heads and ephemerals go to the sender in this process

Where one process writes alone (SQLite) a busy round's transaction claims the next one too: a commit less for each.

An event that was tried before runs alone, after 1, 5, 30, 120 seconds, and then parks; while it waits only its own
conversation waits, and once it is parked that conversation goes on. An exception in one conversation takes back what
that event had gathered and leaves the others of the round alone. Versions of conversations and sessions are checked
by the write; a mismatch (somebody changed the row outside intake) sends the whole round back. What was read ahead of
the transaction is certain in the same way; the round after one that was sent back locks first and reads then.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field

import structlog
from sqlalchemy import Connection
from sqlalchemy.exc import InterfaceError, OperationalError

from bot import batch as batches
from bot import claiming, handlers, holding, lanes, loading, outbox
from bot.ahead import Ahead
from bot.batch import Batch, ConversationRow, HandedEphemeral, VersionConflict
from bot.channel_store import ChannelStore
from bot.claiming import HELD, POSTPONED, Claimed, Claimer, problem_of
from bot.flow_store import FlowStore
from bot.lanes import Lanes
from bot.loading import LoadedEvent, Views
from bot.runtime import Runtime, lane_of
from bot.scope import Scope
from bot.sender import Sender
from bot.turns import SeenBusiness
from domain.contacts import ContactView
from domain.crash import crash_point
from domain.errors import Conflict, Unavailable
from domain.events import MessageReceived, OwnEvent
from storage.database import Queue
from storage.signals import POLL_S, until_look

BUSY = 8  # events of a round from which on the next one is claimed with it
SUSPECTS = (
    1_000  # events remembered over which the store failed; an outage has at most a round of them in front
)

_log = structlog.get_logger("worker")


@dataclass
class Handled:
    """What a round did, for after its commit."""

    heads: list[outbox.Item] = field(default_factory=list)
    ephemerals: list[HandedEphemeral] = field(default_factory=list)
    wakes: frozenset[str] = frozenset()
    done: int = 0
    failed: int = 0
    businesses: list[SeenBusiness] = field(default_factory=list)
    following: list[Claimed] = field(default_factory=list)  # claimed for the next round


class Worker:
    """The worker of one process."""

    def __init__(self, runtime: Runtime, channels: ChannelStore, flows: FlowStore, sender: Sender) -> None:
        self._runtime = runtime
        self._channels = channels
        self._flows = flows
        self._sender = sender
        self._claimer = Claimer()
        self.lanes = Lanes(runtime)
        self._stopping = False
        self._more = True  # whether the last look left something behind
        self._contested = False  # whether something did not hold: then the next round locks before it reads
        self._rounds_done = 0
        self._owed: Sequence[Claimed] = ()  # attempts to be given back with the next claim
        self._following: list[Claimed] = []  # claimed with the last round
        self._failed_after: dict[int, int] = {}  # by event that the store failed over: rounds done by then
        self.handled = 0

    @property
    def parked(self) -> int:
        """How many events this process gave up."""
        return self._claimer.parked

    async def run(self) -> None:
        """Works until cancelled or stopped; then others may have the lanes at once."""
        handlers.registry()
        async with asyncio.TaskGroup() as group:
            owning = group.create_task(self.lanes.run(), name="lanes")
            await self._rounds()
            owning.cancel()
        await self.lanes.release()

    async def _rounds(self) -> None:
        while not self._stopping or self._following:
            try:
                busy = await self.round() and (self._more or bool(self._following))
            except (Unavailable, Conflict) as error:
                if self._stopping:
                    return
                _log.warning("worker_waits", problem=str(error))
                await self._runtime.signals.wait("intake", POLL_S)
                continue
            if not busy and not self._stopping:
                await self._runtime.signals.wait("intake", until_look())

    async def stop(self) -> None:
        """Starts no further round."""
        self._stopping = True
        self._runtime.signals.notify("intake")

    async def round(self) -> bool:
        """One round; false when there was nothing to do."""
        with self.lanes.in_use() as fences:
            if not fences:
                self._following = []  # whoever has the lanes now finds them as tried before
                return False
            return await self._round(fences)

    async def _round(self, fences: Mapping[str, int]) -> bool:
        runtime = self._runtime
        claimed, self._following = self._following, []

        def claim(connection: Connection) -> list[Claimed]:
            claimed[:] = self.claim(connection, fences)
            return claimed

        def handle(connection: Connection, found: list[Claimed], *, few: bool = False) -> Handled:
            self._owed = ()  # given back with the claim, which is committed
            crash_point("worker.after_claim")
            handled = self._handle(connection, found, fences, few=few)
            alone = not runtime.database.dialect.for_update
            if alone and len(found) >= BUSY and not self._stopping:
                handled.following = self.claim(connection, fences)
            return handled

        try:
            handled = await self._claimed_and_handled(fences, claimed, claim, handle)
        except Unavailable as error:
            if claimed:
                await self._store_failed(claimed, error)
            raise
        except VersionConflict:
            self._more = self._contested = True
            await runtime.database.write(
                lambda c: claiming.reopen(c, self._still_mine(c, claimed, fences)),
                queue=Queue.live,
                durable=False,
            )
            return True
        except Exception as error:
            if not claimed:
                raise
            self._more = True
            await self._failed_as_a_whole(claimed, error)
            return True
        if handled is None:
            self._owed = ()
            return False
        crash_point("worker.after_commit")
        self._contested = False
        self._rounds_done += 1
        self._following = handled.following
        self._hand(handled)
        return True

    async def _claimed_and_handled(
        self,
        fences: Mapping[str, int],
        claimed: list[Claimed],
        claim: Callable[[Connection], list[Claimed]],
        handle: Callable[..., Handled],
    ) -> Handled | None:
        """Both transactions of a round. Where each statement is a way to a server and back, a few fresh events are
        claimed by a single one, and handled by as few as can be."""
        database = self._runtime.database
        if claimed:
            return await database.write(lambda c: handle(c, claimed), queue=Queue.live)
        if not database.dialect.for_update or self._owed or self._contested:
            return await database.write_then(claim, handle)
        numbers, now = lanes.numbers(fences), self._runtime.clock()
        few = await database.write(
            lambda c: self._claimer.claim_few(c, numbers, now), queue=Queue.live, durable=False, single=True
        )
        if few is None:
            return await database.write_then(claim, handle)
        claimed[:], self._more = few, False
        if not few:
            return None
        return await database.write(lambda c: handle(c, few, few=True), queue=Queue.live)

    async def _store_failed(self, claimed: Sequence[Claimed], error: Unavailable) -> None:
        """The store went away in the middle. That is nobody's fault: an attempt is given back with the next claim, or a
        long outage would park what stands in front. Of an event that was alone it is one when others were handled
        since it last failed in this way: then it is the event that the store cannot bear."""
        if len(claimed) > 1:
            return  # their attempts are raised: each runs alone from now on
        event = claimed[0].id
        failed_after = self._failed_after.pop(event, self._rounds_done)
        if len(self._failed_after) < SUSPECTS:
            self._failed_after[event] = self._rounds_done
        if failed_after == self._rounds_done:
            self._owed = claimed
        else:
            await self._failed_as_a_whole(claimed, error)

    async def _failed_as_a_whole(self, claimed: Sequence[Claimed], error: Exception) -> None:
        """A round of several goes back, each to run alone; an event that was alone has its failure counted."""
        if isinstance(error, Conflict):  # a deadlock, or somebody was first: usual where many write
            _log.warning("round_failed", events=len(claimed), problem=str(error))
        else:
            _log.error("round_failed", events=len(claimed), problem=type(error).__name__, exc_info=error)
        if len(claimed) > 1:
            return  # their attempts are raised: each runs alone from now on
        now = self._runtime.clock()
        problem = {claimed[0].id: problem_of(error)}
        await self._runtime.database.write(
            lambda c: self._claimer.set_back(c, claimed, problem, now), queue=Queue.live, durable=True
        )

    def claim(self, connection: Connection, fences: Mapping[str, int]) -> list[Claimed]:
        """The events of the next round, of these lanes."""
        # After a moment, or the oldest of them would be tried again and again before all others.
        again_at = self._runtime.clock() + claiming.RETRY_MS[0]
        claiming.reopen(connection, self._owed, not_before=again_at)
        found = self._claimer.claim(connection, lanes.numbers(fences), self._runtime.clock())
        self._more = self._claimer.more
        return found

    def _hand(self, handled: Handled) -> None:
        """What the round did is committed: others hear of it."""
        self.handled += handled.done
        self._flows.kept.update((one.workspace_id, one.digest) for one in handled.businesses)
        self._sender.offer(handled.heads)
        for one in handled.ephemerals:
            self._sender.offer_ephemeral(*one)
        for topic in handled.wakes:
            self._runtime.signals.notify(topic)
        if handled.heads:
            self._runtime.signals.notify("live")

    # --- handle

    def _handle(
        self,
        connection: Connection,
        claimed: Sequence[Claimed],
        fences: Mapping[str, int],
        *,
        few: bool = False,
    ) -> Handled:
        runtime = self._runtime
        now = runtime.clock()
        batch = Batch()
        loaded, problems = loading.opened(claimed, self._channels, runtime.sealer)
        ahead = self._ahead(loaded, claimed, fences) if few else None
        mine = claimed
        if ahead is not None:
            connection = ahead.connection(connection)
        else:
            mine = self._still_mine(connection, claimed, fences)
            left = {row.id for row in mine}
            loaded = [one for one in loaded if one.row.id in left]
        views = loading.load(
            connection, loaded, batch, runtime=runtime, flows=self._flows, now=now, ahead=ahead
        )
        unread = {(row.channel_id, row.intake_key): row.id for row in reversed(mine) if row.id in problems}
        self._run(connection, loaded, batch, views, problems, unread, now)
        crash_point("worker.before_commit")
        done = [row.id for row in mine if row.id not in problems]
        heads = batches.flush(
            connection,
            batch,
            sealer=runtime.sealer,
            new_id=runtime.new_id,
            now=now,
            handled=done,
            ahead=ahead,
            last=not problems,
        )
        failed = {i for i in problems if problems[i] not in (POSTPONED, HELD)}
        self._claimer.set_back(connection, mine, problems, now)
        return Handled(
            heads, batch.ephemerals, frozenset(batch.wakes), len(done), len(failed), batch.businesses
        )

    def _still_mine(
        self, connection: Connection, claimed: Sequence[Claimed], fences: Mapping[str, int]
    ) -> Sequence[Claimed]:
        lost = self.lanes.hold(connection, {lane_of(row.slot) for row in claimed}, fences)
        if not lost:
            return claimed
        return [row for row in claimed if lane_of(row.slot) not in lost]

    def _ahead(
        self, loaded: Sequence[LoadedEvent], claimed: Sequence[Claimed], fences: Mapping[str, int]
    ) -> Ahead | None:
        """What takes in all that the round reads at once; None where others than people who wrote are in it: their
        events may change what is read."""
        if not all(isinstance(one.event, MessageReceived) for one in loaded):
            return None
        lanes_of_it = {lane_of(row.slot) for row in claimed}
        return Ahead({lane: fences.get(lane, -1) for lane in sorted(lanes_of_it)})

    def _run(
        self,
        connection: Connection,
        loaded: Sequence[LoadedEvent],
        batch: Batch,
        views: Views,
        problems: dict[int, str],
        stuck: dict[tuple[int, str], int],
        now: int,
    ) -> None:
        """Runs the events in their order. `stuck`: conversations, and the failed event at which each stops."""
        held: dict[tuple[int, str], list[int]] = {}  # what this round has found to be held, by conversation
        for one in loaded:
            key = (one.row.channel_id, one.row.intake_key)
            if stuck.get(key, one.row.id) < one.row.id:
                # The one before it failed: it keeps its place and loses no attempt.
                problems[one.row.id] = POSTPONED
                continue
            waited = holding.waits(batch, one.conversation)
            if holding.stays_behind(connection, one.event, key, waited=waited, others=key in held):
                problems[one.row.id] = HELD
                held.setdefault(key, []).append(one.row.id)
                continue
            session = None if one.conversation is None else batch.sessions.get(one.conversation.session_id)
            mark = batches.mark(batch, one.conversation, session)
            try:
                self._run_one(connection, one, batch, views, now)
                if waited and not holding.waits(batch, one.conversation):
                    # What was held comes before what came after it: the rest of the round waits for the next one.
                    batch.after.append(holding.let_go(key))
                    problems.update(dict.fromkeys(held.pop(key, ()), POSTPONED))
                    self._more, stuck[key] = True, one.row.id
            except (OperationalError, InterfaceError, VersionConflict):
                raise  # the store's trouble, not the event's: see `_store_failed`; or somebody was first
            except Exception as error:
                _log.error("event_failed", event_id=one.row.id, problem=type(error).__name__, exc_info=error)
                batches.take_back(batch, mark)
                self._reload(loaded, batch, mark)
                problems[one.row.id] = problem_of(error)
                stuck[key] = one.row.id

    def _reload(self, loaded: Sequence[LoadedEvent], batch: Batch, mark: batches.Mark) -> None:
        """After a take-back the conversation is another object: those behind it must see that one."""
        if mark.conversation is None:
            return
        for one in loaded:
            if one.conversation is not None and one.conversation.id == mark.conversation.id:
                one.conversation = batch.conversations[mark.conversation.id]

    def _run_one(
        self,
        connection: Connection,
        one: LoadedEvent,
        batch: Batch,
        views: Views,
        now: int,
    ) -> None:
        row, conversation, runtime = one.row, one.conversation, self._runtime
        scope = Scope(
            runtime=runtime,
            connection=connection,
            batch=batch,
            channel=one.channel,
            business=self._flows.business(row.workspace_id),
            event_id=row.id,
            event=one.event,
            slot=row.slot,
            intake_key=row.intake_key,
            received_at=row.received_at,
            now=now,
            turn_id=runtime.new_id(),
            identity=one.identity,
        )
        if conversation is not None:
            scope.conversation = conversation
            scope.session = batch.sessions.get(conversation.session_id)
            scope.contact = views.get((conversation.contact_id, conversation.identity_id)) or ContactView(
                id=conversation.contact_id
            )
            _touch(conversation, one)
        handlers.registry()[type(one.event)](scope, self._flows, one.event)
        if conversation is not None and scope.contact is not None:
            views[(conversation.contact_id, conversation.identity_id)] = scope.contact


def _touch(conversation: ConversationRow, one: LoadedEvent) -> None:
    """Where this event came from is where answers go, and what events of our own will be ordered with."""
    event = one.event
    if isinstance(event, OwnEvent):
        return
    address, topic, place = conversation.address, conversation.topic, conversation.place
    if isinstance(event, MessageReceived):
        address, topic, place = event.origin.address, event.origin.topic, event.origin.place.value
    elif not address and one.identity is not None:
        address = one.identity.address
    before = (conversation.address, conversation.topic, conversation.intake_key, conversation.slot)
    conversation.address, conversation.topic, conversation.place = address, topic, place
    conversation.intake_key, conversation.slot = one.row.intake_key, one.row.slot
    if before != (address, topic, one.row.intake_key, one.row.slot):
        conversation.changed = True
