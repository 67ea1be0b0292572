"""The real `debian` boots to a login, on our own machine, and leaves its image alone.

Building it takes long: it is done only with AUBERGE_TEST_DEBIAN=1; else an image that is there is
booted, or nothing.
"""

import os

import pytest

import auberge
from auberge.image import build, find, store
from auberge.machine.outcome import PoweredOff
from auberge.refusal import Refusal

pytestmark = [pytest.mark.slow, pytest.mark.timeout(3600)]

PROMPT = "root@debian:~# "


@pytest.fixture(scope="module")
def image():
    """The image: built, if that is asked for, else the cached one."""
    if os.environ.get("AUBERGE_TEST_DEBIAN") == "1":
        from auberge.cli.image import run_guest

        return build("debian", "riscv64", computer=run_guest)
    try:
        found = find("debian", "riscv64")
    except Refusal as refusal:
        pytest.skip(str(refusal))
    if found is None:
        pytest.skip("no image debian; `auberge image build debian`, or AUBERGE_TEST_DEBIAN=1")
    return found


def test_it_is_lived_in_and_forgets(image):
    store.verify(image)
    before = os.stat(image.disk)
    wish = store.boot_options(image)
    with auberge.Machine.virt(
        image.kernel,
        image.initrd,
        f"{wish.append} quiet",
        wish.memory,
        disks=wish.disks,
        console=lambda data: None,
    ) as machine:
        console = machine.console

        def told(command):
            """What a command prints."""
            console.send(f"{command}\n")
            printed = console.expect(PROMPT, timeout=300)
            lines = printed.replace("\r", "").replace("\x1b[?2004l", "").split("\n")
            return [line.removeprefix("\x1b[?2004h") for line in lines[1:-1]]

        console.expect("login: ", timeout=900)
        console.send("root\n")
        console.expect(PROMPT, timeout=300)
        assert told("id -un; tty") == ["root", "/dev/ttyS0"]
        assert told("python3 -c 'print(6 * 7)'") == ["42"]
        assert told("dpkg --audit; dpkg-query -f '${db:Status-Status}\\n' -W | sort -u") == [
            "installed"
        ]
        # owners and modes are those of the archives
        assert told("stat -c '%U:%G %a' /etc/shadow /usr/bin/su /tmp /root") == [
            "root:shadow 640",
            "root:root 4755",
            "root:root 1777",
            "root:root 700",
        ]
        assert told("findmnt -n -o SOURCE,FSTYPE /") == ["/dev/vda ext4"]
        assert told("uname -r") == [store.read_manifest(image)["kernel_version"]]
        assert told("modprobe --show-depends ext4 | wc -l") != ["0"]
        assert told("systemctl --failed --no-legend --plain | cat") == []
        told("echo here > /root/mine; sync")
        console.send("poweroff\n")
        assert machine.run(timeout=600) == PoweredOff(0)
    after = os.stat(image.disk)
    assert (after.st_mtime_ns, after.st_blocks) == (before.st_mtime_ns, before.st_blocks)
