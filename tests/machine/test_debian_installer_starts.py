"""Debian's installer, its netboot image as it is: to its first dialog, and on over our network."""

import os
import subprocess
import tempfile

import pytest

import auberge
from auberge.image import store
from auberge.image.apt import Apt, archives

PACKAGE = "debian-installer-13-netboot-riscv64"
"""Holds the files of the archive's installer-riscv64/current/images/netboot; apt verifies it."""
FILES = "usr/lib/debian-installer/images/13/riscv64/text/debian-installer/riscv64"
OPENSBI = "/usr/lib/riscv64-linux-gnu/opensbi/generic/fw_dynamic.bin"

WORDS = "DEBIAN_FRONTEND=text hostname=guest domain="
"""Dialogs as lines, which say what goes on between them too; and two fewer."""

pytestmark = [pytest.mark.slow, pytest.mark.timeout(900)]


@pytest.fixture(scope="module")
def installer():
    """The folder with the kernel and the initramfs: downloaded once, and kept."""
    folder = os.path.join(store.cache_directory(), "tests")
    path = os.path.join(folder, PACKAGE)
    if not os.path.exists(path):
        os.makedirs(folder, exist_ok=True)
        with tempfile.TemporaryDirectory(dir=folder) as work:
            unpack(fetch(os.path.join(work, "apt")), os.path.join(work, "root"))
            os.rename(os.path.join(work, "root", FILES), path)
    return path


def fetch(folder):
    """The path of the package."""
    os.makedirs(folder)
    lock = os.open(folder, os.O_RDONLY)
    try:
        apt = Apt(archives(None, None)[0], "riscv64", folder, lock)
        apt.update(lambda done, total: None)
        packages = apt.locate([PACKAGE])
        apt.fetch(packages, lambda done, total: None)
    except auberge.Refusal as refusal:
        pytest.skip(str(refusal))
    finally:
        os.close(lock)
    return packages[0].path


def unpack(package, folder):
    """All that is in the package."""
    subprocess.run(["dpkg-deb", "--extract", package, folder], check=True)


def boot(installer, **options):
    return auberge.Machine.virt(
        f"{installer}/linux",
        f"{installer}/initrd.gz",
        memory="1G",
        console=lambda data: None,
        **options,
    )


def choose(machine, dialog):
    """Wait for a dialog, and take what it proposes."""
    machine.console.expect(dialog, timeout=250)
    machine.console.expect("Prompt: ", timeout=60)
    machine.console.send("\r")


def test_its_dialogs_and_its_network(installer):
    with boot(installer, append=WORDS, net="user") as machine:
        for dialog in ("Select a language", "Select your location", "Configure the keyboard"):
            choose(machine, dialog)
        # most of this is its looking for hardware; there is no IPv6 router to wait for
        machine.console.expect("Configuring the network with DHCP", timeout=400)
        machine.console.expect("Choose a mirror of the Debian archive", timeout=100)


@pytest.mark.skipif(not os.path.exists(OPENSBI), reason="no OpenSBI here; apt install opensbi")
def test_it_starts_on_a_firmware_too(installer):
    with boot(installer, firmware=OPENSBI) as machine:
        machine.console.expect("Select a language", timeout=250)
