"""The real `debian` is lived in on our own machine, reports on itself, and leaves its image alone.

`make test` builds it beforehand; here the cached one is booted, or nothing.
"""

import base64
import functools
import http.server
import os
import signal
import subprocess
import threading
import time

import pytest

import auberge
from auberge.image import find, store
from auberge.machine.outcome import PoweredOff
from auberge.refusal import Refusal
from tests.command import AUBERGE
from tests.image.debian import Archive, needs

pytestmark = [pytest.mark.slow, pytest.mark.timeout(1800)]

PROMPT = "root@debian:~# "


@pytest.fixture(scope="module")
def image():
    """The cached image, which nothing here may change."""
    try:
        found = find("debian", "riscv64")
    except Refusal as refusal:
        pytest.skip(str(refusal))
    if found is None:
        pytest.skip("no image debian; auberge image build debian")
    before = os.stat(found.disk)
    yield found
    after = os.stat(found.disk)
    assert (after.st_mtime_ns, after.st_blocks) == (before.st_mtime_ns, before.st_blocks)
    store.verify(found)


class Guest:
    """Debian, with somebody who has logged in as root at its console."""

    def __init__(self, machine):
        self.machine = machine
        self.console = machine.console
        self.console.expect("login: ", timeout=900)
        self.console.send("root\n")
        self.console.expect(PROMPT, timeout=300)

    def told(self, command):
        """What a command prints."""
        self.console.send(f"{command}\n")
        printed = self.console.expect(PROMPT, timeout=300)
        lines = printed.replace("\r", "").replace("\x1b[?2004l", "").split("\n")
        return [line.removeprefix("\x1b[?2004h") for line in lines[1:-1]]


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """A folder of the host that the guest shares."""
    folder = tmp_path_factory.mktemp("shared")
    (folder / "from-host").write_text("hello guest\n")
    return folder


@pytest.fixture(scope="module")
def guest(image, folder):
    """One boot for all who only look; the last of them turns it off."""
    wish = store.boot_options(image)
    with auberge.Machine.virt(
        image.kernel,
        image.initrd,
        f"{wish.append} quiet",
        wish.memory,
        disks=wish.disks,
        console=lambda data: None,
        net="user,host-loopback",
        volumes=[f"{folder}:/srv/shared"],
    ) as machine:
        yield Guest(machine)


def test_root_is_on_the_console_without_a_password(guest):
    assert guest.told("id -un; tty") == ["root", "/dev/ttyS0"]


def test_python_is_there(guest):
    assert guest.told("python3 -c 'print(6 * 7)'") == ["42"]


def test_every_package_is_installed_properly(guest):
    assert guest.told("dpkg --audit; dpkg-query -f '${db:Status-Status}\\n' -W | sort -u") == [
        "installed"
    ]
    assert guest.told("apt-get check -qq") == []
    assert guest.told("systemctl --failed --no-legend --plain | cat") == []


def test_owners_and_modes_are_those_of_the_archives(guest):
    assert guest.told("stat -c '%U:%G %a' /etc/shadow /usr/bin/su /tmp /root") == [
        "root:shadow 640",
        "root:root 4755",
        "root:root 1777",
        "root:root 700",
    ]


def test_the_root_disk_and_the_kernels_modules(guest, image):
    assert guest.told("findmnt -n -o SOURCE,FSTYPE /") == ["/dev/vda1 ext4"]
    version = store.read_manifest(image)["kernel_version"]
    assert guest.told("uname -r") == [version]
    # the index of modules, which the installation makes on the side
    assert guest.told("modprobe --show-depends ext4 | wc -l") != ["0"]
    assert guest.told(f"ls /lib/modules/{version} | grep -c '^modules[.].*bin$'") == ["5"]
    # what U-Boot boots
    assert guest.told("readlink -f /vmlinuz /initrd.img") == [
        f"/boot/vmlinux-{version}",
        f"/boot/initrd.img-{version}",
    ]


def test_the_clock_is_the_hosts(guest):
    # The kernel reads whole seconds and takes the middle of one (Linux drivers/rtc/class.c).
    before = int(time.time() - 0.5)
    assert before <= int(guest.told("date +%s")[0]) <= time.time() + 0.5


def test_a_folder_of_the_host_is_there(guest, folder):
    assert guest.told("cat /srv/shared/from-host") == ["hello guest"]
    guest.told("echo hello host > /srv/shared/from-guest")
    assert (folder / "from-guest").read_text() == "hello host\n"


class Quiet(http.server.SimpleHTTPRequestHandler):
    """Serves files and says nothing about it."""

    def log_message(self, format, *args):
        pass


@needs("apt-get", "dpkg-deb", "gpg")
def test_apt_installs_over_the_network_that_came_up_by_itself(guest, key, tmp_path):
    archive = Archive(tmp_path / "archive", key)
    archive.add("hello", "1-1", {"usr/share/hello/greeting": b"hello from apt\n"})
    archive.publish()
    handler = functools.partial(Quiet, directory=str(archive.root))
    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), handler) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        keyring = base64.b64encode(key.binary.read_bytes()).decode()
        guest.told(f"echo {keyring} | base64 -d > /etc/apt/keyrings/test.gpg")
        entry = (
            f"deb [signed-by=/etc/apt/keyrings/test.gpg] http://10.0.2.2:{server.server_port}"
            " trixie main"
        )
        guest.told("rm /etc/apt/sources.list.d/*")
        guest.told(f"echo '{entry}' > /etc/apt/sources.list")
        guest.told("until [ -e /etc/resolv.conf ]; do sleep 1; done")
        guest.told("apt-get -qq update && apt-get -qq install -y hello > /dev/null")
        assert guest.told("cat /usr/share/hello/greeting") == ["hello from apt"]
        server.shutdown()


def test_poweroff_is_status_0(guest):
    guest.console.send("poweroff\n")
    assert guest.machine.run(timeout=600) == PoweredOff(0)


def test_it_reports_on_itself_as_make_run_has_it(image):
    command = [*AUBERGE, "boot", "debian", "--append", "quiet auberge.report"]
    done = subprocess.run(command, stdin=subprocess.DEVNULL, capture_output=True, check=False)
    said = done.stdout.decode().replace("\r", "").split("\nguest says:\n")
    version = store.read_manifest(image)["kernel_version"]
    assert (done.returncode, len(said)) == (0, 2), done.stdout[-2000:]
    assert said[1].startswith(f"Linux debian {version} ")
    assert said[1].split("\n")[1] == 'PRETTY_NAME="Debian GNU/Linux 13 (trixie)"'


@pytest.mark.parametrize("text", [b"Linux version", b"EXT4-fs", b"Welcome to"])
def test_killed_while_it_boots_it_leaves_nothing(image, text, tmp_path):
    environment = {**os.environ, "TMPDIR": str(tmp_path)}
    with subprocess.Popen(
        [*AUBERGE, "boot", "debian"],
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        env=environment,
    ) as boot:
        said = b""
        while text not in said:
            data = os.read(boot.stdout.fileno(), 4096)
            assert data, said[-500:]
            said += data
        boot.kill()
    assert boot.returncode == -signal.SIGKILL
    assert os.listdir(tmp_path) == []
