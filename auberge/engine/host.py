"""What the host's processor offers to generated code."""

from __future__ import annotations

import os
from typing import NamedTuple

# Features that change which instructions LLVM may use; /proc/cpuinfo names them so.
WANTED = {
    "x86_64": {"fma": "fma", "bmi1": "bmi", "bmi2": "bmi2", "popcnt": "popcnt", "abm": "lzcnt",
               "sse4_1": "sse4.1", "movbe": "movbe"},
    "aarch64": {"atomics": "lse"},
}  # fmt: skip


class Host(NamedTuple):
    """A kind of processor, in LLVM's words."""

    machine: str
    cpu: str
    features: tuple[str, ...]

    @classmethod
    def ours(cls) -> Host:
        """The one we run on."""
        machine = os.uname().machine
        with open("/proc/cpuinfo", encoding="ascii", errors="replace") as info:
            line = next((line for line in info if line.startswith(("flags", "Features"))), "")
        present = set(line.split())
        wanted = WANTED.get(machine, {})
        features = tuple(ours for theirs, ours in wanted.items() if theirs in present)
        return cls(machine, "x86-64" if machine == "x86_64" else "generic", features)

    @property
    def fuses(self) -> bool:
        """Whether a fused multiply-add is one instruction here."""
        return self.machine != "x86_64" or "fma" in self.features
