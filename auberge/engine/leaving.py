"""Why regions were left: what they jump to when they cannot go on counts, and goes on for them.

What stops at an access to memory is counted by `paged.touch`.
The handlers of single instructions jump past this. A region that simply leads on to other code is
not counted: that is its way, and the fastest there is.
"""

from __future__ import annotations

# What a region jumps to, and the cause that is counted.
COUNTED = {"called": "attention", "rest": "budget", "once": "mode", "find": "fetch"}
UNCOUNTED = {"alone": "once"}  # what left had been counted before


def name(f: str) -> str:
    """What regions are to jump to instead of a function that handlers share."""
    return f"left_{f}" if f in COUNTED else UNCOUNTED.get(f, f)


def _counting(f: str, cause: str) -> str:
    return f"""
handler @{name(f)} {{
    %before = get exits_{cause}
    %exits = add i64 %before, 1
    put exits_{cause}, %exits
    jump @{f}
}}
"""


HANDLERS = tuple(_counting(f, cause) for f, cause in COUNTED.items())
