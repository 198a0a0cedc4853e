"""Who and what exists on the simulated WhatsApp: apps, business accounts, numbers, people, threads, messages, media.

Plain records and look-ups, no behaviour over time: sending is in `sending`, what people do in `people`, webhooks in
`webhooks`. Times are seconds of the simulated clock. The business-scoped user id of a person (BSUID) is made per
business portfolio, as on the platform; https://developers.facebook.com/docs/whatsapp/business-scoped-user-ids
"""

from __future__ import annotations

import hashlib
from dataclasses import dataclass, field
from typing import Any, Literal

from simulators.whatsapp.checks import digits
from simulators.whatsapp.limits import Bucket, LimitSettings, ManagementLimit, NumberLimits

# A load run sends more than anyone scrolls back: the phone page shows these many messages of a thread.
THREAD_MESSAGES_MAX = 300
# Messages kept by id for read marks, reactions and replies; older ones are forgotten.
MESSAGES_MAX = 500_000
WINDOW_S = 24 * 3600
ENTRY_POINT_S = 72 * 3600
PHONE_KNOWN_S = 30 * 24 * 3600

ALL_SCOPES = ("whatsapp_business_management", "whatsapp_business_messaging")

_COUNTRIES = {
    "1": "US", "20": "EG", "27": "ZA", "30": "GR", "31": "NL", "32": "BE", "33": "FR", "34": "ES", "36": "HU",
    "39": "IT", "40": "RO", "41": "CH", "43": "AT", "44": "GB", "45": "DK", "46": "SE", "47": "NO", "48": "PL",
    "49": "DE", "52": "MX", "54": "AR", "55": "BR", "61": "AU", "90": "TR", "91": "IN", "351": "PT", "353": "IE",
}  # fmt: skip

# North American area codes that are not in the United States, and 555, which belongs to nobody.
_NOT_US = frozenset({
    204, 226, 236, 242, 246, 249, 250, 263, 264, 268, 284, 289, 306, 343, 345, 354, 365, 367, 368, 382, 403,
    416, 418, 428, 431, 437, 438, 441, 450, 468, 473, 474, 506, 514, 519, 548, 555, 579, 581, 584, 587, 604,
    613, 639, 647, 649, 658, 664, 672, 683, 705, 709, 721, 742, 753, 758, 767, 778, 780, 782, 784, 807, 809,
    819, 825, 829, 849, 867, 868, 869, 873, 876, 879, 902, 905, 942,
})  # fmt: skip

BsuidMode = Literal["phone", "both", "bsuid"]


def country_of(phone: str) -> str:
    """ISO country of a number by its calling code; ZZ where it is not in the small table."""
    for length in (3, 2, 1):
        if phone[:length] in _COUNTRIES:
            return _COUNTRIES[phone[:length]]
    return "ZZ"


def is_us_number(phone: str) -> bool:
    return len(phone) == 11 and phone[0] == "1" and int(phone[1:4]) not in _NOT_US


@dataclass(slots=True)
class App:
    """A Meta app: owner of the secret that signs and of the callback of last resort."""

    id: str
    secret: str
    callback_url: str | None = None
    verify_token: str = ""


@dataclass(slots=True)
class Token:
    """A system user's access token. `expires_at` 0: never."""

    value: str
    app_id: str
    account_ids: set[str]
    scopes: tuple[str, ...] = ALL_SCOPES
    expires_at: int = 0
    revoked: bool = False


@dataclass(slots=True)
class Account:
    """A WhatsApp Business Account. Accounts with the same `business_id` share a portfolio and its limits."""

    id: str
    app_id: str
    business_id: str
    subscribed: bool = False
    override_callback: str | None = None
    verify_token: str = ""
    restricted_code: int | None = None
    management: ManagementLimit = field(default_factory=lambda: ManagementLimit(LimitSettings()))


@dataclass(slots=True)
class Number:
    """A business phone number; `phone` has digits only."""

    id: str
    account_id: str
    phone: str
    display: str
    verified_name: str
    limits: NumberLimits
    override_callback: str | None = None
    verify_token: str = ""
    quality_rating: str = "GREEN"
    status: str = "CONNECTED"
    username: str | None = None
    pin: str | None = None
    allowed: frozenset[str] | None = None
    profile: dict[str, Any] = field(default_factory=dict)
    automation: dict[str, Any] = field(default_factory=dict)
    qr_codes: dict[str, dict[str, Any]] = field(default_factory=dict)
    blocked: dict[str, str] = field(default_factory=dict)
    service_month: str = ""
    service_sent: int = 0


@dataclass(slots=True)
class Person:
    """Somebody with WhatsApp, or with a number that has none (`on_whatsapp` False)."""

    id: str
    phone: str | None
    name: str
    bsuid: str | None = None
    parent_bsuid: str | None = None
    username: str | None = None
    on_whatsapp: bool = True
    receipts: bool = True
    reads: bool = True
    phone_off: bool = False
    stopped_marketing: bool = False
    marketing_capped: bool = False
    fails_with: int | None = None
    identity_hash: str | None = None
    bsuid_generation: int = 0
    bsuids: dict[str, str] = field(default_factory=dict)
    pending: list[Message] = field(default_factory=list)


@dataclass(slots=True)
class Message:
    """One message of a thread. `direction`: "out" from the business, "in" from the person."""

    id: str
    number_id: str
    person_id: str
    direction: str
    type: str
    content: dict[str, Any]
    text: str
    at: float
    buttons: tuple[dict[str, str], ...] = ()
    callback_data: str | None = None
    category: str | None = None
    template_id: str | None = None
    to_bsuid: bool = False
    status: str = ""
    error_code: int | None = None
    pricing: dict[str, Any] | None = None
    conversation: dict[str, Any] | None = None
    delivered_shown: bool = False
    reached: bool = False

    def as_json(self) -> dict[str, Any]:
        shown = {
            "external_id": self.id,
            "direction": self.direction,
            "type": self.type,
            "text": self.text,
            "at": int(self.at * 1000),
            "buttons": list(self.buttons),
            "content": self.content,
            "status": self.status,
            "reached": self.reached,
        }
        if self.error_code is not None:
            shown["error_code"] = self.error_code
        return shown


@dataclass(slots=True)
class Thread:
    """What one number and one person have between them."""

    pair: Bucket
    window_until: float = 0.0
    entry_point_until: float = 0.0
    ad_clicked_at: float | None = None
    phone_used_at: float = 0.0
    last_sent_at: float = 0.0
    messages: list[Message] = field(default_factory=list)
    typing_until: float = 0.0


class State:
    """All records with their look-ups."""

    def __init__(self) -> None:
        self.apps: dict[str, App] = {}
        self.tokens: dict[str, Token] = {}
        self.accounts: dict[str, Account] = {}
        self.numbers: dict[str, Number] = {}
        self.people: dict[str, Person] = {}
        self.by_phone: dict[str, Person] = {}
        self.by_bsuid: dict[tuple[str, str], Person] = {}
        self.threads: dict[tuple[str, str], Thread] = {}
        self.messages: dict[str, Message] = {}

    def account_of(self, number: Number) -> Account:
        return self.accounts[number.account_id]

    def app_of(self, account: Account) -> App:
        return self.apps[account.app_id]

    def thread(self, number: Number, person: Person) -> Thread:
        key = (number.id, person.id)
        thread = self.threads.get(key)
        if thread is None:
            thread = self.threads[key] = Thread(pair=number.limits.new_pair())
        return thread

    def add_person(self, person: Person) -> None:
        self.people[person.id] = person
        if person.phone is not None:
            self.by_phone[person.phone] = person

    def forget_number_of(self, person: Person) -> None:
        if person.phone is not None and self.by_phone.get(person.phone) is person:
            del self.by_phone[person.phone]

    def bsuid(self, person: Person, business_id: str) -> str:
        """The person's id in this portfolio; stable until the person changes number."""
        known = person.bsuids.get(business_id)
        if known is None:
            known = person.bsuid or self._new_bsuid(person, business_id)
            person.bsuids[business_id] = known
            self.by_bsuid[business_id, known] = person
        return known

    def _new_bsuid(self, person: Person, business_id: str) -> str:
        seed = f"{business_id}/{person.id}/{person.bsuid_generation}".encode()
        number = int.from_bytes(hashlib.blake2b(seed, digest_size=8).digest(), "big")
        return f"{country_of(person.phone or '')}.{10**19 + number}"

    def change_bsuid(self, person: Person) -> dict[str, tuple[str, str]]:
        """New ids in every portfolio that knows the person: `{business_id: (previous, current)}`."""
        previous = dict(person.bsuids)
        for business_id, old in previous.items():
            self.by_bsuid.pop((business_id, old), None)
        person.bsuids.clear()
        person.bsuid = None
        person.bsuid_generation += 1
        return {business_id: (old, self.bsuid(person, business_id)) for business_id, old in previous.items()}

    def keep(self, message: Message, thread: Thread) -> None:
        self.messages[message.id] = message
        if len(self.messages) > MESSAGES_MAX:
            del self.messages[next(iter(self.messages))]
        thread.messages.append(message)
        if len(thread.messages) > THREAD_MESSAGES_MAX:
            del thread.messages[: THREAD_MESSAGES_MAX // 10]

    def find_number(self, text: str) -> Number | None:
        """By phone_number_id, or by the number itself."""
        return self.numbers.get(text) or next(
            (number for number in self.numbers.values() if number.phone == digits(text)), None
        )
