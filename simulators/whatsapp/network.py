"""The simulated WhatsApp as one object: its records, its parts, and what the rest of the world asks of it.

`WhatsApp` joins the records (`state`), the sending side (`sending`), the people's side (`acts`) and the webhooks. The
HTTP routes of the Graph API stand in `graph`, those of the control API in `controls`.
"""

from __future__ import annotations

import itertools
from collections.abc import Mapping
from typing import Any

from aiohttp import web

from simulators.whatsapp.acts import Acts
from simulators.whatsapp.checks import digits
from simulators.whatsapp.errors import GraphError
from simulators.whatsapp.knobs import Knobs
from simulators.whatsapp.limits import LimitSettings, ManagementLimit, NumberLimits, Portfolio
from simulators.whatsapp.media import MediaStore
from simulators.whatsapp.review import Review
from simulators.whatsapp.sending import Sending
from simulators.whatsapp.state import ALL_SCOPES, Account, App, Number, Person, State, Token
from simulators.whatsapp.templates import Template, check_definition
from simulators.whatsapp.webhooks import Callback, Update
from simulators.world import ControlError, World

# Past this a made-up list of people is a mistake, not a load test.
PEOPLE_AT_ONCE_MAX = 2_000_000

# Numbers for people made without one: area code 555 belongs to nobody.
FIRST_PHONE = 15_550_200_001

_PERSON_FLAGS = ("on_whatsapp", "receipts", "reads", "phone_off", "stopped_marketing", "marketing_capped")
_PERSON_TEXTS = ("username", "parent_bsuid", "identity_hash")


class WhatsApp:
    name = "whatsapp"

    def __init__(self, world: World) -> None:
        self.world = world
        self.limits = LimitSettings()
        self._ids = itertools.count(10_000_000_000_001)
        self._start()

    def _start(self) -> None:
        self.state = State()
        self.knobs = Knobs()
        self.templates: dict[str, Template] = {}
        self._template_by_name: dict[tuple[str, str, str], Template] = {}
        self.portfolios: dict[str, Portfolio] = {}
        self.media = MediaStore(self.world.clock.now, self.new_id)
        self.sending = Sending(self)
        self.acts = Acts(self)
        self.review = Review(self)
        self._phones = itertools.count(FIRST_PHONE)
        self._callbacks: dict[tuple[str, str], Callback] = {}

    def new_id(self) -> str:
        """A Graph object id: digits only, unique in this server."""
        return str(next(self._ids))

    def learn_origin(self, request: web.Request) -> None:
        """Media addresses need this server's own; inside a test nobody else tells it."""
        if not self.world.origin:
            self.world.origin = str(request.url.origin())

    # --- what the shared control routes ask (simulators.world.Network) ------------------------------------------------

    def make_person(self, spec: Mapping[str, Any]) -> str:
        """`{phone?, bsuid?, name?, id?, username?, on_whatsapp?, receipts?, …}` → id; many with `count`."""
        count = spec.get("count", 1)
        if not isinstance(count, int) or not 1 <= count <= PEOPLE_AT_ONCE_MAX:
            raise ControlError(f"count: 1 to {PEOPLE_AT_ONCE_MAX} expected, got {count!r}")
        if count == 1:
            return self._make_one(spec).id
        first = int(digits(str(spec.get("phone", ""))) or 0)
        if not first:
            raise ControlError("phone: the first number is needed to make many people")
        name = str(spec.get("name", "Person"))
        rest = {
            key: value for key, value in spec.items() if key not in ("count", "phone", "name", "id", "bsuid")
        }
        for index in range(count):
            self._make_one({**rest, "phone": str(first + index), "name": f"{name} {index + 1}"})
        return str(first)

    def _make_one(self, spec: Mapping[str, Any]) -> Person:
        phone = digits(str(spec.get("phone") or "")) or None
        bsuid = spec.get("bsuid")
        if phone is None and not bsuid:
            phone = self._free_phone()
        identifier = str(spec.get("id") or phone or bsuid)
        if identifier in self.state.people or (phone is not None and phone in self.state.by_phone):
            raise ControlError(f"person {identifier} exists already", 409)
        person = Person(id=identifier, phone=phone, name=str(spec.get("name", "")), bsuid=bsuid)
        self.change_person(person, spec)
        self.state.add_person(person)
        self.world.show("person", "whatsapp", person=person.id, name=person.name)
        return person

    def _free_phone(self) -> str:
        while (phone := str(next(self._phones))) in self.state.by_phone:
            pass
        return phone

    def change_person(self, person: Person, spec: Mapping[str, Any]) -> None:
        """Set the fields that a control request names; turning the phone on delivers what waited."""
        for key in _PERSON_FLAGS:
            if key in spec:
                if not isinstance(spec[key], bool):
                    raise ControlError(f"{key}: true or false expected, got {spec[key]!r}")
                setattr(person, key, spec[key])
        for key in _PERSON_TEXTS:
            if key in spec:
                setattr(person, key, spec[key])
        if "fails_with" in spec:
            person.fails_with = spec["fails_with"]
        if "name" in spec:
            person.name = str(spec["name"])
        if not person.phone_off and person.pending:
            self.sending.phone_on(person)

    def act(self, endpoint: str, person: str, action: Mapping[str, Any]) -> Mapping[str, Any]:
        return self.acts.act(self.need_number(endpoint), self.need_person(person), action)

    def set_limits(self, spec: Mapping[str, Any]) -> Mapping[str, Any]:
        try:
            return self.limits.change(spec)
        except ValueError as error:
            raise ControlError(str(error)) from error

    def seed(self, spec: Mapping[str, Any]) -> None:
        """`{"numbers": […], "people": […], "templates": [{account, …}], "knobs": {…}}`."""
        if "knobs" in spec:
            self.turn(spec["knobs"])
        for number in spec.get("numbers", ()):
            self.make_number(number)
        for template in spec.get("templates", ()):
            self.plant_template(template)
        for person in spec.get("people", ()):
            self.make_person(person)

    def reset(self) -> None:
        for callback in self._callbacks.values():
            callback.close()
        self.limits = LimitSettings()
        self._start()

    # --- set-up -------------------------------------------------------------------------------------------------------

    def turn(self, spec: Mapping[str, Any]) -> dict[str, Any]:
        """Turn the knobs; gives them all."""
        try:
            return self.knobs.change(spec)
        except ValueError as error:
            raise ControlError(str(error)) from error

    def make_number(self, spec: Mapping[str, Any]) -> Number:
        """Make or change a number with its account, app and token; see `controls.make_number`."""
        for key in ("phone_number_id", "business_account_id", "access_token"):
            if not isinstance(spec.get(key), str) or not spec[key]:
                raise ControlError(f"{key}: a text is needed")
        account = self._account_for(spec)
        number_id = spec["phone_number_id"]
        display = str(spec.get("display_phone_number") or f"+1555{number_id[-7:]:0>7}")
        number = self.state.numbers.get(number_id)
        if number is None:
            limits = NumberLimits(self.limits, spec.get("mps"))
            number = Number(number_id, account.id, digits(display), display, "", limits)
            self.state.numbers[number_id] = number
        number.phone, number.display = digits(display), display
        number.verified_name = str(spec.get("verified_name", number.verified_name or "Test number"))
        if "messaging_limit" in spec:
            self.portfolio(account.business_id).tier = str(spec["messaging_limit"])
        self.world.show(
            "endpoint", "whatsapp", endpoint=number_id, name=number.verified_name, username=display
        )
        if "allowed" in spec:
            allowed = spec["allowed"]
            number.allowed = None if allowed is None else frozenset(digits(str(phone)) for phone in allowed)
        return number

    def _account_for(self, spec: Mapping[str, Any]) -> Account:
        account_id = spec["business_account_id"]
        app_id = str(spec.get("app_id") or f"app-{account_id}")
        app = self.state.apps.setdefault(app_id, App(app_id, str(spec.get("app_secret", ""))))
        if spec.get("app_secret"):
            app.secret = str(spec["app_secret"])
        account = self.state.accounts.get(account_id)
        if account is None:
            business_id = str(spec.get("business_id") or f"business-{account_id}")
            account = self.state.accounts[account_id] = Account(account_id, app_id, business_id)
            account.management = ManagementLimit(self.limits)
        if spec.get("callback_url"):
            # As after a set-up in the dashboard: the handshake has been done and the account is subscribed.
            app.callback_url, app.verify_token = str(spec["callback_url"]), str(spec.get("verify_token", ""))
            account.subscribed = True
        self._token_for(spec, app_id, account_id)
        return account

    def _token_for(self, spec: Mapping[str, Any], app_id: str, account_id: str) -> None:
        value = spec["access_token"]
        token = self.state.tokens.setdefault(value, Token(value, app_id, set()))
        token.account_ids.add(account_id)
        token.scopes = tuple(spec.get("scopes", ALL_SCOPES))
        token.expires_at = int(spec.get("token_expires_at", 0))
        token.revoked = bool(spec.get("token_revoked", False))

    def plant_template(self, spec: Mapping[str, Any]) -> Template:
        """A template that is approved from the start, for tests and seeds: `{business_account_id, name, …}`."""
        account_id = str(spec.get("business_account_id", spec.get("account", "")))
        if account_id not in self.state.accounts:
            raise ControlError(f"business_account_id: no account {account_id!r}")
        try:
            fields = check_definition(dict(spec))
        except GraphError as error:
            raise ControlError(f"template: {error}") from error
        template = Template(id=self.new_id(), account_id=account_id, **fields)
        template.status = str(spec.get("status", "APPROVED"))
        self.keep_template(template)
        return template

    # --- look-ups -----------------------------------------------------------------------------------------------------

    def need_number(self, text: str) -> Number:
        number = self.state.find_number(text)
        if number is None:
            raise ControlError(f"number: there is no number {text!r}", 404)
        return number

    def need_person(self, text: str) -> Person:
        person = self.state.people.get(text) or self.state.by_phone.get(digits(text))
        if person is None:
            raise ControlError(f"person: there is no person {text!r}", 404)
        return person

    def nobody(self, phone: str | None, bsuid: str | None) -> Person:
        """The person behind an address that nobody made; by the knob somebody, or nobody on WhatsApp."""
        person = Person(id=phone or str(bsuid), phone=phone, name="", bsuid=bsuid)
        person.on_whatsapp = phone is not None and self.knobs.unknown_people == "exist"
        self.state.add_person(person)
        return person

    def find_template(self, account_id: str, name: str, language: str) -> Template | None:
        return self._template_by_name.get((account_id, name, language))

    def keep_template(self, template: Template) -> None:
        self.templates[template.id] = template
        self._template_by_name[template.account_id, template.name, template.language] = template

    def drop_template(self, template: Template) -> None:
        self.templates.pop(template.id, None)
        self._template_by_name.pop((template.account_id, template.name, template.language), None)

    def templates_of(self, account_id: str) -> list[Template]:
        return [template for template in self.templates.values() if template.account_id == account_id]

    def portfolio(self, business_id: str) -> Portfolio:
        return self.portfolios.setdefault(business_id, Portfolio())

    def portfolio_take(self, number: Number, person: Person, now: float) -> bool:
        """Whether the business may still write to this person today."""
        if not (self.limits.enabled and self.limits.portfolio):
            return True
        return self.portfolio(self.state.account_of(number).business_id).take(person.id, now)

    # --- webhooks -----------------------------------------------------------------------------------------------------

    def tell(self, number: Number | None, update: Update) -> None:
        """Hand an update to the callback that is in charge: the number's, else the account's, else the app's."""
        callback = self.callback_for(number, update.account_id)
        if callback is None:
            self.world.log.counters["whatsapp.untold"] += 1
            return
        callback.add(update)

    def callback_for(self, number: Number | None, account_id: str) -> Callback | None:
        account = self.state.accounts[account_id]
        app = self.state.app_of(account)
        url = (number.override_callback if number else None) or account.override_callback or app.callback_url
        if not account.subscribed or not url:
            return None
        return self.callback(url, app.secret)

    @property
    def callbacks(self) -> list[Callback]:
        return list(self._callbacks.values())

    def callback(self, url: str, secret: str) -> Callback:
        key = (url, secret)
        callback = self._callbacks.get(key)
        if callback is None:
            callback = self._callbacks[key] = Callback(self.world, self.knobs, url, secret)
        return callback

    def tell_account(self, account_id: str, field: str, value: dict[str, Any]) -> None:
        """An account-level change, such as a template's review."""
        now = self.world.clock.now_s()
        self.tell(None, Update(account_id, field, value, id=f"{field}:{now}", time=now))
