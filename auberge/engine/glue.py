"""What belongs to no instruction: the ways between handlers, and what handlers call.

In LLVM text as `llvm_text.expand` reads it. What is jumped to has the parameters of a handler: the
state, the record, what is `left` of the slice, the page's `bias`, and the TLB bank in force.
"""

from __future__ import annotations

import time

from auberge.engine import leaving, slices, trapping, undecoded
from auberge.engine.clock import FREQUENCY, HOST, INSTRUCTIONS, NANOSECONDS, InstructionClock
from auberge.engine.exits import DEFERRED, IDLE
from auberge.engine.fetch import FETCH_MISS, FIND, GOTO, NEW_PAGE, PUT_PC, forget_code
from auberge.engine.fpu import TYPES
from auberge.engine.llvm_text import STATE, expand
from auberge.engine.state import BANKS, KEY_WORDS, SHARED, TLB_ENTRIES, Layout

ACCESS = 1 << 10  # how many instructions of its slice a device's answer takes as long as

# -- where a path through handlers ends: see also `slices` and `trapping` -------------------------

# The reference does this instruction.
DEFERRED_HERE = f"""
handler @deferred {{
    {PUT_PC}
    exit {DEFERRED}
}}
"""

WAITS = f"""
handler @idle {{
    exit {IDLE}
}}
"""

# The end of all ways back to the host.
LEAVE = """
handler @leave {
    put left, %left
    %horizon = get horizon
    %spent = sub i64 %horizon, %left
    put spent, %spent
    call void @fpu_leave(ptr %st)
    ret void
}
"""

# -- forgetting ---------------------------------------------------------------------------------

# Store `v` each `stride` bytes.
FILL = f"""
define internal preserve_mostcc void @fill(ptr %p, i64 %size, i64 %v, i64 %stride) noinline #0 {{
entry:
    br label %loop
loop:
    %i = phi i64 [ 0, %entry ], [ %j, %loop ]
    %at = getelementptr i8, ptr %p, i64 %i
    store i64 %v, ptr %at, {STATE}
    %j = add i64 %i, %stride
    %more = icmp ult i64 %j, %size
    br i1 %more, label %loop, label %done
done:
    ret void
}}
"""


def _flush_all() -> str:
    """No bank is anyone's now; the one chosen next is empty."""
    lines = [f"put key{bank}_{word}, -1" for bank in range(BANKS) for word in range(KEY_WORDS)]
    return "\n".join([
        "define internal preserve_mostcc void @flush_all(ptr %st) noinline #0 {",
        *lines,
        "%none, %status = routine @choose_bank(ptr %st)",
        "ret void",
        "}",
        "",
    ])  # fmt: skip


def _flush_page(layout: Layout) -> str:
    """Drop the entry that an address may have, of each kind in each bank."""
    lines = []
    for bank in range(BANKS):
        for kind, start in layout.table.items():
            v, table = f"%{kind}_{bank}", layout.tlb + bank * layout.bank_size + start
            lines += [f"{v}.offset = and i64 %n, {(TLB_ENTRIES[kind] - 1) << 4}",
                      f"{v}.table = getelementptr i8, ptr %st, i64 {table}",
                      f"{v} = getelementptr i8, ptr {v}.table, i64 {v}.offset",
                      f"store i64 -1, ptr {v}, {STATE}"]  # fmt: skip
    return "\n".join([
        "define internal preserve_mostcc void @flush_page(ptr %st, i64 %va) noinline #0 {",
        "%n = lshr i64 %va, 8",
        *lines,
        "ret void",
        "}",
        "",
    ])  # fmt: skip


# -- time ---------------------------------------------------------------------------------------

# Guest time, as `clock.Clock.ticks` has it.
TIME = f"""
define internal preserve_mostcc i64 @time(ptr %st) noinline #0 {{
    %kind = get clock_kind
    %base = get clock_base
    switch i64 %kind, label %manual [ i64 {HOST}, label %host i64 {INSTRUCTIONS}, label %count ]
manual:
    ret i64 %base
count:
    %horizon = get horizon
    %left = get left
    %spent = sub i64 %horizon, %left
    %counted = lshr i64 %spent, {InstructionClock.SHIFT}
    %ticks_counted = add i64 %counted, %base
    ret i64 %ticks_counted
host:
    %f_address = get clock_gettime
    %f = inttoptr i64 %f_address to ptr
    %timespec = cell timespec_s
    %none = call i32 %f(i32 {time.CLOCK_MONOTONIC}, ptr %timespec)
    %s = load volatile i64, ptr %timespec
    %ns_pointer = cell timespec_ns
    %ns = load volatile i64, ptr %ns_pointer
    %whole = mul i64 %s, {FREQUENCY}
    %part = udiv i64 %ns, {NANOSECONDS}
    %both = add i64 %whole, %part
    %ticks = add i64 %both, %base
    ret i64 %ticks
}}
"""

# -- what the host calls ------------------------------------------------------------------------

# Run the hart. If a device has answered, the access that asked is executed again, and gets it; then
# what was left of its slice goes on, or none of it if somebody calls. With a new slice for each
# access, a guest that does little else would never look up. Likewise after a breakpoint that is to
# be passed: nothing comes before its instruction.
RUN = f"""
define void @run(ptr %st) #0 {{
    call void @fpu_enter(ptr %st)
    %rest = get left
    %none, %status = routine @choose_bank(ptr %st)
    %spent = get spent
    put horizon, %spent
    put left, 0
    %bank = bank
    %answered = get answered
    %is_answered = icmp ne i64 %answered, 0
    %pc = get pc
    %odd = or i64 %pc, 1
    %passed = get passed
    %passes = icmp eq i64 %passed, %odd
    put passed, 0
    %resumes = or i1 %is_answered, %passes
    br i1 %resumes, label %resume, label %plain
plain:
    call preserve_nonecc void @stop(ptr %st, ptr null, i64 0, i64 0, ptr %bank)
    ret void
resume:
    put passed, %odd
    %attention = get attention
    %calm = icmp eq i64 %attention, 0
    %is_rest = icmp sgt i64 %rest, {ACCESS}
    %goes_on = and i1 %calm, %is_rest
    %less = sub i64 %rest, {ACCESS}
    %most = select i1 %goes_on, i64 %less, i64 1
    %n = call preserve_mostcc i64 @take_slice(ptr %st, i64 %most)
    %record = get resume_record
    %bias = get resume_bias
    %is_known = icmp ne i64 %record, 0
    %is_same = and i1 %is_answered, %is_known
    br i1 %is_same, label %again, label %refetch
again:
    %rec = inttoptr i64 %record to ptr
    %f = load ptr, ptr %rec
    call preserve_nonecc void %f(ptr %st, ptr %rec, i64 %n, i64 %bias, ptr %bank)
    ret void
refetch:
    call preserve_nonecc void @find(ptr %st, ptr null, i64 %n, i64 0, ptr %bank)
    ret void
}}
"""

# Tell translated code where the rest is.
PUBLISH = "".join([
    "define void @publish(ptr %st) #0 {\n",
    *(f"%{f} = ptrtoint ptr @{leaving.name(f)} to i64\nput f_{f}, %{f}\n" for f in SHARED),
    *(f"put nan_{fmt}, {((1 << exponent + 1) - 1) << fraction - 1}\n"
      for fmt, (_, fraction, exponent) in TYPES.items()),
    "ret void\n}\n",
])  # fmt: skip

HANDLERS = (
    slices.SPENT_HERE, slices.SAMPLE, slices.CALLED, slices.REST, slices.CROSS, DEFERRED_HERE,
    WAITS, trapping.TRAPPED_HERE, trapping.TRAP_STORED, trapping.FAILED, slices.STOP,
    trapping.GOTO_CHECK, GOTO, FIND, slices.ATTEND, LEAVE, FETCH_MISS, undecoded.UNDECODED,
    undecoded.ONCE, undecoded.CROSSING,
)  # fmt: skip


def glue(layout: Layout) -> str:
    """All of it, as plain LLVM text."""
    called = (FILL, _flush_all(), _flush_page(layout), forget_code(layout), NEW_PAGE,
              slices.TAKE_SLICE, TIME, RUN, undecoded.PREPARE, PUBLISH,
              trapping.TAKE_TRAP)  # fmt: skip
    return expand(layout, "".join((*HANDLERS, *leaving.HANDLERS, *called)))
