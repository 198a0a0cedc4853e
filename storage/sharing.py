"""Leases of one kind, shared fairly among any number of processes: workers' lanes, senders' channels.

Theory of operation. Every process that wants a part is a member: a lease row of its own, renewed and expiring like all
others. A member's share follows from the list of members alone (`share`), so nobody has to agree with anybody: who has
more than that hands over, who has less takes what is free. Shares add up to everything, differ by at most one, and
when one joins nobody else's grows, when one leaves nobody's shrinks: nothing moves that need not.

A newcomer writes its row and gives a signal; the others, who look every second anyway, stop using what is beyond
their share, finish what they have begun with it, and let it go; the newcomer takes it. A process that is killed
or frozen stays a member until its row expires, with everything that it held; one that is stopped leaves at once.

When the store was away for longer than a lease, everybody's rows have expired, and their owners are alive. So who was
cut off for so long itself takes nothing for three seconds, in which the others renew theirs.

What is held is read from the rows, never remembered: what was lost is not used any more as soon as anybody looks. A
look may come late, so a transaction that relies on a lease locks it by the fence that it knows (`leases.hold`).
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Collection, Iterable, Mapping, Sequence
from contextlib import suppress
from typing import NamedTuple

import structlog
from sqlalchemy import Connection

from domain.errors import Conflict, Unavailable
from storage import leases
from storage.database import Database, Queue
from storage.signals import Signals, until_look
from storage.statements import bulk_values, prepared

PATIENCE_S = 3.0  # three looks of the others

_log = structlog.get_logger("leases")


class Seen(NamedTuple):
    """The rows of a kind, by one process: who is there, what it holds itself (name → fence), what nobody holds."""

    members: frozenset[str]
    mine: Mapping[str, int]
    free: Sequence[str]


class Plan(NamedTuple):
    """What to do about it: keep (name → fence), hand over, take so many of the free ones."""

    keep: Mapping[str, int]
    give: frozenset[str]
    take: int


def share(things: int, members: Collection[str], me: str) -> int:
    """How many of the things are a member's: as if they were dealt out in turns, in the order of the names."""
    if me not in members:
        return 0
    each, rest = divmod(things, len(members))
    return each + (sorted(members).index(me) < rest)


def plan(seen: Seen, names: Collection[str], leaving: Collection[str], me: str) -> Plan:
    """What a member does about what it sees. `leaving` is still held, but being handed over already."""
    mine = {name: fence for name, fence in seen.mine.items() if name not in leaving}
    wanted = sorted(mine.keys() & set(names))
    aim = share(len(names), seen.members, me)
    give = frozenset(mine.keys() - wanted[:aim])
    return Plan({name: mine[name] for name in wanted[:aim]}, give, max(0, aim - len(wanted)))


def survey(connection: Connection, kind: str, names: Iterable[str], owner: str) -> Seen:
    """Reads the rows of the members and of these names."""
    names = set(names)
    rows = connection.execute(
        prepared(
            "SELECT name, fence, owner, CASE WHEN expires_at < "
            f"{leases.clock(connection)} THEN 1 ELSE 0 END AS over FROM lease "
            "WHERE name LIKE :members OR name IN (SELECT e.value ->> 'v' FROM json_each(:names) e)"
        ),
        {"members": _member(kind, "%"), "names": bulk_values(names)},
    ).all()
    prefix = _member(kind, "")
    members = frozenset(row.owner for row in rows if row.name.startswith(prefix) and not row.over)
    things = [row for row in rows if row.name in names]
    mine = {row.name: row.fence for row in things if row.owner == owner}
    taken = mine.keys() | {row.name for row in things if not row.over}
    return Seen(members, mine, sorted(names - taken))


class Holding:
    """What one process holds of a kind: `held`, to be used, and `leaving`, to be finished with. Neither is ever
    changed, only replaced: a snapshot stays what it was."""

    def __init__(
        self,
        database: Database,
        signals: Signals,
        owner: str,
        kind: str,
        *,
        names: Callable[[], Collection[str]],
        let_go: Callable[[Collection[str]], Awaitable[None]],
        monotonic: Callable[[], float],
    ) -> None:
        """`names`: all leases of the kind, now. `let_go`: returns when these are not used any more; called again
        for the same ones when giving them back failed."""
        self._database = database
        self._signals = signals
        self._owner = owner
        self._kind = kind
        self._names = names
        self._let_go = let_go
        self._monotonic = monotonic
        # A SQLite file has one server: nobody joins or leaves between two renewals.
        self._alone = database.dialect.name == "sqlite"
        self._known: frozenset[str] = frozenset()
        self._giving: asyncio.Task[None] | None = None
        self._renew_at = 0.0
        self._acted_at = float("inf")  # when the rows were last renewed
        self._patient_until = 0.0
        self.held: Mapping[str, int] = {}
        self.leaving: frozenset[str] = frozenset()
        self.members = 0

    @property
    def topic(self) -> str:
        """The signal that says: look again."""
        return f"share:{self._kind}"

    async def tick(self) -> None:
        """Renews, takes and hands over what is due; what was lost is not in `held` any more. Raises Unavailable."""
        names = frozenset(self._names())
        if names == self._known and not self.leaving and self._monotonic() < self._renew_at:
            if self._alone:
                return
            seen = await self._database.read(lambda c: survey(c, self._kind, names, self._owner))
            if plan(seen, names, (), self._owner) == Plan(self.held, frozenset(), 0):
                return
        await self._act(names, self.leaving)
        if self._giving is not None and self._giving.done():
            self._giving.result()  # a fault of ours: better a restart than a lease that nobody uses
            self._giving = None
        if self.leaving and self._giving is None:
            self._giving = asyncio.create_task(self._give(self.leaving))

    async def given(self) -> None:
        """Returns when what is being handed over at this moment has been."""
        if self._giving is not None:
            await self._giving

    async def pause(self) -> None:
        """Between two ticks: a second, or until somebody has joined, left or handed over."""
        await self._signals.wait(self.topic, until_look())

    def lost(self, names: Collection[str], fences: Mapping[str, int]) -> None:
        """A transaction found that these, held with these fences, have another owner."""
        self.held = {n: f for n, f in self.held.items() if n not in names or f != fences.get(n)}

    async def leave(self) -> None:
        """Gives everything back; to be called when nothing of it is used any more."""
        if self._giving is not None:
            self._giving.cancel()
            await asyncio.gather(self._giving, return_exceptions=True)
        names = [*self.held, *self.leaving]
        self.held, self.leaving, self._known, self._renew_at = {}, frozenset(), frozenset(), 0.0
        self._acted_at = float("inf")

        def work(connection: Connection) -> None:
            leases.release(connection, names, self._owner)
            leases.forget(connection, _member(self._kind, self._owner))

        with suppress(Unavailable, Conflict):
            await self._database.write(work)
        self._signals.notify(self.topic)

    async def _act(self, names: frozenset[str], leaving: frozenset[str]) -> None:
        """One transaction; what it finds and does is known here after its commit."""
        joining = not self._known
        begun = self._monotonic()
        if begun - self._acted_at > leases.LEASE_MS / 1000:
            self._patient_until = begun + PATIENCE_S
        patient = begun < self._patient_until
        held, give, members = await self._database.write(
            lambda c: self._step(c, names, leaving, patient), queue=Queue.live, durable=False
        )
        self._acted_at = begun
        self._renew_at = max(begun, self._patient_until) if patient else begun + leases.RENEW_EVERY_S
        self._known = names
        grown = held.keys() - self.held.keys()
        self.held, self.leaving, self.members = held, self.leaving | give, members
        if joining or grown or give:
            _log.info(
                "leases_shared", kind=self._kind, held=len(held), handing_over=len(give), members=members
            )
        if joining and not self._alone:
            self._signals.notify(self.topic)

    def _step(
        self, connection: Connection, names: frozenset[str], leaving: frozenset[str], patient: bool
    ) -> tuple[dict[str, int], frozenset[str], int]:
        leases.take(connection, [_member(self._kind, self._owner)], self._owner)
        if not patient:
            leases.forget_expired(connection, _member(self._kind, "%"))
        seen = survey(connection, self._kind, names | self.held.keys() | leaving, self._owner)
        todo = plan(seen, names, leaving, self._owner)
        leases.renew(connection, dict(seen.mine), self._owner)
        free = [] if patient else [name for name in seen.free if name in names]
        taken = leases.take(connection, free, self._owner, limit=todo.take) if todo.take and free else {}
        return {**todo.keep, **taken}, todo.give, len(seen.members)

    async def _give(self, names: frozenset[str]) -> None:
        await self._let_go(names)
        try:
            await self._database.write(
                lambda c: leases.release(c, list(names), self._owner), queue=Queue.live, durable=False
            )
        except (Unavailable, Conflict) as error:
            _log.warning(
                "leases_not_given_back", kind=self._kind, problem=str(error)
            )  # the next tick does it
            return
        self.leaving -= names
        self._signals.notify(self.topic)


def _member(kind: str, owner: str) -> str:
    return f"member:{kind}:{owner}"
