"""Logs: one line an event, on standard error, for people or as JSON, with nothing personal in it.

Everything goes through one chain, what libraries say as well: values are redacted (tokens, phone numbers, e-mail
addresses), control characters are escaped so that no text can forge a line or colour a terminal. The redaction is a
net, not a licence: code logs ids and reasons, never what people wrote.
"""

from __future__ import annotations

import logging
import re
import sys
import time
from collections.abc import Callable, Mapping, MutableMapping
from typing import Any, TextIO

import structlog

REDACTED = "[…]"
MAX_VALUE = 4_000  # characters of one value; a log line is no place for documents
QUIET_S = 10.0  # every part of a process looks several times a second whether the store is back
MAX_SAID = 1_000  # warnings remembered for that; more at a time are a flood, and all are written

_PERSONAL = re.compile(
    r"\d{3,20}:[A-Za-z0-9_-]{8,}"  # a bot's token, also inside /bot<token>/
    r"|EAA[A-Za-z0-9]{8,}"  # a token of Meta's Graph API
    r"|(?i:bearer\s+)[A-Za-z0-9._~+/=-]{4,}"
    r"|(?i:(?:access_token|app_secret|verify_token|secret_token|password|api_key)[\"']?\s*[=:]\s*[\"']?)[^\s\"'&,}]+"
    r"|(?<=://)[^/\s:@]+:[^/\s@]+(?=@)"  # user and password in a URL
    r"|[A-Za-z0-9._%+-]+@[A-Za-z0-9-]+(?:\.[A-Za-z0-9-]+)+"
    r"|\+\d[\d ().-]{5,20}\d"  # an international phone number
    r"|(?<![\w.:/-])\d{8,15}(?![\w:.-])"  # the same without its plus, as platforms write it; ids have 16 digits or more
)
_CONTROL = re.compile(r"[\x00-\x1f\x7f-\x9f\u2028\u2029]")
_LIBRARIES = {"aiohttp.access": logging.CRITICAL} | dict.fromkeys(
    ("alembic", "asyncio", "sqlalchemy"), logging.WARNING
)

Event = MutableMapping[str, Any]
Processor = Callable[[Any, str, Event], Any]


def configure(
    level: str = "info",
    form: str = "console",
    *,
    stream: TextIO | None = None,
    clock: Callable[[], float] = time.monotonic,
) -> None:
    """Sets up logging for the process; `stream` is standard error unless a test gives its own."""
    out = stream or sys.stderr
    number = getattr(logging, level.upper())
    last: list[Processor] = (
        [as_line] if form == "console" else [structlog.processors.JSONRenderer(ensure_ascii=False)]
    )
    structlog.configure(
        processors=[
            structlog.contextvars.merge_contextvars,
            _add_name,
            structlog.processors.add_log_level,
            _Calm(clock),
            structlog.processors.format_exc_info,
            redact,
            structlog.processors.TimeStamper(fmt="iso", utc=True),
            *last,
        ],
        wrapper_class=structlog.make_filtering_bound_logger(number),
        logger_factory=lambda *names: _Lines(out, names[0] if names else ""),
        cache_logger_on_first_use=False,
    )
    root = logging.getLogger()
    root.handlers[:] = [_Bridge()]
    root.setLevel(number)
    for name, at_least in _LIBRARIES.items():
        logging.getLogger(name).setLevel(max(number, at_least))


def redact(_logger: Any, _method: str, event: Event) -> Event:
    """The processor: every value, nested ones included, without personal data and control characters."""
    trace = event.pop("exception", None)
    clean = {key: _clean(value) for key, value in event.items()}
    if trace is not None:
        clean["exception"] = "\n".join(clean_text(line) for line in str(trace).splitlines())
    return clean


class _Calm:
    """The processor: of a warning that repeats a problem (`problem=…`) one line in `QUIET_S`; the next says how many
    were left out. Problems that differ only in the parentheses at their end are one."""

    def __init__(self, clock: Callable[[], float]) -> None:
        self._clock = clock
        self._said: dict[
            tuple[Any, ...], tuple[float, int]
        ] = {}  # when it was written, how many were left out since

    def __call__(self, _logger: Any, _method: str, event: Event) -> Event:
        if event.get("level") != "warning" or "problem" not in event:
            return event
        what = dict(event) | {"problem": str(event["problem"]).partition(" (")[0]}
        key = tuple(sorted((name, str(value)) for name, value in what.items()))
        now = self._clock()
        at, left_out = self._said.get(key, (now - QUIET_S, 0))
        if now - at < QUIET_S:
            self._said[key] = (at, left_out + 1)
            raise structlog.DropEvent
        if len(self._said) >= MAX_SAID:
            self._said.clear()
        self._said[key] = (now, 0)
        if left_out:
            event["left_out"] = left_out
        return event


def clean_text(value: str) -> str:
    """One text, redacted, on one line, bounded."""
    text = _PERSONAL.sub(REDACTED, value[: MAX_VALUE * 2])
    text = _CONTROL.sub(lambda found: found.group().encode("unicode_escape").decode(), text)
    text = text.encode("utf-8", "backslashreplace").decode()  # a lone surrogate must not end the log
    return text if len(text) <= MAX_VALUE else text[:MAX_VALUE] + "…"


def _clean(value: Any) -> Any:
    if isinstance(value, str):
        return clean_text(value)
    if isinstance(value, bool | int | float) or value is None:
        return value
    if isinstance(value, Mapping):
        return {clean_text(str(key)): _clean(item) for key, item in value.items()}
    if isinstance(value, list | tuple | set | frozenset):
        return [_clean(item) for item in value]
    return clean_text(str(value))


def as_line(_logger: Any, _method: str, event: Event) -> str:
    """`12:00:01 warning  channels  token_refused channel=7`; a traceback follows indented: it forges no line."""
    at = str(event.pop("timestamp", ""))[11:19]
    level, name, what = event.pop("level", ""), event.pop("logger", ""), event.pop("event", "")
    trace = event.pop("exception", None)
    pairs = "".join(f" {key}={_shown(value)}" for key, value in event.items())
    line = f"{at} {level:<8} {name:<12} {what}{pairs}"
    return line + "".join(f"\n    | {part}" for part in trace.splitlines()) if trace else line


def _shown(value: Any) -> str:
    text = str(value)
    return f'"{text}"' if " " in text or text == "" else text


class _Lines(structlog.WriteLogger):
    """Writes lines to the stream under a name."""

    def __init__(self, stream: TextIO, name: str) -> None:
        super().__init__(stream)
        self.name = name


def _add_name(logger: Any, _method: str, event: Event) -> Event:
    if logger.name:
        event.setdefault("logger", logger.name)
    return event


# aiohttp's errors for requests that are no HTTP.
_BAD_REQUEST = ("aiohttp.http_exceptions", "aiohttp.web_protocol")


def _is_bad_request(record: logging.LogRecord) -> bool:
    """Whether the server tells, with a traceback, that somebody sent it garbage. It has answered 400, nothing failed
    here, and whoever can reach the port could fill the disk with it."""
    kind = record.exc_info[0] if record.exc_info else None
    return record.name == "aiohttp.server" and kind is not None and kind.__module__ in _BAD_REQUEST


class _Bridge(logging.Handler):
    """What libraries say through `logging` goes the same way."""

    def emit(self, record: logging.LogRecord) -> None:
        if _is_bad_request(record):
            return
        try:
            structlog.get_logger(record.name).log(
                record.levelno, record.getMessage(), exc_info=record.exc_info or None
            )
        except Exception:  # a log line that fails must not end what it tells of
            self.handleError(record)
