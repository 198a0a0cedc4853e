"""HTTP: `/bot<token>/<method>` and `/file/bot<token>/<path>`, faults and latency included."""

from __future__ import annotations

import asyncio
import inspect
import json
from typing import TYPE_CHECKING, Any

from aiohttp import web

from simulators.faults import Fault
from simulators.telegram import methods, params
from simulators.telegram.calls import METHODS, Call, Registered, Result
from simulators.telegram.errors import NO_SUCH_METHOD, UNAUTHORIZED, ApiError, too_many
from simulators.telegram.network import TOKEN
from simulators.telegram.params import Params
from simulators.telegram.state import Bot
from simulators.wire import compact
from simulators.world import World

if TYPE_CHECKING:
    from simulators.telegram.network import Telegram

# A hanging answer is given up after this, should the client never do it.
HANG_S = 600.0
BAD_GATEWAY = (
    b"<html>\r\n<head><title>502 Bad Gateway</title></head>\r\n<body>\r\n<center><h1>502 Bad Gateway</h1></center>\r\n"
    b"<hr><center>nginx/1.18.0</center>\r\n</body>\r\n</html>\r\n"
)
GARBAGE = b'{"ok":true,"result":{"message_id":'
# Not to be called from inside a webhook's answer.
NOT_IN_ANSWERS = frozenset({"setwebhook", "deletewebhook", "close", "logout"})

assert methods.LOADED  # importing the package registers every method


class Server:
    """The two handlers, and the running of one call."""

    def __init__(self, tg: Telegram, world: World) -> None:
        self._tg = tg
        self._world = world

    async def call(self, request: web.Request) -> web.StreamResponse:
        token, name = request.match_info["token"], request.match_info["method"]
        found = METHODS.get(name.lower())
        method = found.name if found is not None else name
        latency = self._world.latency_ms.get("telegram")
        if latency:
            await asyncio.sleep(latency / 1000)
        try:
            given = await params.read(request)
        except ApiError as error:
            given = Params({})
            status, body = error.code, refusal(error)
            self._log(token, method, status, given, None, error.description, False, None)
            return respond(status, body)
        except web.HTTPRequestEntityTooLarge:
            too_large = ApiError(413, "Request Entity Too Large")
            self._log(token, method, 413, Params({}), None, too_large.description, False, None)
            return respond(413, refusal(too_large))
        fault = self._world.faults.take("telegram", method, str(given.values.get("chat_id")), token)
        if fault is not None and fault.kind == "slow":
            await self._world.clock.sleep(fault.delay_s)
        elif fault is not None and fault.when == "before":
            self._log(token, method, _fault_status(fault), given, None, fault.kind, False, fault)
            return await self._spoil(request, fault)
        status, body, result_id, description = await self.run(token, found, given)
        self._log(token, method, status, given, result_id, description, status == 200, fault)
        if fault is not None and fault.when == "after" and fault.kind != "slow":
            return await self._spoil(request, fault)
        if status == 429:
            return respond(status, body, {"Retry-After": str(json.loads(body)["parameters"]["retry_after"])})
        return respond(status, body)

    async def run(
        self, token: str, found: Registered | None, given: Params
    ) -> tuple[int, bytes, Any, str | None]:
        """Execute one call: (HTTP status, body, id of what was made, description of a refusal)."""
        try:
            bot = self._bot(token)
            if found is None:
                raise ApiError(404, NO_SUCH_METHOD)
            result = found.run(Call(self._tg, bot, given))
            if inspect.isawaitable(result):
                result = await result
        except ApiError as error:
            return error.code, refusal(error), None, error.description
        return 200, success(result), _made(result), None

    async def execute_answer(self, token: str, values: dict[str, Any]) -> None:
        """A call inside a webhook's answer: run and forgotten, except by the log."""
        name = str(values.pop("method"))
        found = METHODS.get(name.lower())
        if name.lower() in NOT_IN_ANSWERS or name.lower().startswith("get"):
            return
        given = Params(values)
        status, _, result_id, description = await self.run(token, found, given)
        self._log(token, name, status, given, result_id, description, status == 200, None, in_answer=True)

    def _bot(self, token: str) -> Bot:
        bot = self._tg.bots.get(token)
        if bot is None:
            # The cloud does not know a token that is no token, and refuses one that it never gave out.
            raise ApiError(401, UNAUTHORIZED) if TOKEN.match(token) else ApiError(404, "Not Found")
        if bot.revoked:
            raise ApiError(401, UNAUTHORIZED)
        return bot

    def _log(
        self,
        token: str,
        method: str,
        status: int,
        given: Params,
        result_id: Any,
        description: str | None,
        executed: bool,
        fault: Fault | None,
        *,
        in_answer: bool = False,
    ) -> None:
        fields: dict[str, Any] = {
            "method": method,
            "status": status,
            "token": token,
            "chat": given.values.get("chat_id"),
            "params": given.logged(),
            "result_id": result_id,
            "executed": executed,
            "fault": fault.kind if fault is not None else None,
        }
        if description is not None:
            fields["description"] = description
        if in_answer:
            fields["in_answer"] = True
        self._world.called("telegram", fields)

    async def _spoil(self, request: web.Request, fault: Fault) -> web.StreamResponse:
        if fault.kind == "429":
            error = too_many(fault.retry_after)
            return respond(429, refusal(error), {"Retry-After": str(fault.retry_after)})
        if fault.kind == "500":
            return respond(500, refusal(ApiError(500, "Internal Server Error: restart")))
        if fault.kind == "502_html":
            return web.Response(status=502, body=BAD_GATEWAY, content_type="text/html")
        if fault.kind == "garbage":
            return respond(200, GARBAGE)
        if fault.kind == "hang":
            await asyncio.sleep(HANG_S)
        if request.transport is not None:
            request.transport.abort()
        return respond(500, b"")

    async def download(self, request: web.Request) -> web.StreamResponse:
        """A file whose path getFile gave; the link holds for an hour."""
        token, path = request.match_info["token"], request.match_info["path"]
        fault = self._world.faults.take("telegram", "file", path, token)
        if fault is not None and fault.kind == "slow":
            await self._world.clock.sleep(fault.delay_s)
        elif fault is not None:
            return await self._spoil(request, fault)
        try:
            bot = self._bot(token)
        except ApiError as error:
            return respond(error.code, refusal(error))
        content = self._tg.files.download(bot, path)
        status = 404 if content is None else 200
        self._log(token, "file", status, Params({"path": path}), None, None, content is not None, fault)
        if content is None:
            return respond(404, refusal(ApiError(404, "Not Found")))
        return web.Response(body=content, content_type="application/octet-stream")


def success(result: Any) -> bytes:
    if isinstance(result, Result):
        raw = result.raw if result.raw is not None else compact(result.value).encode()
        if result.description is not None:
            return b'{"ok":true,"result":%s,"description":%s}' % (
                raw,
                json.dumps(result.description).encode(),
            )
        return b'{"ok":true,"result":%s}' % raw
    return b'{"ok":true,"result":%s}' % compact(result).encode()


def refusal(error: ApiError) -> bytes:
    answer: dict[str, Any] = {"ok": False, "error_code": error.code, "description": error.description}
    if error.parameters:
        answer["parameters"] = error.parameters
    return compact(answer).encode()


def respond(status: int, body: bytes, headers: dict[str, str] | None = None) -> web.Response:
    return web.Response(status=status, body=body, content_type="application/json", headers=headers)


def _made(result: Any) -> Any:
    if isinstance(result, dict):
        return result.get("message_id") or result.get("id")
    if isinstance(result, list) and result and isinstance(result[0], dict):
        return [each.get("message_id") for each in result]
    return None


def _fault_status(fault: Fault) -> int:
    return {"429": 429, "500": 500, "502_html": 502, "garbage": 200}.get(fault.kind, 0)
