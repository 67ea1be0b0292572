"""LLVM text: the conventions that all generated functions share, and a shorter way to write some.

Text, not `llvmlite.ir`: building it costs a third. Whoever compiles it imports LLVM; this does not.

What belongs to no instruction is written in LLVM text that has a few instructions more. `expand`
makes plain LLVM text of it:

    handler @f {                    a function that is jumped to, as the handlers are
    %v = get CELL                   the state; a cell that other threads write, atomically
    put CELL, %v
    %p = cell CELL                  its address
    %v, %status = routine @f(...)   call what answers or fails: the answer, and how it ended
    jump @f, left: %n               never to come back; `rec`, `left`, `bias` and `tlb` as they are,
                                    except where another is named
    exit CODE, left: %n             come back to the host
    %p = bank                       the TLB bank in force
    %e = fetch_entry %bank, %pc     the entry of a bank that the page of `pc` may have
    ; ...                           a comment
"""

from __future__ import annotations

from auberge.engine.state import TLB_ENTRIES, Layout
from auberge.isa.hart import FETCH

LIKELY, RARE = "!prof !1", "!prof !9"
STATE, MEMORY = "!tbaa !2", "!tbaa !3"  # an access to the one is none to the other
CONSTANT = "!invariant.load !0"
REGISTER_NUMBER = "!range !8"  # such a byte is below 32
METADATA = """
!0 = !{}
!1 = !{!"branch_weights", i32 2000, i32 1}
!2 = !{!4, !4, i64 0}
!3 = !{!5, !5, i64 0}
!4 = !{!"state", !6, i64 0}
!5 = !{!"memory", !6, i64 0}
!6 = !{!"root"}
!8 = !{i8 0, i8 32}
!9 = !{!"branch_weights", i32 1, i32 2000}
"""
# Cells that other threads write: read each time, and not moved.
SHARED = {"attention", "lines", "stop", "posted_ssip", "request_sfence", "request_fence_i"}
TRAPPED, EXITS, LEFT = 1, 2, 3  # the status of a routine that did not answer (0)

PARAMS = "ptr noalias %st, ptr %rec, i64 %left, i64 %bias, ptr %tlb"


def pointer(layout: Layout, cell: str) -> str:
    """The address of a cell."""
    return f"getelementptr i8, ptr %st, i64 {layout.offset[cell]}"


def loading(cell: str, at: str) -> str:
    """What loads a cell from its address."""
    if cell in SHARED:
        return f"load atomic i64, ptr {at} monotonic, align 8"
    return f"load i64, ptr {at}, {STATE}"


def storing(cell: str, value: str, at: str) -> str:
    """What stores a cell to its address."""
    if cell in SHARED:
        return f"store atomic i64 {value}, ptr {at} monotonic, align 8"
    return f"store i64 {value}, ptr {at}, {STATE}"


def tail_call(
    f: str, rec: str = "%rec", left: str = "%left", bias: str = "%bias", tlb: str = "%tlb"
) -> tuple[str, str]:
    """A jump to a handler; no stack grows."""
    args = f"ptr %st, ptr {rec}, i64 {left}, i64 {bias}, ptr {tlb}"
    return f"musttail call preserve_nonecc void {f}({args})", "ret void"


def expand(layout: Layout, text: str) -> str:
    """Plain LLVM text of text with the instructions that this module is about."""
    expander = _Expander(layout)
    lines = (line.partition(";")[0].strip() for line in text.splitlines())
    return "".join(f"{plain}\n" for line in lines for plain in expander.line(line))


class _Expander:
    def __init__(self, layout: Layout) -> None:
        self.layout, self.fresh = layout, 0

    def line(self, line: str) -> list[str]:
        """The plain lines of a line."""
        target, assigns, rest = line.partition(" = ")
        word, _, rest = (rest if assigns else line).partition(" ")
        match word:
            case "handler":
                name = rest.removesuffix(" {")
                return [f"define internal preserve_nonecc void {name}({PARAMS}) noinline #0 {{"]
            case "get":
                return self.get(target, rest)
            case "put":
                cell, _, value = rest.partition(", ")
                return self.put(cell, value)
            case "cell":
                return [f"{target} = {pointer(self.layout, rest)}"]
            case "routine":
                answer, _, status = target.partition(", ")
                return self.routine(answer, status, rest)
            case "jump":
                return self.jump(rest)
            case "exit":
                code, _, others = rest.partition(", ")
                return [*self.put("exit", code), *self.jump(f"@leave, {others}")]
            case "bank":
                tlb, at = self.name(), self.name()
                return [f"{tlb} = getelementptr i8, ptr %st, i64 {self.layout.tlb}",
                        *self.get(at, "bank"),
                        f"{target} = getelementptr i8, ptr {tlb}, i64 {at}"]  # fmt: skip
            case "fetch_entry":
                bank, _, pc = rest.partition(", ")
                return self.fetch_entry(target, bank, pc)
        return [line] if line else []

    def name(self) -> str:
        self.fresh += 1
        return f"%.{self.fresh}"

    def get(self, target: str, cell: str) -> list[str]:
        at = self.name()
        return [f"{at} = {pointer(self.layout, cell)}", f"{target} = {loading(cell, at)}"]

    def put(self, cell: str, value: str) -> list[str]:
        at = self.name()
        return [f"{at} = {pointer(self.layout, cell)}", storing(cell, value, at)]

    def routine(self, answer: str, status: str, call: str) -> list[str]:
        both = self.name()
        return [f"{both} = call preserve_mostcc {{ i64, i64 }} {call}",
                f"{answer} = extractvalue {{ i64, i64 }} {both}, 0",
                f"{status} = extractvalue {{ i64, i64 }} {both}, 1"]  # fmt: skip

    def jump(self, rest: str) -> list[str]:
        f, *others = rest.split(", ")
        return list(tail_call(f, **dict(each.split(": ") for each in others if each)))

    def fetch_entry(self, target: str, bank: str, pc: str) -> list[str]:
        table, number, offset = self.name(), self.name(), self.name()
        return [f"{table} = getelementptr i8, ptr {bank}, i64 {self.layout.table[FETCH]}",
                f"{number} = lshr i64 {pc}, 8",
                f"{offset} = and i64 {number}, {(TLB_ENTRIES[FETCH] - 1) << 4}",
                f"{target} = getelementptr i8, ptr {table}, i64 {offset}"]  # fmt: skip
