"""The block device (virtio 1.2, 5.2)."""

from collections.abc import Callable
from struct import Struct
from typing import NamedTuple

from auberge.machine.disk import SECTOR, Disk
from auberge.machine.host_file import pieces
from auberge.machine.virtio.device import Transport
from auberge.machine.virtio.queue import Chain, Queue, QueueError

# 5.2.3
F_SIZE_MAX = 1 << 1
F_SEG_MAX = 1 << 2
F_RO = 1 << 5
F_BLK_SIZE = 1 << 6
F_FLUSH = 1 << 9
F_DISCARD = 1 << 13
F_WRITE_ZEROES = 1 << 14

# 5.2.6: types and status
IN = 0
OUT = 1
FLUSH = 4
GET_ID = 8
DISCARD = 11
WRITE_ZEROES = 13
OK = 0
IOERR = 1
UNSUPP = 2
UNMAP = 1

QUEUE_SIZE = 256
SEG_MAX = 126
SIZE_MAX = 0x40000
RANGE_SECTORS = 0x10000  # in one segment of discard or write zeroes
RANGES = 16

# A driver that keeps to SEG_MAX and SIZE_MAX cannot ask for more at once.
_MOST = SEG_MAX * SIZE_MAX

_HEADER = Struct("<I4xQ")  # 5.2.6: type, reserved, sector
_RANGE = Struct("<QII")  # sector, num_sectors, flags
_CONFIG = Struct("<QIIHBBI" + "BBHI" + "BxH" + "IIIII" + "B3x")  # 5.2.4
_ID_SIZE = 20


class BlockState(NamedTuple):
    """Nothing: a request is over when it is notified of, and the disk keeps its own contents."""


RESET = BlockState()


class Counts:
    """What was asked of disks, of one or of several; `python_ns` is the time spent for it."""

    __slots__ = ("requests", "read_bytes", "written_bytes", "errors", "python_ns")

    def __init__(self) -> None:
        self.requests = self.read_bytes = self.written_bytes = 0
        self.errors = 0  # of the host; a request that the guest got wrong is none
        self.python_ns = 0

    def as_dict(self) -> dict[str, int]:
        """By name."""
        return {
            "requests": self.requests,
            "read_bytes": self.read_bytes,
            "written_bytes": self.written_bytes,
            "errors": self.errors,
            "python_ns": self.python_ns,
        }


class _Failed(Exception):
    """A request ends with this status."""

    def __init__(self, status: int) -> None:
        self.status = status


class Block:
    """`disk` as a virtio block device; `serial`, at most 20 bytes of it, is what GET_ID tells.

    An error of the host is the guest's error, and `complain` is told of it. `counts` goes on;
    `now_ns` is a clock.
    """

    __slots__ = ("counts", "features", "_disk", "_serial", "_now_ns", "_complain")

    device_id = 2
    queue_sizes = (QUEUE_SIZE,)

    def __init__(
        self,
        disk: Disk,
        serial: str,
        counts: Counts,
        now_ns: Callable[[], int],
        complain: Callable[[OSError], None],
        state: BlockState = RESET,
    ) -> None:
        self.counts = counts
        self._now_ns = now_ns
        self._complain = complain
        self._disk = disk
        self._serial = serial.encode()[:_ID_SIZE].ljust(_ID_SIZE, b"\0")
        self.features = F_SIZE_MAX | F_SEG_MAX | F_BLK_SIZE | F_FLUSH
        self.features |= F_RO if disk.read_only else F_DISCARD | F_WRITE_ZEROES

    @property
    def state(self) -> BlockState:
        return BlockState()

    def attach(self, transport: Transport) -> None:
        pass

    def config(self) -> bytes:
        topology = 3, 0, 8, 0  # blocks of 4 KiB are the ones an overlay need not complete
        geometry = 0, 0, 0
        ranges = RANGE_SECTORS, RANGES, 8, RANGE_SECTORS, RANGES
        capacity = self._disk.size // SECTOR
        return _CONFIG.pack(
            capacity, SIZE_MAX, SEG_MAX, *geometry, SECTOR, *topology, 0, 1, *ranges, 1
        )

    def configure(self, offset: int, data: bytes) -> None:
        pass

    def reset(self) -> None:
        pass

    def service(self, index: int, queue: Queue) -> None:
        counts = self.counts
        begin = self._now_ns()
        for chain in queue:
            queue.push(chain.head, self._answer(chain, queue.features))
            counts.requests += 1
        counts.python_ns += self._now_ns() - begin

    def _answer(self, chain: Chain, features: int) -> int:
        """Carry a request out; return how many bytes at the start of its buffers were written."""
        kind, sector, payload = _open(chain.readable)
        if not chain.writable:
            raise QueueError("a request without a byte for its status")
        # 2.7.4.1: nothing may be assumed of the framing; the status is the very last byte.
        *buffers, last = chain.writable
        if last.nbytes > 1:
            buffers.append(last[:-1])
        status = OK
        written = 0
        try:
            written = self._carry_out(kind, sector, payload, buffers, features)
        except _Failed as failed:
            status = failed.status
        except OSError as error:
            status = IOERR
            self.counts.errors += 1
            self._complain(error)
        last[-1] = status
        return written + 1 if written == sum(view.nbytes for view in buffers) else written

    def _carry_out(
        self,
        kind: int,
        sector: int,
        payload: list[memoryview],
        buffers: list[memoryview],
        features: int,
    ) -> int:
        disk = self._disk
        if kind == IN:
            size = self._extent(sector, buffers)
            disk.readv(sector * SECTOR, buffers)
            self.counts.read_bytes += size
            return size
        if kind == GET_ID:
            name = self._serial
            for view in pieces(buffers, 0, _ID_SIZE):
                view[:] = name[: view.nbytes]
                name = name[view.nbytes :]
            return _ID_SIZE - len(name)
        if kind == FLUSH:
            disk.flush()
            return 0
        if kind not in (OUT, DISCARD, WRITE_ZEROES):
            raise _Failed(UNSUPP)
        if disk.read_only:
            raise _Failed(IOERR)
        if kind == OUT:
            size = self._extent(sector, payload)
            disk.writev(sector * SECTOR, payload)
            self.counts.written_bytes += size
        else:
            self._ranges(payload, kind)
        if not features & F_FLUSH:
            disk.flush()  # 5.2.6.2: without FLUSH negotiated, what is complete is stable
        return 0

    def _extent(self, sector: int, views: list[memoryview]) -> int:
        size = sum(view.nbytes for view in views)
        if size % SECTOR or size > _MOST or sector * SECTOR + size > self._disk.size:
            raise _Failed(IOERR)
        return size

    def _ranges(self, payload: list[memoryview], kind: int) -> None:
        size = sum(view.nbytes for view in payload)
        if size == 0 or size % _RANGE.size or size > RANGES * _RANGE.size:
            raise _Failed(IOERR)
        carry_out: Callable[[int, int], None]
        carry_out = self._disk.discard if kind == DISCARD else self._disk.zero
        allowed = 0 if kind == DISCARD else UNMAP
        ranges = list(_RANGE.iter_unpack(b"".join(payload)))
        for sector, count, flags in ranges:
            if flags & ~allowed:
                raise _Failed(UNSUPP)
            if count > RANGE_SECTORS or (sector + count) * SECTOR > self._disk.size:
                raise _Failed(IOERR)
        for sector, count, _ in ranges:
            if count:
                carry_out(sector * SECTOR, count * SECTOR)


def _open(readable: list[memoryview]) -> tuple[int, int, list[memoryview]]:
    """A request's type, its sector, and what follows its header."""
    if readable and readable[0].nbytes == _HEADER.size:
        kind, sector = _HEADER.unpack(readable[0])
        return kind, sector, readable[1:]
    header = b"".join(pieces(readable, 0, _HEADER.size))
    if len(header) < _HEADER.size:
        raise QueueError(f"a request of {len(header)} bytes is shorter than its header")
    kind, sector = _HEADER.unpack(header)
    return kind, sector, list(pieces(readable, _HEADER.size, 1 << 64))
