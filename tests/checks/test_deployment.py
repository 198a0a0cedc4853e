"""The Dockerfile and docker-compose.yml: read, spoiled on purpose, and rehearsed as processes without Docker."""

from __future__ import annotations

import shutil
import sys
from pathlib import Path

import aiohttp
import pytest

from checks import compose, deployment, dockerfile, rehearsal
from checks.dockerfile import Builder, Built, NotSupported
from config.bootstrap import build
from config.settings import Settings
from domain.errors import RejectedInput
from tests.canary import CANARY_TOKEN
from tests.support.run import Run

ROOT = Path(__file__).resolve().parents[2]
FILES = (
    "Dockerfile",
    ".dockerignore",
    "docker-compose.yml",
    "pyproject.toml",
    "requirements.lock",
    "requirements.run.lock",
    "requirements.build.lock",
)


@pytest.fixture
def house(tmp_path: Path) -> Path:
    """A copy of what the rule reads."""
    for name in FILES:
        shutil.copy(ROOT / name, tmp_path)
    return tmp_path


def test_both_files_fit_the_program() -> None:
    assert list(deployment.problems(ROOT)) == []


SPOILED = [
    ("Dockerfile", "python:3.13-slim", "python:latest", "names no fixed version"),
    ("Dockerfile", "USER 10001", "USER root", "USER must be a number other than 0"),
    ("Dockerfile", "USER 10001", "USER 0", "USER must be a number other than 0"),
    ("Dockerfile", "STOPSIGNAL SIGTERM", "STOPSIGNAL SIGKILL", "STOPSIGNAL must be SIGTERM"),
    ("Dockerfile", " PYTHONUNBUFFERED=1", "", "PYTHONUNBUFFERED must be 1"),
    ("Dockerfile", "VOLUME /data", "VOLUME /store", "DATA_DIR must be a volume"),
    ("Dockerfile", "EXPOSE 8080", "EXPOSE 80", "must be one port"),
    ("Dockerfile", "/healthz", "/", "HEALTHCHECK must ask /healthz"),
    ("Dockerfile", 'ENTRYPOINT ["passaparola"]', 'ENTRYPOINT ["flask"]', "ENTRYPOINT is no command"),
    ("Dockerfile", 'CMD ["serve"]', 'CMD ["server"]', "server is no command"),
    ("Dockerfile", "_HOST=0.0.0.0", "_HOTS=0.0.0.0", "there is no setting PASSAPAROLA_HOTS"),
    ("Dockerfile", "_PORT=8080 PASSAPAROLA_HEALTH", "_PORT=eighty PASSAPAROLA_HEALTH", "port has a value"),
    ("Dockerfile", "ENV PASSAPAROLA_HOST", "ENV PASSAPAROLA_SECRET_KEY=x PASSAPAROLA_HOST", "write a secret"),
    ("Dockerfile", "--from=build /build", "--from=bulid /build", "there is no stage 'bulid'"),
    ("Dockerfile", "COPY requirements.run.lock", "COPY requirements.lock", "keeps requirements.lock back"),
    ("Dockerfile", "install --require-hashes --only", "install --only", "what no lock has pinned"),
    (".dockerignore", "!webhooks", "", "keeps back webhooks"),
    (".dockerignore", "!webhooks", "!webhooks\n!.env", "lets through .env"),
    ("requirements.run.lock", "aiohttp==", "aiohttp==1.", "pins another aiohttp"),
    ("requirements.run.lock", "aiohttp==", "nothing==", "does not pin aiohttp"),
    ("docker-compose.yml", "x-app: &app", "\n" * 10 + "x-app: &app", "more than 40"),
    ("docker-compose.yml", "postgres:18", "postgres", "names no fixed version"),
    ("docker-compose.yml", "valkey:9", "valkey:latest", "names no fixed version"),
    ("docker-compose.yml", "PASSAPAROLA_REDIS_URL", "PASSAPAROLA_REDIS", "no setting PASSAPAROLA_REDIS"),
    ("docker-compose.yml", "@postgres/", "@database/", "names the host database, which is no service"),
    ("docker-compose.yml", "LOG_FORMAT: json", "LOG_FORMAT: xml", "log_format has a value"),
    ("docker-compose.yml", "--roles sender", "--roles sendr", "there is no role sendr"),
    ("docker-compose.yml", "--roles sender", "--roles worker", "nobody has the role sender"),
    ("docker-compose.yml", "--roles sender", "--role sender", "serve --role sender: "),
    ("docker-compose.yml", "command: migrate", "command: upgrade", "upgrade is no command"),
    ("docker-compose.yml", "{migrate: {cond", "{migration: {cond", "waits for migration, which does not"),
    (
        "docker-compose.yml",
        "healthcheck: {test: [CMD, valkey",
        "deploy: {test: [CMD, valkey",
        "no health check",
    ),
    ("docker-compose.yml", 'restart: "no"', "restart: always", "only what others wait to be done with"),
    (
        "docker-compose.yml",
        "    restart: unless-stopped\n    command: valkey",
        "    command: valkey",
        "only what",
    ),
    ("docker-compose.yml", '"127.0.0.1:8080-8089:8080"', '"8080:8080"', "a second process could not start"),
    ("docker-compose.yml", '["data:/data"]', '["data:/srv"]', "keeps /data in no volume"),
    ("docker-compose.yml", "volumes: {data: {}, ", "volumes: {", "the volume data is not declared"),
    ("docker-compose.yml", "volumes: {data: {}, ", "volumes: {old: {}, data: {}, ", "volume old is not used"),
    ("docker-compose.yml", "worker: {<<", "worker: {container_name: one, <<", "this key is not used"),
    ("docker-compose.yml", '"${POSTGRES_PASSWORD:?set it in .env}"', "canary-1", "is written down"),
    (
        "docker-compose.yml",
        "passaparola:${POSTGRES_PASSWORD:?set it in .env}@",
        "passaparola:pw@",
        "in a URL",
    ),
    ("pyproject.toml", 'version = "0.', 'version = "7.', "the image's version is not that of"),
]


@pytest.mark.parametrize(("file", "old", "new", "said"), SPOILED, ids=[row[3] for row in SPOILED])
def test_a_spoiled_file_is_noticed(house: Path, file: str, old: str, new: str, said: str) -> None:
    """Each thing that the rule promises, broken on purpose, is said."""
    text = (house / file).read_text()
    assert old in text
    (house / file).write_text(text.replace(old, new, 1))
    found = list(deployment.problems(house))
    assert any(said in problem for problem in found), found


@pytest.mark.parametrize("name", sorted(deployment.EXAMPLE))
def test_what_all_processes_share_must_be_given(name: str) -> None:
    """Without the secret key, or the database's password, nothing starts, and the refusal names it."""
    given = {key: value for key, value in deployment.EXAMPLE.items() if key != name}
    with pytest.raises(compose.Refused, match=f"required variable {name} is missing a value: set it in .env"):
        compose.read((ROOT / "docker-compose.yml").read_text(), given)


def test_compose_fills_in_variables() -> None:
    text = "services: {a: {image: 'x:1', command: 'a $$b ${C:-d e} ${F}', environment: {G: '${H:?told}'}}}"
    project = compose.read(text, {"H": "h"})
    assert project.services["a"].command == ["a", "$b", "d", "e"]
    assert project.services["a"].environment == {"G": "h"}
    assert project.asked == {"C", "F", "H"}


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("FROM a:1\nADD x /\n", "line 2: ADD is not used"),
        ("RUN a\n", "line 1: RUN before FROM"),
        ("FROM a:1\nRUN a \\\n", "line 2: the last instruction does not end"),
    ],
)
def test_an_instruction_that_is_not_known_is_refused(text: str, said: str) -> None:
    with pytest.raises(NotSupported, match=said):
        dockerfile.read(text)


SMALL = """
FROM python:3.13-slim AS base
ENV GREETING="good day"
FROM base AS build
WORKDIR /build
COPY . ./
# a remark in the middle
RUN mkdir dist \\
    # and another
    && python -c "import os; open('dist/said', 'w').write(os.environ['GREETING'])" \\
    && cp notes/kept dist/
FROM base
WORKDIR /srv
COPY --from=build /build/dist ./dist
RUN useradd somebody
VOLUME /data
ENTRYPOINT ["sh"]
CMD ["-c", "exit 0"]
"""


def test_steps_are_carried_out_without_docker(tmp_path: Path) -> None:
    """COPY takes what .dockerignore lets through, RUN sees ENV and WORKDIR, what needs root is said and left out."""
    project = tmp_path / "project"
    (project / "notes" / "__pycache__").mkdir(parents=True)
    for name in ("notes/kept", "notes/__pycache__/x", "secret"):
        (project / name).write_text(name)
    (project / "Dockerfile").write_text(SMALL)
    (project / ".dockerignore").write_text("*\n!notes\n**/__pycache__\n")
    said: list[str] = []
    built = Builder(project, tmp_path / "build", python=sys.executable, say=said.append).build()
    assert {path.name for path in (built.root / "srv" / "dist").iterdir()} == {"said", "kept"}
    assert (built.root / "srv" / "dist" / "said").read_text() == "good day"
    assert (built.root / "data").is_dir()
    assert (built.entrypoint, built.command, built.health) == (["sh"], ["-c", "exit 0"], [])
    sent = {path.name for path in (tmp_path / "build" / "stage-build").rglob("*") if path.is_file()}
    assert sent == {"kept", "said"}
    assert [line for line in said if "NOT run" in line] == [
        "[2] NOT run, needs root (useradd): RUN useradd somebody"
    ]


@pytest.mark.timeout(240)  # a dozen processes start one after the other on two cores
async def test_the_compose_file_comes_up_answers_is_replaced_and_ends(
    tmp_path: Path, run: Run, postgres_url: str, redis_url: str
) -> None:
    """The services as processes: migrated, healthy, webhook to reply, a rolling restart, SIGTERM with status 0."""
    stages = dockerfile.read((ROOT / "Dockerfile").read_text())
    built = Built(
        root=tmp_path,
        bin=Path(sys.executable).parent,
        environment=dockerfile.environment(stages, stages[-1]),
        entrypoint=["passaparola"],
        command=["serve"],
        health=dockerfile.health_command(stages[-1]),
    )
    said: list[str] = []
    await rehearsal.rehearse(
        built,
        tmp_path,
        database_url=postgres_url,
        redis_url=redis_url,
        say=said.append,
        started=run.record,
    )
    assert said[0] == "migrate: done"
    assert [line for line in said if line.startswith("worker: healthy")] != []
    assert said[-1].startswith("SIGTERM: all of web, worker, worker, sender, scheduler ended with status 0")


def _settings(folder: Path, url: str, **given: object) -> Settings:
    values: dict[str, object] = {"data_dir": folder, "database_url": url, "port": 0, **given}
    return Settings(_env_file=None, **values)  # type: ignore[arg-type]


async def test_a_process_without_web_answers_probes_only(tmp_path: Path, postgres_url: str) -> None:
    """On its health port: alive, ready, metrics; no console, no API, no webhooks. A command beside it is quiet."""
    port = rehearsal.free_port()
    settings = _settings(tmp_path, postgres_url, health_port=port)
    async with build(settings, roles=("worker",)) as app, aiohttp.ClientSession() as session:
        assert app.port == 0
        found = {}
        for path in (
            "/healthz",
            "/readyz",
            "/metrics",
            "/console",
            "/api/v1/contacts",
            "/webhooks/telegram/x",
        ):
            async with session.get(f"http://127.0.0.1:{port}{path}") as response:
                found[path] = response.status
        assert list(found.values()) == [200, 200, 200, 404, 404, 404]
        async with build(settings, roles=()):  # would be refused: the port is taken
            pass


async def test_a_process_with_another_secret_key_does_not_start(tmp_path: Path, postgres_url: str) -> None:
    """Machines that were given different keys notice at the start, before one of them handles anything."""
    first = _settings(tmp_path / "a", postgres_url, secret_key="a" * 40)
    other = _settings(tmp_path / "b", postgres_url, secret_key="b" * 40)
    async with build(first, roles=()) as app:
        from config import control
        from config.operations import run as operate

        values = {"kind": "telegram", "name": "shop", "values": {"token": CANARY_TOKEN}}
        await operate(await control.context_of(app, lambda *_: None), "channel.add", values)
    with pytest.raises(RejectedInput, match="SECRET_KEY is not the one"):
        async with build(other, roles=("worker",)):
            pass
