"""From the word of an instruction to its record: every encoding's match and operands, lowered."""

from __future__ import annotations

from auberge.engine.handlers import Packing, handler_name
from auberge.engine.lowering import Context, Trace
from auberge.engine.records import IMMEDIATE
from auberge.engine.state import SINK
from auberge.isa.spec import Form


class Decoder(Trace):
    """The native function `decode(word, record)`: looks where `Isa.decode` does."""

    def __init__(self, context: Context) -> None:
        super().__init__(context)
        self.given = self.leaf(32, "%word")
        self.do("%narrow = icmp ne i32 %low2, 3")
        wide, narrow = self.labels("wide", "narrow")
        self.do(f"br i1 %narrow, label %{narrow}, label %{wide}")
        self.start(wide)
        self.forms(opcode_mask=0x7F, shift=12, length=4)
        self.start(narrow)
        self.forms(opcode_mask=3, shift=13, length=2)
        self.text = "\n".join(
            [
                "define internal preserve_mostcc void @decode(i32 %word, ptr %rec) noinline #0 {",
                "entry:",
                "%low2 = and i32 %word, 3",
                *self.lines,
                "}\n",
            ]
        )

    def forms(self, opcode_mask: int, shift: int, length: int) -> None:
        """The record of a word of that length, and return."""
        opcode, funct = self.given & opcode_mask, self.given.shr(shift) & 7
        key = self.low(opcode << 3 | funct)
        near = {
            opcode << 3 | funct: forms
            for (opcode, funct), forms in self.isa.candidates().items()
            if forms[0].encoding.length == length
        }
        other, *labels = self.labels("other", *(f"key{number}_" for number in near))
        table = " ".join(f"i32 {n}, label %{at}" for n, at in zip(near, labels, strict=True))
        self.do(f"switch i32 {key}, label %{other} [ {table} ]")
        memo = self.memo
        for forms, at in zip(near.values(), labels, strict=True):
            self.memo = dict(memo)
            self.start(at)
            for form in forms:
                self.form(form)
            self.do(f"br label %{other}")
        self.memo = memo
        self.start(other)
        self.handler(f"h_unknown_{length}")
        self.do("ret void")

    def form(self, form: Form) -> None:
        """If the word is of this form: its record, and return."""
        e = form.encoding
        hit = (self.given & e.mask).eq(e.match)
        for operand in e.operands.values():
            for banned in operand.excluded:
                hit = hit & operand.read(self.given).ne(banned)
        yes, no = self.labels("yes", "no")
        self.do(f"br i1 {self.low(hit)}, label %{yes}, label %{no}")
        memo, self.memo = self.memo, dict(self.memo)
        self.start(yes)
        packing, values = Packing(form.insn), form.read(self.given)
        self.handler(handler_name(form.insn, e.length))
        if packing.immediate:
            self.field("i32", IMMEDIATE, self.low(values[packing.immediate][31:0]))
        for name, (at, size) in packing.at.items():
            v = values["rd" if name == "sink" else name].zext(8 * size)
            low = self.low(v)
            if name == "sink":
                zero = self.op(f"icmp eq i8 {low}, 0")
                low = self.op(f"select i1 {zero}, i8 {SINK}, i8 {low}")
            self.field(f"i{8 * size}", at, low)
        self.do("ret void")
        self.memo = memo
        self.start(no)

    def handler(self, name: str) -> None:
        self.do(f"store ptr @{name}, ptr %rec")

    def field(self, t: str, at: int, value: str) -> None:
        """Write `value` into the record at offset `at`."""
        where = self.op(f"getelementptr i8, ptr %rec, i64 {at}")
        self.do(f"store {t} {value}, ptr {where}, align 1")
