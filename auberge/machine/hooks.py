"""Python functions that are called when a hart comes to an address."""

import threading
from collections.abc import Callable, Collection

from auberge.machine.vcpu import Vcpu

Call = Callable[[Vcpu], None]


class Hooks:
    """Functions by virtual address: each is called before the instruction there, once each time.

    They are called one at a time, by the thread of the hart. `stale` is set when the addresses have
    changed and harts that execute have not been told.
    """

    def __init__(self) -> None:
        self._calls: dict[int, tuple[Call, ...]] = {}
        self._one = threading.Lock()
        self._told: dict[int, tuple[int, int]] = {}  # by hart: where, at which of its instructions
        self._inside: tuple[int, Vcpu] | None = None
        self.stale = False

    @property
    def addresses(self) -> Collection[int]:
        """Where there is something to call."""
        return self._calls.keys()

    def add(self, address: int, call: Call) -> None:
        """Call this too, after what is called there already."""
        self._calls[address] = (*self._calls.get(address, ()), call)

    def remove(self, address: int, call: Call) -> None:
        """Call this no longer; it need not be there."""
        calls = tuple(each for each in self._calls.get(address, ()) if each != call)
        if calls:
            self._calls[address] = calls
        else:
            self._calls.pop(address, None)

    def forget_harts(self) -> None:
        """There are new harts: the machine was reset."""
        self._told.clear()

    @property
    def inside(self) -> Vcpu | None:
        """The hart for which the calling thread is inside a function."""
        inside = self._inside
        return inside[1] if inside is not None and inside[0] == threading.get_ident() else None

    def call(self, vcpu: Vcpu) -> None:
        """Call what is to be called where the hart is, unless it was told before.

        A function may move the hart: then those after it are not called, and nothing is executed.
        """
        hart = vcpu.hart
        here = hart["pc"], hart["spent"]
        if here[0] not in self._calls or self._told.get(vcpu.hartid) == here:
            return
        with self._one:
            self._inside = threading.get_ident(), vcpu
            try:
                for call in self._calls.get(here[0], ()):
                    call(vcpu)
                    if hart["pc"] != here[0]:
                        return
            finally:
                self._inside = None
        self._told[vcpu.hartid] = here
