"""`make` on a machine that is not ready says what is missing, and hands on what it is given."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]

OLD = 'case "$*" in --version) echo Python 3.9.2;; *version_info*) exit 1;; esac'
WITHOUT_VENV = 'case "$*" in *ensurepip*) exit 1;; esac'


@pytest.fixture
def project(tmp_path: Path) -> Path:
    """A checkout as make sees it, without an environment."""
    for name in ("Makefile", "pyproject.toml", "requirements.lock"):
        shutil.copy(ROOT / name, tmp_path)
    return tmp_path


def make(project: Path, *arguments: str, **environment: str) -> subprocess.CompletedProcess[str]:
    inherited = {
        name: value for name, value in os.environ.items() if not name.startswith(("MAKE", "PASSAPAROLA_"))
    }
    return subprocess.run(
        ["make", *arguments],
        cwd=project,
        env=inherited | environment,
        capture_output=True,
        text=True,
        check=False,
    )


def script(path: Path, text: str) -> str:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(f"#!/bin/sh\n{text}\n")
    path.chmod(0o755)
    return str(path)


@pytest.mark.parametrize(
    ("python", "said"),
    [
        (OLD, "needs Python 3.11 or newer; '{python}' is Python 3.9.2"),
        (WITHOUT_VENV, "apt install python3-venv"),
        (None, "needs Python 3.11 or newer; '{python}' is "),
    ],
    ids=["too old", "without venv", "not there"],
)
def test_an_unfit_python_is_explained(project: Path, python: str | None, said: str) -> None:
    """The set-up ends before it makes anything, and says what would help."""
    name = str(project / "nowhere") if python is None else script(project / "python", python)
    done = make(project, "run", PYTHON=name)
    assert done.returncode != 0
    assert said.format(python=name) in done.stderr
    assert "PYTHON=" in done.stderr
    assert not (project / ".venv").exists()


def test_run_hands_on_the_port_and_needs_nothing_when_set_up(project: Path) -> None:
    """With a fresh stamp no network is asked; PORT reaches the program."""
    script(project / ".venv" / "bin" / "uv", "echo the network was asked >&2; exit 1")
    script(project / ".venv" / "bin" / "passaparola", 'echo "$1 on ${PASSAPAROLA_PORT-the default port}"')
    (project / ".venv" / ".synced").touch()
    assert make(project, "run").stdout == "demo on the default port\n"
    assert make(project, "run", PORT="9000").stdout == "demo on 9000\n"
    assert make(project, "run", "PORT=9001").stdout == "demo on 9001\n"


def test_a_changed_lock_is_installed_again(project: Path) -> None:
    """A lock younger than the stamp is synchronised before anything starts; a failed one leaves no stamp behind."""
    script(project / ".venv" / "bin" / "uv", 'echo "$*" >&2; exit 1')
    stamp = project / ".venv" / ".synced"
    stamp.touch()
    os.utime(stamp, (1, 1))
    done = make(project, "run")
    assert done.returncode != 0
    assert "pip sync --quiet --require-hashes requirements.lock" in done.stderr
    assert stamp.stat().st_mtime == 1


def test_uv_asks_the_registry_of_pip(project: Path) -> None:
    """A machine whose registry is set up for pip needs no second setting; uv's own setting wins."""
    script(project / ".venv" / "bin" / "uv", 'echo "asks ${UV_DEFAULT_INDEX-the usual registry}"')
    script(project / ".venv" / "bin" / "python", "exit 1")
    mirror = {"PIP_INDEX_URL": "https://mirror.example.org/simple", "UV_DEFAULT_INDEX": ""}
    assert "asks https://mirror.example.org/simple\n" in make(project, "setup", **mirror).stdout
    (project / ".venv" / ".synced").unlink()
    other = mirror | {"UV_DEFAULT_INDEX": "https://other.example.org/simple"}
    assert "asks https://other.example.org/simple\n" in make(project, "setup", **other).stdout
    (project / ".venv" / ".synced").unlink()
    script(project / ".venv" / "bin" / "python", "echo https://configured.example.org/simple")
    configured = dict.fromkeys(mirror, "")
    assert "asks https://configured.example.org/simple\n" in make(project, "setup", **configured).stdout


def test_help_lists_every_target(project: Path) -> None:
    """`make` alone explains itself and sets nothing up."""
    done = make(project)
    targets = re.findall(r"^([a-z]+):", (ROOT / "Makefile").read_text(), flags=re.MULTILINE)
    assert re.findall(r"^  make ([a-z]+)", done.stdout, flags=re.MULTILINE) == targets
    assert not (project / ".venv").exists()
