"""`check`: prints every registry. A thing that is registered twice, or a route without a policy, fails it (and every
start), because registering refuses it."""

from __future__ import annotations

import importlib
import pkgutil
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import typer

from config.commands.output import Json, show


def add_to(app: typer.Typer) -> None:
    """Adds the command."""
    app.command("check")(check)


def check(json: Json = False) -> None:
    """Print what this installation knows: channels, steps, answers, operators, effects, jobs, routes …"""
    result = registries()
    show(result, json, lambda: _lines(result))


def registries() -> dict[str, Any]:
    """Every registry as data. Raises RuntimeError when one is not whole."""
    from typing import get_args

    from bot import effects, handlers, privacy_jobs
    from bot.channels import base
    from config import logs, serving
    from config.operations import registry as operations
    from crm import privacy
    from crm.segments.operators import twins
    from domain import crash, operators
    from domain.events import Event
    from flows import answers, steps
    from storage import jobs

    logs.configure("error")
    assert privacy_jobs.__all__  # its import registers its jobs and erasers
    known = set(operators.registry())
    missing = known ^ set(twins())
    if missing:
        raise RuntimeError(
            f"operators without a counterpart in SQL, or the other way round: {', '.join(sorted(missing))}"
        )
    unheard = [event.__name__ for event in get_args(Event) if event not in handlers.registry()]
    return {
        "channels": sorted(base.registry()),
        "steps": sorted(steps.registry()),
        "answers": sorted(answers.registry()),
        "operators": sorted(known),
        "effects": sorted(effect.__name__ for effect in effects.registry()),
        "events": sorted(event.__name__ for event in handlers.registry()),
        "events_handled_at_intake": sorted(unheard),
        "jobs": sorted(jobs.kinds()),
        "erasers": sorted(privacy.erasers()),
        "operations": sorted(operations()),
        "api_resources": _files("api.resources"),
        "console_pages": _files("console.pages"),
        "crash_points": dict(sorted(crash.POINTS.items())),
        "routes": serving.run(routes()),
    }


def _files(package: str) -> list[str]:
    """The files of a folder whose scan fills a registry."""
    folder = importlib.import_module(package)
    return sorted(module.name for module in pkgutil.iter_modules(folder.__path__))


async def routes() -> list[str]:
    """Every HTTP route with its policy, of an application made for this in an empty folder. Raises RuntimeError for a
    route without a policy."""
    from config.bootstrap import build
    from config.settings import Settings
    from domain.access import policy_of

    found = []
    with TemporaryDirectory() as folder:
        settings = Settings(
            data_dir=Path(folder), database_url="", redis_url="", secret_key=None, crash_at=""
        )
        async with build(settings, roles=()) as app:
            for route in app.application().router.routes():
                policy = policy_of(route.handler)
                path = route.resource.canonical if route.resource else "?"
                if policy is None:
                    raise RuntimeError(f"{route.method} {path} states no access policy")
                if route.method != "HEAD":  # comes with every GET
                    found.append(f"{route.method} {path} ({policy})")
    return sorted(found)


def _lines(result: dict[str, Any]) -> list[str]:
    lines = []
    for name, found in result.items():
        lines.append(f"{name.replace('_', ' ')} ({len(found)})")
        lines += [f"  {one}" + (f"  {found[one]}" if isinstance(found, dict) else "") for one in found]
    return lines
