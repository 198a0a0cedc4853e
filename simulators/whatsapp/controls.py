"""The control routes of the simulated WhatsApp, `/sim/whatsapp/…`, and the media download address."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from aiohttp import web

from simulators.whatsapp.errors import GraphError
from simulators.whatsapp.limits import TIERS, UNLIMITED
from simulators.whatsapp.state import Account, Number
from simulators.whatsapp.webhooks import Update
from simulators.wire import answer, body_of, needed
from simulators.world import ControlError

if TYPE_CHECKING:
    from simulators.whatsapp.network import WhatsApp


def attach(app: web.Application, network: WhatsApp) -> None:
    routes = Controls(network)
    app.router.add_routes(
        [
            web.get("/sim-media/{token}", routes.download),
            web.post("/sim/whatsapp/numbers", routes.make_number),
            web.get("/sim/whatsapp/numbers", routes.list_numbers),
            web.post("/sim/whatsapp/people", routes.make_person),
            web.get("/sim/whatsapp/people", routes.list_people),
            web.post("/sim/whatsapp/people/{id}", routes.change_person),
            web.get("/sim/whatsapp/people/{id}/messages", routes.messages),
            web.post("/sim/whatsapp/act", routes.act),
            web.post("/sim/whatsapp/events", routes.event),
            web.get("/sim/whatsapp/templates", routes.list_templates),
            web.post("/sim/whatsapp/templates", routes.plant_template),
            web.post("/sim/whatsapp/templates/{id}", routes.change_template),
            web.get("/sim/whatsapp/knobs", routes.turn),
            web.post("/sim/whatsapp/knobs", routes.turn),
            web.get("/sim/whatsapp/queues", routes.queues),
            web.get("/sim/whatsapp/media/{id}", routes.peek_media),
        ]
    )


class Controls:
    def __init__(self, network: WhatsApp) -> None:
        self._network = network

    # --- numbers and people -------------------------------------------------------------------------------------------

    async def make_number(self, request: web.Request) -> web.Response:
        """`{phone_number_id, business_account_id, display_phone_number?, access_token, app_secret, app_id?,
        business_id?, verified_name?, callback_url?, verify_token?, messaging_limit?, mps?, allowed?: [phones],
        scopes?, token_expires_at?: s, token_revoked?}` → the number. Calling again changes it.
        """
        return answer(self._shown(self._network.make_number(await body_of(request))))

    async def list_numbers(self, _: web.Request) -> web.Response:
        """`{"numbers": [{phone_number_id, business_account_id, app_id, display_phone_number, callback_url, …}]}`"""
        return answer({"numbers": [self._shown(number) for number in self._network.state.numbers.values()]})

    def _shown(self, number: Number) -> dict[str, Any]:
        state = self._network.state
        account = state.account_of(number)
        app = state.app_of(account)
        return {
            "phone_number_id": number.id,
            "business_account_id": account.id,
            "app_id": app.id,
            "display_phone_number": number.display,
            "verified_name": number.verified_name,
            "subscribed": account.subscribed,
            "callback_url": number.override_callback or account.override_callback or app.callback_url,
        }

    async def make_person(self, request: web.Request) -> web.Response:
        """`{phone?, bsuid?, name?, id?, username?, on_whatsapp?, receipts?, reads?, phone_off?, stopped_marketing?,
        marketing_capped?, fails_with?: code, count?}` → `{"id"}`; `count` makes that many with numbers from `phone` up.
        """
        return answer({"id": self._network.make_person(await body_of(request))})

    async def list_people(self, request: web.Request) -> web.Response:
        """`?limit=` (default 200) → `{"people": [{id, name, phone, bsuid, username, …}], "total": n}`"""
        people = self._network.state.people
        limit = int(request.query.get("limit", "200"))
        shown = [
            {
                "id": person.id,
                "name": person.name,
                "phone": person.phone,
                "bsuid": person.bsuid,
                "bsuids": person.bsuids,
                "username": person.username,
                "on_whatsapp": person.on_whatsapp,
                "phone_off": person.phone_off,
                "stopped_marketing": person.stopped_marketing,
            }
            for person in list(people.values())[:limit]
        ]
        return answer({"people": shown, "total": len(people)})

    async def change_person(self, request: web.Request) -> web.Response:
        """The same fields as for making one, without phone and bsuid."""
        person = self._network.need_person(request.match_info["id"])
        self._network.change_person(person, await body_of(request))
        return answer({"id": person.id})

    async def messages(self, request: web.Request) -> web.Response:
        """`?number=` → `{"messages": [{external_id, direction, type, text, at, buttons, content, status, reached}],
        "window_until": ms, "typing": bool}`
        """
        network = self._network
        person = network.need_person(request.match_info["id"])
        number = network.need_number(request.query.get("number", ""))
        thread = network.state.thread(number, person)
        return answer(
            {
                "messages": [message.as_json() for message in thread.messages],
                "window_until": int(thread.window_until * 1000),
                "typing": thread.typing_until > network.world.clock.now(),
            }
        )

    async def act(self, request: web.Request) -> web.Response:
        """`{number, person, do, …}` → `{external_id, message_ids}`; the actions stand in `acts`."""
        self._network.learn_origin(request)
        spec = await body_of(request)
        return answer(self._network.act(needed(spec, "number"), needed(spec, "person"), spec))

    # --- what the platform does by itself -----------------------------------------------------------------------------

    async def event(self, request: web.Request) -> web.Response:
        """Account events: `{number? | account?, event, …}`.

        event: quality `{quality, limit?}`, tier `{limit}`, restriction `{code?, types?, expiration?}`,
        lift_restriction, violation `{violation_type}`, disabled, echo `{person, text}`, value_error `{code}`, or any
        other `{field, value}` as it stands.
        """
        spec = await body_of(request)
        account, number = self._account_and_number(spec)
        name = spec.get("event", "raw")
        handler = {
            "quality": self._quality,
            "tier": self._tier,
            "restriction": self._restriction,
            "lift_restriction": self._lift,
            "violation": self._violation,
            "disabled": self._disabled,
            "echo": self._echo,
            "value_error": self._value_error,
            "raw": self._raw,
        }.get(name)
        if handler is None:
            raise ControlError(f"event: unknown event {name!r}")
        handler(account, number, spec)
        return answer({"ok": True})

    def _account_and_number(self, spec: dict[str, Any]) -> tuple[Account, Number | None]:
        state = self._network.state
        if "number" in spec:
            number = self._network.need_number(str(spec["number"]))
            return state.account_of(number), number
        account = state.accounts.get(str(spec.get("account", "")))
        if account is None:
            raise ControlError("number or account: which one?")
        return account, next((one for one in state.numbers.values() if one.account_id == account.id), None)

    def _quality(self, account: Account, number: Number | None, spec: dict[str, Any]) -> None:
        if number is None:
            raise ControlError("number: quality belongs to a number")
        number.quality_rating = needed(spec, "quality")
        event = "UNFLAGGED" if number.quality_rating == "GREEN" else "FLAGGED"
        self._tell_limit(account, number, event)

    def _tier(self, account: Account, number: Number | None, spec: dict[str, Any]) -> None:
        limit = needed(spec, "limit")
        if limit not in TIERS and limit != UNLIMITED:
            raise ControlError(f"limit: one of {', '.join([*TIERS, UNLIMITED])} expected, got {limit!r}")
        portfolio = self._network.portfolio(account.business_id)
        order = [*TIERS, UNLIMITED]
        up = portfolio.tier in order and order.index(limit) >= order.index(portfolio.tier)
        old, portfolio.tier = portfolio.tier, limit
        if number is not None:
            self._tell_limit(account, number, "UPGRADE" if up else "DOWNGRADE", old)
        self._network.tell_account(
            account.id, "business_capability_update", {"max_daily_conversations_per_business": TIERS.get(limit, -1),
                                                       "max_phone_numbers_per_waba": 25}
        )  # fmt: skip

    def _tell_limit(self, account: Account, number: Number, event: str, old: str | None = None) -> None:
        value = {
            "display_phone_number": number.phone,
            "event": event,
            "current_limit": self._network.portfolio(account.business_id).tier,
        }
        if old is not None:
            value["old_limit"] = old
        self._network.tell_account(account.id, "phone_number_quality_update", value)

    def _restriction(self, account: Account, number: Number | None, spec: dict[str, Any]) -> None:
        account.restricted_code = int(spec.get("code", 131031))
        expiration = int(spec.get("expiration", self._network.world.clock.now_s() + 24 * 3600))
        types = spec.get("types", ["RESTRICTED_BIZ_INITIATED_MESSAGING"])
        restrictions = [{"restriction_type": kind, "expiration": expiration} for kind in types]
        self._network.tell_account(
            account.id, "account_update", {"event": "ACCOUNT_RESTRICTION", "restriction_info": restrictions}
        )

    def _lift(self, account: Account, number: Number | None, spec: dict[str, Any]) -> None:
        account.restricted_code = None
        value = {"event": "DISABLED_UPDATE", "ban_info": {"waba_ban_state": "REINSTATE", "waba_ban_date": ""}}
        self._network.tell_account(account.id, "account_update", value)

    def _violation(self, account: Account, number: Number | None, spec: dict[str, Any]) -> None:
        info = {"violation_type": str(spec.get("violation_type", "SPAM"))}
        self._network.tell_account(
            account.id, "account_update", {"event": "ACCOUNT_VIOLATION", "violation_info": info}
        )

    def _disabled(self, account: Account, number: Number | None, spec: dict[str, Any]) -> None:
        account.restricted_code = 131031
        info = {"waba_ban_state": "DISABLE", "waba_ban_date": str(spec.get("date", ""))}
        self._network.tell_account(
            account.id, "account_update", {"event": "DISABLED_UPDATE", "ban_info": info}
        )

    def _echo(self, account: Account, number: Number | None, spec: dict[str, Any]) -> None:
        """The owner answered from the phone app of a coexistence number."""
        if number is None:
            raise ControlError("number: an echo belongs to a number")
        network = self._network
        person = network.need_person(needed(spec, "person"))
        item = {
            "from": number.phone,
            "to": person.phone or "",
            "id": network.sending.new_id(person.phone or person.id),
            "timestamp": str(network.world.clock.now_s()),
            "type": "text",
            "text": {"body": needed(spec, "text")},
        }
        network.tell(
            number,
            Update(
                account.id,
                "smb_message_echoes",
                item,
                str(item["id"]),
                (number.phone, number.id),
                "message_echoes",
            ),
        )

    def _value_error(self, account: Account, number: Number | None, spec: dict[str, Any]) -> None:
        """An error of the number itself, without any message."""
        if number is None:
            raise ControlError("number: an error belongs to a number")
        error = GraphError(int(spec.get("code", 131000)))
        item = {
            "code": error.code,
            "title": error.title,
            "message": error.title,
            "error_data": {"details": str(spec.get("details", "Something is wrong with the number."))},
        }
        identifier = f"error:{error.code}:{self._network.world.clock.now_ms()}"
        self._network.tell(
            number, Update(account.id, "messages", item, identifier, (number.phone, number.id), "errors")
        )

    def _raw(self, account: Account, number: Number | None, spec: dict[str, Any]) -> None:
        value = spec.get("value")
        if not isinstance(value, dict):
            raise ControlError("value: an object is needed")
        self._network.tell_account(account.id, needed(spec, "field"), value)

    # --- templates, knobs, queues, media ------------------------------------------------------------------------------

    async def list_templates(self, _: web.Request) -> web.Response:
        shown = [
            {"business_account_id": one.account_id, **one.as_json()}
            for one in self._network.templates.values()
        ]
        return answer({"templates": shown})

    async def plant_template(self, request: web.Request) -> web.Response:
        """A definition with `business_account_id`, approved at once and without a webhook → `{"id"}`."""
        return answer({"id": self._network.plant_template(await body_of(request)).id})

    async def change_template(self, request: web.Request) -> web.Response:
        """`{status?, reason?, title?, quality?, category?, notice?}`; each tells the callback."""
        template = self._network.templates.get(request.match_info["id"])
        if template is None:
            raise ControlError(f"there is no template {request.match_info['id']!r}", 404)
        try:
            self._network.review.change(template, await body_of(request))
        except GraphError as error:
            raise ControlError(str(error)) from error
        return answer(template.as_json())

    async def turn(self, request: web.Request) -> web.Response:
        """Turn knobs (see `knobs`); answers all of them."""
        return answer(self._network.turn(await body_of(request)))

    async def queues(self, _: web.Request) -> web.Response:
        """`{"waiting": n, "callbacks": [{url, waiting, dropped}]}`: webhook items not yet answered 200 or given up."""
        callbacks = self._network.callbacks
        shown = [{"url": one.url, "waiting": one.waiting, "dropped": one.dropped} for one in callbacks]
        return answer({"waiting": sum(one.waiting for one in callbacks), "callbacks": shown})

    async def download(self, request: web.Request) -> web.StreamResponse:
        """The short-lived address of a file: 401 without a token of this server, 404 when it expired."""
        scheme, _, value = request.headers.get("Authorization", "").partition(" ")
        if scheme.lower() != "bearer" or value.strip() not in self._network.state.tokens:
            return answer(GraphError(190).body("A"), 401)
        stored = self._network.media.by_token(request.match_info["token"])
        if stored is None:
            return web.Response(status=404)
        # A declared type may carry parameters ("audio/ogg; codecs=opus"), which aiohttp's content_type refuses.
        return web.Response(body=stored.data, headers={"Content-Type": stored.mime_type})

    async def peek_media(self, request: web.Request) -> web.StreamResponse:
        """A stored file for the phone page, by media id and without a token; never run as a page of this origin."""
        stored = self._network.media.by_id.get(request.match_info["id"])
        if stored is None:
            return web.Response(status=404)
        headers = {
            "Content-Type": stored.mime_type,
            "X-Content-Type-Options": "nosniff",
            "Content-Security-Policy": "sandbox",
        }
        return web.Response(body=stored.data, headers=headers)
