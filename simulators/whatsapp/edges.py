"""The plain reads and writes of the Graph API: fields of numbers, profiles, QR links, templates, subscriptions, tokens.

Each method answers an edge of one kind of object, or None where the edge does not exist. Nothing here sends messages.
"""

from __future__ import annotations

import base64
import datetime
import hmac
import re
from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Any

import aiohttp

from simulators.whatsapp.checks import digits
from simulators.whatsapp.errors import GraphError
from simulators.whatsapp.media import Media
from simulators.whatsapp.state import WINDOW_S, Account, Number, country_of
from simulators.whatsapp.templates import Template
from simulators.world import World

if TYPE_CHECKING:
    from simulators.whatsapp.network import WhatsApp

HANDSHAKE_TIMEOUT_S = 10.0
QR_MAX, QR_TEXT_MAX = 2000, 140
PROMPTS_MAX, PROMPT_MAX = 4, 80
COMMANDS_MAX, COMMAND_NAME_MAX, COMMAND_HINT_MAX = 30, 32, 256
BLOCKED_MAX = 64_000
PAGE_DEFAULT, PAGE_MAX = 25, 1000
UPLOAD_MAX = 100 * 1024 * 1024
_PROFILE_LIMITS = {"about": 139, "address": 256, "description": 512, "email": 128, "vertical": 64}
_USERNAME = re.compile(r"[a-z0-9._]{3,30}")

Answer = dict[str, Any]
Query = Mapping[str, str]
Body = dict[str, Any]


async def handshake(world: World, url: str, verify_token: str) -> None:
    """Ask the callback to prove itself; raises GraphError 2200 when it does not echo the challenge."""
    challenge = str(world.rng.randrange(10**9, 10**10))
    query = {"hub.mode": "subscribe", "hub.challenge": challenge, "hub.verify_token": verify_token}
    reason = ""
    with world.clock.in_flight():
        try:
            timeout = aiohttp.ClientTimeout(total=HANDSHAKE_TIMEOUT_S)
            async with world.session.get(
                url, params=query, timeout=timeout, allow_redirects=False
            ) as response:
                got = (await response.content.read(1024)).decode("utf-8", "replace").strip()
                if response.status != 200:
                    reason = f"HTTP Status Code = {response.status}"
                elif not hmac.compare_digest(got.encode(), challenge.encode()):
                    reason = f"the answer was not the challenge, but {got[:40]!r}"
        except (aiohttp.ClientError, TimeoutError, OSError, ValueError) as error:
            reason = type(error).__name__
    world.log.add("whatsapp", "handshake", {"url": url, "ok": not reason, "reason": reason})
    if reason:
        raise GraphError(
            2200,
            message=f"(#2200) Callback verification failed with the following errors: {reason}",
            kind="OAuthException",
        )


class Edges:
    def __init__(self, network: WhatsApp) -> None:
        self._network = network
        self._world = network.world
        self._uploads: dict[str, int] = {}
        self._number_edges: dict[str, Callable[[str, str | None, Number, Body, Query], Answer | None]] = {
            "whatsapp_business_profile": self._profile,
            "message_qrdls": self._qr_codes,
            "conversational_automation": self._automation,
            "block_users": self._block_users,
            "register": self._register,
            "deregister": self._deregister,
            "request_code": self._request_code,
            "verify_code": self._verify_code,
            "username": self._username,
        }

    # --- tokens, media, uploads ---------------------------------------------------------------------------------------

    def debug_token(self, value: str) -> Answer:
        """What the platform knows of a token; an unknown one is answered 200 with `is_valid` false."""
        token = self._network.state.tokens.get(value)
        if token is None or token.revoked:
            error = {"code": 190, "message": "Invalid OAuth access token - Cannot parse access token"}
            return {"data": {"error": error, "is_valid": False, "scopes": []}}
        expired = bool(token.expires_at) and token.expires_at <= self._world.clock.now()
        data: Answer = {
            "app_id": token.app_id,
            "type": "SYSTEM_USER",
            "application": "Simulated app",
            "data_access_expires_at": 0,
            "expires_at": token.expires_at,
            "is_valid": not expired,
            "scopes": list(token.scopes),
            "granular_scopes": [
                {"scope": scope, "target_ids": sorted(token.account_ids)} for scope in token.scopes
            ],
            "user_id": f"user-{token.app_id}",
        }
        if expired:
            data["error"] = {"code": 190, "message": "Session has expired", "subcode": 463}
        return {"data": data}

    def media(self, verb: str, stored: Media) -> Answer:
        if verb == "DELETE":
            return {"success": self._network.media.remove(stored.id)}
        return self._network.media.describe(stored, self._world.origin)

    def start_upload(self, values: Mapping[str, Any]) -> Answer:
        """First half of a resumable upload: `file_length`, `file_type`, `file_name`."""
        try:
            length = int(values.get("file_length", ""))
        except ValueError:
            raise GraphError(100, message="(#100) The parameter file_length is required.") from None
        if not 0 < length <= UPLOAD_MAX:
            raise GraphError(
                100, f"file_length must be 1 to {UPLOAD_MAX}", message="(#100) Invalid parameter"
            )
        session = f"upload:{self._network.new_id()}"
        self._uploads[session] = length
        return {"id": session}

    def finish_upload(self, session: str, offset: str, data: bytes) -> Answer:
        expected = self._uploads.get(session)
        if expected is None:
            raise GraphError(100, subcode=33, message="Unknown upload session")
        if offset != "0" or len(data) != expected:
            raise GraphError(
                100, f"expected {expected} bytes from offset 0", message="(#100) Invalid parameter"
            )
        del self._uploads[session]
        handle = "4::" + base64.urlsafe_b64encode(session.encode()).decode()
        return {"h": handle}

    # --- numbers ------------------------------------------------------------------------------------------------------

    def number(
        self, verb: str, edge: str, rest: str | None, number: Number, body: Body, query: Query
    ) -> Answer | None:
        if edge == "" and verb == "GET":
            return self._fields(self.number_fields(number), query, ("id", "display_phone_number", "verified_name",
                                                                    "quality_rating"))  # fmt: skip
        if edge == "" and verb == "POST":
            return self._settings(number, body)
        handle = self._number_edges.get(edge)
        return handle(verb, rest, number, body, query) if handle else None

    def number_fields(self, number: Number) -> Answer:
        """Everything `GET /{phone}?fields=` can show."""
        account = self._network.state.account_of(number)
        blocked = account.restricted_code is not None
        portfolio = self._network.portfolio(account.business_id)
        country = country_of(number.phone)
        return {
            "id": number.id,
            "display_phone_number": number.display,
            "verified_name": number.verified_name,
            "quality_rating": number.quality_rating,
            "code_verification_status": "VERIFIED",
            "name_status": "APPROVED",
            "platform_type": "CLOUD_API",
            "account_mode": "LIVE" if number.allowed is None else "SANDBOX",
            "status": number.status,
            "throughput": {"level": "HIGH" if number.limits.rate >= 1000 else "STANDARD"},
            "whatsapp_business_manager_messaging_limit": portfolio.tier,
            "messaging_limit_tier": portfolio.tier,
            "is_official_business_account": False,
            "is_pin_enabled": number.pin is not None,
            "country_code": country,
            "username": number.username,
            "webhook_configuration": {
                key: value
                for key, value in (
                    ("phone_number", number.override_callback),
                    ("whatsapp_business_account", account.override_callback),
                    ("application", self._network.state.app_of(account).callback_url),
                )
                if value
            },
            "conversational_automation": {"id": number.id, **number.automation},
            "health_status": {
                "can_send_message": "BLOCKED" if blocked else "AVAILABLE",
                "entities": [
                    {
                        "entity_type": kind,
                        "id": identifier,
                        "can_send_message": "BLOCKED" if blocked and kind == "WABA" else "AVAILABLE",
                    }
                    for kind, identifier in (
                        ("PHONE_NUMBER", number.id),
                        ("WABA", account.id),
                        ("BUSINESS", account.business_id),
                        ("APP", account.app_id),
                    )
                ],
            },
        }

    def _fields(self, known: Answer, query: Query, default: tuple[str, ...]) -> Answer:
        wanted = [name.strip() for name in query.get("fields", "").split(",") if name.strip()] or list(
            default
        )
        unknown = [name for name in wanted if name.split(".")[0] not in known]
        if unknown:
            raise GraphError(100, message=f"(#100) Tried accessing nonexisting field ({unknown[0]})")
        return {
            name.split(".")[0]: known[name.split(".")[0]]
            for name in ["id", *wanted]
            if name in known or "." in name
        }

    def _settings(self, number: Number, body: Body) -> Answer:
        if "pin" in body:
            if not re.fullmatch(r"\d{6}", str(body["pin"])):
                raise GraphError(100, "pin must have six digits", message="(#100) Invalid parameter")
            number.pin = str(body["pin"])
        if "username" in body:
            self._set_username(number, body["username"])
        return {"success": True}

    def _set_username(self, number: Number, username: object) -> None:
        if not isinstance(username, str) or not _USERNAME.fullmatch(username):
            raise GraphError(
                100, "username must be 3 to 30 of a-z, 0-9, . and _", message="(#100) Invalid parameter"
            )
        number.username = username

    def _profile(self, verb: str, rest: str | None, number: Number, body: Body, query: Query) -> Answer:
        if verb == "GET":
            return {"data": [{"messaging_product": "whatsapp", **number.profile}]}
        if body.get("messaging_product") != "whatsapp":
            raise GraphError(100, message="(#100) The parameter messaging_product is required.")
        for key, limit in _PROFILE_LIMITS.items():
            if len(str(body.get(key, ""))) > limit:
                raise GraphError(
                    100, f"{key} must be at most {limit} characters", message="(#100) Invalid parameter"
                )
        websites = body.get("websites", [])
        if (
            not isinstance(websites, list)
            or len(websites) > 2
            or any(len(str(one)) > 256 for one in websites)
        ):
            raise GraphError(
                100, "websites: at most 2 of at most 256 characters", message="(#100) Invalid parameter"
            )
        number.profile |= {key: value for key, value in body.items() if key != "messaging_product"}
        return {"success": True}

    def _qr_codes(self, verb: str, rest: str | None, number: Number, body: Body, query: Query) -> Answer:
        if verb == "POST":
            return self._save_qr(number, body)
        if rest is None:
            return {"data": list(number.qr_codes.values())}
        if rest not in number.qr_codes:
            raise GraphError(100, subcode=33, message="QR code not found")
        if verb == "DELETE":
            del number.qr_codes[rest]
            return {"success": True}
        return {"data": [number.qr_codes[rest]]}

    def _save_qr(self, number: Number, body: Body) -> Answer:
        text = body.get("prefilled_message")
        if not isinstance(text, str) or not 0 < len(text) <= QR_TEXT_MAX:
            raise GraphError(
                100,
                f"prefilled_message must be 1 to {QR_TEXT_MAX} characters",
                message="(#100) Invalid parameter",
            )
        code = body.get("code")
        if code is not None and not isinstance(code, str):
            raise GraphError(100, "code must be a string", message="(#100) Invalid parameter")
        if code is None:
            if len(number.qr_codes) >= QR_MAX:
                raise GraphError(100, f"at most {QR_MAX} codes", message="(#100) Invalid parameter")
            letters = "ABCDEFGHJKLMNPQRSTUVWXYZ234567"
            code = "".join(self._world.rng.choice(letters) for _ in range(14))
        elif code not in number.qr_codes:
            raise GraphError(100, subcode=33, message="QR code not found")
        saved = {"code": code, "prefilled_message": text, "deep_link_url": f"https://wa.me/message/{code}"}
        if body.get("generate_qr_image") in ("SVG", "PNG"):
            saved["qr_image_url"] = f"{self._world.origin}/sim-media/qr-{code}"
        number.qr_codes[code] = saved
        return saved

    def _automation(self, verb: str, rest: str | None, number: Number, body: Body, query: Query) -> Answer:
        if verb == "GET":
            return {"data": [number.automation]}
        prompts, commands = body.get("prompts", []), body.get("commands", [])
        if not isinstance(prompts, list) or not isinstance(commands, list):
            raise GraphError(100, "prompts and commands must be arrays", message="(#100) Invalid parameter")
        if len(prompts) > PROMPTS_MAX or any(len(str(prompt)) > PROMPT_MAX for prompt in prompts):
            raise GraphError(
                100,
                f"at most {PROMPTS_MAX} prompts of {PROMPT_MAX} characters",
                message="(#100) Invalid parameter",
            )
        if len(commands) > COMMANDS_MAX:
            raise GraphError(100, f"at most {COMMANDS_MAX} commands", message="(#100) Invalid parameter")
        for command in commands:
            if not isinstance(command, dict):
                raise GraphError(100, "each command must be an object", message="(#100) Invalid parameter")
            name, hint = str(command.get("command_name", "")), str(command.get("command_description", ""))
            if not re.fullmatch(rf"[a-z0-9_]{{1,{COMMAND_NAME_MAX}}}", name) or len(hint) > COMMAND_HINT_MAX:
                raise GraphError(
                    100, f"command {name!r} has a bad name or hint", message="(#100) Invalid parameter"
                )
        number.automation = {
            "enable_welcome_message": bool(body.get("enable_welcome_message", False)),
            "prompts": prompts,
            "commands": commands,
        }
        return {"success": True}

    def _block_users(self, verb: str, rest: str | None, number: Number, body: Body, query: Query) -> Answer:
        if verb == "GET":
            return {"data": [{"messaging_product": "whatsapp", "wa_id": phone} for phone in number.blocked]}
        done, failed = [], []
        users = body.get("block_users")
        if not isinstance(users, list) or not all(isinstance(one, dict) for one in users):
            raise GraphError(
                100, "block_users must be an array of objects", message="(#100) Invalid parameter"
            )
        for one in users:
            user = str(one.get("user", ""))
            reason = self._block(number, user) if verb == "POST" else self._unblock(number, user)
            entry: Answer = {"input": user, "wa_id": digits(user)}
            if reason is None:
                done.append(entry)
            else:
                failed.append({**entry, "errors": [{"code": 139100, "message": reason}]})
        result: Answer = {"added_users" if verb == "POST" else "removed_users": done}
        if failed:
            result["failed_users"] = failed
        return {"messaging_product": "whatsapp", "block_users": result}

    def _block(self, number: Number, user: str) -> str | None:
        state, phone = self._network.state, digits(user)
        person = state.by_phone.get(phone)
        # Only people who wrote within 24 hours can be blocked.
        if person is None or state.thread(number, person).window_until <= self._world.clock.now():
            return f"Re-engagement required: the user did not write within {WINDOW_S // 3600} hours"
        if len(number.blocked) >= BLOCKED_MAX:
            raise GraphError(139101, f"at most {BLOCKED_MAX} blocked users")
        number.blocked[phone] = user
        return None

    def _unblock(self, number: Number, user: str) -> str | None:
        return None if number.blocked.pop(digits(user), None) is not None else "The user is not blocked"

    def _register(self, verb: str, rest: str | None, number: Number, body: Body, query: Query) -> Answer:
        if number.pin is not None and str(body.get("pin")) != number.pin:
            raise GraphError(133005, "Two-step verification PIN is wrong.")
        number.status = "CONNECTED"
        return {"success": True}

    def _deregister(self, verb: str, rest: str | None, number: Number, body: Body, query: Query) -> Answer:
        number.status = "DISCONNECTED"
        return {"success": True}

    def _request_code(self, verb: str, rest: str | None, number: Number, body: Body, query: Query) -> Answer:
        if body.get("code_method") not in ("SMS", "VOICE"):
            raise GraphError(100, "code_method must be SMS or VOICE", message="(#100) Invalid parameter")
        return {"success": True}

    def _verify_code(self, verb: str, rest: str | None, number: Number, body: Body, query: Query) -> Answer:
        if not re.fullmatch(r"\d{6}", str(body.get("code", ""))):
            raise GraphError(100, "code must have six digits", message="(#100) Invalid parameter")
        return {"success": True}

    def _username(self, verb: str, rest: str | None, number: Number, body: Body, query: Query) -> Answer:
        if verb == "POST":
            self._set_username(number, body.get("username"))
            return {"success": True}
        if verb == "DELETE":
            number.username = None
            return {"success": True}
        return {"username": number.username, "id": number.id}

    # --- accounts -----------------------------------------------------------------------------------------------------

    def account(self, verb: str, edge: str, account: Account, body: Body, query: Query) -> Answer | None:
        if edge == "message_templates":
            return self._templates(verb, account, body, query)
        if edge == "phone_numbers" and verb == "GET":
            numbers = [one for one in self._network.state.numbers.values() if one.account_id == account.id]
            default = ("id", "display_phone_number", "verified_name", "quality_rating", "status")
            return self._page(
                [self._fields(self.number_fields(one), query, default) for one in numbers], query
            )
        if edge == "subscribed_apps":
            return self._subscribed(verb, account)
        if edge == "" and verb == "GET":
            return self._account_fields(account, query)
        return None

    def _subscribed(self, verb: str, account: Account) -> Answer:
        if verb == "DELETE":
            account.subscribed, account.override_callback = False, None
            return {"success": True}
        if not account.subscribed:
            return {"data": []}
        link = f"https://www.facebook.com/games/?app_id={account.app_id}"
        entry: Answer = {
            "whatsapp_business_api_data": {"link": link, "name": "Simulated app", "id": account.app_id}
        }
        if account.override_callback:
            entry["override_callback_uri"] = account.override_callback
        return {"data": [entry]}

    def _account_fields(self, account: Account, query: Query) -> Answer:
        wanted = query.get("fields", "")
        if wanted.startswith("pricing_analytics"):
            return {
                "pricing_analytics": {"data": [{"data_points": self._pricing_points(account)}]},
                "id": account.id,
            }
        portfolio = self._network.portfolio(account.business_id)
        known: Answer = {
            "id": account.id,
            "name": "Simulated business account",
            "currency": "EUR",
            "timezone_id": "1",
            "message_template_namespace": f"ns_{account.id}",
            "account_review_status": "APPROVED",
            "business_verification_status": "verified",
            "country": "IT",
            "owner_business_info": {"name": "Simulated business", "id": account.business_id},
            "whatsapp_business_manager_messaging_limit": portfolio.tier,
            "health_status": {"can_send_message": "BLOCKED" if account.restricted_code else "AVAILABLE"},
        }
        return self._fields(known, query, ("id", "name", "timezone_id", "message_template_namespace"))

    def _pricing_points(self, account: Account) -> list[Answer]:
        """Delivered messages by day, type and category, from the messages still remembered."""
        totals: dict[tuple[int, str, str], int] = {}
        state = self._network.state
        for message in state.messages.values():
            number = state.numbers.get(message.number_id)
            if number is None or number.account_id != account.id or message.pricing is None:
                continue
            if message.status in ("delivered", "read", "played"):
                moment = datetime.datetime.fromtimestamp(message.at, datetime.UTC)
                day = int(moment.replace(hour=0, minute=0, second=0, microsecond=0).timestamp())
                key = (day, message.pricing["type"], message.pricing["category"])
                totals[key] = totals.get(key, 0) + 1
        return [
            {
                "start": day,
                "end": day + 24 * 3600,
                "pricing_type": kind.upper(),
                "pricing_category": category.upper(),
                "volume": volume,
            }
            for (day, kind, category), volume in sorted(totals.items())
        ]

    # --- templates ----------------------------------------------------------------------------------------------------

    def _templates(self, verb: str, account: Account, body: Body, query: Query) -> Answer | None:
        if verb == "POST":
            template = self._network.review.create(account.id, body)
            return {"id": template.id, "status": template.status, "category": template.category}
        if verb == "DELETE":
            return self._delete_templates(account, query)
        found = self._network.templates_of(account.id)
        for key in ("name", "status", "category", "language"):
            if key in query:
                found = [one for one in found if getattr(one, key) == query[key]]
        default = ("name", "parameter_format", "components", "language", "status", "category", "id")
        shown = [self._template_fields(one, query, default) for one in found]
        return self._page(shown, query)

    def _template_fields(self, template: Template, query: Query, default: tuple[str, ...]) -> Answer:
        known = {"previous_category": None, "rejected_reason": template.rejected_reason, **template.as_json()}
        shown = self._fields(known, query, default)
        return {key: value for key, value in shown.items() if value is not None}

    def _delete_templates(self, account: Account, query: Query) -> Answer:
        name, template_id = query.get("name"), query.get("hsm_id")
        doomed = [
            one
            for one in self._network.templates_of(account.id)
            if one.name == name and template_id in (None, one.id)
        ]
        if not name:
            raise GraphError(100, message="(#100) The parameter name is required.")
        if not doomed:
            raise GraphError(100, f"no template {name}", subcode=2593002, message="Invalid parameter")
        for template in doomed:
            self._network.review.set_status(template, "DELETED")
        return {"success": True}

    def template(self, verb: str, edge: str, template: Template, body: Body) -> Answer:
        if edge == "unpause" and verb == "POST":
            if template.status != "PAUSED":
                return {"success": False, "reason": "Template is not paused"}
            self._network.review.set_status(template, "APPROVED", title="UNPAUSE")
            return {"success": True}
        if verb == "POST":
            self._network.review.edit(template, body)
            return {"success": True}
        return template.as_json()

    @staticmethod
    def _page(items: list[Answer], query: Query) -> Answer:
        """One page, with cursors that hold the position; 131059 when the cursor is none of ours."""
        try:
            limit = min(PAGE_MAX, max(1, int(query.get("limit", PAGE_DEFAULT))))
            start = int(base64.urlsafe_b64decode(query["after"])) if "after" in query else 0
        except ValueError:
            raise GraphError(131059, "The paging cursor is not valid.") from None
        page = items[start : start + limit]
        if not page:
            return {"data": []}
        before = base64.urlsafe_b64encode(str(start).encode()).decode()
        after = base64.urlsafe_b64encode(str(start + len(page)).encode()).decode()
        paging: Answer = {"cursors": {"before": before, "after": after}}
        if start + len(page) < len(items):
            paging["next"] = f"?limit={limit}&after={after}"
        return {"data": page, "paging": paging}
