"""Native code that fetches: from the pc to a page of records, and from a record to its handler.

In LLVM text as `llvm_text.expand` reads it; `records` says what a page of records holds.
"""

from __future__ import annotations

from auberge.engine.exits import BREAKPOINT, FULL, NEW_CODE
from auberge.engine.llvm_text import LIKELY, MEMORY, RARE, STATE
from auberge.engine.records import (
    LAST,
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
# The first 2 bytes of the instruction of the record at `here`, from the copy of its page.
PARCEL = f"""
    %in_page = and i64 %here, {PAGE_OF_RECORDS - 1}
    %byte = lshr i64 %in_page, 3
    %page_address = and i64 %here, {-PAGE_OF_RECORDS}
    %page = inttoptr i64 %page_address to ptr
    %copy = getelementptr i8, ptr %page, i64 {SNAPSHOT}
    %code = getelementptr i8, ptr %copy, i64 %byte
    %low = load i16, ptr %code, align 2
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

# What a record holds before anyone came by: decode it, and execute it.
#
# While there are breakpoints, a record as far into its page as one of them is stays undecoded, so
# that whoever comes by, by whatever virtual address, comes here; it executes by `once`.
UNDECODED = f"""
handler @undecoded {{
entry:
    {PC}
    {PARCEL}
    %count = get breakpoint_count
    %free = icmp eq i64 %count, 0
    br i1 %free, label %begin, label %debugged, {LIKELY}
debugged:
    %list_address = get breakpoints
    %list = inttoptr i64 %list_address to ptr
    br label %each
each:
    %i = phi i64 [ 0, %debugged ], [ %j, %another ]
    %near = phi i1 [ false, %debugged ], [ %nearer, %another ]
    %item = getelementptr i64, ptr %list, i64 %i
    %breakpoint = load i64, ptr %item
    %difference = xor i64 %breakpoint, %pc
    %hit = icmp eq i64 %difference, 0
    br i1 %hit, label %stop, label %another
stop:
    %passed = get passed
    %odd = or i64 %pc, 1
    %told = icmp eq i64 %passed, %odd
    br i1 %told, label %pass, label %tell
tell:
    put pc, %pc
    exit {BREAKPOINT}
pass:
    put passed, 0
    br label %another
another:
    %far = and i64 %difference, 4095
    %is_near = icmp eq i64 %far, 0
    %nearer = or i1 %near, %is_near
    %j = add i64 %i, 1
    %more = icmp ult i64 %j, %count
    br i1 %more, label %each, label %begin
begin:
    %once = phi i1 [ false, %entry ], [ %nearer, %another ]
    %two_bits = and i16 %low, 3
    %is_wide = icmp eq i16 %two_bits, 3
    br i1 %is_wide, label %wide, label %narrow
narrow:
    %word_2 = zext i16 %low to i32
    br label %decode
wide:
    %at_end = icmp eq i64 %byte, 4094
    br i1 %at_end, label %crossing, label %inside
crossing:
    br i1 %once, label %cross, label %always, {RARE}
always:
    store ptr @crossing, ptr %rec
    br label %cross
cross:
    jump @crossing
inside:
    %word_4 = load i32, ptr %code, align 2
    br label %decode
decode:
    %word = phi i32 [ %word_2, %narrow ], [ %word_4, %inside ]
    br i1 %once, label %execute, label %keep, {RARE}
keep:
    call preserve_mostcc void @decode(i32 %word, ptr %rec)
    %f = load ptr, ptr %rec
    jump %f
execute:
    jump @once
}}
"""

# The instruction of this record and no other, whatever the record says: decoded once more, it
# executes from the debug page, which like the scratch page has no other instruction.
ONCE = f"""
handler @once {{
    {PC}
    {PARCEL}
    %two_bits = and i16 %low, 3
    %is_wide = icmp eq i16 %two_bits, 3
    br i1 %is_wide, label %wide, label %narrow
narrow:
    %word_2 = zext i16 %low to i32
    br label %decode
wide:
    %word_4 = load i32, ptr %code, align 2
    br label %decode
decode:
    %word = phi i32 [ %word_2, %narrow ], [ %word_4, %wide ]
    %debug = get debug_page
    %debug_records = inttoptr i64 %debug to ptr
    %debug_code = getelementptr i8, ptr %debug_records, i64 {SNAPSHOT}
    %debug_word = getelementptr i8, ptr %debug_code, i64 %byte
    store i32 %word, ptr %debug_word, align 2
    %record = getelementptr i8, ptr %debug_records, i64 %in_page
    call preserve_mostcc void @decode(i32 %word, ptr %record)
    %f = load ptr, ptr %record
    store ptr @cross, ptr %record
    %tag = and i64 %pc, -4096
    %times_8 = shl i64 %tag, 3
    %debug_bias = sub i64 %debug, %times_8
    jump %f, rec: %record, bias: %debug_bias
}}
"""

# Four bytes across two pages: fetched each time, since the second page is translated by itself.
# They execute from a page of records of their own, in which all but the last lead out.
CROSSING = f"""
handler @crossing {{
    {PC}
    {PARCEL}
    %va = add i64 %pc, 2
    {TRANSLATE_FETCH}
trap:
    jump @trapped
good:
    %addend = get ram_addend
    %high_address = add i64 %pa, %addend
    %high_pointer = inttoptr i64 %high_address to ptr
    %high = load volatile i16, ptr %high_pointer, align 2, {MEMORY}
    %low_32 = zext i16 %low to i32
    %high_32 = zext i16 %high to i32
    %high_up = shl i32 %high_32, 16
    %word = or i32 %high_up, %low_32
    %scratch = get scratch
    %scratch_page = inttoptr i64 %scratch to ptr
    %scratch_word = getelementptr i8, ptr %scratch_page, i64 {SNAPSHOT + 4094}
    %last = getelementptr i8, ptr %scratch_page, i64 {LAST}
    %decoded = load i32, ptr %scratch_word, align 2
    %same = icmp eq i32 %decoded, %word
    br i1 %same, label %go, label %decode
decode:
    store i32 %word, ptr %scratch_word, align 2
    call preserve_mostcc void @decode(i32 %word, ptr %last)
    br label %go
go:
    %tag = and i64 %pc, -4096
    %times_8 = shl i64 %tag, 3
    %new_bias = sub i64 %scratch, %times_8
    %f = load ptr, ptr %last
    jump %f, rec: %last, bias: %new_bias
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

# Make the scratch page that `crossing` executes from.
PREPARE = f"""
define void @prepare(ptr %st, ptr %page) #0 {{
    %cross = ptrtoint ptr @cross to i64
    call preserve_mostcc void @fill(ptr %page, i64 {RECORD * RECORDS}, i64 %cross, i64 {RECORD})
    %word = getelementptr i8, ptr %page, i64 {SNAPSHOT + 4094}
    store i32 0, ptr %word, align 2
    %last = getelementptr i8, ptr %page, i64 {LAST}
    store ptr @h_unknown_4, ptr %last
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
