"""What a hart that executes `wfi` waits for."""

from __future__ import annotations

from auberge.engine.exits import Idle
from auberge.engine.state import HartState

NEVER = (1 << 64) - 1


def idle(hart: HartState) -> Idle | None:
    """The exit of a `wfi` (Volume II, 3.3.3); None, if an enabled interrupt is pending already."""
    enabled = hart["mie"]
    if (hart["mip"] | hart["lines"]) & enabled or hart["posted_ssip"]:
        return None
    due = [hart["mtimecmp"]] if enabled >> 7 & 1 else []
    if enabled >> 5 & hart["menvcfg"] >> 63 & 1:
        due.append(hart["stimecmp"])
    deadline = min(due, default=NEVER)
    return Idle(None if deadline == NEVER else deadline)
