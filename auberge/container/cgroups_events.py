"""Being told when the kernel kills for lack of memory, without asking again and again."""

import os
from select import POLLERR, POLLIN, POLLPRI, poll

from auberge.container.cgroups_files import write
from auberge.container.cgroups_layout import Node
from auberge.container.cgroups_stats import oom_kills
from auberge.container.light import Sequence
from auberge.refusal import Refusal, reason


class OomWatch:
    """A descriptor that becomes ready when a container's memory is out.

    v1 has an eventfd (memory.rst, "OOM Control"), v2 the file memory.events, which poll(2) reports
    as POLLPRI when it has changed (cgroup-v2.rst, "Memory Interface Files").
    """

    def __init__(self, nodes: Sequence[Node]) -> None:
        """Raises Refusal if nothing counts this container's memory."""
        self._nodes = tuple(nodes)
        node = next((node for node in nodes if "memory" in node.controllers), None)
        if node is None:
            raise Refusal("events: this host has no cgroup controller memory; OOM is not reported")
        self._counting = node.version == 1
        self.events = POLLIN if self._counting else POLLPRI | POLLERR
        """What to ask poll(2) for."""
        try:
            self._fd = _eventfd(node) if self._counting else _open(node.file("memory.events"))
        except OSError as error:
            why = reason(error)
            raise Refusal(f"{node.path}: {why}; the container is gone, delete it") from None
        self._seen = self.kills()
        self._read()

    def fileno(self) -> int:
        """For poll(2)."""
        return self._fd

    def kills(self) -> int:
        """How many processes were killed until now."""
        return oom_kills(self._nodes)

    def wait(self, seconds: float | None = None) -> bool:
        """Whether the kernel has reported, within that time, that memory is out."""
        waiting = poll()
        waiting.register(self._fd, self.events)
        if not waiting.poll(None if seconds is None else seconds * 1000):
            return False
        return self.take()

    def take(self) -> bool:
        """Whether memory has been out since the last time; to be asked when the descriptor is
        ready. In v1 the end of the cgroup makes it ready, too."""
        reported = self._read()
        kills = self.kills()
        grown, self._seen = kills > self._seen, kills
        alive = os.path.exists(
            next(node.path for node in self._nodes if "memory" in node.controllers)
        )
        return grown or (reported and self._counting and alive)

    def close(self) -> None:
        """Give the descriptor back."""
        os.close(self._fd)

    def _read(self) -> bool:
        """Take what has been reported, so that poll waits for the next."""
        if self._counting:
            try:
                return os.eventfd_read(self._fd) > 0
            except BlockingIOError:
                return False
        try:
            return bool(os.pread(self._fd, 4096, 0))
        except OSError:  # ENODEV: the cgroup is gone
            return False


def _open(path: str) -> int:
    return os.open(path, os.O_RDONLY | os.O_CLOEXEC)


def _eventfd(node: Node) -> int:
    """An eventfd that the kernel counts up for `node`."""
    event = os.eventfd(0, os.EFD_CLOEXEC | os.EFD_NONBLOCK)
    try:
        control = _open(node.file("memory.oom_control"))
        try:
            write(node.file("cgroup.event_control"), f"{event} {control}")
        finally:
            os.close(control)
    except OSError:
        os.close(event)
        raise
    return event
