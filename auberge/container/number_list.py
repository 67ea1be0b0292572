"""Lists of processors, or of nodes of memory, as `0-3,7` (cpuset(7), "List format")."""

MOST = 8192
"""Processors, or nodes of memory, that a kernel can have (CONFIG_NR_CPUS)."""


def mask_of(text: str) -> int:
    """A list as a bit for each of its numbers; raises ValueError for what is none."""
    found = 0
    for part in text.split(","):
        first, dash, last = part.strip().partition("-")
        ends = [first, last] if dash else [first, first]
        if not all(end.isascii() and end.isdecimal() and len(end) <= 4 for end in ends):
            raise ValueError(part)
        low, high = int(ends[0]), int(ends[1])
        if not low <= high < MOST:
            raise ValueError(part)
        found |= (1 << high + 1) - (1 << low)
    return found
