"""All cgroups of this host, for tests that look for what was left."""

import os
from collections.abc import Iterator


def cgroup_folders() -> Iterator[str]:
    """The path of each, however deep others nest theirs (`os.walk` recurses), if it stays there."""
    todo = ["/sys/fs/cgroup"]
    while todo:
        folder = todo.pop()
        try:
            with os.scandir(folder) as entries:
                below = [entry.path for entry in entries if entry.is_dir(follow_symlinks=False)]
        except OSError:
            continue
        todo += below
        yield from below
