"""The first moments of a process: what would make every start longer for nothing, and what ends them.

It imports nothing of ours, so that it can come before everything else.
"""

from __future__ import annotations

import gc
import sys


def import_structlog() -> None:
    """structlog imports rich, if it finds it, for coloured tracebacks that we do not show: a tenth of a second and more
    of every start. It finds none."""
    hidden = sys.modules.setdefault("rich", None)  # type: ignore[arg-type]
    import structlog

    assert structlog
    if hidden is None:
        del sys.modules["rich"]


def begin_to_serve() -> None:
    """Before the imports of a process that serves: what they make stays, so that looking for garbage among it would be
    a twelfth of their time for nothing. Until `settle_memory`."""
    gc.disable()


def settle_memory() -> None:
    """After the start: what it made stays as long as the process, so the collector need not look through it again; and
    new objects are looked through by twenty thousands instead of seven hundreds, since hardly any here form cycles
    (a third of the CPU of accepting an event went there)."""
    gc.collect()
    gc.freeze()
    gc.set_threshold(20_000, 20, 50)
    gc.enable()
