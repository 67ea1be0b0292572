"""Debian's OpenSBI and U-Boot, unmodified: in machine mode, to Linux, from a disk, and again."""

import base64
import os
import shutil
import subprocess

import pytest

import auberge
from auberge.image import build

OPENSBI = "/usr/lib/riscv64-linux-gnu/opensbi/generic"
U_BOOT = "/usr/lib/u-boot"

pytestmark = [pytest.mark.slow, pytest.mark.timeout(280)]
has_opensbi = pytest.mark.skipif(
    not os.path.exists(OPENSBI), reason="no OpenSBI here; apt install opensbi"
)
has_u_boot = pytest.mark.skipif(
    not os.path.exists(U_BOOT), reason="no U-Boot here; apt install u-boot-qemu"
)

PARTITION, SECTOR = 1 << 20, 512


@pytest.fixture(scope="module")
def tiny():
    """The image `tiny`, from the cache or built now."""
    try:
        return build("tiny", "riscv64")
    except auberge.Refusal as refusal:
        pytest.skip(str(refusal))


def make_disk(tiny, folder, append):
    """A disk with one partition, from which a boot loader boots `tiny`."""
    root, disk = folder / "root", folder / "disk"
    os.makedirs(root / "boot/extlinux")
    shutil.copyfile(tiny.kernel, root / "boot/vmlinux")
    shutil.copyfile(tiny.initrd, root / "boot/initrd")
    (root / "boot/extlinux/extlinux.conf").write_text(
        f"default tiny\ntimeout 1\nlabel tiny\n  linux /boot/vmlinux\n  initrd /boot/initrd\n"
        f"  append {append}\n"
    )
    size = 64 << 20
    mke2fs = ["/usr/sbin/mke2fs", "-q", "-t", "ext4", "-d", str(root)]
    subprocess.run([*mke2fs, "-E", f"offset={PARTITION}", str(disk), f"{size >> 10}k"], check=True)
    # its master boot record: one entry, of Linux, and the signature
    entry = b"\x80\0\0\0\x83\0\0\0" + b"".join(
        (number // SECTOR).to_bytes(4, "little") for number in (PARTITION, size)
    )
    with open(disk, "r+b") as file:
        file.write(bytes(446) + entry + bytes(48) + b"\x55\xaa")
    return disk


def machine(**options):
    return auberge.Machine.virt(console=lambda data: None, **options)


@has_opensbi
@pytest.mark.parametrize(("firmware", "cpus"), [("fw_dynamic.elf", 2), ("fw_jump.bin", 1)])
def test_opensbi_starts_the_kernel_behind_it(tiny, firmware, cpus):
    """M-mode, PMP, the CLINT and the delegation of traps as OpenSBI uses them."""
    with machine(
        firmware=f"{OPENSBI}/{firmware}",
        kernel=tiny.kernel,
        initrd=tiny.initrd,
        append="console=ttyS0 auberge.report",
        cpus=cpus,
    ) as computer:
        assert computer.run(timeout=240) == auberge.PoweredOff(0)
        console = computer.console.output
    assert "OpenSBI v" in console
    assert "Platform IPI Device       : aclint-mswi" in console
    assert "Domain0 Next Address      : 0x0000000080200000" in console
    assert f"smp: Brought up 1 node, {cpus} CPU" in console
    assert "guest says:" in console


@has_opensbi
@has_u_boot
def test_u_boot_boots_the_disk_and_again_after_a_reboot(tiny, tmp_path):
    command = base64.b64encode(b"reboot -f").decode()
    disk = make_disk(tiny, tmp_path, f"auberge.run={command}")
    with machine(
        firmware=f"{OPENSBI}/fw_dynamic.bin",
        kernel=f"{U_BOOT}/qemu-riscv64_smode/u-boot.bin",
        disks=[f"{disk},ro"],
    ) as computer:
        for _ in range(2):
            for text in ("OpenSBI v", "U-Boot 2", "Found /boot/extlinux/extlinux.conf", "Linux v"):
                computer.console.expect(text, timeout=200)


@has_u_boot
def test_u_boot_runs_on_our_sbi_too(tiny, tmp_path):
    disk = make_disk(tiny, tmp_path, "auberge.report")
    with machine(kernel=f"{U_BOOT}/qemu-riscv64_smode/uboot.elf", disks=[f"{disk},ro"]) as computer:
        assert computer.run(timeout=240) == auberge.PoweredOff(0)
        assert "guest says:" in computer.console.output


@has_u_boot
def test_u_boot_itself_in_machine_mode(tiny, tmp_path):
    disk = make_disk(tiny, tmp_path, "")
    with machine(firmware=f"{U_BOOT}/qemu-riscv64/u-boot.bin", disks=[f"{disk},ro"]) as computer:
        computer.console.expect("Hit any key to stop autoboot", timeout=60)
        computer.console.send("\n")
        computer.console.expect("=> ", timeout=60)
        computer.console.send("ls virtio 0:1 /boot/extlinux\n")
        computer.console.expect("extlinux.conf", timeout=60)
        computer.console.send("poweroff\n")
        assert computer.run(timeout=60) == auberge.PoweredOff(0)
