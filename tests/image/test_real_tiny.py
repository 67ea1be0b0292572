"""The real `tiny`, from Debian's own archive, boots in QEMU as it has to on our own machine."""

import base64
import os
import struct
import subprocess

import pytest

from auberge.image import build, store, tiny
from auberge.image.apt import MISMATCH
from auberge.refusal import Refusal
from tests.image.debian import needs
from tests.image.newc import read_back

pytestmark = [pytest.mark.slow, needs("apt-get", "dpkg-deb", "gpgv")]

OUTSIDE = ("cannot be reached", "no Debian archive", "stopped in the middle", MISMATCH)
"""What is the matter with the network or the mirror, and not with us."""

QEMU = ["qemu-system-riscv64", "-M", "virt", "-m", "512M", "-nographic", "-bios", "default"]
DISK = ["-device", "virtio-blk-device,drive=d", "-device", "virtio-rng-device"]


@pytest.fixture(scope="module")
def image(tmp_path_factory):
    """The image, built from the archive of the host's apt."""
    cache = tmp_path_factory.mktemp("real")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("AUBERGE_CACHE_DIR", str(cache))
        try:
            yield build("tiny", "riscv64")
        except Refusal as refusal:
            if any(each in str(refusal) for each in OUTSIDE):
                pytest.skip(str(refusal))
            raise


def files_of(image):
    with open(image.initrd, "rb") as file:
        return {name: data for name, _, data, _ in read_back(file.read())}


def boot(image, words, *devices):
    """The guest's exit status and console."""
    argv = [*QEMU, "-kernel", image.kernel, "-initrd", image.initrd, *devices]
    argv += ["-append", f"console=ttyS0 quiet {words}"]
    done = subprocess.run(
        argv, stdin=subprocess.DEVNULL, capture_output=True, timeout=240, check=False
    )
    return done.returncode, done.stdout.decode(errors="replace").replace("\r", "")


def run(image, command, *devices):
    """The status and output of a shell command in the guest."""
    word = base64.b64encode(f"echo @@; {command}".encode()).decode()
    status, console = boot(image, f"auberge.run={word}", *devices)
    return status, console.split("@@\n", 1)[-1]


def test_it_is_small_and_whole(image):
    store.verify(image)
    # half of it are the modules of 9P, of which netfs alone is 1.8 MB
    assert os.path.getsize(image.initrd) < 7 << 20


def test_its_busybox_needs_no_libraries(image):
    program = files_of(image)["bin/busybox"]
    offset, size, count = (
        *struct.unpack_from("<Q", program, 32),
        *struct.unpack_from("<HH", program, 54),
    )
    kinds = {struct.unpack_from("<I", program, offset + i * size)[0] for i in range(count)}
    assert struct.unpack_from("<H", program, 18)[0] == 243  # EM_RISCV
    assert 3 not in kinds  # PT_INTERP


@needs("qemu-system-riscv64")
def test_it_reports_and_powers_off(image):
    status, console = boot(image, "auberge.report")
    release = files_of(image)["etc/os-release"].decode()
    version = store.read_manifest(image)["kernel_version"]
    report = console.split("guest says:\n", 1)[1]
    assert status == 0
    assert report.startswith(f"Linux tiny {version} ")
    assert report.split("\n", 1)[1].startswith(release)
    assert "VERSION_CODENAME=trixie" in release


@needs("qemu-system-riscv64")
def test_it_runs_a_command_and_tells_its_status(image):
    disk = ["-drive", f"file={image.initrd},format=raw,readonly=on,if=none,id=d", *DISK]
    command = "busybox --list; stat -c %s /dev/vda >/dev/null && lsmod | cut -d' ' -f1; exit 7"
    status, output = run(image, command, *disk)
    names = tiny.applets(files_of(image)["bin/busybox"])
    assert status == 7
    assert output.splitlines() == [
        *names,
        "Module",
        "virtio_rng",
        "virtio_blk",
        "virtio_mmio",
    ]


@needs("qemu-system-riscv64")
def test_it_gives_a_shell_of_the_right_size(image):
    argv = [*QEMU, "-kernel", image.kernel, "-initrd", image.initrd]
    argv += ["-append", "console=ttyS0 quiet auberge.size=100x33 TERM=xterm"]
    console = b""
    with subprocess.Popen(argv, stdin=subprocess.PIPE, stdout=subprocess.PIPE) as guest:
        assert guest.stdin is not None and guest.stdout is not None
        while not console.endswith(b"# \x1b[6n"):
            byte = guest.stdout.read(1)
            assert byte, console
            console += byte
        guest.stdin.write(b"stty size; echo $TERM; tty; id -un; exit\n")
        guest.stdin.flush()
        said = guest.stdout.read().decode().replace("\r", "")
    assert guest.returncode == 0
    assert said.split("exit\n", 1)[1].splitlines()[:4] == ["33 100", "xterm", "/dev/ttyS0", "root"]
