"""Traps, and interrupts that were asked for: from a handler to the trap vector, or to the host.

In LLVM text as `llvm_text.expand` reads it.
"""

from __future__ import annotations

from auberge.engine.exits import HYPERCALL, STUCK
from auberge.engine.fetch import PUT_PC
from auberge.engine.llvm_text import LEFT, RARE, TRAPPED
from auberge.engine.records import PAGE_OF_RECORDS

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

# Take the trap of `cause` and `tval`.
TAKE_TRAP = """
define void @take_trap(ptr %st) #0 {
    %none, %status = routine @trap_entry(ptr %st)
    ret void
}
"""
