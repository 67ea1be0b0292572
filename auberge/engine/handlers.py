"""Handlers of the native interpreter: each instruction, traced once with unknown operands.

A handler does its work and jumps to that of the next record. `pc = (rec - bias) / 8`, so that pc
costs nothing until someone asks.
"""

from __future__ import annotations

from auberge.bits.bits import Bits
from auberge.engine.llvm_text import (
    CONSTANT,
    LIKELY,
    PARAMS,
    RARE,
    REGISTER_NUMBER,
    TRAPPED,
    tail_call,
)
from auberge.engine.lowering import Context, Register
from auberge.engine.paged import Paged
from auberge.engine.records import (
    IMMEDIATE,
    PAGE_OF_RECORDS,
    RECORD,
    RECORDS_OF_CODE,
    SMALL,
    SNAPSHOT,
)
from auberge.engine.state import SINK
from auberge.isa.hart import PC
from auberge.isa.spec import Insn, slots

NOT_PACKED = {"aq", "rl", "fm", "pred", "succ"}  # nothing in a text depends on them
ILLEGAL_INSTRUCTION = 2


def handler_name(insn: Insn, length: int) -> str:
    """The LLVM name of an instruction's handler."""
    return f"h_{insn.name.replace('.', '_')}_{length}"


class Packing:
    """Where a record keeps the operands of an instruction; `rd` also as where its write goes."""

    def __init__(self, insn: Insn) -> None:
        operands = insn.encoding.operands
        self.immediate = next((n for n, o in operands.items() if o.immediate), None)
        small = [n for n, o in operands.items() if not o.immediate and n not in NOT_PACKED]
        floats = {name for _, name, kind in slots(insn.syntax) if kind == "f"}
        if "rd" in small and "rd" not in floats:
            small.append("sink")
        free = list(range(SMALL if self.immediate else IMMEDIATE, RECORD))
        self.at: dict[str, tuple[int, int]] = {}  # operand -> (offset, bytes)
        for name in sorted(small, key=lambda n: n != "csr"):
            size = 2 if name == "csr" else 1
            self.at[name] = free[0], size
            free = free[size:]


class Handler(Paged):
    """A hart about which nothing is known but which instruction this is, and how long."""

    def __init__(self, context: Context, name: str, insn: Insn | None, length: int) -> None:
        super().__init__(context)
        self.length = length
        self.now[PC] = self.leaf(64, self.pc())
        self.pending[PC] = self.next_pc = self.now[PC] + length
        if insn is None:
            self.trap(ILLEGAL_INSTRUCTION, self.word)
        else:
            self.packing = Packing(insn)
            operands = insn.encoding.operands
            values = {n: self.operand(n, o.width) for n, o in operands.items()}
            self.rd = values.get("rd")
            insn.execute(self, **values)
        if not self.ended:
            self.retire()
        self.text = "\n".join(
            [
                f"define internal preserve_nonecc void @{name}({PARAMS}) #0 {{",
                "entry:",
                *self.lines,
                "unreachable",
                "}\n",
            ]
        )

    # -- what is in the record ------------------------------------------------------------------
    def pc(self) -> str:
        """The address of the instruction, from where its record is."""
        distance = self.op(f"sub i64 {self.op('ptrtoint ptr %rec to i64')}, %bias")
        # Canonical addresses have their sign in bit 60 too.
        return self.op(f"ashr i64 {distance}, 3")

    def field(self, t: str, at: int, *known: str) -> str:
        """What is in the record at offset `at`; `known` is metadata that says more of it."""
        where = self.op(f"getelementptr i8, ptr %rec, i64 {at}")
        return self.op(", ".join((f"load {t}, ptr {where}", "align 1", CONSTANT, *known)))

    def operand(self, name: str, width: int) -> Bits:
        """An operand of the instruction, from where its packing has it."""
        if name in NOT_PACKED:
            return self.leaf(width, "0")
        if name == self.packing.immediate:
            return self.leaf(64, self.op(f"sext i32 {self.field('i32', IMMEDIATE)} to i64"))
        at, size = self.packing.at[name]
        t = f"i{8 * size}"
        value = self.field(t, at, REGISTER_NUMBER) if width == 5 else self.field(t, at)
        return self.leaf(width, self.op(f"trunc {t} {value} to i{width}"))

    def instruction_word(self) -> Bits:
        """From the copy of the code, since records do not keep it."""
        rec = self.op("ptrtoint ptr %rec to i64")
        page = self.op(f"and i64 {rec}, {-PAGE_OF_RECORDS}")
        byte = self.op(f"lshr i64 {self.op(f'and i64 {rec}, {PAGE_OF_RECORDS - 1}')}, 3")
        at = self.op(f"add i64 {self.op(f'add i64 {page}, {SNAPSHOT}')}, {byte}")
        t = f"i{8 * self.length}"
        word = self.op(f"load {t}, ptr {self.op(f'inttoptr i64 {at} to ptr')}, align 2")
        return self.leaf(64, self.op(f"zext {t} {word} to i64"))

    def destination(self, key: Register) -> str:
        if key.file != "x":
            return self.register(*key)
        if "sink" not in self.packing.at or key.number is not self.rd:
            raise TypeError("an integer register is written that is not rd")
        at, _ = self.packing.at["sink"]
        index = self.op(f"zext i8 {self.field('i8', at)} to i64")
        return self.op(f"getelementptr [{SINK + 1} x i64], ptr %st, i64 0, i64 {index}")

    # -- where paths end ------------------------------------------------------------------------
    def retire(self) -> None:
        target = self.pending.pop(PC, self.next_pc)
        self.commit()
        left = self.op("sub i64 %left, 1")
        if self.system or self.flushed:
            self.put("pc", self.low(target))
            self.jump("@goto_check" if self.system else "@goto", "%rec", left)
        elif target is self.next_pc:
            self.sequential(left)
        elif target in self.choices:
            self.conditional(*self.choices[target], target, left)
        else:
            self.branch(target, left)

    def conditional(self, cond: Bits, then: Bits, other: Bits, either: Bits, left: str) -> None:
        """A branch: each way by itself, if where it goes can be said here."""
        if other is not self.next_pc or not all(a in self.memo for a in then.args):
            self.branch(either, left)
            return
        taken, not_taken = self.labels("taken", "not_taken")
        self.do(f"br i1 {self.low(cond)}, label %{taken}, label %{not_taken}")
        memo, self.memo = self.memo, dict(self.memo)
        self.start(taken)
        self.branch(then, left)
        self.do("unreachable")
        self.memo = memo
        self.start(not_taken)
        self.sequential(left)

    def sequential(self, left: str) -> None:
        """Go on with the next record, unless the budget is spent."""
        following = self.op(f"getelementptr i8, ptr %rec, i64 {8 * self.length}")
        out, more = self.labels("out", "more")
        spent = self.op(f"icmp sle i64 {left}, 0")
        self.do(f"br i1 {spent}, label %{out}, label %{more}, {RARE}")
        self.start(out)
        self.jump("@spent", following, left)
        self.do("unreachable")
        self.start(more)
        self.jump(self.op(f"load ptr, ptr {following}"), following, left)

    def branch(self, target: Bits, left: str) -> None:
        """In the page, with budget and nobody calling: on to its record. Otherwise the long way."""
        spent, some, called, calm, near, far = self.labels(
            "spent", "some", "called", "calm", "near", "far"
        )
        pc = self.now[PC]
        direct = target.op == "add" and target.args[0] is pc and target.args[1].op == "leaf"
        at_end = self.op(f"icmp sle i64 {left}, 0")
        self.do(f"br i1 {at_end}, label %{spent}, label %{some}, {RARE}")
        self.depart(spent, "@sample", target, left)
        self.start(some)
        attention = self.op(f"icmp eq i64 {self.get('attention')}, 0")
        self.do(f"br i1 {attention}, label %{calm}, label %{called}, {LIKELY}")
        self.depart(called, "@attend", target, left)
        self.start(calm)
        if direct:
            step = self.op(f"shl i64 {self.low(target.args[1])}, 3")
            here = self.op("ptrtoint ptr %rec to i64")
            offset = self.op(f"add i64 {self.op(f'and i64 {here}, {PAGE_OF_RECORDS - 1}')}, {step}")
            inside = self.op(f"icmp ult i64 {offset}, {RECORDS_OF_CODE}")
            record = self.op(f"getelementptr i8, ptr %rec, i64 {step}")
        else:
            t = self.low(target)
            inside = self.op(f"icmp ult i64 {self.op(f'xor i64 {t}, {self.low(pc)}')}, 4096")
            at = self.op(f"add i64 {self.op(f'shl i64 {t}, 3')}, %bias")
            record = self.op(f"inttoptr i64 {at} to ptr")
        self.do(f"br i1 {inside}, label %{near}, label %{far}, {LIKELY}")
        self.depart(far, "@find", target, left)
        self.start(near)
        self.jump(self.op(f"load ptr, ptr {record}"), record, left)

    def depart(self, label: str, f: str, target: Bits, left: str) -> None:
        """A cold way out; the address is computed there, where it is known to be needed."""
        memo, self.memo = self.memo, dict(self.memo)
        self.start(label)
        self.put("pc", self.low(target))
        self.jump(f, "%rec", left)
        self.do("unreachable")
        self.memo = memo

    def jump(self, f: str, rec: str, left: str) -> None:
        self.end(*tail_call(f, rec=rec, left=left))

    def fail(self, status: str) -> None:
        if status == str(TRAPPED):
            self.jump("@trapped", "%rec", "%left")
        else:
            self.put("outcome", status)
            self.jump("@failed", "%rec", "%left")

    def defer(self) -> None:
        self.jump("@deferred", "%rec", "%left")

    def wait(self) -> None:
        self.put("pc", self.low(self.pending.pop(PC)))
        self.commit()
        self.jump("@idle", "%rec", self.op("sub i64 %left, 1"))

    def before_call(self) -> None:
        self.put("left", "%left")
        self.put("word", self.low(self.word))
