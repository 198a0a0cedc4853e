"""One folder per test run, shared by all xdist workers, and a list of the processes that the run has started.

The controller makes the folder and tells the workers its path. Whatever a run starts outside itself
(PostgreSQL, a server that a test ends with kill -9) is recorded there by process id and start time. At its
end the controller ends what is left and removes the folder; when the runner itself was killed, the next run
does it: only for folders of this user whose owner is dead, and only processes whose id and start time both
match, so that a reused id is never hit.

    <temporary folder>/pp<uid>-xxxxxxxx/
        owner        "<pid> <start time>" of the controller
        processes    one such line per started process
        logs/        what child processes print; searched for canaries at the end (see `canaries`)
"""

from __future__ import annotations

import os
import shutil
import tempfile
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import psutil
import pytest


@dataclass(frozen=True)
class Run:
    """The running session: its folder, and whether this process made it (controller) or not (worker)."""

    folder: Path
    is_controller: bool

    @property
    def logs(self) -> Path:
        return self.folder / "logs"

    def record(self, pid: int) -> None:
        """Note a started process, so that it is ended with this run or at the start of the next one."""
        with (self.folder / "processes").open("a") as file:
            file.write(_identity(pid) + "\n")


RUN = pytest.StashKey[Run]()


@pytest.fixture(scope="session")
def run(pytestconfig: pytest.Config) -> Run:
    """The folder of this test run; `run.record(pid)` hands a child process over to its clean-up."""
    return pytestconfig.stash[RUN]


@pytest.fixture(scope="session")
def process_logs(run: Run) -> Path:
    """Folder for the output of child processes: everything in it is searched for canaries at the end."""
    return run.logs


def pytest_configure(config: pytest.Config) -> None:
    told: str | None = getattr(config, "workerinput", {}).get("run_folder")
    if told is not None:
        config.stash[RUN] = Run(Path(told), is_controller=False)
        return
    for folder in _abandoned():
        end(folder)
    # Short name: a PostgreSQL socket lies inside, and a socket path holds about 100 bytes.
    folder = Path(tempfile.mkdtemp(prefix=_prefix()))
    (folder / "logs").mkdir()
    (folder / "owner").write_text(_identity(os.getpid()))
    config.stash[RUN] = Run(folder, is_controller=True)


@pytest.hookimpl(optionalhook=True)
def pytest_configure_node(node: Any) -> None:
    """xdist: called in the controller for each worker before it starts."""
    node.workerinput["run_folder"] = str(node.config.stash[RUN].folder)


def pytest_unconfigure(config: pytest.Config) -> None:
    run = config.stash.get(RUN, None)
    if run is not None and run.is_controller:
        end(run.folder)


def end(folder: Path) -> None:
    """End the processes recorded in a run's folder, then remove it. Does nothing for what is already gone."""
    started = list(_recorded(folder / "processes"))
    for process in started:
        # SIGINT: PostgreSQL takes it as "stop now, in order", a Python server as Ctrl-C.
        with suppress(psutil.Error):
            process.send_signal(2)
    _, alive = psutil.wait_procs(started, timeout=5)
    for process in alive:
        with suppress(psutil.Error):
            process.kill()
    psutil.wait_procs(alive, timeout=5)
    shutil.rmtree(folder, ignore_errors=True)


def _abandoned() -> Iterator[Path]:
    for folder in Path(tempfile.gettempdir()).glob(_prefix() + "*"):
        with suppress(OSError):  # another run may be removing its own folder right now
            if folder.stat().st_uid == os.getuid() and not list(_recorded(folder / "owner")):
                yield folder


def _recorded(file: Path) -> Iterator[psutil.Process]:
    """Processes listed in the file that still are the ones that were listed."""
    for line in file.read_text().splitlines() if file.exists() else []:
        with suppress(psutil.Error):
            if _identity(pid := int(line.split()[0])) == line:
                yield psutil.Process(pid)


def _identity(pid: int) -> str:
    return f"{pid} {psutil.Process(pid).create_time()}"


def _prefix() -> str:
    return f"pp{os.getuid()}-"
