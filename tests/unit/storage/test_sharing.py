"""The rule by which leases are shared: complete, fair, steady, and it comes to rest however processes come and go."""

from __future__ import annotations

from dataclasses import dataclass, field

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from storage.sharing import Plan, Seen, plan, share

MEMBERS = st.sets(st.integers(0, 99).map("process {}".format), min_size=1, max_size=70)
THINGS = st.integers(0, 130)


@given(THINGS, MEMBERS)
def test_shares_add_up_and_differ_by_at_most_one(things: int, members: set[str]) -> None:
    shares = [share(things, members, one) for one in members]
    assert sum(shares) == things
    assert max(shares) - min(shares) <= 1
    assert share(things, members, "a stranger") == 0


@given(THINGS, MEMBERS, st.integers(100, 199).map("process {}".format))
def test_nothing_moves_that_need_not(things: int, members: set[str], newcomer: str) -> None:
    """Somebody joins: nobody else's share grows. Read backwards: somebody leaves, and nobody's shrinks."""
    for one in members:
        assert share(things, members | {newcomer}, one) <= share(things, members, one)


@pytest.mark.parametrize(
    ("processes", "shares"), [(1, [64]), (2, [32, 32]), (3, [22, 21, 21]), (64, [1] * 64)]
)
def test_sixty_four_lanes(processes: int, shares: list[int]) -> None:
    members = [f"{n:02d}" for n in range(processes)]
    assert [share(64, members, one) for one in members] == shares


def test_what_is_no_longer_wanted_is_handed_over_and_what_is_leaving_is_not_counted() -> None:
    seen = Seen(frozenset({"me", "you"}), {"a": 1, "b": 2, "c": 3, "gone": 4}, ("d",))
    names = {"a", "b", "c", "d"}
    assert plan(seen, names, (), "me") == Plan({"a": 1, "b": 2}, frozenset({"c", "gone"}), 0)
    assert plan(seen, names, {"b", "gone"}, "me") == Plan({"a": 1, "c": 3}, frozenset(), 0)
    assert plan(seen, names, {"a", "b", "gone"}, "me") == Plan({"c": 3}, frozenset(), 1)


@dataclass
class Process:
    """One member of a made-up world; what it saw may be old when it acts."""

    name: str
    seen: Seen | None = None
    held: dict[str, int] = field(default_factory=dict)
    leaving: set[str] = field(default_factory=set)


class World:
    """Rows of leases, changed only in the ways in which the store lets them be changed."""

    def __init__(self, things: int) -> None:
        self.owners: dict[str, str] = {f"thing {n:03d}": "" for n in range(things)}
        self.members: set[str] = set()

    def look(self, process: Process) -> None:
        mine = {n: 1 for n, owner in self.owners.items() if owner == process.name}
        free = [n for n, owner in self.owners.items() if not owner]
        process.seen = Seen(frozenset(self.members), mine, free)

    def act(self, process: Process) -> int:
        """Does what it decided on what it saw; gives how many leases changed hands."""
        if process.seen is None or process.name not in self.members:
            return 0
        decided = plan(process.seen, self.owners.keys(), process.leaving, process.name)
        process.leaving |= decided.give
        taken = [name for name in process.seen.free if not self.owners[name]][: decided.take]
        for name in taken:
            self.owners[name] = process.name
        process.seen = None
        return len(taken)

    def give(self, process: Process) -> None:
        for name in process.leaving:
            self.owners[name] = ""
        process.leaving.clear()

    def dies(self, process: Process) -> None:
        """Its rows expire together."""
        self.members.discard(process.name)
        self.owners = {n: "" if owner == process.name else owner for n, owner in self.owners.items()}
        process.leaving.clear()
        process.seen = None


STEPS = st.lists(
    st.tuples(st.sampled_from(("join", "look", "look", "act", "act", "give", "die")), st.integers(0, 63)),
    max_size=200,
)


@settings(max_examples=200, deadline=None)
@given(st.integers(1, 64), st.integers(1, 64), STEPS)
def test_it_comes_to_rest_fairly_whatever_happened_before(
    things: int, count: int, steps: list[tuple[str, int]]
) -> None:
    """Any interleaving of joins, deaths, old looks and late acts; five quiet rounds later nothing moves any more."""
    world = World(things)
    processes = [Process(f"process {n:02d}") for n in range(count)]
    for what, number in steps:
        process = processes[number % count]
        match what:
            case "join":
                world.members.add(process.name)
            case "look":
                world.look(process)
            case "act":
                world.act(process)
            case "give":
                world.give(process)
            case "die":
                world.dies(process)
    world.members.add(processes[0].name)
    alive = [process for process in processes if process.name in world.members]
    for _ in range(5):  # what was decided long ago, what is over hands over, what is under takes
        for process in alive:
            world.act(process)
            world.give(process)
            world.look(process)
    assert sum(world.act(process) for process in alive) == 0, "at rest"
    counts = [sum(owner == process.name for owner in world.owners.values()) for process in alive]
    assert sum(counts) == things, "every one has an owner"
    assert max(counts) - min(counts) <= 1
    for process in alive:
        world.look(process)
    assert sum(world.act(process) for process in alive) == 0
    assert not any(process.leaving for process in alive)
