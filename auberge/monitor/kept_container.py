"""A container as its supervisor keeps it: a child process, and at its end all that it has here."""

import os
import struct

from auberge.container.light import TYPE_CHECKING
from auberge.monitor.guests import Folder
from auberge.refusal import Refusal

if TYPE_CHECKING:
    from _socket import socket as Socket

TIOCSWINSZ = 0x5414  # ioctl_tty(2), as on x86-64, aarch64 and riscv64
WINSIZE = struct.Struct("4H")


class KeptContainer:
    """See keeper.Kept. It is a child of this process, and `terminal` its master if it has one."""

    def __init__(self, folder: Folder, terminal: int) -> None:
        self._folder, self._terminal = folder, terminal
        self._record = folder.load()
        self._watch = os.pidfd_open(self._record.process.pid)

    def fileno(self) -> int:
        return self._watch

    def resize(self, rows: int, columns: int) -> None:
        import fcntl

        try:
            fcntl.ioctl(self._terminal, TIOCSWINSZ, WINSIZE.pack(rows, columns, 0, 0))
        except OSError:  # it has ended
            pass

    def stop(self) -> None:
        import signal

        from auberge.container.signals import stop_number

        try:
            signal.pidfd_send_signal(self._watch, stop_number(self._record.stop_signal))
        except ProcessLookupError:
            pass

    def answer(self, question: dict[str, object], client: "Socket") -> bool:
        return False  # whoever asks more can look himself

    def end(self) -> int:
        from auberge.monitor import roster
        from auberge.monitor.guest import make
        from auberge.monitor.options import read_options
        from auberge.monitor.supervisor import ended

        _, waited = os.waitpid(self._record.process.pid, 0)
        code = os.waitstatus_to_exitcode(waited)
        status = code if code >= 0 else 128 - code
        oom_killed, error = False, ""
        try:
            guest = make(read_options(self._record.options), self._folder.path)
            oom_killed = guest.oom_killed
        except Refusal as refusal:
            error = str(refusal)
        record = ended(self._record, status, oom_killed)._replace(error=error)
        try:
            self._folder.save(record)
            self._hang_up()
            if record.remove:
                roster.remove(self._folder)
            else:
                roster.let_go(self._folder, record)
        except (Refusal, OSError) as failure:  # `ps` finds it as it is
            if os.path.isdir(self._folder.path):  # and was not removed by others
                try:
                    self._folder.save(record._replace(error=str(failure)))
                except Refusal:  # a full disk: who waits is told all the same
                    pass
            self._hang_up()  # the last: then another guest may have the name, and a record there
        return status

    def _hang_up(self) -> None:
        """Give the socket's name up: the guest's is free as soon as the folder is gone."""
        try:
            os.unlink(self._record.socket)
        except FileNotFoundError:
            pass
