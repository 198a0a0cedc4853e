"""`flow test`: the dialogues beside flows are played; for people, for programs (`--json`, `--junit`), again and again
while somebody writes (`--watch`)."""

from __future__ import annotations

import time
from pathlib import Path
from typing import Annotated, Any

import typer

from config.commands.flow_files import Files, compiled, flow_files, neighbours
from config.commands.output import Json, show, words
from config.sentences import say

LOOK_EVERY_S = 0.5  # with --watch: soon enough for somebody who has just saved a file


def try_out(
    files: Files,
    junit: Annotated[
        Path | None, typer.Option(help="Also write the results to this file, as JUnit's XML.")
    ] = None,
    watch: Annotated[
        bool, typer.Option("--watch", help="Play them again whenever a file changes, until Ctrl-C.")
    ] = False,
    json: Json = False,
) -> None:
    """Play the *.test.yaml dialogues beside flows, on a virtual clock."""
    from domain.errors import RejectedInput

    if watch and json:
        raise RejectedInput("a program that reads one document cannot watch", where="--watch")
    if watch:
        _watched(files, junit)
        return
    result = played(files)
    _written(result, junit)
    show(result, json, lambda: _lines(result))
    if result["failed"]:
        raise typer.Exit(1)


def played(files: list[Path]) -> dict[str, Any]:
    """`{tests: [{file, name, passed, line, difference, transcript, seconds}], passed, failed}`. Raises RejectedInput
    for files that cannot be read, and when there are no tests."""
    from config.business import file_text
    from domain.errors import RejectedInput
    from flows import dialogues

    paths = flow_files(files)
    tests = _tests(paths)
    if not tests:
        raise RejectedInput(f"there are no tests: {paths[0]} has no *.test.yaml beside it")
    flows = [compiled(path) for path in paths]
    flows += neighbours(paths, flows)
    results = []
    for test in tests:
        began = time.perf_counter()
        found = dialogues.run(file_text(test), str(test), flows)
        seconds = round((time.perf_counter() - began) / len(found), 4)
        results += [
            {
                "file": str(test),
                "name": one.name,
                "passed": one.passed,
                "line": one.line,
                "difference": one.difference,
                "transcript": one.transcript,
                "seconds": seconds,
            }
            for one in found
        ]
    failed = sum(not one["passed"] for one in results)
    return {"tests": results, "passed": len(results) - failed, "failed": failed}


def _tests(paths: list[Path]) -> list[Path]:
    return sorted({test for path in paths for test in path.parent.glob("*.test.yaml")})


def _lines(result: dict[str, Any]) -> list[str]:
    lines = []
    for one in result["tests"]:
        if one["passed"]:
            lines.append(f"ok  {one['file']}: {one['name']}")
        else:
            lines += [
                f"!!  {one['file']}:{one['line']}: {one['name']}",
                *(f"      {said}" for said in one["transcript"]),
                *(f"    {say(line)}" for line in one["difference"].splitlines()),
            ]
    total = words(
        f"{result['passed']} passati, {result['failed']} falliti",
        f"{result['passed']} passed, {result['failed']} failed",
    )
    return [*lines, total]


def _written(result: dict[str, Any], junit: Path | None) -> None:
    """JUnit's XML as CI servers read it (https://github.com/testmoapp/junitxml): a suite for each file."""
    if junit is None:
        return
    from xml.etree import ElementTree

    root = ElementTree.Element(
        "testsuites", tests=str(len(result["tests"])), failures=str(result["failed"]), errors="0"
    )
    suites: dict[str, list[dict[str, Any]]] = {}
    for one in result["tests"]:
        suites.setdefault(one["file"], []).append(one)
    for file, tests in suites.items():
        failed = sum(not one["passed"] for one in tests)
        suite = ElementTree.SubElement(
            root, "testsuite", name=file, tests=str(len(tests)), failures=str(failed), errors="0"
        )
        for one in tests:
            case = ElementTree.SubElement(
                suite, "testcase", classname=_plain(file), name=_plain(one["name"]), time=str(one["seconds"])
            )
            case.set("file", file)
            if not one["passed"]:
                case.set("line", str(one["line"]))
                said = "\n".join([*one["transcript"], one["difference"]])
                failure = ElementTree.SubElement(case, "failure", message=_plain(one["difference"])[:1_000])
                failure.text = _plain(said)
    junit.parent.mkdir(parents=True, exist_ok=True)
    ElementTree.ElementTree(root).write(junit, encoding="utf-8", xml_declaration=True)


def _plain(text: str) -> str:
    """Text without the control characters that XML 1.0 has no place for."""
    return "".join(c for c in text if c in "\t\n\r" or (ord(c) >= 32 and not 0xD800 <= ord(c) <= 0xDFFF))


def _watched(files: list[Path], junit: Path | None) -> None:
    """Plays once, and again after every change of a flow or a test; what cannot be read is said, and watched too."""
    from domain.errors import RejectedInput

    seen: dict[Path, tuple[int, int]] | None = None
    try:
        while True:
            now = _state(files)
            if now != seen:
                seen = now
                try:
                    result = played(files)
                    _written(result, junit)
                    print("\n".join(_lines(result)), flush=True)
                except RejectedInput as error:
                    print(error, flush=True)
                print(words("— in attesa di cambiamenti —", "— waiting for changes —"), flush=True)
            time.sleep(LOOK_EVERY_S)
    except KeyboardInterrupt:
        return


def _state(files: list[Path]) -> dict[Path, tuple[int, int]]:
    """When each file was last written, and its size; a file that is gone for a moment is not there."""
    found: dict[Path, tuple[int, int]] = {}
    folders = {path if path.is_dir() else path.parent for path in files}
    for path in (each for folder in folders for each in folder.rglob("*.yaml")):
        try:
            there = path.stat()
        except OSError:
            continue
        found[path] = (there.st_mtime_ns, there.st_size)
    return found
