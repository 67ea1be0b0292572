"""How operands are written: registers, rounding modes, fence sets, and what a mnemonic ends in.

Source: The RISC-V Assembly Programmer's Manual; ABI names from the RISC-V Calling Conventions.
"""

X = (
    "zero ra sp gp tp t0 t1 t2 s0 s1 a0 a1 a2 a3 a4 a5 a6 a7 "
    "s2 s3 s4 s5 s6 s7 s8 s9 s10 s11 t3 t4 t5 t6"
).split()
F = (
    "ft0 ft1 ft2 ft3 ft4 ft5 ft6 ft7 fs0 fs1 fa0 fa1 fa2 fa3 fa4 fa5 fa6 fa7 "
    "fs2 fs3 fs4 fs5 fs6 fs7 fs8 fs9 fs10 fs11 ft8 ft9 ft10 ft11"
).split()

X_NUMBERS = {name: n for n, name in enumerate(X)}
X_NUMBERS |= {f"x{n}": n for n in range(32)} | {"fp": 8}
F_NUMBERS = {name: n for n, name in enumerate(F)}
F_NUMBERS |= {f"f{n}": n for n in range(32)}

DYNAMIC = 7
ROUNDING_MODES = {"rne": 0, "rtz": 1, "rdn": 2, "rup": 3, "rmm": 4, "dyn": DYNAMIC}

FENCE_SETS = [
    "".join(letter for bit, letter in ((8, "i"), (4, "o"), (2, "r"), (1, "w")) if n & bit) or "0"
    for n in range(16)
]

HIDDEN = frozenset(("aq", "rl", "fm"))
"""Operands that no syntax shows: the mnemonic's ending does."""

ENDINGS: list[tuple[str, dict[str, int]]] = [
    ("", {}),
    ("", {"aq": 0, "rl": 0}),
    (".aq", {"aq": 1, "rl": 0}),
    (".rl", {"aq": 0, "rl": 1}),
    (".aqrl", {"aq": 1, "rl": 1}),
    ("", {"fm": 0}),
    (".tso", {"fm": 8}),
]
