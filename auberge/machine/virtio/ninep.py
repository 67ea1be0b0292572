"""The 9P transport device (virtio 1.2, 5.11): requests of 9P2000.L, each with its answer."""

from collections.abc import Callable, Sequence
from errno import EINVAL, EIO, EMSGSIZE
from struct import Struct

from auberge.machine.host_file import pieces
from auberge.machine.share.messages import HEADER, READ, RLERROR, TREAD, TWRITE, U16, U32
from auberge.machine.share.session import MOST_MSIZE, RESET, Session, SessionState
from auberge.machine.virtio.device import Transport
from auberge.machine.virtio.queue import Chain, Queue, QueueError

F_MOUNT_TAG = 1 << 0

# Linux's driver makes chains of up to 128 descriptors, in a table that counts as one more.
QUEUE_SIZE = 256

NinepState = SessionState

_DATA = HEADER.size + U32.size  # where the data of an Rread is
_ERROR = Struct("<I")
_PAYLOAD = HEADER.size + READ.size  # and that of a Twrite


class Counts:
    """What went through devices of this kind; `python_ns` is the time spent for it."""

    __slots__ = ("requests", "errors", "read_bytes", "written_bytes", "python_ns")

    def __init__(self) -> None:
        self.requests = 0
        self.errors = 0
        self.read_bytes = 0
        self.written_bytes = 0
        self.python_ns = 0

    def as_dict(self) -> dict[str, int]:
        """By name."""
        return {
            "requests": self.requests,
            "errors": self.errors,
            "read_bytes": self.read_bytes,
            "written_bytes": self.written_bytes,
            "python_ns": self.python_ns,
        }


class Ninep:
    """`session`, whose tree is called `tag`; `now_ns` is a clock for `counts`, which go on."""

    __slots__ = ("_config", "_counts", "_now_ns", "_session")

    device_id = 9
    features = F_MOUNT_TAG
    queue_sizes = (QUEUE_SIZE,)

    def __init__(
        self,
        session: Session,
        tag: bytes,
        counts: Counts,
        now_ns: Callable[[], int],
        state: NinepState = RESET,
    ) -> None:
        self._session = session
        self._config = U16.pack(len(tag)) + tag
        self._counts = counts
        self._now_ns = now_ns
        session.restore(state)

    @property
    def state(self) -> NinepState:
        return self._session.state

    def attach(self, transport: Transport) -> None:
        pass

    def config(self) -> bytes:
        return self._config

    def configure(self, offset: int, data: bytes) -> None:
        pass

    def reset(self) -> None:
        self._session.restore(RESET)

    def service(self, index: int, queue: Queue) -> None:
        begin = self._now_ns()
        for chain in queue:
            queue.push(chain.head, self._answer(chain))
        self._counts.python_ns += self._now_ns() - begin

    def _answer(self, chain: Chain) -> int:
        """Answer one request; how many bytes at the start of its buffers were written."""
        readable, writable = chain.readable, chain.writable
        header = b"".join(pieces(readable, 0, HEADER.size))
        room = sum(view.nbytes for view in writable)
        if len(header) < HEADER.size:
            raise QueueError(f"a request of {len(header)} bytes is shorter than its header")
        if room < _DATA:
            raise QueueError(f"{room} bytes are no room for an answer")
        size, kind, tag = HEADER.unpack(header)
        self._counts.requests += 1
        try:
            there = sum(view.nbytes for view in readable)
            if not HEADER.size <= size <= there:
                raise OSError(EINVAL, f"a message of {size} bytes in {there}")
            most = self._session.msize or MOST_MSIZE
            if size > most:
                raise OSError(EMSGSIZE, f"a message of {size} bytes, not of at most {most}")
            room = min(room, most)
            if kind == TREAD:
                request = b"".join(pieces(readable, HEADER.size, size - HEADER.size))
                return self._read(tag, request, writable, room)
            if kind == TWRITE:
                body = self._write(readable, size)
            else:
                message = b"".join(pieces(readable, HEADER.size, size - HEADER.size))
                body = self._session.answer(kind, message, room - HEADER.size)
            if HEADER.size + len(body) > room:
                raise OSError(EMSGSIZE, "an answer longer than its buffers")
        except OSError as error:
            self._counts.errors += 1
            kind, body = RLERROR - 1, _ERROR.pack(error.errno or EIO)
        _fill(writable, HEADER.pack(HEADER.size + len(body), kind + 1, tag) + body)
        return HEADER.size + len(body)

    def _read(self, tag: int, request: bytes, writable: list[memoryview], room: int) -> int:
        count = READ.unpack_from(request)[2] if len(request) >= READ.size else 0
        views = list(pieces(writable, _DATA, min(count, room - _DATA)))
        done = self._session.read(request, views)
        self._counts.read_bytes += done
        _fill(writable, HEADER.pack(_DATA + done, TREAD + 1, tag) + U32.pack(done))
        return _DATA + done

    def _write(self, readable: list[memoryview], size: int) -> bytes:
        request = b"".join(pieces(readable, HEADER.size, min(READ.size, size - HEADER.size)))
        count = READ.unpack(request)[2] if len(request) == READ.size else 0
        if _PAYLOAD + count > size:
            raise OSError(EINVAL, f"{count} bytes to write in a message of {size}")
        done = self._session.write(request, list(pieces(readable, _PAYLOAD, count)))
        self._counts.written_bytes += done
        return U32.pack(done)


def _fill(views: Sequence[memoryview], data: bytes) -> None:
    at = 0
    for view in pieces(views, 0, len(data)):
        view[:] = data[at : at + view.nbytes]
        at += view.nbytes
