"""The registers of a hart by name, as a debugger sees them: no privilege is needed to read any."""

from auberge.bits.bits import const
from auberge.engine.reference import Reference
from auberge.isa.riscv.csrs import CSRS
from auberge.isa.riscv.names import F, X
from auberge.isa.riscv.rv64 import rv64
from auberge.machine.vcpu import Vcpu
from auberge.memory.ram import Ram

BY_NAME = {csr.name: csr for csr in CSRS.values()}
FIRST_READ_ONLY = 0xC00  # Volume II, 2.1
MODES = (0, 1, 3)  # U, S, M


class ReadOnly(Exception):
    """This register cannot be written, or not with this value."""


def read(vcpu: Vcpu, ram: Ram, name: str) -> int:
    """A register as an unsigned number; raises KeyError if there is no such."""
    hart = vcpu.hart
    if name in ("pc", "priv"):
        return hart[name]
    if name in _X:
        return hart.x[_X[name]]
    if name in _F:
        return hart.f[_F[name]]
    csr = BY_NAME[name]
    return int(csr.value(Reference(rv64, hart, ram, vcpu.clock)))


def write(vcpu: Vcpu, ram: Ram, name: str, value: int) -> None:
    """Write a register, with what a write by an instruction of machine mode would cause.

    Raises KeyError if there is no such register, and ReadOnly.
    """
    hart = vcpu.hart
    if name == "pc":
        hart["pc"] = value & ~1
    elif name == "priv":
        if value not in MODES or value == max(MODES) and hart["hosted"]:
            raise ReadOnly
        hart["priv"] = value
    elif name in _X:
        hart.x[_X[name]] = value
    elif name in _F:
        hart.f[_F[name]] = value
    else:
        csr = BY_NAME[name]
        if csr.number >= FIRST_READ_ONLY or not csr.writable:
            raise ReadOnly
        engine = Reference(rv64, hart, ram, vcpu.clock)
        engine.attempt(lambda: csr.put(engine, const(value, 64)))
    hart.forget_translations()


_X = {name: n for n, name in enumerate(X)}
_F = {name: n for n, name in enumerate(F)}
