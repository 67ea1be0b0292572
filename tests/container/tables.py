"""Small static programs for containers that have no compiler: tables of system calls."""

import os

from auberge.container import stub
from auberge.container.table import Label, Slot, Table
from auberge.container.talk import FAILED


def program(path, name, *arguments):
    """An executable at `path` that makes one system call, and ends with its errno; 0 is success.

    A string among the arguments is its address.
    """
    machine = os.uname().machine
    table = Table(machine)
    report, leave, errno = Label(), Label(), table.slot()

    values = [table.text(each) if isinstance(each, str) else each for each in arguments]
    table.call(name, *values, error=leave)
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
