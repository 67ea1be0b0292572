"""A small machine for random programs: handlers, tables and data, from a seed and some words."""

import random
import struct
from collections.abc import Callable

from auberge.engine.choose import Engine, choose
from auberge.engine.clock import Clock, InstructionClock
from auberge.engine.exits import Exit, Idle, MmioRead, MmioWrite, Spent
from auberge.engine.state import HartState
from auberge.isa.riscv.csrs import CSRS
from auberge.isa.riscv.rv64 import rv64
from auberge.memory.ram import Ram

BASE, SIZE = 0x8000_0000, 1 << 18
M_HANDLER, S_HANDLER, CODE = BASE, BASE + 0x1000, BASE + 0x2000
ROOT, L1, L0, DATA = BASE + 0x10000, BASE + 0x11000, BASE + 0x12000, BASE + 0x20000
SATP = 8 << 60 | ROOT >> 12
DEVICE = 0x1000_0000
EDGES = (0, 1, 2**31 - 1, 2**31, 2**32 - 1, 2**63 - 1, 2**63, 2**64 - 1)
FLOATS = (0, 1 << 63, 0x3FF << 52, 0x3CA << 52, 0xBFF << 52, 0x7FF << 52, 0xFFF << 52, 1, 2**52 - 1,
          0x7FF0 << 48 | 1, 0x7FF8 << 48, 0x4340 << 48, 2**64 - 2**32 + 0x3F800000,
          2**64 - 2**32 + 0x7FC00000, 2**64 - 2**32 + 1)  # fmt: skip
NUMBER = {csr.name: number for number, csr in CSRS.items()}
PRIVILEGED_PATHS = {"mret", "sret", "wfi", "sfence.vma"}


def asm(name: str, **fields: int) -> int:
    """The word of an instruction; operands that are not given are 0."""
    operands = rv64[name].encoding.operands
    values = {n: fields.get(n, 0) for n in operands}
    return rv64[name].encode(**values)


def nop() -> int:
    return asm("addi")


def handler(epc: str, scratch: str, back: str) -> list[int]:
    """Go on at the next sixteen bytes, wherever the trap came from."""

    def csr(name: str, number: str, rd: int = 0, rs1: int = 0) -> int:
        return asm(name, rd=rd, rs1=rs1, csr=NUMBER[number])

    return [csr("csrrs", scratch, rd=30), asm("addi", rd=31, rs1=30, imm=32),
            csr("csrrw", scratch, rs1=31), csr("csrrw", epc, rs1=30), asm(back)]  # fmt: skip


class World:
    """A hart, its RAM and an engine; a device that answers reads with its address."""

    def __init__(self, engine: str, seed: int, words: list[int], at: int = CODE) -> None:
        kind, r = choose(engine), random.Random(seed)
        self.hart: HartState = kind.hart(0)
        self.ram = Ram(BASE, SIZE)
        self.clock: Clock = InstructionClock()
        self.engine: Engine = kind.engine(self.hart, self.ram, self.clock)
        self._fill(r, words, at)

    def _fill(self, r: random.Random, words: list[int], at: int) -> None:
        hart = self.hart
        priv = r.choice([0, 1, 1, 3])
        for name, value in {
            "priv": priv, "pc": at, "satp": SATP, "mtvec": M_HANDLER, "stvec": S_HANDLER,
            "mscratch": at + 32, "sscratch": at + 32,
            "medeleg": r.choice([0, 0xB3FF, 0xB1FF, 0x100]),
            "mideleg": r.choice([0, 0x222]), "mie": r.choice([0, 0xAAA]),
            "mip": r.choice([0, 2, 0x22]),
            "pmpcfg0": 0x1F, "pmpaddr0": (1 << 54) - 1, "mcounteren": r.choice([0, 7]),
            "scounteren": r.choice([0, 7]),
            "menvcfg": r.choice([0, 1 << 63, 1 << 61, 3 << 61 | 1 << 63]),
            "stimecmp": r.choice([2**64 - 1, 0, 3, 9]), "frm": r.choice([0, 1, 2, 3, 4, 0, 5]),
        }.items():  # fmt: skip
            hart[name] = value
        hart["mstatus"] |= r.choice([0, 0x6000, 0x6000]) | r.choice([0, 1 << 18])
        hart["mstatus"] |= r.choice([0, 1 << 19]) | r.choice([0, 8, 2, 10])
        self.put(M_HANDLER, handler("mepc", "mscratch", "mret"))
        self.put(S_HANDLER, handler("sepc", "sscratch", "sret"))
        self.put(at, words)
        self.code = self.ram.read(BASE, ROOT - BASE)
        gib = BASE >> 30 & 511
        self.pte(ROOT, L1 >> 2 | 1)
        self.pte(ROOT + 8 * gib, L1 >> 2 | 1)
        self.pte(ROOT + 8 * (gib + 1), BASE >> 2 | 0xCF)
        self.pte(L1, L0 >> 2 | 1)
        self.pte(L1 + 8, BASE >> 2 | r.choice([0xCF, 0x07, 0xC3, 0x1F]))
        self.pte(L1 + 16, DEVICE >> 2 | 0xC7)
        for page in range(SIZE >> 12):
            flags = 0xC7
            if page >= DATA - BASE >> 12:
                flags = r.choice([0xDF, 0xCF, 0x17, 0x07, 0x13, 0x19, 0xDB, 0x05, 1, 0, 0xD7])
            if page == S_HANDLER - BASE >> 12:
                flags = 0xCB
            if page in (CODE - BASE >> 12, (CODE - BASE >> 12) + 1):
                flags = 0x5B if priv == 0 else 0x4B
            self.pte(L0 + 8 * page, (BASE >> 12) + page << 10 | flags)
        for i in range(1, 16):
            hart.x[i] = r.choice(EDGES + FLOATS) if i % 2 else r.getrandbits(64)
        for i in range(32):
            hart.f[i] = r.choice(FLOATS) if i % 2 else r.getrandbits(64)
        bases = [DATA + 0x800 + r.randrange(16) * 4096, DATA + 0x3FF8, DATA + 0x5FFC,
                 (BASE + (1 << 30)) + DATA - BASE,
                 r.choice([DATA + 0x1803, 1 << 30, 2 << 38, DEVICE]),
                 L0 + 8 * (DATA - BASE >> 12) + 64, DATA >> 2 | 0xD7]  # fmt: skip
        for i, value in enumerate(bases):
            hart.x[16 + i] = value
        hart.x[23], hart.x[24], hart.x[25] = SATP, 0xC0000, 2 << 20

    def code_is_whole(self) -> bool:
        """Whether handlers and program are unchanged; without `fence.i`, new code may be unseen."""
        return self.ram.read(BASE, ROOT - BASE) == self.code

    def put(self, at: int, words: list[int]) -> None:
        self.ram.write(at, struct.pack(f"<{len(words)}I", *words))

    def pte(self, at: int, value: int) -> None:
        self.ram.write(at, struct.pack("<Q", value))

    def run(self, budget: int) -> Exit:
        """Retire `budget` instructions; a read of the device gives its address, a sleep nothing."""
        end = self.hart["spent"] + budget
        while True:
            left = end - self.hart["spent"]
            if left <= 0:
                return Spent()
            out = self.engine.run(left)
            if isinstance(out, MmioRead):
                refuses = out.address & 8
                self.engine.resume(
                    None if refuses else out.address * 0x0101_0101_0101_0101 & 2**64 - 1
                )
            elif isinstance(out, MmioWrite):
                self.engine.resume(None if out.address & 8 else 0)
            elif not isinstance(out, Idle):
                return out


SAFE_CSRS = [n for n, c in CSRS.items() if c.name not in
             ("mtvec", "stvec", "mscratch", "sscratch", "satp", "mtval", "fcsr")
             and not c.name.startswith("pmp")]  # fmt: skip
MEMORY = {"ld", "lw", "lh", "lb", "lbu", "lhu", "lwu", "flw", "fld"}
STORES = {"sd", "sw", "sh", "sb", "fsw", "fsd"}
OTHERS = sorted(
    name for name in rv64.insns
    if name not in STORES | {"jal", "jalr", "ebreak", "beq", "bne", "blt", "bge", "bltu", "bgeu"}
    and not name.startswith("csr")
)  # fmt: skip


def word(kind: int, a: int, b: int, c: int, bits: int) -> list[int]:
    """A random instruction that keeps the rules: bases stay; code and tables are not hit."""
    rd, rs, base, off = a % 16, b % 16, 16 + c % 5, 8 * (bits % 32) - 128 + (bits % 97 == 0)
    number = SAFE_CSRS[bits % len(SAFE_CSRS)]
    match kind:
        case 0 | 1 | 2:
            name = OTHERS[bits // 7 % len(OTHERS)]
            atomic = name.startswith(("amo", "lr.", "sc.", "cbo."))
            fields = {"rd": rd, "rs1": base if name in MEMORY or atomic else rs, "rs2": c % 16,
                      "rs3": a % 32, "rm": bits % 8,
                      "imm": off if name in MEMORY else bits % 4096 - 2048,
                      "shamt": bits % 32}  # fmt: skip
            if name in ("lui", "auipc"):
                fields["imm"] = (bits % 2**20 - 2**19) << 12
            return [asm(name, **fields)]
        case 3:
            return [asm(sorted(STORES)[a % 6], rs1=base, rs2=rs, imm=off)]
        case 4:
            return [asm(sorted(MEMORY)[a % 9], rs1=base, rd=rd, imm=off)]
        case 5:
            return [asm(["csrrw", "csrrs", "csrrc"][a % 3], rd=rd, csr=number, rs1=rs)]
        case 6:
            return [asm("csrrwi", rd=rd, csr=number, uimm=b % 32)]
        case 7:
            name = ["bne", "beq", "blt", "bgeu"][a % 4]
            return [asm(name, rs1=rd, rs2=rs, offset=8 + 4 * (c % 4) - 2 * (bits % 31 == 0))]
        case 8:
            return [asm("jal", rd=rd, offset=8)]
        case 9:
            return [
                asm("sd", rs1=21, rs2=22, imm=8 * (a % 8)),
                asm("sfence.vma", rs1=[0, base][b % 2]),
            ]
        case 10:
            return [asm("csrrw", csr=NUMBER["satp"], rs1=[23, 0][a % 2])]
        case 11:
            return [bits * 4099 & 0xFFFFFFFF]
        case 12:  # the same load on both sides of a change of SUM and MXR
            load = asm("ld", rs1=base, rd=rd)
            change = asm(["csrrs", "csrrc"][a % 2], csr=NUMBER["sstatus"], rs1=24)
            return [load, change, load]
        case 13:  # two compressed instructions
            return [0x0001 | (0x4501 + ((bits % 16) << 7)) << 16]
        case 14:
            return [asm("ld", rs1=25, rd=rd, imm=off), asm("sw", rs1=25, rs2=rs, imm=off)]
        case _:
            kinds = ["lr.d", "sc.d"] if bits % 2 else ["lr.w", "sc.w"]
            return [asm(kinds[0], rs1=base, rd=rd), asm(kinds[1], rs1=base, rs2=rs, rd=c % 16)]


KINDS = 16


def program(seed: int, length: int = 60) -> list[int]:
    """A random program; the same for the same seed."""
    r = random.Random(seed)
    parts = [word(r.randrange(KINDS), *(r.randrange(16) for _ in "abc"), r.getrandbits(20))
             for _ in range(length)]  # fmt: skip
    return [w for part in parts for w in part]


def maker(engine: str, seed: int, words: list[int], at: int = CODE) -> Callable[[], World]:
    """What makes this world anew, always the same."""
    return lambda: World(engine, seed, words, at)
