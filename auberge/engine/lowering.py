"""From a description to LLVM text: what every native form of an instruction shares."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from types import FunctionType
from typing import NamedTuple, TypeVar, cast

from auberge.bits.bits import Bits, const, leaf, select, signed
from auberge.bits.rounding import NV, from_unsigned, to_integer
from auberge.engine.access import EngineHart, Watched
from auberge.engine.llvm_text import (
    LEFT,
    LIKELY,
    MEMORY,
    STATE,
    TRAPPED,
    loading,
    pointer,
    storing,
)
from auberge.engine.state import ENTRY, TLB_ENTRIES, Layout
from auberge.isa.hart import ZERO, Hart, Spy
from auberge.isa.spec import Cell, Isa

T = TypeVar("T")

COUNTS = {"clz": "ctlz", "ctz": "cttz", "popcount": "ctpop", "bswap": "bswap"}
FFLAGS, FRM = Cell("fflags"), Cell("frm")


class Register(NamedTuple):
    """One register of a file, as a key of what is pending."""

    file: str
    number: Bits


class Context(NamedTuple):
    """What all traces of one module share."""

    isa: Isa
    layout: Layout
    watched: Watched
    effects: dict[str, dict[Cell, int]]  # what each routine, with all it calls, may write
    fuses: bool  # whether the host has a fused multiply-add

    @classmethod
    def of(cls, isa: Isa, layout: Layout, fuses: bool) -> Context:
        """The context for a description: which state each routine writes is seen in a dry run."""
        effects = {}
        for name, text in isa.routines.items():
            effects[name] = Spy(isa, text, *arguments(text)).writes
        return cls(isa, layout, Watched(isa), effects, fuses)


def arguments(text: Callable[..., None]) -> tuple[str, ...]:
    """The names of what a routine takes after the hart."""
    code = cast(FunctionType, text).__code__
    return code.co_varnames[1 : code.co_argcount]


class Trace(EngineHart):
    """A hart traced into LLVM text. Subclasses say what is known of it, and where paths end."""

    def __init__(self, context: Context) -> None:
        super().__init__()
        self.context, self.isa, self.layout = context, context.isa, context.layout
        self.lines: list[str] = []
        self.fresh, self.block = 0, "entry"
        self.memo: dict[Bits, str] = {}
        self.now: dict[Cell | Register, Bits] = {}
        self.registers: dict[Register, Bits] = {}  # pending, as `pending` is for cells
        self.choices: dict[Bits, tuple[Bits, Bits, Bits]] = {}  # a phi: (condition, then, else)
        self.ended = self.wrote = self.system = self.flushed = False

    # -- text -----------------------------------------------------------------------------------
    def do(self, line: str) -> None:
        self.lines.append(line)

    def op(self, line: str) -> str:
        """Append an operation; the name of its value."""
        self.fresh += 1
        self.lines.append(f"%v{self.fresh} = {line}")
        return f"%v{self.fresh}"

    def labels(self, *names: str) -> list[str]:
        """Names for blocks that no others have."""
        self.fresh += 1
        return [f"{n}{self.fresh}" for n in names]

    def start(self, label: str) -> None:
        self.lines.append(f"{label}:")
        self.block = label

    def end(self, *lines: str) -> None:
        """End this path. What is traced after it is unreachable, and LLVM drops it."""
        self.lines += lines
        self.start(self.labels("dead")[0])
        self.ended = True

    def leaf(self, width: int, name: str) -> Bits:
        """The value that LLVM knows as `name`."""
        self.fresh += 1
        new = leaf(width, self.fresh)
        self.memo[new] = name
        return new

    def low(self, e: Bits) -> str:
        """The LLVM name of an expression; each is computed once on a path."""
        if e.value is not None:
            return str(signed(e.value, e.width)) if e.width > 1 else str(bool(e.value)).lower()
        if e not in self.memo:
            self.memo[e] = self.lower(e)
        return self.memo[e]

    def lower(self, e: Bits) -> str:
        """The name of the value of an expression whose operands are lowered first."""
        if e.op == "leaf":
            raise TypeError("a value born in a `when` is used after it; get it out with h.either()")
        a, t = [self.low(x) for x in e.args], f"i{e.width}"
        s = f"i{e.args[0].width}"
        match e.op:
            case "eq" | "ult" | "slt":
                return self.op(f"icmp {e.op} {s} {a[0]}, {a[1]}")
            case "sext" | "zext":
                return self.op(f"{e.op} {s} {a[0]} to {t}")
            case "select":
                return self.op(f"select i1 {a[0]}, {t} {a[1]}, {t} {a[2]}")
            case "extract":
                v = self.op(f"lshr {s} {a[0]}, {e.param}") if e.param else a[0]
                return self.op(f"trunc {s} {v} to {t}")
            case "concat":
                return self.concat(e, a)
            case "clz" | "ctz":
                return self.op(f"call {t} @llvm.{COUNTS[e.op]}.{t}({t} {a[0]}, i1 false)")
            case "popcount" | "bswap":
                return self.op(f"call {t} @llvm.{COUNTS[e.op]}.{t}({t} {a[0]})")
            case "shl" | "lshr" | "ashr":
                if e.args[1].value is None:
                    a[1] = self.modulo(t, a[1], e.width)
                elif e.args[1].value >= e.width:
                    a[1] = str(e.args[1].value % e.width)
                return self.op(f"{e.op} {t} {a[0]}, {a[1]}")
            case "udiv" | "urem" | "sdiv" | "srem":
                return self.op(f"{e.op} {t} {a[0]}, {self.divisor(e, a)}")
            case "add" | "sub" | "mul" | "and" | "or" | "xor":
                return self.op(f"{e.op} {t} {a[0]}, {a[1]}")
        raise TypeError(f"{e.op} has no native form")

    def modulo(self, t: str, amount: str, width: int) -> str:
        """A shift's amount, wrapped at the width as `Bits` has it; LLVM's is poison beyond."""
        if width & (width - 1) == 0:
            return self.op(f"and {t} {amount}, {width - 1}")
        return self.op(f"urem {t} {amount}, {width}")

    def concat(self, e: Bits, a: list[str]) -> str:
        """The operands side by side, the first one highest."""
        t, r = f"i{e.width}", "0"
        for x, name in zip(e.args, a, strict=True):
            v = self.op(f"zext i{x.width} {name} to {t}")
            r = v if r == "0" else self.op(f"or {t} {self.op(f'shl {t} {r}, {x.width}')}, {v}")
        return r

    def divisor(self, e: Bits, a: list[str]) -> str:
        """One, where the division has no answer: a select drops it, but the host would trap."""
        t = f"i{e.width}"
        bad = self.op(f"icmp eq {t} {a[1]}, 0")
        if e.op[0] == "s":
            least = self.op(f"icmp eq {t} {a[0]}, {-(1 << e.width - 1)}")
            minus = self.op(f"icmp eq {t} {a[1]}, -1")
            bad = self.op(f"or i1 {bad}, {self.op(f'and i1 {least}, {minus}')}")
        return self.op(f"select i1 {bad}, {t} 1, {t} {a[1]}")

    # -- state ----------------------------------------------------------------------------------
    def at(self, name: str) -> str:
        """A pointer to a cell."""
        return self.op(pointer(self.layout, name))

    def get(self, name: str) -> str:
        return self.op(loading(name, self.at(name)))

    def put(self, name: str, v: str) -> None:
        self.do(storing(name, v, self.at(name)))

    def read(self, cell: Cell) -> Bits:
        if cell not in self.now:
            self.now[cell] = self.leaf(64, self.get(cell.name))
        return self.now[cell]

    def write(self, cell: Cell, v: Bits) -> None:
        self.pending[cell] = v

    def register(self, file: str, index: Bits) -> str:
        """A pointer to a register."""
        at = self.layout.X if file == "x" else self.layout.F
        if index.value is not None:
            return self.op(f"getelementptr i8, ptr %st, i64 {at + 8 * index.value}")
        base = self.op(f"getelementptr i8, ptr %st, i64 {at}")
        return self.op(f"getelementptr i64, ptr {base}, i64 {self.low(index.zext(64))}")

    def read_register(self, file: str, i: Bits) -> Bits:
        """A register's value before the instruction; loaded once."""
        key = Register(file, i)
        if key not in self.now:
            self.now[key] = self.leaf(
                64, self.op(f"load i64, ptr {self.register(file, i)}, {STATE}")
            )
        return self.now[key]

    def write_register(self, file: str, i: Bits, v: Bits) -> None:
        """Remember a register's new value; stored when the path ends well."""
        if v.width != 64:
            raise TypeError(
                f"a register holds 64 bits, not {v.width}; widen with .sext() or .zext()"
            )
        self.registers[Register(file, i)] = v

    def destination(self, key: Register) -> str:
        """Where a write of this register goes."""
        raise NotImplementedError

    def commit(self) -> None:
        """Store what is pending, and do what follows from it."""
        for cell, v in self.pending.items():
            if cell.name != "local":  # a path that ends inside `either` leaves its value behind
                self.put(cell.name, self.low(v))
        for key, v in self.registers.items():
            self.do(f"store i64 {self.low(v)}, ptr {self.destination(key)}, {STATE}")
        watched = self.context.watched
        if FRM in self.pending:
            self.do(f"call void @fpu_round(ptr %st, i64 {self.low(self.pending[FRM])})")
        if self.touches(watched.timers):
            self.put("attention", "1")
        if self.touches(watched.rare):
            self.flush()
        if self.touches(watched.walk):
            self.choose_bank()
        if self.touches(watched.walk) or self.touches(watched.interrupt):
            self.system = True

    def choose_bank(self) -> None:
        self.op("call preserve_mostcc { i64, i64 } @choose_bank(ptr %st)")

    def clear_bank(self, n: int) -> None:
        at = self.layout.tlb + n * self.layout.bank_size
        bank = self.op(f"getelementptr i8, ptr %st, i64 {at}")
        args = f"ptr {bank}, i64 {self.layout.bank_size}, i64 -1, i64 {ENTRY}"  # tags
        self.do(f"call preserve_mostcc void @fill({args})")

    def flush(self, va: Bits | None = None) -> None:
        self.flushed = True
        if va is None:
            self.do("call preserve_mostcc void @flush_all(ptr %st)")
        else:
            self.do(f"call preserve_mostcc void @flush_page(ptr %st, i64 {self.low(va)})")

    # -- paths ----------------------------------------------------------------------------------
    @contextmanager
    def when(self, cond: Bits) -> Iterator[None]:
        then, skip, join = self.labels("then", "skip", "join")
        self.do(f"br i1 {self.low(cond)}, label %{then}, label %{skip}")
        before = self.pending, self.registers, self.memo, self.now
        ended, wrote, writes, system = self.ended, self.wrote, dict(self.writes), self.system
        self.pending, self.registers = dict(self.pending), dict(self.registers)
        self.memo, self.now = dict(self.memo), dict(self.now)
        self.ended = False
        self.start(then)
        yield
        cells = {c: v for c, v in self.pending.items() if v is not before[0].get(c)}
        registers = {r: v for r, v in self.registers.items() if v is not before[1].get(r)}
        left = self.ended
        inside = [] if left else [self.low(v) for v in (*cells.values(), *registers.values())]
        end = self.block
        if left:
            self.wrote, self.writes, self.system = wrote, writes, system
        self.do("unreachable" if left else f"br label %{join}")
        self.pending, self.registers, self.memo, self.now = before
        self.ended = ended
        self.start(skip)
        if left:
            return
        # What is computed here is not known after the join.
        self.memo, self.now = dict(self.memo), dict(self.now)
        outside = [self.low(self.pending[c] if c in self.pending else self.read(c)) for c in cells]
        outside += [self.low(self.registers.get(r) or self.read_register(*r)) for r in registers]
        self.memo, self.now = before[2:]
        self.do(f"br label %{join}")
        self.start(join)
        widths = [v.width for v in (*cells.values(), *registers.values())]
        merged = [
            self.leaf(w, self.op(f"phi i{w} [ {i}, %{end} ], [ {o}, %{skip} ]"))
            for w, i, o in zip(widths, inside, outside, strict=True)
        ]
        for key, v in zip((*cells, *registers), merged, strict=True):
            if isinstance(key, Register):
                self.registers[key] = v
            elif isinstance(key, Cell):
                if key in self.pending:
                    self.choices[v] = cond, cells[key], self.pending[key]
                self.pending[key] = v

    def cases(
        self, value: Bits, table: dict[int, T], otherwise: Callable[[Hart], None]
    ) -> Iterator[T]:
        other, *labels = self.labels("other", *(f"case{n}_" for n in table))
        targets = " ".join(f"i64 {n}, label %{at}" for n, at in zip(table, labels, strict=True))
        self.do(f"switch i64 {self.low(value)}, label %{other} [ {targets} ]")
        pending, registers, memo, now = self.pending, self.registers, self.memo, self.now
        ended, wrote, writes, system = self.ended, self.wrote, dict(self.writes), self.system
        for label, entry in zip(labels, table.values(), strict=True):
            self.pending, self.registers = dict(pending), dict(registers)
            self.memo, self.now = dict(memo), dict(now)
            self.ended, self.wrote, self.writes, self.system = ended, wrote, dict(writes), system
            self.start(label)
            yield entry
            if not self.ended:
                self.retire()
            self.do("unreachable")
        self.pending, self.registers, self.memo, self.now = pending, registers, memo, now
        self.ended, self.wrote, self.writes, self.system = ended, wrote, writes, system
        self.start(other)
        otherwise(self)

    def trap(self, cause: int | Bits, tval: Bits = ZERO) -> None:
        if self.wrote:
            raise TypeError("this trap follows a memory write, which it could not undo")
        self.put("cause", self.low(const(cause, 64) if isinstance(cause, int) else cause))
        self.put("tval", self.low(tval))
        self.fail(str(TRAPPED))

    def fail(self, status: str) -> None:
        """End this path with a status other than an answer."""
        raise NotImplementedError

    def retire(self) -> None:
        raise NotImplementedError

    def answer(self, v: Bits) -> None:
        raise TypeError("only a routine answers")

    def leave(self) -> None:
        self.fail(str(LEFT))

    def wait(self) -> None:
        raise TypeError("only an instruction waits")

    def call(self, routine: str, *args: Bits) -> Bits:
        self.before_call()
        watched, writes = self.context.watched, self.context.effects.get(routine, {})
        for each in (watched.walk, watched.rare, watched.interrupt):
            self.system |= any(writes.get(c, 0) & bits for c, bits in each.items())
        return self.routine(routine, *(f"i64 {self.low(a)}" for a in args))

    def before_call(self) -> None:
        """Leave in the state what routines look for there."""

    def function(self, name: str) -> str:
        """What LLVM calls a native function by."""
        return "@" + name

    def routine(self, name: str, *args: str) -> Bits:
        """Call a native function that answers or fails; its failure is ours."""
        f = self.function(name)
        got = self.op(f"call preserve_mostcc {{ i64, i64 }} {f}({', '.join(('ptr %st', *args))})")
        value, status = (self.op(f"extractvalue {{ i64, i64 }} {got}, {n}") for n in (0, 1))
        good, bad = self.labels("good", "bad")
        self.do(
            f"br i1 {self.op(f'icmp eq i64 {status}, 0')}, label %{good}, label %{bad}, {LIKELY}"
        )
        self.start(bad)
        ended = self.ended
        self.fail(status)
        self.do("unreachable")
        self.ended = ended
        self.start(good)
        return self.leaf(64, value)

    # -- memory ---------------------------------------------------------------------------------
    def tlb_entry(self, bank: str, va: str, access: str) -> str:
        """A pointer to the TLB entry that `va` may have."""
        index = self.op(f"lshr i64 {va}, 8")
        index = self.op(f"and i64 {index}, {(TLB_ENTRIES[access] - 1) << 4}")
        table = self.op(f"getelementptr i8, ptr {bank}, i64 {self.layout.table[access]}")
        return self.op(f"getelementptr i8, ptr {table}, i64 {index}")

    def bank(self) -> str:
        """A pointer to the bank in force, as the state has it."""
        tlb = self.op(f"getelementptr i8, ptr %st, i64 {self.layout.tlb}")
        return self.op(f"getelementptr i8, ptr {tlb}, i64 {self.get('bank')}")

    def refill(self, va: Bits, pa: Bits, access: str) -> None:
        entry = self.tlb_entry(self.bank(), self.low(va), access)
        page = self.op(f"and i64 {self.low(va)}, -4096")
        self.do(f"store i64 {page}, ptr {entry}, {STATE}")
        second = self.op(f"getelementptr i8, ptr {entry}, i64 8")
        addend = self.low(self.physical(pa) - va)
        self.do(f"store i64 {addend}, ptr {second}, {STATE}")
        self.put("misses", self.op(f"add i64 {self.get('misses')}, 1"))

    def is_ram(self, pa: Bits, size: int) -> Bits:
        room = self.read(Cell("ram_size")) - (size - 1)
        return (pa - self.read(Cell("ram_base"))).ult(room)

    def physical(self, pa: Bits) -> Bits:
        return pa + self.read(Cell("ram_addend"))

    def pointer(self, place: Bits) -> str:
        return self.op(f"inttoptr i64 {self.low(place)} to ptr")

    def peek(self, place: Bits, size: int) -> Bits:
        # Volatile, since another hart or a device may write there: LLVM once made an endless jump
        # of a guest's spin on a plain load. Not atomic: LLVM wants atomics aligned, guests may not.
        v = self.op(f"load volatile i{8 * size}, ptr {self.pointer(place)}, align 1, {MEMORY}")
        return self.leaf(8 * size, v)

    def poke(self, place: Bits, size: int, v: Bits) -> None:
        self.wrote = True
        at, value = self.pointer(place), self.low(v)
        self.do(f"store volatile i{8 * size} {value}, ptr {at}, align 1, {MEMORY}")

    def update(self, place: Bits, size: int, new: Callable[[Bits], Bits]) -> Bits:
        """Atomic: one instruction where the tree of `new(old)` is one LLVM knows, else a loop."""
        self.wrote = True
        t, at, old = f"i{8 * size}", self.pointer(place), self.leaf(8 * size, "unused")
        tree = new(old)
        if (
            tree.op in ("add", "and", "or", "xor")
            and tree.args[0] is old
            and tree.args[1] is not old
        ):
            operand = self.low(tree.args[1])
            got = self.op(f"atomicrmw {tree.op} ptr {at}, {t} {operand} seq_cst, align {size}")
            return self.leaf(8 * size, got)
        first = self.low(self.peek(place, size))
        before, loop, done = self.labels("before", "loop", "done")
        self.do(f"br label %{before}")
        self.start(before)
        self.do(f"br label %{loop}")
        self.start(loop)
        seen = f"%seen.{loop}"
        self.do(f"{seen} = phi {t} [ {first}, %{before} ], [ %got.{loop}, %{loop} ]")
        self.memo[old] = seen
        pair = self.exchange(at, t, seen, self.low(tree), size)
        self.do(f"%got.{loop} = extractvalue {{ {t}, i1 }} {pair}, 0")
        won = self.op(f"extractvalue {{ {t}, i1 }} {pair}, 1")
        self.do(f"br i1 {won}, label %{done}, label %{loop}")
        self.start(done)
        return old

    def exchange(self, at: str, t: str, old: str, new: str, size: int) -> str:
        return self.op(f"cmpxchg ptr {at}, {t} {old}, {t} {new} seq_cst monotonic, align {size}")

    def swap(self, place: Bits, size: int, old: Bits, new: Bits) -> Bits:
        self.wrote = True
        t = f"i{8 * size}"
        pair = self.exchange(self.pointer(place), t, self.low(old), self.low(new), size)
        return self.leaf(1, self.op(f"extractvalue {{ {t}, i1 }} {pair}, 1"))

    def fence(self) -> None:
        self.do("fence seq_cst")

    def fence_i(self) -> None:
        self.flushed = True
        self.do("call preserve_mostcc void @forget_code(ptr %st)")

    # -- counters and floating point ------------------------------------------------------------
    def retired(self) -> Bits:
        return self.leaf(64, self.op(f"sub i64 {self.get('horizon')}, {self.get('left')}"))

    def time(self) -> Bits:
        return self.leaf(64, self.op("call preserve_mostcc i64 @time(ptr %st)"))

    def fpu(self, op: str, fmt: int, rm: Bits, *operands: Bits) -> Bits:
        if op.startswith("to_"):
            value, flags = to_integer(fmt, operands[0], rm, int(op[4:]), op[3] == "i")
            self.raise_flags(flags.zext(64))
            return value
        lacking = const(op == "fma" and not self.context.fuses, 1)
        with self.when(rm.eq(4) | lacking):  # no host rounds to nearest, ties to max magnitude
            self.defer()
        wanted = self.low(rm.zext(64))
        if op == "from_u64":
            half, is_big = from_unsigned(operands[0])
            small = self.host_op("from_i64", fmt, wanted, half)
            return select(is_big, small + (1 << (52 if fmt == 64 else 23)), small)  # exponent + 1
        if op == "from_u32":
            op, operands = "from_i64", (operands[0].zext(64),)
        elif op == "from_i32":
            op, operands = "from_i64", (operands[0].sext(64),)
        elif op == "fma":
            self.flag_no_product(fmt, *operands[:2])
        return self.host_op(op, fmt, wanted, *operands)

    def flag_no_product(self, fmt: int, a: Bits, b: Bits) -> None:
        """Infinity times zero is invalid even if a quiet NaN is added (20.6): not on all hosts."""
        self.raise_flags(select(no_product(fmt, a, b), const(NV, 64), ZERO))

    def raise_flags(self, flags: Bits) -> None:
        self.pending[FFLAGS] = self.pending.get(FFLAGS, self.read(FFLAGS)) | flags

    def host_op(self, op: str, fmt: int, rm: str, *operands: Bits) -> Bits:
        """The host's own operation, rounded as `rm` says; its flags stay in the host's register."""
        frm = self.low(self.read(FRM))
        same = self.op(f"icmp eq i64 {rm}, {frm}")
        other, go, back, done = self.labels("other", "go", "back", "done")
        self.do(f"br i1 {same}, label %{go}, label %{other}, {LIKELY}")
        self.start(other)
        self.do(f"call void @fpu_round(ptr %st, i64 {rm})")
        self.do(f"br label %{go}")
        self.start(go)
        args = ", ".join(f"i{v.width} {self.low(v)}" for v in operands)
        got = self.op(f"call i{fmt} @fpu_{op}_{fmt}({args})")
        self.do(f"br i1 {same}, label %{done}, label %{back}, {LIKELY}")
        self.start(back)
        self.do(f"call void @fpu_round(ptr %st, i64 {frm})")
        self.do(f"br label %{done}")
        self.start(done)
        return self.leaf(fmt, got)

    def defer(self) -> None:
        """Leave this instruction to the reference: always possible, engines share the state."""
        raise NotImplementedError

    def fpu_flags(self) -> Bits:
        return self.leaf(64, self.op("call i64 @fpu_flags(ptr %st)"))

    def fpu_clear(self) -> None:
        self.do("call void @fpu_clear(ptr %st)")


def no_product(fmt: int, a: Bits, b: Bits) -> Bits:
    """Whether one is infinite and the other zero."""
    low, infinity = fmt - 2, (0x7FF << 52 if fmt == 64 else 0xFF << 23)

    def is_infinite(v: Bits) -> Bits:
        return v[low:0].eq(infinity)

    def is_zero(v: Bits) -> Bits:
        return v[low:0].eq(0)

    return is_infinite(a) & is_zero(b) | is_zero(a) & is_infinite(b)
