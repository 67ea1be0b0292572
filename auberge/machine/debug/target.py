"""The registers as GDB numbers them, and the target description that says so.

Source: Debugging with GDB, appendix G.5.11 (RISC-V features); its numbers are those that GDB's
riscv-tdep.h gives registers.
"""

from auberge.isa.riscv.names import F, X
from auberge.machine.debug.registers import BY_NAME

PC, FIRST_F, FIRST_CSR, PRIV = 32, 33, 65, 65 + 4096
FLOATING = ("fflags", "frm", "fcsr")
POINTERS = {"ra": "code_ptr", "sp": "data_ptr", "gp": "data_ptr", "tp": "data_ptr"}
DOUBLE = (
    '<union id="riscv_double"><field name="float" type="ieee_single"/>'
    '<field name="double" type="ieee_double"/></union>'
)

NUMBERS: dict[int, str] = {
    **dict(enumerate(X)),
    PC: "pc",
    **{FIRST_F + n: name for n, name in enumerate(F)},
    **{FIRST_CSR + csr.number: name for name, csr in BY_NAME.items()},
    PRIV: "priv",
}
"""Names of registers by their numbers in the protocol."""

GENERAL = range(FIRST_CSR)
"""Those that the `g` packet has."""


def description() -> str:
    """target.xml"""
    csrs = [name for name in BY_NAME if name not in FLOATING]
    parts = [
        '<?xml version="1.0"?><!DOCTYPE target SYSTEM "gdb-target.dtd">',
        '<target version="1.0"><architecture>riscv:rv64</architecture>',
        _feature("cpu", [*X, "pc"], {**POINTERS, "pc": "code_ptr"}, "int"),
        _feature("fpu", [*F, *FLOATING], dict.fromkeys(FLOATING, "int"), "riscv_double", DOUBLE),
        _feature("csr", csrs, {}, "int"),
        _feature("virtual", ["priv"], {}, "int"),
        "</target>",
    ]
    return "".join(parts)


def _feature(
    name: str, names: list[str], types: dict[str, str], otherwise: str, first: str = ""
) -> str:
    numbers = {register: number for number, register in NUMBERS.items()}
    lines = [
        f'<reg name="{register}" bitsize="64" regnum="{numbers[register]}"'
        f' type="{types.get(register, otherwise)}"/>'
        for register in names
    ]
    return f'<feature name="org.gnu.gdb.riscv.{name}">{first}{"".join(lines)}</feature>'
