"""The clauses of the specification, as they are seen from inside: ours, and runc first."""

import pytest

from tests.container.bundles import CAPABILITIES

pytestmark = pytest.mark.slow


@pytest.fixture
def tmp_path(open_path):
    """runc looks the root up from inside of a user namespace."""
    return open_path


def test_arguments_environment_and_status(bundle, runtime):
    bundle.process["env"] = ["PATH=/bin", "WORD=a b"]
    bundle.process["cwd"] = "/var/log"
    done = bundle.run(runtime, 'echo "$WORD|$0"; pwd; exit 7')
    assert (done.returncode, done.stdout) == (7, "a b|/bin/sh\n/var/log\n")


def test_the_working_directory_is_made(bundle, runtime):
    bundle.config["root"]["readonly"] = False
    bundle.process["cwd"] = "/srv/deep"
    assert bundle.said(runtime, "pwd") == "/srv/deep\n"


def test_user_groups_and_umask(bundle, runtime):
    bundle.process["user"] = {"uid": 1000, "gid": 1001, "umask": 0o77, "additionalGids": [5, 6]}
    said = bundle.said(runtime, "id -u; id -g; id -G; umask")
    assert said == "1000\n1001\n1001 5 6\n0077\n"


def test_capabilities(bundle, runtime):
    sets = {"bounding": CAPABILITIES, "permitted": CAPABILITIES[:3], "effective": CAPABILITIES[:2]}
    bundle.process["capabilities"] = sets
    said = bundle.said(runtime, "grep Cap /proc/self/status | cut -f2")
    # root's exec makes effective what is permitted; as another user, nothing is left of it
    assert said.split() == [f"{n:016x}" for n in (0, 0x83, 0x83, 0x400C3, 0)]
    bundle.process["user"] = {"uid": 1000, "gid": 1000}
    said = bundle.said(runtime, "grep Cap /proc/self/status | cut -f2")
    assert said.split() == [f"{n:016x}" for n in (0, 0, 0, 0x400C3, 0)]


def test_ambient_capabilities_reach_another_user(bundle, runtime):
    names = ["CAP_NET_RAW", "CAP_KILL"]
    sets = ("bounding", "permitted", "effective", "inheritable", "ambient")
    bundle.process["capabilities"] = dict.fromkeys(sets, names)
    bundle.process["user"] = {"uid": 1000, "gid": 1000}
    said = bundle.said(runtime, "grep Cap /proc/self/status | cut -f2")
    assert said.split() == ["0000000000002020"] * 5


def test_no_new_privileges(bundle, runtime):
    for wanted in (True, False):
        bundle.process["noNewPrivileges"] = wanted
        said = bundle.said(runtime, "grep NoNewPrivs /proc/self/status")
        assert said.split() == ["NoNewPrivs:", str(int(wanted))]


def test_resource_limits(bundle, runtime):
    bundle.process["rlimits"] = [
        {"type": "RLIMIT_NOFILE", "soft": 100, "hard": 200},
        {"type": "RLIMIT_CORE", "soft": 0, "hard": 4096},
    ]
    said = bundle.said(runtime, "grep -e 'open files' -e core /proc/self/limits")
    assert [line.split()[-3:-1] for line in said.splitlines()] == [["0", "4096"], ["100", "200"]]


def test_oom_score(bundle, runtime):
    bundle.process["oomScoreAdj"] = 300
    assert bundle.said(runtime, "cat /proc/self/oom_score_adj") == "300\n"


def test_names(bundle, runtime):
    bundle.config["hostname"] = "inn"
    assert bundle.said(runtime, "hostname") == "inn\n"


def test_domain_name(bundle):
    bundle.config["domainname"] = "example"  # of 1.1, which runc 1.1 does not know
    assert bundle.said("ours", "cat /proc/sys/kernel/domainname") == "example\n"


def test_the_first_process_is_one(bundle, runtime):
    said = bundle.said(runtime, "echo $$; ls -d /proc/[0-9]*")
    assert said.startswith("1\n/proc/1\n")


def test_namespaces_are_new(bundle, runtime):
    import os

    kinds = ("pid", "ipc", "uts", "mnt", "net", "cgroup")
    script = "".join(f"readlink /proc/self/ns/{kind};" for kind in kinds)
    inside = bundle.said(runtime, script).split()
    outside = [os.readlink(f"/proc/self/ns/{kind}") for kind in kinds]
    assert not set(inside) & set(outside)


def test_a_namespace_that_exists_is_joined(bundle, runtime):
    import os

    bundle.namespace("uts")["path"] = "/proc/self/ns/uts"
    bundle.namespace("ipc")["path"] = f"/proc/{os.getpid()}/ns/ipc"
    del bundle.config["hostname"]
    said = bundle.said(runtime, "readlink /proc/self/ns/uts; readlink /proc/self/ns/ipc").split()
    assert said == [os.readlink("/proc/self/ns/uts"), os.readlink("/proc/self/ns/ipc")]


def mapped(bundle):
    """A new user namespace whose root is nobody in particular outside."""
    bundle.linux["namespaces"].append({"type": "user"})
    for name in ("uidMappings", "gidMappings"):
        bundle.linux[name] = [{"containerID": 0, "hostID": 100000, "size": 65536}]
    bundle.linux.pop("resources", None)


def test_id_maps(bundle, runtime):
    mapped(bundle)
    said = bundle.said(
        runtime, "cat /proc/self/uid_map /proc/self/gid_map; id -u; ls -ln /dev/zero"
    )
    lines = [line.split() for line in said.splitlines()]
    assert lines[:3] == [["0", "100000", "65536"], ["0", "100000", "65536"], ["0"]]


def test_a_mapped_root_may_be_behind_closed_folders(bundle):
    mapped(bundle)
    bundle.path.chmod(0o700)
    assert bundle.said("ours", "id -u; echo x > /dev/null; wc -c < /etc/hostname") == "0\n4\n"


def test_time_offsets(bundle):
    bundle.linux["namespaces"].append({"type": "time"})  # runc 1.1 does not know it
    bundle.linux["timeOffsets"] = {"boottime": {"secs": 1_000_000_000, "nanosecs": 5}}
    assert float(bundle.said("ours", "cut -d' ' -f1 /proc/uptime")) > 1_000_000_000


def test_mounts_of_every_kind(bundle, runtime):
    source = bundle.path / "source"
    source.mkdir()
    (source / "file").write_text("hello\n")
    bundle.config["mounts"] += [
        {"destination": "/mnt/a", "source": str(source), "type": "none", "options": ["bind", "ro"]},
        {"destination": "/mnt/f", "source": f"{source}/file", "options": ["bind", "nosuid"]},
        {"destination": "/mnt/t", "type": "tmpfs", "source": "t", "options": ["size=4k", "noexec"]},
    ]
    bundle.config["root"]["readonly"] = False
    script = (
        "cat /mnt/a/file /mnt/f; touch /mnt/a/x 2>&1; grep /mnt/ /proc/mounts | cut -d' ' -f2-4"
    )
    said = bundle.said(runtime, script + "|sed 's/,inode64//'").splitlines()
    assert said[:3] == ["hello", "hello", "touch: /mnt/a/x: Read-only file system"]
    where = {line.split()[0]: line.split()[2].split(",") for line in said[3:]}
    assert "ro" in where["/mnt/a"] and "nosuid" in where["/mnt/f"]
    assert {"noexec", "size=4k"} <= set(where["/mnt/t"])


@pytest.mark.parametrize("option", ["noatime", "strictatime", "nodiratime", "nodev", "noexec"])
def test_attributes_of_a_bind_mount(bundle, runtime, option):
    source = bundle.path / "source"
    source.mkdir()
    mount = {"destination": "/mnt", "source": str(source), "options": ["rbind", option]}
    bundle.config["mounts"].append(mount)
    said = bundle.said(runtime, "grep ' /mnt ' /proc/self/mountinfo | cut -d' ' -f6")
    shown = said.strip().split(",")
    assert (option in shown) if option != "strictatime" else ("relatime" not in shown)


def test_attributes_of_all_below(bundle):
    mount = {"destination": "/mnt", "source": "/sys/fs/cgroup", "options": ["rbind", "rro"]}
    bundle.config["mounts"].append(mount)  # runc 1.1 has no recursive attributes
    shown = bundle.said("ours", "grep ' /mnt' /proc/self/mountinfo | cut -d' ' -f6").splitlines()
    assert len(shown) > 1
    assert all(line.startswith("ro") for line in shown)


def test_propagation(bundle, runtime):
    for word, mark in (("rshared", "shared:"), ("rprivate", "-"), ("runbindable", "unbindable")):
        bundle.config["mounts"] = bundle.config["mounts"][:6]
        source = bundle.path / "source"
        source.mkdir(exist_ok=True)
        mount = {"destination": "/mnt", "source": str(source), "options": ["rbind", word]}
        bundle.config["mounts"].append(mount)
        said = bundle.said(runtime, "grep ' /mnt ' /proc/self/mountinfo | cut -d' ' -f7")
        assert said.startswith(mark), word


def test_a_tmpfs_begins_with_what_it_covers(bundle, runtime):
    (bundle.root / "mnt/deep").mkdir(mode=0o700)
    (bundle.root / "mnt/deep/file").write_text("hello\n")
    (bundle.root / "mnt/link").symlink_to("deep/file")
    mount = {"destination": "/mnt", "type": "tmpfs", "source": "t", "options": ["tmpcopyup"]}
    bundle.config["mounts"].append(mount)
    script = "cat /mnt/link; stat -c %a /mnt/deep; touch /mnt/deep/new && echo ok"
    said = bundle.said(runtime, script)
    assert said == "hello\n700\nok\n"


def test_the_root_is_read_only_or_not(bundle, runtime):
    assert "Read-only" in bundle.said(runtime, "touch /x 2>&1; true")
    bundle.config["root"]["readonly"] = False
    assert bundle.said(runtime, "touch /x; ls /x") == "/x\n"


def test_default_devices_and_links(bundle, runtime):
    script = (
        "cd /dev; for f in null zero full random urandom tty; do stat -c '%n %t %T %a' $f; done"
    )
    said = bundle.said(
        runtime, script + "; for f in fd stdin stdout stderr ptmx; do readlink $f; done"
    )
    assert said.splitlines() == [
        "null 1 3 666", "zero 1 5 666", "full 1 7 666", "random 1 8 666", "urandom 1 9 666",
        "tty 5 0 666", "/proc/self/fd", "/proc/self/fd/0", "/proc/self/fd/1", "/proc/self/fd/2",
        "pts/ptmx",
    ]  # fmt: skip


def test_a_device_of_its_own(bundle, runtime):
    bundle.linux["devices"] = [
        {"path": "/dev/own", "type": "c", "major": 1, "minor": 5, "fileMode": 0o600, "uid": 7,
         "gid": 8},
        {"path": "/dev/dir/pipe", "type": "p", "fileMode": 0o640},
    ]  # fmt: skip
    said = bundle.said(runtime, "stat -c '%F %t %T %a %u %g' /dev/own /dev/dir/pipe")
    assert said == "character special file 1 5 600 7 8\nfifo 0 0 640 0 0\n"


def test_masked_and_read_only_paths(bundle, runtime):
    bundle.linux["maskedPaths"] = ["/etc/passwd", "/var", "/no/such"]
    bundle.linux["readonlyPaths"] = ["/home", "/no/such"]
    bundle.config["root"]["readonly"] = False
    script = "wc -c < /etc/passwd; ls /var | wc -l; touch /var/x /home/x /root/x 2>&1; true"
    assert bundle.said(runtime, script).splitlines() == [
        "0", "0", "touch: /var/x: Read-only file system", "touch: /home/x: Read-only file system"
    ]  # fmt: skip


def test_sysctls(bundle, runtime):
    bundle.linux["sysctl"] = {"kernel.msgmax": "4000", "net.ipv4.ip_forward": "1"}
    said = bundle.said(runtime, "cat /proc/sys/kernel/msgmax /proc/sys/net/ipv4/ip_forward")
    assert said == "4000\n1\n"


def test_personality(bundle):
    bundle.linux["personality"] = {"domain": "LINUX32"}  # runc 1.1 ignores it
    assert bundle.said("ours", "uname -m") == "i686\n"


def test_scheduler_and_priority(bundle):
    bundle.process["scheduler"] = {"policy": "SCHED_BATCH", "nice": 5}  # of 1.1
    bundle.process["ioPriority"] = {"class": "IOPRIO_CLASS_IDLE", "priority": 0}
    said = bundle.said("ours", "cut -d' ' -f19,41 /proc/self/stat; ionice -p 1")
    assert said == "5 3\nidle\n"


def test_a_session_of_its_own(bundle, runtime):
    assert bundle.said(runtime, "cut -d' ' -f6 /proc/1/stat") == "1\n"


def test_preserved_descriptors(bundle, runtime, tmp_path):
    import os

    kept = os.open(tmp_path / "kept", os.O_WRONLY | os.O_CREAT)
    pad = [os.open("/dev/null", os.O_RDONLY) for _ in range(3)]
    command = "exec 3>'%s' 4</dev/null 5</dev/null; exec \"$@\"" % (tmp_path / "kept")
    bundle.process["args"] = ["/bin/sh", "-c", "echo kept >&3; ls /proc/self/fd"]
    bundle.write()
    import subprocess

    words = bundle.command(
        runtime, "run", "--bundle", str(bundle.path), "--preserve-fds", "1", bundle.name
    )
    done = subprocess.run(
        ["/bin/bash", "-c", command, "-", *words], capture_output=True, text=True,
        stdin=subprocess.DEVNULL,
    )  # fmt: skip
    for fd in (kept, *pad):
        os.close(fd)
    assert (done.stderr, done.stdout.split()) == ("", ["0", "1", "2", "3", "4"])  # 4 is ls's own
    assert (tmp_path / "kept").read_text() == "kept\n"
