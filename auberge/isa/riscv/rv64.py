"""RV64GC with its privileged architecture, complete: what `rv64` knows once all chapters are read.

In the manual's order, which is that of the ISA string; C comes after what its forms stand for.
"""

# isort: off
from auberge.isa.riscv.base import rv64
from auberge.isa.riscv import i, m, a, f, d, c
from auberge.isa.riscv import zicsr, zifencei, zb
from auberge.isa.riscv import traps, access, paging, csrs

# isort: on

CHAPTERS = (i, m, a, f, d, c, zicsr, zifencei, zb, traps, access, paging, csrs)

__all__ = ["CHAPTERS", "rv64"]
