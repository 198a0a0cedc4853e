"""What happens to a message that a business sends: checks in the platform's order, then its statuses over time.

    accept ─┬─ refused: GraphError
            └─ accepted (wamid) ─┬─ failed
                                 └─ sent ── reaches the person ── delivered ── read (── played)

`accept` decides everything at once; `start` lets the statuses happen on the simulated clock. A message to a phone that
is off stays `sent` until the phone is on again. Nothing is lost between the two: every accepted message ends failed,
delivered or read, or waits for its phone.
https://developers.facebook.com/docs/whatsapp/cloud-api/webhooks/components#statuses-object
"""

from __future__ import annotations

import base64
import datetime
import hashlib
import itertools
import math
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import aiohttp

from simulators.whatsapp import media, pricing
from simulators.whatsapp.checks import MEDIA_TYPES, check_send, digits
from simulators.whatsapp.content import Shown, show
from simulators.whatsapp.errors import GraphError, status_error
from simulators.whatsapp.identity import visible
from simulators.whatsapp.state import (
    ENTRY_POINT_S,
    WINDOW_S,
    Message,
    Number,
    Person,
    Thread,
    is_us_number,
)
from simulators.whatsapp.templates import Filled, Template, fill
from simulators.whatsapp.webhooks import Update
from simulators.world import Reached

if TYPE_CHECKING:
    from simulators.whatsapp.network import WhatsApp

LINK_TIMEOUT_S = 10.0
REACTION_LIFE_S = 30 * 24 * 3600
_SENT_MS = (10.0, 200.0)
_MEDIA_MS = (300.0, 1500.0)
_DELIVERED_MEDIAN_S = 2.0
_READ_MEDIAN_S = 6.0
_SPREAD = 0.5

Failure = tuple[int, str]

_WHY = {
    130429: "Message failed to send because there were too many messages sent from this phone number in a short period "
    "of time.",
    131056: "Message failed to send because there were too many messages sent from this phone number to the same phone "
    "number in a short period of time.",
    131026: "Message Undeliverable.",
    131047: "Message failed to send because more than 24 hours have passed since the customer last replied to this "
    "number.",
    131048: "Message failed to send because there are restrictions on how many messages can be sent from this phone "
    "number.",
    131049: "This message was not delivered to maintain healthy ecosystem engagement.",
    131050: "Recipient has stopped marketing messages from this business.",
    131053: "Media upload error.",
    132015: "Template is paused due to low quality.",
}


@dataclass(slots=True)
class Accepted:
    """What `accept` decided: the answer to give, and the message whose statuses `start` lets happen."""

    answer: dict[str, Any]
    message: Message
    number: Number
    person: Person
    failure: Failure | None
    links: list[tuple[str, str]] = field(default_factory=list)
    with_media: bool = False
    held: bool = False


class Sending:
    def __init__(self, network: WhatsApp) -> None:
        self._network = network
        self._state = network.state
        self._knobs = network.knobs
        self._world = network.world
        self._sequence = itertools.count(1)
        self._links: dict[str, tuple[float, Failure | None]] = {}

    # --- accepting ----------------------------------------------------------------------------------------------------

    def accept(self, number: Number, body: dict[str, Any], *, marketing_only: bool = False) -> Accepted:
        """Check a send and register its message; raises GraphError."""
        kind = check_send(body)
        account = self._state.account_of(number)
        if account.restricted_code is not None:
            raise GraphError(account.restricted_code, "The account is restricted.")
        if number.status != "CONNECTED":
            raise GraphError(133010, "The phone number is not registered.")
        now = self._world.clock.now()
        person, to_bsuid = self._recipient(account.business_id, body)
        if not number.limits.take(now):
            raise GraphError(130429, _WHY[130429])
        thread = self._state.thread(number, person)
        if not number.limits.take_pair(thread.pair, now):
            raise GraphError(131056, _WHY[131056])
        template, filled = (
            self._template(account.id, body, marketing_only) if kind == "template" else (None, None)
        )
        if marketing_only and template is None:
            raise GraphError(131055, "This API only supports marketing template messages.")
        self._check_recipient(number, person, to_bsuid, template, body)
        in_window = thread.window_until > now
        if template is None and not in_window and self._knobs.window_check == "sync":
            raise GraphError(131047, _WHY[131047])
        links = self._check_media(number, kind, body)
        message = self._register(
            number, person, thread, kind, body, template, show(kind, body[kind], filled), now
        )
        message.to_bsuid = to_bsuid
        failure = self._failure(number, person, message, template, in_window, now)
        if not to_bsuid:
            thread.phone_used_at = now
        message.pricing, message.conversation = self._price(number, thread, template, in_window, now, failure)
        held = template is not None and template.category == "MARKETING" and self._knobs.pacing != "off"
        answer = self._answer(
            account.business_id, person, body, message, to_bsuid, template is not None, held
        )
        if marketing_only:
            answer["success"] = True
        with_media = bool(_media_parts(kind, body[kind]))
        return Accepted(answer, message, number, person, failure, links, with_media, held)

    def _recipient(self, business_id: str, body: dict[str, Any]) -> tuple[Person, bool]:
        """The person, and whether the BSUID decided. When both are given the phone number wins."""
        to = body.get("to")
        if to is None:
            recipient = body["recipient"]
            known = self._state.by_bsuid.get((business_id, recipient))
            if known is None:
                # Ids of people who never wrote are not computable backwards: look at those that have a fixed one.
                known = next((one for one in self._state.people.values() if one.bsuid == recipient), None)
            return known or self._network.nobody(None, recipient), True
        phone = digits(to)
        return self._state.by_phone.get(phone) or self._network.nobody(phone, None), False

    def _template(
        self, account_id: str, body: dict[str, Any], marketing_only: bool
    ) -> tuple[Template, Filled]:
        sent = body["template"]
        name, language = sent["name"], sent["language"]["code"]
        template = self._network.find_template(account_id, name, language)
        if template is None:
            raise GraphError(132001, f"template name ({name}) does not exist in {language}")
        if template.status == "PAUSED":
            raise GraphError(132015, f"template {name} is paused")
        if template.status == "DISABLED":
            raise GraphError(132016, f"template {name} is disabled")
        if template.status != "APPROVED":
            raise GraphError(
                132001, f"template {name} ({language}) is {template.status.lower()}, not approved"
            )
        if marketing_only and template.category != "MARKETING":
            raise GraphError(134100, f"template {name} is {template.category.lower()}")
        return template, fill(template, sent.get("components") or [])

    def _check_recipient(
        self, number: Number, person: Person, to_bsuid: bool, template: Template | None, body: dict[str, Any]
    ) -> None:
        if person.phone == number.phone:
            raise GraphError(131021, "Sender and recipient phone number is the same.")
        if number.allowed is not None and person.phone not in number.allowed:
            raise GraphError(
                131030, "Add the recipient phone number to the list of recipients and try again."
            )
        if to_bsuid and template is not None and template.category == "AUTHENTICATION":
            raise GraphError(131062, "Authentication templates cannot be sent to a business-scoped user ID.")
        key = body.get("recipient_identity_key_hash")
        if key is not None and key != person.identity_hash:
            raise GraphError(137000, "The recipient's identity has changed since the hash was recorded.")

    def _check_media(self, number: Number, kind: str, body: dict[str, Any]) -> list[tuple[str, str]]:
        """Refuse unknown media ids at once; returns the links `[(kind, url)]` to be fetched afterwards."""
        links: list[tuple[str, str]] = []
        for media_kind, source in _media_parts(kind, body[kind]):
            if "link" in source:
                links.append((media_kind, source["link"]))
                continue
            found = self._network.media.find(str(source["id"]))
            if found is None or found.number_id != number.id:
                raise GraphError(
                    131009,
                    f"Param {media_kind}['id'] is not a valid whatsapp business account media attachment ID",
                )
        return links

    def _register(
        self,
        number: Number,
        person: Person,
        thread: Thread,
        kind: str,
        body: dict[str, Any],
        template: Template | None,
        shown: Shown,
        now: float,
    ) -> Message:
        content = {"type": kind, kind: body[kind], **shown.extra}
        if "context" in body:
            content["context"] = body["context"]
        message = Message(
            id=self.new_id(person.phone or person.id),
            number_id=number.id,
            person_id=person.id,
            direction="out",
            type=kind,
            content=content,
            text=shown.text,
            at=now,
            buttons=shown.buttons,
            callback_data=body.get("biz_opaque_callback_data"),
            category=template.category if template else None,
            template_id=template.id if template else None,
        )
        self._state.keep(message, thread)
        return message

    def new_id(self, whose: str) -> str:
        """A wamid: unique, and as opaque as the real ones (base64 of something that starts with the number)."""
        tail = f"{self._world.rng.getrandbits(40):010X}{next(self._sequence):010X}"
        return (
            "wamid."
            + base64.b64encode(f"\x1d\x18\x0b{whose}\x15\x02\x00\x12\x18\x14{tail}\x00".encode()).decode()
        )

    def _failure(
        self,
        number: Number,
        person: Person,
        message: Message,
        template: Template | None,
        in_window: bool,
        now: float,
    ) -> Failure | None:
        """The reason why an accepted message will fail later, in the order in which the platform looks."""
        code: int | None = None
        marketing = template is not None and template.category == "MARKETING"
        if template is None and not in_window and self._knobs.window_check == "async":
            code = 131047
        elif not in_window and not self._network.portfolio_take(number, person, now):
            code = self._knobs.portfolio_code
        elif not person.on_whatsapp:
            code = 131026
        elif person.fails_with is not None:
            code = person.fails_with
        elif marketing and person.stopped_marketing:
            code = 131050
        elif marketing and (person.marketing_capped or self._is_us(person)):
            code = 131049
        elif message.type == "reaction" and self._too_old(message):
            code = 131009
        return None if code is None else (code, _WHY.get(code, "Message was not delivered."))

    def _is_us(self, person: Person) -> bool:
        return self._knobs.us_marketing_block and person.phone is not None and is_us_number(person.phone)

    def _too_old(self, reaction: Message) -> bool:
        target = self._state.messages.get(reaction.content["reaction"]["message_id"])
        return target is None or target.at + REACTION_LIFE_S < reaction.at

    def _price(
        self,
        number: Number,
        thread: Thread,
        template: Template | None,
        in_window: bool,
        now: float,
        failure: Failure | None,
    ) -> tuple[dict[str, Any] | None, dict[str, Any] | None]:
        if failure is not None:
            return None, None
        clicked = thread.ad_clicked_at
        if (
            clicked is not None
            and in_window
            and now - clicked <= WINDOW_S
            and thread.entry_point_until <= clicked
        ):
            thread.entry_point_until = now + ENTRY_POINT_S
        in_entry_point = thread.entry_point_until > now
        service_left = True
        if template is None and not in_entry_point:
            service_left = self._count_service(number, now)
        category = template.category if template else None
        priced = pricing.price(
            category=category,
            in_window=in_window,
            in_entry_point=in_entry_point,
            now=now,
            service_left=service_left,
        )
        if not in_entry_point:
            return priced, None
        return priced, {
            "id": hashlib.blake2b(
                f"{number.id}/{thread.entry_point_until}".encode(), digest_size=16
            ).hexdigest(),
            "expiration_timestamp": str(int(thread.entry_point_until)),
            "origin": {"type": "referral_conversion"},
        }

    def _count_service(self, number: Number, now: float) -> bool:
        month = datetime.datetime.fromtimestamp(now, datetime.UTC).strftime("%Y-%m")
        if number.service_month != month:
            number.service_month, number.service_sent = month, 0
        number.service_sent += 1
        return number.service_sent <= self._knobs.service_allowance

    def _answer(
        self,
        business_id: str,
        person: Person,
        body: dict[str, Any],
        message: Message,
        to_bsuid: bool,
        is_template: bool,
        held: bool,
    ) -> dict[str, Any]:
        contact: dict[str, Any] = {"input": body["recipient"] if to_bsuid else body["to"]}
        if not to_bsuid:
            contact["wa_id"] = person.phone
        if to_bsuid or self._knobs.bsuid_mode != "phone":
            contact["user_id"] = body["recipient"] if to_bsuid else self._state.bsuid(person, business_id)
        entry = {"id": message.id}
        if is_template:
            entry["message_status"] = "held_for_quality_assessment" if held else "accepted"
        return {"messaging_product": "whatsapp", "contacts": [contact], "messages": [entry]}

    # --- statuses over time -------------------------------------------------------------------------------------------

    def start(self, accepted: Accepted, *, sent_already: bool = False) -> None:
        """Let the message's statuses happen."""
        if accepted.links and accepted.failure is None and self._knobs.fetch_links:
            self._world.spawn(self._fetch_then_start(accepted))
        elif accepted.held:
            self._later(self._knobs.pacing_s, lambda: self._released(accepted))
        elif sent_already:
            self._reach(accepted)
        else:
            self._begin(accepted)

    def _begin(self, accepted: Accepted) -> None:
        delay = self._delay_of_sending(accepted)
        if accepted.failure is None:
            self._later(delay, lambda: self._sent(accepted))
        else:
            self._later(delay, lambda: self._failed(accepted))

    def _delay_of_sending(self, accepted: Accepted) -> float:
        """Texts of one thread arrive in the order of acceptance, as they do in practice; media takes its time and is
        overtaken, which is why the platform promises no order.
        """
        low, high = _SENT_MS
        rng, now = self._world.rng, self._world.clock.now()
        delay = self._delay((low + rng.random() * (high - low)) / 1000)
        if accepted.with_media:
            low, high = _MEDIA_MS
            return delay + self._delay((low + rng.random() * (high - low)) / 1000)
        thread = self._state.thread(accepted.number, accepted.person)
        thread.last_sent_at = max(thread.last_sent_at, now + delay)
        return thread.last_sent_at - now

    def _released(self, accepted: Accepted) -> None:
        accepted.held = False
        if self._knobs.pacing == "drop" and accepted.failure is None:
            accepted.failure = (132015, _WHY[132015])
        self._begin(accepted)

    async def _fetch_then_start(self, accepted: Accepted) -> None:
        with self._world.clock.in_flight():
            for kind, url in accepted.links:
                accepted.failure = accepted.failure or await self._fetch(kind, url)
        accepted.links = []
        self.start(accepted)

    async def _fetch(self, kind: str, url: str) -> Failure | None:
        """Look at a media link as the platform does, which remembers the result for ten minutes."""
        now = self._world.clock.now()
        known = self._links.get(url)
        if known is not None and known[0] > now:
            return known[1]
        failure: Failure | None = None
        try:
            async with self._world.session.get(
                url, timeout=aiohttp.ClientTimeout(total=LINK_TIMEOUT_S)
            ) as response:
                if response.status != 200:
                    failure = (
                        131053,
                        f"Downloading media from weblink failed with http code {response.status}",
                    )
                else:
                    data = await response.content.read(media.LIMITS[kind][0] + 1)
                    media.check(kind, response.content_type, len(data))
        except GraphError as error:
            failure = (131053, error.details)
        except (aiohttp.ClientError, TimeoutError, OSError, ValueError) as error:
            failure = (131053, f"Downloading media from weblink failed: {type(error).__name__}")
        if len(self._links) >= 10_000:
            self._links.clear()
        self._links[url] = (now + media.LINK_CACHE_S, failure)
        return failure

    def _delay(self, lifelike_s: float) -> float:
        fixed = self._knobs.status_delay_ms
        return lifelike_s if fixed is None else fixed / 1000

    def _later(self, delay_s: float, run: Callable[[], None]) -> None:
        # After a reset of the world the timers of the old one must not touch the new one.
        self._world.clock.call_later(delay_s, lambda: run() if self._network.sending is self else None)

    def _sent(self, accepted: Accepted) -> None:
        self._tell(accepted, "sent", priced=True)
        self._reach(accepted)

    def _reach(self, accepted: Accepted) -> None:
        if accepted.person.phone_off:
            accepted.person.pending.append(accepted.message)
            return
        self._show(accepted.message, accepted.number, accepted.person)
        # A reaction gets no further status.
        if accepted.message.type != "reaction":
            delay = self._delay(self._world.rng.lognormvariate(math.log(_DELIVERED_MEDIAN_S), _SPREAD))
            self._later(delay, lambda: self._delivered(accepted))

    def _show(self, message: Message, number: Number, person: Person) -> None:
        message.reached = True
        self._state.thread(number, person).typing_until = 0.0
        extra: dict[str, Any] = {}
        if message.callback_data is not None:
            extra["biz_opaque_callback_data"] = message.callback_data
        if message.category is not None:
            extra["category"] = message.category
        self._world.reached(
            Reached(
                network="whatsapp",
                endpoint=number.id,
                person=person.id,
                external_id=message.id,
                kind=message.type,
                text=message.text,
                buttons=message.buttons,
                content=message.content,
                extra=extra,
            )
        )

    def _delivered(self, accepted: Accepted) -> None:
        rng, knobs, person = self._world.rng, self._knobs, accepted.person
        will_read = person.receipts and person.reads and rng.random() < knobs.read_p
        # `delivered` may be missing when the chat is open: `read` implies it.
        if not (will_read and knobs.skip_delivered_p and rng.random() < knobs.skip_delivered_p):
            accepted.message.delivered_shown = True
            self._tell(accepted, "delivered", priced=True)
        if will_read:
            delay = self._delay(rng.lognormvariate(math.log(_READ_MEDIAN_S), _SPREAD))
            self._later(delay, lambda: self._read(accepted))

    def _read(self, accepted: Accepted) -> None:
        self._tell(accepted, "read", priced=not accepted.message.delivered_shown)

    def _failed(self, accepted: Accepted) -> None:
        assert accepted.failure is not None
        accepted.message.error_code = accepted.failure[0]
        self._tell(accepted, "failed", failure=accepted.failure)

    def phone_on(self, person: Person) -> None:
        """What waited for this phone arrives now, in order."""
        pending, person.pending = person.pending, []
        for message in pending:
            number = self._state.numbers.get(message.number_id)
            if number is not None:
                self._reach(Accepted({}, message, number, person, None))

    def played(self, message: Message) -> None:
        """The person listened to a voice message."""
        number, person = self._state.numbers[message.number_id], self._state.people[message.person_id]
        self._tell(Accepted({}, message, number, person, None), "played")

    def _tell(
        self, accepted: Accepted, status: str, *, priced: bool = False, failure: Failure | None = None
    ) -> None:
        update = self.status_update(accepted, status, priced=priced, failure=failure)
        self._network.tell(accepted.number, update)

    def status_update(
        self, accepted: Accepted, status: str, *, priced: bool = False, failure: Failure | None = None
    ) -> Update:
        """The webhook item of one status. A failure comes without `contacts`."""
        message, number, person = accepted.message, accepted.number, accepted.person
        now = self._world.clock.now()
        message.status = status
        seen = visible(self._state, self._knobs, number, person, now)
        item: dict[str, Any] = {"id": message.id, "status": status, "timestamp": str(int(now))}
        if seen.wa_id is not None or not message.to_bsuid:
            item["recipient_id"] = seen.wa_id or person.phone or ""
        if seen.user_id is not None:
            item["recipient_user_id"] = seen.user_id
        if message.callback_data is not None:
            item["biz_opaque_callback_data"] = message.callback_data
        if priced and message.conversation is not None:
            item["conversation"] = message.conversation
        if priced and message.pricing is not None:
            item["pricing"] = message.pricing
        if failure is not None:
            item["errors"] = [status_error(*failure)]
        with_contact = failure is None and seen.user_id is not None
        self._world.show(
            "status", "whatsapp", endpoint=number.id, to=person.id, external_id=message.id, status=status
        )
        return Update(
            account_id=number.account_id,
            field="messages",
            item=item,
            id=f"{message.id}:{status}",
            number=(number.phone, number.id),
            kind="statuses",
            contact=seen.contact(person) if with_contact else None,
        )


def _media_parts(kind: str, part: Any) -> list[tuple[str, dict[str, Any]]]:
    """Every media source of a message: `[(image, {"link": …}), …]`."""
    if kind in MEDIA_TYPES:
        return [(kind, part)]
    headers: list[Any] = []
    if kind == "interactive":
        headers = [part.get("header"), *(card.get("header") for card in part["action"].get("cards") or [])]
    elif kind == "template":
        headers = _template_headers(part.get("components") or [])
    found = []
    for header in headers:
        media_kind = header.get("type") if isinstance(header, dict) else None
        if media_kind in MEDIA_TYPES:
            found.append((media_kind, header[media_kind]))
    return found


def _template_headers(components: list[dict[str, Any]]) -> list[Any]:
    headers: list[Any] = []
    for component in components:
        headers += component.get("parameters") or []
        for card in component.get("cards") or []:
            headers += _template_headers(card.get("components") or [])
    return headers
