"""Why regions were left: what they jump to when they cannot go on counts, and goes on for them.

The handlers of single instructions jump past this. A region that simply leads on to other code is
not counted: that is its way, and the fastest there is.
"""

from __future__ import annotations

from auberge.engine.llvm_text import TRAPPED

# What a region jumps to, and the cause that is counted; `failed` has two.
COUNTED = {
    "called": "attention",
    "rest": "budget",
    "trapped": "trap",
    "deferred": "reference",
    "once": "mode",
    "find": "fetch",
}


def name(f: str) -> str:
    """What regions are to jump to instead of a function that handlers share."""
    return f"left_{f}" if f in COUNTED or f == "failed" else f


def _counting(f: str, cause: str) -> str:
    return f"""
handler @{name(f)} {{
    %before = get exits_{cause}
    %exits = add i64 %before, 1
    put exits_{cause}, %exits
    jump @{f}
}}
"""


# By the routine of an access: it trapped, or is for the host.
_FAILED = f"""
handler @{name("failed")} {{
    %outcome = get outcome
    %trap = icmp eq i64 %outcome, {TRAPPED}
    br i1 %trap, label %a_trap, label %a_device
a_trap:
    jump @{name("trapped")}
a_device:
    %before = get exits_device
    %exits = add i64 %before, 1
    put exits_device, %exits
    jump @failed
}}
"""

HANDLERS = (*(_counting(f, cause) for f, cause in COUNTED.items()), _FAILED)
