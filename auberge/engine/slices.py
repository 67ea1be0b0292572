"""A slice of the budget: how it ends, what a hart looks at then, and how the next one begins.

In LLVM text as `llvm_text.expand` reads it. Where slices end, code is hot: that is noted here for
who translates.
"""

from __future__ import annotations

from auberge.engine.clock import INSTRUCTIONS
from auberge.engine.exits import SAMPLED, SPENT, STOPPED
from auberge.engine.fetch import LOOK_UP, PUT_PC
from auberge.engine.llvm_text import RARE, STATE, TRAPPED
from auberge.engine.state import SOFT

SSIP = 2  # mip.SSIP


def _note(record: str) -> str:
    """Add a place to the `samples`; names begin as its own does."""
    return f"""
    {record}.n = get sampled
    {record}.list = inttoptr i64 %samples to ptr
    {record}.at = getelementptr i64, ptr {record}.list, i64 {record}.n
    store i64 {record}, ptr {record}.at
    {record}.more = add i64 {record}.n, 1
    put sampled, {record}.more
"""


def _note_and_tell(record: str, otherwise: str) -> str:
    """Add a place to the `samples`; go on at `tell` if those are as many as wanted."""
    return f"""
    {_note(record)}
    %wanted = get samples_wanted
    %full = icmp uge i64 {record}.more, %wanted
    br i1 %full, label %tell, label %{otherwise}
"""


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
# gave up since the slice was to end. And so is where a region led to last, which was interpreted
# since: by a pointer to a function, perhaps, whose own branches all lead to regions. Both fit in:
# there is room for one more than may be wanted.
SAMPLE = f"""
handler @sample {{
    %cold = get cold
    %is_cold = icmp ne i64 %cold, 0
    br i1 %is_cold, label %stop, label %look
look:
    {LOOK_UP}
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
    %led_to = get led_to
    %leads = icmp ne i64 %led_to, 0
    br i1 %leads, label %both, label %one
both:
    {_note("%led_to")}
    br label %one
one:
    {_note_and_tell("%record", "stop")}
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
    {_note_and_tell("%marked", "on")}
tell:
    {PUT_PC}
    exit {SAMPLED}
on:
    jump @called
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
    put led_to, 0
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
