"""RV64GC with its privileged architecture, complete: what `rv64` knows once all chapters are read.

In the manual's order; C comes after what its forms stand for.
"""

# isort: off
from auberge.isa.riscv.base import rv64
from auberge.isa.riscv import i, m, a, f, d, c
from auberge.isa.riscv import zicsr, zifencei, zicond, zb
from auberge.isa.riscv import traps, access, paging, zicbo, csrs

# isort: on

CHAPTERS = (i, m, a, f, d, c, zicsr, zifencei, zicond, zb, traps, access, paging, zicbo, csrs)

__all__ = ["CHAPTERS", "rv64"]
