"""podman with `--runtime` = ours: it cannot tell the difference."""

import os
import shutil
import subprocess
import tempfile

import pytest

from tests.container.bundles import ROOT, make_launcher

pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(not ROOT, reason="podman's own rootless mode is not set up by a test"),
    pytest.mark.skipif(shutil.which("podman") is None, reason="no podman here; apt install podman"),
]

CONF = """
[containers]
default_ulimits = ["nofile=1024:2048", "nproc=1024:1024"]
[engine]
cgroup_manager = "cgroupfs"
events_logger = "file"
"""


@pytest.fixture(scope="module")
def podman(tmp_path_factory):
    """Run podman with a storage of its own, an image `box`, and our runtime."""
    from tests.busybox import make_root

    folder = tmp_path_factory.mktemp("podman")
    runtime = make_launcher(folder)
    (folder / "containers.conf").write_text(CONF)
    environment = {**os.environ, "CONTAINERS_CONF": str(folder / "containers.conf")}
    short = tempfile.mkdtemp(prefix="pod-", dir="/tmp")  # podman takes 50 characters
    words = ["podman", "--root", str(folder / "root"), "--runroot", short,
             "--storage-driver", "vfs", "--runtime", str(runtime)]  # fmt: skip

    def call(*more, **named):
        named.setdefault("stdin", subprocess.DEVNULL)
        return subprocess.run(
            [*words, *more], capture_output=True, text=True, env=environment, timeout=120, **named
        )

    make_root(folder / "rootfs")
    with subprocess.Popen(["tar", "-C", folder / "rootfs", "-c", "."], stdout=subprocess.PIPE) as t:
        done = call("import", "-", "box", stdin=t.stdout)
    assert done.returncode == 0, done.stderr
    yield call
    call("rm", "-fa", "-t", "0")
    call("pod", "rm", "-fa", "-t", "0")
    call("rmi", "-fa")
    shutil.rmtree(short, ignore_errors=True)


def test_run(podman):
    done = podman("run", "--rm", "--network", "none", "box", "sh", "-c", "id -u; exit 3")
    assert (done.returncode, done.stdout) == (3, "0\n"), done.stderr


def test_a_program_that_is_not_there_or_none(podman):
    done = podman("run", "--rm", "--network", "none", "box", "nosuch")
    assert done.returncode == 127, done.stderr
    done = podman("run", "--rm", "--network", "none", "box", "/etc/passwd")
    assert done.returncode == 126, done.stderr


def test_detached_exec_logs_pause_kill(podman):
    script = 'echo up; trap "exit 5" TERM; while :; do sleep 0.05; done'
    done = podman("run", "-d", "--name", "one", "--network", "none", "box", "sh", "-c", script)
    assert done.returncode == 0, done.stderr
    done = podman("exec", "-u", "7:8", "one", "sh", "-c", "id -u; exit 4")
    assert (done.returncode, done.stdout) == (4, "7\n"), done.stderr
    for _ in range(100):
        if (logs := podman("logs", "one").stdout) == "up\n":
            break
    assert logs == "up\n"
    assert podman("pause", "one").returncode == 0
    assert podman("inspect", "-f", "{{.State.Status}}", "one").stdout == "paused\n"
    assert podman("unpause", "one").returncode == 0
    assert podman("kill", "-s", "TERM", "one").returncode == 0
    assert podman("wait", "one").stdout == "5\n"
    assert podman("rm", "one").returncode == 0


def test_a_terminal(podman):
    done = podman("run", "--rm", "-t", "--network", "none", "box", "tty")
    assert done.stdout.strip() == "/dev/pts/0", done.stderr


def test_limits(podman):
    done = podman(
        "run", "--rm", "--network", "none", "--memory", "32m", "--pids-limit", "20", "box", "sh",
        "-c", "cat /sys/fs/cgroup/memory/memory.limit_in_bytes /sys/fs/cgroup/memory.max "
        "/sys/fs/cgroup/pids/pids.max /sys/fs/cgroup/pids.max 2> /dev/null; true",
    )  # fmt: skip
    assert done.stdout.split() == ["33554432", "20"], done.stderr
    done = podman(
        "run", "--rm", "--network", "none", "--memory", "16m", "--memory-swap", "16m", "box",
        "sh", "-c", "dd if=/dev/zero of=/dev/null bs=64M count=1",
    )  # fmt: skip
    assert done.returncode == 137, done.stderr


def test_a_read_only_root_with_what_podman_puts_over_it(podman):
    done = podman(
        "run", "--rm", "--network", "none", "--read-only", "--tmpfs", "/mnt:size=4k", "box",
        "sh", "-c", "touch /x 2> /dev/null || touch /mnt/x /tmp/x && echo fine",
    )  # fmt: skip
    assert done.stdout == "fine\n", done.stderr


def test_a_pod_shares_namespaces(podman):
    done = podman(
        "pod", "create", "--name", "pod", "--share", "ipc,uts,net,pid", "--network", "none",
        "--infra-image", "localhost/box", "--infra-command", "sleep 1000",
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    done = podman("run", "-d", "--pod", "pod", "--name", "two", "box", "sleep", "1000")
    assert done.returncode == 0, done.stderr
    script = "readlink /proc/self/ns/ipc; hostname; ps | grep -c '[s]leep 1000'"
    first = podman("run", "--rm", "--pod", "pod", "box", "sh", "-c", script)
    assert first.returncode == 0, first.stderr
    second = podman("exec", "two", "sh", "-c", script)
    assert first.stdout == second.stdout
    assert first.stdout.split()[1:] == ["pod", "2"]


def test_a_volume_keeps_its_owners_in_a_user_namespace(podman, tmp_path):
    tmp_path.chmod(0o755)
    (tmp_path / "file").write_text("")
    os.chown(tmp_path / "file", 7, 7)
    done = podman(
        "run", "--rm", "--network", "none", "--uidmap", "0:100000:5000", "-v",
        f"{tmp_path}:/mnt:idmap", "box", "/bin/sh", "-c",
        "stat -c %u:%g /mnt/file; touch /mnt/made; head -1 /proc/self/uid_map",
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    assert done.stdout.split() == ["7:7", "0", "100000", "5000"]
    assert (tmp_path / "made").stat().st_uid == 0
