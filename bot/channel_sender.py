"""One channel's sending: takes what is due in its outbox, one attempt each, and hands over the result.

Theory of operation. `claimed` is this memory and nothing else, so after a crash items simply are queued. Pacing
releases slices of at most 50 items; one transaction asks `may_send` for each under the person's consent row and marks
those allowed `sending` with a new attempt number (fsynced when marketing is among them); only then are bytes written.
Only `sending` can become unknown. Ephemerals (typing, answers to taps) go first, are not recorded, and are dropped
after 10 s.
"""

from __future__ import annotations

import asyncio
import heapq
from collections.abc import Coroutine, Sequence
from contextlib import suppress
from typing import NamedTuple

import structlog
from sqlalchemy import Connection

from bot import media, outbox, settling
from bot.channel_store import ConnectedChannel
from bot.channels.base import ApiCall, Client, Ordering, Receipt, media_ids, with_platform_ids
from bot.outbox import Item
from bot.pacing import SLICE_S, Pacing
from bot.results import Results
from bot.runtime import Runtime
from bot.settling import Result, Settled
from crm import gate
from domain.crash import crash_point
from domain.errors import Conflict, SendError, SendFailure, Unavailable
from domain.messages import Album, Ephemeral, Media, MessageClass, Template, Text, decode_content
from storage import leases
from storage.database import Queue
from storage.signals import POLL_S, until_look
from storage.statements import apart

SLICE = 50  # items marked in one transaction: bounds what one crash can leave unknown
IN_FLIGHT = 200  # requests at a time and channel: 1,000/s at 200 ms each
FEW = 20  # results that are settled together with the mark of an answer
READY = 1_000  # items in memory per channel; the table holds the rest
FORGOTTEN_S = 4.0  # between looks for rows that the store has forgotten to be settled
EPHEMERAL_LIFE_S = 10.0
EPHEMERAL_LIMIT = 500
LEAST_PAUSE_S = 0.005  # what waits for a token is not looked at more often
BACK_OFF_S = (1.0, 2.0, 5.0, 10.0, 30.0, 60.0)
DRAIN_S = 20.0  # how long a stop waits for requests on the wire
# A process that was frozen between mark and bytes asks the gate again: by then somebody may have opted out (I5), or a
# new owner of the channel may have settled the item as unknown (a lease is 30 s).
MARKETING_MARK_MS = 2_000
MARK_MS = 15_000
_CLASSES = {each.value: each for each in MessageClass}
MARKETING_LANE = outbox.LANE[MessageClass.marketing]

_log = structlog.get_logger("sender")


class _Ephemeral(NamedTuple):
    call: ApiCall
    until: float


class ChannelSender:
    """One channel's memory, pacing and requests."""

    def __init__(
        self,
        results: Results,
        runtime: Runtime,
        channel: ConnectedChannel,
        client: Client,
        files: media.MediaStore,
        recent: Sequence[tuple[str, int]],
        lease: tuple[str, int],
    ) -> None:
        """`recent`: (address, lane) of what left in the last minute, by whoever owned the channel then. `lease`: the
        channel's, by name and fence; nothing is sent by a sender that has lost it."""
        self._results = results
        self._runtime = runtime
        self._channel = channel
        self._client = client
        self._files = files
        self.lease = lease
        capabilities = channel.capabilities
        self._ordered = capabilities.ordering is Ordering.delivered
        self._capabilities = capabilities
        now = runtime.monotonic()
        self._pacing = Pacing(capabilities.pace, now, fresh=not recent)
        for address, lane in recent:
            self._pacing.remember(address, channel.kind.rate_scope(address), lane, now)
        self._ready: dict[int, Item] = {}
        self._lines: tuple[list[int], ...] = (
            [],
            [],
            [],
        )  # the ids of these by lane, each a heap: the oldest first
        self.busy: set[int] = set()  # marked or on the wire, not yet settled
        self._doubtful: set[int] = set()  # of these: perhaps marked, surely not sent
        self._ephemerals: list[_Ephemeral] = []
        self._in_flight: set[asyncio.Task[None]] = set()
        self._wake = asyncio.Event()
        self._all_settled = asyncio.Event()  # looked at when stopping
        self._look_at = 0.0  # monotonic time of the next look into the table
        self._more = False  # the last look did not see everything that was due
        self._newest = 0  # the youngest bulk that was ever here
        self._bulk_at = 0.0  # monotonic time of the next slice of bulk
        self._check_at = now + FORGOTTEN_S  # monotonic time of the next look for what the store has forgotten
        self._forgotten: set[tuple[int, int]] = set()  # (item, attempt) that looked like it once
        self._stopping = False
        self._task: asyncio.Task[None] | None = None

    def start(self) -> None:
        """Begins to work."""
        self._task = asyncio.create_task(self._run(), name=f"channel-{self._channel.id}")

    def refresh(self, channel: ConnectedChannel, client: Client) -> None:
        """The channel's settings may have changed."""
        if channel is not self._channel:
            self._channel, self._client = channel, client
            self._capabilities = channel.capabilities

    def offer(self, item: Item) -> None:
        """An item that is queued; known ones are ignored. Answers find room when bulk has filled the memory."""
        room = READY if item.lane else 2 * READY
        if item.id not in self.busy and len(self._ready) < room:
            if item.id not in self._ready:
                heapq.heappush(self._lines[item.lane], item.id)
            self._ready[item.id] = item
            if item.lane == MARKETING_LANE and item.id > self._newest:
                self._newest = item.id
            self._wake.set()

    def offer_ephemeral(self, ephemeral: Ephemeral, address: str, topic: str | None) -> None:
        """First in line, for 10 seconds."""
        call = self._channel.kind.render_ephemeral(ephemeral, address=address, topic=topic)
        if call is not None and len(self._ephemerals) < EPHEMERAL_LIMIT:
            self._ephemerals.append(_Ephemeral(call, self._runtime.monotonic() + EPHEMERAL_LIFE_S))
            self._wake.set()

    def look(self) -> None:
        """Something may have been queued by others."""
        self._look_at = 0.0
        self._wake.set()

    def forget(self, settled: set[int]) -> None:
        """The results of these items, if they are ours, are recorded."""
        self.busy -= settled
        if not self.busy:
            self._all_settled.set()

    async def stop(self) -> None:
        """Starts nothing more and waits, 20 s at most, until what is on the wire has landed and is settled."""
        await self.let_go()
        if self._doubtful:
            with suppress(Unavailable, Conflict):
                await self._take_back()
            self.busy.difference_update(self._doubtful)  # what is left in doubt is for the next owner
        with suppress(TimeoutError):
            async with asyncio.timeout(DRAIN_S):
                if self._in_flight:
                    await asyncio.wait(self._in_flight)
                while self.busy:
                    self._all_settled.clear()
                    await self._all_settled.wait()

    async def let_go(self) -> None:
        """Stops claiming at once."""
        self._stopping = True
        self._wake.set()
        self._ready.clear()
        for waiting in self._lines:
            waiting.clear()
        if self._task is not None:
            await self._task

    async def _run(self) -> None:
        while not self._stopping:
            try:
                await self._turn()
            except (Unavailable, Conflict) as error:
                _log.warning("channel_waits", channel=self._channel.id, problem=str(error))
                self._look_at = 0.0
                await self._pause(POLL_S)

    async def _turn(self) -> None:
        self._start_ephemerals()
        if self._doubtful:
            await self._take_back()
        now = self._runtime.monotonic()
        if now >= self._check_at:
            self._check_at = now + FORGOTTEN_S
            await self._find_forgotten()
        # A campaign is a thousand a second: what a look left behind must not wait for the next signal.
        if now >= self._look_at or (self._more and len(self._ready) < SLICE):
            await self._look()
        slice_ = self._select()
        if slice_:
            await self._send(slice_)
            return
        await self._pause(self._idle_s())

    async def _pause(self, seconds: float) -> None:
        with suppress(TimeoutError):
            async with asyncio.timeout(max(seconds, 0.001)):
                await self._wake.wait()
        self._wake.clear()

    def _start_ephemerals(self) -> None:
        now = self._runtime.monotonic()
        waiting, self._ephemerals = self._ephemerals, []
        for one in waiting:
            if one.until > now:
                self._start(self._send_ephemeral(one.call))

    async def _look(self) -> None:
        """Reads due items; what is here already stays as it is. Between two looks only the bulk behind what is here is
        read: what was put back meanwhile is seen by the next look."""
        now, after = self._runtime.monotonic(), 0
        wanted = SLICE * 4
        if now < self._look_at:
            after = self._newest
        else:
            self._look_at = now + until_look()
            wanted += len(self._ready) + len(self.busy)
        if len(self._ready) >= READY:  # only answers find room, and they stand first
            wanted = len(self.busy) + SLICE
        clock, channel_id = self._runtime.clock(), self._channel.id
        # Bulk that is here stays as it was read or offered; what an answer waits for may have come meanwhile.
        known = frozenset(self._lines[MARKETING_LANE])

        def read(connection: Connection) -> tuple[list[Item], bool]:
            if known and not after:
                return outbox.due_besides(connection, channel_id, now=clock, limit=wanted, known=known)
            found = outbox.due(connection, channel_id, now=clock, limit=wanted, after=after)
            return found, len(found) == wanted

        found, self._more = await self._runtime.database.read(read)
        for item in found:
            self.offer(item)

    def _select(self) -> list[Item]:
        """A slice of what pacing lets go now: replies first, in order of age."""
        room = min(SLICE, IN_FLIGHT - len(self._in_flight))
        if room <= 0 or not self._ready:
            return []
        now, clock = self._runtime.monotonic(), self._runtime.clock()
        chosen: list[Item] = []
        for lane, waiting in enumerate(self._lines):
            if lane == MARKETING_LANE and now < self._bulk_at:
                break
            aside: list[int] = []
            while waiting and len(chosen) < room and self._pacing.open(lane, now):
                number = heapq.heappop(waiting)
                item = self._ready.get(number)
                if item is None:  # offered twice, and gone
                    continue
                scope = self._channel.kind.rate_scope(item.address)
                if item.not_before <= clock and self._pacing.release(item.address, scope, lane, now):
                    del self._ready[number]
                    chosen.append(item)
                else:
                    aside.append(number)
            for number in aside:
                heapq.heappush(waiting, number)
        if chosen and chosen[-1].lane == MARKETING_LANE:
            self._bulk_at = (
                now // SLICE_S + 1
            ) * SLICE_S  # all channels at the same moments: they share commits
        self.busy.update(item.id for item in chosen)
        return chosen

    def _idle_s(self) -> float:
        """How long nothing can be released."""
        if len(self._in_flight) >= IN_FLIGHT:
            return POLL_S  # a finished request wakes us
        now, clock = self._runtime.monotonic(), self._runtime.clock()
        waits = [max(0.0, self._look_at - now)]
        slice_in = self._bulk_at - now
        if slice_in > 0 and self._lines[MARKETING_LANE]:  # before that none of the bulk has to be asked about
            waits.append(max(slice_in, LEAST_PAUSE_S))
        for item in list(self._ready.values())[:SLICE]:
            if slice_in > 0 and item.lane == MARKETING_LANE:
                continue
            scope = self._channel.kind.rate_scope(item.address)
            due_in = max(0.0, (item.not_before - clock) / 1000)
            pause = self._pacing.pause_s(item.address, scope, item.lane, now)
            waits.append(max(due_in, pause, LEAST_PAUSE_S))
        return min(waits)

    async def _send(self, slice_: list[Item]) -> None:
        marketing = any(item.lane == MARKETING_LANE for item in slice_)
        crash_point("sender.before_mark")
        marked_at = self._runtime.clock()
        # One commit for both; an answer does not wait for many results of bulk.
        results = self._results.take(None if marketing else FEW)

        def write(connection: Connection) -> tuple[dict[int, int], Settled]:
            marked = self._mark(connection, slice_, more=bool(results))
            return marked, self._results.write(connection, results)

        try:
            allowed, settled = await self._runtime.database.write(write, queue=Queue.live, durable=marketing)
        except Conflict:
            self._results.put_back(results)
            self.busy.difference_update(item.id for item in slice_)
            raise
        except BaseException as error:
            # The marks may stand though their commit's word got lost. They stay busy until that is known.
            self._results.put_back(results)
            self._doubtful.update(item.id for item in slice_)
            if results and isinstance(
                error, Exception
            ):  # perhaps a result's: the next time the slice goes alone
                raise Unavailable("the slice and its results could not be written") from error
            raise
        self._results.written(results, settled)
        if allowed:
            crash_point("sender.after_mark")
        for item in slice_:
            attempt = allowed.get(item.id)
            if attempt is None:  # refused or postponed: what that released stands in the table
                self.busy.discard(item.id)
                self._look_at = 0.0
            elif (known := self._results.known(item.id, attempt)) is not None:
                # This very attempt was made a moment ago: a server that crashed has forgotten its mark.
                self._results.record(known)
            else:
                self._start(self._attempt(item, attempt, marked_at))

    async def _take_back(self) -> None:
        """Marks of which nobody knows whether they were committed: not a byte of them has left, so they are queued
        again, unless the channel has passed to another sender, who must believe that they were on the wire."""
        doubtful = list(self._doubtful)

        def take_back(connection: Connection) -> None:
            if not leases.hold(connection, dict([self.lease])):
                outbox.unmark(connection, doubtful)

        await self._runtime.database.write(take_back, queue=Queue.live, durable=False)
        self._doubtful.difference_update(doubtful)
        self.busy.difference_update(doubtful)
        self._look_at = 0.0

    async def _find_forgotten(self) -> None:
        """Rows that say `sending` while nothing of them is in hand here: a server that crashed has forgotten its last
        moment, and with it results that it had taken (they are not fsynced). They are recorded once more. Only what two
        looks have seen is believed: one alone may be older than a result's commit."""
        found = await self._runtime.database.read(lambda c: outbox.orphans(c, self._channel.id))
        left = {(item.id, item.attempt): item for item in found if item.id not in self.busy}
        for key, item in left.items():
            if key in self._forgotten:
                self.busy.add(item.id)
                self._results.record(self._results.known(*key) or left_unknown(item, self._runtime.clock()))
        self._forgotten = set(left)

    def _mark(self, connection: Connection, slice_: list[Item], *, more: bool = False) -> dict[int, int]:
        """Within one transaction: the gate's word for each, then `sending` for those that may go. `more` is to be
        written in it."""
        runtime = self._runtime
        now = runtime.clock()
        asked = [
            gate.Asked(
                id=item.id,
                workspace_id=item.workspace_id,
                channel_id=item.channel_id,
                identity_id=item.identity_id,
                contact_id=item.contact_id,
                campaign_id=item.campaign_id,
                message_class=_CLASSES[item.message_class],
                purpose=item.purpose,
                template=(template := is_template(item.content)),
                template_category=_category(item.content) if template else "",
                window_hours=self._capabilities.window_hours,
            )
            for item in slice_
        ]
        # Nothing is locked for what is no marketing: facts and mark need no transaction around them.
        marketing = any(one.is_marketing for one in asked)
        facts = gate.load_facts(connection if marketing else apart(connection), asked, now=now, lock=True)
        go: list[int] = []
        later: dict[int, int] = {}
        refused: list[Result] = []
        consents: dict[int, int] = {}
        for item in slice_:
            if item.expires_at is not None and item.expires_at <= now:
                refused.append(_refusal(item, "expired", "expired", now))
                continue
            decision = gate.may_send(facts[item.id], now=now)
            match decision:
                case gate.Allow(consent_id=consent_id):
                    go.append(item.id)
                    if consent_id:
                        consents[item.id] = consent_id
                case gate.Later(at=at):
                    later[item.id] = at
                case gate.Deny(reason=reason):
                    refused.append(_refusal(item, "skipped", reason.value, now))
        # With more to write it is all or nothing: a mark alone that stands would be taken for one that does not.
        marking = connection if marketing or later or refused or more else apart(connection)
        marked = (
            outbox.mark(marking, go, now=now, lease=self.lease, hurried=not marketing, consents=consents)
            if go
            else {}
        )
        if go and not marked and leases.hold(marking, dict([self.lease])):
            raise Conflict("the channel has another sender by now")
        spent = [
            item for item in slice_ if item.lane == MARKETING_LANE and item.id in marked and item.identity_id
        ]
        if spent:
            gate.spend(connection, [facts[item.id] for item in spent], now=now)
        if later:
            outbox.postpone(connection, later)
        if refused:
            settling.settle(connection, refused, new_id=runtime.new_id, now=now)
        return marked

    def _start(self, work: Coroutine[object, object, None]) -> None:
        task = asyncio.create_task(work)
        self._in_flight.add(task)
        task.add_done_callback(self._landed)

    def _landed(self, task: asyncio.Task[None]) -> None:
        was_full = len(self._in_flight) >= IN_FLIGHT
        self._in_flight.discard(task)
        if was_full:
            self._wake.set()
        if not task.cancelled() and (error := task.exception()) is not None:
            _log.error(
                "send_task_failed", channel=self._channel.id, problem=type(error).__name__, exc_info=error
            )

    async def _send_ephemeral(self, call: ApiCall) -> None:
        with suppress(SendError):  # it helps now or not at all
            await self._client.send(call)

    async def _attempt(self, item: Item, attempt: int, marked_at: int) -> None:
        now = self._runtime.clock
        try:
            if now() - marked_at > (MARKETING_MARK_MS if item.lane == MARKETING_LANE else MARK_MS):
                raise SendError(
                    SendFailure.not_connected, "marked too long ago", retryable=True, retry_after=0
                )
            receipts, part = await self._write(item)
        except _Stopped as stopped:
            result = self._result_of(item, attempt, stopped.error, stopped.part)
        except SendError as error:
            result = self._result_of(item, attempt, error, item.part)
        except Exception as error:
            # A fault of ours between mark and answer: the bytes may have left, so nobody knows.
            _log.error("attempt_failed", message=item.id, problem=type(error).__name__, exc_info=error)
            result = Result(
                id=item.id, attempt=attempt, state="unknown", at=now(), reason=SendFailure.unknown
            )
        else:
            external = next((r.external_id for r in receipts if r.external_id), "")
            ordered = self._ordered and item.turn_id != 0 and _has_media(item.content)
            result = Result(
                id=item.id,
                attempt=attempt,
                state="sent",
                at=now(),
                external_id=external,
                part=part,
                ordered=ordered,
                item=item,
            )
            if self._capabilities.receipts:
                result.channel_id = item.channel_id
        crash_point("sender.after_write")
        self._results.record(result, bulk=item.lane == MARKETING_LANE)

    async def _write(self, item: Item) -> tuple[list[Receipt], int]:
        """All calls of a message, from the part that is still to do."""
        content = decode_content(item.content)
        cached: dict[int, str] = {}
        if type(content) is not Text and (needed := media_ids(content)):
            cached = await self._files.known(self._channel.id, needed)
            content = with_platform_ids(content, cached)
        calls = self._channel.kind.render(
            content,
            address=item.address,
            topic=item.topic,
            own_id=item.id,
            language=item.language or "en",
            capabilities=self._capabilities,
        )
        receipts: list[Receipt] = []
        for part, call in enumerate(calls):
            if part < item.part:
                continue
            files = await self._files.load(item.workspace_id, call.needs_media) if call.needs_media else {}
            try:
                receipt = await self._client.send(call, files) if files else await self._client.send(call)
            except SendError as error:
                if cached and error.reason is SendFailure.media_invalid and item.tries == 0:
                    # The platform no longer knows a file that it once gave an id: uploaded anew at the next try.
                    await self._files.forget(self._channel.id, cached)
                    error.retryable, error.retry_after, error.scope = True, 0.0, "message"
                raise _Stopped(error, part) from error
            receipts.append(receipt)
            if receipt.uploaded:
                await self._files.remember(item.workspace_id, self._channel.id, receipt.uploaded)
        return receipts, len(calls)

    def _result_of(self, item: Item, attempt: int, error: SendError, part: int) -> Result:
        now = self._runtime.clock()
        reason = error.reason
        base = Result(
            id=item.id,
            attempt=attempt,
            state="failed",
            at=now,
            reason=reason,
            code=error.code,
            part=part,
            workspace_id=item.workspace_id,
            channel_id=item.channel_id,
            contact_id=item.contact_id,
            identity_id=item.identity_id,
            new_address=error.new_address or "",
        )
        if reason is SendFailure.unknown:
            base.state = "unknown"
            base.retry_at = now + 2_000
        elif reason is SendFailure.moved and error.new_address:
            base.state, base.retry_at, base.counts_as_try = "retry", now, True
        elif reason in (SendFailure.auth, SendFailure.sender_limit):
            base.state, base.retry_at, base.counts_as_try = "retry", now + 60_000, False
        elif error.retryable:
            wait = self._wait_s(item, error)
            base.state, base.retry_at = "retry", now + int(wait * 1000)
            base.counts_as_try = reason not in (SendFailure.rate_limited, SendFailure.not_connected)
            if error.scope in ("channel", "address"):
                self._pacing.stop(error.scope, item.address, item.lane, wait, self._runtime.monotonic())
        elif reason in _PERSON_GONE:
            base.rest = "skip"
        _log.info(
            "message_not_sent",
            channel=self._channel.id,
            message=item.id,
            attempt=attempt,
            reason=str(reason),
            code=error.code,
        )
        return base

    def _wait_s(self, item: Item, error: SendError) -> float:
        tries = item.tries + item.waits
        if error.retry_after is not None:
            return error.retry_after * error.growth**tries + self._runtime.random() * 0.25
        return BACK_OFF_S[min(tries, len(BACK_OFF_S) - 1)] * (1 + self._runtime.random() * 0.2)


_PERSON_GONE = {
    SendFailure.unreachable,
    SendFailure.blocked_by_contact,
    SendFailure.opted_out,
    SendFailure.capped,
    SendFailure.window_closed,
}


class _Stopped(Exception):
    """A message of several calls stopped at one of them."""

    def __init__(self, error: SendError, part: int) -> None:
        super().__init__(str(error))
        self.error = error
        self.part = part


def left_unknown(item: Item, now: int) -> Result:
    """The result of an attempt of which nobody here knows what became."""
    return Result(
        id=item.id, attempt=item.attempt, state="unknown", at=now, reason=SendFailure.unknown, part=item.part
    )


def _refusal(item: Item, state: str, reason: str, now: int) -> Result:
    """A result for an item that was never marked: its attempt is the one it had."""
    return Result(id=item.id, attempt=item.attempt, state=state, at=now, reason=reason, rest="skip")


def is_template(content: str) -> bool:
    """Whether a message's JSON is a template; the encoder writes the kind first."""
    return content.startswith('{"kind":"template"')


def _category(content: str) -> str:
    decoded = decode_content(content)
    return decoded.category if isinstance(decoded, Template) else ""


def _has_media(content: str) -> bool:
    return isinstance(decode_content(content), Media | Album)
