"""`auberge run` by a user without privileges: one id of its own, no cgroups, and nothing left."""

import os
import subprocess

import pytest

from tests.box import fill
from tests.container.bundles import ROOT
from tests.user import USER, environment, give, python, temporary_home

pytestmark = [
    pytest.mark.slow,
    pytest.mark.timeout(200),
    pytest.mark.skipif(not ROOT, reason="only root can be others"),
]


@pytest.fixture(scope="module")
def home():
    """A home for that user, with images."""
    with temporary_home() as home:
        fill(home / "cache")
        give(home)
        yield home


@pytest.fixture
def run(home):
    interpreter = python()

    def call(*words, code=None):
        program = ["-m", "auberge.cli.main", *words] if code is None else ["-c", code]
        return subprocess.run(
            [interpreter, *program], env=environment(home), capture_output=True, text=True,
            user=USER, group=USER, extra_groups=[], cwd="/", stdin=subprocess.DEVNULL, timeout=60,
        )  # fmt: skip

    yield call
    assert os.listdir(home / "cache/oci/users") == []
    assert os.listdir(home / "cache/guests") == []


def test_root_inside_is_the_user(run):
    script = "id -u; cat /proc/self/uid_map; echo x > /etc/mine; cat /etc/mine; hostname"
    done = run("run", "--rm", "--net", "none", "--hostname", "inn", "box", "sh", "-c", script)
    assert done.returncode == 0, done.stderr
    assert done.stdout.split() == ["0", "0", str(USER), "1", "x", "inn"]


def test_another_user_inside_is_the_user_too(run):
    script = "id -un; touch /home/mine; stat -c %U /home/mine; grep -E 'CapEff' /proc/self/status"
    done = run("run", "--rm", "--net", "none", "-u", "guest", "box", "sh", "-c", script)
    assert done.stdout.split() == ["guest", "guest", "CapEff:", "0" * 16], done.stderr


def test_the_hosts_network(run):
    done = run("run", "--rm", "--net", "host", "box", "sh", "-c", "ls /sys/class/net; touch /sys/x")
    with os.scandir("/sys/class/net") as links:
        assert done.stdout.split() == sorted(link.name for link in links)
    assert "Read-only file system" in done.stderr


def test_a_network_of_ones_own(run):
    if not os.stat("/dev/net/tun").st_mode & 0o006:
        pytest.skip("/dev/net/tun is root's here: chmod 666 it, as most systems have it")
    done = run("run", "--rm", "box", "ip", "address", "show", "dev", "eth0")
    assert done.returncode == 0 and " inet " in done.stdout, done.stderr


def test_limits_that_cannot_be_are_one_line(run):
    run("run", "--rm", "--net", "none", "box", "true")  # which says, once, that there is one id
    done = run("run", "--net", "none", "--memory", "64M", "box", "true")
    if done.returncode == 0:
        assert run("ps", "--all", "--quiet").stdout.count("\n") == 1
        run("rm", *run("ps", "--all", "--quiet").stdout.split())
        pytest.skip("cgroups are delegated to everybody here")
    assert done.returncode == 125 and done.stderr.count("\n") == 1
    assert "be root, or have cgroup v2 delegated" in done.stderr


def test_detached(run):
    assert run("run", "-d", "--net", "none", "--name", "bg", "box", "sleep", "100").stdout == "bg\n"
    try:
        assert run("exec", "bg", "sh", "-c", "id -u; grep Seccomp: /proc/self/status").stdout == (
            "0\nSeccomp:\t2\n"
        )
        assert "sleep 100" in run("top", "bg").stdout
        run("exec", "bg", "touch", "/home/new")
        assert run("commit", "bg", "theirs").stdout.startswith("theirs:")
    finally:
        assert run("rm", "--force", "bg").stdout == "bg\n"
    done = run("run", "--rm", "--net", "none", "theirs", "stat", "-c", "%u", "/home/new")
    assert done.stdout == "0\n"
    assert run("image", "rm", "theirs").returncode == 0


def test_from_python(run):
    code = """
import auberge
with auberge.Container("box", ["id", "-u"]) as container:
    print([container.run().stdout for _ in range(3)])
"""
    done = run(code=code)
    assert done.stdout == "['0\\n', '0\\n', '0\\n']\n", done.stderr
