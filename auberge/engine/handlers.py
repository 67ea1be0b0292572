"""The native interpreter as LLVM text: each instruction traced once with unknown operands.

A page of guest code has one 16-byte record for each 2 bytes, decoded when first reached: the address
of a handler, an immediate, small operands. A handler does its work and jumps to the next record's.
`pc = (rec - bias) / 8`, so that pc costs nothing until someone asks. Pages of records are aligned to
64 KiB, and hold a copy of the code they were decoded from: what is executed is that copy, compared
with memory again after a `fence.i`.
"""

from __future__ import annotations

from collections.abc import Callable

from auberge.bits.bits import Bits
from auberge.engine import exits, fpu
from auberge.engine.access import (
    SIZES,
    choose_bank,
    slice_of_budget,
    slow_load,
    slow_place,
    slow_store,
)
from auberge.engine.lowering import (
    CONSTANT,
    LEFT,
    LIKELY,
    MEMORY,
    METADATA,
    RARE,
    STATE,
    TRAPPED,
    Context,
    Register,
    Routine,
    Trace,
)
from auberge.engine.host import Host
from auberge.engine.state import BANKS, KEY_WORDS, SINK, TLB_ENTRIES, Layout
from auberge.isa.hart import FETCH, LOAD, PC, STORE
from auberge.isa.spec import Form, Insn, Isa, slots

RECORD = 16  # bytes
RECORDS = 2050  # of a page: one for each 2 bytes, and two more that lead to the next page
SNAPSHOT = 32832  # where a page of records keeps the code it was decoded from
META = 36992  # the generation at which that was compared, and the page's slot in `code_pages`
PAGE_OF_RECORDS = 65536
PARAMS = "ptr noalias %st, ptr %rec, i64 %left, i64 %bias, ptr %tlb"
ARGS = "ptr %st, ptr %rec, i64 {left}, i64 %bias, ptr %tlb"
NOT_PACKED = {"aq", "rl", "fm", "pred", "succ"}  # nothing in a text depends on them
REGISTER_NUMBER = ", !range !8"  # such a byte is below 32
ILLEGAL = 2


class Packing:
    """Where a record keeps the operands of an instruction; `rd` also as where its write goes."""

    def __init__(self, insn: Insn) -> None:
        operands = insn.encoding.operands
        self.immediate = next((n for n, o in operands.items() if o.immediate), None)
        small = [n for n, o in operands.items() if not o.immediate and n not in NOT_PACKED]
        floats = {name for _, name, kind in slots(insn.syntax) if kind == "f"}
        if "rd" in small and "rd" not in floats:
            small.append("sink")
        free = [12, 13, 14, 15] if self.immediate else [8, 9, 10, 11, 12, 13, 14, 15]
        self.at: dict[str, tuple[int, int]] = {}  # operand -> (offset, bytes)
        for name in sorted(small, key=lambda n: n != "csr"):
            size = 2 if name == "csr" else 1
            self.at[name] = free[0], size
            free = free[size:]


class Handler(Trace):
    """A hart about which nothing is known but which instruction this is, and how long."""

    def __init__(self, context: Context, name: str, insn: Insn | None, length: int) -> None:
        super().__init__(context)
        self.length = length
        self.now[PC] = self.leaf(64, self.pc())
        self.pending[PC] = self.next_pc = self.now[PC] + length
        if insn is None:
            self.trap(ILLEGAL, self.word)
        else:
            self.packing = Packing(insn)
            operands = insn.encoding.operands
            values = {n: self.operand(n, o.width) for n, o in operands.items()}
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
        distance = self.op(f"sub i64 {self.op('ptrtoint ptr %rec to i64')}, %bias")
        return self.op(
            f"ashr i64 {distance}, 3"
        )  # canonical addresses have their sign in bit 60 too

    def field(self, t: str, at: int, known: str = "") -> str:
        where = self.op(f"getelementptr i8, ptr %rec, i64 {at}")
        return self.op(f"load {t}, ptr {where}, align 1, {CONSTANT}{known}")

    def operand(self, name: str, width: int) -> Bits:
        if name in NOT_PACKED:
            return self.leaf(width, "0")
        if name == self.packing.immediate:
            return self.leaf(64, self.op(f"sext i32 {self.field('i32', 8)} to i64"))
        at, size = self.packing.at[name]
        t = f"i{8 * size}"
        value = self.field(t, at, REGISTER_NUMBER if width == 5 else "")
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
        if "sink" not in self.packing.at:
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
        following = self.op(f"getelementptr i8, ptr %rec, i64 {8 * self.length}")
        out, more = self.labels("out", "more")
        self.do(f"br i1 {self.op(f'icmp eq i64 {left}, 0')}, label %{out}, label %{more}, {RARE}")
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
        self.do(f"br i1 {self.op(f'icmp eq i64 {left}, 0')}, label %{spent}, label %{some}, {RARE}")
        self.depart(spent, "@stop", target, left)
        self.start(some)
        attention = self.op(f"icmp eq i64 {self.get('attention')}, 0")
        self.do(f"br i1 {attention}, label %{calm}, label %{called}, {LIKELY}")
        self.depart(called, "@attend", target, left)
        self.start(calm)
        if direct:
            step = self.op(f"shl i64 {self.low(target.args[1])}, 3")
            here = self.op("ptrtoint ptr %rec to i64")
            offset = self.op(f"add i64 {self.op(f'and i64 {here}, {PAGE_OF_RECORDS - 1}')}, {step}")
            inside = self.op(f"icmp ult i64 {offset}, 32768")
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
        """A cold way out; the address is computed there, and not before it is known to be needed."""
        memo, self.memo = self.memo, dict(self.memo)
        self.start(label)
        self.put("pc", self.low(target))
        self.jump(f, "%rec", left)
        self.do("unreachable")
        self.memo = memo

    def jump(self, f: str, rec: str, left: str) -> None:
        args = f"ptr %st, ptr {rec}, i64 {left}, i64 %bias, ptr %tlb"
        self.end(f"musttail call preserve_nonecc void {f}({args})", "ret void")

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

    # -- memory: the inline TLB -----------------------------------------------------------------
    def probe(self, va: str, access: str, want: str) -> tuple[str, list[str]]:
        """Branch on whether the TLB has `want`; the entry, and the labels hit, slow, done."""
        labels = self.labels("hit", "slow", "done")
        entry = self.tlb_entry("%tlb", va, access)
        tag = self.op(f"load i64, ptr {entry}, {STATE}")
        same = self.op(f"icmp eq i64 {tag}, {want}")
        self.do(f"br i1 {same}, label %{labels[0]}, label %{labels[1]}, {LIKELY}")
        return entry, labels

    def last_page(self, va: str, size: int) -> str:
        """The page of an access's last byte: that of the entry, unless the access leaves the page."""
        last = self.op(f"add i64 {va}, {size - 1}") if size > 1 else va
        return self.op(f"and i64 {last}, -4096")

    def host_address(self, entry: str, va: str) -> str:
        second = self.op(f"getelementptr i8, ptr {entry}, i64 8")
        return self.op(f"add i64 {va}, {self.op(f'load i64, ptr {second}, {STATE}')}")

    def load(self, va: Bits, size: int) -> Bits:
        if self.wrote:
            raise TypeError("a load that follows a memory write could trap, and not undo it")
        at, t = self.low(va), f"i{8 * size}"
        entry, (hit, slow, done) = self.probe(at, LOAD, self.last_page(at, size))
        self.start(slow)
        value = self.low(self.routine(f"load_{size}", f"i64 {at}")[8 * size - 1 : 0])
        from_slow = self.block
        self.do(f"br label %{done}")
        self.start(hit)
        host = self.op(f"inttoptr i64 {self.host_address(entry, at)} to ptr")
        got = self.op(f"load volatile {t}, ptr {host}, align 1, {MEMORY}")
        self.do(f"br label %{done}")
        self.start(done)
        return self.leaf(8 * size, self.op(f"phi {t} [ {got}, %{hit} ], [ {value}, %{from_slow} ]"))

    def store(self, va: Bits, size: int, v: Bits) -> None:
        if self.wrote:
            raise TypeError("a second store could trap, and not undo the first")
        at, value, wide = self.low(va), self.low(v), self.low(v.zext(64))
        entry, (hit, slow, done) = self.probe(at, STORE, self.last_page(at, size))
        self.start(slow)
        self.routine(f"store_{size}", f"i64 {at}", f"i64 {wide}")
        self.do(f"br label %{done}")
        self.start(hit)
        host = self.op(f"inttoptr i64 {self.host_address(entry, at)} to ptr")
        self.do(f"store volatile i{8 * size} {value}, ptr {host}, align 1, {MEMORY}")
        self.do(f"br label %{done}")
        self.start(done)
        self.wrote = True

    def place(self, va: Bits, size: int, access: str) -> Bits:
        if self.wrote:
            raise TypeError("a second access may trap after a memory write; place both first")
        at = self.low(va)
        # Low address bits are part of what is compared, so that only an aligned access hits.
        want = self.op(f"and i64 {at}, {-4096 | size - 1}")
        entry, (hit, slow, done) = self.probe(at, access, want)
        self.start(slow)
        answer = self.low(self.routine(f"place_{access}_{size}", f"i64 {at}"))
        from_slow = self.block
        self.do(f"br label %{done}")
        self.start(hit)
        host = self.host_address(entry, at)
        self.do(f"br label %{done}")
        self.start(done)
        return self.leaf(64, self.op(f"phi i64 [ {host}, %{hit} ], [ {answer}, %{from_slow} ]"))


class Decoder(Trace):
    """Writes the record of a word: every encoding's match and operands, lowered."""

    def __init__(self, context: Context) -> None:
        super().__init__(context)
        self.given = self.leaf(32, "%word")
        self.do("%narrow = icmp ne i32 %low2, 3")
        wide, narrow = self.labels("wide", "narrow")
        self.do(f"br i1 %narrow, label %{narrow}, label %{wide}")
        isa = context.isa
        for label, opcode_mask, shift, length in ((wide, 0x7F, 12, 4), (narrow, 3, 13, 2)):
            self.start(label)
            opcode, funct = self.given & opcode_mask, self.given.shr(shift) & 7
            key = self.low(opcode << 3 | funct)
            groups = {
                k: forms
                for k, forms in isa.candidates().items()
                if forms[0].encoding.length == length
            }
            other, *labels = self.labels("other", *(f"key{k[0]}_{k[1]}_" for k in groups))
            table = " ".join(
                f"i32 {k[0] << 3 | k[1]}, label %{at}" for k, at in zip(groups, labels, strict=True)
            )
            self.do(f"switch i32 {key}, label %{other} [ {table} ]")
            memo = self.memo
            for forms, at in zip(groups.values(), labels, strict=True):
                self.memo = dict(memo)
                self.start(at)
                for form in forms:
                    self.form(form)
                self.do(f"br label %{other}")
            self.memo = memo
            self.start(other)
            self.record(f"h_unknown_{length}", {})
            self.do("ret void")
        self.text = "\n".join(
            [
                "define internal preserve_mostcc void @decode(i32 %word, ptr %rec) noinline #0 {",
                "entry:",
                "%low2 = and i32 %word, 3",
                *self.lines,
                "}\n",
            ]
        )

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
        self.record(handler_name(form.insn, e.length), {})
        if packing.immediate:
            value = values[packing.immediate][31:0]
            where = self.op("getelementptr i8, ptr %rec, i64 8")
            self.do(f"store i32 {self.low(value)}, ptr {where}, align 1")
        for name, (at, size) in packing.at.items():
            v = values["rd" if name == "sink" else name].zext(8 * size)
            low = self.low(v)
            if name == "sink":
                zero = self.op(f"icmp eq i8 {low}, 0")
                low = self.op(f"select i1 {zero}, i8 {SINK}, i8 {low}")
            where = self.op(f"getelementptr i8, ptr %rec, i64 {at}")
            self.do(f"store i{8 * size} {low}, ptr {where}, align 1")
        self.do("ret void")
        self.memo = memo
        self.start(no)

    def record(self, handler: str, _: dict[str, str]) -> None:
        self.do(f"store ptr @{handler}, ptr %rec")


def handler_name(insn: Insn, length: int) -> str:
    """The LLVM name of an instruction's handler."""
    return f"h_{insn.name.replace('.', '_')}_{length}"


def module(isa: Isa, layout: Layout, host: Host) -> str:
    """The whole native interpreter, as LLVM text for that kind of host."""
    context = Context.of(isa, layout, host.fuses)
    needed = {(f.insn.name, f.encoding.length) for f in isa.forms}
    parts = [
        Handler(context, handler_name(isa[name], length), isa[name], length).text
        for name, length in sorted(needed)
    ]
    parts += [Handler(context, f"h_unknown_{length}", None, length).text for length in (2, 4)]
    parts.append(Decoder(context).text)
    parts += [Routine(context, name, text).text for name, text in isa.routines.items()]
    parts += [
        Routine(context, name, text, *known).text for name, text, *known in slow_texts(context)
    ]
    parts += [
        glue(layout),
        fpu.operations(),
        fpu.control(layout, host.machine),
        INTRINSICS,
        METADATA,
    ]
    return "".join(parts)


def slow_texts(context: Context) -> list[tuple[str, Callable[..., None], *tuple[object, ...]]]:
    """The shared texts of `access`, each with its native name and what is known when it is traced."""
    texts: list[tuple[str, Callable[..., None], *tuple[object, ...]]] = []
    for size in SIZES:
        texts.append((f"load_{size}", slow_load, size))
        texts.append((f"store_{size}", slow_store, size))
    for size in SIZES[2:]:
        texts += [(f"place_{access}_{size}", slow_place, size, access) for access in (LOAD, STORE)]
    texts.append(("choose_bank", choose_bank, context.watched, context.layout.bank_size))
    texts.append(("slice", slice_of_budget))
    return texts


INTRINSICS = "".join(
    f"declare i{w} @llvm.{name}.i{w}(i{w}{', i1' if name[0] == 'c' and name != 'ctpop' else ''})\n"
    for name in ("ctlz", "cttz", "ctpop")
    for w in (32, 64)
) + "".join(f"declare i{w} @llvm.bswap.i{w}(i{w})\n" for w in (16, 32, 64)) + (
    'attributes #0 = { nounwind "no-jump-tables"="true" "no-builtins" noimplicitfloat }\n'
)  # fmt: skip


def glue(layout: Layout) -> str:
    """The few functions that belong to no instruction."""

    def at(name: str) -> str:
        return f"getelementptr i8, ptr %st, i64 {layout.offset[name]}"

    def load(v: str, name: str) -> str:
        return f"%{v}.p = {at(name)}\n%{v} = load i64, ptr %{v}.p, {STATE}\n"

    def store(v: str, name: str, tag: str) -> str:
        return f"%{tag}.p = {at(name)}\nstore i64 {v}, ptr %{tag}.p, {STATE}\n"

    def shared(v: str, name: str) -> str:
        return f"%{v}.p = {at(name)}\n%{v} = load atomic i64, ptr %{v}.p monotonic, align 8\n"

    def set_shared(v: str, name: str, tag: str) -> str:
        return f"%{tag}.p = {at(name)}\nstore atomic i64 {v}, ptr %{tag}.p monotonic, align 8\n"

    def tail(f: str, left: str = "%left") -> str:
        return f"musttail call preserve_nonecc void {f}({ARGS.format(left=left)})\nret void\n"

    def handler(name: str, body: str) -> str:
        return f"define internal preserve_nonecc void @{name}({PARAMS}) noinline #0 {{\n{body}}}\n"

    def leave(code: int, tag: str, left: str = "%left") -> str:
        return store(str(code), "exit", tag) + tail("@leave", left)

    def routine(v: str, name: str, args: str = "") -> str:
        return (f"%{v}.r = call preserve_mostcc {{ i64, i64 }} @{name}(ptr %st{args})\n"
                f"%{v} = extractvalue {{ i64, i64 }} %{v}.r, 0\n"
                f"%{v}.s = extractvalue {{ i64, i64 }} %{v}.r, 1\n")  # fmt: skip

    here = (
        "%here = ptrtoint ptr %rec to i64\n%dist = sub i64 %here, %bias\n%pc = ashr i64 %dist, 3\n"
    )
    store_pc = here + store("%pc", "pc", "pcp")
    entry_tlb = (f"%tlbs = getelementptr i8, ptr %st, i64 {layout.tlb}\n" + load("bank", "bank")
                 + "%bankp = getelementptr i8, ptr %tlbs, i64 %bank\n")  # fmt: skip
    bytes_of_page = (f"%inpage = and i64 %here, {PAGE_OF_RECORDS - 1}\n%byte = lshr i64 %inpage, 3\n"
                     f"%pagei = and i64 %here, {-PAGE_OF_RECORDS}\n%page = inttoptr i64 %pagei to ptr\n"
                     f"%snap = getelementptr i8, ptr %page, i64 {SNAPSHOT}\n"
                     "%code = getelementptr i8, ptr %snap, i64 %byte\n"
                     "%w16 = load i16, ptr %code, align 2\n")  # fmt: skip
    in_ram = "%off = sub i64 %pa, %base\n%ram = icmp ult i64 %off, %size\n"
    text = [
        handler("spent", store_pc + tail("@stop")),
        handler("cross", store_pc + tail("@goto")),
        handler("deferred", store_pc + leave(exits.DEFERRED, "ex")),
        handler("idle", leave(exits.IDLE, "ex")),
        handler("trapped", store_pc + tail("@trap_stored")),
        # A trap, its pc in the state already. One that comes back to where it was never ends.
        handler("trap_stored", store("0", "answered", "an") + load("old", "pc") + routine("t", "trap_entry")
                + f"%left.host = icmp eq i64 %t.s, {LEFT}\nbr i1 %left.host, label %host, label %guest, {RARE}\n"
                + "host:\n" + leave(exits.HYPERCALL, "ex") + "guest:\n%less = sub i64 %left, 1\n" + load("new", "pc")
                + f"%same = icmp eq i64 %old, %new\nbr i1 %same, label %stuck, label %on, {RARE}\n"
                + "stuck:\n" + store("%old", "exit_address", "ea") + leave(exits.STUCK, "ex2", "%less")
                + "on:\n" + tail("@goto", "%less")),
        handler("failed", load("how", "outcome")
                + f"%trap = icmp eq i64 %how, {TRAPPED}\nbr i1 %trap, label %a, label %b\na:\n" + tail("@trapped")
                + "b:\n" + store_pc + store("%here", "resume_record", "rr") + store("%bias", "resume_bias", "rb")
                + tail("@leave")),
        handler("stop", load("reserve", "reserve")
                + "%none = icmp eq i64 %reserve, 0\nbr i1 %none, label %out, label %on\nout:\n"
                + leave(exits.SPENT, "ex") + "on:\n" + tail("@attend")),
        handler("goto_check", "%z = icmp eq i64 %left, 0\nbr i1 %z, label %stop, label %on\nstop:\n" + tail("@stop")
                + "on:\n" + routine("i", "interrupt")
                + f"%taken = icmp eq i64 %i.s, {TRAPPED}\nbr i1 %taken, label %enter, label %go\nenter:\n"
                + routine("t", "trap_entry") + "br label %go\ngo:\n" + tail("@goto")),
        handler("goto", f"%z = icmp eq i64 %left, 0\nbr i1 %z, label %stop, label %run, {RARE}\nstop:\n"
                + tail("@stop") + "run:\n" + shared("a", "attention")
                + f"%calm = icmp eq i64 %a, 0\nbr i1 %calm, label %find, label %look, {LIKELY}\nlook:\n"
                + tail("@attend") + "find:\n" + _find(layout, load, entry_tlb, tail)),
        handler("find", _find(layout, load, entry_tlb, tail)),
        # Look up: the instructions so far are counted; requests, timers, interrupts; the next slice.
        handler("attend", set_shared("0", "attention", "at") + store("%left", "left", "le") + load("horizon", "horizon")
                + "%spent = sub i64 %horizon, %left\n" + store("%spent", "spent", "sp") + load("rest", "reserve")
                + "%all = add i64 %rest, %left\n" + store("%all", "reserve", "re") + shared("stopping", "stop")
                + "%s = icmp ne i64 %stopping, 0\nbr i1 %s, label %stop, label %post\nstop:\n"
                + set_shared("1", "attention", "at2") + set_shared("0", "stop", "st2")
                + store("0", "left", "le2") + store("%spent", "horizon", "ho2") + leave(exits.STOPPED, "ex", "0")
                + "post:\n" + shared("posted", "posted_ssip")
                + "%p = icmp ne i64 %posted, 0\nbr i1 %p, label %ssip, label %sf\nssip:\n"
                + set_shared("0", "posted_ssip", "po2") + load("mip", "mip") + "%mip2 = or i64 %mip, 2\n"
                + store("%mip2", "mip", "mp2") + "br label %sf\nsf:\n" + shared("wants", "request_sfence")
                + "%w = icmp ne i64 %wants, 0\nbr i1 %w, label %flush, label %fi\nflush:\n"
                + set_shared("0", "request_sfence", "rs2") + "call preserve_mostcc void @flush_all(ptr %st)\n"
                + "br label %fi\nfi:\n" + shared("fences", "request_fence_i")
                + "%f = icmp ne i64 %fences, 0\nbr i1 %f, label %forget, label %time\nforget:\n"
                + set_shared("0", "request_fence_i", "rf2") + "call preserve_mostcc void @forget_code(ptr %st)\n"
                + "br label %time\ntime:\n" + routine("tm", "timers") + routine("i", "interrupt")
                + f"%taken = icmp eq i64 %i.s, {TRAPPED}\nbr i1 %taken, label %enter, label %slice\nenter:\n"
                + routine("t", "trap_entry") + "br label %slice\nslice:\n"
                + "%n = call preserve_mostcc i64 @take_slice(ptr %st)\n"
                + set_shared("0", "attention", "at3")
                + "%none = icmp eq i64 %n, 0\nbr i1 %none, label %out, label %on\nout:\n"
                + leave(exits.SPENT, "ex2", "0") + "on:\n" + tail("@find", "%n")),
        handler("leave", store("%left", "left", "le") + load("horizon", "horizon")
                + "%spent = sub i64 %horizon, %left\n" + store("%spent", "spent", "sp")
                + "call void @fpu_leave(ptr %st)\nret void\n"),
        handler("fetch_miss", load("pc", "pc") + routine("w", "translate_fetch", ", i64 %pc")
                + "%bad = icmp ne i64 %w.s, 0\nbr i1 %bad, label %trap, label %good\n"
                + "good:\n%pa = add i64 %w, 0\n" + load("base", "ram_base") + load("size", "ram_size") + in_ram
                + "br i1 %ram, label %page, label %nowhere\nnowhere:\n" + store("1", "cause", "ca")
                + store("%pc", "tval", "tv") + "br label %trap\ntrap:\n" + tail("@trap_stored")
                + "page:\n" + load("addend", "ram_addend")
                + "%pap = and i64 %pa, -4096\n%hosti = add i64 %pap, %addend\n%host = inttoptr i64 %hosti to ptr\n"
                + "%index = lshr i64 %off, 12\n" + load("table", "code_pages")
                + "%tablep = inttoptr i64 %table to ptr\n%slot = getelementptr i64, ptr %tablep, i64 %index\n"
                + "%known = load i64, ptr %slot\n%new = icmp eq i64 %known, 0\nbr i1 %new, label %take, label %check\n"
                + "take:\n" + load("next", "pool_next") + load("end", "pool_end")
                + "%full = icmp uge i64 %next, %end\nbr i1 %full, label %pool, label %claim\npool:\n"
                + leave(exits.FULL, "ex") + f"claim:\n%after = add i64 %next, {PAGE_OF_RECORDS}\n"
                + store("%after", "pool_next", "pn") + "store i64 %next, ptr %slot\nbr label %init\n"
                + "check:\n%kp = inttoptr i64 %known to ptr\n"
                + f"%mp = getelementptr i8, ptr %kp, i64 {META}\n%then = load i64, ptr %mp\n" + load("gen", "generation")
                + "%fresh = icmp eq i64 %then, %gen\nbr i1 %fresh, label %fill, label %compare\n"
                + f"compare:\n%sn = getelementptr i8, ptr %kp, i64 {SNAPSHOT}\n" + load("cmp", "memcmp")
                + "%cmpf = inttoptr i64 %cmp to ptr\n%d = call i32 %cmpf(ptr %sn, ptr %host, i64 4096)\n"
                + "%eq = icmp eq i32 %d, 0\nbr i1 %eq, label %same, label %init\n"
                + "same:\nstore i64 %gen, ptr %mp\nbr label %fill\n"
                + "init:\n%which = phi i64 [ %next, %claim ], [ %known, %compare ]\n%ip = inttoptr i64 %which to ptr\n"
                + "call preserve_mostcc void @new_page(ptr %st, ptr %ip, ptr %host, ptr %slot)\nbr label %fill\n"
                + "fill:\n%recs = phi i64 [ %known, %check ], [ %known, %same ], [ %which, %init ]\n"
                + "%pcp2 = and i64 %pc, -4096\n%times = shl i64 %pcp2, 3\n%b = sub i64 %recs, %times\n" + entry_tlb
                + f"%n = lshr i64 %pc, 8\n%k = and i64 %n, {(TLB_ENTRIES[FETCH] - 1) << 4}\n"
                + f"%fetches = getelementptr i8, ptr %bankp, i64 {layout.table[FETCH]}\n"
                + "%e = getelementptr i8, ptr %fetches, i64 %k\n"
                + f"store i64 %pcp2, ptr %e, {STATE}\n%e2 = getelementptr i8, ptr %e, i64 8\n"
                + f"store i64 %b, ptr %e2, {STATE}\n" + load("misses", "misses") + "%m1 = add i64 %misses, 1\n"
                + store("%m1", "misses", "mi") + tail("@find")),
        handler("undecoded", here + bytes_of_page
                + "%two = and i16 %w16, 3\n%is4 = icmp eq i16 %two, 3\nbr i1 %is4, label %wide, label %narrow\n"
                + "narrow:\n%w2 = zext i16 %w16 to i32\nbr label %decode\n"
                + "wide:\n%edge = icmp eq i64 %byte, 4094\nbr i1 %edge, label %crossing, label %four\n"
                + "crossing:\nstore ptr @crossing, ptr %rec\n" + tail("@crossing")
                + "four:\n%w4 = load i32, ptr %code, align 2\nbr label %decode\n"
                + "decode:\n%word = phi i32 [ %w2, %narrow ], [ %w4, %four ]\n"
                + "call preserve_mostcc void @decode(i32 %word, ptr %rec)\n%f = load ptr, ptr %rec\n" + tail("%f")),
        # Four bytes across two pages: fetched each time, since the second page is translated by itself.
        # It runs from a page of records of its own, in which all but the last lead out.
        handler("crossing", here + bytes_of_page + "%pc2 = add i64 %pc, 2\n"
                + routine("w", "translate_fetch", ", i64 %pc2")
                + "%bad = icmp ne i64 %w.s, 0\nbr i1 %bad, label %trap, label %good\n"
                + "good:\n%pa = add i64 %w, 0\n" + load("base", "ram_base") + load("size", "ram_size") + in_ram
                + "br i1 %ram, label %fetch, label %nowhere\nnowhere:\n" + store("1", "cause", "ca")
                + store("%pc2", "tval", "tv") + "br label %trap\ntrap:\n" + tail("@trapped")
                + "fetch:\n" + load("addend", "ram_addend")
                + "%hi.a = add i64 %pa, %addend\n%hi.p = inttoptr i64 %hi.a to ptr\n"
                + f"%hi = load volatile i16, ptr %hi.p, align 2, {MEMORY}\n"
                + "%lo32 = zext i16 %w16 to i32\n%hi32 = zext i16 %hi to i32\n%up = shl i32 %hi32, 16\n"
                + "%word = or i32 %up, %lo32\n" + load("scratch", "scratch")
                + f"%sp = inttoptr i64 %scratch to ptr\n%wp = getelementptr i8, ptr %sp, i64 {SNAPSHOT + 4094}\n"
                + f"%last = getelementptr i8, ptr %sp, i64 {8 * 4094}\n"
                + "%had = load i32, ptr %wp, align 2\n%same = icmp eq i32 %had, %word\n"
                + "br i1 %same, label %go, label %decode\ndecode:\nstore i32 %word, ptr %wp, align 2\n"
                + "call preserve_mostcc void @decode(i32 %word, ptr %last)\nbr label %go\ngo:\n"
                + "%pcp2 = and i64 %pc, -4096\n%times = shl i64 %pcp2, 3\n%b = sub i64 %scratch, %times\n"
                + "%f = load ptr, ptr %last\nmusttail call preserve_nonecc void %f(ptr %st, ptr %last, i64 %left, "
                  "i64 %b, ptr %tlb)\nret void\n"),
    ]  # fmt: skip
    return "".join(text) + _functions(layout, at, load, store, shared, routine, entry_tlb)


def _find(
    layout: Layout, load: Callable[[str, str], str], entry_tlb: str, tail: Callable[[str], str]
) -> str:
    return (load("pc", "pc") + entry_tlb + f"""%page = and i64 %pc, -4096
%n = lshr i64 %pc, 8
%k = and i64 %n, {(TLB_ENTRIES[FETCH] - 1) << 4}
%fetches = getelementptr i8, ptr %bankp, i64 {layout.table[FETCH]}
%e = getelementptr i8, ptr %fetches, i64 %k
%tag = load i64, ptr %e, {STATE}
%hit = icmp eq i64 %tag, %page
br i1 %hit, label %go, label %miss, {LIKELY}
miss:
{tail("@fetch_miss")}go:
%bp = getelementptr i8, ptr %e, i64 8
%b = load i64, ptr %bp, {STATE}
%eight = shl i64 %pc, 3
%ra = add i64 %eight, %b
%rec2 = inttoptr i64 %ra to ptr
%f = load ptr, ptr %rec2
musttail call preserve_nonecc void %f(ptr %st, ptr %rec2, i64 %left, i64 %b, ptr %bankp)
ret void
""")  # fmt: skip


def _functions(
    layout: Layout,
    at: Callable[[str], str],
    load: Callable[[str, str], str],
    store: Callable[[str, str, str], str],
    shared: Callable[[str, str], str],
    routine: Callable[..., str],
    entry_tlb: str,
) -> str:
    """What handlers and routines call: filling, flushing, time; and `run`, which the host calls."""
    keys = "".join(
        store("-1", f"key{bank}_{word}", f"k{bank}.{word}")
        for bank in range(BANKS)
        for word in range(KEY_WORDS)
    )
    drops = ""
    for bank in range(BANKS):
        for kind, start in layout.table.items():
            v = f"{kind}{bank}"
            drops += (f"%{v}.i = and i64 %n, {(TLB_ENTRIES[kind] - 1) << 4}\n"
                      f"%{v}.t = getelementptr i8, ptr %st, i64 {layout.tlb + bank * layout.bank_size + start}\n"
                      f"%{v}.e = getelementptr i8, ptr %{v}.t, i64 %{v}.i\n"
                      f"store i64 -1, ptr %{v}.e, {STATE}\n")  # fmt: skip
    forgets = "".join(
        f"%f{bank} = getelementptr i8, ptr %st, i64 "
        f"{layout.tlb + bank * layout.bank_size + layout.table[FETCH]}\n"
        f"call preserve_mostcc void @fill(ptr %f{bank}, i64 {16 * TLB_ENTRIES[FETCH]}, i64 -1, i64 16)\n"
        for bank in range(BANKS)
    )
    return f"""
define internal preserve_mostcc void @fill(ptr %p, i64 %size, i64 %v, i64 %stride) noinline #0 {{
entry:
br label %loop
loop:
%i = phi i64 [ 0, %entry ], [ %j, %loop ]
%q = getelementptr i8, ptr %p, i64 %i
store i64 %v, ptr %q, {STATE}
%j = add i64 %i, %stride
%more = icmp ult i64 %j, %size
br i1 %more, label %loop, label %done
done:
ret void
}}
define internal preserve_mostcc void @flush_all(ptr %st) noinline #0 {{
{keys}%x = call preserve_mostcc {{ i64, i64 }} @choose_bank(ptr %st)
ret void
}}
define internal preserve_mostcc void @flush_page(ptr %st, i64 %va) noinline #0 {{
%n = lshr i64 %va, 8
{drops}ret void
}}
define internal preserve_mostcc void @forget_code(ptr %st) noinline #0 {{
{load("gen", "generation")}%g = add i64 %gen, 1
{store("%g", "generation", "ge")}{forgets}ret void
}}
define internal preserve_mostcc void @new_page(ptr %st, ptr %page, ptr %host, ptr %slot) noinline #0 {{
entry:
%snap = getelementptr i8, ptr %page, i64 {SNAPSHOT}
br label %copy
copy:
%i = phi i64 [ 0, %entry ], [ %j, %copy ]
%from = getelementptr i8, ptr %host, i64 %i
%to = getelementptr i8, ptr %snap, i64 %i
%v = load volatile i64, ptr %from, align 8
store i64 %v, ptr %to, align 8
%j = add i64 %i, 8
%more = icmp ult i64 %j, 4096
br i1 %more, label %copy, label %records
records:
%u = ptrtoint ptr @undecoded to i64
call preserve_mostcc void @fill(ptr %page, i64 {RECORD * 2048}, i64 %u, i64 {RECORD})
%c = ptrtoint ptr @cross to i64
%t = getelementptr i8, ptr %page, i64 {RECORD * 2048}
call preserve_mostcc void @fill(ptr %t, i64 {RECORD * 2}, i64 %c, i64 {RECORD})
{load("gen", "generation")}%meta = getelementptr i8, ptr %page, i64 {META}
store i64 %gen, ptr %meta
%meta2 = getelementptr i8, ptr %meta, i64 8
store ptr %slot, ptr %meta2
ret void
}}
define internal preserve_mostcc i64 @take_slice(ptr %st) noinline #0 {{
{routine("n", "slice")}{load("all", "reserve")}%rest = sub i64 %all, %n
{store("%rest", "reserve", "re")}{load("spent", "spent")}%h = add i64 %spent, %n
{store("%h", "horizon", "ho")}{store("%n", "left", "le")}ret i64 %n
}}
define internal preserve_mostcc i64 @time(ptr %st) noinline #0 {{
{load("kind", "clock_kind")}{load("base", "clock_base")}switch i64 %kind, label %manual [ i64 0, label %host i64 1, label %count ]
manual:
ret i64 %base
count:
{load("horizon", "horizon")}{load("left", "left")}%spent = sub i64 %horizon, %left
%t = lshr i64 %spent, 4
%now = add i64 %t, %base
ret i64 %now
host:
{load("f", "clock_gettime")}%fp = inttoptr i64 %f to ptr
%ts = {at("timespec_s")}
%x = call i32 %fp(i32 1, ptr %ts)
%s = load volatile i64, ptr %ts
%nsp = {at("timespec_ns")}
%ns = load volatile i64, ptr %nsp
%s9 = mul i64 %s, 10000000
%n100 = udiv i64 %ns, 100
%both = add i64 %s9, %n100
%ticks = add i64 %both, %base
ret i64 %ticks
}}
define void @run(ptr %st) #0 {{
call void @fpu_enter(ptr %st)
%x = call preserve_mostcc {{ i64, i64 }} @choose_bank(ptr %st)
{load("spent", "spent")}{store("%spent", "horizon", "ho")}{store("0", "left", "le")}{entry_tlb}{load("answered", "answered")}%a = icmp ne i64 %answered, 0
br i1 %a, label %resume, label %plain
plain:
call preserve_nonecc void @stop(ptr %st, ptr null, i64 0, i64 0, ptr %bankp)
ret void
resume:
%n = call preserve_mostcc i64 @take_slice(ptr %st)
{load("record", "resume_record")}{load("bias", "resume_bias")}%known = icmp ne i64 %record, 0
br i1 %known, label %again, label %refetch
again:
%rec = inttoptr i64 %record to ptr
%f = load ptr, ptr %rec
call preserve_nonecc void %f(ptr %st, ptr %rec, i64 %n, i64 %bias, ptr %bankp)
ret void
refetch:
call preserve_nonecc void @find(ptr %st, ptr null, i64 %n, i64 0, ptr %bankp)
ret void
}}
define void @prepare(ptr %st, ptr %page) #0 {{
%c = ptrtoint ptr @cross to i64
call preserve_mostcc void @fill(ptr %page, i64 {RECORD * RECORDS}, i64 %c, i64 {RECORD})
%w = getelementptr i8, ptr %page, i64 {SNAPSHOT + 4094}
store i32 0, ptr %w, align 2
%last = getelementptr i8, ptr %page, i64 {8 * 4094}
store ptr @h_unknown_4, ptr %last
ret void
}}
define void @take_trap(ptr %st) #0 {{
%x = call preserve_mostcc {{ i64, i64 }} @trap_entry(ptr %st)
ret void
}}
"""
