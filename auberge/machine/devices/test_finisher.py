"""SiFive's test finisher: how a guest ends the machine, with a code or to begin again."""

from collections.abc import Callable, Mapping
from typing import NamedTuple

from auberge.machine.device import Property

PASS = 0x5555
FAIL = 0x3333
RESET = 0x7777


class FinisherState(NamedTuple):
    """Nothing: what is written here acts at once."""


NOTHING = FinisherState()


class TestFinisher:
    """One register: 0x5555 ends with code 0, 0x3333 with the code in bits 31:16, 0x7777 resets.

    Source: hw/misc/sifive_test.c of QEMU; Linux reaches it through the syscon-poweroff and
    syscon-reboot nodes, which point here and belong to the board.
    """

    __slots__ = ("_on_exit", "_on_reset")

    size = 0x1000
    widths = frozenset({2, 4})
    compatible = ("sifive,test1", "sifive,test0", "syscon")

    def __init__(
        self,
        on_exit: Callable[[int], None],
        on_reset: Callable[[], None],
        state: FinisherState = NOTHING,
    ) -> None:
        self._on_exit = on_exit
        self._on_reset = on_reset

    @property
    def state(self) -> FinisherState:
        return FinisherState()

    def properties(self) -> Mapping[str, Property]:
        return {}

    def read(self, offset: int, width: int) -> int:
        return 0

    def write(self, offset: int, width: int, value: int) -> None:
        if offset != 0:
            return
        command = value & 0xFFFF
        if command == PASS:
            self._on_exit(0)
        elif command == FAIL:
            self._on_exit(value >> 16)
        elif command == RESET:
            self._on_reset()
