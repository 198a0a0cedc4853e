"""The town of the integration tests: most faults are shown in this process, over real sockets."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
import structlog

from config import logs
from tests.integration.conftest import any_town, town

__all__ = ["any_town", "town"]


@pytest.fixture(autouse=True)
def plain_logs() -> Iterator[None]:
    """Lines as in production, captured by pytest: structlog's own tracebacks draw every local variable, for seconds."""
    structlog.configure(
        processors=[
            structlog.processors.add_log_level,
            structlog.processors.format_exc_info,
            logs.redact,
            structlog.processors.TimeStamper(fmt="iso", utc=True),
            logs.as_line,
        ],
        logger_factory=structlog.PrintLoggerFactory(),
        cache_logger_on_first_use=False,
    )
    yield
    structlog.reset_defaults()
