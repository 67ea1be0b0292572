"""Packages install themselves in a place that they cannot see out of, whoever builds."""

import json
import os
import subprocess

import pytest

from auberge.image.apt import Package
from auberge.image.oci import adding, build, content, debian
from auberge.image.oci.beneath import remove_tree
from auberge.image.oci.commit import add_image
from auberge.image.oci.config import ImageConfig
from auberge.image.oci.inspection import verify
from auberge.image.oci.layer_writer import take_layer
from auberge.image.oci.names import host_architecture, lookup
from auberge.image.oci.runtime import image_config
from auberge.refusal import Refusal
from tests.busybox import static_busybox
from tests.image.debian import deb_of, needs, regular, special
from tests.image.oci.test_root_file_systems import mounted, needs_mounts

pytestmark = pytest.mark.slow

DPKG = """#!/bin/sh
export PATH=/bin
fd=${2}
for package in "$@"; do
    case $package in *.deb) echo "status: $package: installed" >&$fd ;; esac
done
interfaces=$(ls /proc/sys/net/ipv4/conf | tr '\\n' ' ')
echo "uid $(id -u), pid $$, interfaces $interfaces" > /seen
ls / > /listed
cat /dev/zero | head -c 3 > /dev/null && echo devices >> /seen
touch /given && chown 7:8 /given && echo given >> /seen
chown 0:42 /usr/bin/tool; chmod 2755 /usr/bin/tool
ls /.packages >> /seen
[ -e /fail ] && echo "dpkg: error processing package x (--install):" && exit 1
[ -e /slow ] && sleep 1000
[ -e /quiet ] && kill -9 $$
exit 0
"""


def system(*more):
    """What is in a package that is a whole system, whose dpkg is a script."""
    busybox = static_busybox()
    with open(busybox, "rb") as file:
        program = file.read()
    names = ["sh", "id", "ls", "cat", "head", "touch", "chown", "chmod", "tr", "kill", "sleep"]
    members = [
        special("./bin", b"5"),
        special("./usr/bin", b"5"),
        regular("./bin/busybox", program),
    ]
    members += [special(f"./bin/{name}", b"2", "busybox") for name in names]
    members += [regular("./usr/bin/dpkg", DPKG.encode()), regular("./usr/bin/tool", b"#!")]
    members += [regular(f"./{name}", b"") for name in more]
    for info, _ in members:
        info.mode = 0o755
    members[-1 - len(more)][0].gid = 42
    return members


def packages(directory, *more):
    """A system, and one more package."""
    deb_of(system(*more), directory / "base_1_all.deb")
    deb_of([regular("./opt", b"")], directory / "extra_1_all.deb")
    return [
        Package(name, "1", str(directory / f"{name}_1_all.deb"), 1, "")
        for name in ("base", "extra")
    ]


def install(directory, *more, files=None):
    """Do what a build does with packages; the layer's root."""
    chosen = packages(directory, *more)
    steps = [["base_1_all.deb"], ["extra_1_all.deb"]]
    heard = []
    with adding.adding() as store:
        stage, layer = store.temporary(), store.temporary()
        build._lay_out(stage, chosen)
        try:
            diff_id = build._run(stage, steps, files or {}, layer, lambda *said: heard.append(said))
        finally:
            remove_tree(stage)
        made = take_layer(store, layer)
        record = add_image(store, None, made, diff_id, "box", ImageConfig("amd64"), "", "recipe")
    assert heard[0] == (build.INSTALL, 0, 8) and heard[-1] == (build.INSTALL, 8, 8)
    assert ("installing packages", 2, 8) in heard
    return content.layer(record.layers[0])


@needs("dpkg-deb")
def test_scripts_see_their_own_system_alone(cache, tmp_path):
    root = install(tmp_path, files={"etc/apt/x": b"\xff\n"})
    with open(f"{root}/seen") as file:
        lines = file.read().splitlines()
    first = lines[0].split(", ")
    assert first[0] == "uid 0" and int(first[1].split()[1]) < 100
    assert first[2].split()[1:] == ["all", "default", "lo"]
    assert lines[1:] == ["devices", "given", "base_1_all.deb", "extra_1_all.deb"]
    left = {"bin", "dev", "etc", "given", "listed", "proc", "seen", "usr", "var"}
    with open(f"{root}/listed") as file:
        assert set(file.read().split()) <= left
    # what was only there to install is gone, and what a system needs is there
    assert set(os.listdir(root)) == left
    assert os.listdir(f"{root}/dev") == os.listdir(f"{root}/proc") == []
    assert os.listdir(f"{root}/usr/sbin") == []
    with open(f"{root}/etc/apt/x", "rb") as written, open(f"{root}/etc/machine-id") as machine:
        assert written.read() == b"\xff\n" and machine.read() == ""
    verify(content.find("box", "amd64"))
    if os.geteuid() == 0:
        assert [(s.st_uid, s.st_gid) for s in [os.stat(f"{root}/given")]] == [(7, 8)]
        assert os.stat(f"{root}/usr/bin/tool").st_gid == 42


@pytest.fixture
def staging(tmp_path):
    """Staging as another user would run it, whose Python is the host's own; what starts it."""
    if os.geteuid() != 0 or not os.path.exists("/usr/bin/python3"):
        pytest.skip("only root becomes somebody else, who needs a python3 of the host's own")
    stage = tmp_path / "stage"
    (stage / ".packages").mkdir(parents=True)
    for path in (stage, stage / ".packages"):
        os.chown(path, 65534, 65534)
    here = os.path.dirname(os.path.dirname(build.auberge.__file__))
    command = ["setpriv", "--reuid=65534", "--regid=65534", "--clear-groups", "/usr/bin/python3"]
    environment = {"PYTHONPATH": here, "PATH": os.environ["PATH"]}
    probe = [*command, "-B", "-c", "import auberge.image.oci.staging"]
    if subprocess.run(probe, env=environment, capture_output=True, check=False).returncode:
        pytest.skip("nobody else may read where Auberge is")

    def start(*more):
        packages(tmp_path, *more)
        for name in ("base_1_all.deb", "extra_1_all.deb"):
            os.rename(tmp_path / name, stage / ".packages" / name)
        with open(tmp_path / "layer", "xb") as out:
            steps = [["base_1_all.deb"], ["extra_1_all.deb"]]
            process = subprocess.Popen(
                [*command, "-B", "-P", "-m", "auberge.image.oci.staging"],
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                text=True,
                cwd=stage,
                pass_fds=(out.fileno(),),
                env=environment,
            )
            order = {"steps": steps, "files": {}, "layer": out.fileno()}
            process.stdin.write(json.dumps(order) + "\n")
            process.stdin.flush()
        return process

    return start


@needs("dpkg-deb", "setpriv")
def test_without_root_owners_come_from_the_packages(tmp_path, staging):
    with staging() as process:
        said = process.stdout.read()
    assert said.splitlines()[-1].startswith("done sha256:"), said
    layer = str(tmp_path / "layer")
    listed = subprocess.run(
        ["tar", "--numeric-owner", "-tvzf", layer], capture_output=True, text=True, check=True
    ).stdout
    owners = {line.split()[-1]: line.split()[:2] for line in listed.splitlines()}
    assert owners["usr/bin/tool"] == ["-rwxr-sr-x", "0/42"]
    # pretended: nobody else was there to give it to
    assert owners["given"][1] == "0/0"
    command = ["tar", "-xzOf", layer, "seen"]
    seen = subprocess.run(command, capture_output=True, text=True, check=True).stdout
    assert seen.splitlines()[1:3] == ["devices", "given"]


@needs("dpkg-deb", "setpriv")
def test_scripts_end_with_who_waits_for_them(staging):
    with staging("slow") as process:
        line = ""
        while not line.startswith("status:"):
            line = process.stdout.readline()
        process.kill()
        # it ends when nobody is left that could write to it
        assert "done" not in process.stdout.read()


@needs("dpkg-deb")
@pytest.mark.parametrize(
    ("file", "why"),
    [
        ("fail", "dpkg: error processing package x (--install); try another mirror"),
        ("quiet", "dpkg: failed without a word; try another mirror"),
    ],
)
def test_a_script_that_fails_is_one_line(cache, tmp_path, file, why):
    with pytest.raises(Refusal) as refused:
        install(tmp_path, file)
    assert str(refused.value) == f"debian: {why}"
    assert content.records() == []


@pytest.fixture
def mirror(archive, monkeypatch):
    """An archive whose packages say riscv64, as all of these tests' do, but run here."""
    monkeypatch.setattr(debian, "debian_architecture", lambda arch: "riscv64")
    control = b"Package: system\nVersion: 1\nArchitecture: riscv64\nEssential: yes\n"
    control += b"Maintainer: me\nDescription: a system\n"
    deb_of(system(), archive.pool / "system_1_riscv64.deb", control)
    for name in debian.PACKAGES:
        archive.add(name, "1", {f"usr/share/{name}": b""})
    archive.publish()
    return archive


@needs("apt-get", "dpkg-deb", "gpg")
def test_a_build_from_an_archive(cache, mirror):
    def built(update=False):
        heard = []
        record = build.build(
            "debian",
            host_architecture(),
            mirror.uri,
            str(mirror.key.binary),
            lambda *said: heard.append(said),
            update,
        )
        return record, heard

    record, heard = built()
    assert lookup("debian") == record
    assert list(dict.fromkeys(stage for stage, _, _ in heard)) == list(build.STAGES)
    assert image_config(record).cmd == ("bash",)
    root = content.layer(record.layers[0])
    assert os.path.exists(f"{root}/etc/apt/keyrings/mirror.gpg")
    assert built() == (record, [])
    # what is the newest already is not installed again
    again, heard = built(update=True)
    assert again == record and build.INSTALL not in {stage for stage, _, _ in heard}
    mirror.add("python3", "2", {"usr/share/python3": b"new"})
    mirror.publish()
    assert built()[0] == record
    newer, _ = built(update=True)
    assert newer.recipe != record.recipe and content.records() == [newer]


def test_what_there_is_no_recipe_for(cache):
    with pytest.raises(Refusal) as refused:
        build.build("debian", "z80", None, None, lambda *said: None, False)
    assert str(refused.value) == (
        "debian:z80: no recipe for such an image; there is tiny:riscv64, debian:riscv64,"
        " cell:riscv64,"
        f" debian:{host_architecture()}"
    )


DEBIAN = """
import os, ssl, sqlite3, subprocess, sys
# before any script here writes to /dev/null, which is not one
assert not os.listdir("/dev") and not os.listdir("/proc")
assert sys.version_info >= (3, 13)
assert len(ssl.create_default_context().get_ca_certs()) > 100
assert subprocess.run(["dpkg", "--audit"], capture_output=True, check=True).stdout == b""
subprocess.run(["apt-get", "check"], capture_output=True, check=True)
assert os.path.getsize("/etc/machine-id") == 0
assert open("/etc/os-release").read().startswith("PRETTY_NAME=\\"Debian")
import pwd
pwd.getpwnam("_apt")
"""


@needs_mounts
def test_debian_is_all_there(tmp_path):
    record = lookup("debian")
    if record is None:
        pytest.skip("no image debian of this host's architecture; auberge image build debian:ARCH")
    from auberge.image.oci.rootfs import prepare, release

    found = prepare(record, str(tmp_path), f"test-{os.getpid()}", False, forgotten=True)
    try:
        with mounted(found) as root:
            command = ["chroot", root, "/usr/bin/python3", "-c", DEBIAN]
            environment = {"PATH": "/usr/sbin:/usr/bin", "LANG": "C.UTF-8"}
            subprocess.run(command, env=environment, check=True)
            assert os.stat(f"{root}/usr/bin/chage").st_gid == 42
    finally:
        release(f"test-{os.getpid()}")
