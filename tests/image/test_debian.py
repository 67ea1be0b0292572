"""The image `debian`: chosen by apt, handed to a guest that installs it, and refused if that fails.

The guest here only says what the real one says; see test_real_debian.py for that.
"""

import io
import os
import shutil
import signal
import subprocess
import sys
import tarfile

import pytest

from auberge.image import build, debian, find, installer, recipe, store
from auberge.image.apt import Archive as Named
from auberge.image.sources import Source
from auberge.refusal import Refusal
from tests.image.debian import RELEASE, Archive, needs
from tests.image.test_cpio import read_back
from tests.image.test_iso9660 import records

needs_apt = [pytest.mark.slow, needs("apt-get", "dpkg-deb", "gpgv", "gpg")]
ESSENTIAL = ["apt", "base-files", "dpkg"]  # apt thinks of itself as such


@pytest.fixture(scope="module")
def made(tmp_path_factory, key):
    """An archive that has what `debian` is made of."""
    archive = Archive(tmp_path_factory.mktemp("made") / "debian", key)
    archive.add("base-files", "13.8", {"usr/lib/os-release": b"ID=debian\n"}, "Essential: yes\n")
    archive.add("dpkg", "1.22", {"usr/bin/dpkg": b"dpkg"}, "Essential: yes\n")
    archive.add("libext2fs2t64", "1.47", {"usr/lib/libext2fs.so.2": b"library"})
    for name in debian.WANTED:
        if name not in ("linux-image-riscv64", "dpkg"):
            more = "Depends: libext2fs2t64\n" if name == "e2fsprogs" else ""
            archive.add(name, "1:2-3", {f"usr/bin/{name}": name.encode()}, more)
    archive.publish()
    return archive


@pytest.fixture
def packages(made, tmp_path):
    """A copy of it, to do with as one likes."""
    shutil.copytree(made.root, tmp_path / "debian")
    return made.at(tmp_path / "debian")


class Guest:
    """Says what it is told to, and keeps what it was given."""

    def __init__(self, *says):
        self.says = says

    def __call__(self, job):
        self.job = job
        with open(job.initrd, "rb") as file:
            self.files = {name: data for name, _, data, _ in read_back(file.read())}
        disk, cd = (path.rpartition(",")[0] for path in job.disks)
        with open(cd, "rb") as file:
            self.cd = {name.decode().lower(): data for name, _, data in records(file.read())}
        with open(disk, "r+b") as file:
            file.write(b"installed")
        for data in self.says:
            job.hear(data)


def build_with(packages, computer, progress=lambda stage, done, total: None):
    keyring = str(packages.key.binary)
    return build("debian", "riscv64", packages.uri, keyring, progress, computer=computer)


def listed(guest, name):
    return guest.files[f"etc/packages.{name}"].decode().split()


def unpacked(data):
    """The members of a package whose archives are not compressed."""
    done = subprocess.run(["ar", "t", "/dev/stdin"], input=data, capture_output=True, check=False)
    assert done.stdout.split() in ([], [b"debian-binary", b"control.tar", b"data.tar"])
    assert data.startswith(b"!<arch>\ndebian-binary")
    at = data.index(b"data.tar ") + 60
    with tarfile.open(fileobj=io.BytesIO(data[at:])) as archive:
        return {
            member.name: (member.uid, member.mode, archive.extractfile(member).read())
            for member in archive
            if member.isreg()
        }


@pytest.mark.usefixtures("cache")
class TestBuild:
    pytestmark = needs_apt

    def test_the_guest_is_given_all_it_installs(self, packages):
        guest = Guest(b"auberge: done\r\n")
        image = build_with(packages, guest)
        assert guest.job[2:4] == ("quiet panic=0", "1G")
        assert [option.rpartition(",")[2] for option in guest.job.disks] == ["rw", "ro"]
        assert guest.job.until == "Kernel panic"

        programs = {}
        for place in listed(guest, "essential") + listed(guest, "others"):
            programs |= unpacked(guest.cd[place.removeprefix("/mnt/") + ";1"])
        assert programs["./usr/bin/dpkg"] == (0, 0o644, b"dpkg")
        assert programs["./usr/bin/python3"] == (0, 0o644, b"python3")
        assert f"./boot/vmlinux-{RELEASE}" in programs
        assert len(listed(guest, "essential")) == len(ESSENTIAL)
        assert len(listed(guest, "tools")) == 3  # base-files, e2fsprogs and its library
        assert f"lib/modules/{RELEASE}/isofs.ko" in guest.files
        states = guest.files["etc/after/var/lib/apt/extended_states"].decode()
        assert "Package: libext2fs2t64\nArchitecture: riscv64\nAuto-Installed: 1\n" in states
        assert "Package: python3\n" not in states

        store.verify(image)
        manifest = store.read_manifest(image)
        assert manifest["kernel_version"] == RELEASE
        assert manifest["files"].keys() == {"Image", "initrd", "disk"}
        assert sorted(os.listdir(image.directory)) == ["Image", "disk", "initrd", "manifest.json"]
        assert os.path.getsize(image.disk) == 4 << 30
        assert os.stat(image.disk).st_blocks < 1000  # sparse
        assert store.boot_options(image) == (
            "1G",
            "root=/dev/vda rw net.ifnames=0",
            (f"{image.disk},temporary",),
        )

    def test_each_stage_is_heard_and_dpkg_moves_the_bar(self, packages):
        heard = []
        says = b"auberge: installing\r\nstatus: dpkg: unpacked\r\nstatus: dp", b"kg: installed\r\n"
        build_with(packages, Guest(*says, b"auberge: done\r\n"), lambda *said: heard.append(said))
        stages = list(dict.fromkeys(stage for stage, _, _ in heard))
        assert stages[2:] == [recipe.UNPACK, recipe.COPY, recipe.INSTALL, recipe.WRITE]
        done = [done for stage, done, _ in heard if stage == recipe.INSTALL]
        assert done[:3] == [0, 1, 2] and done[-1] == heard[-5][2]

    @pytest.mark.parametrize(
        ("says", "why"),
        [
            (b"auberge: failed: tar: short read\r\n", "tar: short read"),
            (b"[    1.2] Kernel panic - not", "Kernel panic - not"),
            (b"", "it ended without a word"),
        ],
    )
    def test_a_failed_installation_leaves_nothing(self, cache, packages, says, why):
        with pytest.raises(Refusal) as told:
            build_with(packages, Guest(says))
        assert str(told.value) == (
            f"debian: the installation failed: {why}; build again, or use another mirror"
        )
        assert find("debian", "riscv64") is None
        assert os.listdir(cache / "images") == [".debian-riscv64.lock"]

    def test_a_full_disk_is_what_is_said(self, cache, packages, monkeypatch):
        usage = shutil.disk_usage(cache.parent)._replace(free=installer.ROOM - 1)
        monkeypatch.setattr(shutil, "disk_usage", lambda path: usage)
        with pytest.raises(Refusal) as told:
            build_with(packages, Guest(b"auberge: failed: I/O error\r\n"))
        where = cache / "images/.debian-riscv64.building"
        assert str(told.value) == (
            f"{where}: no space left on device; AUBERGE_CACHE_DIR may name another"
        )

    def test_it_needs_a_computer(self, packages):
        with pytest.raises(Refusal) as told:
            build_with(packages, None)
        assert str(told.value) == (
            "debian: installs itself in a guest; use `auberge image build debian`"
        )

    @pytest.mark.parametrize(
        ("stage", "at"),
        [(recipe.COPY, "start"), (recipe.INSTALL, "start"), (recipe.INSTALL, "end")],
    )
    def test_a_build_that_is_killed_leaves_no_image(self, packages, stage, at):
        argv = [sys.executable, "-c", KILLED, packages.uri, str(packages.key.binary), stage, at]
        assert subprocess.run(argv, check=False).returncode == -signal.SIGKILL
        assert find("debian", "riscv64") is None
        for package in packages.pool.iterdir():
            package.unlink()
        # what was fetched is there
        store.verify(build_with(packages, Guest(b"auberge: done\n")))


KILLED = """
import os, signal, sys
from auberge.image import build
uri, keyring, stage, at = sys.argv[1:]
def progress(name, done, total):
    if name == stage and done == {"start": 0, "end": total}[at]:
        os.kill(os.getpid(), signal.SIGKILL)
def guest(job):
    job.hear(b"auberge: done\\n")
build("debian", "riscv64", uri, keyring, progress, computer=guest)
"""

KEYS = "/usr/share/keyrings/debian-archive-keyring.gpg"


def source(uri, *suites):
    return Source("sources", uri, suites, ("main",), "")


def test_the_guests_apt_uses_the_mirrors_of_the_hosts():
    archive = Named("http://example.org/debian", "", "", "Debian")
    hosts = [
        source("http://example.org/debian", "bookworm", "bookworm-updates"),
        source("https://me:secret@example.org/debian-security", "bookworm-security"),
        source("http://example.com/other", "bookworm-updates", "other-security"),
    ]
    assert debian.guest_sources(archive, hosts) == (
        "Types: deb\nURIs: http://example.org/debian\nSuites: trixie trixie-updates\n"
        f"Components: main\nSigned-By: {KEYS}\n\n"
        "Types: deb\nURIs: https://example.org/debian-security\nSuites: trixie-security\n"
        f"Components: main\nSigned-By: {KEYS}\n"
    )


def test_a_mirror_that_the_user_vouches_for_is_the_only_one(tmp_path):
    keyring = tmp_path / "keys"
    keyring.write_bytes(b"\x98binary")
    archive = Named("http://example.org/mine", "", str(keyring), "")
    hosts = [source("http://example.org/debian-security", "bookworm-security")]
    assert debian.guest_sources(archive, hosts) == (
        "Types: deb\nURIs: http://example.org/mine\nSuites: trixie\n"
        "Components: main\nSigned-By: /etc/apt/keyrings/mirror.gpg\n"
    )


def test_a_directory_of_the_host_is_no_mirror_for_a_guest():
    assert debian.guest_sources(Named("file:/srv/debian", "", "", "Debian"), []) == (
        "# The image was made without a mirror that a guest can reach.\n"
    )
