"""`statuses`: WhatsApp statuses, verified, matched to their messages and applied, in the accepting commit.

Messages that were sent hear of their delivery, one status a POST and a hundred a POST. What is applied is counted.
"""

from __future__ import annotations

import hashlib
import hmac
import json
from collections.abc import Sequence
from typing import Any

from sqlalchemy import Connection, text

from benchmarks import loading, world
from benchmarks.calibration import Calibration, calibrated
from benchmarks.children import Child, child
from benchmarks.machine import cores
from benchmarks.options import Options
from benchmarks.rows import Row, measured
from domain import ids
from storage.database import scalar_int
from storage.statements import bulk

STATUSES = 3_000  # of one round and size
BUDGET_US = 200.0
_MESSAGES = text(
    "INSERT INTO message (id, workspace_id, channel_id, conversation_id, contact_id, identity_id, outlet_id, turn_id, "
    "run_id, direction, message_class, purpose, author, content, external_id, status, status_rank, reason, code, "
    "possibly_twice, consent_id, pricing, sent_at, created_at) SELECT CAST(e.value ->> 'id' AS BIGINT), :workspace, "
    ":channel, 0, 0, 0, 0, 0, 0, 'out', 'service', '', 'bot', '{\"kind\":\"text\",\"text\":\"Ciao\"}', "
    "e.value ->> 'wamid', 'sent', 4, '', '', 0, 0, '', CAST(:now AS BIGINT), CAST(:now AS BIGINT) "
    "FROM json_each(:rows) e"
)


async def run(options: Options) -> list[Row]:
    """One row per size of POST."""
    folder = options.folder / "statuses"
    values: dict[int, list[float]] = {1: [], 100: []}
    ratios: dict[int, list[float]] = {1: [], 100: []}
    count = options.amount(STATUSES, least=400)
    async with calibrated(folder / "echo") as calibration:
        here = await world.prepare(folder, flow=False)
        app = child(
            ["benchmarks.serving", "app"],
            core=cores()[0],
            folder=folder / "app",
            environment=here.environment(PUBLIC_URL="", TELEGRAM_API_URL="http://127.0.0.1:9"),
        )
        async with app as server:
            for number in range(-1, options.rounds):  # the first one warms
                echo = await calibration.echo()
                for size in values:
                    used = await _round(here, server, count, size)
                    if number >= 0:
                        values[size].append(used)
                        ratios[size].append(used / echo)
        return _rows(values, ratios, calibration)


def _rows(
    values: dict[int, list[float]], ratios: dict[int, list[float]], calibration: Calibration
) -> list[Row]:
    limit = BUDGET_US * calibration.scale
    return [
        measured(
            f"CPU per WhatsApp status, {size} a POST",
            values[size],
            "µs",
            at_most=limit,
            ratios=ratios[size],
            against="echo",
            budget=f"≤ 200 µs, here {limit:.0f} µs",
        )
        for size in values
    ] + [measured("bare echo beside statuses", calibration.echo_us, "µs")]


async def _round(here: world.Installation, server: Child, count: int, size: int) -> float:
    """CPU µs per status."""
    messages = await _sent_messages(here, count)
    requests = [_delivery(here, messages[start : start + size]) for start in range(0, len(messages), size)]
    before = server.cpu_s()
    fired = await loading.fire(here.port, requests)
    used = (server.cpu_s() - before) / count * 1e6
    assert fired.accepted == len(requests), f"not all were accepted: {dict(fired.statuses)}"
    await _all_applied(here, messages)
    return used


async def _sent_messages(here: world.Installation, count: int) -> list[int]:
    messages = [here.new_id() for _ in range(count)]

    def insert(connection: Connection) -> None:
        for start in range(0, count, 1_000):
            rows = [{"id": one, "wamid": _wamid(one)} for one in messages[start : start + 1_000]]
            values = {"workspace": here.workspace, "channel": here.whatsapp, "now": world.clock()}
            connection.execute(_MESSAGES, {"rows": bulk(rows), **values})

    async with world.opened(here.url) as database:
        await database.write(insert)
    return messages


async def _all_applied(here: world.Installation, messages: Sequence[int]) -> None:
    async with world.opened(here.url) as database:
        applied = await database.read(
            lambda c: scalar_int(
                c,
                "SELECT count(*) FROM message WHERE status = 'delivered' AND delivered_at > 0 "
                "AND id >= :first AND id <= :last",
                {"first": messages[0], "last": messages[-1]},
            )
        )
    assert applied == len(messages), f"{len(messages) - applied} of {len(messages)} statuses were not applied"


def _delivery(here: world.Installation, messages: Sequence[int]) -> bytes:
    value: dict[str, Any] = {
        "messaging_product": "whatsapp",
        "metadata": {"display_phone_number": "15550100", "phone_number_id": "100000000000001"},
        "contacts": [{"wa_id": "447700900123", "user_id": "US.13491208655302741918"}],
        "statuses": [
            {
                "id": _wamid(one),
                "status": "delivered",
                "timestamp": str(world.clock() // 1000),
                "recipient_id": "447700900123",
                "recipient_user_id": "US.13491208655302741918",
                "biz_opaque_callback_data": ids.to_text("message", one),
                "conversation": {"id": "7270432eae37498234f4444b35ffc5", "origin": {"type": "service"}},
                "pricing": {
                    "billable": True,
                    "pricing_model": "PMP",
                    "category": "service",
                    "type": "regular",
                },
            }
            for one in messages
        ],
    }
    entry = {"id": "100000000000002", "changes": [{"value": value, "field": "messages"}]}
    body = json.dumps({"object": "whatsapp_business_account", "entry": [entry]}).encode()
    signature = hmac.new(world.APP_SECRET.encode(), body, hashlib.sha256).hexdigest()
    path = here.path("whatsapp", here.whatsapp)
    return loading.request(path, body, {"X-Hub-Signature-256": f"sha256={signature}"})


def _wamid(message: int) -> str:
    return f"wamid.HBgMNDQ3NzAwOTAwMTIzFQIAERgS{message:020d}"
