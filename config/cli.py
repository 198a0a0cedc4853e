"""The `passaparola` command.

Exit status: 0 done, 1 refused, 2 called wrongly. Results go to standard output, with `--json` as one JSON document;
progress and refusals go to standard error, a refusal as one plain sentence in Italian or English, by LANG. Nobody is
shown a traceback: what is not foreseen is said in a sentence too, and told in full with PASSAPAROLA_LOG_LEVEL=debug.

Each file of `config/commands/` brings commands of one subject. Only the file of the command that is called is imported;
all of them for `--help`.
"""

from __future__ import annotations

import errno
import importlib
import os
import sys
from collections.abc import Sequence
from typing import TYPE_CHECKING

from config.sentences import say
from config.starting import import_structlog
from domain.errors import AppError

if TYPE_CHECKING:
    import typer

# Command → the file of `config/commands/` that brings it.
COMMANDS = {
    "serve": "serve",
    "demo": "demo",
    "migrate": "store",
    "doctor": "store",
    "check": "check",
    "apply": "apply",
    "channel": "channel",
    "flow": "flow",
    "contact": "contact",
    "campaign": "campaign",
    "secret": "secret",
    "stop": "stops",
    "resume": "stops",
    "parked": "parked",
    "user": "accounts",
    "apikey": "accounts",
    "version": "version",
}
ALL = tuple(sorted(set(COMMANDS.values())))
DONE, REFUSED, WRONG = 0, 1, 2


def main(arguments: Sequence[str] | None = None) -> None:
    """Runs the command line and ends the process with its exit status."""
    sys.exit(run(list(sys.argv[1:] if arguments is None else arguments)))


def run(arguments: list[str]) -> int:
    """Runs a command line; gives the exit status."""
    import_structlog()
    called = next((word for word in arguments if not word.startswith("-")), "")
    return _guarded(application([COMMANDS[called]] if called in COMMANDS else ALL), arguments)


def application(files: Sequence[str] = ALL) -> typer.Typer:
    """The commands of some files, or all."""
    import typer

    app = typer.Typer(
        name="passaparola",
        help="Passaparola: talk to your customers in chat, win consented leads.",
        rich_markup_mode=None,  # plain help: its decoration would cost every start a fifth of a second
        pretty_exceptions_enable=False,
        add_completion=False,
        no_args_is_help=False,
    )
    for name in files:
        importlib.import_module(f"config.commands.{name}").add_to(app)
    if len(files) == 1:
        app.callback()(_several)  # typer makes a single command the program itself: keep its name
    return app


def _several() -> None:
    """Passaparola: talk to your customers in chat, win consented leads."""


def _guarded(app: typer.Typer, arguments: list[str]) -> int:
    """Runs the command and turns whatever it raises into a sentence and a status."""
    import typer
    from typer.main import get_command

    try:
        status = get_command(app).main(arguments, prog_name="passaparola", standalone_mode=False)
        return status if isinstance(status, int) else DONE
    except typer.Exit as ended:
        return int(ended.exit_code)
    except (typer.Abort, KeyboardInterrupt):
        return 130
    except AppError as error:
        return _refuse(str(error))
    except BrokenPipeError:
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return REFUSED
    except OSError as error:
        if error.errno == errno.ENOSPC:
            place = error.filename or os.environ.get("PASSAPAROLA_DATA_DIR") or "PASSAPAROLA_DATA_DIR"
            return _refuse(f"no space is left on the disk: make some at {place}")
        if error.filename is None:
            return _surprised(error)
        return _refuse(f"{error.filename}: cannot be used: {error.strerror}")
    except Exception as error:
        if hasattr(error, "format_message"):  # typer's own: the command was called wrongly
            return _called_wrongly(error)
        said = getattr(getattr(error, "orig", None), "sqlite_errorname", "")
        if said in ("SQLITE_NOTADB", "SQLITE_CORRUPT"):
            return _refuse(f"the database file is damaged or is none ({said}): put a copy in its place")
        return _surprised(error)


def _refuse(sentence: str) -> int:
    print(f"passaparola: {in_language(sentence)}", file=sys.stderr)
    return REFUSED


def in_language(error: str) -> str:
    """A refusal in the person's language: `where: what`, and both parts may be long."""
    lines = []
    for line in error.splitlines():
        place, colon, what = line.partition(": ")
        whole = say(line)
        lines.append(whole if whole != line or not colon else f"{place}: {in_language(what)}")
    return "\n".join(lines)


def _called_wrongly(error: Exception) -> int:
    context = getattr(error, "ctx", None)
    path = context.command_path if context is not None else "passaparola"
    message = getattr(error, "format_message")()  # noqa: B009 (typer's own class is private)
    print(f"passaparola: {in_language(message.rstrip())} ({say(f'see {path} --help')})", file=sys.stderr)
    return WRONG


def _surprised(error: Exception) -> int:
    from config.logs import clean_text

    if os.environ.get("PASSAPAROLA_LOG_LEVEL", "").lower() == "debug":
        import traceback

        for line in traceback.format_exception(error):
            print(clean_text(line.rstrip()), file=sys.stderr)
    what = clean_text(f"{type(error).__name__}: {error}".strip(": "))
    print(f"passaparola: {say('this should not have happened')}: {what[:500]}", file=sys.stderr)
    return REFUSED


if __name__ == "__main__":
    main()
