"""Scripted people: they wait for what a bot says and answer it, one of them or ten thousand.

A script is a list of steps, each of which waits for a message and then acts:

    [{"do": "start", "payload": "promo"},
     {"wait_for": "e-mail", "do": "say", "text": "anna{n}@example.com"},
     {"wait_for": {"button": "Prezzi"}, "do": "tap", "text": "Prezzi"},
     {"wait_for": {"contains": "grazie"}}]

`wait_for` is text that the message contains (case does not matter), or an object with any of `contains`, `regex`,
`button` (one with this text or id), `kind` (photo, text, …), all of which must hold; absent: act at once. `do` and what
follows it are the network's own actions. `{n}` in texts is the number of the person within the play, from 0. A step
with `"every": 10` is taken by every tenth person (those with the numbers 0, 10, 20 …) and passed over by the others.

`Plays.start` lets `people` persons (a number, or ids) walk the script, `rate_per_s` of them beginning each second (or
all at once), each thinking `think_s` (a number or [from, to]) before acting. Times between an action and the message
that the next step waited for are kept per step; `report` gives their percentiles. Walkers are plain objects driven by
callbacks, not tasks: a thousand cost no more than their messages. Times here are real, because they are measurements.
"""

from __future__ import annotations

import asyncio
import re
import time
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from simulators.wire import needed
from simulators.world import ControlError, Network, Reached, World

PEOPLE_LIMIT = 200_000
STEPS_LIMIT = 200
# Reported one by one; the others are only counted.
FAILURES_KEPT = 50
# Plays kept for their reports.
PLAYS_LIMIT = 100
# How often new walkers are begun, in seconds.
TICK_S = 0.05


@dataclass(frozen=True, slots=True)
class Wanted:
    """What a message must be like. Several holding at once."""

    contains: str | None = None
    pattern: re.Pattern[str] | None = None
    button: str | None = None
    kind: str | None = None

    def matches(self, message: Reached) -> bool:
        return (
            (self.contains is None or self.contains in message.text.lower())
            and (self.pattern is None or self.pattern.search(message.text) is not None)
            and (self.kind is None or self.kind == message.kind)
            and (
                self.button is None
                or any(self.button in (each["text"].lower(), each["id"].lower()) for each in message.buttons)
            )
        )


@dataclass(frozen=True, slots=True)
class Step:
    wanted: Wanted | None
    action: Mapping[str, Any] | None
    think_s: tuple[float, float]
    templated: bool
    every: int = 1


@dataclass(slots=True)
class StepTimes:
    """Milliseconds from the action before to the message that this step waited for."""

    waited_ms: list[float] = field(default_factory=list)
    passed: int = 0


def read_step(spec: Any, number: int, think_s: tuple[float, float]) -> Step:
    """One step from JSON; raises ControlError naming the step and field."""
    if not isinstance(spec, dict):
        raise ControlError(f"script[{number}]: an object expected")
    action = {key: value for key, value in spec.items() if key not in ("wait_for", "think_s", "every")}
    if action and not isinstance(action.get("do"), str):
        raise ControlError(f"script[{number}].do: the name of an action expected")
    if not action and "wait_for" not in spec:
        raise ControlError(f"script[{number}]: wait_for or do expected")
    every = spec.get("every", 1)
    if not isinstance(every, int) or isinstance(every, bool) or not 1 <= every <= PEOPLE_LIMIT:
        raise ControlError(f"script[{number}].every: a number from 1 to {PEOPLE_LIMIT} expected")
    return Step(
        wanted=_wanted(spec["wait_for"], number) if "wait_for" in spec else None,
        action=action or None,
        think_s=_range(spec["think_s"], f"script[{number}].think_s") if "think_s" in spec else think_s,
        templated=any(isinstance(value, str) and "{n}" in value for value in action.values()),
        every=every,
    )


def _wanted(spec: Any, number: int) -> Wanted:
    if isinstance(spec, str):
        return Wanted(contains=spec.lower())
    if not isinstance(spec, dict) or set(spec) - {"contains", "regex", "button", "kind"}:
        raise ControlError(f"script[{number}].wait_for: text, or contains, regex, button, kind expected")
    try:
        pattern = re.compile(spec["regex"]) if "regex" in spec else None
    except re.error as error:
        raise ControlError(f"script[{number}].wait_for.regex: {error}") from error
    lowered = {key: str(spec[key]).lower() for key in ("contains", "button") if key in spec}
    return Wanted(pattern=pattern, kind=spec.get("kind"), **lowered)


def _range(value: Any, name: str) -> tuple[float, float]:
    given = value if isinstance(value, list) else [value, value]
    if len(given) != 2 or not all(isinstance(each, (int, float)) and 0 <= each <= 3600 for each in given):
        raise ControlError(f"{name}: seconds, or [from, to], expected")
    return float(given[0]), float(given[1])


class Walker:
    """One person on the way through the script."""

    __slots__ = ("acted_at", "deadline", "number", "person", "play", "started_at", "step", "thinking")

    def __init__(self, play: Play, number: int, person: str) -> None:
        self.play = play
        self.number = number
        self.person = person
        self.step = self._mine(0)
        self.thinking = False
        self.started_at = self.acted_at = self.deadline = time.perf_counter()

    def begin(self) -> None:
        self.play.world.listen(self.play.network.name, self.play.endpoint, self.person, self.hear)
        self.started_at = self.acted_at = time.perf_counter()
        self.deadline = self.started_at + self.play.timeout_s
        if self.step == len(self.play.steps):
            self.play.end(self, None)
        elif self.play.steps[self.step].wanted is None:
            self._think()

    def hear(self, message: Reached) -> None:
        """A message arrived. While thinking, the person has made up their mind already."""
        if self.thinking:
            return
        wanted = self.play.steps[self.step].wanted
        if wanted is None or not wanted.matches(message):
            return
        self.play.times[self.step].waited_ms.append((time.perf_counter() - self.acted_at) * 1000)
        self._think()

    def _think(self) -> None:
        self.thinking = True
        low, high = self.play.steps[self.step].think_s
        if high > 0:
            delay = low if low == high else self.play.world.rng.uniform(low, high)
            self.play.loop.call_later(delay, self._act)
        else:
            # Not inside the bot's own request: its answer goes out first, as it would over a network.
            self.play.loop.call_soon(self._act)

    def _act(self) -> None:
        if self.play.state != "running" or self.number not in self.play.walking:
            return
        step = self.play.steps[self.step]
        self.play.times[self.step].passed += 1
        self.step = self._mine(self.step + 1)
        self.thinking = False
        last = self.step == len(self.play.steps)
        if step.action is not None:
            self.acted_at = time.perf_counter()
            self.deadline = self.acted_at + self.play.timeout_s
            try:
                self.play.network.act(self.play.endpoint, self.person, self._filled(step))
            except ControlError as error:
                self.play.end(self, f"step {self.step - 1}: {error}")
                return
        if last:
            self.play.end(self, None)
        elif self.play.steps[self.step].wanted is None:
            self._think()

    def _mine(self, step: int) -> int:
        """The first step from there on that this person takes; the number of steps when there is none."""
        steps = self.play.steps
        while step < len(steps) and self.number % steps[step].every:
            step += 1
        return step

    def _filled(self, step: Step) -> Mapping[str, Any]:
        assert step.action is not None
        if not step.templated:
            return step.action
        number = str(self.number)
        return {
            key: value.replace("{n}", number) if isinstance(value, str) else value
            for key, value in step.action.items()
        }


class Play:
    """One script being played by its people."""

    def __init__(self, world: World, network: Network, play_id: int, spec: Mapping[str, Any]) -> None:
        self.world = world
        self.network = network
        self.id = play_id
        self.endpoint = str(needed(spec, "endpoint"))
        self.name = str(spec.get("name", ""))
        think_s = _range(spec.get("think_s", 0), "think_s")
        script = needed(spec, "script", list)
        if not 1 <= len(script) <= STEPS_LIMIT:
            raise ControlError(f"script: 1 to {STEPS_LIMIT} steps expected")
        self.steps = [read_step(step, number, think_s) for number, step in enumerate(script)]
        self.times = [StepTimes() for _ in self.steps]
        self.totals_ms: list[float] = []
        self.timeout_s = _range(spec.get("timeout_s", 30), "timeout_s")[1]
        self.rate_per_s = _range(spec.get("rate_per_s", 0), "rate_per_s")[1]
        self.loop = asyncio.get_running_loop()
        self.people = self._make_people(spec.get("people", 1), spec.get("person"))
        self.to_begin = [Walker(self, number, person) for number, person in enumerate(self.people)]
        self.to_begin.reverse()
        self.walking: dict[int, Walker] = {}
        self.state = "running"
        self.done = 0
        self.failed = 0
        self.failures: list[dict[str, Any]] = []
        self.started_at = time.perf_counter()
        self.ended_at: float | None = None
        self.last_left_at = 0.0  # when a walker was done last: the look around comes up to a tick later

    def _make_people(self, given: Any, template: Any) -> list[str]:
        if isinstance(given, list):
            ids = [str(each) for each in given]
        elif isinstance(given, int) and not isinstance(given, bool):
            count = max(0, min(given, PEOPLE_LIMIT + 1))
            base = template if isinstance(template, dict) else {}
            ids = (
                []
                if count > PEOPLE_LIMIT
                else [self.network.make_person(_numbered(base, n)) for n in range(count)]
            )
        else:
            ids = []
        if not 1 <= len(ids) <= PEOPLE_LIMIT:
            raise ControlError(f"people: a number or a list of ids, 1 to {PEOPLE_LIMIT}, expected")
        return ids

    async def run(self) -> None:
        """Begin walkers at the wished rate and fail those that wait too long, until none is left."""
        begun = 0
        next_look = 0.0
        while self.to_begin or self.walking:
            elapsed = time.perf_counter() - self.started_at
            due = len(self.people) if not self.rate_per_s else int(elapsed * self.rate_per_s) + 1
            while self.to_begin and begun < due:
                walker = self.to_begin.pop()
                begun += 1
                self.walking[walker.number] = walker
                try:
                    walker.begin()
                except ControlError as error:
                    self.end(walker, str(error))
            now = time.perf_counter()
            if now >= next_look:
                # Seldom: with many walkers this is the only work that grows with their number.
                next_look = now + self.timeout_s / 20
                self._fail_those_in_vain(now)
            await asyncio.sleep(TICK_S)
        if self.state == "running":
            self.state = "finished"
        self.ended_at = self.last_left_at or time.perf_counter()

    def _fail_those_in_vain(self, now: float) -> None:
        for walker in [each for each in self.walking.values() if not each.thinking and each.deadline < now]:
            why = f"step {walker.step}: nothing that it waits for came within {self.timeout_s} s"
            self.end(walker, why)

    def end(self, walker: Walker, failure: str | None) -> None:
        if self.walking.pop(walker.number, None) is None:
            return
        self.world.unlisten(self.network.name, self.endpoint, walker.person)
        self.last_left_at = time.perf_counter()
        if failure is None:
            self.done += 1
            self.totals_ms.append((time.perf_counter() - walker.started_at) * 1000)
            return
        self.failed += 1
        if len(self.failures) < FAILURES_KEPT:
            self.failures.append({"person": walker.person, "why": failure})

    def stop(self) -> None:
        self.state = "stopped" if self.state == "running" else self.state
        self.to_begin.clear()
        for walker in list(self.walking.values()):
            self.world.unlisten(self.network.name, self.endpoint, walker.person)
        self.walking.clear()

    def report(self) -> dict[str, Any]:
        """`{id, name, state, people, waiting, walking, done, failed, failures, elapsed_s, steps: […], total: {…}}`"""
        end = self.ended_at or time.perf_counter()
        answers = [ms for each in self.times for ms in each.waited_ms]
        return {
            "id": self.id,
            "name": self.name,
            "network": self.network.name,
            "state": self.state,
            "people": len(self.people),
            "waiting": len(self.to_begin),
            "walking": len(self.walking),
            "done": self.done,
            "failed": self.failed,
            "failures": self.failures,
            "elapsed_s": round(end - self.started_at, 3),
            "steps": [
                {"index": n, "passed": each.passed, **percentiles(each.waited_ms)}
                for n, each in enumerate(self.times)
            ],
            "answers": percentiles(answers),
            "total": percentiles(self.totals_ms),
        }


def _numbered(template: Mapping[str, Any], number: int) -> dict[str, Any]:
    filled = {
        key: value.replace("{n}", str(number)) if isinstance(value, str) else value
        for key, value in template.items()
    }
    filled.setdefault("first_name", f"Person {number}")
    filled.setdefault("name", f"Person {number}")
    return filled


def percentiles(values_ms: list[float]) -> dict[str, float | int]:
    """`{count, p50_ms, p90_ms, p99_ms, max_ms}`; only the count when there is nothing."""
    if not values_ms:
        return {"count": 0}
    ordered = sorted(values_ms)

    def at(share: float) -> float:
        return round(ordered[min(len(ordered) - 1, int(share * len(ordered)))], 3)

    return {
        "count": len(ordered),
        "p50_ms": at(0.5),
        "p90_ms": at(0.9),
        "p99_ms": at(0.99),
        "max_ms": round(ordered[-1], 3),
    }


class Plays:
    """All plays of the world, by number."""

    def __init__(self, world: World) -> None:
        self._world = world
        self._plays: dict[int, Play] = {}
        self._last_id = 0

    def start(self, spec: Mapping[str, Any]) -> dict[str, Any]:
        """`{network, endpoint, script, name?, people?: n | [ids], person?, think_s?, rate_per_s?, timeout_s?}`.

        `endpoint` is the bot's token or the phone_number_id; `person` what is made for each, `{n}` in it its number.
        """
        network = self._world.networks.get(str(spec.get("network")))
        if network is None:
            raise ControlError(f"network: one of {', '.join(sorted(self._world.networks))} expected")
        self._last_id += 1
        play = Play(self._world, network, self._last_id, spec)
        self._plays[play.id] = play
        if len(self._plays) > PLAYS_LIMIT:
            self._plays.pop(next(iter(self._plays))).stop()
        self._world.spawn(play.run())
        return {"id": play.id, "people": play.people}

    def listed(self) -> list[dict[str, Any]]:
        return [
            {"id": play.id, "name": play.name, "state": play.state, "done": play.done}
            for play in self._plays.values()
        ]

    def report(self, play_id: int) -> dict[str, Any]:
        return self._play(play_id).report()

    def stop(self, play_id: int) -> dict[str, Any]:
        play = self._play(play_id)
        play.stop()
        return play.report()

    def reset(self) -> None:
        for play in self._plays.values():
            play.stop()
        self._plays.clear()

    def _play(self, play_id: int) -> Play:
        play = self._plays.get(play_id)
        if play is None:
            raise ControlError(f"there is no script {play_id}", 404)
        return play
