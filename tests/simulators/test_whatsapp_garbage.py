"""Whatever a client sends, the simulated WhatsApp answers in the platform's form: accepted, or an error with a code."""

from __future__ import annotations

import copy
import json
import random
from collections.abc import Callable, Iterator
from typing import Any

from simulators.clock import Clock
from simulators.whatsapp.edges import Edges
from simulators.whatsapp.errors import GraphError
from simulators.whatsapp.network import WhatsApp
from simulators.whatsapp.templates import check_definition
from simulators.world import World
from tests.simulators.test_whatsapp_checks import GOOD, TO
from tests.simulators.whatsapp_shop import PROMO_TEMPLATE, TEXT_TEMPLATE, promo_part, template_part

JUNK: list[Any] = [
    None, True, 0, -1, 1.5, "", "x", "\x00\ud800", [], [None], [{}], {}, {"a": 1}, {"type": "image"}, {"type": "text"},
    [["a"]], "image", 10**30,
]  # fmt: skip
IMAGE = {"type": "HEADER", "format": "IMAGE", "example": {"header_handle": ["4::x"]}}
IMAGE_TEMPLATE = {**TEXT_TEMPLATE, "name": "with_image", "components": [IMAGE, *TEXT_TEMPLATE["components"]]}
SETTINGS: list[tuple[str, dict[str, Any]]] = [
    ("", {"pin": "123456", "username": "bottega"}),
    (
        "whatsapp_business_profile",
        {"messaging_product": "whatsapp", "about": "a", "websites": ["https://example.com"]},
    ),
    ("message_qrdls", {"prefilled_message": "Hi", "generate_qr_image": "SVG", "code": "A"}),
    (
        "conversational_automation",
        {"prompts": ["?"], "commands": [{"command_name": "hours", "command_description": "When"}]},
    ),
    ("block_users", {"messaging_product": "whatsapp", "block_users": [{"user": "+447700900123"}]}),
    ("register", {"messaging_product": "whatsapp", "pin": "123456"}),
    ("request_code", {"code_method": "SMS", "language": "it"}),
    ("verify_code", {"code": "123456"}),
    ("username", {"username": "bottega"}),
]
ROUNDS = 4000


def paths(value: Any, path: tuple[Any, ...] = ()) -> Iterator[tuple[Any, ...]]:
    if path:
        yield path
    if isinstance(value, (dict, list)):
        for key, part in value.items() if isinstance(value, dict) else enumerate(value):
            yield from paths(part, (*path, key))


def spoiled(value: Any, chance: random.Random) -> Any:
    """A copy with one or two parts removed or replaced by junk."""
    value = copy.deepcopy(value)
    for _ in range(chance.choice((1, 1, 2))):
        found = list(paths(value))
        if not found:
            break
        *way, last = chance.choice(found)
        place = value
        for key in way:
            place = place[key]
        if chance.random() < 0.3:
            del place[last]
        else:
            place[last] = copy.deepcopy(chance.choice(JUNK))
    return value


def refusals(call: Callable[[], object]) -> list[GraphError]:
    """The platform's errors of many calls; any other exception comes through."""
    refused = []
    for _ in range(ROUNDS):
        try:
            call()
        except GraphError as error:
            refused.append(error)
    return refused


def test_spoiled_messages_are_accepted_or_refused() -> None:
    """No other exception, and every refusal can be written as JSON."""
    chance = random.Random(5)
    network = WhatsApp(World(clock=Clock(at=1.79e9)))
    network.set_limits({"enabled": False})
    number = network.make_number({"phone_number_id": "1", "business_account_id": "2", "access_token": "t"})
    for template in (TEXT_TEMPLATE, PROMO_TEMPLATE, IMAGE_TEMPLATE):
        network.plant_template({**template, "business_account_id": "2"})
    with_image = template_part("with_image", "en_US", "Ann", "A-1")
    picture = {"type": "image", "image": {"link": "https://example.com/a.png"}}
    with_image["components"].insert(0, {"type": "header", "parameters": [picture]})
    parts = [promo_part(), template_part("order_update", "en_US", "Ann", "A-1"), with_image]
    good = [{**TO, **body} for body in GOOD.values()] + [
        {**TO, "type": "template", "template": part} for part in parts
    ] * 3
    refused = refusals(lambda: network.sending.accept(number, spoiled(chance.choice(good), chance)))
    assert all(json.dumps(error.body("A")) and 400 <= error.http < 600 for error in refused)
    assert 0 < len(refused) < ROUNDS


def test_spoiled_definitions_are_taken_or_refused() -> None:
    """The same for templates."""
    chance = random.Random(6)
    good = (TEXT_TEMPLATE, PROMO_TEMPLATE, IMAGE_TEMPLATE)
    refused = refusals(lambda: check_definition(spoiled(chance.choice(good), chance)))
    assert {error.code for error in refused} == {100}
    assert 0 < len(refused) < ROUNDS


def test_spoiled_settings_are_taken_or_refused() -> None:
    """The same for the plain edges of a number."""
    chance = random.Random(7)
    network = WhatsApp(World(clock=Clock(at=1.79e9)))
    number = network.make_number({"phone_number_id": "1", "business_account_id": "2", "access_token": "t"})
    edges = Edges(network)

    def call() -> None:
        edge, body = chance.choice(SETTINGS)
        edges.number("POST", edge, None, number, spoiled(body, chance), {})

    refused = refusals(call)
    assert 0 < len(refused) < ROUNDS
