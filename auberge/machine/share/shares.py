"""All folders that a machine shares: opened once, and served anew after each reset."""

import os
import resource
import time
from collections.abc import Sequence

from auberge.machine.share.folder import Folder
from auberge.machine.share.owners import Owners
from auberge.machine.share.session import Session
from auberge.machine.share.volume import Volume, parse_volumes
from auberge.machine.virtio.ninep import Counts, Ninep

MOST_FIDS = 1 << 14
"""Of all sessions together; never more than half of the descriptors that this process may have."""


DESCRIPTORS = 1 << 16
"""As many as a process that shares folders asks for: a guest's open files are its own, too."""


def allow_descriptors() -> None:
    """Let this process have as many files open as it is allowed to, and may need."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    most = DESCRIPTORS if hard == resource.RLIM_INFINITY else min(DESCRIPTORS, hard)
    if soft != resource.RLIM_INFINITY and soft < most:
        resource.setrlimit(resource.RLIMIT_NOFILE, (most, hard))


class Shares:
    """What `volumes` say, as `-v` takes them; raises Refusal for what cannot be shared."""

    def __init__(self, volumes: Sequence[str]) -> None:
        self.counts = Counts()
        self._sessions: list[tuple[Volume, Session]] = []
        self._folders: list[Folder] = []
        owners = Owners(os.geteuid(), os.getegid())
        descriptors, _ = resource.getrlimit(resource.RLIMIT_NOFILE)
        most = min(MOST_FIDS, descriptors // 2) // max(len(volumes), 1)
        try:
            for volume in parse_volumes(volumes):
                folder = Folder(volume.host, volume.read_only, owners)
                self._folders.append(folder)
                self._sessions.append((volume, Session(folder, owners, most)))
        except BaseException:
            self.close()
            raise

    def devices(self) -> list[Ninep]:
        """A device for each folder, in the order in which a guest has to mount them."""
        return [
            Ninep(session, volume.tag, self.counts, time.perf_counter_ns)
            for volume, session in self._sessions
        ]

    def close(self) -> None:
        """Give back what it has of the host."""
        for _, session in self._sessions:
            session.close()
        for folder in self._folders:
            folder.close()
        self._sessions, self._folders = [], []
