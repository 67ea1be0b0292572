"""A hart on its own, as an operating system has it: S-mode or U-mode, Sv39 with pages of 4 KiB."""

import statistics
import struct
import time
from collections.abc import Callable

from auberge.engine.choose import choose
from auberge.engine.clock import Clock, HostClock
from auberge.engine.exits import Spent
from auberge.isa.assembler import assemble
from auberge.isa.riscv.rv64 import rv64
from auberge.memory.ram import Ram

U, S = 0, 1
RAM, SIZE = 0x8000_0000, 64 << 20
VIRTUAL = 0x4000_0000  # where the program sees the first byte of RAM
ROOT, MIDDLE, LEAVES = RAM + SIZE - 0x10_0000, RAM + SIZE - 0xF_F000, RAM + SIZE - 0xF_E000
DATA = VIRTUAL + 0x20_0000
SV39 = 8 << 60
VALID, RWX, USER, ACCESSED_DIRTY = 1, 0xE, 0x10, 0xC0
SIE = 1 << 1
ENABLED = 0x222  # sie: software, timer and external interrupts


class Running:
    """A program in a hart that runs with paging, a budget, enabled interrupts and a timer set."""

    def __init__(
        self, text: str, engine: str = "interpreter", clock: Clock | None = None, mode: int = S
    ) -> None:
        kind = choose(engine)
        self.ram = Ram(RAM, SIZE)
        self.hart = kind.hart(0)
        self.clock = HostClock() if clock is None else clock
        self.engine = kind.engine(self.hart, self.ram, self.clock)
        self.ram.write(RAM, assemble(rv64, text, VIRTUAL))
        user = USER if mode == U else 0
        self._map(user)
        cells = {
            "pc": VIRTUAL, "priv": mode, "satp": SV39 | ROOT >> 12, "medeleg": 1 << 8,
            "mideleg": ENABLED, "mie": ENABLED, "menvcfg": 1 << 63, "mstatus": 0x6000 | SIE,
            "stimecmp": self.clock.ticks() + (1 << 50), "hosted": 1,
            "pmpcfg0": 0x1F, "pmpaddr0": (1 << 54) - 1,
        }  # fmt: skip
        for name, value in cells.items():
            self.hart[name] = value
        self.hart.request("sfence")

    def _map(self, user: int) -> None:
        """The first 32 MiB of RAM at VIRTUAL; for user mode, all but the page at 0x1000."""
        bits = VALID | RWX | ACCESSED_DIRTY
        self.ram.write(ROOT + 8 * (VIRTUAL >> 30), struct.pack("<Q", MIDDLE >> 2 | VALID))
        for table in range(16):
            entry = struct.pack("<Q", (LEAVES + 4096 * table) >> 2 | VALID)
            self.ram.write(MIDDLE + 8 * table, entry)
        for page in range(16 * 512):
            own = 0 if page == 1 else user
            leaf = struct.pack("<Q", (RAM + 4096 * page) >> 2 | bits | own)
            self.ram.write(LEAVES + 8 * page, leaf)

    def retire(self, count: int) -> float:
        """Seconds of CPU that exactly `count` instructions take."""
        begin = time.thread_time()
        end = self.engine.run(count)
        spent = time.thread_time() - begin
        if end != Spent():
            raise RuntimeError(f"a benchmark ended with {end}")
        return spent


def mips(make: Callable[[], Running], count: int, times: int) -> float:
    """Million instructions per second of CPU: the median of `times` measurements."""
    running = make()
    running.retire(count // 10)
    return statistics.median(count / running.retire(count) / 1e6 for _ in range(times))
