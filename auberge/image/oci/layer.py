"""What is to be known about an unpacked layer."""

from typing import NamedTuple

OPAQUE_BY_USER, OPAQUE_BY_ROOT = "user.overlay.opaque", "trusted.overlay.opaque"
"""For overlays that are mounted in user namespaces (`userxattr`), and for others."""

Owner = tuple[int, int]


class Contents(NamedTuple):
    """What is to be known about an unpacked layer, beside its directory."""

    size: int
    """Bytes of its files."""
    whiteouts: tuple[str, ...]
    opaques: tuple[str, ...]
    owners: dict[str, Owner]
    """Those that could not be given to the files themselves."""
    overlays: bool
    """Whether the directory says all of this in overlayfs' way too."""
    implied: tuple[str, ...]
    """Directories it does not mention, though something is in them."""
    depends: bool
    """Whether it is as it is because of the layers below."""


def read_contents(values: object) -> Contents:
    """Contents out of JSON; raises ValueError, TypeError or AttributeError for what is none."""
    if not isinstance(values, list):
        raise TypeError
    size, whiteouts, opaques, owners, overlays, implied, depends = values
    return Contents(
        size,
        tuple(whiteouts),
        tuple(opaques),
        {name: (uid, gid) for name, (uid, gid) in owners.items()},
        overlays,
        tuple(implied),
        depends,
    )
