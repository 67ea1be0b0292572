"""Regions on disk, for tests that do not care what is in them."""

from auberge.engine.region_file import RegionFile
from auberge.engine.region_record import Region

DIGEST = b"d" * 16  # of the page of code that they are of


def keep(file: RegionFile, entry: int, code: bytes) -> None:
    """Have the file keep a region of `DIGEST`."""
    file.keep(DIGEST, Region(entry, 1, code))


def kept(file: RegionFile) -> dict[int, bytes]:
    """The regions of `DIGEST` that the file was not asked about yet: entry and code."""
    return {region.entry: region.code for region in file.regions(DIGEST)}
