"""Paths of an image that lead outside: symbolic links, before and while a container is made."""

import os
import threading

import pytest

pytestmark = pytest.mark.slow


@pytest.fixture
def outside(tmp_path):
    """A folder of the host's that no container may see."""
    folder = tmp_path / "outside"
    folder.mkdir()
    (folder / "file").write_text("of the host\n")
    return folder


def test_a_link_as_the_place_of_a_mount_ends_inside(bundle, runtime, outside):
    source = bundle.path / "source"
    source.mkdir()
    (bundle.root / "inner").mkdir()
    (bundle.root / "way").symlink_to("/../../../../inner")
    bundle.config["mounts"].append(
        {"destination": "/way", "source": str(source), "options": ["bind"]}
    )
    said = bundle.said(runtime, "cut -d' ' -f5 /proc/self/mountinfo")
    assert "/inner" in said.split()


def test_a_link_that_names_the_host_is_of_the_container(bundle, outside):
    (bundle.root / "way").symlink_to(outside)
    bundle.config["mounts"].append({"destination": "/way", "type": "tmpfs", "source": "t"})
    bundle.config["root"]["readonly"] = False
    done = bundle.run("ours", "true")
    assert done.returncode == 1  # there is no such folder inside, and none is made through a link
    assert [f.name for f in outside.iterdir()] == ["file"]


def test_links_that_are_exchanged_while_it_is_made(bundle, outside):
    """CVE-2021-30465: somebody else changes the image all the time."""
    (bundle.root / "a").mkdir()
    (bundle.root / "b").symlink_to("/" + "../" * 12 + str(outside).lstrip("/"))
    target = bundle.root / "place"
    over = threading.Event()

    def exchange():
        while not over.is_set():
            for name in ("a", "b"):
                temporary = bundle.root / "temporary"
                temporary.symlink_to(name)
                temporary.rename(target)

    target.symlink_to("a")
    thread = threading.Thread(target=exchange)
    thread.start()
    mounts = [{"destination": "/place", "type": "tmpfs", "source": "evil"}] * 8
    bundle.config["mounts"] += mounts
    try:
        for _ in range(10):
            done = bundle.run("ours", "cut -d' ' -f5,10 /proc/self/mountinfo | grep evil")
            places = {line.split()[0] for line in done.stdout.splitlines()}
            assert places <= {"/a"}, done.stdout
    finally:
        over.set()
        thread.join()
    with open("/proc/self/mountinfo") as mounted:
        assert "evil" not in mounted.read()
    assert [f.name for f in outside.iterdir()] == ["file"]


def test_a_mask_is_the_hosts_null_device(bundle, outside):
    """CVE-2025-31133: an image whose /dev/null is a link to what is to be mounted instead."""
    bundle.config["mounts"] = [m for m in bundle.config["mounts"] if "/dev" not in m["destination"]]
    (bundle.root / "secret").write_text("masked")
    (bundle.root / "dev/null").symlink_to("/etc/passwd")
    bundle.linux["maskedPaths"] = ["/secret"]
    said = bundle.said("ours", "wc -c < /secret; grep ' /secret ' /proc/mounts | cut -d' ' -f1")
    assert said == "0\ndevtmpfs\n"


def test_a_masked_link_masks_what_it_means_inside(bundle, outside):
    (bundle.root / "link").symlink_to(outside / "file")
    bundle.linux["maskedPaths"] = ["/link"]
    assert bundle.said("ours", "echo fine") == "fine\n"
    assert (outside / "file").read_text() == "of the host\n"


@pytest.mark.parametrize(
    "path",
    [
        "/proc/sys/kernel/core_pattern",
        "/proc/sysrq-trigger",
        "/sys/kernel/uevent_helper",
        "/proc/sys/kernel/hostname",
    ],
)
def test_the_hosts_switches_cannot_be_written(bundle, runtime, path):
    said = bundle.said(runtime, f"echo x > {path}; echo status $?")
    assert said == "status 1\n"


def test_sysctls_are_not_written_through_the_images_own_proc(bundle, outside):
    """CVE-2025-52881: what is at /proc/sys may be anything."""
    fake = bundle.path / "fake"
    (fake / "sys/kernel").mkdir(parents=True)
    (fake / "sys/kernel/msgmax").symlink_to(outside / "file")
    bundle.config["mounts"][0] = {"destination": "/proc", "source": str(fake), "options": ["bind"]}
    bundle.linux["sysctl"] = {"kernel.msgmax": "4000"}
    bundle.linux["maskedPaths"] = bundle.linux["readonlyPaths"] = []
    assert bundle.said("ours", "echo fine") == "fine\n"
    assert (outside / "file").read_text() == "of the host\n"


def test_release_agents_cannot_be_set(bundle, runtime):
    """CVE-2022-0492: a cgroup of v1 can name a program that the host runs."""
    bundle.config["mounts"].append(
        {"destination": "/sys/fs/cgroup", "type": "cgroup", "source": "cgroup", "options": ["ro"]}
    )
    script = "for f in /sys/fs/cgroup/*/release_agent; do echo x > $f && echo wrote; done; "
    script += "mkdir /tmp/c; mount -t cgroup -o rdma c /tmp/c && echo mounted; true"
    assert "wrote" not in (said := bundle.said(runtime, script)) and "mounted" not in said


def test_a_session_keyring_of_its_own(bundle):
    bundle.create("ours", "sleep 100")
    with open("/proc/keys") as keys:
        assert f"_ses.{bundle.name}" in keys.read()


def test_no_terminal_of_the_hosts_is_the_containers(bundle, runtime):
    """TIOCSTI types into a controlling terminal: the container has none, or one of its own."""
    import pty

    master, slave = pty.openpty()
    try:
        done = bundle.run(runtime, "tty; cut -d' ' -f7 /proc/self/stat; cat /dev/tty", stdin=slave)
    finally:
        os.close(master)
        os.close(slave)
    assert done.stdout.splitlines()[1] == "0"
    assert "No such device or address" in done.stderr
