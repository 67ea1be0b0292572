"""Operations on the container's filter of system calls (seccomp(2), seccomp_unotify(2))."""

import struct

from auberge.container import kernel as k
from auberge.container.light import NamedTuple
from auberge.container.stage import Stage
from auberge.container.talk import LISTENS


class Filter(NamedTuple):
    """A seccomp filter (seccomp(2)): a program of the kernel's, and flags."""

    program: bytes
    flags: int = 0
    asks: bool = False  # whether it has a listener (seccomp_unotify(2)), which HandOver hands over

    def rows(self, stage: Stage) -> None:
        """struct sock_fprog: how many instructions, and where."""
        table = stage.table
        length, at = len(self.program) // 8, table.data(self.program)
        table.call(
            "seccomp", k.SECCOMP_SET_MODE_FILTER, self.flags,
            table.data(struct.pack("<HxxxxxxQ", length, at)), store=stage.listener,
        )  # fmt: skip


class HandOver(NamedTuple):
    """Send the listener of the filter to the runtime, and keep nothing of it."""

    def rows(self, stage: Stage) -> None:
        """One call that the filter must let pass: nobody could answer for it yet.

        Closed at once: a process that holds its own listener waits for ever for an agent that died.
        """
        message = struct.pack("<QQ", LISTENS, 0)
        stage.send(stage.descriptors.tell_at, stage.listener, message)
        stage.table.attempt("close", stage.listener)
