"""The table of system calls that the native stub runs between a clone and an exec.

A row is one system call with what follows it; stub.py says how a row is run. Rows and data have
fixed addresses, since the stub has an address space of its own: pointers are plain numbers here.
"""

import struct

from auberge.container.kernel import SYSCALLS
from auberge.container.light import NamedTuple
from auberge.container.talk import DATA, MESSAGE, ROW, ROWS, Late, capacity
from auberge.refusal import Refusal

LIMIT = (DATA - ROWS) // ROW
CHOOSE = -1  # no system call: its result is the first argument
WORD = (1 << 64) - 1


class Slot(NamedTuple):
    """Where the result of a row is kept; as an argument, its value when the row is run."""

    address: int


class Label:
    """A place in the table to go to, known once `Table.place` has met it."""

    def __init__(self) -> None:
        self.row = -1


class Table:
    """Rows in the making: `call` and `keep` append one, `text` and `data` place what they need."""

    def __init__(self, machine: str) -> None:
        self._numbers = SYSCALLS[machine] | {"choose": CHOOSE & WORD}
        self._rows: list[
            tuple[int, int, list[int], int, Label | None, Label | None, Label | None]
        ] = []
        self.numbers: list[int] = []  # which operation each row is of, from 0; -1 for none
        self._operation = -1
        self._data = bytearray(MESSAGE)
        self._texts: dict[bytes, int] = {}
        self.late: list[Late] = []

    def begin(self) -> None:
        """The rows to come carry out the next operation: a failure is told by its name."""
        self._operation += 1

    def text(self, text: str | bytes) -> int:
        """The address of a string of the kernel's."""
        raw = text.encode("utf-8", "surrogateescape") if isinstance(text, str) else text
        try:
            return self._texts[raw]
        except KeyError:
            found = self._texts[raw] = self.data(raw + b"\0")
            return found

    def personal(self, text: str) -> int:
        """The address of a string that is another in each table of this form (mold.py).

        The word before it is its length, so that `Slot(address - 8)` is that.
        """
        raw = text.encode("utf-8", "surrogateescape")
        late = Late(len(self._data), capacity(len(raw)))
        self.late.append(late)
        return self.data(late.filled(raw)) + 8

    def data(self, content: bytes) -> int:
        """The address of these bytes, which rows may change; a multiple of 8."""
        data = self._data
        at = DATA + len(data)
        data += content
        if len(content) & 7:
            data += bytes(-len(content) & 7)
        return at

    def words(self, *values: int) -> int:
        """The address of 64-bit words: of a structure of the kernel's, or an array of pointers."""
        return self.data(b"".join([(v & WORD).to_bytes(8, "little") for v in values]))

    def slot(self, value: int = 0) -> Slot:
        """A slot with that value."""
        return tuple.__new__(Slot, (self.data((value & WORD).to_bytes(8, "little")),))

    def call(
        self,
        name: str,
        *arguments: int | Slot,
        store: Slot | None = None,
        next: Label | None = None,
        zero: Label | None = None,
        error: Label | None = None,
    ) -> None:
        """One system call: where to go after it, if that is not the next row.

        `zero` is for the result 0, `error` for an error, which ends everything otherwise.
        """
        slots = 0
        values = [0, 0, 0, 0, 0, 0]
        for at, argument in enumerate(arguments):
            if isinstance(argument, int):
                values[at] = argument & WORD
            else:
                slots |= 1 << at
                values[at] = argument[0]
        self._rows.append(
            (self._numbers[name], slots, values, store[0] if store else 0, next, zero, error)
        )
        self.numbers.append(self._operation)

    def keep(
        self,
        name: str,
        *arguments: int | Slot,
        zero: Label | None = None,
        error: Label | None = None,
    ) -> Slot:
        """One system call whose result is kept."""
        slot = self.slot()
        self.call(name, *arguments, store=slot, zero=zero, error=error)
        return slot

    def attempt(self, name: str, *arguments: int | Slot) -> None:
        """One system call that may fail."""
        after = Label()
        self.call(name, *arguments, error=after)
        self.place(after)

    def go(self, to: Label) -> None:
        """Go on there."""
        self.call("choose", 0, next=to)

    def unless(self, slot: Slot, to: Label) -> None:
        """Go there if the slot's value is 0."""
        self.call("choose", slot, zero=to)

    def place(self, label: Label) -> None:
        """The label is the row to come."""
        label.row = len(self._rows)

    def finish(self, report: Label) -> tuple[bytes, bytes]:
        """The rows and the data, as bytes; an error that nobody expects leads to `report`."""
        if len(self._rows) > LIMIT:
            raise Refusal(
                f"config.json: asks for {len(self._rows)} system calls, and {LIMIT} are the most; "
                "take some mounts or paths out"
            )
        pack = struct.Struct("<12Q").pack
        failing = _address(report)
        rows = []
        here = ROWS
        for number, slots, values, store, next, zero, error in self._rows:
            here += ROW
            rows.append(
                pack(
                    number, slots, *values, store,
                    here if next is None else _address(next),
                    0 if zero is None else _address(zero),
                    failing if error is None else _address(error),
                )
            )  # fmt: skip
        return b"".join(rows), bytes(self._data)


def _address(label: Label) -> int:
    assert label.row >= 0, "a label was never placed"
    return ROWS + label.row * ROW
