"""Random kernels for lockstep: S-mode code that calls, patches, remaps, switches spaces and traps.

Four pages of functions, each of which the kernel reaches where it is and through a window, by pages
that it maps there as it goes, in three address spaces. What it does in a round depends on numbers
that it draws itself, so that rounds differ and regions meet what they were not made for. Whatever
happens, every loop ends, and every trap returns.
"""

import random
from collections.abc import Callable
from functools import partial

from auberge.engine.clock import InstructionClock
from tests.engine.board import ASID, CODE, DATA, FS, PAGE, TABLES, XL, Board, D, R, W, X
from tests.engine.board import A as ACCESSED
from tests.engine.board import V as VALID

FUNCTIONS = 4  # pages of them
SLOT = 0x400  # bytes of a function; the last of a page is data
WORDS, FIRST = CODE + PAGE // 2, CODE + 2 * PAGE
WINDOW = 0x40_0000
SPACES = 3
ROOTS = TABLES + 0x4_0000
ANY, LEAVES = "a0 a1 a2 a3 a4 a5 a6 a7 t1 t2 t3 t4 t5".split(), (2,)
OPERATIONS = ("add sub sll srl sra slt sltu xor or and addw subw sllw srlw sraw mul mulh mulhsu "
              "mulhu mulw div divu rem remu divw divuw remw remuw sh1add sh2add.uw andn orn xnor "
              "max minu rol ror bset bext binv bclr czero.eqz czero.nez").split()  # fmt: skip
SINGLE = "clz ctz cpop sext.b sext.h zext.h rev8 orc.b cpopw not neg sext.w".split()
LOADS = {"lb": 1, "lbu": 1, "lh": 2, "lhu": 2, "lw": 4, "lwu": 4, "ld": 8}
STORES = {"sb": 1, "sh": 2, "sw": 4, "sd": 8}
FLOATING = "fadd fsub fmul fdiv fmin fmax fsgnj fsgnjx".split()
BRANCHES = "beq bne blt bge bltu bgeu".split()
PATCHES = (0x00150513, 0x00A5C5B3, 0x02B50533, 0x00843603, 0x00B43823, 0x00000073, 0x05090509,
           0x00000463, 0xFFFFFFFF, 0x00000013)  # fmt: skip
"""What is patched in: addi, xor, mul, a load, a store, ecall, two c.addi, a branch, nothing, nop"""
FLAGS = VALID | R | W | X | ACCESSED | D
MAPPINGS = (FLAGS,) * 6 + (FLAGS & ~W & ~D, FLAGS & ~X, FLAGS & ~ACCESSED, FLAGS & ~D, 0)


class Kernel:
    """The text of one, from a seed."""

    def __init__(self, seed: int, patches: bool = True) -> None:
        self.r, self.patches = random.Random(seed), patches
        self._labels = 0

    def text(self) -> str:
        """Machine mode, the kernel, and its functions."""
        parts = [self._start(), self._handlers(), self._rounds()]
        for page in range(FUNCTIONS):
            for slot in range(3):
                parts.append(f".org {FIRST + page * PAGE + slot * SLOT}")
                parts.append(self._function(page, slot))
            parts.append(f".org {FIRST + page * PAGE + 3 * SLOT}\nown_{page}: .dword 0, 0, 0, 0")
        return "\n".join(parts)

    def label(self) -> str:
        self._labels += 1
        return f"l{self._labels}"

    # -- what one is made of ----------------------------------------------------------------------
    def plain(self) -> str:
        """An instruction that computes, loads or stores."""
        r = self.r
        rd, one, two = (r.choice(ANY) for _ in range(3))
        f = [f"f{r.randrange(8)}" for _ in range(4)]
        match r.randrange(14):
            case 0 | 1 | 2 | 3:
                return f"{r.choice(OPERATIONS)} {rd}, {one}, {two}"
            case 4:
                return f"{r.choice(SINGLE)} {rd}, {one}"
            case 5:
                name = r.choice("addi xori addiw slti".split())
                return f"{name} {rd}, {one}, {r.randrange(-99, 99)}"
            case 6 | 7:
                name = r.choice([*LOADS])
                return f"{name} {rd}, {self.offset(LOADS[name])}(s0)"
            case 8 | 9:
                name = r.choice([*STORES])
                return f"{name} {rd}, {self.offset(STORES[name])}(s0)"
            case 10:
                kind = r.choice("sd")
                if r.random() < 0.3:
                    return f"fmadd.{kind} {f[0]}, {f[1]}, {f[2]}, {f[3]}"
                return f"{r.choice(FLOATING)}.{kind} {f[0]}, {f[1]}, {f[2]}"
            case 11:
                return r.choice([
                    f"fcvt.d.l {f[0]}, {one}", f"fcvt.l.d {rd}, {f[0]}, rtz",
                    f"fmv.x.d {rd}, {f[0]}", f"feq.d {rd}, {f[0]}, {f[1]}",
                    f"fcvt.s.d {f[0]}, {f[1]}", f"fclass.d {rd}, {f[0]}",
                    f"fld {f[0]}, {self.offset(8)}(s0)",
                    f"fsd {f[0]}, {self.offset(8)}(s0)", f"fmv.d.x {f[0]}, {one}",
                ])  # fmt: skip
            case 12:
                return r.choice([f"auipc {rd}, 0", f"c.mv {rd}, {one}", f"c.addi {rd}, 5",
                                 f"c.add {rd}, {one}", f"c.li {rd}, -3"])  # fmt: skip
            case _:
                name = r.choice("amoadd amoswap amoxor amomaxu amomin".split())
                return f"{name}.{r.choice('wd')} {rd}, {one}, (s3)"

    def offset(self, size: int) -> int:
        """Most often aligned; rarely across the end of the page."""
        at = self.r.randrange(-2048, 2040)
        return 2044 if self.r.random() < 0.02 else at if self.r.random() < 0.1 else at & -size

    def rare(self) -> str:
        """What ends a region, traps, or asks how far it has come."""
        r, rd = self.r, self.r.choice(ANY)
        over = self.label()
        return r.choice([
            "ecall", ".word 0xffffffff", f"ld {rd}, 0(s6)", f"sd {rd}, 0(s6)",
            f"addi s7, s3, 2\nlr.w {rd}, (s7)",
            f"csrr {rd}, instret", f"csrr {rd}, cycle", f"csrr {rd}, fcsr", f"csrw sscratch, {rd}",
            f"lr.d {rd}, (s3)\nsc.d {r.choice(ANY)}, {rd}, (s3)", "fence rw, rw", "fence.i",
            f"jal s7, {over}\n{self.plain()}\n{over}: xor {rd}, {rd}, s7", "csrr a7, time",
            "cbo.zero (s3)", "fadd.d f1, f2, f3, rmm", f"amoadd.d {rd}, {rd}, (s6)",
        ])  # fmt: skip

    def switch(self) -> list[str]:
        """To another space, where all spaces have the same code."""
        over = self.label()
        return ["auipc s2, 0", "srli s2, s2, 31", f"beqz s2, {over}",
                f"la s2, space_{self.r.randrange(SPACES)}", "ld s2, (s2)", "csrw satp, s2",
                f"{over}:"]  # fmt: skip

    def few(self, most: int) -> list[str]:
        return [self.plain() for _ in range(self.r.randrange(1, most))]

    def loop(self, depth: int = 0) -> list[str]:
        """So many rounds; a branch or two inside."""
        counter, again = ("t0", "s8")[depth], self.label()
        inside = self.few(9)
        if self.r.random() < 0.6:
            inside += self.fork()
        if not depth and self.r.random() < 0.3:
            inside += self.loop(1)
        if self.r.random() < 0.3:
            inside.insert(self.r.randrange(len(inside) + 1), self.rare())
        count = self.r.choice((1, 2, 5, 9, 17))
        return [f"li {counter}, {count}", f"{again}:", *inside, f"addi {counter}, {counter}, -1",
                f"bgtz {counter}, {again}"]  # fmt: skip

    def fork(self) -> list[str]:
        over, one, two = self.label(), self.r.choice(ANY), self.r.choice(ANY)
        return [f"{self.r.choice(BRANCHES)} {one}, {two}, {over}", *self.few(4), f"{over}:"]

    def _function(self, page: int, slot: int) -> str:
        """One that ends; those of the last slot call nobody."""
        r = self.r
        lines = [f"function_{page}_{slot}:"] + self.few(6)
        if slot not in LEAVES:
            lines.append("mv s5, ra")
        for _ in range(r.randrange(1, 4)):
            match r.randrange(9):
                case 0 | 1 | 2:
                    lines += self.loop()
                case 8:
                    lines += self.switch()
                case 3:
                    lines += self.fork()
                case 4:
                    lines.append(self.rare())
                case 5 if self.patches:  # its own page: that is data, or the next slot's code
                    value = r.choice(ANY)
                    lines += [f"la s1, own_{page}", f"sd {value}, {8 * r.randrange(4)}(s1)"]
                case 6 if self.patches:
                    lines += [f"la s1, patch_{page}_{slot}", self.load_patch(), "sw s4, (s1)",
                              "fence.i"]  # fmt: skip
                case 7 if slot not in LEAVES:
                    lines += [*self.target(2), "jalr s1"]
                case _:
                    lines += self.few(8)
        lines += [f"patch_{page}_{slot}: addi a0, a0, 2", "nop", "nop", *self.few(3)]
        lines.append("jr s5" if slot not in LEAVES else "ret")
        return "\n".join(lines)

    def load_patch(self) -> str:
        at = WORDS + 4 * self.r.randrange(len(PATCHES))
        return f"li s4, {at}\nlw s4, (s4)"  # not la: the pc may be in the window

    def target(self, slot: int) -> list[str]:
        """Where a function is: itself, or whatever is in the window now."""
        page = self.r.randrange(FUNCTIONS)
        base = WINDOW if self.r.random() < 0.7 else FIRST
        return [f"li s1, {base + page * PAGE + slot * SLOT}"]

    # -- the kernel -------------------------------------------------------------------------------
    def _start(self) -> str:
        return f"""
            li s0, {DATA + 2048}
            li s3, {DATA + 64 * 8}
            li s6, {1 << 30}            # nothing is there
            la t0, trap
            csrw stvec, t0
            la t0, round
            csrw mepc, t0
            mret
            .balign 4
        from_s: csrr t6, mepc
            addi t6, t6, 4
            csrw mepc, t6
            addi s9, s9, 1
            mret
        """

    def _handlers(self) -> str:
        """A fault is passed over; where nothing can be fetched, the call is."""
        words = "\n".join(f".word {word}" for word in PATCHES)
        names = [f"space_{space}" for space in range(SPACES)]
        names += [f"entry_{n}_{window}" for n in range(SPACES) for window in range(FUNCTIONS)]
        cells = "\n".join(f"{name}: .dword 0" for name in names)
        return f"""
            .balign 4
        trap: csrr t6, scause
            bltz t6, interrupt
            slli s10, s10, 1
            add s10, s10, t6
            addi t6, t6, -12
            beqz t6, back
            csrr t6, stval
            xor s10, s10, t6
            csrr t6, sepc
            addi t6, t6, 4
            csrw sepc, t6
            sret
        back: csrw sepc, ra
            sret
        interrupt: csrr t6, sepc
            xor s10, s10, t6
            csrr t6, time
            addi t6, t6, {self.r.choice((3, 20, 177))}
            csrw stimecmp, t6
            sret
            .org {WORDS}
        {words}
            .balign 8
        {cells}
        """

    def _rounds(self) -> str:
        """Draw a number; each action is done or not by a bit of it."""
        lines = [f".org {CODE + PAGE}", "round:", f"li t0, {0x5851F42D4C957F2D}",
                 "mul s11, s11, t0", "addi s11, s11, 1013", "add s11, s11, a0"]  # fmt: skip
        for _ in range(self.r.randrange(6, 14)):
            over = self.label()
            lines += [f"srli t0, s11, {self.r.randrange(20, 63)}", "andi t0, t0, 1",
                      f"beqz t0, {over}", *self.action(), f"{over}:"]  # fmt: skip
        return "\n".join([*lines, *self.target(0), "jalr s1", "j round"])

    def action(self) -> list[str]:
        r = self.r
        match r.randrange(11):
            case 0 | 1 | 2 | 3:
                return [*self.target(r.randrange(3)), "jalr s1"]
            case 4 | 5:
                return self.remap()
            case 6:
                return [f"la s2, space_{r.randrange(SPACES)}", "ld s2, (s2)", "csrw satp, s2"]
            case 7 if self.patches:  # where it is, while it may be mapped in the window
                name = f"{r.randrange(FUNCTIONS)}_{r.randrange(3)}"
                return [f"la s1, patch_{name}", self.load_patch(), "sw s4, (s1)", "fence.i"]
            case 8:
                return [f"csrr t1, time\naddi t1, t1, {r.choice((1, 2, 9, 40))}\ncsrw stimecmp, t1"]
            case 9:
                return [f"csrwi frm, {r.choice((0, 0, 0, 0, 1, 2, 3))}"]
            case _:
                return self.loop()

    def remap(self) -> list[str]:
        """A page of the window, in one space, and the fence that this needs, or more."""
        r = self.r
        window, page, space = (r.randrange(n) for n in (FUNCTIONS, FUNCTIONS, SPACES))
        value = FIRST + page * PAGE >> 2 | r.choice(MAPPINGS)
        fences = ["sfence.vma", "sfence.vma t1", f"li t2, {space + 1}\nsfence.vma t1, t2",
                  f"li t2, {space + 1}\nsfence.vma zero, t2"]  # fmt: skip
        return [f"la s2, entry_{space}_{window}", "ld s2, (s2)", f"li t1, {value}", "sd t1, (s2)",
                f"li t1, {WINDOW + window * PAGE}", r.choice(fences)]  # fmt: skip


def setup(seed: int, board: Board) -> None:
    """RAM is mapped to itself; the windows begin with the functions in order."""
    for space in range(SPACES):
        root = ROOTS + space * PAGE
        board.map(CODE, CODE, FLAGS, 1, root=root)
        for window in range(FUNCTIONS):
            va, pa = WINDOW + window * PAGE, FIRST + window * PAGE
            board.put(board.labels[f"entry_{space}_{window}"], board.map(va, pa, FLAGS, root=root))
        satp = 8 << 60 | root >> 12 | space + 1 << ASID
        board.put(board.labels[f"space_{space}"], satp)
    board["satp"] = board.word(board.labels["space_0"])
    board.ram.write(DATA, random.Random(seed).randbytes(2 * PAGE))


CELLS: dict[str, int | str] = {
    "mtvec": "from_s", "medeleg": 0xB1FF, "mideleg": 0x222, "mie": 0x20, "mcounteren": 7,
    "menvcfg": 1 << 63 | 1 << 61 | 1 << 7,
    "stimecmp": 50, "mstatus": XL | FS | 1 << 11 | 1 << 5 | 2,
}  # fmt: skip


def maker(engine: str, seed: int, patches: bool = True) -> Callable[[], Board]:
    """What makes this kernel's board anew, always the same."""
    text = Kernel(seed, patches).text()
    return partial(Board, engine, text, InstructionClock, partial(setup, seed), **CELLS)
