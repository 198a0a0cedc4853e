"""The Dockerfile and docker-compose.yml fit the program: every setting, role and command that they name exists, what
they wait for can be waited for, nothing runs as root, no image floats, no secret is written down.
"""

from __future__ import annotations

import re
import tomllib
from collections.abc import Iterator
from functools import cache
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

from checks import compose, dockerfile
from checks.compose import Project, Service
from checks.dockerfile import Stage

LONGEST = 40  # lines of docker-compose.yml: it is to be read at a glance
EXAMPLE = {  # what `.env` must give, in the form that `docs/howto/scale.md` shows
    "POSTGRES_PASSWORD": "0123456789abcdef",
    "PASSAPAROLA_SECRET_KEY": "0123456789abcdef0123456789abcdef",
}
_SECRET = re.compile(r"PASSWORD|SECRET|TOKEN|_KEY$")
_PREFIX = "PASSAPAROLA_"


def problems(root: Path) -> Iterator[str]:
    if not (root / "Dockerfile").exists() and not (root / "docker-compose.yml").exists():
        return
    stages = dockerfile.read((root / "Dockerfile").read_text())
    project = tomllib.loads((root / "pyproject.toml").read_text())
    for problem in [*_stages(root, stages), *_image(stages, project), *_ignored(root, project)]:
        yield f"Dockerfile: {problem}"
    yield from _locks(root, project)
    text = (root / "docker-compose.yml").read_text()
    try:
        services = compose.read(text, EXAMPLE)
    except (compose.Refused, ValueError) as error:
        yield f"docker-compose.yml: {error}"
        return
    for problem in [*_written(text), *_compose(services, stages, project)]:
        yield f"docker-compose.yml: {problem}"


# --- Dockerfile -------------------------------------------------------------------------------------------------------


def _stages(root: Path, stages: list[Stage]) -> Iterator[str]:
    names = [stage.name for stage in stages]
    passes = dockerfile.let_through((root / ".dockerignore").read_text())
    for number, stage in enumerate(stages):
        if stage.base not in names[:number] and _floats(stage.base):
            yield f"FROM {stage.base} names no fixed version"
        for name in dockerfile.environment(stages, stage):
            if _SECRET.search(name):
                yield f"ENV {name} would write a secret into the image"
        for one in stage.all("COPY"):
            copy = dockerfile.copy_of(one)
            if copy.stage and copy.stage not in names[:number]:
                yield f"line {one.line}: there is no stage {copy.stage!r} before it"
            for source in [] if copy.stage else copy.sources:
                if source != "." and source not in passes:
                    yield f"line {one.line}: .dockerignore keeps {source} back"
        for one in stage.all("RUN"):
            if "pip install" in one.value and not re.search("--require-hashes|--no-index", one.value):
                yield f"line {one.line}: pip installs what no lock has pinned"


def _image(stages: list[Stage], project: dict[str, Any]) -> Iterator[str]:
    last, variables = stages[-1], dockerfile.environment(stages, stages[-1])
    user = last.last("USER")
    if user is None or not user.value.isdigit() or int(user.value) == 0:
        yield "USER must be a number other than 0"
    stop = last.last("STOPSIGNAL")
    if stop is None or stop.value != "SIGTERM":
        yield "STOPSIGNAL must be SIGTERM: that is what the program ends by"
    if variables.get("PYTHONUNBUFFERED") != "1":
        yield "PYTHONUNBUFFERED must be 1: what is logged last would be lost"
    volumes = [path for one in last.all("VOLUME") for path in one.words]
    if variables.get(f"{_PREFIX}DATA_DIR") not in volumes:
        yield "DATA_DIR must be a volume"
    ports = {port for one in last.all("EXPOSE") for port in one.words}
    if {variables.get(f"{_PREFIX}{name}") for name in ("PORT", "HEALTH_PORT")} != ports:
        yield "EXPOSE, PORT and HEALTH_PORT must be one port: the health check asks there whatever the role"
    if "/healthz" not in " ".join(dockerfile.health_command(last)):
        yield "HEALTHCHECK must ask /healthz"
    entrypoint, command = last.last("ENTRYPOINT"), last.last("CMD")
    if entrypoint is None or entrypoint.words[0] not in project["project"]["scripts"]:
        yield "ENTRYPOINT is no command of pyproject.toml"
    yield from _command(command.words if command else [])
    yield from _settings(variables)


def _ignored(root: Path, project: dict[str, Any]) -> Iterator[str]:
    """The builder gets the rooms of the wheel, what describes them and the locks: nothing less and nothing else."""
    rooms = set(project["tool"]["hatch"]["build"]["targets"]["wheel"]["packages"])
    files = {"LICENSE", "README.md", "pyproject.toml", "requirements.build.lock", "requirements.run.lock"}
    passes = set(dockerfile.let_through((root / ".dockerignore").read_text()))
    for name in sorted(passes ^ (rooms | files)):
        yield f".dockerignore {'lets through' if name in passes else 'keeps back'} {name}"


def _locks(root: Path, project: dict[str, Any]) -> Iterator[str]:
    """The image's locks hold what it needs, at the versions that were tested, with hashes."""
    tested = _pins(root / "requirements.lock")
    needed = {
        "requirements.run.lock": project["project"]["dependencies"],
        "requirements.build.lock": project["build-system"]["requires"],
    }
    for lock, requirements in needed.items():
        pins = _pins(root / lock)
        for name in {str(canonicalize_name(Requirement(text).name)) for text in requirements} - pins.keys():
            yield f"{lock} does not pin {name}: run `make lock`"
        for name, pinned in pins.items():
            if pinned != tested.get(name):
                yield f"{lock} pins another {name} than requirements.lock: run `make lock`"


def _pins(lock: Path) -> dict[str, set[str]]:
    """Package → its lines `name==version ; marker` with their hashes, without the remarks."""
    found: dict[str, set[str]] = {}
    for entry in re.split(r"^(?=[A-Za-z0-9])", lock.read_text(), flags=re.MULTILINE):
        if match := re.match(r"([A-Za-z0-9._-]+)(?:\[[^]]*\])?==([^\s;\\]+)", entry):
            hashes = " ".join(sorted(re.findall(r"--hash=\S+", entry)))
            found.setdefault(canonicalize_name(match[1]), set()).add(f"{match[2]} {hashes}")
    return found


# --- docker-compose.yml -----------------------------------------------------------------------------------------------


def _written(text: str) -> Iterator[str]:
    if (lines := len(text.splitlines())) > LONGEST:
        yield f"has {lines} lines, more than {LONGEST}"
    for line in text.splitlines():
        for name, value in re.findall(r"([A-Z_]+): *\"?([^\s,}\"]+)", line):
            if _SECRET.search(name) and not value.startswith("${"):
                yield f"{name} is written down: take it from .env"
    if re.search(r"://[^/\s:@]+:(?!\$\{)[^@\s]+@", text):
        yield "a password is written down in a URL: take it from .env"


def _compose(project: Project, stages: list[Stage], metadata: dict[str, Any]) -> Iterator[str]:
    for service in project.services.values():
        for problem in _service(service, project, stages):
            yield f"{service.name}: {problem}"
        if service.built and service.image != f"passaparola:{metadata['project']['version']}":
            yield f"{service.name}: the image's version is not that of pyproject.toml"
    from bot.live import ROLES

    served = {role for service in project.services.values() for role in roles_of(service)}
    for role in sorted(set(ROLES) - served):
        yield f"nobody has the role {role}"
    used = {name for service in project.services.values() for name in service.volumes}
    for name in sorted(used ^ project.volumes):
        yield f"the volume {name} is {'not declared' if name in used else 'not used'}"


def _service(service: Service, project: Project, stages: list[Stage]) -> Iterator[str]:
    if _floats(service.image):
        yield f"the image {service.image} names no fixed version"
    once = "service_completed_successfully" in {
        other.depends_on.get(service.name) for other in project.services.values()
    }
    if (service.restart == "no") != once:
        yield "only what others wait to be done with is not restarted"
    for name, condition in service.depends_on.items():
        other = project.services.get(name)
        if other is None:
            yield f"waits for {name}, which does not exist"
        elif condition == "service_healthy" and not (other.health or (other.built and _healthy(stages))):
            yield f"waits for {name} to be healthy, which has no health check"
    if not service.built:
        if service.health is None:
            yield "has no health check"
        return
    if any("-" not in port.rpartition(":")[0] for port in service.ports):
        yield "a single port of the machine: a second process could not start"
    volume = dockerfile.environment(stages, stages[-1]).get(f"{_PREFIX}DATA_DIR")
    if volume not in service.volumes.values():
        yield f"keeps {volume} in no volume"
    for name, value in service.environment.items():
        host = urlsplit(value).hostname if value.startswith(("postgresql", "redis")) else None
        if host is not None and host not in project.services:
            yield f"{name} names the host {host}, which is no service"
    yield from _settings(service.environment)
    yield from _command(service.command)


def roles_of(service: Service) -> list[str]:
    """The roles that a service serves; [] for one that does something else."""
    if not service.built or service.command[:1] != ["serve"] or "--roles" not in service.command:
        return []
    return service.command[service.command.index("--roles") + 1].split(",")


# --- what both name ---------------------------------------------------------------------------------------------------


def _settings(variables: dict[str, str]) -> Iterator[str]:
    from pydantic import ValidationError

    from config.settings import Settings

    ours = {name: value for name, value in variables.items() if name.startswith(_PREFIX)}
    known = {_PREFIX + name.upper(): name for name in Settings.model_fields}
    for name in sorted(ours.keys() - known.keys()):
        yield f"there is no setting {name}"
    given: dict[str, Any] = {known[name]: value for name, value in ours.items() if name in known}
    try:
        Settings(**given, _env_file=None)
    except ValidationError as error:
        yield f"{error.errors()[0]['loc'][0]} has a value that the program refuses"


def _command(words: list[str]) -> Iterator[str]:
    """Says what the program would answer to this command line; nothing is run."""

    from bot.live import ROLES
    from config import cli

    if not words or words[0] not in cli.COMMANDS:
        yield f"{' '.join(words) or 'nothing'} is no command"
        return
    group = _program()
    try:
        context = group.make_context("passaparola", list(words))
        _, command, rest = group.resolve_command(context, [*context._protected_args, *context.args])
        parameters = command.make_context(words[0], rest, parent=context).params
    except Exception as error:  # typer's own class is private
        yield f"{' '.join(words)}: {error}"
        return
    for role in str(parameters.get("roles", "all")).split(","):
        if role not in (*ROLES, "all"):
            yield f"there is no role {role}"


@cache
def _program() -> Any:
    """The `passaparola` command with all that it can do, as typer holds it."""
    from typer.main import get_command

    from config import cli

    return get_command(cli.application())


def _floats(image: str) -> bool:
    """Whether an image's name gives no version, or one that means another image tomorrow."""
    name, colon, tag = image.rpartition(":")
    return not colon or not re.search(r"\d", tag) or "latest" in tag or not name


def _healthy(stages: list[Stage]) -> bool:
    return bool(dockerfile.health_command(stages[-1]))
