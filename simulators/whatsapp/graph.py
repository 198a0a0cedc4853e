"""The Graph API's paths: `/{version}/{object id}[/{edge}]`, as far as WhatsApp is concerned.

One handler takes every path, finds out who asks (token) and about what (number, account, app, template, media), and
calls the edge. Refusals are GraphErrors; faults and latency asked for by a test are applied around the call, and each
call leaves one line in the log. https://developers.facebook.com/docs/whatsapp/cloud-api/reference
"""

from __future__ import annotations

import asyncio
import base64
import json
import re
from typing import TYPE_CHECKING, Any

from aiohttp import web

from simulators.faults import Fault
from simulators.whatsapp import edges, media
from simulators.whatsapp.checks import check_read
from simulators.whatsapp.errors import GraphError
from simulators.whatsapp.state import Account, App, Number, Token

if TYPE_CHECKING:
    from simulators.whatsapp.network import WhatsApp

TYPING_S = 25.0
# A call that hangs on purpose is let go after this; clients give up long before.
HANG_MAX_S = 3600.0
_VERSION = re.compile(r"v\d{1,3}\.\d")
_HTML = "<!DOCTYPE html><html><head><title>Error</title></head><body><h1>502 Bad Gateway</h1></body></html>"

Answer = dict[str, Any]


class Call:
    """One request on its way through: who asks, about what, and what the log will say."""

    __slots__ = (
        "account",
        "body",
        "endpoint",
        "method",
        "params",
        "parts",
        "recipient",
        "request",
        "result_id",
        "token",
    )

    def __init__(self, request: web.Request, parts: list[str]) -> None:
        self.request = request
        self.parts = parts
        self.method = _method_of(request.method, parts)
        self.endpoint = parts[1]
        self.body: dict[str, Any] = {}
        self.params: Any = None
        self.token: Token | None = None
        self.account: Account | None = None
        self.recipient: str | None = None
        self.result_id: str | None = None


def _method_of(verb: str, parts: list[str]) -> str:
    """What the call is named in faults and in the log: the edge, or what is done with the object itself."""
    if len(parts) > 2:
        return parts[2]
    if parts[1] in ("debug_token", "me"):
        return parts[1]
    if parts[1].startswith("upload:"):
        return "upload"
    return {"GET": "read", "POST": "change", "DELETE": "delete"}.get(verb, verb.lower())


class Graph:
    def __init__(self, network: WhatsApp) -> None:
        self._network = network
        self._world = network.world
        self._edges = edges.Edges(network)

    async def handle(self, request: web.Request) -> web.StreamResponse:
        """Any `/v…/…` path."""
        self._network.learn_origin(request)
        parts = [part for part in request.path.split("/") if part]
        call = Call(request, parts if len(parts) > 1 else [*parts, ""])
        latency = self._world.latency_ms.get("whatsapp")
        if latency:
            await asyncio.sleep(latency / 1000)
        await self._read_body(call)
        fault = self._fault(call)
        if fault is not None and fault.when == "before" and fault.kind != "slow":
            return await self._spoil(call, fault, executed=False)
        if fault is not None and fault.kind == "slow" and fault.when == "before":
            await asyncio.sleep(fault.delay_s)
        status, answer = await self._execute(call)
        if fault is not None and fault.when == "after" and fault.kind != "slow":
            return await self._spoil(call, fault, executed=True)
        if fault is not None and fault.kind == "slow" and fault.when == "after":
            await asyncio.sleep(fault.delay_s)
        self._log(call, status, executed=status == 200, fault=fault)
        return web.Response(
            body=json.dumps(answer).encode(),
            status=status,
            content_type="application/json",
            headers=self._headers(call, answer),
        )

    async def _read_body(self, call: Call) -> None:
        request = call.request
        if request.content_type.startswith("multipart/"):
            call.body = {key: value for key, value in (await request.post()).items()}
            call.params = {key: value for key, value in call.body.items() if isinstance(value, str)}
            return
        if request.content_type == "application/x-www-form-urlencoded":
            call.body = dict(await request.post())
        elif request.can_read_body and not call.parts[1].startswith("upload:"):
            raw = await request.read()
            try:
                value = json.loads(raw) if raw else {}
            except ValueError:
                value = None
            call.body = value if isinstance(value, dict) else {"": value}
        call.params = call.body or dict(request.query)
        recipient = call.body.get("to", call.body.get("recipient"))
        call.recipient = recipient if isinstance(recipient, str) else None

    # --- faults -------------------------------------------------------------------------------------------------------

    def _fault(self, call: Call) -> Fault | None:
        if not self._world.faults.rules:
            return None
        to = call.recipient or ""
        return self._world.faults.take("whatsapp", call.method, call.endpoint, to, to.lstrip("+"))

    async def _spoil(self, call: Call, fault: Fault, *, executed: bool) -> web.StreamResponse:
        """The wrong answer that a fault asks for."""
        status = {"429": 429, "500": 500, "502_html": 502, "garbage": 200}.get(fault.kind, 0)
        self._log(call, status, executed=executed, fault=fault)
        if fault.kind == "429":
            error = GraphError(4, "Too many calls from this app. Wait a bit and try again.", http=429)
            headers = {"Retry-After": str(fault.retry_after)}
            return web.json_response(error.body(self._trace()), status=429, headers=headers)
        if fault.kind == "500":
            error = GraphError(131000, "Message failed to send due to an unknown error.", http=500)
            return web.json_response(error.body(self._trace()), status=500)
        if fault.kind == "502_html":
            return web.Response(text=_HTML, status=502, content_type="text/html")
        if fault.kind == "garbage":
            return web.Response(text='{"messaging_product":"whatsapp","mess', content_type="application/json")
        if fault.kind == "hang":
            await asyncio.sleep(HANG_MAX_S)
        if call.request.transport is not None:
            call.request.transport.abort()
        return web.Response(status=500)

    def _log(self, call: Call, status: int, *, executed: bool, fault: Fault | None) -> None:
        self._world.called(
            "whatsapp",
            {
                "method": call.method,
                "http_method": call.request.method,
                "status": status,
                "endpoint": call.endpoint,
                "to": call.recipient,
                "params": call.params,
                "result_id": call.result_id,
                "executed": executed,
                "fault": fault.id if fault else None,
            },
        )

    def _trace(self) -> str:
        return "A" + base64.urlsafe_b64encode(self._world.rng.randbytes(16)).decode().rstrip("=")

    # --- execution ----------------------------------------------------------------------------------------------------

    @staticmethod
    def _headers(call: Call, answer: Answer) -> dict[str, str] | None:
        """The trace of an error, and how much of the hourly allowance of set-up calls is used."""
        headers = {}
        if "error" in answer:
            headers["x-fb-trace-id"] = str(answer["error"]["fbtrace_id"])
        if call.account is not None:
            usage = {"type": "whatsapp", "call_count": call.account.management.used_percent, "total_time": 0}
            headers["X-Business-Use-Case-Usage"] = json.dumps({call.account.id: [usage]})
        return headers or None

    async def _execute(self, call: Call) -> tuple[int, Answer]:
        try:
            if not _VERSION.fullmatch(call.parts[0]):
                raise GraphError(
                    2500, "", message=f"Unknown path components: /{'/'.join(call.parts)}", http=400
                )
            call.token = self._token(call.request)
            return 200, await self._dispatch(call)
        except GraphError as error:
            return error.http, error.body(self._trace())

    def _token(self, request: web.Request) -> Token:
        header = request.headers.get("Authorization", "")
        scheme, _, value = header.partition(" ")
        if scheme.lower() not in ("bearer", "oauth") or not value:
            value = request.query.get("access_token", "")
        if not value:
            raise GraphError(104, subcode=None, kind="OAuthException")
        token = self._network.state.tokens.get(value.strip())
        if token is None or token.revoked:
            raise GraphError(190, message="Invalid OAuth access token - Cannot parse access token")
        if token.expires_at and token.expires_at <= self._world.clock.now():
            raise GraphError(190, message="Error validating access token: Session has expired", subcode=463)
        return token

    async def _dispatch(self, call: Call) -> Answer:
        object_id = call.parts[1]
        number = self._network.state.numbers.get(object_id)
        if number is not None and self._may_see(call, number.account_id):
            return await self._number(call, number)
        if object_id == "debug_token":
            return self._edges.debug_token(call.request.query.get("input_token", ""))
        if object_id == "me":
            assert call.token is not None
            return {"name": "System user", "id": f"user-{call.token.app_id}"}
        if object_id.startswith("upload:"):
            return await self._upload_bytes(call, object_id)
        return await self._other(call, object_id)

    async def _other(self, call: Call, object_id: str) -> Answer:
        state = self._network.state
        assert call.token is not None
        account = state.accounts.get(object_id)
        if account is not None and self._may_see(call, account.id):
            return await self._account(call, account)
        app = state.apps.get(object_id)
        if app is not None and app.id == call.token.app_id:
            return await self._app(call, app)
        template = self._network.templates.get(object_id)
        if template is not None and self._may_see(call, template.account_id):
            self._manage(call, template.account_id)
            edge = call.parts[2] if len(call.parts) > 2 else ""
            return self._edges.template(call.request.method, edge, template, call.body)
        stored = self._network.media.find(object_id)
        if stored is not None and len(call.parts) == 2:
            self._need_scope(call, "whatsapp_business_messaging")
            wanted = call.request.query.get("phone_number_id")
            if wanted in (None, stored.number_id):
                return self._edges.media(call.request.method, stored)
        raise self._unknown(call, object_id)

    def _unknown(self, call: Call, object_id: str) -> GraphError:
        verb = call.request.method.lower()
        return GraphError(
            100,
            subcode=33,
            kind="GraphMethodException",
            message=f"Unsupported {verb} request. Object with ID '{object_id}' does not exist, cannot be loaded due "
            "to missing permissions, or does not support this operation",
        )

    def _manage(self, call: Call, account_id: str) -> None:
        """What every call that is not a send needs: the permission, and room in the account's hour."""
        self._need_scope(call, "whatsapp_business_management")
        call.account = self._network.state.accounts[account_id]
        if not call.account.management.take(self._world.clock.now()):
            raise GraphError(80007, "The WhatsApp Business Account has reached its rate limit.")

    def _may_see(self, call: Call, account_id: str) -> bool:
        return call.token is not None and account_id in call.token.account_ids

    def _need_scope(self, call: Call, scope: str) -> None:
        if call.token is not None and scope not in call.token.scopes:
            raise GraphError(200, message=f"(#200) Requires {scope} permission", subcode=1349176)

    # --- numbers ------------------------------------------------------------------------------------------------------

    async def _number(self, call: Call, number: Number) -> Answer:
        edge = call.parts[2] if len(call.parts) > 2 else ""
        verb = call.request.method
        if verb == "POST" and edge in ("messages", "marketing_messages"):
            self._need_scope(call, "whatsapp_business_messaging")
            return await self._send(call, number, marketing_only=edge == "marketing_messages")
        if verb == "POST" and edge == "media":
            self._need_scope(call, "whatsapp_business_messaging")
            return await self._upload(call, number)
        self._manage(call, number.account_id)
        if verb == "POST" and edge == "":
            await self._configure(number, call.body)
        rest = call.parts[3] if len(call.parts) > 3 else None
        answer = self._edges.number(verb, edge, rest, number, call.body, call.request.query)
        if answer is None:
            raise self._unknown(call, number.id)
        return answer

    async def _send(self, call: Call, number: Number, *, marketing_only: bool) -> Answer:
        body = call.body
        if "status" in body and "type" not in body:
            check_read(body)
            return self._mark_read(number, body)
        sending = self._network.sending
        accepted = sending.accept(number, body, marketing_only=marketing_only)
        call.result_id = accepted.message.id
        early = self._network.knobs.status_before_response_p
        may_be_early = accepted.failure is None and not accepted.links and not accepted.held
        if early and may_be_early and self._world.rng.random() < early:
            await self._tell_before_answering(accepted)
            sending.start(accepted, sent_already=True)
        else:
            sending.start(accepted)
        return accepted.answer

    async def _tell_before_answering(self, accepted: Any) -> None:
        number = accepted.number
        callback = self._network.callback_for(number, number.account_id)
        update = self._network.sending.status_update(accepted, "sent", priced=True)
        if callback is not None:
            await callback.post_now(update)

    def _mark_read(self, number: Number, body: dict[str, Any]) -> Answer:
        message = self._network.state.messages.get(body["message_id"])
        if message is None or message.number_id != number.id or message.direction != "in":
            raise GraphError(
                131009, "Parameter value is not valid: message_id is not a message that was received"
            )
        state = self._network.state
        person = state.people[message.person_id]
        thread = state.thread(number, person)
        # Reading one message marks the earlier ones too.
        for earlier in thread.messages:
            if earlier.direction == "in":
                earlier.status = "read"
            if earlier is message:
                break
        typing = "typing_indicator" in body
        if typing:
            thread.typing_until = self._world.clock.now() + TYPING_S
        shown = "typing" if typing else "seen"
        self._world.show(shown, "whatsapp", endpoint=number.id, to=person.id, external_id=message.id)
        return {"success": True}

    async def _upload(self, call: Call, number: Number) -> Answer:
        body = call.body
        if body.get("messaging_product") != "whatsapp":
            raise GraphError(100, message="(#100) The parameter messaging_product is required.")
        file = body.get("file")
        if not isinstance(file, web.FileField):
            raise GraphError(100, message="(#100) The parameter file is required.")
        mime_type = str(body.get("type") or file.content_type or "")
        data = file.file.read()
        media.check(media.kind_of(mime_type), mime_type, len(data))
        stored = self._network.media.add(number.id, data, mime_type, file.filename, media.UPLOADED_LIFE_S)
        call.result_id = stored.id
        return {"id": stored.id}

    async def _configure(self, number: Number, body: dict[str, Any]) -> None:
        """The part of `POST /{phone}` that needs the callback's answer: the override is saved once it verified."""
        wanted = body.get("webhook_configuration")
        if not isinstance(wanted, dict):
            return
        url, token = str(wanted.get("override_callback_uri", "")), str(wanted.get("verify_token", ""))
        if url:
            await edges.handshake(self._world, url, token)
        number.override_callback, number.verify_token = url or None, token

    # --- accounts, apps -----------------------------------------------------------------------------------------------

    async def _account(self, call: Call, account: Account) -> Answer:
        self._manage(call, account.id)
        edge = call.parts[2] if len(call.parts) > 2 else ""
        verb = call.request.method
        if edge == "subscribed_apps" and verb == "POST":
            return await self._subscribe(account, call.body)
        answer = self._edges.account(verb, edge, account, call.body, call.request.query)
        if answer is None:
            raise self._unknown(call, account.id)
        return answer

    async def _subscribe(self, account: Account, body: dict[str, Any]) -> Answer:
        url = body.get("override_callback_uri")
        if url:
            await edges.handshake(self._world, str(url), str(body.get("verify_token", "")))
        account.override_callback = str(url) if url else None
        account.subscribed = True
        return {"success": True}

    async def _app(self, call: Call, app: App) -> Answer:
        edge = call.parts[2] if len(call.parts) > 2 else ""
        values = {**call.request.query, **call.body}
        if edge == "subscriptions" and call.request.method == "POST":
            if values.get("object") != "whatsapp_business_account":
                raise GraphError(
                    100, message="(#100) The parameter object must be whatsapp_business_account."
                )
            url, token = str(values.get("callback_url", "")), str(values.get("verify_token", ""))
            await edges.handshake(self._world, url, token)
            app.callback_url, app.verify_token = url, token
            return {"success": True}
        if edge == "uploads" and call.request.method == "POST":
            return self._edges.start_upload(values)
        if edge == "":
            return {"id": app.id, "name": "Simulated app"}
        raise self._unknown(call, app.id)

    async def _upload_bytes(self, call: Call, session: str) -> Answer:
        data = await call.request.read()
        return self._edges.finish_upload(session, call.request.headers.get("file_offset", "0"), data)
