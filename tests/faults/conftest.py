"""The town of the integration tests: most faults are shown in this process, over real sockets."""

from __future__ import annotations

from tests.integration.conftest import any_town, town

__all__ = ["any_town", "town"]
