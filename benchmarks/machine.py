"""The machine as the measurements see it: which core runs what, and the CPU time and memory of another process.

The program under test has one core, load generators and simulators have the other, so that they do not measure each
other. CPU time is that of all threads of a process; unlike wall-clock rates it hardly moves on a busy machine.
"""

from __future__ import annotations

import os
import platform
import sqlite3
import time

import psutil

_USABLE = sorted(os.sched_getaffinity(0))  # before anything is pinned


def cores() -> tuple[int, int]:
    """The core of the program under test and that of everything else; the same one where there is only one."""
    return _USABLE[0], _USABLE[1 if len(_USABLE) > 1 else 0]


def pin(pid: int, core: int) -> None:
    """Keeps a process on one core; threads that it starts later stay there as well."""
    os.sched_setaffinity(pid, {core})


def spread(pid: int) -> None:
    """Lets a process run on every core that we may use; threads that it has started stay where they are."""
    os.sched_setaffinity(pid, set(_USABLE))


def cpu_s(pid: int) -> float:
    """CPU seconds of a running process, all its threads, to the nanosecond (clock_getcpuclockid(3) of Linux)."""
    return time.clock_gettime((~pid << 3) | 2)


def resident_mb(pid: int) -> float:
    """Resident memory, MB."""
    return float(psutil.Process(pid).memory_info().rss) / 1e6


def describe() -> str:
    """Cores and memory, and nothing else that would name the machine."""
    memory = psutil.virtual_memory().total / 2**30
    python = platform.python_version()
    return (
        f"{len(_USABLE)} cores, {memory:.0f} GB of memory, Python {python}, SQLite {sqlite3.sqlite_version}"
    )
