"""Whose files are whose: users of the host as a guest sees them, and back."""

from errno import EPERM
from typing import NamedTuple

from auberge.machine.share.messages import refused

NOBODY = 65534
"""Whom a guest sees as the owner of what belongs to neither it nor us: overflowuid (proc(5))."""

_MOST_ID = 0xFFFF_FFFE  # the one above means "unchanged" to chown(2)


class Owner(NamedTuple):
    """A user and a group."""

    uid: int
    gid: int


class Owners:
    """Ids of host files in a guest's terms.

    Where we are root they are the same. Else we are a user whose files are the guest's root's, as
    in a rootless container; everyone else is nobody, and what the guest creates is ours.
    """

    __slots__ = ("_gid", "_uid", "are_kept")

    def __init__(self, uid: int, gid: int) -> None:
        self._uid = uid
        self._gid = gid
        self.are_kept = uid == 0

    def seen(self, uid: int, gid: int) -> Owner:
        """A host file's owner as the guest is told."""
        if self.are_kept:
            return Owner(uid, gid)
        return Owner(0 if uid == self._uid else NOBODY, 0 if gid == self._gid else NOBODY)

    def meant(self, uid: int | None, gid: int | None) -> Owner:
        """What chown(2) is to be told; None, and -1 in the result, is "as it is"."""
        return Owner(self._one(uid, self._uid), self._one(gid, self._gid))

    def _one(self, wanted: int | None, ours: int) -> int:
        if wanted is None:
            return -1
        if wanted > _MOST_ID or (wanted and not self.are_kept):
            raise refused(EPERM)
        return wanted if self.are_kept else ours
