"""The parameters of one call, whichever of the four ways they came: query string, form, JSON or multipart.

In forms everything is text and nested objects are JSON in text; in JSON bodies they are values. Reading is as tolerant
as the server's: `"5"` is a number, `yes` is true, an unreadable number is 0.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from aiohttp import web

from simulators.telegram.errors import ApiError, bad

TRUE_WORDS = frozenset({"true", "yes", "1"})


@dataclass(frozen=True, slots=True)
class Upload:
    """One file of a multipart body."""

    name: str
    mime_type: str
    content: bytes


class Params:
    """Typed access to the parameters of one call."""

    __slots__ = ("raw", "uploads", "values")

    def __init__(
        self, values: Mapping[str, Any], uploads: Mapping[str, Upload] | None = None, raw: bytes | None = None
    ) -> None:
        self.values = values
        self.uploads: Mapping[str, Upload] = uploads or {}
        self.raw = raw

    def has(self, name: str) -> bool:
        return self.values.get(name) is not None or name in self.uploads

    def text(self, name: str) -> str:
        value = self.values.get(name)
        if value is None:
            return ""
        if isinstance(value, str):
            return value
        return json.dumps(value)

    def flag(self, name: str) -> bool:
        value = self.values.get(name)
        return value is True or (value is not None and str(value).strip().lower() in TRUE_WORDS)

    def integer(self, name: str, default: int = 0, low: int | None = None, high: int | None = None) -> int:
        """The number, clamped to low … high as the server does; `default` when absent, 0 when unreadable."""
        value = self.values.get(name)
        if value is None or value == "":
            return default
        number = to_int(value)
        if low is not None:
            number = max(low, number)
        return number if high is None else min(high, number)

    def decimal(self, name: str) -> float | None:
        try:
            return float(self.values[name])
        except (KeyError, TypeError, ValueError):
            return None

    def json(self, name: str, refusal: str) -> Any:
        """A nested value; None when absent or empty. Text that is not JSON raises 400 with `refusal`."""
        value = self.values.get(name)
        if not isinstance(value, str):
            return value
        if not value:
            return None
        try:
            return json.loads(value)
        except ValueError as error:
            raise bad(refusal) from error

    def logged(self) -> Mapping[str, Any] | bytes:
        """What the event log keeps: the values (as they came, where they came as JSON) and the names of files."""
        if not self.uploads:
            return self.values if self.raw is None else self.raw
        return {**self.values, **{name: f"<{file.name}>" for name, file in self.uploads.items()}}


def to_int(value: Any) -> int:
    """A number as the server reads one: 0 when it is none."""
    if isinstance(value, bool):
        return 0
    if isinstance(value, int):
        return value
    try:
        return int(str(value).strip())
    except ValueError:
        return 0


async def read(request: web.Request) -> Params:
    """Read the parameters of a request; raises 400 for a body that is not what its type says."""
    kind = request.content_type
    if request.method == "POST" and kind == "application/json":
        raw = await request.read()
        values = _from_json(raw, request.query)
        return Params(values, raw=raw if raw and not request.query else None)
    if request.method == "POST" and kind == "application/x-www-form-urlencoded":
        return Params({**request.query, **dict(await request.post())})
    if request.method == "POST" and kind == "multipart/form-data":
        return await _from_multipart(request)
    return Params(dict(request.query))


def _from_json(raw: bytes, query: Mapping[str, str]) -> Mapping[str, Any]:
    if not raw:
        return dict(query)
    try:
        values = json.loads(raw)
    except ValueError as error:
        raise ApiError(400, "Bad Request: can't parse JSON object") from error
    if not isinstance(values, dict):
        raise ApiError(400, "Bad Request: object expected as parameters")
    if b"\\ud" in raw or b"\\uD" in raw:
        _refuse_lone_surrogates(values)
    return {**query, **values} if query else values


def _refuse_lone_surrogates(values: Mapping[str, Any]) -> None:
    """JSON can name half a character; the server, which keeps UTF-8, cannot store it."""
    try:
        json.dumps(values, ensure_ascii=False).encode()
    except UnicodeEncodeError as error:
        raise bad("strings must be encoded in UTF-8") from error


async def _from_multipart(request: web.Request) -> Params:
    try:
        form = await request.post()
    except ValueError as error:
        raise ApiError(400, "Bad Request: can't parse multipart/form-data") from error
    values: dict[str, Any] = dict(request.query)
    uploads: dict[str, Upload] = {}
    for name, value in form.items():
        if isinstance(value, web.FileField):
            uploads[name] = Upload(value.filename, value.content_type, value.file.read())
        else:
            values[name] = value if isinstance(value, str) else bytes(value).decode()
    return Params(values, uploads)
