"""What belongs to no instruction: the ways between handlers, and what handlers call.

In LLVM text as `llvm_text.expand` reads it. What is jumped to has the parameters of a handler: the
state, the record, what is `left` of the slice, the page's `bias`, and the TLB bank in force.
"""

from __future__ import annotations

import time

from auberge.engine import leaving
from auberge.engine.clock import FREQUENCY, HOST, INSTRUCTIONS, NANOSECONDS, InstructionClock
from auberge.engine.exits import DEFERRED, HYPERCALL, IDLE, SAMPLED, SPENT, STOPPED, STUCK
from auberge.engine.fetch import (
    CROSSING,
    FETCH_MISS,
    NEW_PAGE,
    ONCE,
    PC,
    PREPARE,
    UNDECODED,
    forget_code,
)
from auberge.engine.fpu import TYPES
from auberge.engine.llvm_text import LEFT, LIKELY, RARE, STATE, TRAPPED, expand
from auberge.engine.records import PAGE_OF_RECORDS
from auberge.engine.state import BANKS, KEY_WORDS, SHARED, SOFT, TLB_ENTRIES, Layout

SSIP = 2  # mip.SSIP
ACCESS = 1 << 10  # how many instructions of its slice a device's answer takes as long as

PUT_PC = f"""{PC}
    put pc, %pc
"""

# -- where a path through handlers ends ---------------------------------------------------------

# The slice has ended, and `rec` is what would come next. If it may be passed, and someone wants to
# know what is hot, then it ends at the next taken branch: that leads to where a region can begin.
SPENT_HERE = f"""
handler @spent {{
    %hard = get hard
    %soft = icmp eq i64 %hard, 0
    %samples = get samples
    %sampled = icmp ne i64 %samples, 0
    %near = icmp sgt i64 %left, {-SOFT // 2}
    %both = and i1 %soft, %sampled
    %on = and i1 %both, %near
    br i1 %on, label %more, label %stop
more:
    %f = load ptr, ptr %rec
    jump %f
stop:
    {PUT_PC}
    jump @stop
}}
"""

# The records beyond the last of a page. Where code leads from page to page, a region can begin.
CROSS = f"""
handler @cross {{
    {PUT_PC}
    %spent = icmp sle i64 %left, 0
    br i1 %spent, label %sample, label %on
sample:
    jump @sample
on:
    jump @goto
}}
"""

# The slice has ended at a taken branch. Where it goes is hot, unless it was translated code that
# gave up since the slice was to end.
SAMPLE = f"""
handler @sample {{
    %cold = get cold
    %is_cold = icmp ne i64 %cold, 0
    br i1 %is_cold, label %stop, label %look
look:
    %pc = get pc
    %bank = bank
    %page = and i64 %pc, -4096
    %entry = fetch_entry %bank, %pc
    %tag = load i64, ptr %entry, {STATE}
    %hit = icmp eq i64 %tag, %page
    br i1 %hit, label %known, label %stop
known:
    %samples = get samples
    %none = icmp eq i64 %samples, 0
    br i1 %none, label %stop, label %keep
keep:
    %second = getelementptr i8, ptr %entry, i64 8
    %new_bias = load i64, ptr %second, {STATE}
    %times_8 = shl i64 %pc, 3
    %record = add i64 %times_8, %new_bias
    %n = get sampled
    %list = inttoptr i64 %samples to ptr
    %at = getelementptr i64, ptr %list, i64 %n
    store i64 %record, ptr %at
    %more = add i64 %n, 1
    put sampled, %more
    %wanted = get samples_wanted
    %full = icmp uge i64 %more, %wanted
    br i1 %full, label %tell, label %stop
tell:
    exit {SAMPLED}
stop:
    jump @stop
}}
"""

# A region is called, at the record of what it would do next: after that, if a device has answered.
CALLED = f"""
handler @called {{
    %answered = get answered
    %completes = icmp ne i64 %answered, 0
    br i1 %completes, label %access, label %look, {RARE}
access:
    jump @once
look:
    {PUT_PC}
    jump @attend
}}
"""

# A region has less than one way through left of the slice: the next slice begins early; or at its
# instruction's pace, if there is none, or if its length matters. `in_region` says which one it is:
# noted as what is hot is, but with the lowest bit set.
REST = f"""
handler @rest {{
    put cold, 1
    %reserve = get reserve
    %none = icmp eq i64 %reserve, 0
    %kind = get clock_kind
    %counts = icmp eq i64 %kind, {INSTRUCTIONS}
    %exact = or i1 %none, %counts
    %answered = get answered
    %passed = get passed
    %pending = or i64 %answered, %passed
    %resumes = icmp ne i64 %pending, 0    ; this very instruction comes first
    %once = or i1 %exact, %resumes
    br i1 %once, label %slow, label %next
slow:
    jump @once
next:
    %samples = get samples
    %is_deaf = icmp eq i64 %samples, 0
    br i1 %is_deaf, label %on, label %keep
keep:
    %entry = get in_region
    %marked = or i64 %entry, 1
    %n = get sampled
    %list = inttoptr i64 %samples to ptr
    %at = getelementptr i64, ptr %list, i64 %n
    store i64 %marked, ptr %at
    %more = add i64 %n, 1
    put sampled, %more
    %wanted = get samples_wanted
    %full = icmp uge i64 %more, %wanted
    br i1 %full, label %tell, label %on
tell:
    {PUT_PC}
    exit {SAMPLED}
on:
    jump @called
}}
"""

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

# -- traps --------------------------------------------------------------------------------------

TRAPPED_HERE = f"""
handler @trapped {{
    {PUT_PC}
    jump @trap_stored
}}
"""

# A trap, its pc in the state already. One that comes back to where it was never ends.
TRAP_STORED = f"""
handler @trap_stored {{
    put answered, 0
    %old = get pc
    %none, %status = routine @trap_entry(ptr %st)
    %for_host = icmp eq i64 %status, {LEFT}
    br i1 %for_host, label %host, label %guest, {RARE}
host:
    exit {HYPERCALL}
guest:
    %less = sub i64 %left, 1
    %new = get pc
    %same = icmp eq i64 %old, %new
    br i1 %same, label %stuck, label %on, {RARE}
stuck:
    put exit_address, %old
    exit {STUCK}, left: %less
on:
    jump @goto, left: %less
}}
"""

# A routine trapped, or asked the host: `outcome` says which. What asked will be executed again; by
# its address, if this is the debug page, whose records hold nothing for long.
FAILED = f"""
handler @failed {{
    %outcome = get outcome
    %trap = icmp eq i64 %outcome, {TRAPPED}
    br i1 %trap, label %a_trap, label %an_exit
a_trap:
    jump @trapped
an_exit:
    {PUT_PC}
    %debug = get debug_page
    %beyond = sub i64 %here, %debug
    %is_once = icmp ult i64 %beyond, {PAGE_OF_RECORDS}
    %again = select i1 %is_once, i64 0, i64 %here
    put resume_record, %again
    put resume_bias, %bias
    jump @leave
}}
"""

# -- on at the pc in the state ------------------------------------------------------------------

FIND_RECORD = f"""
    %pc = get pc
    %bank = bank
    %page = and i64 %pc, -4096
    %entry = fetch_entry %bank, %pc
    %tag = load i64, ptr %entry, {STATE}
    %hit = icmp eq i64 %tag, %page
    br i1 %hit, label %known, label %miss, {LIKELY}
miss:
    jump @fetch_miss
known:
    %second = getelementptr i8, ptr %entry, i64 8
    %new_bias = load i64, ptr %second, {STATE}
    %even = and i64 %pc, -2    ; whoever set it: an odd one has no record
    %times_8 = shl i64 %even, 3
    %address = add i64 %times_8, %new_bias
    %record = inttoptr i64 %address to ptr
    %f = load ptr, ptr %record
    jump %f, rec: %record, bias: %new_bias, tlb: %bank
"""

# Budget and attention have been looked at.
FIND = f"""
handler @find {{
    {FIND_RECORD}
}}
"""

GOTO = f"""
handler @goto {{
    %spent = icmp sle i64 %left, 0
    br i1 %spent, label %stop, label %some, {RARE}
stop:
    jump @stop
some:
    %attention = get attention
    %calm = icmp eq i64 %attention, 0
    br i1 %calm, label %find, label %called, {LIKELY}
called:
    jump @attend
find:
    {FIND_RECORD}
}}
"""

# After a write to what the interrupt check reads; with no budget left, the next run checks.
GOTO_CHECK = f"""
handler @goto_check {{
    %spent = icmp sle i64 %left, 0
    br i1 %spent, label %stop, label %check
stop:
    jump @stop
check:
    %none, %status = routine @interrupt(ptr %st)
    %taken = icmp eq i64 %status, {TRAPPED}
    br i1 %taken, label %enter, label %on
enter:
    %none_2, %status_2 = routine @trap_entry(ptr %st)
    br label %on
on:
    jump @goto
}}
"""

# The slice has ended; is there more of the budget?
STOP = f"""
handler @stop {{
    %reserve = get reserve
    %none = icmp eq i64 %reserve, 0
    br i1 %none, label %out, label %more
out:
    exit {SPENT}
more:
    jump @attend
}}
"""

# Look up: the instructions so far are counted; requests, timers, interrupts; the next slice.
#
# Asking: another thread writes what it asks about, then the request, then `attention`. Here each is
# cleared first and then looked into, with a fence between. Without it the clearing could wait in
# the store buffer while loads that follow go ahead: a second one who asks meanwhile would see his
# request cleared, so served, by a hart that has read what was there before.
ATTEND = f"""
handler @attend {{
    %cold = get cold    ; of slices that a region ended, its cold way out is marked
    put cold, 0
    %before = get cold_slices
    %cold_slices = add i64 %before, %cold
    put cold_slices, %cold_slices
    %slices_before = get slices
    %slices = add i64 %slices_before, 1
    put slices, %slices
    put attention, 0
    fence seq_cst       ; what is asked for from here on calls again
    put left, %left
    %horizon = get horizon
    %spent = sub i64 %horizon, %left
    put spent, %spent
    %beyond = get reserve
    %reserve = add i64 %beyond, %left
    put reserve, %reserve
    %stop = get stop
    %stops = icmp ne i64 %stop, 0
    br i1 %stops, label %stopped, label %posted
stopped:
    put attention, 1    ; the next run looks at the rest
    put stop, 0
    put left, 0
    put horizon, %spent
    exit {STOPPED}, left: 0
posted:
    %ssip = get posted_ssip
    %is_posted = icmp ne i64 %ssip, 0
    br i1 %is_posted, label %post, label %sfence
post:
    put posted_ssip, 0
    fence seq_cst       ; the guest reads what the interrupt is about after that
    %mip = get mip
    %with_ssip = or i64 %mip, {SSIP}
    put mip, %with_ssip
    br label %sfence
sfence:
    %request_sfence = get request_sfence
    %flushes = icmp ne i64 %request_sfence, 0
    br i1 %flushes, label %flush, label %fence_i
flush:
    put request_sfence, 0
    fence seq_cst       ; tables are walked after that
    call preserve_mostcc void @flush_all(ptr %st)
    br label %fence_i
fence_i:
    %request_fence_i = get request_fence_i
    %forgets = icmp ne i64 %request_fence_i, 0
    br i1 %forgets, label %forget, label %time
forget:
    put request_fence_i, 0
    fence seq_cst       ; code is compared with memory after that
    call preserve_mostcc void @forget_code(ptr %st)
    br label %time
time:
    %none, %status = routine @timers(ptr %st)
    %none_2, %status_2 = routine @interrupt(ptr %st)
    %taken = icmp eq i64 %status_2, {TRAPPED}
    br i1 %taken, label %enter, label %slice
enter:
    %none_3, %status_3 = routine @trap_entry(ptr %st)
    br label %slice
slice:
    %n = call preserve_mostcc i64 @take_slice(ptr %st, i64 -1)
    %empty = icmp eq i64 %n, 0
    br i1 %empty, label %out, label %on
out:
    exit {SPENT}, left: 0
on:
    jump @find, left: %n
}}
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


# -- budget and time ----------------------------------------------------------------------------

# How much of the budget, at most `most`, may pass before the next look; the rest stays in reserve.
# If that is enough to pay for it, the end may be passed; but not where time is instructions.
TAKE_SLICE = f"""
define internal preserve_mostcc i64 @take_slice(ptr %st, i64 %most) noinline #0 {{
    %allowed, %status = routine @slice(ptr %st)
    %fewer = icmp ult i64 %most, %allowed
    %n = select i1 %fewer, i64 %most, i64 %allowed
    %all = get reserve
    %rest = sub i64 %all, %n
    put reserve, %rest
    %kind = get clock_kind
    %counts = icmp eq i64 %kind, {INSTRUCTIONS}
    %poor = icmp ult i64 %rest, {SOFT}
    %is_hard = or i1 %counts, %poor
    %hard = sext i1 %is_hard to i64
    put hard, %hard
    %spent = get spent
    %horizon = add i64 %spent, %n
    put horizon, %horizon
    put left, %n
    ret i64 %n
}}
"""

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

# Take the trap of `cause` and `tval`.
TAKE_TRAP = """
define void @take_trap(ptr %st) #0 {
    %none, %status = routine @trap_entry(ptr %st)
    ret void
}
"""

HANDLERS = (SPENT_HERE, SAMPLE, CALLED, REST, CROSS, DEFERRED_HERE, WAITS, TRAPPED_HERE,
            TRAP_STORED, FAILED, STOP, GOTO_CHECK, GOTO, FIND, ATTEND, LEAVE, FETCH_MISS, UNDECODED,
            ONCE, CROSSING)  # fmt: skip


def glue(layout: Layout) -> str:
    """All of it, as plain LLVM text."""
    called = (FILL, _flush_all(), _flush_page(layout), forget_code(layout), NEW_PAGE, TAKE_SLICE,
              TIME, RUN, PREPARE, PUBLISH, TAKE_TRAP)  # fmt: skip
    return expand(layout, "".join((*HANDLERS, *leaving.HANDLERS, *called)))
