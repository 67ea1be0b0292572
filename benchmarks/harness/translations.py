"""What a start leaves to be translated after it."""

import fcntl
import os
import time

from auberge.engine import cache
from auberge.engine.code_folder import REGIONS

QUIET, LONGEST = 1.0, 60.0  # seconds: without a new region, the compiler has finished; it has to


def await_compiler() -> None:
    """Wait until what was left to the compiler is in the cache."""
    folder, deadline = cache.folder(), time.monotonic() + LONGEST
    path = os.path.join(folder, f"{REGIONS}-{cache.key()}")
    size, since = -1, time.monotonic()
    while time.monotonic() < deadline and time.monotonic() - since < QUIET:
        time.sleep(0.1)
        now = os.path.getsize(path) if os.path.exists(path) else 0
        if now != size:
            size, since = now, time.monotonic()
    fd = os.open(folder, os.O_RDONLY)
    fcntl.flock(fd, fcntl.LOCK_EX)  # it holds that while it works
    os.close(fd)
