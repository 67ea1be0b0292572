"""The executable of a plan: cast once for plans of one form, then filled in for each container.

Containers of one configuration differ in few strings: cgroups, layers, a name. Operations that have
such strings say so (`personal`), and what they are without them (`form`); all others are their own
form. A form that was met before costs a copy of its bytes instead of making hundreds of rows.
"""

from auberge.container import stub
from auberge.container.carry import Program
from auberge.container.light import Sequence
from auberge.container.mounts import Bind, MountOverlay
from auberge.container.stage import Stage
from auberge.container.steps import (
    Execute,
    FindProgram,
    NewKeyring,
    OpenCgroups,
    Operation,
    RunHook,
    SetDomainname,
    SetHostname,
)
from auberge.container.talk import Descriptors, Mold, capacity

MOST = 64  # forms that are kept, of some 50 KiB each
PERSONAL = (
    OpenCgroups, MountOverlay, Bind, NewKeyring, SetHostname, SetDomainname, FindProgram, Execute,
)  # fmt: skip


_molds: dict[object, Mold] = {}


def program(operations: Sequence[Operation], descriptors: Descriptors) -> Program:
    """The executable that carries these operations out."""
    mold, texts = mold_of(operations, descriptors)
    return Program(mold.filled(texts), mold.numbers, lambda: operations)


def mold_of(operations: Sequence[Operation], descriptors: Descriptors) -> tuple[Mold, list[bytes]]:
    """The mold for these operations, and their own strings."""
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
    return mold, texts


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
    return Mold(image, tuple(stage.table.late), at, tuple(stage.table.numbers))
