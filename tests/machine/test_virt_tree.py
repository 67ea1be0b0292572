"""The device tree says what the board has, at addresses and interrupts of QEMU's `virt`."""

import shutil
import subprocess

import pytest

from auberge.machine.virt import CLINT, PLIC, TEST, UART, VIRTIO
from tests.machine.fakes import machine, printing
from tests.machine.flattened import cells, decode

needs_qemu = pytest.mark.skipif(
    shutil.which("qemu-system-riscv64") is None,
    reason="no qemu-system-riscv64 here; apt install qemu-system-misc",
)
needs_dtc = pytest.mark.skipif(
    shutil.which("dtc") is None, reason="no dtc here; apt install device-tree-compiler"
)

SHARED = [
    "/memory@80000000",
    "/cpus/cpu@0",
    "/cpus/cpu@1",
    "/cpus/cpu@0/interrupt-controller",
    "/soc/serial@10000000",
    "/soc/rtc@101000",
    "/soc/test@100000",
    "/soc/plic@c000000",
    "/soc/clint@2000000",
    "/poweroff",
    "/reboot",
    *(f"/soc/virtio_mmio@1000{n}000" for n in range(1, 9)),
]
SAME = ("reg", "compatible", "device_type", "interrupts", "offset", "value", "status")
POINTERS = ("interrupts-extended", "interrupt-parent", "regmap")


@pytest.fixture
def blob(tmp_path):
    made, _ = machine(
        tmp_path, printing(b""), printing(b""), memory=512 << 20, append="console=ttyS0 x"
    )
    return made.device_tree


@needs_qemu
@needs_dtc
def test_it_agrees_with_qemu(blob, tmp_path):
    there = tmp_path / "qemu.dtb"
    command = ["qemu-system-riscv64", "-M", f"virt,dumpdtb={there}", "-m", "512M", "-smp", "2"]
    subprocess.run([*command, "-display", "none", "-bios", "none"], check=True, capture_output=True)
    # Through dtc, which leaves out the room that QEMU keeps in its blob.
    packed = subprocess.run(["dtc", "-q", "-O", "dtb", there], capture_output=True, check=True)
    qemu = pointed(decode(packed.stdout))
    ours = pointed(decode(blob))
    for path in SHARED:
        for name in (*SAME, *POINTERS):
            assert ours[path].get(name) == qemu[path].get(name), (path, name)
    assert ours["/cpus"]["timebase-frequency"] == qemu["/cpus"]["timebase-frequency"]


def pointed(nodes):
    """With phandles replaced by the paths they mean, as the numbers are nobody's business."""
    paths = {cells(node["phandle"])[0]: path for path, node in nodes.items() if "phandle" in node}
    for node in nodes.values():
        for name in ("interrupt-parent", "regmap"):
            if name in node:
                node[name] = paths[cells(node[name])[0]]
        if "interrupts-extended" in node:
            pairs = cells(node["interrupts-extended"])
            targets = zip(pairs[::2], pairs[1::2], strict=True)
            node["interrupts-extended"] = [(paths[handle], line) for handle, line in targets]
    return nodes


@needs_dtc
def test_dtc_has_no_complaint(blob):
    command = ["dtc", "-I", "dtb", "-O", "dts", "-"]
    done = subprocess.run(command, input=blob, capture_output=True, check=True)
    assert done.stderr == b""


def test_what_the_kernel_is_told(blob):
    nodes = decode(blob)
    assert nodes["/chosen"]["bootargs"] == b"console=ttyS0 x\0"
    assert nodes["/chosen"]["stdout-path"] == b"/soc/serial@10000000\0"
    assert nodes["/aliases"]["serial0"] == b"/soc/serial@10000000\0"
    assert len(nodes["/chosen"]["rng-seed"]) == 64
    assert "linux,initrd-start" not in nodes["/chosen"]
    cpu = nodes["/cpus/cpu@1"]
    assert cpu["riscv,isa"] == b"rv64imafdc_zicboz_zicsr_sstc\0"
    assert cpu["riscv,isa-base"] == b"rv64i\0"
    assert cpu["riscv,isa-extensions"] == b"i\0m\0a\0f\0d\0c\0zicboz\0zicsr\0sstc\0"
    assert cells(cpu["riscv,cboz-block-size"]) == (64,)
    assert "riscv,cbom-block-size" not in cpu  # no such extension
    assert cpu["mmu-type"] == b"riscv,sv57\0"


def test_each_part_answers_where_the_tree_says(tmp_path):
    made, _ = machine(tmp_path, printing(b""))
    nodes = decode(made.device_tree)
    widths = {UART: 1}
    for base in (TEST, CLINT, PLIC, UART, *(VIRTIO + 0x1000 * n for n in range(8))):
        assert made.bus.read(base, widths.get(base, 4)) is not None
        assert any(path.endswith(f"@{base:x}") for path in nodes)
    assert made.bus.read(VIRTIO, 4) == 0x74726976
    devices = [made.bus.read(VIRTIO + 0x1000 * n + 8, 4) for n in range(8)]
    assert devices == [0, 0, 0, 0, 0, 0, 3, 4]  # nothing, console, entropy
    assert made.bus.read(VIRTIO + 0x8000, 4) is None
