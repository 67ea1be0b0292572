"""What a machine counted, for people who want to know where the time went."""

from typing import NamedTuple

from auberge.machine.translated import together, translator_rows
from auberge.machine.vcpu import Measured


class Statistics(NamedTuple):
    """Of all runs of a machine, summed over its harts: `native_ns` in engines, `python_ns` serving
    their exits; a hart that sleeps is in neither."""

    instructions: int = 0
    tlb_misses: int = 0
    native_ns: int = 0
    python_ns: int = 0
    exits: dict[str, int] = {}
    accesses: dict[str, int] = {}
    network: dict[str, int] = {}
    folders: dict[str, int] = {}
    disks: dict[str, int] = {}
    translator: dict[str, int] = {}

    def plus(self, counted: dict[str, int]) -> "Statistics":
        """With what an engine counted."""
        return self._replace(
            translator=together(self.translator, counted) if "slices" in counted else {},
            instructions=self.instructions + counted.get("instructions", 0),
            tlb_misses=self.tlb_misses + counted.get("tlb_misses", 0),
        )

    def plus_exits(self, engine: Measured) -> "Statistics":
        """With what was measured of an engine."""
        exits = dict(self.exits)
        for name, count in engine.exits.items():
            exits[name] = exits.get(name, 0) + count
        return self._replace(
            exits=exits,
            native_ns=self.native_ns + engine.inside_ns,
            python_ns=self.python_ns + engine.between_ns,
        )

    @property
    def mips(self) -> float:
        """Million instructions per second of native code."""
        return 1000 * self.instructions / self.native_ns if self.native_ns else 0.0

    def _network_rows(self) -> list[tuple[str, str]]:
        packets = self.network.get("sent", 0) + self.network.get("received", 0)
        return _rows(self.network, "packet", packets)

    def _disk_rows(self) -> list[tuple[str, str]]:
        return _rows(self.disks, "request", self.disks.get("requests", 0))

    def _folder_rows(self) -> list[tuple[str, str]]:
        return _rows(self.folders, "request", self.folders.get("requests", 0))

    def lines(self) -> list[str]:
        """A table to print."""
        exits = sorted(self.exits.items(), key=lambda item: -item[1])
        accesses = sorted(self.accesses.items(), key=lambda item: -item[1])
        rows = [
            ("instructions", f"{self.instructions:,}"),
            ("MIPS", f"{self.mips:,.1f}"),
            ("TLB misses", f"{self.tlb_misses:,}"),
            ("in native code", f"{self.native_ns / 1e9:,.3f} s"),
            ("in Python", f"{self.python_ns / 1e9:,.3f} s"),
            *translator_rows(self.translator),
            *((f"exits {name}", f"{count:,}") for name, count in exits),
            *((f"accesses {name}", f"{count:,}") for name, count in accesses if count),
            *((f"disks {name}", text) for name, text in self._disk_rows()),
            *((f"network {name}", text) for name, text in self._network_rows()),
            *((f"folders {name}", text) for name, text in self._folder_rows()),
        ]
        return [f"{name:32}{value:>20}" for name, value in rows]


def _rows(counted: dict[str, int], what: str, times: int) -> list[tuple[str, str]]:
    """What a device counted, and the time in Python that each of the `times` took."""
    if not counted:
        return []
    each = counted["python_ns"] / times / 1000 if times else 0.0
    return [
        *((name, f"{count:,}") for name, count in counted.items() if name != "python_ns"),
        (f"Python per {what}", f"{each:,.1f} us"),
    ]
