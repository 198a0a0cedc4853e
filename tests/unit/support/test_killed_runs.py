"""A test run that was killed leaves no server behind: the next run ends what it had started."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path

import psutil
import pytest

ROOT = Path(__file__).resolve().parents[3]
CONFTEST = """
pytest_plugins = ["tests.support.run", "tests.support.databases", "tests.support.redis"]
"""
STARTS = """
import signal, subprocess, sys
from pathlib import Path
def test_it(run, redis_server, postgres):
    child = subprocess.Popen([sys.executable, "-c", "import signal; signal.pause()"])
    run.record(child.pid)
    Path("started").write_text((run.folder / "processes").read_text())
    signal.pause()
"""
NEXT = """
def test_it(run):
    assert run.folder.exists()
"""
STARTED_S = 50  # PostgreSQL makes its files anew, on a busy machine


@pytest.fixture
def place() -> Iterator[Path]:
    """A temporary folder of its own, with a short name: sockets lie in it."""
    folder = Path(tempfile.mkdtemp(prefix="pk"))
    folder.chmod(0o755)
    (folder / "conftest.py").write_text(CONFTEST)
    yield folder
    shutil.rmtree(folder, ignore_errors=True)


def play(place: Path, source: str) -> subprocess.Popen[bytes]:
    """A test run as a process of its own, whose temporary folder is the place."""
    (place / "test_it.py").write_text(source)
    return subprocess.Popen(
        [
            sys.executable,
            "-m",
            "pytest",
            "-q",
            "-c",
            os.devnull,
            f"--rootdir={place}",
            "-p",
            "no:cacheprovider",
        ],
        cwd=place,
        env=os.environ
        | {"PYTHONPATH": str(ROOT), "TMPDIR": str(place), "PYTEST_DISABLE_PLUGIN_AUTOLOAD": "1"},
    )


@pytest.mark.timeout(150)
def test_what_a_killed_run_has_started_ends_with_the_next(place: Path) -> None:
    """Redis, PostgreSQL with all its processes, and a server of ours; also their files are gone."""
    killed = play(place, STARTS)
    deadline = time.monotonic() + STARTED_S
    while not (place / "started").exists():
        assert killed.poll() is None
        assert time.monotonic() < deadline
        time.sleep(0.05)
    killed.kill()
    killed.wait()
    left = [psutil.Process(int(line.split()[0])) for line in (place / "started").read_text().splitlines()]
    left += [child for process in left for child in process.children(recursive=True)]
    assert len(left) > 3
    assert all(process.is_running() for process in left)
    assert play(place, NEXT).wait(timeout=60) == 0
    _, alive = psutil.wait_procs(left, timeout=10)
    assert not alive
    assert not list(place.glob("pp*-*"))
