"""Named crash points: `PASSAPAROLA_CRASH_AT=<name>[:n]` ends the process at the n-th passing of that point.

Only fault tests set it. `os._exit` runs no clean-up, like kill -9; status 137 is what a shell shows for that.
"""

from __future__ import annotations

import os
from collections import Counter

from domain.errors import RejectedInput

POINTS = {
    "intake.before_commit": "a webhook is parsed, its events are not stored",
    "intake.after_commit": "the events are stored, the 200 is not yet sent",
    "worker.after_claim": "attempts are raised, nothing is handled",
    "worker.before_commit": "the engine has run, its transaction is not committed",
    "worker.after_commit": "the turn is committed, nobody has told the sender",
    "sender.before_mark": "an item is released by pacing, not yet marked `sending`",
    "sender.after_mark": "the item is `sending`, its request is not written",
    "sender.after_write": "the platform has answered, the result is not recorded",
    "sender.before_settle": "results are at hand, their transaction has not begun",
    "sender.after_settle": "results are recorded, successors are released",
    "campaign.after_slice": "a slice of recipients is materialised",
    "campaign.after_feed": "recipients became outbox rows",
    "scheduler.after_timers": "due timers became events",
    "scheduler.after_schedule": "a slice of a schedule's people became events",
    "calls.before_request": "a call is taken, its request is not written",
    "calls.after_answer": "the service has answered, nothing of it is stored",
    "jobs.after_step": "a job has done a step and stored its cursor",
}

_passed: Counter[str] = Counter()
_armed: tuple[str, int] | None = None


def arm(setting: str) -> None:
    """Reads the setting; empty disarms. Raises RejectedInput for an unknown point."""
    global _armed
    _passed.clear()
    if not setting:
        _armed = None
        return
    name, _, count = setting.partition(":")
    if name not in POINTS or (count and not count.isdecimal()):
        raise RejectedInput(
            f"{setting!r} is not a crash point with an optional :number; known are {', '.join(POINTS)}",
            where="PASSAPAROLA_CRASH_AT",
        )
    _armed = (name, int(count or 1))


def crash_point(name: str) -> None:
    """Ends the process when this point is armed and passed often enough."""
    if _armed is None or _armed[0] != name:
        return
    _passed[name] += 1
    if _passed[name] == _armed[1]:
        os._exit(137)
