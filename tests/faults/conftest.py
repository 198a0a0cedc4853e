"""The town of the integration tests: most faults are shown in this process, over real sockets.

`seed` is where all chance of a test comes from: FAULT_SEED in the environment, else the day's own; a failure prints it.
`counted` is how a test says what it has counted: it travels with the test's report to the summary of `make chaos`.
FAULT_STORE (sqlite or postgresql; empty: both) chooses the tests of one side: `make chaos STORE=sqlite`.
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
def seed(record_property: Callable[[str, object], None]) -> int:
    """Of everything random in a test: FAULT_SEED, or a new one each day."""
    chosen = int(os.environ.get("FAULT_SEED") or time.time() // 86_400)
    record_property("seed", chosen)
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


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    """Only the tests of one store, when one is chosen."""
    chosen = os.environ.get("FAULT_STORE", "")
    if chosen not in ("", "sqlite", "postgresql"):
        raise pytest.UsageError(f"FAULT_STORE must be sqlite or postgresql, not {chosen!r}")
    others = [item for item in items if chosen and store_of(item) != chosen]
    if others:
        config.hook.pytest_deselected(items=others)
        items[:] = [item for item in items if item not in others]


def store_of(item: pytest.Item) -> str:
    """Which database a test stands on: PostgreSQL when it asks for that server, by itself or by its parameter."""
    callspec = getattr(item, "callspec", None)
    asks = {*getattr(item, "fixturenames", ()), *(map(str, callspec.params.values()) if callspec else ())}
    return "postgresql" if asks & {"postgres", "postgresql"} else "sqlite"


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter, config: pytest.Config) -> None:
    """After `make chaos`: what each test has counted, and the seeds it drew from."""
    if config.option.markexpr != "chaos":
        return
    reports = [
        report
        for outcome in ("passed", "failed")
        for report in terminalreporter.getreports(outcome)
        if getattr(report, "user_properties", None) and report.when == "call"
    ]
    if reports:
        terminalreporter.section("what was counted")
    for report in reports:
        told = dict.fromkeys(value for name, value in report.user_properties if name == "seed")
        seeds = "".join(f", FAULT_SEED={seed}" for seed in told)
        terminalreporter.write_line(f"{report.nodeid}: {report.outcome}, {report.duration:.0f} s{seeds}")
        for name, value in report.user_properties:
            if name == "counted":
                counts = {key: number for key, number in value.items() if key != "what"}
                told_counts = ", ".join(f"{key.replace('_', ' ')} {n:g}" for key, n in counts.items())
                terminalreporter.write_line(f"    {value['what']}: {told_counts}")
