"""How much an image may ask of its host before it is taken for an attack."""

from typing import NamedTuple


class Limits(NamedTuple):
    """What reading one layer or one archive may cost."""

    entries: int = 2_000_000
    """Members of an archive, headers of any kind included."""
    files: int = 100_000
    """Of them, of an archive of images: blobs and their folders, whose places are kept in mind."""
    size: int = 64 << 30
    """Bytes that come out of it; holes count."""
    ratio: int = 300
    """Bytes out for each byte in, once there are `floor` of them; real layers reach some 20."""
    floor: int = 256 << 20
    header: int = 1 << 20
    """Bytes of an extended header: the longest path has 4096."""
    told: int = 256 << 20
    """Bytes of names and attributes that extended headers give to members: some are kept in memory
    to the end."""
    depth: int = 256
    """Directories in each other."""


LIMITS = Limits()

LARGEST_JSON = 4 << 20
"""What registries allow a manifest to have (distribution-spec, "Pushing Manifests")."""

LAYERS = 500
"""Overlayfs takes that many (OVL_MAX_STACK of Linux)."""

IMAGES = 256
"""In one archive, which keeps what is known of all in memory; and indexes in one another."""

OTHER = "use another archive"
"""What to do about an archive that cannot be trusted."""
