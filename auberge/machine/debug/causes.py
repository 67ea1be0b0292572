"""The names of traps, for people. Source: Volume II, version 20211203, table 3.6."""

INTERRUPT = 1 << 63  # of a cause: 3.1.15

INTERRUPTS = {
    1: "supervisor software interrupt",
    3: "machine software interrupt",
    5: "supervisor timer interrupt",
    7: "machine timer interrupt",
    9: "supervisor external interrupt",
    11: "machine external interrupt",
}
EXCEPTIONS = {
    0: "instruction address misaligned",
    1: "instruction access fault",
    2: "illegal instruction",
    3: "breakpoint",
    4: "load address misaligned",
    5: "load access fault",
    6: "store/AMO address misaligned",
    7: "store/AMO access fault",
    8: "environment call from U-mode",
    9: "environment call from S-mode",
    11: "environment call from M-mode",
    12: "instruction page fault",
    13: "load page fault",
    15: "store/AMO page fault",
}

MODES = {0: "U", 1: "S", 3: "M"}
"""The privilege modes (1.2, table 1.1)."""


def cause_name(cause: int) -> str:
    """What the manual calls the trap of this cause."""
    if cause & INTERRUPT:
        return INTERRUPTS[cause & ~INTERRUPT]
    return EXCEPTIONS[cause]
