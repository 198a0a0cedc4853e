"""`flow list|draft|versions|diff|rollback|where|replay`: a flow over time."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any

import typer

from config.commands.output import Json, perform, show, table, words

Key = Annotated[str, typer.Argument(help="The flow's key.")]
Note = Annotated[str, typer.Option(help="What has changed, for the history.")]
People = Annotated[
    str, typer.Option(help="What becomes of people in older versions: stay, move or restart.", metavar="…")
]
Map = Annotated[
    list[str] | None,
    typer.Option("--map", help="Where people at a step go: old=new. May be given several times."),
]
DryRun = Annotated[bool, typer.Option("--dry-run", help="Only say what it would mean for the people inside.")]


def add_to(group: typer.Typer) -> None:
    """Adds the commands to `flow`."""
    group.command("list")(list_all)
    group.command("draft")(draft)
    group.command("versions")(versions)
    group.command("diff")(diff)
    group.command("rollback")(roll_back)
    group.command("where")(where)
    group.command("replay")(replay)


def list_all(json: Json = False) -> None:
    """All flows: the published version of each, and where it answers."""
    found = perform("flow.list", {})["flows"]

    def lines() -> list[str]:
        everywhere, draft = words("tutti i canali", "all channels"), words("bozza", "draft")
        head = [
            words("chiave", "key"),
            words("versione", "version"),
            words("dove risponde", "answers on"),
            words("titolo", "title"),
        ]
        rows = [
            [
                one["key"],
                str(one["number"]) if one["number"] else draft,
                ", ".join(one["channel_ids"]) or everywhere,
                one["title"],
            ]
            for one in found
        ]
        return (
            table([head, *rows]) if rows else [words("non c'è ancora nessun flusso", "there is no flow yet")]
        )

    show({"flows": found}, json, lines)


def draft(
    file: Annotated[Path | None, typer.Argument(help="The file to keep as its flow's draft.")] = None,
    note: Note = "",
    revision: Annotated[
        int | None, typer.Option(help="The revision of the draft that this one was made from.")
    ] = None,
    shown: Annotated[str | None, typer.Option("--show", help="Print the draft of this flow.")] = None,
    discarded: Annotated[
        str | None, typer.Option("--discard", help="Throw the draft of this flow away.")
    ] = None,
    json: Json = False,
) -> None:
    """Keep a file as the draft of its flow, with whatever faults it has; or show or discard a draft."""
    from domain.errors import RejectedInput

    if sum(one is not None for one in (file, shown, discarded)) != 1:
        raise RejectedInput("names one of: a file, --show KEY, --discard KEY", where="flow draft")
    if shown is not None:
        found = perform("flow.draft.show", {"flow": shown})
        show(found, json, lambda: [found["document"].rstrip("\n")])
    elif discarded is not None:
        gone = perform("flow.draft.discard", {"flow": discarded})
        none = words("non c'era una bozza", "there was no draft")
        done = words("bozza eliminata", "draft discarded")
        show(gone, json, lambda: [f"{discarded}: {done if gone['discarded'] else none}"])
    elif file is not None:
        arguments = {"flow": text_of(file), "note": note, "revision": revision}
        saved = perform("flow.draft.save", arguments)
        show(saved, json, lambda: _saved(saved, str(file)))


def _saved(saved: dict[str, Any], file: str) -> list[str]:
    revision = words("bozza salvata, revisione", "draft saved, revision")
    lines = [f"{saved['key']}: {revision} {saved['revision']}"]
    for fault in saved["faults"]:
        step = f" {fault['step']}:" if fault["step"] else ""
        lines.append(f"{file}:{fault['line']}: {fault['severity']}:{step} {in_words(fault['text'])}")
    return lines


def versions(key: Key, json: Json = False) -> None:
    """The history of a flow: its versions, their notes and authors, and its draft."""
    found = perform("flow.versions", {"flow": key})

    def lines() -> list[str]:
        rows = []
        if found["draft"] is not None:
            one = found["draft"]
            name = words("bozza", "draft")
            rows.append([name, day(one["updated_at"]), one["by"], one["note"]])
        for one in found["versions"]:
            mark = "*" if one["number"] == found["published"] else " "
            rows.append([f"{mark}{one['number']}", day(one["published_at"]), one["by"], one["note"]])
        return table(rows)

    show(found, json, lines)


def diff(
    key: Key,
    before: Annotated[int | None, typer.Argument(help="A version's number; 0 is the draft.")] = None,
    after: Annotated[int | None, typer.Argument(help="The other version's number.")] = None,
    json: Json = False,
) -> None:
    """What has changed, in words: from version to version, or from the published one to the draft."""
    found = perform("flow.diff", {"flow": key, "before": before, "after": after})

    def lines() -> list[str]:
        told = [in_words(one["text"]) for one in found["differences"]]
        return told or [words("nessuna differenza", "no difference")]

    show(found, json, lines)


def roll_back(
    key: Key,
    number: Annotated[int, typer.Argument(help="The version to go back to.")],
    note: Note = "",
    people: People = "stay",
    mapped: Map = None,
    dry_run: DryRun = False,
    json: Json = False,
) -> None:
    """Make an older version the current one again, as a new version."""
    arguments = {
        "flow": key,
        "number": number,
        "note": note,
        "people": people,
        "map": mapping(mapped or []),
        "dry_run": dry_run,
    }
    result = perform("flow.rollback", arguments)
    show(result, json, lambda: published(result))


def where(key: Key, json: Json = False) -> None:
    """Who stands where: how many people wait at which step of which version."""
    found = perform("flow.where", {"flow": key})

    def lines() -> list[str]:
        nobody = words("nessuno è in questo flusso", "nobody is inside this flow")
        head = [
            words("versione", "version"),
            words("passo", "step"),
            words("persone", "people"),
            words("dal", "since"),
            words("da più di un giorno", "over a day"),
            words("da più di una settimana", "over a week"),
        ]
        rows = [
            [
                str(one["number"]),
                one["step_id"] + (" →" if one["inside"] else ""),
                str(one["people"]),
                day(one["oldest_at"]),
                str(one["over_a_day"]),
                str(one["over_a_week"]),
            ]
            for one in found["steps"]
        ]
        return table([head, *rows]) if rows else [nobody]

    show(found, json, lines)


def replay(
    conversation: Annotated[str, typer.Argument(help="The conversation's id.")],
    version: Annotated[
        str | None,
        typer.Option(help="Play it on this version of its flow (a number), or on a flow's file."),
    ] = None,
    session: Annotated[str | None, typer.Option(help="Only this session.")] = None,
    json: Json = False,
) -> None:
    """Play a conversation again and show the first difference. Nothing is sent; the audit log notes it."""
    from config.business import file_text

    chosen = version or ""
    on_file = bool(chosen) and not chosen.isdecimal()
    arguments = {
        "conversation": conversation,
        "session": session or "",
        "number": int(chosen) if chosen.isdecimal() else 0,
        "source": file_text(Path(chosen)) if on_file else "",
    }
    found = perform("flow.replay", arguments)
    show(found, json, lambda: [line for one in found["sessions"] for line in _replayed(one)])


def _replayed(one: dict[str, Any]) -> list[str]:
    number = f" {one['number']}" if one["number"] else ""
    head = f"{one['session_id']}  {one['flow']}{number}"
    if one["problem"]:
        return [f"{head}: {in_words(one['problem'])}"]
    if one["same"]:
        turns = words("turni", "turns")
        return [f"{head}: {words('uguale', 'the same')} ({one['turns']} {turns})"]
    found = one["difference"]
    at = words("primo punto diverso: turno", "first difference: turn")
    lines = [f"{head}: {at} {found['turn']}, {found['step'] or words('inizio', 'start')}"]
    if found["heard"]:
        lines.append(f"    > {found['heard']}")
    lines += [f"  {words('allora', 'then')}: {line}" for line in found["then"]]
    lines += [f"  {words('ora', 'now')}: {line}" for line in found["now"]]
    return lines


# --- what the other flow commands use, too


def text_of(path: Path) -> dict[str, Any]:
    """A flow's file and the tests beside it, as operations take them."""
    from config.business import file_text

    tests = {}
    for test in sorted(path.parent.glob("*.test.yaml")):
        tests[test.name] = file_text(test)
    return {"name": str(path), "source": file_text(path), "tests": tests}


def mapping(given: list[str]) -> dict[str, str]:
    """`old=new` as a mapping. Raises RejectedInput."""
    from domain.errors import RejectedInput

    found: dict[str, str] = {}
    for one in given:
        old, equals, new = one.partition("=")
        if not (old and equals and new):
            raise RejectedInput(f"must look like old=new, not {one!r}", where="--map")
        found[old] = new
    return found


def published(result: dict[str, Any]) -> list[str]:
    """What publishing gave, for people."""
    lines = []
    for flow in result["flows"]:
        if "version" in flow:
            unchanged = words(" (già così)", " (so already)")
            lines.append(f"{flow['key']}: {flow['version']}{'' if flow['changed'] else unchanged}")
        lines += [_prospect(one) for one in flow["people"]]
        lines += [
            words(
                f"  manca il segreto {name}: passaparola secret set {name}",
                f"  the secret {name} is missing: passaparola secret set {name}",
            )
            for name in flow.get("missing_secrets", ())
        ]
    return lines


def _prospect(one: dict[str, Any]) -> str:
    becomes = {
        "goes_on": words("continua in", "goes on at"),
        "asked_again": words("entra di nuovo in", "enters anew"),
        "restarts": words("ricomincia da", "begins again at"),
        "stays": words("resta nella sua versione", "stays in that version"),
    }[one["becomes"]]
    who = words("persone", "people")
    place = f"{words('versione', 'version')} {one['number']}, {one['step_id']}"
    return f"  {place}: {one['people']} {who}, {becomes} {one['to_step']}".rstrip()


def in_words(texts: dict[str, str]) -> str:
    """The text in the person's language."""
    from config.sentences import language

    return texts.get(language()) or texts["en"]


def day(ms: int) -> str:
    """A time for people."""
    from datetime import datetime

    return f"{datetime.fromtimestamp(ms / 1000).astimezone():%Y-%m-%d %H:%M}"
