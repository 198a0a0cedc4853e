"""Bad input at the command line: what is refused, with which exit status, in which words, in both languages.

No refusal shows a traceback or a secret, and none leaves anything half-written."""

from __future__ import annotations

import errno
from typing import NamedTuple

import pytest

from tests.canary import CANARIES, CANARY_TOKEN
from tests.support.command import Command, passaparola

__all__ = ["passaparola"]


class Case(NamedTuple):
    line: str  # words of the command line; FILE stands for the file
    status: int
    english: str
    italian: str
    file: str | bytes = ""
    settings: tuple[tuple[str, str], ...] = ()


ADD = "channel add telegram --name shop --token"
BUSINESS = "business: Shop\n"

CASES = [
    # --- called wrongly: 2
    Case("dance", 2, "No such command 'dance'", "Il comando 'dance' non esiste"),
    Case("channel dance", 2, "No such command 'dance'", "Il comando 'dance' non esiste"),
    Case("channel add pigeon --name x", 2, "No such command 'pigeon'", "Il comando 'pigeon' non esiste"),
    Case("channel add telegram --name x", 2, "Missing option '--token'", "Manca l'opzione '--token'"),
    Case("channel list --jason", 2, "No such option: --jason", "L'opzione --jason non esiste"),
    Case("flow check", 2, "Missing argument 'files'", "Manca l'argomento 'files'"),
    Case(
        "parked list --limit many",
        2,
        "'--limit': Input should be a valid integer",
        "'--limit': deve essere un numero intero",
    ),
    Case("stop --channel a --campaign b", 2, "one of channel, campaign, installation", "uno solo tra canale"),
    # --- settings
    Case(
        "doctor",
        1,
        "PASSAPAROLA_PORT: must be a whole number",
        "PASSAPAROLA_PORT: deve essere un numero intero",
        settings=(("PORT", "lots"),),
    ),
    Case(
        "serve",
        1,
        "PASSAPAROLA_PROT: there is no such setting; the nearest one is PASSAPAROLA_PORT",
        "PASSAPAROLA_PROT: questa impostazione non esiste; la più vicina è PASSAPAROLA_PORT",
        settings=(("PROT", "1"),),
    ),
    Case(
        "doctor",
        1,
        "PASSAPAROLA_SECRET_KEY: must have at least 32 characters",
        "deve avere almeno 32 caratteri",
        settings=(("SECRET_KEY", "short"),),
    ),
    Case(
        "doctor",
        1,
        "PASSAPAROLA_DATABASE_URL: 'mysql' is not served",
        "'mysql' non è supportato",
        settings=(("DATABASE_URL", "mysql://user:TEST@127.0.0.1/x"),),
    ),
    Case(
        "doctor",
        1,
        "PASSAPAROLA_DATABASE_URL: is not a database URL",
        "non è un indirizzo di database",
        settings=(("DATABASE_URL", "::::"),),
    ),
    Case(
        "doctor",
        1,
        "the store does not answer",
        "il database non risponde",
        settings=(("DATABASE_URL", "postgresql+asyncpg://user:TEST@127.0.0.1:1/x"),),
    ),
    Case(
        "migrate",
        1,
        "leads to 127.0.0.1:1, database x, user user; mend the server or the setting",
        "porta a 127.0.0.1:1, database x, utente user; va sistemato il server o l'impostazione",
        settings=(("DATABASE_URL", "postgresql+asyncpg://user:TEST@127.0.0.1:1/x"),),
    ),
    Case(
        "serve",
        1,
        "/proc/nowhere: cannot be used: ",
        "/proc/nowhere: non si può usare: ",
        settings=(("DATA_DIR", "/proc/nowhere"),),
    ),
    Case(
        "doctor",
        1,
        "PASSAPAROLA_CRASH_AT: 'now' is not a crash point",
        "'now' non è un punto di interruzione",
        settings=(("CRASH_AT", "now"),),
    ),
    Case(
        "serve --roles cook",
        1,
        "must be one of all, web, worker, sender, scheduler",
        "deve essere uno di: all, web",
    ),
    # --- things
    Case(
        f"{ADD} nonsense",
        1,
        "--token: does not have the form",
        "--token: non ha la forma che gli dà la piattaforma",
    ),
    Case(f"{ADD} {CANARY_TOKEN} --mode pigeon", 1, "must be", "deve essere"),
    Case(f"{ADD} {CANARY_TOKEN} --bulk-per-second 0", 1, "--bulk-per-second: ", "--bulk-per-second: "),
    Case("channel test nobody", 1, "there is no channel 'nobody'", "il canale 'nobody' non esiste"),
    Case("parked retry con_x", 1, "not an event id (they look like evt_", "non è un id di tipo event"),
    Case("contact erase con_x", 1, "not a contact id (they look like con_", "non è un id di tipo contact"),
    Case("contact erase con_0000000000007", 1, "no such contact", "contatto non esiste"),
    Case("campaign start cam_0000000000007", 1, "no such campaign", "campagna non esiste"),
    Case("campaign preview con_0000000000007", 1, "not a campaign id", "non è un id di tipo campaign"),
    Case(
        "parked retry evt_0000000000007",
        1,
        "there is no such parked event",
        "non è tra quelli messi da parte",
    ),
    Case(
        "user add --email nobody --role owner",
        1,
        "must be an e-mail address",
        "deve essere un indirizzo e-mail",
    ),
    Case(
        "user add --email a@example.com --role king",
        1,
        "role: must be one of owner",
        "role: deve essere uno di: owner",
    ),
    Case(
        "apikey add --name x --scope everything",
        1,
        "must look like contacts:read",
        "deve avere la forma contacts:read",
    ),
    Case(
        "stop --what me",
        1,
        "what: must be one of marketing, everything",
        "what: deve essere uno di: marketing",
    ),
    # --- files
    Case("flow check nowhere.yaml", 1, "there is no such file", "questo file non esiste"),
    Case(
        "flow publish nowhere.yaml",
        1,
        "nowhere.yaml: there is no such file",
        "nowhere.yaml: questo file non esiste",
    ),
    Case("flow play FILE", 1, "is not text in UTF-8", "non è testo in UTF-8", file=b"\xff\xfe\x00"),
    Case("flow check FILE", 1, "input.yaml:2: error", "input.yaml:2: errore", file="flow: [unclosed"),
    Case(
        "flow publish FILE",
        1,
        "line 1, start: is missing",
        "line 1, start: manca",
        file="flow: x\nsteps: {a: {end: done}}\n",
    ),
    Case(
        "flow test FILE",
        1,
        "there are no tests",
        "non ci sono prove",
        file="flow: x\nstart: a\nsteps: {a: {end: done}}\n",
    ),
    Case(
        "flow play FILE --channel pigeon",
        1,
        "unknown channel kind 'pigeon'",
        "tipo di canale 'pigeon' sconosciuto",
        file="flow: x\nstart: a\nsteps: {a: {end: done}}\n",
    ),
    Case("apply nowhere.yaml", 1, "there is no such file", "questo file non esiste"),
    Case("apply FILE", 1, "business: is missing", "business: manca", file="locale: it\n"),
    Case(
        "apply FILE",
        1,
        "line 2, colour: there is no such key",
        "line 2, colour: questa chiave non esiste",
        file=BUSINESS + "colour: red\n",
    ),
    Case(
        "apply FILE",
        1,
        "timezone: must be a time zone",
        "timezone: deve essere un fuso orario",
        file=BUSINESS + "timezone: Mars/Base\n",
    ),
    Case(
        "apply FILE",
        1,
        "the environment has no SHOP_TOKEN",
        "nell'ambiente non c'è SHOP_TOKEN",
        file=BUSINESS + 'channels:\n  - {kind: telegram, name: a, token: "${SHOP_TOKEN}"}\n',
    ),
    Case(
        "apply FILE",
        1,
        "line 3, channels.0.token: does not have the form",
        "line 3, channels.0.token: non ha la forma",
        file=BUSINESS + "channels:\n  - {kind: telegram, name: a, token: nonsense}\n",
    ),
    Case(
        "apply FILE",
        1,
        "a telegram channel has no such setting",
        "un canale telegram non ha questa impostazione",
        file=BUSINESS + "channels:\n  - {kind: telegram, name: a, token: '7:TEST-token-0000', tokn: x}\n",
    ),
    Case(
        "apply FILE",
        1,
        "channels.0.kind: must be one of telegram",
        "channels.0.kind: deve essere uno di: telegram",
        file=BUSINESS + "channels:\n  - {kind: pigeon, name: a}\n",
    ),
    Case(
        "apply FILE",
        1,
        "quiet_hours.from: must be a time such as 21:00",
        "quiet_hours.from: deve essere un'ora",
        file=BUSINESS + "quiet_hours: {from: late, to: '09:00'}\n",
    ),
    Case(
        "apply FILE",
        1,
        "opening_hours.always: must be a day",
        "opening_hours.always: deve essere un giorno",
        file=BUSINESS + "opening_hours: {always: ['09:00-10:00']}\n",
    ),
    Case(
        "apply FILE",
        1,
        "texts.hymn: there is no such text",
        "texts.hymn: questo testo non esiste",
        file=BUSINESS + "texts: {hymn: {en: la la}}\n",
    ),
    Case(
        "apply FILE",
        1,
        "keywords.0: needs words, and either answer or flow",
        "keywords.0: vuole words",
        file=BUSINESS + "keywords: [{words: [a]}]\n",
    ),
    Case(
        "apply FILE",
        1,
        "there is no folder 'nowhere'",
        "non c'è la cartella 'nowhere'",
        file=BUSINESS + "flows: nowhere\n",
    ),
    Case("apply FILE", 1, "line 1", "line 1", file="business: *alias\n"),
]


@pytest.mark.parametrize("language", ["en", "it"])
@pytest.mark.parametrize("case", CASES, ids=[f"{n}-{case.line}" for n, case in enumerate(CASES)])
def test_a_refusal_says_what_and_where(case: Case, language: str, passaparola: Command) -> None:
    path = passaparola.folder / "input.yaml"
    if case.file:
        path.write_bytes(case.file if isinstance(case.file, bytes) else case.file.encode())
    passaparola.settings.update(case.settings)
    answer = passaparola(
        *(word if word != "FILE" else str(path) for word in case.line.split()), language=language
    )
    said = answer.err if answer.err else answer.out  # `flow check` prints its findings as its result
    assert (case.italian if language == "it" else case.english) in said
    assert answer.status == case.status
    assert "Traceback" not in said
    assert not any(canary in said for canary in CANARIES)


def test_a_refused_business_file_leaves_nothing(passaparola: Command) -> None:
    path = passaparola.folder / "business.yaml"
    path.write_text(
        BUSINESS + f"channels:\n  - {{kind: telegram, name: a, token: '{CANARY_TOKEN}'}}\nflows: [bad.yaml]\n"
    )
    (passaparola.folder / "bad.yaml").write_text(
        "flow: bad\nstart: a\nsteps: {a: {send: '{{ 1 + ', next: end}}\n"
    )
    answer = passaparola("apply", str(path))
    assert answer.status == 1
    assert passaparola.done("channel", "list") == {"channels": []}


@pytest.mark.parametrize(
    ("language", "said"),
    [
        ("en", "error: line 4, a: the purpose news has no wording in the business file"),
        ("it", "errore: riga 4, a: lo scopo news non ha un testo nei dati dell'attività"),
    ],
)
def test_a_flow_that_cannot_work_is_not_applied(language: str, said: str, passaparola: Command) -> None:
    """What publishing would refuse, a business file does not publish either; with the purpose it does."""
    path = passaparola.folder / "business.yaml"
    path.write_text(BUSINESS + "flows: [asks.yaml]\n")
    (passaparola.folder / "asks.yaml").write_text(
        "flow: asks\nstart: a\nsteps:\n  a: {consent: news, exits: {yes: b, no: b}}\n  b: {end: done}\n"
    )
    answer = passaparola("apply", str(path), language=language)
    assert (answer.status, said in answer.err) == (1, True)
    path.write_text(
        BUSINESS
        + "flows: [asks.yaml]\npurposes: {news: {version: '1', wording: {it: Va bene?, en: May I?}}}\n"
    )
    assert "flow asks: version 1" in passaparola.done("apply", str(path))["changes"]


@pytest.mark.parametrize(
    ("language", "said"),
    [("en", "damaged or is none (SQLITE_NOTADB)"), ("it", "rovinato o non è un database")],
)
def test_a_file_that_is_no_database_is_named_as_such(language: str, said: str, passaparola: Command) -> None:
    """Not as something that should not have happened: disks and hands do that to files."""
    passaparola.done("channel", "list")
    (passaparola.folder / "data/passaparola.sqlite3").write_bytes(
        b"not a database at all, and long enough" * 9
    )
    answer = passaparola("channel", "list", language=language)
    assert (answer.status, said in answer.err) == (1, True), answer.err


def test_a_full_disk_is_named_as_such(passaparola: Command, monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(*_arguments: object) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr("storage.sqlite._take_file", fail)
    answer = passaparola("channel", "list")
    assert (answer.status, "no space is left on the disk: make some at" in answer.err) == (1, True), (
        answer.err
    )


def test_a_platform_that_is_not_reached_is_named(passaparola: Command) -> None:
    """By its address; the token is not part of it."""
    passaparola.done(*ADD.split(), CANARY_TOKEN)
    passaparola.settings["TELEGRAM_API_URL"] = "http://127.0.0.1:1"
    answer = passaparola("channel", "test", "shop")
    assert "no answer from http://127.0.0.1:1 (" in answer.err
    assert answer.status == 1


def test_what_nobody_foresaw_is_a_sentence_too(passaparola: Command, monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(*_arguments: object) -> None:
        raise ZeroDivisionError(f"division\nby {CANARY_TOKEN}")

    monkeypatch.setattr("storage.schema.head", fail)
    answer = passaparola("version")
    assert answer.status == 1
    assert answer.err == "passaparola: this should not have happened: ZeroDivisionError: division\\nby […]\n"
