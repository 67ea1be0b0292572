"""A machine-mode image run on an engine of ours, and on QEMU's board virt: what its UART sent."""

import subprocess
from pathlib import Path

from auberge.engine.choose import choose
from auberge.engine.clock import ManualClock
from auberge.engine.exits import MmioRead, MmioWrite
from auberge.memory.ram import Ram
from tests.conformance.elf import static_elf
from tests.conformance.paging import FINISHER, SIZE, START, UART

QEMU = "qemu-system-riscv64"
CPU = "rv64,h=false,svpbmt=true,svnapot=true,svinval=true"
TRANSMITTER_EMPTY = 0x60  # of the line status register
LIMIT = 100_000_000


def run_here(engine: str, image: bytes) -> bytes:
    """From `START` in machine mode until the finisher is written."""
    ram, kind = Ram(START, SIZE), choose(engine)
    ram.write(START, image)
    hart = kind.hart(0)
    hart["pc"] = START
    machine = kind.engine(hart, ram, ManualClock())
    sent = bytearray()
    while True:
        out = machine.run(LIMIT)
        if isinstance(out, MmioRead) and out.address == UART + 5:
            machine.resume(TRANSMITTER_EMPTY)
        elif isinstance(out, MmioWrite) and out.address == UART:
            sent.append(out.value)
            machine.resume(0)
        elif isinstance(out, MmioWrite) and out.address == FINISHER:
            return bytes(sent)
        elif isinstance(out, MmioRead | MmioWrite):
            machine.resume(None)
        else:
            raise AssertionError(f"{out} at {hart['pc']:#x}")


def run_in_qemu(image: bytes, directory: Path) -> bytes:
    """The same on QEMU, with files in `directory`."""
    program, sent = directory / "image", directory / "sent"
    program.write_bytes(static_elf(START, image, START, len(image)))
    command = [QEMU, "-M", "virt", "-cpu", CPU, "-m", f"{SIZE >> 20}M", "-bios", str(program)]
    quiet = ["-display", "none", "-monitor", "none", "-serial", f"file:{sent}"]
    subprocess.run([*command, *quiet], check=True, timeout=20, stdin=subprocess.DEVNULL)
    return sent.read_bytes()
