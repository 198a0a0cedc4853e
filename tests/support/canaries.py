"""After the suite: nothing that was logged, printed or left by a crash holds a canary (see `tests.canary`).

Searched are the captured output and log records of every test, passed or failed, as they reach the
controller, and all files in the run's `logs/` folder, where tests send the output of child processes.
Assertion messages are not: they quote the test's own values. A hit fails the whole run and names the test or
file, never the value.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from urllib.parse import quote

import pytest

from tests.canary import CANARIES
from tests.support.run import RUN

# What a canary looks like in a log: as it is, in a URL, and (a phone number at WhatsApp) without the plus.
NEEDLES = tuple(
    {form.encode() for value in CANARIES for form in (value, quote(value, safe=""), value.lstrip("+"))}
)
CHUNK = 1 << 20  # bytes read at a time: a log may be larger than memory should be
OVERLAP = max(map(len, NEEDLES))  # a canary across two chunks is found in the second

LEAKS = pytest.StashKey[list[str]]()


def holds_canary(text: str) -> bool:
    raw = text.encode(errors="replace")
    return any(needle in raw for needle in NEEDLES)


def leaking_files(folder: Path) -> Iterator[Path]:
    """Files anywhere below the folder that hold a canary."""
    for path in sorted(folder.rglob("*")):
        if path.is_file() and _file_holds_canary(path):
            yield path


def _file_holds_canary(path: Path) -> bool:
    tail = b""
    with path.open("rb") as file:
        while chunk := file.read(CHUNK):
            if any(needle in tail + chunk for needle in NEEDLES):
                return True
            tail = chunk[-OVERLAP:]
    return False


class Collector:
    """Runs in the controller only: xdist brings every report there."""

    def __init__(self, config: pytest.Config) -> None:
        self.config = config
        self.leaks: list[str] = config.stash.setdefault(LEAKS, [])

    def pytest_runtest_logreport(self, report: pytest.TestReport) -> None:
        for title, text in report.sections:
            if holds_canary(text):
                self.leaks.append(f"{report.nodeid}: {title}")

    @pytest.hookimpl(trylast=True)  # after xdist has waited for its workers
    def pytest_sessionfinish(self, session: pytest.Session) -> None:
        logs = self.config.stash[RUN].logs
        self.leaks += [f"{path.relative_to(logs)}: output of a process" for path in leaking_files(logs)]
        if self.leaks:
            session.exitstatus = pytest.ExitCode.TESTS_FAILED

    def pytest_terminal_summary(self, terminalreporter: pytest.TerminalReporter) -> None:
        if self.leaks:
            terminalreporter.section("secrets or personal data in logs", red=True, bold=True)
            for leak in self.leaks:
                terminalreporter.line(leak)


def pytest_configure(config: pytest.Config) -> None:
    if not hasattr(config, "workerinput"):
        config.pluginmanager.register(Collector(config), "canary-collector")
