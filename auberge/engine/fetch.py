"""Native code that fetches: from the pc to a page of records, and from a record to its handler.

In LLVM text as `llvm_text.expand` reads it; `records` says what a page of records holds.
"""

from __future__ import annotations

from auberge.engine.exits import FULL, NEW_CODE
from auberge.engine.llvm_text import LIKELY, RARE, STATE
from auberge.engine.records import (
    META,
    PAGE_OF_RECORDS,
    RECORD,
    RECORDS,
    RECORDS_OF_CODE,
    SLOT,
    SNAPSHOT,
)
from auberge.engine.state import BANKS, TLB_ENTRIES, Layout
from auberge.isa.hart import FETCH

INSTRUCTION_ACCESS_FAULT = 1

# `pc` of the record.
PC = """
    %here = ptrtoint ptr %rec to i64
    %distance = sub i64 %here, %bias
    %pc = ashr i64 %distance, 3
"""

PUT_PC = f"""{PC}
    put pc, %pc
"""

# Whether the page of pc is in the TLB: a `hit`, or not, with its `entry` there.
LOOK_UP = f"""
    %pc = get pc
    %bank = bank
    %page = and i64 %pc, -4096
    %entry = fetch_entry %bank, %pc
    %tag = load i64, ptr %entry, {STATE}
    %hit = icmp eq i64 %tag, %page
"""

# Translate `va` for a fetch, and on at `good` with `offset` in RAM; or at `trap`, with all said.
TRANSLATE_FETCH = f"""
    %pa, %status = routine @translate_fetch(ptr %st, i64 %va)
    %bad = icmp ne i64 %status, 0
    br i1 %bad, label %trap, label %translated
translated:
    %base = get ram_base
    %size = get ram_size
    %offset = sub i64 %pa, %base
    %in_ram = icmp ult i64 %offset, %size
    br i1 %in_ram, label %good, label %nowhere
nowhere:
    put cause, {INSTRUCTION_ACCESS_FAULT}
    put tval, %va
    br label %trap
"""

# The page of pc is in no TLB entry: translate it; find, check or begin its records; fill the entry.
FETCH_MISS = f"""
handler @fetch_miss {{
    %va = get pc
    {TRANSLATE_FETCH}
trap:
    jump @trap_stored
good:
    %addend = get ram_addend
    %frame = and i64 %pa, -4096
    %host_address = add i64 %frame, %addend
    %host = inttoptr i64 %host_address to ptr
    %index = lshr i64 %offset, 12
    %table_address = get code_pages
    %table = inttoptr i64 %table_address to ptr
    %slot = getelementptr i64, ptr %table, i64 %index
    %known = load i64, ptr %slot
    %new = icmp eq i64 %known, 0
    br i1 %new, label %take, label %check
take:
    %next = get pool_next
    %end = get pool_end
    %full = icmp uge i64 %next, %end
    br i1 %full, label %pool, label %claim
pool:
    exit {FULL}
claim:
    %after = add i64 %next, {PAGE_OF_RECORDS}
    put pool_next, %after
    store i64 %next, ptr %slot
    %is_blank = get pool_is_blank
    br label %begin
check:
    %known_page = inttoptr i64 %known to ptr
    %meta = getelementptr i8, ptr %known_page, i64 {META}
    %then = load i64, ptr %meta
    %generation = get generation
    %fresh = icmp eq i64 %then, %generation
    br i1 %fresh, label %fill, label %compare
compare:
    %copy = getelementptr i8, ptr %known_page, i64 {SNAPSHOT}
    %memcmp_address = get memcmp
    %memcmp = inttoptr i64 %memcmp_address to ptr
    %differs = call i32 %memcmp(ptr %copy, ptr %host, i64 4096)
    %equal = icmp eq i32 %differs, 0
    br i1 %equal, label %same, label %begin
same:
    store i64 %generation, ptr %meta
    br label %fill
begin:
    %which = phi i64 [ %next, %claim ], [ %known, %compare ]
    %blank = phi i64 [ %is_blank, %claim ], [ 0, %compare ]
    %page = inttoptr i64 %which to ptr
    call preserve_mostcc void @new_page(ptr %st, ptr %page, ptr %host, ptr %slot, i64 %blank)
    %reports = get reports_code
    %silent = icmp eq i64 %reports, 0
    br i1 %silent, label %fill, label %report
report:
    put exit_address, %which
    exit {NEW_CODE}
fill:
    %records = phi i64 [ %known, %check ], [ %known, %same ], [ %which, %begin ]
    %tag = and i64 %va, -4096
    %times_8 = shl i64 %tag, 3
    %new_bias = sub i64 %records, %times_8
    %bank = bank
    %entry = fetch_entry %bank, %va
    store i64 %tag, ptr %entry, {STATE}
    %second = getelementptr i8, ptr %entry, i64 8
    store i64 %new_bias, ptr %second, {STATE}
    %misses = get misses
    %one_more = add i64 %misses, 1
    put misses, %one_more
    jump @find
}}
"""

# On at the pc in the state, whose page is in the TLB, or is fetched.
FIND_RECORD = f"""
    {LOOK_UP}
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

# The records of a page of code that nobody has decoded: copy it, and forget what was known, unless
# the page is blank, with all of its records undecoded.
NEW_PAGE = f"""
define internal preserve_mostcc void @new_page(
    ptr %st, ptr %page, ptr %host, ptr %slot, i64 %blank) noinline #0 {{
entry:
    %snapshot = getelementptr i8, ptr %page, i64 {SNAPSHOT}
    br label %copy
copy:
    %i = phi i64 [ 0, %entry ], [ %j, %copy ]
    %from = getelementptr i8, ptr %host, i64 %i
    %to = getelementptr i8, ptr %snapshot, i64 %i
    %v = load volatile i64, ptr %from, align 8
    store i64 %v, ptr %to, align 8
    %j = add i64 %i, 8
    %more = icmp ult i64 %j, 4096
    br i1 %more, label %copy, label %copied
copied:
    %is_blank = icmp ne i64 %blank, 0
    br i1 %is_blank, label %ends, label %records
records:
    %undecoded = ptrtoint ptr @undecoded to i64
    call preserve_mostcc void @fill(ptr %page, i64 {RECORDS_OF_CODE}, i64 %undecoded, i64 {RECORD})
    br label %ends
ends:
    %cross = ptrtoint ptr @cross to i64
    %beyond = getelementptr i8, ptr %page, i64 {RECORDS_OF_CODE}
    call preserve_mostcc void @fill(
        ptr %beyond, i64 {RECORD * RECORDS - RECORDS_OF_CODE}, i64 %cross, i64 {RECORD})
    %generation = get generation
    %meta = getelementptr i8, ptr %page, i64 {META}
    store i64 %generation, ptr %meta
    %slot_pointer = getelementptr i8, ptr %page, i64 {SLOT}
    store ptr %slot, ptr %slot_pointer
    ret void
}}
"""


def forget_code(layout: Layout) -> str:
    """fence.i: each page of code is compared with memory before it executes again."""
    lines = []
    for bank in range(BANKS):
        table = layout.tlb + bank * layout.bank_size + layout.table[FETCH]
        args = f"ptr %table_{bank}, i64 {16 * TLB_ENTRIES[FETCH]}, i64 -1, i64 16"
        lines += [f"%table_{bank} = getelementptr i8, ptr %st, i64 {table}",
                  f"call preserve_mostcc void @fill({args})"]  # fmt: skip
    return "\n".join([
        "define internal preserve_mostcc void @forget_code(ptr %st) noinline #0 {",
        "%generation = get generation",
        "%next = add i64 %generation, 1",
        "put generation, %next",
        *lines,
        "ret void",
        "}",
        "",
    ])  # fmt: skip
