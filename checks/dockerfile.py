"""The Dockerfile, read and carried out without Docker.

`read` gives its stages; an instruction that this project does not use is an error, so that nothing is passed over in
silence. `Builder` carries the stages out in folders: COPY copies (what `.dockerignore` lets through), RUN runs in a
shell with a fresh virtual environment in place of the image's Python, WORKDIR and ENV hold as they would. Three things
differ from Docker, and are said aloud: the base image is a Python of this machine, `/` is a folder, and steps that
need root (adding a user) are not run.
"""

from __future__ import annotations

import json
import os
import re
import shlex
import shutil
import subprocess
import sys
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from fnmatch import fnmatch
from pathlib import Path

KNOWN = frozenset(
    "FROM ENV WORKDIR COPY RUN USER VOLUME EXPOSE STOPSIGNAL HEALTHCHECK ENTRYPOINT CMD".split()
)
NEEDS_ROOT = frozenset({"useradd", "groupadd", "chown"})
STEP_S = 900  # for one RUN: installing from a slow registry

_FROM = re.compile(r"(?P<base>\S+)(?:\s+AS\s+(?P<name>\S+))?", re.IGNORECASE)
_HEREDOC_OR_MOUNT = re.compile(r"^--(mount|network|security)|<<")


class NotSupported(ValueError):
    """An instruction, or a form of one, that this reader does not know."""


@dataclass(frozen=True)
class Instruction:
    """One instruction: its upper-case word, what follows it on one line, and the line in the file."""

    word: str
    value: str
    line: int

    @property
    def words(self) -> list[str]:
        """What follows, in words: of the JSON form or as a shell would split it."""
        text = self.value
        if text.startswith("["):
            found = json.loads(text)
            if not (isinstance(found, list) and all(isinstance(one, str) for one in found)):
                raise NotSupported(f"line {self.line}: {self.word} wants a list of words")
            return found
        return shlex.split(text)


@dataclass
class Stage:
    """From one FROM to the next. `base` is an image or the name of an earlier stage."""

    name: str
    base: str
    instructions: list[Instruction] = field(default_factory=list)

    def all(self, word: str) -> list[Instruction]:
        return [one for one in self.instructions if one.word == word]

    def last(self, word: str) -> Instruction | None:
        """The one that counts, where a later one replaces an earlier one."""
        return next(reversed(self.all(word)), None)


@dataclass(frozen=True)
class Copy:
    """A COPY: sources, target, and the stage that it copies from ("" for the project)."""

    sources: list[str]
    target: str
    stage: str


def read(text: str) -> list[Stage]:
    """The stages of a Dockerfile. Raises NotSupported with the line."""
    stages: list[Stage] = []
    for one in _instructions(text):
        if one.word not in KNOWN:
            raise NotSupported(f"line {one.line}: {one.word} is not used in this project")
        if one.word == "FROM":
            match = _FROM.fullmatch(one.value)
            if match is None:
                raise NotSupported(f"line {one.line}: FROM {one.value}")
            stages.append(Stage(match["name"] or str(len(stages)), match["base"]))
        elif not stages:
            raise NotSupported(f"line {one.line}: {one.word} before FROM")
        else:
            stages[-1].instructions.append(one)
    return stages


def environment(stages: list[Stage], stage: Stage) -> dict[str, str]:
    """ENV of a stage and of those that it is built upon."""
    parent = next((one for one in stages if one.name == stage.base), None)
    found = environment(stages, parent) if parent is not None else {}
    for one in stage.all("ENV"):
        for word in one.words:
            name, equals, value = word.partition("=")
            if not equals:
                raise NotSupported(f"line {one.line}: ENV wants NAME=value")
            found[name] = value
    return found


def health_command(stage: Stage) -> list[str]:
    """The words of HEALTHCHECK's command; [] without one. Raises NotSupported for the shell form."""
    one = stage.last("HEALTHCHECK")
    if one is None:
        return []
    _, found, command = one.value.partition("CMD ")
    if not found or not command.startswith("["):
        raise NotSupported(f"line {one.line}: HEALTHCHECK wants CMD and a list of words")
    return Instruction("CMD", command, one.line).words


def copy_of(one: Instruction) -> Copy:
    """A COPY's parts. Raises NotSupported for options other than `--from`."""
    words = one.words
    options = [word for word in words if word.startswith("--")]
    if any(not word.startswith("--from=") for word in options):
        raise NotSupported(f"line {one.line}: of COPY's options only --from is used")
    *sources, target = [word for word in words if not word.startswith("--")]
    return Copy(sources, target, options[0].partition("=")[2] if options else "")


def let_through(ignore: str) -> list[str]:
    """The names that a `.dockerignore` lets through: this project's forbids all, then names what may pass."""
    lines = [line.strip() for line in ignore.splitlines()]
    rules = [line for line in lines if line and not line.startswith("#")]
    if not rules or rules[0] != "*":
        raise NotSupported(".dockerignore must begin with * (nothing passes that is not named)")
    if unfit := [rule for rule in rules[1:] if not (rule.startswith("!") or rule.startswith("**/"))]:
        raise NotSupported(f".dockerignore: {unfit[0]!r} is neither !name nor **/name")
    return [rule[1:] for rule in rules if rule.startswith("!")]


@dataclass(frozen=True)
class Built:
    """What came of the last stage. `bin` holds the Python and its commands."""

    root: Path
    bin: Path
    environment: dict[str, str]
    entrypoint: list[str]
    command: list[str]
    health: list[str]


class Builder:
    """Carries out the stages below `folder`; `say` hears every step."""

    def __init__(self, project: Path, folder: Path, *, python: str, say: Callable[[str], None]) -> None:
        self._project = project
        self._folder = folder
        self._python = python
        self._say = say
        self._stages = read((project / "Dockerfile").read_text())
        ignore = (project / ".dockerignore").read_text()
        self._passes = let_through(ignore)
        self._never = [line[3:] for line in ignore.splitlines() if line.startswith("**/")]

    def build(self) -> Built:
        """Carries out every stage; raises CalledProcessError when a step fails."""
        for stage in self._stages:
            self._carry_out(stage)
        last = self._stages[-1]
        entrypoint, command = last.last("ENTRYPOINT"), last.last("CMD")
        return Built(
            root=self._root(last),
            bin=self._bin(last),
            environment=environment(self._stages, last),
            entrypoint=entrypoint.words if entrypoint else [],
            command=command.words if command else [],
            health=health_command(last),
        )

    def _carry_out(self, stage: Stage) -> None:
        parent = next((one for one in self._stages if one.name == stage.base), None)
        if parent is not None and any(one.word in ("RUN", "COPY") for one in parent.instructions):
            raise NotSupported(f"the stage {stage.base!r} has files: another cannot be built upon it here")
        self._root(stage).mkdir(parents=True)
        if runs := stage.all("RUN"):
            self._say(f"[{stage.name}] a virtual environment in place of {stage.base}")
            without = [] if any("pip" in one.words for one in runs) else ["--without-pip"]
            made = [self._python, "-m", "venv", *without, str(self._bin(stage).parent)]
            subprocess.run(made, check=True)  # noqa: S603 (the caller's own Python)
        variables, folder = dict(environment(self._stages, parent) if parent else {}), "/"
        for one in stage.instructions:
            if one.word == "ENV":
                variables |= dict(word.split("=", 1) for word in one.words)
            elif one.word == "WORKDIR":
                folder = os.path.join(folder, one.value)
                self._inside(stage, folder).mkdir(parents=True, exist_ok=True)
            elif one.word == "VOLUME":
                for path in one.words:
                    self._inside(stage, path).mkdir(parents=True, exist_ok=True)
            elif one.word == "COPY":
                self._say(f"[{stage.name}] COPY {one.value}")
                self._copy(stage, folder, copy_of(one))
            elif one.word == "RUN":
                self._run(stage, folder, variables, one)

    def _copy(self, stage: Stage, folder: str, copy: Copy) -> None:
        target = self._inside(stage, os.path.join(folder, copy.target))
        for source in copy.sources:
            if not copy.stage:
                self._copy_project(source, target)
                continue
            other = next(one for one in self._stages if one.name == copy.stage)
            shutil.copytree(self._inside(other, source), target, dirs_exist_ok=True)

    def _copy_project(self, source: str, target: Path) -> None:
        for path in self.sent(source):
            whole = source.rstrip("/") in (".", "")
            to = target / path.relative_to(self._project) if whole else target / path.name
            to.parent.mkdir(parents=True, exist_ok=True)
            shutil.copy2(path, to)

    def sent(self, source: str) -> Iterator[Path]:
        """The project's files that COPY of `source` takes: those that `.dockerignore` lets through."""
        names = self._passes if source.rstrip("/") in (".", "") else [source.rstrip("/")]
        for name in names:
            path = self._project / name
            if name not in self._passes or not path.exists():
                raise FileNotFoundError(
                    f"COPY {source}: {name} does not exist or .dockerignore keeps it back"
                )
            for file in [path] if path.is_file() else sorted(path.rglob("*")):
                if file.is_file() and not self._kept_back(file):
                    yield file

    def _kept_back(self, file: Path) -> bool:
        return any(fnmatch(part, never) for part in file.parts for never in self._never)

    def _run(self, stage: Stage, folder: str, variables: Mapping[str, str], one: Instruction) -> None:
        if _HEREDOC_OR_MOUNT.search(one.value):
            raise NotSupported(f"line {one.line}: this form of RUN is not used here")
        if root := NEEDS_ROOT.intersection(shlex.split(one.value)):
            self._say(f"[{stage.name}] NOT run, needs root ({', '.join(sorted(root))}): RUN {one.value}")
            return
        self._say(f"[{stage.name}] RUN {one.value}")
        kept = {
            n: v for n, v in os.environ.items() if not n.startswith(("PASSAPAROLA_", "PYTHON", "VIRTUAL"))
        }
        path = f"{self._bin(stage)}{os.pathsep}{kept.get('PATH', os.defpath)}"
        subprocess.run(  # noqa: S603 (what our own Dockerfile says)
            ["/bin/sh", "-c", one.value],
            cwd=self._inside(stage, folder),
            env={**kept, **variables, "PATH": path},
            check=True,
            stdout=sys.stderr,
            timeout=STEP_S,
        )

    def _root(self, stage: Stage) -> Path:
        return self._folder / f"stage-{stage.name}"

    def _bin(self, stage: Stage) -> Path:
        return self._folder / f"python-{stage.name}" / "bin"

    def _inside(self, stage: Stage, path: str) -> Path:
        return self._root(stage) / path.lstrip("/")


def _instructions(text: str) -> Iterator[Instruction]:
    """Instructions with their lines joined; comments, also between the lines of one, are left out."""
    held, begun = "", 0
    for number, raw in enumerate(text.splitlines(), start=1):
        line = raw.strip()
        if not line or line.startswith("#"):
            continue
        begun = begun if held else number
        held += line.removesuffix("\\")
        if line.endswith("\\"):
            continue
        word, _, value = held.partition(" ")
        yield Instruction(word.upper(), " ".join(value.split()) if "[" not in value else value.strip(), begun)
        held = ""
    if held:
        raise NotSupported(f"line {begun}: the last instruction does not end")
