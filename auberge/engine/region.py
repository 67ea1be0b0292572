"""A region of guest code as one native function: the texts of its instructions, traced in a row.

The function is entered as a handler is, from the record of its first instruction, and leaves as a
handler does: for another record, or for the code that all handlers share. Guest registers are host
values inside; what was written, and only that, is stored on each way out. Nothing in it depends on
where it is: `pc` comes from the record, and what it calls from the state.
"""

from __future__ import annotations

from typing import NamedTuple

from auberge.bits.bits import Bits, const, signed
from auberge.engine.explore import Explorer, Shape, Step
from auberge.engine.finding import Found, keep_name
from auberge.engine.host_numbers import HostNumbers
from auberge.engine.llvm_text import LIKELY, PARAMS, STATE
from auberge.engine.lowering import FRM, Context, Register
from auberge.engine.manner import is_steady
from auberge.engine.repeats import Repeat, repeats_of
from auberge.engine.spans import span_of
from auberge.engine.ways_out import KINDS, Way, exit_label
from auberge.isa.hart import PC, ZERO, Place
from auberge.isa.spec import Cell, Csr, Part

# What labels of blocks begin with that seldom execute.
SELDOM = ("touch", "other", "slow", "bad", "dead")


def rare_last(lines: list[str]) -> list[str]:
    """The blocks, those last that seldom execute: they stay in this order."""
    often: list[str] = []
    rare: list[str] = []
    into = often
    for line in lines:
        if line.endswith(":"):
            into = rare if line.startswith(SELDOM) else often
        into.append(line)
    return often + rare


class Known(NamedTuple):
    """What is known before the instruction that begins the rest of a block."""

    steps: list[Step]
    now: dict[Cell | Register, Bits]
    memo: dict[Bits, str]
    choices: dict[Bits, tuple[Bits, Bits, Bits]]
    found: dict[tuple[Bits, str], Found]
    done: int
    block_written: frozenset[str]
    since: int


class Region(HostNumbers):
    """A region traced into LLVM text, as the function `name`.

    With `spans`, whether accesses are in one page is asked once for many: better code, and more.
    """

    def __init__(
        self, context: Context, explorer: Explorer, shape: Shape, entry: int, name: str,
        spans: bool,
    ) -> None:  # fmt: skip
        super().__init__(context, shape, explorer.steady, entry)
        self.spans = spans
        self.repeats = repeats_of(context.isa, shape) if spans else {}
        self.rooms = {
            keep_name(near.register, near.access, start): near.room
            for start, repeat in self.repeats.items()
            for near in repeat.near
        }
        self.seldom: list[str] = []  # what goes on where a span is not in one page
        self.before_asking: Known
        self.size = len(shape.steps)
        self.used: set[str] = set()  # registers, as `x5`
        self.places: dict[Bits, int] = {}  # a leaf that is an address: its offset in the page
        for start in shape.starts:
            self.trace_block(start)
            if start in self.repeats:
                self.trace_repeated(self.repeats[start])
        body, self.lines = self.lines, []
        for target in sorted(self.headers):
            self.check(target)
        self.leave_region()
        rest, self.lines = self.lines, []
        self.begin()
        strict = "strictfp " if self.needs else ""
        self.text = "\n".join([
            *sorted(self.needs),
            f"define preserve_nonecc void @{name}({PARAMS}) {strict}#0 {{",
            "entry:",
            *self.lines, *rare_last([*body, *rest]), *rare_last(self.seldom),
            "}\n",
        ])  # fmt: skip

    # -- blocks ---------------------------------------------------------------------------------
    def trace_block(self, start: int) -> None:
        """Trace from `start` to the next block, or to where this one jumps."""
        self.start_block = start
        self.written[start] = self.block_written = frozenset()
        self.edges[start] = []
        self.begin_block(f"b{start}")
        block = self.shape.block(start)
        self.asks = span_of(self.context.isa, block) if self.spans else None
        self.trace_steps(block)
        if self.narrow:
            self.trace_narrow()

    def begin_block(self, label: str) -> None:
        """Begin where nothing is known of registers and pages."""
        self.now, self.memo, self.choices, self.found = {}, {}, {}, {}
        self.count, self.since = 0, self.since + 1
        self.start(label)
        self.block_left = self.op("load i64, ptr %left.p")

    def trace_repeated(self, repeat: Repeat) -> None:
        """The loop that was traced last, several times in a row; but once where its pages end."""
        start = self.start_block
        self.size += repeat.more
        self.begin_block(f"r{start}")
        self.asks, self.step = None, repeat.block[0]
        for near in repeat.near:
            at = self.read_register("x", const(int(near.register[1:]), 5))
            wide = self.found_near(near, self.low(at), start, f"b{start}")
            self.found[at, near.access] = wide
        asked = dict(self.found)
        for left in reversed(range(repeat.times)):
            self.found = dict(asked)
            for step in repeat.block:
                target = self.trace_step(step)
                self.count += 1
            if left:
                self.go_around(target)
        self.jump_to(target)

    def go_around(self, target: Bits) -> None:
        """Go on with what follows here if the loop does, else leave it."""
        if target not in self.choices:  # as of x0 and x0: it always does, or never
            if self.offset_of(target) != self.start_block:
                self.jump_to(target)
                self.start(self.labels("dead")[0])
            return
        cond, then, other = self.choices[target]
        on, leave = self.labels("on", "leave")
        goes_on = self.offset_of(then) == self.start_block
        yes, no, beyond = (on, leave, other) if goes_on else (leave, on, then)
        self.do(f"br i1 {self.low(cond)}, label %{yes}, label %{no}")
        self.start(leave)
        self.jump_to(beyond)
        self.start(on)

    def trace_steps(self, steps: list[Step]) -> None:
        """Instructions to the end of their block, and where that leads."""
        for n, step in enumerate(steps):
            if self.asks is not None and step.offset == self.asks[0]:
                self.before_asking = Known(
                    steps[n:], dict(self.now), dict(self.memo), dict(self.choices),
                    dict(self.found), self.count, self.block_written, self.since,
                )  # fmt: skip
            target = self.trace_step(step)
            self.count += 1
        if target is not self.next_pc:
            self.jump_to(target)
        else:
            self.store_left()
            self.do(f"br label %{self.to(steps[-1].next)}")

    def trace_narrow(self) -> None:
        """The rest of a block once more, asking at each access: its span was not in one page."""
        known = self.before_asking
        self.now, self.memo, self.choices = known.now, known.memo, known.choices
        self.found, self.since = known.found, known.since
        self.count, self.block_written = known.done, known.block_written
        often, self.lines = self.lines, self.seldom
        self.start(self.narrow)
        self.asks, self.narrow = None, ""
        self.trace_steps(known.steps)
        self.lines = often

    def trace_step(self, step: Step) -> Bits:
        """One instruction; gives the address it goes on at."""
        self.step = step
        self.pending, self.registers, self.writes = {}, {}, {}
        self.wrote = self.ended = False
        self.now[PC], self.next_pc = self.address(step.offset), self.address(step.next)
        self.pending[PC] = self.next_pc
        step.execute(self)
        target = self.pending.pop(PC)
        self.commit()
        if self.system or self.flushed:
            raise TypeError(f"{step.form.insn.name} was taken for plain")
        return target

    def address(self, offset: int) -> Bits:
        """The address of what is at an offset of the page."""
        new = self.leaf(64, "")
        del self.memo[new]
        self.places[new] = offset
        return new

    def lower(self, e: Bits) -> str:
        if e in self.places:
            return self.op(f"add i64 %page, {self.places[e]}")
        return super().lower(e)

    def offset_of(self, target: Bits) -> int | None:
        """The offset in the page, or beyond it, of an address; None if it is not known."""
        if target in self.places:
            return self.places[target]
        if target.op == "add" and target.args[0] in self.places:
            distance = target.args[1].value
            if distance is not None:
                return self.places[target.args[0]] + signed(distance, 64)
        return None

    def store_left(self) -> None:
        self.do(f"store i64 {self.op(f'sub i64 {self.block_left}, {self.count}')}, ptr %left.p")

    # -- where blocks lead ----------------------------------------------------------------------
    def jump_to(self, target: Bits) -> None:
        """End the block with a jump to where its last instruction said."""
        self.store_left()
        if target in self.choices:
            cond, then, other = self.choices[target]
            yes, no = self.offset_of(then), self.offset_of(other)
            if yes is not None and no is not None:
                self.do(f"br i1 {self.low(cond)}, label %{self.to(yes)}, label %{self.to(no)}")
                return
        known = self.offset_of(target)
        if known is not None:
            self.do(f"br label %{self.to(known)}")
            return
        self.indirect(self.low(target))

    def to(self, offset: int) -> str:
        """The label of what leads to an offset: a block here, or a way out."""
        if offset in self.shape.starts:
            self.edges[self.start_block].append(offset)
            if offset > self.start_block:
                return self.label_of(offset)
            self.headers.add(offset)  # a loop has at least one edge that leads back
            return f"h{offset}"
        self.links.setdefault(offset, []).append((self.start_block, self.block_written))
        return exit_label(offset)

    def indirect(self, target: str) -> None:
        """Go on at an address that only the guest knows: a call of this region's may return."""
        if self.shape.returns:
            inside = [(offset, self.to(offset)) for offset in sorted(self.shape.returns)]
            (other,) = self.labels("other")
            cases = " ".join(f"i64 {offset}, label %{label}" for offset, label in inside)
            offset = self.op(f"sub i64 {target}, %page")
            self.do(f"switch i64 {offset}, label %{other} [ {cases} ]")
            self.start(other)
        self.do(f"store i64 {target}, ptr %target.p")
        label = self.labels("indirect")[0]
        self.do(f"br label %{label}")
        self.indirects.append(Way(label, self.start_block, self.block_written))

    # -- the start, and headers of loops --------------------------------------------------------
    def begin(self) -> None:
        """What is computed before all else, and whether to go on here at all."""
        here = self.op("ptrtoint ptr %rec to i64")
        pc = self.op(f"ashr i64 {self.op(f'sub i64 {here}, %bias')}, 3")
        self.do(f"%page = sub i64 {pc}, {self.entry}")
        self.do(f"%least = and i64 {self.get('hard')}, {self.size}")
        for name in ("%left.p", "%target.p", "%distance.p", "%done.p"):
            self.do(f"{name} = alloca i64")
        self.do("store i64 %left, ptr %left.p")
        for name in sorted(self.used):
            t = KINDS[name[0]]
            self.do(f"%{name}.p = alloca {t}")
            v = self.op(f"load {t}, ptr {self.cell_of(name)}, {STATE}")
            self.do(f"store {t} {v}, ptr %{name}.p")
        for name in sorted(self.kept | self.rooms.keys()):
            for v, nothing in (("page", -1), ("addend", 0)):  # no page has that address
                self.do(f"%{v}.{name}.p = alloca i64")
                self.do(f"store i64 {nothing}, ptr %{v}.{name}.p")
        for name in sorted(self.rooms):
            self.do(f"%room.{name}.p = alloca i64")
            self.do(f"store i64 0, ptr %room.{name}.p")
        for (cell, hi, lo), value in self.guards():
            bits = self.op(f"lshr i64 {self.get(cell.name)}, {lo}")
            part = self.op(f"and i64 {bits}, {(1 << hi - lo + 1) - 1}")
            (same,) = self.labels("steady")
            is_so = self.op(f"icmp eq i64 {part}, {value}")
            self.do(f"br i1 {is_so}, label %{same}, label %once, {LIKELY}")
            self.start(same)
        self.question("%left", self.label_of(self.entry), "look")

    def question(self, left: str, on: str, look: str) -> None:
        """Is there budget for one way through, and does nobody call?"""
        enough = self.enough(left)
        quiet = self.op(f"icmp eq i64 {self.get('attention')}, 0")
        both = self.op(f"and i1 {enough}, {quiet}")
        self.do(f"br i1 {both}, label %{on}, label %{look}, {LIKELY}")

    def check(self, target: int) -> None:
        """The header of a loop: look up, then on."""
        self.start(f"h{target}")
        left = self.op("load i64, ptr %left.p")
        self.question(left, self.label_of(target), f"look{target}")

    def label_of(self, start: int) -> str:
        """Of a block, or of a loop several times in a row."""
        return f"{'r' if start in self.repeats else 'b'}{start}"

    # -- state ----------------------------------------------------------------------------------
    def __getitem__(self, place: Place | Cell | Part | Csr) -> Bits:
        if is_steady(place, self.steady):
            return const(self.steady[place.cell, place.hi, place.lo], place.hi - place.lo + 1)
        return super().__getitem__(place)

    def __setitem__(self, place: Place | Cell | Part | Csr, v: Bits) -> None:
        if not is_steady(place, self.steady):
            super().__setitem__(place, v)
        elif v.value != self.steady[place.cell, place.hi, place.lo]:
            raise TypeError(f"{self.step.form.insn.name} changes what regions take to be steady")

    def read(self, cell: Cell) -> Bits:
        if cell == FRM:
            return const(self.steady[FRM, 63, 0], 64)
        return super().read(cell)

    def read_register(self, file: str, i: Bits) -> Bits:
        number = int(i)
        if file == "x" and not number:
            return ZERO
        key = Register(file, i)
        if key not in self.now:
            self.used.add(f"{file}{number}")
            v = self.op(f"load {KINDS[file]}, ptr %{file}{number}.p")
            self.now[key] = self.number(64, v) if file == "f" else self.leaf(64, v)
            self.before[self.now[key]] = f"{file}{number}"
        return self.now[key]

    def commit(self) -> None:
        """The registers to their variables, the rest to the state."""
        for cell, v in self.pending.items():
            if cell.name != "local":
                self.put(cell.name, self.low(v))
                self.now[cell] = v
        for key, v in self.registers.items():
            number = int(key.number)
            if key.file == "x" and not number:
                continue
            name = f"{key.file}{number}"
            value = self.as_number(v) if key.file == "f" else self.low(v)
            self.do(f"store {KINDS[key.file]} {value}, ptr %{name}.p")
            self.now[key] = v
            self.used.add(name)
            self.block_written |= {name}
            self.since += 1
        self.written[self.start_block] = self.block_written

    def instruction_word(self) -> Bits:
        return const(self.step.word, 64)

    def retire(self) -> None:
        raise TypeError("an instruction that ends early is not plain")

    def function(self, name: str) -> str:
        return self.shared(name)
