"""The executable of a plan: cast once for plans of one form, then filled in for each container.

Containers of one configuration differ in few strings: cgroups, layers, a name. Operations that have
such strings say so (`personal`), and what they are without them (`form`); all others are their own
form. A form that was met before costs a copy of its bytes instead of making hundreds of rows.
"""

from auberge.container import stub
from auberge.container.light import NamedTuple, Sequence
from auberge.container.mounts import MountOverlay
from auberge.container.stage import Descriptors, Stage
from auberge.container.steps import (
    NewKeyring,
    OpenCgroups,
    Operation,
    RunHook,
    SetDomainname,
    SetHostname,
)
from auberge.container.table import ROW, ROWS, Late, capacity

MOST = 64  # forms that are kept, of some 50 KiB each
PERSONAL = (OpenCgroups, MountOverlay, NewKeyring, SetHostname, SetDomainname)


class Program(NamedTuple):
    """An executable, and of which operation each of its rows is."""

    image: bytes
    operations: Sequence[Operation]
    numbers: Sequence[int]

    def operation_of(self, address: int) -> Operation | None:
        """The operation whose row has that address; None if there is none."""
        at, rest = divmod(address - ROWS, ROW)
        if rest or not 0 <= at < len(self.numbers) or self.numbers[at] < 0:
            return None
        return self.operations[self.numbers[at]]


class Mold(NamedTuple):
    """The executable of one of its form, and where its personal strings are."""

    image: bytes
    late: tuple[Late, ...]
    data: int  # where its data are
    numbers: Sequence[int]

    def filled(self, texts: Sequence[bytes]) -> bytes:
        """The executable for these strings."""
        image = bytearray(self.image)
        for late, text in zip(self.late, texts, strict=True):
            at = self.data + late.offset
            image[at : at + 8 + late.room] = late.filled(text)
        return bytes(image)


_molds: dict[object, Mold] = {}


def program(operations: Sequence[Operation], descriptors: Descriptors) -> Program:
    """The executable that carries these operations out."""
    parts: list[object] = [descriptors]
    texts: list[bytes] = []
    for operation in operations:
        parts.append(type(operation))  # without it, operations with the same fields are the same
        if isinstance(operation, PERSONAL):
            own = [text.encode("utf-8", "surrogateescape") for text in operation.personal()]
            texts += own
            parts.append((operation.form(), *(capacity(len(text)) for text in own)))
        else:
            parts.append(operation)
    form = tuple(parts)
    mold = _molds.get(form)
    if mold is None:
        if len(_molds) >= MOST:
            _molds.clear()
        mold = _molds[form] = cast(operations, descriptors)
    return Program(mold.filled(texts), operations, mold.numbers)


def cast(operations: Sequence[Operation], descriptors: Descriptors) -> Mold:
    """The mold of the form that these operations have."""
    machine = stub.machine_name()
    hooks = any(isinstance(operation, RunHook) for operation in operations)
    stage = Stage(machine, descriptors, hooks)
    for operation in operations:
        stage.table.begin()
        operation.rows(stage)
    rows, data = stage.finish()
    image = stub.image(stub.code(), machine, rows, data)
    at = len(image) - stub.padded(len(data))
    return Mold(image, tuple(stage.table.late), at, stage.table.numbers)
