"""The town of the integration tests: most faults are shown in this process, over real sockets.

`seed` is where all chance of a test comes from: FAULT_SEED in the environment, else the day's own; a failure prints it.
`counted` is how a test says what it has counted: it travels with the test's report to the summary of `make chaos`.
"""

from __future__ import annotations

import os
import random
import time
from collections.abc import Callable, Iterator

import pytest
import structlog

from config import logs
from tests.integration.conftest import any_town, town

__all__ = ["any_town", "town"]

Counted = Callable[..., None]


@pytest.fixture
def counted(record_property: Callable[[str, object], None]) -> Counted:
    """`counted("killed on SQLite", kills=12, sent=49_500)`: what a test has counted, printed and kept with its report
    as the property "counted": `{"what": …, name: number, …}`."""

    def count(what: str, **counts: float) -> None:
        record_property("counted", {"what": what, **counts})
        print(f"{what}: " + ", ".join(f"{name.replace('_', ' ')} {n:g}" for name, n in counts.items()))

    return count


@pytest.fixture
def seed() -> int:
    """Of everything random in a test: FAULT_SEED, or a new one each day."""
    chosen = int(os.environ.get("FAULT_SEED") or time.time() // 86_400)
    print(f"FAULT_SEED={chosen}")
    return chosen


@pytest.fixture
def chance(seed: int) -> random.Random:
    """A generator of its own."""
    return random.Random(seed)


@pytest.fixture(autouse=True)
def plain_logs() -> Iterator[None]:
    """Lines as in production, captured by pytest: structlog's own tracebacks draw every local variable, for seconds."""
    structlog.configure(
        processors=[
            structlog.processors.add_log_level,
            structlog.processors.format_exc_info,
            logs.redact,
            structlog.processors.TimeStamper(fmt="iso", utc=True),
            logs.as_line,
        ],
        logger_factory=structlog.PrintLoggerFactory(),
        cache_logger_on_first_use=False,
    )
    yield
    structlog.reset_defaults()
