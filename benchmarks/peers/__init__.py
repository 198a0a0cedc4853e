"""`peers`: the same lead form written with the libraries that one would otherwise take, side by side with ours.

`side_by_side` runs and compares them; `form`, `ptb_form` and `aiogram_form` run in an environment of their own
(`.venv/peers`, from the lock beside this file) and import nothing else of the project.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from benchmarks.options import Options
    from benchmarks.rows import Row


async def run(options: Options) -> list[Row]:
    """Raises Skipped where the peers are not installed."""
    from benchmarks.peers import (
        side_by_side,
    )  # imported late: the peers' own processes have none of what it needs

    return await side_by_side.run(options)
