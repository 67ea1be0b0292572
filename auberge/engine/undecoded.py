"""Records that nobody has decoded, or that do not say what to execute: native code that decodes.

In LLVM text as `llvm_text.expand` reads it.
"""

from __future__ import annotations

from auberge.engine.exits import BREAKPOINT
from auberge.engine.fetch import PC, TRANSLATE_FETCH
from auberge.engine.llvm_text import LIKELY, MEMORY, RARE
from auberge.engine.records import LAST, PAGE_OF_RECORDS, RECORD, RECORDS, SNAPSHOT

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

# An instruction that begins with `low` is that, as `word_2` on at `decode`; or goes on, at `wide`.
NARROW_OR_WIDE = """
    %two_bits = and i16 %low, 3
    %is_wide = icmp eq i16 %two_bits, 3
    br i1 %is_wide, label %wide, label %narrow
narrow:
    %word_2 = zext i16 %low to i32
    br label %decode
wide:
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
    {NARROW_OR_WIDE}
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
    {NARROW_OR_WIDE}
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
