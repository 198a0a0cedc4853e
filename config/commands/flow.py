"""`flow check|test|play|publish|import|steps`, and what `flow_versions` adds. Checking, testing, playing and importing
need no store."""

from __future__ import annotations

import json as json_module
import re
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from config.commands import flow_versions
from config.commands.flow_files import Files, compiled, flow_files
from config.commands.flow_import import import_flows
from config.commands.flow_steps import steps
from config.commands.flow_test import try_out
from config.commands.output import Json, perform, say, show, words

if TYPE_CHECKING:
    from flows.versions import CompiledFlow


def add_to(app: typer.Typer) -> None:
    """Adds the commands."""
    group = typer.Typer(help="Conversation flows.", rich_markup_mode=None)
    group.command("check")(check)
    group.command("test")(try_out)
    group.command("play")(play)
    group.command("publish")(publish)
    flow_versions.add_to(group)
    group.command("steps")(steps)
    group.command("import")(import_flows)
    app.add_typer(group, name="flow")


def check(files: Files, json: Json = False) -> None:
    """Prove flows: dead ends, loops, variables that are not set, channel limits, missing translations …"""
    from config.sentences import language
    from flows import inspection

    read = [_examined(path) for path in flow_files(files)]
    library = {flow.key: flow for _path, flow, _faults in read if flow is not None}
    checked: list[dict[str, Any]] = []
    now = int(time.time() * 1000)
    for path, flow, faults in read:
        seen = inspection.check(flow, library, beside=library, now=now) if flow is not None else []
        findings = faults if flow is None else [_finding(one) for one in seen]
        checked.append({"file": str(path), "flow": flow.key if flow else None, "findings": findings})
    found = [finding for one in checked for finding in one["findings"]]
    errors = sum(finding["severity"] == "error" for finding in found)
    result = {"flows": checked, "errors": errors, "warnings": len(found) - errors}

    def lines() -> list[str]:
        told = [_told(one["file"], finding, language()) for one in checked for finding in one["findings"]]
        return told or [words("Tutto a posto.", "All is well.")]

    show(result, json, lines)
    if errors:
        raise typer.Exit(1)


def play(
    files: Files,
    channel: Annotated[str, typer.Option(help="The kind of channel to play on.")] = "telegram",
    language: Annotated[str | None, typer.Option(help="The person's language.")] = None,
    contact: Annotated[Path | None, typer.Option(help="A JSON file with the person to begin with.")] = None,
    json: Json = False,
) -> None:
    """Play a flow: with --json one event a line in and one object a line out, else as a chat."""
    from bot.channels.base import channel_of
    from config.business import file_text
    from domain.errors import RejectedInput
    from flows import player

    channel_of(channel, where="--channel")
    person: dict[str, Any] | None = None
    if contact is not None:
        try:
            person = json_module.loads(file_text(contact))
        except (ValueError, RecursionError) as error:
            raise RejectedInput(f"not readable as JSON: {error}", where=str(contact)) from None
        if not isinstance(person, dict):
            raise RejectedInput("must be an object", where=str(contact))
    flows = [compiled(path) for path in flow_files(files)]
    inputs = sys.stdin if json else _typed()
    for turn in player.play(flows, inputs, channel_kind=channel, language=language, contact=person):
        if json:
            print(json_module.dumps(turn, ensure_ascii=False), flush=True)
        else:
            _show_turn(turn)


def publish(
    files: Annotated[
        list[Path] | None, typer.Argument(help="Flow files; a folder stands for the flows in it.")
    ] = None,
    draft: Annotated[list[str] | None, typer.Option(help="Publish the draft of this flow (its key).")] = None,
    channel: Annotated[
        list[str] | None, typer.Option(help="Answer only on this channel: id or name.")
    ] = None,
    note: flow_versions.Note = "",
    require_tests: Annotated[
        bool, typer.Option("--require-tests", help="Only if the flow's tests pass, and there are some.")
    ] = False,
    people: flow_versions.People = "stay",
    mapped: flow_versions.Map = None,
    dry_run: flow_versions.DryRun = False,
    json: Json = False,
) -> None:
    """Check flows and make them the current versions; the same text again changes nothing."""
    from config.sentences import language

    arguments = {
        "flows": [flow_versions.text_of(path) for path in flow_files(files or [])],
        "drafts": draft or [],
        "channels": channel or [],
        "note": note,
        "language": language(),
        "require_tests": require_tests,
        "people": people,
        "map": flow_versions.mapping(mapped or []),
        "dry_run": dry_run,
    }
    result = perform("flow.publish", arguments)
    show(result, json, lambda: flow_versions.published(result))


def _examined(path: Path) -> tuple[Path, CompiledFlow | None, list[dict[str, Any]]]:
    """A file's flow, or what is wrong with it, in the form of findings."""
    from domain.errors import RejectedInput
    from flows.document import DocumentRejected

    try:
        return path, compiled(path), []
    except DocumentRejected as error:
        problems = [(problem.line, problem.where, problem.what) for problem in error.problems]
    except RejectedInput as error:
        line = re.search(r", line (\d+)$", error.where)
        problems = [(int(line[1]) if line else 1, "", error.what)]
    faults = [
        {
            "severity": "error",
            "code": "unreadable",
            "step": where,
            "line": line,
            "text": {"en": what},
            "remedy": {},
        }
        for line, where, what in problems
    ]
    return path, None, faults


def _finding(finding: Any) -> dict[str, Any]:
    return {
        "severity": finding.severity,
        "code": finding.code,
        "step": finding.step,
        "line": finding.line,
        "text": dict(finding.text),
        "remedy": dict(finding.remedy),
    }


def _told(file: str, finding: dict[str, Any], language: str) -> str:
    severity = {
        "error": words("errore", "error"),
        "warning": words("avviso", "warning"),
    }[finding["severity"]]
    text = finding["text"].get(language) or say(finding["text"]["en"])
    remedy = finding["remedy"].get(language) or finding["remedy"].get("en", "")
    step = f" {finding['step']}:" if finding["step"] else ""
    return f"{file}:{finding['line']}: {severity}:{step} {text}" + (f" ({remedy})" if remedy else "")


def _typed() -> Iterator[str]:
    """What a person types: JSON objects as they are, `/after 2 days` lets time pass, all else is text."""
    for line in sys.stdin:
        text = line.strip()
        if text.startswith("{"):
            yield text
        elif text.startswith("/after "):
            yield json_module.dumps({"after": text.removeprefix("/after ").strip()})
        elif text:
            yield json_module.dumps({"text": text})


def _show_turn(turn: dict[str, Any]) -> None:
    for message in turn["messages"]:
        print(message["text"])
        for button in message["buttons"]:
            print(f"  [{button['title']}]")
        for media in message["media"]:
            print(f"  <{media.get('kind', '')}>")
    for fault in turn.get("faults", ()):
        print(f"  ! {fault}")
    if call := turn["http"]:
        answer = words("rispondi con", "answer with")
        print(f"  → {call['method']} {call['url']}")
        print(f'    ({answer} {{"http": {{"status": 200, "body": "…"}}}})')
    if turn["ended"]:
        print(words("— fine —", "— the end —"))
    sys.stdout.flush()
