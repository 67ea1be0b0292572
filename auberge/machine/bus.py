"""The bus: from a guest-physical address to the device that answers there."""

from collections.abc import Callable, Iterable
from typing import NamedTuple

PAGE_SHIFT = 12

Read = Callable[[int, int], int]
Write = Callable[[int, int, int], None]


class Region(NamedTuple):
    """A device's registers at an address. `name` is for people: errors and statistics."""

    name: str
    base: int
    size: int
    widths: frozenset[int]
    read: Read
    write: Write

    def counted(self, counts: dict[str, int]) -> "Region":
        """The same region, adding each access to `counts[name]`."""
        name, read, write = self.name, self.read, self.write
        counts.setdefault(name, 0)

        def counting_read(offset: int, width: int) -> int:
            counts[name] += 1
            return read(offset, width)

        def counting_write(offset: int, width: int, value: int) -> None:
            counts[name] += 1
            write(offset, width, value)

        return self._replace(read=counting_read, write=counting_write)


class Bus:
    """Finds the region of an address, and guarantees what a device expects (see `Device`).

    Every page that a region touches is its own, so one dictionary look-up finds it: this is the
    path of each device access. Raises ValueError for regions that share a page: a board's error.
    """

    __slots__ = ("_pages", "regions")

    def __init__(self, regions: Iterable[Region]) -> None:
        self.regions = sorted(regions, key=lambda region: region.base)
        # What of a region an access needs, by page number: base, size, widths, read, write.
        self._pages: dict[int, tuple[int, int, frozenset[int], Read, Write]] = {}
        owners: dict[int, Region] = {}
        for region in self.regions:
            last = region.base + region.size - 1
            for page in range(region.base >> PAGE_SHIFT, (last >> PAGE_SHIFT) + 1):
                other = owners.setdefault(page, region)
                if other is not region:
                    raise ValueError(f"{region.name} shares a page with {other.name}")
                self._pages[page] = region[1:]

    def read(self, address: int, width: int) -> int | None:
        """What the device at `address` answers; None if none does, or not at that width there."""
        region = self._pages.get(address >> PAGE_SHIFT)
        if region is None:
            return None
        base, size, widths, read, _ = region
        offset = address - base
        if width not in widths or offset & width - 1 or not 0 <= offset <= size - width:
            return None
        return read(offset, width)

    def write(self, address: int, width: int, value: int) -> bool:
        """Hand `value` to the device at `address`; False if none takes it, as in `read`."""
        region = self._pages.get(address >> PAGE_SHIFT)
        if region is None:
            return False
        base, size, widths, _, write = region
        offset = address - base
        if width not in widths or offset & width - 1 or not 0 <= offset <= size - width:
            return False
        write(offset, width, value)
        return True
