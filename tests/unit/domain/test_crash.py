"""Crash points: nothing happens unless one is armed; the named one ends the process like kill -9."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from domain import crash
from domain.errors import RejectedInput

ROOT = Path(__file__).resolve().parents[3]


@pytest.fixture(autouse=True)
def disarmed() -> Iterator[None]:
    yield
    crash.arm("")


def test_a_point_that_is_not_armed_does_nothing() -> None:
    for point in crash.POINTS:
        crash.crash_point(point)


@pytest.mark.parametrize("setting", ["nowhere", "worker.after_claim:x", "worker.after_claim:-1", ":1", " "])
def test_an_unknown_setting_names_what_there_is(setting: str) -> None:
    with pytest.raises(RejectedInput, match=r"known are intake\.before_commit") as refused:
        crash.arm(setting)
    assert refused.value.where == "PASSAPAROLA_CRASH_AT"


@pytest.mark.parametrize(("setting", "passings"), [("worker.after_claim", 1), ("worker.after_claim:3", 3)])
def test_the_nth_passing_ends_the_process_without_clean_up(setting: str, passings: int) -> None:
    program = (
        "import atexit; from domain import crash; atexit.register(print, 'cleaned up')\n"
        f"crash.arm({setting!r})\n"
        "for n in range(9):\n"
        "    print(n, flush=True); crash.crash_point('worker.before_commit'); crash.crash_point('worker.after_claim')"
    )
    ended = subprocess.run(
        [sys.executable, "-c", program], cwd=ROOT, capture_output=True, text=True, timeout=30, check=False
    )
    assert ended.returncode == 137, ended.stderr
    assert ended.stdout.split() == [str(n) for n in range(passings)]
