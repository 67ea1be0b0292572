"""The board `virt`: a parts list, with memory map and interrupt numbers of QEMU's of that name.

Sources: hw/riscv/virt.c of QEMU 7.2 (virt_memmap, the IRQ enumeration) and the tree it makes;
Documentation/devicetree/bindings of Linux (riscv/cpus.yaml, riscv/extensions.yaml and others).
"""

from collections.abc import Callable, Mapping, Sequence
from typing import NamedTuple

from auberge.engine.clock import FREQUENCY, Clock
from auberge.machine.bus import Region
from auberge.machine.device import Device, Line, Property
from auberge.machine.devices.clint import Clint
from auberge.machine.devices.goldfish_rtc import GoldfishRtc
from auberge.machine.devices.plic import Plic
from auberge.machine.devices.test_finisher import PASS, RESET, TestFinisher
from auberge.machine.devices.uart16550 import LSR, LSR_READY, RBR, Uart16550
from auberge.machine.fdt import Node, u64
from auberge.machine.vcpu import Vcpu
from auberge.machine.virtio.console import Console as VirtioConsole
from auberge.machine.virtio.device import VirtioDevice
from auberge.machine.virtio.entropy import Entropy
from auberge.machine.virtio.mmio import VirtioMmio
from auberge.machine.virtio.vacant import Vacant
from auberge.memory.ram import PAGE, Ram
from auberge.refusal import Refusal

ROM = 0x1000
TEST = 0x0010_0000
RTC = 0x0010_1000
CLINT = 0x0200_0000
PLIC = 0x0C00_0000
UART = 0x1000_0000
VIRTIO, VIRTIO_STEP, VIRTIO_SLOTS = 0x1000_1000, 0x1000, 8
RAM = 0x8000_0000

VIRTIO_IRQ, UART_IRQ, RTC_IRQ = 1, 10, 11
FIRST_OWN_IRQ, MOST_OWN = 12, 64  # of devices that a user adds

MOST_DISKS = VIRTIO_SLOTS - 2  # the last two slots are the console's and the entropy device's

MOST_HARTS = 8
LEAST_MEMORY = 1 << 20
MOST_MEMORY = 1 << 40

CACHE_BLOCK = 64  # bytes, of the cbo instructions
MMU = "riscv,sv57"  # the longest of the modes that satp takes

# Volume II, table 3.6: a hart's interrupts, as inputs of its mip and in the device tree
MSI, MTI, SEI, MEI = 3, 7, 9, 11


class Part(NamedTuple):
    """A device at its place: `node` names it in the device tree."""

    node: str
    base: int
    device: Device
    interrupt: int | None = None
    phandle: int | None = None


class Wiring(NamedTuple):
    """What the board's devices are connected to on the outside."""

    print: Callable[[bytes], None]
    room: Callable[[], None]
    alarm_moved: Callable[[], None]
    now_ns: Callable[[], int]
    entropy: Callable[[int], bytes]
    power_off: Callable[[int], None]
    reset: Callable[[], None]


class Pins:
    """The inputs of the harts that the CLINT drives."""

    def __init__(self, vcpus: Sequence[Vcpu]) -> None:
        self._vcpus = vcpus
        self._msip = [vcpu.line(MSI) for vcpu in vcpus]

    def set_msip(self, hart: int, level: bool) -> None:
        """The software interrupt of machine mode."""
        self._msip[hart](level)

    def set_mtimecmp(self, hart: int, value: int) -> None:
        """The deadline of the timer of machine mode."""
        self._vcpus[hart].set_mtimecmp(value)


class Virt:
    """The devices of a board, connected to its harts, its RAM and each other."""

    def __init__(
        self,
        vcpus: Sequence[Vcpu],
        ram: Ram,
        clock: Clock,
        wiring: Wiring,
        disks: Sequence[VirtioDevice] = (),
    ) -> None:
        self._vcpus = vcpus
        self._ram = ram
        self._wiring = wiring
        harts = len(vcpus)
        # Contexts in QEMU's order: M and S of hart 0, M and S of hart 1, ...
        self.plic = Plic([vcpu.line(bit) for vcpu in vcpus for bit in (MEI, SEI)])
        source = self.plic.source
        self.uart = Uart16550(source(UART_IRQ), self._print_by_uart, wiring.room)
        self.console = VirtioConsole(self._print_by_virtio, wiring.room)
        self._typed_to: Uart16550 | VirtioConsole = self.uart
        self.rtc = GoldfishRtc(source(RTC_IRQ), wiring.now_ns)
        # phandles: 1 .. harts are the harts' interrupt controllers
        self._plic_phandle, self._test_phandle = harts + 1, harts + 2
        self.parts = [
            Part("test", TEST, TestFinisher(wiring.power_off, wiring.reset), phandle=harts + 2),
            Part("rtc", RTC, self.rtc, RTC_IRQ),
            Part("clint", CLINT, Clint(Pins(vcpus), clock.ticks, harts)),
            Part("plic", PLIC, self.plic, phandle=harts + 1),
            Part("serial", UART, self.uart, UART_IRQ),
        ]
        slots: list[VirtioDevice] = [*disks]
        slots += [Vacant()] * (MOST_DISKS - len(disks))
        slots += [self.console, Entropy(wiring.entropy)]
        for slot, device in enumerate(slots):
            transport = VirtioMmio(source(VIRTIO_IRQ + slot), ram, device)
            base = VIRTIO + VIRTIO_STEP * slot
            self.parts.append(Part("virtio_mmio", base, transport, VIRTIO_IRQ + slot))

    def add(self, devices: Mapping[int, Callable[[Line], Device]]) -> None:
        """Devices of a user's own, by address, each made with its interrupt line; or Refusal."""
        if len(devices) > MOST_OWN:
            raise Refusal(f"devices: there are {len(devices)}; at most {MOST_OWN} are possible")
        for interrupt, (base, make) in enumerate(devices.items(), FIRST_OWN_IRQ):
            device = make(self.plic.source(interrupt))
            self._check_place(base, device)
            name = device.compatible if isinstance(device.compatible, str) else "device"
            self.parts.append(Part(name.rpartition(",")[2], base, device, interrupt))

    def _check_place(self, base: int, device: Device) -> None:
        end = base + device.size
        others = [(part.node, part.base, part.base + part.device.size) for part in self.parts]
        others += [("RAM", self._ram.base, 1 << 64)]  # and what RAM may grow to
        if base < 0 or base % PAGE or device.size < 1:
            raise Refusal(f"devices: {base:#x}: a device is at a multiple of {PAGE:#x}; move it")
        for name, first, last in others:
            if base < -(-last // PAGE) * PAGE and first < -(-end // PAGE) * PAGE:
                raise Refusal(f"devices: {base:#x}: in the pages of {name} at {first:#x}; move it")

    def regions(self) -> list[Region]:
        """The parts, as the bus wants them."""
        return [
            Region(
                f"{part.node}@{part.base:x}",
                part.base,
                part.device.size,
                part.device.widths,
                part.device.read,
                self._rtc_write if part.device is self.rtc else part.device.write,
            )
            for part in self.parts
        ]

    # -- the console ----------------------------------------------------------------------------

    def _print_by_uart(self, data: bytes) -> None:
        self._typed_to = self.uart
        self._wiring.print(data)

    def _print_by_virtio(self, data: bytes) -> None:
        self._typed_to = self.console
        self._wiring.print(data)

    def receive(self, data: bytes) -> int:
        """Type `data` where the guest last printed; say how many bytes were taken."""
        return self._typed_to.receive(data)

    def typed(self, size: int) -> bytes:
        """At most `size` bytes from the serial line, read as a firmware's console does."""
        data = bytearray()
        while len(data) < size and self.uart.read(LSR, 1) & LSR_READY:
            data.append(self.uart.read(RBR, 1))
        return bytes(data)

    def _rtc_write(self, offset: int, width: int, value: int) -> None:
        self.rtc.write(offset, width, value)
        self._wiring.alarm_moved()

    # -- the device tree ------------------------------------------------------------------------

    def device_tree(
        self, isa_string: str, bootargs: str, initrd: tuple[int, int] | None, seed: bytes
    ) -> Node:
        """What the guest is told (Devicetree Specification, chapter 3, and the bindings)."""
        serial = f"/soc/serial@{UART:x}"
        chosen: dict[str, Property] = {
            "bootargs": bootargs,
            "stdout-path": serial,
            "rng-seed": seed,
        }
        if initrd is not None:
            chosen["linux,initrd-start"] = u64(initrd[0])
            chosen["linux,initrd-end"] = u64(initrd[1])
        memory: dict[str, Property] = {
            "device_type": "memory",
            "reg": u64(self._ram.base, self._ram.size),
        }
        soc: dict[str, Property] = {
            "#address-cells": 2,
            "#size-cells": 2,
            "compatible": "simple-bus",
            "ranges": True,
        }
        root: dict[str, Property] = {
            "#address-cells": 2,
            "#size-cells": 2,
            "compatible": "riscv-virtio",
            "model": "riscv-virtio,auberge",
        }
        return Node(
            "",
            root,
            [
                Node("aliases", {"serial0": serial}),
                Node("chosen", chosen),
                Node(f"memory@{self._ram.base:x}", memory),
                self._cpus(isa_string),
                Node("soc", soc, [self._node(part) for part in self.parts]),
                self._syscon("poweroff", PASS),
                self._syscon("reboot", RESET),
            ],
        )

    def _cpus(self, isa_string: str) -> Node:
        properties: dict[str, Property] = {
            "#address-cells": 1,
            "#size-cells": 0,
            "timebase-frequency": FREQUENCY,
        }
        harts = [self._cpu(hart, isa_string) for hart in range(len(self._vcpus))]
        return Node("cpus", properties, harts)

    def _cpu(self, hart: int, isa_string: str) -> Node:
        single, *others = isa_string.split("_")
        width, letters = single[:4], single[4:]  # rv64, imafdc
        cpu: dict[str, Property] = {
            "device_type": "cpu",
            "reg": hart,
            "status": "okay",
            "compatible": "riscv",
            "riscv,isa": isa_string,
            "riscv,isa-base": width + letters[0],
            "riscv,isa-extensions": (*letters, *others),
            "mmu-type": MMU,
        }
        for extension, name in (("zicbom", "cbom"), ("zicboz", "cboz")):
            if extension in others:
                cpu[f"riscv,{name}-block-size"] = CACHE_BLOCK
        controller: dict[str, Property] = {
            "#interrupt-cells": 1,
            "#address-cells": 0,
            "interrupt-controller": True,
            "compatible": "riscv,cpu-intc",
            "phandle": 1 + hart,
        }
        return Node(f"cpu@{hart:x}", cpu, [Node("interrupt-controller", controller)])

    def _node(self, part: Part) -> Node:
        device = part.device
        properties: dict[str, Property] = {
            "compatible": device.compatible,
            "reg": u64(part.base, device.size),
        }
        if part.interrupt is not None:
            properties["interrupts"] = part.interrupt
            properties["interrupt-parent"] = self._plic_phandle
        if part.base == CLINT:
            properties["interrupts-extended"] = self._to_harts(MSI, MTI)
        if part.base == PLIC:
            properties["interrupts-extended"] = self._to_harts(MEI, SEI)
        if part.phandle is not None:
            properties["phandle"] = part.phandle
        properties.update(device.properties())
        return Node(f"{part.node}@{part.base:x}", properties)

    def _to_harts(self, *inputs: int) -> tuple[int, ...]:
        pairs = [(1 + hart, bit) for hart in range(len(self._vcpus)) for bit in inputs]
        return tuple(cell for pair in pairs for cell in pair)

    def _syscon(self, name: str, value: int) -> Node:
        properties: dict[str, Property] = {
            "compatible": f"syscon-{name}",
            "regmap": self._test_phandle,
            "offset": 0,
            "value": value,
        }
        return Node(name, properties)
