"""A well-behaved virtio driver over a small memory, for tests of what it drives."""

from struct import pack_into, unpack_from

from auberge.machine.virtio.mmio import VirtioMmio

BASE = 0x8000_0000
NEXT, WRITE, INDIRECT = 1, 2, 4
VERSION_1 = 1 << 32
INDIRECT_DESC, EVENT_IDX = 1 << 28, 1 << 29
MAGIC, VERSION, DEVICE_ID = 0, 4, 8
STATUS, ISR, ACK, NOTIFY = 0x70, 0x60, 0x64, 0x50
USED_BUFFER, CONFIG_CHANGE = 1, 2
NEEDS_RESET = 64


class Memory:
    """`size` bytes of guest memory."""

    def __init__(self, size=0x40000, data=None):
        self.base, self.size = BASE, size
        self.bytes = bytearray(size) if data is None else bytearray(data)
        self.view = memoryview(self.bytes)


class Ring:
    """A queue of `size` at a place of its own, with buffers after it."""

    def __init__(self, driver, index, size, at):
        self.driver, self.index, self.size = driver, index, size
        self.descriptors, self.available, self.used = at, at + 0x1000, at + 0x2000
        self.buffers = at + 0x3000
        self.next_buffer, self.free, self.taken, self.added = self.buffers, 0, 0, 0
        self.tables = {}

    def buffer(self, size):
        address = self.next_buffer
        self.next_buffer += (size + 15) & ~15
        return address

    def describe(self, readable, writable):
        """[(address, length, flags)] with `readable` bytes put in memory."""
        parts = []
        for data in readable:
            address = self.buffer(len(data))
            self.driver.put(address, data)
            parts.append((address, len(data), 0))
        parts += [(self.buffer(size), size, WRITE) for size in writable]
        return parts

    def add(self, readable=(), writable=(), indirect=False):
        """Make a chain available; return (head, [the writable parts])."""
        parts = self.describe(readable, writable)
        if indirect:
            table = self.buffer(16 * len(parts))
            self.table(table, parts, 0)
            head = self.table(self.descriptors, [(table, 16 * len(parts), INDIRECT)], self.free)
            self.free += 1
        else:
            head = self.table(self.descriptors, parts, self.free)
            self.free += len(parts)
        self.free %= self.size // 2
        self.offer(head)
        return head, [(address, size) for address, size, flags in parts if flags & WRITE]

    def table(self, address, parts, first):
        for number, (at, size, flags) in enumerate(parts, first):
            more = NEXT if number + 1 < first + len(parts) else 0
            entry = address + 16 * number - BASE
            pack_into("<QIHH", self.driver.memory.bytes, entry, at, size, flags | more, number + 1)
        return first

    def offer(self, head):
        slot = self.available + 4 + 2 * (self.added % self.size) - BASE
        pack_into("<H", self.driver.memory.bytes, slot, head)
        self.added = self.added + 1 & 0xFFFF
        pack_into("<H", self.driver.memory.bytes, self.available + 2 - BASE, self.added)

    def notify(self):
        self.driver.write(NOTIFY, self.index)

    def finished(self):
        """[(head, written)] since it was asked last."""
        (index,) = unpack_from("<H", self.driver.memory.bytes, self.used + 2 - BASE)
        done = []
        while self.taken != index:
            slot = self.used + 4 + 8 * (self.taken % self.size) - BASE
            done.append(unpack_from("<II", self.driver.memory.bytes, slot))
            self.taken = self.taken + 1 & 0xFFFF
        return done

    def request(self, readable=(), writable=(), indirect=False):
        """Do one request; return (written, what is in the writable parts)."""
        self.next_buffer = self.buffers
        head, parts = self.add(readable, writable, indirect)
        self.notify()
        [(id, written)] = self.finished()
        assert id == head
        return written, b"".join(self.driver.get(address, size) for address, size in parts)

    def set_used_event(self, index):
        slot = self.available + 4 + 2 * self.size - BASE
        pack_into("<H", self.driver.memory.bytes, slot, index)

    def avail_event(self):
        return unpack_from("<H", self.driver.memory.bytes, self.used + 4 + 8 * self.size - BASE)[0]


class Driver:
    """Brings a device up and talks to its queues; `rings[n]` is queue n."""

    def __init__(self, device, memory=None, features=INDIRECT_DESC, size=16, start=True):
        self.memory = memory or Memory()
        self.levels = []
        self.size = size
        self.mmio = VirtioMmio(self.levels.append, self.memory, device)
        self.rings = []
        if start:
            self.start(features)

    def read(self, offset, width=4):
        return self.mmio.read(offset, width)

    def write(self, offset, value, width=4):
        self.mmio.write(offset, width, value)

    def put(self, address, data):
        self.memory.bytes[address - BASE : address - BASE + len(data)] = data

    def get(self, address, size):
        return bytes(self.memory.bytes[address - BASE : address - BASE + size])

    @property
    def irq(self):
        return bool(self.levels) and self.levels[-1]

    def offered(self):
        words = []
        for select in (0, 1):
            self.write(0x14, select)
            words.append(self.read(0x10))
        return words[1] << 32 | words[0]

    def negotiate(self, features):
        self.write(STATUS, 0)
        self.write(STATUS, 1)
        self.write(STATUS, 3)
        for select in (0, 1):
            self.write(0x24, select)
            self.write(0x20, features >> 32 * select & 0xFFFF_FFFF)
        self.write(STATUS, 11)
        return bool(self.read(STATUS) & 8)

    def start(self, features=0):
        """3.1.1, from reset to DRIVER_OK; `features` besides the device's own."""
        own = self.offered() & 0xFF_FFFF
        assert self.negotiate(features | own | VERSION_1)
        self.rings = []
        for index in range(len(self.mmio.device.queue_sizes)):
            ring = Ring(self, index, self.size, BASE + 0x10000 * index)
            self.set_up(ring)
            self.rings.append(ring)
        self.write(STATUS, 15)

    def set_up(self, ring):
        self.put(ring.descriptors, bytes(0x3000))
        self.write(0x30, ring.index)
        assert self.read(0x34) >= ring.size
        self.write(0x38, ring.size)
        for register, address in (
            (0x80, ring.descriptors),
            (0x90, ring.available),
            (0xA0, ring.used),
        ):
            self.write(register, address & 0xFFFF_FFFF)
            self.write(register + 4, address >> 32)
        self.write(0x44, 1)

    def acknowledge(self):
        status = self.read(ISR)
        self.write(ACK, status)
        return status

    def restored(self, device):
        """Another driver, in the same place, of a transport made from this one's state."""
        twin = Driver(device, Memory(data=self.memory.bytes), size=self.size, start=False)
        twin.levels = []
        twin.mmio = VirtioMmio(twin.levels.append, twin.memory, device, self.mmio.state)
        for ring in self.rings:
            copy = Ring(twin, ring.index, ring.size, ring.descriptors)
            copy.free, copy.taken, copy.added = ring.free, ring.taken, ring.added
            copy.next_buffer = ring.next_buffer
            twin.rings.append(copy)
        return twin
