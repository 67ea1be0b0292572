"""Linux with a folder of the host: what people do in one, and what attackers would like to."""

import base64
import hashlib
import os
import stat

import pytest

import auberge
from auberge.image import build

pytestmark = [pytest.mark.slow, pytest.mark.timeout(280)]


@pytest.fixture(scope="module")
def tiny():
    """The image `tiny`, from the cache or built now."""
    try:
        return build("tiny", "riscv64")
    except auberge.Refusal as refusal:
        pytest.skip(str(refusal))


@pytest.fixture
def run(tiny, tmp_path):
    """Runs a shell script in a guest with these volumes; what each of its parts printed."""

    def run(script, *volumes, cpus=1):
        scripts = tmp_path / "scripts"
        scripts.mkdir()
        (scripts / "run").write_text(script)
        word = base64.b64encode(b"sh /scripts/run 2>&1").decode()
        with auberge.Machine.virt(
            tiny.kernel,
            tiny.initrd,
            f"console=ttyS0 quiet auberge.run={word}",
            console=lambda data: None,
            volumes=[*volumes, f"{scripts}:/scripts:ro"],
            cpus=cpus,
        ) as machine:
            assert machine.run(timeout=240) == auberge.PoweredOff(0)
            return parted(machine.console.output)

    return run


def parted(output):
    """What a script printed after each line `@ NAME`, without the kernel's last words."""
    lines = output.replace("\r", "").splitlines(keepends=True)
    parts = "".join(line for line in lines if "reboot: Power down" not in line).split("@ ")[1:]
    return {part.partition("\n")[0]: part.partition("\n")[2] for part in parts}


WORK = """
cd "/mnt/the files"
echo "@ mounts"; grep 9p /proc/mounts
echo "@ sees"; cat host; md5sum < big
echo "@ writes"; mkdir -p a/b; cat big > a/b/copy; echo one > a/log; echo two >> a/log; ls -1 a
echo "@ changes"; mv a/b a/c; ln -s c/copy a/link; ln a/log a/hard; chmod 600 a/log
touch -d '2001-02-03 04:05:06' a/log; truncate -s 5 a/c/copy; stat -c '%a %s %h' a/log a/c/copy
echo "@ follows its links"; wc -c < a/link
echo "@ removes"; rm a/hard; mkdir x; rmdir x; rm -r a/c; ls -1 a
echo "@ keeps what is removed"; exec 3<host; rm host; cat <&3; exec 3<&-
echo "@ runs programs"; cp /bin/busybox busybox; ./busybox echo "from the folder"
echo "@ many files"; mkdir many; cd many; for i in $(seq 100); do : > file$i; done; ls | wc -l
exec 4<../live; echo "@ sees the host's changes"; cat <&4; echo "@ tells"
read line; cat <&4; cat ../live
"""


def test_a_folder_is_worked_in(tiny, tmp_path):
    """Two harts; the host appends to a file that the guest has open."""
    share = tmp_path / "share"
    share.mkdir()
    big = os.urandom(1_000_001)
    (share / "big").write_bytes(big)
    (share / "host").write_text("from the host\n")
    (share / "live").write_text("before\n")
    (share / "script").write_text(WORK)
    word = base64.b64encode(b'sh "/mnt/the files/script" 2>&1').decode()
    with auberge.Machine.virt(
        tiny.kernel,
        tiny.initrd,
        f"console=ttyS0 quiet auberge.run={word}",
        console=lambda data: None,
        volumes=[f"{share}:/mnt/the files"],
        cpus=2,
    ) as machine:
        assert isinstance(machine.run(until="@ tells", timeout=240), auberge.Printed)
        with (share / "live").open("a") as live:
            live.write("and after\n")
        machine.console.send("\n")
        assert machine.run(timeout=100) == auberge.PoweredOff(0)
        parts = parted(machine.console.output)
        counted = machine.statistics().folders
    assert "/mnt/the\\040files /mnt/the\\040files 9p rw," in parts.pop("mounts")
    assert parts == {
        "sees": f"from the host\n{hashlib.md5(big).hexdigest()}  -\n",
        "writes": "b\nlog\n",
        "changes": "600 8 2\n644 5 1\n",
        "follows its links": "5\n",
        "removes": "link\nlog\n",
        "keeps what is removed": "from the host\n",
        "runs programs": "from the folder\n",
        "many files": "100\n",
        "sees the host's changes": "before\n",
        "tells": "\nand after\nbefore\nand after\n",
    }
    assert (share / "a" / "log").read_text() == "one\ntwo\n"
    assert stat.S_IMODE((share / "a" / "log").stat().st_mode) == 0o600
    assert (share / "a" / "log").stat().st_mtime == 981173106
    assert os.readlink(share / "a" / "link") == "c/copy"
    assert len(os.listdir(share / "many")) == 100 and not (share / "host").exists()
    assert counted["read_bytes"] > 2 * len(big) and counted["written_bytes"] > len(big)


ATTACK = """
cd /share
try() { echo "@ $1"; shift; "$@" < /dev/null; }
try "dotdot" ls ../outside ../../outside
try "link to a folder" ls link/
try "link to a file" cat secret
try "write by a link" sh -c 'echo x > secret'
try "create by a dangling link" sh -c 'echo x > dangling'
try "link by a link" ln secret hard
try "rename over a parent" mv d ..
try "rename into a link" mv file link/
try "magic links" sh -c 'cat proc/self/root/etc/hostname'
try "make a device" mknod dev c 1 1
try "make a pipe" mkfifo pipe
try "open a device" head -c 1 device
try "set-user-ID" chmod 4755 file
try "give away" chown 12:34 file
try "remount read-write" mount -o remount,rw /ro
try "write to what is read-only" sh -c 'echo x > /ro/file'
try "append to what is read-only" sh -c 'echo x >> /ro/file'
try "create in it" touch /ro/new
try "remove from it" rm -f /ro/file
try "rename in it" mv -f /ro/file /ro/other
try "link in it" ln /ro/file /ro/hard
try "symlink in it" ln -s x /ro/symlink
try "mkdir in it" mkdir /ro/d
try "chmod in it" chmod 777 /ro/file
try "touch in it" touch /ro/file
try "truncate in it" truncate -s 0 /ro/file
echo "@ end"
"""


def test_a_hostile_root_gets_nowhere(run, tmp_path):
    share, outside, only = (tmp_path / name for name in ("share", "outside", "only"))
    for each in (share, outside, only, share / "d"):
        each.mkdir()
    (outside / "secret").write_text("the host's secret\n")
    (only / "file").write_text("as it was\n")
    (only / "file").chmod(0o666)
    (share / "file").write_text("")
    os.symlink(outside, share / "link")
    os.symlink(outside / "secret", share / "secret")
    os.symlink(outside / "planted", share / "dangling")
    os.symlink("/proc", share / "proc")
    if os.geteuid() == 0:
        os.mknod(share / "device", stat.S_IFCHR | 0o666, os.makedev(1, 5))
    before = pictured(outside), pictured(only)
    parts = run(ATTACK, f"{share}:/share", f"{only}:/ro:ro")
    assert (pictured(outside), pictured(only)) == before
    assert "the host's secret" not in "".join(parts.values())
    assert list(parts)[-1] == "end" and parts.pop("end") == ""
    nothing = {"make a device", "make a pipe"}
    assert all("Operation not permitted" in parts[name] for name in nothing)
    refused = {name for name in parts if name.endswith((" it", "read-only"))}
    assert {name: "Read-only file system" in parts[name] for name in refused} == dict.fromkeys(
        refused, True
    )
    made = {path.name: path.lstat().st_mode for path in share.iterdir()}
    assert not {"dev", "pipe"} & set(made) and not made["file"] & stat.S_ISUID
    # a link that the guest follows leads to the guest's own files
    assert parts["magic links"] == "tiny\n"


def pictured(folder):
    return {
        path.name: (path.lstat().st_mode, path.lstat().st_uid, path.lstat().st_mtime_ns)
        for path in (folder, *folder.rglob("*"))
    }


def test_folders_in_folders_and_a_reboot(tiny, tmp_path):
    """What is above is mounted first; after a reset the guest has its folders again."""
    inner, outer = tmp_path / "inner", tmp_path / "outer"
    inner.mkdir()
    outer.mkdir()
    (inner / "file").write_text("inner\n")
    (outer / "file").write_text("outer\n")
    word = base64.b64encode(b"cat /x/file /x/y/file; exec 9</x/file; read line; $line -f").decode()
    with auberge.Machine.virt(
        tiny.kernel,
        tiny.initrd,
        f"console=ttyS0 quiet auberge.run={word}",
        console=lambda data: None,
        volumes=[f"{inner}:/x/y:ro", f"{outer}:/x"],
    ) as machine:
        for last in ("reboot", "poweroff"):
            machine.console.expect("outer\r\ninner\r\n", timeout=200)
            machine.console.send(f"{last}\n")
        assert machine.run(timeout=60) == auberge.PoweredOff(0)
    assert sorted(os.listdir(outer)) == ["file", "y"]
