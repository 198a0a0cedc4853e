"""Logs: nothing personal, one line an event, valid JSON."""

from __future__ import annotations

import io
import json
import logging
from collections.abc import Iterator

import pytest
import structlog
from aiohttp.http_exceptions import BadStatusLine
from aiohttp.web_protocol import RequestPayloadError

from config import logs
from tests.canary import CANARIES, CANARY_EMAIL, CANARY_PHONE, CANARY_SECRET, CANARY_TOKEN


@pytest.fixture(autouse=True)
def restored() -> Iterator[None]:
    root = logging.getLogger()
    handlers, level = root.handlers[:], root.level
    yield
    root.handlers[:] = handlers
    root.setLevel(level)
    structlog.reset_defaults()


def written(form: str, what: object) -> str:
    stream = io.StringIO()
    logs.configure("info", form, stream=stream)
    assert callable(what)
    what()
    return stream.getvalue()


SECRETS = [
    f"POST https://api.example.com/bot{CANARY_TOKEN}/sendMessage",
    f"Authorization: Bearer {CANARY_SECRET}",
    "token EAAGm0PX4ZCpsBAKZCZBtestTESTtest was refused",
    f"app_secret={CANARY_SECRET}&x=1",
    f"called from {CANARY_PHONE}",
    f"called from {CANARY_PHONE[1:]}",
    "called from +44 7700 900-123 today",
    f"mail of {CANARY_EMAIL}",
    f"postgresql+asyncpg://user:{CANARY_SECRET}@127.0.0.1/x",
]


@pytest.mark.parametrize("form", ["console", "json"])
@pytest.mark.parametrize("text", SECRETS)
def test_personal_data_is_redacted_wherever_it_stands(form: str, text: str) -> None:
    def say() -> None:
        log = structlog.get_logger("test")
        log.warning(text, value=text, deep={"list": [text], text: 1}, error=ValueError(text))
        logging.getLogger("library").error("said %s", text)

    out = written(form, say)
    assert logs.REDACTED in out
    for canary in (*CANARIES, "EAAGm0", "7700 900"):
        assert canary not in out
        assert canary.lstrip("+") not in out


def test_ids_times_and_addresses_of_ours_are_kept() -> None:
    text = "message 123456789012345678 cha_0000000000007 2026-11-21 http://127.0.0.1:8080/healthz v25.0"
    assert logs.clean_text(text) == text


@pytest.mark.parametrize("form", ["console", "json"])
def test_no_value_makes_a_second_line(form: str) -> None:
    forged = "x\r\n12:00:00 error\u2028 forged\x1b[31m"
    out = written(form, lambda: structlog.get_logger("test").info(forged, value=forged))
    assert out.count("\n") == 1
    assert "\x1b" not in out
    assert "\u2028" not in out


@pytest.mark.parametrize("form", ["console", "json"])
def test_a_traceback_is_indented_and_redacted(form: str) -> None:
    def fail() -> None:
        try:
            raise ValueError(f"12:00:00 error forged\n12:00:01 {CANARY_TOKEN}")
        except ValueError:
            structlog.get_logger("test").exception("failed")

    out = written(form, fail)
    assert CANARY_TOKEN not in out
    assert sum(not line.startswith("    | ") for line in out.splitlines()) == 1
    assert "ValueError" in out


def test_json_lines_are_json() -> None:
    def say() -> None:
        structlog.get_logger("test").info("said", number=7, yes=True, odd="\ud800")

    line = json.loads(written("json", say))
    assert (line["event"], line["logger"], line["level"], line["number"], line["yes"]) == (
        "said",
        "test",
        "info",
        7,
        True,
    )


def test_access_lines_are_off() -> None:
    assert written("console", lambda: logging.getLogger("aiohttp.access").info("GET /")) == ""


def test_requests_that_are_no_http_leave_no_traceback() -> None:
    """Whoever reaches the port could fill the disk with them; what fails here is still told."""

    def say() -> None:
        for error in (BadStatusLine("\x16\x03"), RequestPayloadError("broken"), ValueError("ours")):
            logging.getLogger("aiohttp.server").error("Error handling request", exc_info=error)

    out = written("console", say)
    assert out.count("Error handling request") == 1
    assert "ours" in out


def test_a_problem_that_repeats_is_one_line_in_ten_seconds() -> None:
    """A store that is away is looked for several times a second by every part of a process."""
    stream, now = io.StringIO(), [0.0]
    logs.configure("info", "json", stream=stream, clock=lambda: now[0])
    log = structlog.get_logger("worker")
    for tenth in range(250):
        now[0] = tenth / 10
        log.warning("worker_waits", problem="the store does not answer" + (" (OSError)" if tenth % 2 else ""))
        log.info("started", problem="none")
        if not tenth % 50:
            log.warning("worker_waits", problem=f"another one, {tenth}")
            log.warning("channel_waits", channel=tenth, problem="the store does not answer")
    lines = [json.loads(line) for line in stream.getvalue().splitlines()]
    away = [
        line.get("left_out", 0)
        for line in lines
        if line["event"] == "worker_waits" and line["problem"].startswith("the store")
    ]
    assert away == [0, 99, 99]
    assert sum(line["event"] == "started" for line in lines) == 250
    assert sum(line["event"] == "channel_waits" for line in lines) == 5
    assert sum(line.get("problem", "").startswith("another") for line in lines) == 5


def test_memory_for_repeated_problems_has_a_limit() -> None:
    stream = io.StringIO()
    logs.configure("info", "json", stream=stream, clock=lambda: 0.0)
    log = structlog.get_logger("worker")
    for number in range(3 * logs.MAX_SAID):
        log.warning("channel_waits", channel=number, problem="away")
    assert len(stream.getvalue().splitlines()) == 3 * logs.MAX_SAID
