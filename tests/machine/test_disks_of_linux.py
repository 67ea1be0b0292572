"""Linux on our disks: formats, several at once, discards, errors, a full host, kill -9."""

import hashlib
import os
import re
import resource
import signal
import subprocess

import pytest

import auberge
from auberge.image import build
from auberge.machine.disk import open_disk
from tests.command import AUBERGE
from tests.image.disks import DISK, SIZE, make
from tests.machine.test_disk import read

pytestmark = [pytest.mark.slow, pytest.mark.timeout(280)]

PROMPT = "root@tiny:~# "
# A pipe may give less than a block at a time: then dd would write that.
DD = "dd iflag=fullblock of=/dev/vda bs=4k conv=fsync"


@pytest.fixture(scope="module")
def tiny():
    """The image `tiny`, from the cache or built now."""
    try:
        return build("tiny", "riscv64")
    except auberge.Refusal as refusal:
        pytest.skip(str(refusal))


def command(machine, text):
    """Run `text` in the guest's shell; what it prints."""
    machine.console.send(f"{text}; echo en''ded $?\n")
    printed = machine.console.expect("ended ", 200)
    machine.console.expect(PROMPT, 200)
    return printed.replace("\r", "")


def test_disks_of_every_format_at_once(tiny, tmp_path, capsys):
    """Each reads as its disk; what is discarded is given back; an error is an error."""
    names = ["zstd.qcow2", "stream.vmdk", "dynamic.vdi", "dynamic.vhdx"]
    paths = [make(tmp_path, name) for name in names]
    blank, cut = tmp_path / "blank.img", tmp_path / "cut.img"
    blank.write_bytes(bytes(8 << 20))
    cut.write_bytes(bytes(8 << 20))
    disks = [*map(str, paths), str(blank), f"{cut},ro"]
    with auberge.Machine.virt(
        kernel=tiny.kernel, initrd=tiny.initrd, disks=disks, console=lambda data: None
    ) as machine:
        machine.console.expect(PROMPT, 120)
        sums = command(machine, "md5sum /dev/vda /dev/vdb /dev/vdc /dev/vdd")
        wanted = hashlib.md5(DISK).hexdigest()
        assert re.findall(r"[0-9a-f]{32}", sums) == [wanted] * 4
        sizes = command(machine, "cat /sys/block/vd?/size")
        assert re.findall(r"^\d+$", sizes, re.M) == [str(SIZE // 512)] * 4 + ["16384"] * 2
        command(machine, "dd if=/dev/zero of=/dev/vda bs=64k count=2 conv=fsync")
        command(machine, "dd if=/dev/zero of=/dev/vde bs=1M count=8 conv=fsync")
        before = os.stat(f"{blank}.overlay").st_blocks
        command(machine, "blkdiscard /dev/vde")
        assert os.stat(f"{blank}.overlay").st_blocks < before - (7 << 20) // 512
        os.truncate(cut, 1 << 20)
        command(machine, "echo 3 > /proc/sys/vm/drop_caches")
        failed = command(machine, "dd if=/dev/vdf of=/dev/null bs=1M")
        assert "dd: error reading '/dev/vdf'" in failed or "Input/output error" in failed
        assert "I/O error, dev vdf" in command(machine, "dmesg | tail -n 5")
        counted = machine.statistics().disks
        assert counted["requests"] > 50 and counted["errors"] >= 1 and counted["python_ns"] > 0
        assert counted["read_bytes"] > 4 * SIZE
        rows = [" ".join(line.split()[:-2]) for line in machine.statistics().lines()]
        assert "disks Python per request" in rows
    assert capsys.readouterr().err == (
        f"auberge: {cut}: the file is shorter than it was; the guest has an error; check that file "
        "and the disk it is on\n"
    )
    disk = open_disk(str(paths[0]))
    assert read(disk, 0, 131072) == bytes(131072)
    assert read(disk, 131072, SIZE - 131072) == DISK[131072:]
    disk.close()


class Booted:
    """`auberge boot` as a process of its own, its guest at a shell; killed with its context."""

    def __init__(self, *disks, limit=None):
        def limited():
            resource.setrlimit(resource.RLIMIT_FSIZE, (limit, limit))

        words = [word for disk in disks for word in ("--disk", str(disk))]
        self.process = subprocess.Popen(
            [*AUBERGE, "boot", "tiny", "--net", "none", *words],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            preexec_fn=None if limit is None else limited,
        )
        self.output = b""

    def __enter__(self):
        return self

    def __exit__(self, *error):
        self.process.kill()
        with self.process:
            pass

    def send(self, text):
        self.process.stdin.write(f"{text}\n".encode())
        self.process.stdin.flush()

    def await_text(self, text):
        wanted = text.encode()
        while wanted not in self.output:
            data = os.read(self.process.stdout.fileno(), 65536)
            assert data, self.output[-500:]
            self.output += data
        said, _, self.output = self.output.partition(wanted)
        return said.decode(errors="replace")


def test_a_host_that_is_full(tiny, tmp_path):
    """The guest hears of it as of a bad disk, goes on, and what it had flushed is there."""
    path = tmp_path / "disk.img"
    path.touch()
    os.truncate(path, 2 << 30)
    open_disk(str(path)).close()  # the limit is one on the length of files
    with Booted(path, limit=1 << 30) as guest:
        guest.await_text(PROMPT)
        guest.send(f"yes | {DD} count=1; echo fir''st $?")
        guest.await_text("first 0")
        guest.send(f"yes | {DD} count=1 seek=400000; echo seco''nd $?")
        guest.await_text("second 1")
        guest.send("dmesg | grep -c 'I/O error, dev vda'; echo thi''rd $?")
        guest.await_text("third 0")
        guest.send("poweroff -f")
        output, complaints = guest.process.communicate(timeout=200)
        assert guest.process.returncode == 0
        assert complaints.decode() == (
            f"auberge: {path}.overlay: file too large; the guest has an error; make room there, or"
            " the guest will lose what it writes\n"
        )
    disk = open_disk(str(path))
    assert read(disk, 0, 4) == b"y\ny\n"
    disk.close()


def test_kill_9_while_linux_writes(tiny, tmp_path):
    """What the guest was told is on its disk is there; the next boot goes on from it."""
    path = tmp_path / "disk.img"
    path.write_bytes(bytes(8 << 20))
    with Booted(path) as guest:
        guest.await_text(PROMPT)
        guest.send(
            f"i=0; while i=$((i+1)); do yes $i | {DD} count=1 seek=$i"
            " 2>/dev/null; echo do''ne $i.; done"
        )
        guest.await_text("done 12.")
        guest.process.send_signal(signal.SIGKILL)
        rest, complaints = guest.process.communicate(timeout=200)
        assert (guest.process.returncode, complaints) == (-signal.SIGKILL, b"")
    told = re.findall(rb"done (\d+)\.", guest.output + rest)
    last = int(told[-1]) if told else 12
    disk = open_disk(str(path))
    for number in range(1, last + 1):
        line = f"{number}\n".encode()
        assert read(disk, 4096 * number, len(line)) == line, number
    assert read(disk, 4096 * (last + 2), 4096) == bytes(4096)
    disk.close()
    with Booted(path) as again:
        again.await_text(PROMPT)
        again.send("dd if=/dev/vda bs=4k skip=12 count=1 | head -n 1; poweroff -f")
        output, complaints = again.process.communicate(timeout=200)
        assert (again.process.returncode, complaints) == (0, b"")
        assert b"\n12\r\n" in again.output + output
