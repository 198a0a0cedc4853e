"""The `pricing` object of a status: which category a message counts as and whether it is free.

https://developers.facebook.com/docs/whatsapp/pricing. Per delivered message since 1 July 2025; from 1 October 2026
free-form messages are charged past a monthly allowance and utility templates are charged inside the window too.
"""

from __future__ import annotations

import datetime
from typing import Any

SERVICE_PRICED_FROM = datetime.datetime(2026, 10, 1, tzinfo=datetime.UTC).timestamp()


def price(
    *, category: str | None, in_window: bool, in_entry_point: bool, now: float, service_left: bool
) -> dict[str, Any]:
    """`{"billable", "pricing_model": "PMP", "type", "category"}`; `category` None: a free-form message.

    `service_left`: the number still has free service messages this month.
    """
    if in_entry_point:
        return _object("free_entry_point", "referral_conversion")
    if category is None:
        free = now < SERVICE_PRICED_FROM or service_left
        return _object("free_customer_service" if free else "regular", "service")
    if category == "UTILITY" and in_window and now < SERVICE_PRICED_FROM:
        return _object("free_customer_service", "utility")
    return _object("regular", category.lower())


def _object(kind: str, category: str) -> dict[str, Any]:
    return {"billable": kind == "regular", "pricing_model": "PMP", "type": kind, "category": category}
