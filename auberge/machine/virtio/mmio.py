"""The virtio-mmio transport, version 2 (virtio 1.2, 4.2): registers that carry a device."""

from collections.abc import Mapping
from typing import NamedTuple

from auberge.machine.device import Line, Memory, Property
from auberge.machine.virtio.device import VirtioDevice
from auberge.machine.virtio.queue import (
    F_EVENT_IDX,
    F_INDIRECT_DESC,
    Queue,
    QueueError,
    QueueState,
)

# Table 4.1
MAGIC_VALUE = 0x000
VERSION = 0x004
DEVICE_ID = 0x008
VENDOR_ID = 0x00C
DEVICE_FEATURES = 0x010
DEVICE_FEATURES_SEL = 0x014
DRIVER_FEATURES = 0x020
DRIVER_FEATURES_SEL = 0x024
QUEUE_SEL = 0x030
QUEUE_NUM_MAX = 0x034
QUEUE_NUM = 0x038
QUEUE_READY = 0x044
QUEUE_NOTIFY = 0x050
INTERRUPT_STATUS = 0x060
INTERRUPT_ACK = 0x064
STATUS = 0x070
QUEUE_DESC_LOW, QUEUE_DESC_HIGH = 0x080, 0x084
QUEUE_DRIVER_LOW, QUEUE_DRIVER_HIGH = 0x090, 0x094
QUEUE_DEVICE_LOW, QUEUE_DEVICE_HIGH = 0x0A0, 0x0A4
SHM_LEN_LOW, SHM_BASE_HIGH = 0x0B0, 0x0BC
QUEUE_RESET = 0x0C0
CONFIG_GENERATION = 0x0FC
CONFIG = 0x100

# 2.1
ACKNOWLEDGE = 1
DRIVER = 2
DRIVER_OK = 4
FEATURES_OK = 8
DEVICE_NEEDS_RESET = 64
FAILED = 128

# 6
F_VERSION_1 = 1 << 32
F_RING_RESET = 1 << 40
TRANSPORT_FEATURES = F_INDIRECT_DESC | F_EVENT_IDX | F_VERSION_1 | F_RING_RESET

USED_BUFFER = 1
CONFIG_CHANGE = 2

_VENDOR = 0x65627561  # "aube"
_LOW = 0xFFFF_FFFF


class MmioState(NamedTuple):
    """What the driver has written, how far each queue is, and what the device is yet to do."""

    status: int = 0
    device_features_sel: int = 0
    driver_features_sel: int = 0
    driver_features: int = 0
    queue_sel: int = 0
    interrupt: int = 0
    generation: int = 0
    queues: tuple[QueueState, ...] = ()
    owed: int = 0


RESET = MmioState()


class VirtioMmio:
    """Carries a virtio device on a memory-mapped bus.

    A driver that breaks a rule of the queues gets what 2.1.2 has for it: DEVICE_NEEDS_RESET and a
    configuration change interrupt; then nothing works until it writes 0 to Status.
    """

    __slots__ = (
        "_irq", "_memory", "device", "_offered", "_status", "_device_sel", "_driver_sel",
        "_features", "_queue_sel", "_interrupt", "_generation", "_queues", "_live", "_owed",
    )  # fmt: skip

    size = 0x1000
    widths = frozenset({1, 2, 4, 8})
    compatible = "virtio,mmio"

    def __init__(
        self, irq: Line, memory: Memory, device: VirtioDevice, state: MmioState = RESET
    ) -> None:
        self._irq = irq
        self._memory = memory
        self.device = device
        self._offered = device.features | TRANSPORT_FEATURES
        self._live: dict[int, Queue] = {}
        self._restore(state)
        device.attach(self)
        if self._status & DRIVER_OK and not self._status & DEVICE_NEEDS_RESET:
            self._go_live()
        if self._interrupt:
            irq(True)

    def _restore(self, state: MmioState) -> None:
        self._status = state.status
        self._device_sel = state.device_features_sel
        self._driver_sel = state.driver_features_sel
        self._features = state.driver_features
        self._queue_sel = state.queue_sel
        self._interrupt = state.interrupt
        self._generation = state.generation
        self._queues = list(state.queues) or [QueueState()] * len(self.device.queue_sizes)
        self._owed = state.owed

    @property
    def state(self) -> MmioState:
        return MmioState(
            self._status,
            self._device_sel,
            self._driver_sel,
            self._features,
            self._queue_sel,
            self._interrupt,
            self._generation,
            tuple(
                self._live[index].state if index in self._live else queue
                for index, queue in enumerate(self._queues)
            ),
            self._owed,
        )

    def properties(self) -> Mapping[str, Property]:
        return {}

    def read(self, offset: int, width: int) -> int:
        if offset >= CONFIG:
            field = self.device.config()[offset - CONFIG : offset - CONFIG + width]
            return int.from_bytes(field, "little")
        # 4.2.2.2: "The driver MUST only use 32 bit wide and aligned reads and writes" below CONFIG.
        if width != 4:
            return 0
        if offset == INTERRUPT_STATUS:
            return self._interrupt
        if offset == MAGIC_VALUE:
            return 0x74726976
        if offset == VERSION:
            return 2
        if offset == DEVICE_ID:
            return self.device.device_id
        if offset == VENDOR_ID:
            return _VENDOR
        if offset == DEVICE_FEATURES:
            return self._offered >> 32 * self._device_sel & _LOW if self._device_sel < 2 else 0
        if offset == QUEUE_NUM_MAX:
            sizes = self.device.queue_sizes
            return sizes[self._queue_sel] if self._queue_sel < len(sizes) else 0
        if offset == QUEUE_READY:
            return int(self._queue_sel < len(self._queues) and self._queues[self._queue_sel].ready)
        if offset == STATUS:
            return self._status
        if SHM_LEN_LOW <= offset <= SHM_BASE_HIGH:
            return _LOW  # 4.2.2: a length of all ones: there is no such region
        if offset == CONFIG_GENERATION:
            return self._generation
        return 0

    def write(self, offset: int, width: int, value: int) -> None:
        if offset >= CONFIG:
            self.device.configure(offset - CONFIG, value.to_bytes(width, "little"))
        elif width != 4:
            return
        elif offset == QUEUE_NOTIFY:
            self.kick(value)
        elif offset == INTERRUPT_ACK:
            self._interrupt &= ~value
            self._irq(self._interrupt != 0)
            self._pay()
        elif offset == STATUS:
            self._set_status(value)
        elif offset == DEVICE_FEATURES_SEL:
            self._device_sel = value
        elif offset == DRIVER_FEATURES_SEL:
            self._driver_sel = value
        elif offset == DRIVER_FEATURES:
            if self._driver_sel < 2 and not self._status & FEATURES_OK:
                shift = 32 * self._driver_sel
                self._features = self._features & ~(_LOW << shift) | value << shift
        elif offset == QUEUE_SEL:
            self._queue_sel = value
        elif self._queue_sel < len(self._queues):
            self._write_queue(offset, value)

    def kick(self, index: int) -> None:
        """Have the device serve queue `index`, if it is live; then interrupt the driver if due."""
        queue = self._live.get(index)
        if queue is None:
            return
        queue.cut_short = False
        try:
            self.device.service(index, queue)
            due = queue.interrupt_due()
            if queue.cut_short:
                # The rest is served at the driver's next acknowledgement, which this asks for.
                self._owed |= 1 << index
                due = True
        except QueueError:
            self._need_reset()
            return
        if due:
            self._interrupt |= USED_BUFFER
            self._irq(True)

    def config_changed(self) -> None:
        """2.4.1: the generation changes with the configuration, and a running driver is told."""
        self._generation = self._generation + 1 & _LOW
        if self._status & DRIVER_OK:
            self._interrupt |= CONFIG_CHANGE
            self._irq(True)

    def _pay(self) -> None:
        owed, self._owed = self._owed, 0
        index = 0
        while owed:
            if owed & 1:
                self.kick(index)
            owed >>= 1
            index += 1

    def _set_status(self, value: int) -> None:
        if value == 0:
            self._reset()
            return
        old = self._status
        if not old & FEATURES_OK and value & FEATURES_OK and not self._acceptable():
            value &= ~FEATURES_OK  # 2.2.2: so the driver learns that its features won't do
        if not (value | old) & FEATURES_OK:
            value &= ~DRIVER_OK
        # 2.1.1: "The driver MUST NOT clear a device status bit"; only the device sets NEEDS_RESET.
        self._status = old | value & 0xFF & ~DEVICE_NEEDS_RESET
        if self._status & DRIVER_OK and not (old & DRIVER_OK or old & DEVICE_NEEDS_RESET):
            self._go_live()
            for index in tuple(self._live):
                self.kick(index)

    def _acceptable(self) -> bool:
        return not self._features & ~self._offered and bool(self._features & F_VERSION_1)

    def _reset(self) -> None:
        generation = self._generation  # a driver may compare it across a reset
        self._live.clear()
        self.device.reset()
        self._restore(MmioState(generation=generation))
        self._irq(False)

    def _write_queue(self, offset: int, value: int) -> None:
        index = self._queue_sel
        queue = self._queues[index]
        if offset == QUEUE_READY:
            self._set_ready(index, bool(value & 1))
        elif offset == QUEUE_RESET:
            if value & 1 and self._features & F_RING_RESET:
                self._live.pop(index, None)
                self._queues[index] = QueueState()
        elif queue.ready:
            return  # 4.2.2.2: nothing of a queue changes while it is in use
        elif offset == QUEUE_NUM:
            self._queues[index] = queue._replace(size=value)
        elif offset in (QUEUE_DESC_LOW, QUEUE_DESC_HIGH):
            address = _half(queue.descriptors, offset - QUEUE_DESC_LOW, value)
            self._queues[index] = queue._replace(descriptors=address)
        elif offset in (QUEUE_DRIVER_LOW, QUEUE_DRIVER_HIGH):
            address = _half(queue.available, offset - QUEUE_DRIVER_LOW, value)
            self._queues[index] = queue._replace(available=address)
        elif offset in (QUEUE_DEVICE_LOW, QUEUE_DEVICE_HIGH):
            address = _half(queue.used, offset - QUEUE_DEVICE_LOW, value)
            self._queues[index] = queue._replace(used=address)

    def _set_ready(self, index: int, ready: bool) -> None:
        queue = self._queues[index]
        if ready == queue.ready:
            return
        self._live.pop(index, None)
        self._queues[index] = queue._replace(ready=ready, last_available=0, used_index=0)
        if ready and self._status & DRIVER_OK and not self._status & DEVICE_NEEDS_RESET:
            self._go_live()

    def _go_live(self) -> None:
        """Begin to serve every queue that is ready and not served yet."""
        try:
            for index, state in enumerate(self._queues):
                if state.ready and index not in self._live:
                    longest = self.device.queue_sizes[index]
                    self._live[index] = Queue(self._memory, state, self._features, longest)
        except QueueError:
            self._need_reset()

    def _need_reset(self) -> None:
        """2.1.2: say that the device is in a state only a reset gets it out of, and stop."""
        self._live.clear()
        self._status |= DEVICE_NEEDS_RESET
        self.config_changed()


def _half(address: int, byte: int, value: int) -> int:
    shift = 8 * byte
    return address & ~(_LOW << shift) | value << shift
