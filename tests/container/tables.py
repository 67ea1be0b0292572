"""Small static programs for containers that have no compiler: tables of system calls."""

import os

from auberge.container import stub
from auberge.container.table import Label, Slot, Table
from auberge.container.talk import FAILED


def program(path, name, *arguments, before=()):
    """An executable at `path` that makes one system call, and ends with its errno; 0 is success.

    A string among the arguments is its address. `before` has calls that may fail.
    """
    machine = os.uname().machine
    table = Table(machine)
    report, leave, errno = Label(), Label(), table.slot()

    def made(values):
        return [table.text(v) if isinstance(v, str) else v for v in values]

    for call, *values in before:
        table.attempt(call, *made(values))
    table.call(name, *made(arguments), error=leave)
    table.call("exit_group", 0)
    table.place(leave)
    # the stub has noted which row has failed, and with which errno
    table.call("choose", Slot(FAILED + 8), store=errno)
    table.call("exit_group", errno)
    table.place(report)
    table.call("exit_group", 255)
    path.write_bytes(stub.image(stub.code(), machine, *table.finish(report)))
    path.chmod(0o755)
    return path
