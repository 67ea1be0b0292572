"""Zifencei. Sections refer to The RISC-V Instruction Set Manual, Volume I, version 20240411."""

from auberge.isa.hart import Hart
from auberge.isa.riscv.base import rv64

zifencei = rv64.extension("Zifencei", "2.0", "Instruction-Fetch Fence")


# Chapter 6: "base implementations shall ignore" imm, rs1 and rd.
@zifencei.insn("_:12 _:5 001 _:5 0001111", "fence.i")
def fence_i(h: Hart) -> None:
    h.fence_i()
