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

from auberge.image import build, debian, find, installer, partition, recipe, store
from auberge.refusal import Refusal
from tests.image.debian import RELEASE, Archive, needs
from tests.image.newc import read_back
from tests.image.test_iso9660 import records

needs_apt = [pytest.mark.slow, needs("apt-get", "dpkg-deb", "gpgv", "gpg")]
SIZE = 64 << 20
ESSENTIAL = ["apt", "base-files", "dpkg"]  # apt thinks of itself as such


@pytest.fixture(scope="module")
def made(tmp_path_factory, key):
    """An archive that has what `debian` is made of."""
    archive = Archive(tmp_path_factory.mktemp("made") / "debian", key)
    archive.add("base-files", "13.8", {"usr/lib/os-release": b"ID=debian\n"}, "Essential: yes\n")
    archive.add("dpkg", "1.22", {"usr/bin/dpkg": b"dpkg"}, "Essential: yes\n")
    archive.add("libext2fs2t64", "1.47", {"usr/lib/libext2fs.so.2": b"library"})
    for name in (name for step in debian.STEPS for name in step):
        if name not in (debian.ESSENTIAL, "linux-image-riscv64", "dpkg"):
            more = "Depends: libext2fs2t64\n" if name == "e2fsprogs" else ""
            archive.add(name, "1:2-3", {f"usr/bin/{name}": name.encode()}, more)
    archive.publish()
    return archive


@pytest.fixture
def packages(made, tmp_path, monkeypatch):
    """A copy of it, to do with as one likes; the disks made of it are small."""
    monkeypatch.setattr(debian, "DISK_SIZE", SIZE)
    shutil.copytree(made.root, tmp_path / "debian")
    return made.at(tmp_path / "debian")


class Guest:
    """Says what it is told to, and keeps what it was given and what it was answered."""

    def __init__(self, *says):
        self.says = says
        self.answers = []

    def __call__(self, job):
        self.job = job
        with open(job.initrd, "rb") as file:
            self.files = {name: data for name, _, data, _ in read_back(file.read())}
        disk, cd = (path.rpartition(",")[0] for path in job.disks)
        with open(cd, "rb") as file:
            self.cd = {name.decode().lower(): data for name, _, data in records(file.read())}
        with open(disk, "r+b") as file:
            self.disk = file.read(1 << 10)
            for data in self.says:
                file.seek(0)
                file.write(data)
                file.flush()
                self.answers.append(job.hear(data))


def build_with(packages, computer, progress=lambda stage, done, total: None):
    keyring = str(packages.key.binary)
    return build("debian", "riscv64", packages.uri, keyring, progress, computer=computer)


def interrupted(guest):
    """A computer on which someone presses Ctrl-C once the guest has said all."""

    def computer(job):
        guest(job)
        raise KeyboardInterrupt

    return computer


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
        assert guest.job[2:4] == ("quiet panic=0 auberge.step=0", "1G")
        assert guest.disk == partition.one_partition(SIZE).ljust(1 << 10, b"\0")
        assert [option.rpartition(",")[2] for option in guest.job.disks] == ["rw", "ro"]
        assert guest.job.until == "Kernel panic"

        programs = {}
        for place in sum((listed(guest, step) for step in "1234"), []):
            programs |= unpacked(guest.cd[place.removeprefix("/mnt/") + ";1"])
        assert programs["./usr/bin/dpkg"] == (0, 0o644, b"dpkg")
        assert programs["./usr/bin/python3"] == (0, 0o644, b"python3")
        assert f"./boot/vmlinux-{RELEASE}" in programs
        assert len(listed(guest, "1")) == len(ESSENTIAL)
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
        assert os.path.getsize(image.disk) == SIZE
        assert os.stat(image.disk).st_blocks < 1000  # sparse
        assert store.boot_options(image) == (
            "1G",
            "root=/dev/vda1 rw net.ifnames=0",
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

    def test_an_interrupted_installation_goes_on_after_the_last_step(self, cache, packages):
        step = b"auberge: checkpoint 2\r\n"
        stopped = Guest(b"auberge: checkpoint 1\r\n", step, b"half a step")
        with pytest.raises(KeyboardInterrupt):
            build_with(packages, interrupted(stopped))
        assert stopped.answers == [b"go on\n", b"go on\n", b""]
        assert find("debian", "riscv64") is None
        assert os.listdir(cache / "images") == [".debian-riscv64.lock"]
        heard = []
        guest = Guest(b"auberge: done\r\n")
        image = build_with(packages, guest, lambda *said: heard.append(said))
        assert guest.job.append.endswith("auberge.step=2")
        assert guest.disk.startswith(step)
        started, _, total = next(said[1:] + said[2:] for said in heard if said[0] == recipe.INSTALL)
        steps = [len(listed(guest, number)) for number in "1234"]
        assert (started, total) == (2 * sum(steps[:2]), 2 * sum(steps))
        store.verify(image)
        assert os.listdir(cache / "apt") == []

    def test_where_the_guest_finds_packages_later_is_no_other_installation(
        self, packages, monkeypatch
    ):
        with pytest.raises(KeyboardInterrupt):
            build_with(packages, interrupted(Guest(b"auberge: checkpoint 3\r\n")))
        monkeypatch.setattr(debian, "host_proxies", lambda: [("http", "http://proxy.example.org")])
        guest = Guest(b"auberge: done\r\n")
        build_with(packages, guest)
        assert guest.job.append.endswith("auberge.step=3")
        assert guest.files["etc/after/etc/apt/apt.conf.d/50proxy"] == (
            b'Acquire::http::Proxy "http://proxy.example.org";\n'
        )

    def test_a_checkpoint_of_other_packages_is_not_used(self, packages):
        stopped = Guest(b"auberge: checkpoint 1\r\n")
        with pytest.raises(KeyboardInterrupt):
            build_with(packages, interrupted(stopped))
        packages.add("less", "1:2-4", {"usr/bin/less": b"newer"})
        packages.publish()
        guest = Guest(b"auberge: done\r\n")
        build_with(packages, guest)
        assert guest.job.append.endswith("auberge.step=0")

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
        [
            (recipe.COPY, "start"),
            (recipe.INSTALL, "start"),
            ("copying", "1"),
            ("copied", "1"),
            ("copying", "2"),
            ("copied", "2"),
            (recipe.INSTALL, "end"),
        ],
    )
    def test_a_build_that_is_killed_leaves_no_image(self, packages, stage, at):
        argv = [sys.executable, "-c", KILLED, packages.uri, str(packages.key.binary), stage, at]
        assert subprocess.run(argv, check=False).returncode == -signal.SIGKILL
        assert find("debian", "riscv64") is None
        for package in packages.pool.iterdir():
            package.unlink()
        # what was fetched is there, and each step that was complete
        guest = Guest(b"auberge: done\n")
        store.verify(build_with(packages, guest))
        complete = {("copied", "1"): 1, ("copying", "2"): 1, ("copied", "2"): 2}
        complete[recipe.INSTALL, "end"] = 2
        done = complete.get((stage, at), 0)
        assert guest.job.append.endswith(f"auberge.step={done}")
        if done:
            assert guest.disk.startswith(b"auberge: checkpoint %d" % done)


KILLED = """
import os, signal, sys
from auberge.image import build, debian, sparse
debian.DISK_SIZE = 64 << 20
uri, keyring, stage, at = sys.argv[1:]
def die_at(*where):
    if where == (stage, at):
        os.kill(os.getpid(), signal.SIGKILL)
def progress(name, done, total):
    die_at(name, "start" if done == 0 else "end" if done == total else "")
def guest(job):
    for say in b"auberge: checkpoint 1\\n", b"auberge: checkpoint 2\\n", b"auberge: done\\n":
        with open(job.disks[0].rpartition(",")[0], "r+b") as file:
            file.write(say)
        job.hear(say)
copied = sparse.copy
def copy(source, target):
    with open(target, "wb") as file:
        file.write(b"half")
    step = target.removesuffix(".part")[-1]
    die_at("copying", step)
    copied(source, target)
rename = os.rename
def renamed(source, target):
    rename(source, target)
    die_at("copied", target[-1])
sparse.copy, os.rename = copy, renamed
build("debian", "riscv64", uri, keyring, progress, computer=guest)
"""
