"""Decoded code: one record for each 2 bytes of a page of guest code.

A record of an instruction holds the address of its handler and, from byte 8, its operands. Pages
of records are aligned to their size: the record of `pc` is at `8 * pc + bias`, and `pc` is known
from the record. Each page keeps a copy of the code it was decoded from: that is what executes,
compared with memory again after a `fence.i`.
"""

RECORD = 16  # bytes
RECORDS_OF_CODE = 2048 * RECORD  # bytes of a page's records: one for each 2 bytes of code
RECORDS = 2050  # of a page: two more lead from its end to the next page
SNAPSHOT = 32832  # where a page of records keeps the code it was decoded from
META = 36992  # the generation at which that was compared, and the page's slot in `code_pages`
SLOT = META + 8
PAGE_OF_RECORDS = 65536  # bytes of address space; what is touched of it is 37 KiB
LAST = 8 * 4094  # the record of the last 2 bytes of a page

# Within a record:
IMMEDIATE = 8  # 32 bits, sign-extended; if there is none, small operands begin here
SMALL = 12
