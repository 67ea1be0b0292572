"""The operation that makes a process's terminal (config.md, "Process", `terminal`)."""

import struct

from auberge.container import kernel as k
from auberge.container.config import Process
from auberge.container.light import NamedTuple
from auberge.container.stage import O_CLOEXEC, Stage


class OpenTerminal(NamedTuple):
    """A pseudo-terminal of the container's: its other side goes to the console socket."""

    height: int
    width: int
    uid: int
    console: bool  # whether /dev/console is it, too

    def rows(self, stage: Stage) -> None:
        """The other end is asked of the open terminal (TIOCGPTPEER), never looked up by a name."""
        table = stage.table
        strict = k.RESOLVE_IN_ROOT | k.RESOLVE_NO_SYMLINKS
        master = stage.open_inside("/dev/pts/ptmx", 2 | 0o400, resolve=strict)
        table.call("ioctl", master, k.TIOCSPTLCK, table.words(0))
        peer = table.keep("ioctl", master, k.TIOCGPTPEER, 2 | 0o400 | O_CLOEXEC)
        if self.height or self.width:
            size = struct.pack("<HHHH", self.height, self.width, 0, 0)
            table.call("ioctl", peer, k.TIOCSWINSZ, table.data(size))
        table.call("fchown", peer, self.uid, 0xFFFF_FFFF)
        table.call("fchmod", peer, 0o620)
        if self.console:
            stage.attach(stage.copy_of_open(peer), "/dev/console", directory=False)
        stage.send(stage.descriptors.console_at, master, b"/dev/ptmx")
        for stream in range(3):
            table.call("dup3", peer, stream, 0)
        table.call("ioctl", 0, k.TIOCSCTTY, 0)
        stage.close(peer, master)


def terminal_of(process: Process, console: bool) -> OpenTerminal:
    """The terminal of a process that is to have one, which /dev/console may be, too."""
    size = process.console_size
    height, width = (size.height, size.width) if size else (0, 0)
    return OpenTerminal(height, width, process.user.uid, console)
