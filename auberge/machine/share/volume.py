"""What `-v` says: which folder of the host is where in the guest."""

import os
from collections.abc import Sequence
from typing import NamedTuple

from auberge.refusal import Refusal

READ_ONLY = ":ro"

_LONGEST = 1000  # bytes of a tag; the device's registers have room for thrice as many


class Volume(NamedTuple):
    """The host's folder `host` is the directory `guest` of the guest."""

    host: str
    guest: str
    read_only: bool

    @property
    def tag(self) -> bytes:
        """How the guest is told: the tag of the device. Our guests' init goes by it."""
        return os.fsencode(self.guest + (READ_ONLY if self.read_only else ""))


def parse_volumes(texts: Sequence[str]) -> list[Volume]:
    """Volumes in the order in which a guest has to mount them."""
    volumes = sorted(map(parse_volume, texts), key=lambda volume: volume.guest)
    for volume, other in zip(volumes, volumes[1:], strict=False):
        if volume.guest == other.guest:
            raise Refusal(
                f"volumes: {volume.host} and {other.host} are both to be {volume.guest};"
                " give one of them another place in the guest"
            )
    return volumes


def parse_volume(text: str) -> Volume:
    """`HOST:GUEST[:ro]`; GUEST has no colon in it. Raises Refusal."""
    rest = text.removesuffix(READ_ONLY)
    host, _, guest = rest.removesuffix(":rw").rpartition(":")
    if not host or "\0" in host or not guest.startswith("/"):
        raise Refusal(
            f"volumes: {text!r} is no volume; write HOST:GUEST, or HOST:GUEST:ro, where GUEST is"
            " an absolute path in the guest"
        )
    # POSIX leaves it open what two slashes at the beginning mean
    guest = "/" + os.path.normpath(guest).lstrip("/")
    if guest == "/":
        raise Refusal(f"volumes: {text!r} would hide all of the guest; name a folder in it")
    if not guest.isprintable() or len(os.fsencode(guest)) > _LONGEST:
        raise Refusal(
            f"volumes: {text!r}: not a path that a guest can be told; choose a simpler one"
        )
    return Volume(host, guest, rest != text)
