"""Each rule of `make check`, broken on purpose in a small house, says so; a sound house passes."""

from __future__ import annotations

from pathlib import Path

import pytest
from aiohttp import web
from sqlalchemy import BigInteger, Column, MetaData, Table

from checks import dependencies, http_client, lock_files, routes, tables, words
from domain.access import access, policy_of

HASH = "    --hash=sha256:" + "0" * 64
PYPROJECT = """
[build-system]
requires = ["hatchling>=1"]
[project]
dependencies = ["aiohttp>=3.14,<3.15"]
[dependency-groups]
dev = ["pytest>=9"]
"""
LOCK = f"""aiohttp==3.14.5 \\
{HASH}
hatchling==1.33.0 \\
{HASH}
    # via passaparola
pytest==9.2.0 ; sys_platform != 'win32' \\
{HASH}
"""
GOOD_ROUTE = """
@access("webhook")
async def receive(request: web.Request) -> web.Response: ...
app.router.add_post("/webhooks", receive)
"""


@pytest.fixture
def house(tmp_path: Path) -> Path:
    """A project in which every rule holds."""
    (tmp_path / "webhooks").mkdir()
    (tmp_path / "webhooks" / "receive.py").write_text(GOOD_ROUTE)
    (tmp_path / "pyproject.toml").write_text(PYPROJECT)
    (tmp_path / "requirements.lock").write_text(LOCK)
    return tmp_path


@pytest.mark.parametrize("rule", [dependencies, lock_files, routes, http_client, words])
def test_a_sound_house_passes(house: Path, rule: object) -> None:
    """No rule complains about a project that keeps them."""
    assert list(rule.problems(house)) == []  # type: ignore[attr-defined]


@pytest.mark.parametrize(
    ("before", "after", "said"),
    [
        pytest.param(
            'aiohttp>=3.14,<3.15"', 'aiohttp>=3.14", "redis>=8"', "redis is in pyproject", id="missing"
        ),
        pytest.param("aiohttp>=3.14,<3.15", "aiohttp>=4", "pins aiohttp 3.14.5", id="other version"),
        pytest.param("pytest>=9", "mypy==2.4.1", "mypy is in pyproject", id="development group"),
        pytest.param("hatchling>=1", "flit-core", "flit-core is in pyproject", id="build system"),
    ],
)
def test_a_dependency_that_is_not_locked(house: Path, before: str, after: str, said: str) -> None:
    """Every requirement is pinned at a version that pyproject allows."""
    (house / "pyproject.toml").write_text(PYPROJECT.replace(before, after))
    assert [problem for problem in dependencies.problems(house) if said in problem]


def test_a_pin_without_hash(house: Path) -> None:
    """A pin without a hash would install whatever a registry hands out."""
    (house / "requirements.lock").write_text(LOCK.replace(f"aiohttp==3.14.5 \\\n{HASH}", "aiohttp==3.14.5"))
    assert list(dependencies.problems(house)) == ["aiohttp has no hash in requirements.lock: run `make lock`"]


def test_what_is_compared_with_is_locked_and_imported_apart(house: Path) -> None:
    """A peer's group has its own lock, and only the peers' folder may import it."""
    peers = house / "benchmarks" / "peers"
    peers.mkdir(parents=True)
    (house / "pyproject.toml").write_text(
        PYPROJECT.replace("[dependency-groups]\n", '[dependency-groups]\npeers = ["aiogram>=3"]\n')
    )
    (peers / "requirements.lock").write_text("aiohttp==3.14.5\n")
    (peers / "form.py").write_text("import aiogram\n")
    (house / "benchmarks" / "speed.py").write_text("import aiogram\n")
    assert list(dependencies.problems(house)) == [
        "aiogram is in pyproject.toml but not in benchmarks/peers/requirements.lock: run `make lock`",
        "benchmarks/speed.py imports aiogram, which pyproject.toml does not declare",
    ]


@pytest.mark.parametrize(
    "statement", ["import yarl", "from redis.asyncio import Redis", "def f():\n    import pytest"]
)
def test_an_import_that_nobody_declared(house: Path, statement: str) -> None:
    """What is only there because another package needs it, or only for development, is not for the rooms."""
    (house / "webhooks" / "sly.py").write_text(statement)
    [problem] = dependencies.problems(house)
    assert problem.startswith("webhooks/sly.py imports ")


@pytest.mark.parametrize(
    ("name", "line"),
    [
        ("requirements.lock", "--index-url https://packages.example.org/simple"),
        ("requirements.lock", "aiohttp @ https://packages.example.org/aiohttp.whl"),
        ("uv.lock", 'source = { registry = "https://packages.example.org/simple" }'),
        ("package-lock.json", '      "resolved": "https://packages.example.org/htmx.tgz",'),
        (".npmrc", "registry=http://10.0.0.1:4873"),
    ],
)
def test_a_lock_that_names_a_host(house: Path, name: str, line: str) -> None:
    """A lock with a host works only where that host answers."""
    with (house / name).open("a") as file:
        file.write(line + "\n")
    assert [problem for problem in lock_files.problems(house) if problem.startswith(name)]


def test_a_table_without_workspace() -> None:
    """A table without workspace_id, or with one that may be empty, is named."""
    metadata = MetaData()
    Table("apart", metadata, Column("workspace_id", BigInteger, nullable=False))
    Table("shared", metadata, Column("id", BigInteger))
    Table("careless", metadata, Column("workspace_id", BigInteger, nullable=True))
    assert list(tables.without_workspace(metadata)) == [
        "table careless lets workspace_id be empty",
        "table shared has no workspace_id",
    ]


@pytest.mark.parametrize(
    "code",
    [
        "async def open(request: web.Request) -> web.Response: ...",
        "async def open(request: web.Request) -> web.StreamResponse: ...",
        "async def open(request: 'web.Request') -> 'web.Response': ...",
        "class Pages:\n    async def open(self, request: web.Request) -> web.Response: ...",
        "app.router.add_get('/x', lambda request: web.Response())",
        "app.router.add_route('GET', '/x', handler=_hidden)",
        "app.add_routes([web.get('/x', _hidden)])",
        "app.router.add_static('/files', 'folder')",
    ],
)
@pytest.mark.parametrize("room", ["webhooks", "console", "api"])
def test_a_route_without_access_policy(house: Path, room: str, code: str) -> None:
    """However a route is made, it states who may call it."""
    (house / room).mkdir(exist_ok=True)
    (house / room / "open.py").write_text(code)
    [problem] = routes.problems(house)
    assert problem.startswith(f"{room}/open.py:")


async def test_a_built_application_is_asked_too() -> None:
    """A route whose handler states no policy is named by method and path."""

    @access("api:contacts.read")
    async def stated(request: web.Request) -> web.Response:
        return web.Response()

    async def silent(request: web.Request) -> web.Response:
        return web.Response()

    application = web.Application()
    application.router.add_post("/stated", stated)
    application.router.add_post("/silent/{id}", silent)
    assert policy_of(stated) == "api:contacts.read"
    assert list(routes.undeclared(application)) == ["POST /silent/{id}"]


def test_a_policy_that_does_not_exist() -> None:
    """A mistyped policy fails when the module is imported."""
    with pytest.raises(ValueError, match="no such access policy: 'pubic'"):
        access("pubic")


def test_a_second_http_session(house: Path) -> None:
    """A session, or another client, outside the two places that may have one; the simulators have their own."""
    for room in ("bot", "campaigns", "simulators"):
        (house / room).mkdir()
        (house / room / "calls.py").write_text("session = aiohttp.ClientSession()")
    (house / "bot/outgoing").mkdir()
    (house / "bot/outgoing/client.py").write_text("session = aiohttp.ClientSession()")
    (house / "campaigns/feeds.py").write_text(
        "from urllib.request import urlopen\nimport http.client, httpx\n"
    )
    (house / "campaigns/links.py").write_text("aiohttp.request('GET', url)\n")
    assert sorted(http_client.problems(house)) == [
        "bot/calls.py makes an HTTP session of its own; ask through bot/outgoing/client.py",
        "campaigns/calls.py makes an HTTP session of its own; ask through bot/outgoing/client.py",
        "campaigns/feeds.py uses http.client; ask through bot/outgoing/client.py",
        "campaigns/feeds.py uses httpx; ask through bot/outgoing/client.py",
        "campaigns/feeds.py uses urllib.request.urlopen; ask through bot/outgoing/client.py",
        "campaigns/links.py uses aiohttp.request; ask through bot/outgoing/client.py",
    ]


@pytest.mark.parametrize(
    "line",
    [
        "see https://" + "pypi" + ".org/simple",
        "cd /ho" + "me/anna/passaparola",
        "# TO" + "DO later",
        "raise NotImplemented" + "Error",
    ],
)
def test_words_that_must_not_be_there(house: Path, line: str) -> None:
    """Hosts of registries, one machine's paths and unfinished work are named with file and line."""
    (house / "README.md").write_text(f"# House\n{line}\n")
    [problem] = words.problems(house)
    assert problem.startswith("README.md:2 holds ")
