"""What every test has: databases, a network that ends at this machine, a search for leaked personal data."""

from __future__ import annotations

import os

# Before `telegram` is imported anywhere: without it python-telegram-bot warns in place of raising RetryAfter.
os.environ.setdefault("PTB_TIMEDELTA", "1")

pytest_plugins = [
    "tests.support.run",
    "tests.support.databases",
    "tests.support.redis",
    "tests.support.stores",
    "tests.support.network",
    "tests.support.canaries",
]
