"""What a container has on the host beside its files, found by its guest's folder alone.

So it can be taken away when the container has ended but is kept, and when its record is damaged.
"""

import os

from auberge.container.record import names
from auberge.container.runtime import Container
from auberge.refusal import Refusal

RUNTIME = "runtime"  # in the guest's folder: see guest.py


def let_go(folder: str) -> list[str]:
    """End it if it runs, and take away its processes, cgroups and network; its files stay. The ids
    of what was there. Raises Refusal."""
    runtime = os.path.join(folder, RUNTIME)
    found = names(runtime)
    for name in found:
        # most have been taken away by now, and then this needs not be imported
        from auberge.container.network import disconnect_by_name

        Container(runtime, name).delete(force=True)
        disconnect_by_name("user", name)
        if os.geteuid() == 0:
            disconnect_by_name("bridge", name)
    return found


def is_paused(folder: str, name: str) -> bool:
    """Whether the container of that id is frozen."""
    try:
        container = Container(os.path.join(folder, RUNTIME), name)
        return container.folder.exists() and container.is_frozen(container.record())
    except Refusal:
        return False


def first_process(folder: str, name: str) -> tuple[int, int, str]:
    """The number of its first process, when it began and at which start of the host, whoever waits
    for it; zeros if it has none."""
    try:
        container = Container(os.path.join(folder, RUNTIME), name)
        if container.folder.exists():
            record = container.record()
            if record.pid and container.status(record) != "stopped":
                return record.pid, record.start_time, record.boot
    except Refusal:
        pass
    return 0, 0, ""
