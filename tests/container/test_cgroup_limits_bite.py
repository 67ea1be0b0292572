"""Limits of a container, observed from inside, on this host's kernel."""

import os
import signal
import time

import pytest

from auberge.container.cgroups_events import OomWatch
from auberge.container.cgroups_limits import limits
from auberge.container.config import (
    CPU,
    BlockIO,
    HugepageLimit,
    Memory,
    Pids,
    Resources,
    ThrottleDevice,
)
from auberge.refusal import Refusal
from tests.container.confined import at_the_end, fresh_cgroup, need, run, start

MIB = 1 << 20
pytestmark = pytest.mark.slow


@pytest.fixture
def layout_and_cgroup():
    layout, cgroup = fresh_cgroup("limits")
    for one in at_the_end(cgroup):
        yield layout, one


def limit(layout_and_cgroup, resources):
    layout, cgroup = layout_and_cgroup
    cgroup.apply(limits(resources, layout))
    return cgroup


def test_memory_ends_in_oom_and_is_reported_as_such(layout_and_cgroup):
    cgroup = limit(layout_and_cgroup, Resources(memory=Memory(limit=32 * MIB, swap=32 * MIB)))
    watch = OomWatch(cgroup.nodes)
    try:
        assert not watch.wait(0)
        status, printed = run(cgroup, "data = bytearray(64 << 20); print(len(data))")
        assert (status, printed) == (-signal.SIGKILL, "")
        assert watch.wait(60)
        assert watch.kills() == cgroup.oom_kills() == 1
        assert not watch.wait(0)
    finally:
        watch.close()
    stats = cgroup.stats().memory
    assert (stats.limit, stats.oom_kills) == (32 * MIB, 1)


def test_memory_below_the_limit_is_enough(layout_and_cgroup):
    cgroup = limit(layout_and_cgroup, Resources(memory=Memory(limit=64 * MIB)))
    assert run(cgroup, "print(len(bytearray(32 << 20)))") == (0, f"{32 * MIB}\n")
    assert cgroup.oom_kills() == 0
    assert 32 * MIB < cgroup.stats().memory.peak <= 64 * MIB


def test_more_memory_than_both_had_before(layout_and_cgroup):
    """v1 takes no memory above the limit of both, so the order of writing depends on the values."""
    cgroup = limit(layout_and_cgroup, Resources(memory=Memory(limit=32 * MIB, swap=32 * MIB)))
    for size in (64 * MIB, 16 * MIB, 128 * MIB):
        limit(layout_and_cgroup, Resources(memory=Memory(limit=size, swap=size)))
        assert cgroup.stats().memory.limit == size
    limit(layout_and_cgroup, Resources(memory=Memory(limit=-1)))
    assert cgroup.stats().memory.limit is None


def test_the_next_process_is_eagain(layout_and_cgroup):
    cgroup = limit(layout_and_cgroup, Resources(pids=Pids(3)))
    code = """
import errno
children = []
try:
    while True:
        pid = os.fork()
        if not pid:
            sys.stdin.read()
            os._exit(0)
        children.append(pid)
except OSError as error:
    print(len(children), errno.errorcode[error.errno], flush=True)
sys.stdin.readline()
"""
    process = start(cgroup, code)
    assert process.stdout.readline() == "2 EAGAIN\n"
    stats = cgroup.stats().pids
    assert (stats.current, stats.limit) == (3, 3)
    assert stats.refused == 1
    process.communicate("\n")


def test_the_processor_is_throttled(layout_and_cgroup):
    """A process that never rests; how soon depends on who else wants the processor."""
    cgroup = limit(layout_and_cgroup, Resources(cpu=CPU(quota=2000, period=20_000, shares=2048)))
    process = start(cgroup, "while True: pass")
    for _ in range(1000):
        stats = cgroup.stats().cpu
        if stats.throttled_periods:
            break
        time.sleep(0.01)
    process.kill()
    process.communicate()
    assert stats.periods >= stats.throttled_periods > 0
    assert 2_000_000 <= stats.total <= (stats.periods + 2) * 2_000_000 * 2


def test_a_burst_is_no_more_than_the_quota(layout_and_cgroup):
    where = "config.json: $.linux.resources.cpu.burst: the kernel refuses '20000' for "
    with pytest.raises(Refusal) as refusal:
        limit(layout_and_cgroup, Resources(cpu=CPU(quota=10_000, period=50_000, burst=20_000)))
    assert str(refusal.value).startswith(where)
    assert str(refusal.value).endswith(": invalid argument; change the value")
    limit(layout_and_cgroup, Resources(cpu=CPU(burst=20_000, quota=20_000)))


def test_processors_of_the_set_alone(layout_and_cgroup):
    last = max(os.sched_getaffinity(0))
    cgroup = limit(layout_and_cgroup, Resources(cpu=CPU(cpus=str(last), mems="0")))
    code = """
print(os.sched_getaffinity(0))
try: os.sched_setaffinity(0, {0, 1})
except OSError as error: print(error.strerror)
print(os.sched_getaffinity(0))
"""
    status, printed = run(cgroup, code)
    assert status == 0
    assert set(printed.splitlines()) == {str({last})}


def test_huge_pages_are_refused(layout_and_cgroup):
    need(layout_and_cgroup[1], "hugetlb", 2)
    wanted = Resources(hugepage_limits=(HugepageLimit("2MB", 4 * MIB),))
    cgroup = limit(layout_and_cgroup, wanted)
    node = cgroup.node("hugetlb")
    with open(node.file("hugetlb.2MB.max")) as file:
        assert file.read() == f"{4 * MIB}\n"
    assert [page.page_size for page in cgroup.stats().hugepages] == ["1GB", "2MB"]


def test_kernel_memory_is_refused_where_it_is_gone(layout_and_cgroup):
    need(layout_and_cgroup[1], "memory", 1)
    path = layout_and_cgroup[1].node("memory").file("memory.kmem.limit_in_bytes")
    with pytest.raises(Refusal) as refusal:
        limit(layout_and_cgroup, Resources(memory=Memory(kernel=MIB)))
    assert str(refusal.value) == (
        f"config.json: $.linux.resources.memory.kernel: the kernel refuses '1048576' for {path}: "
        "operation not supported; change the value"
    )


def test_a_disk_is_throttled(layout_and_cgroup, tmp_path):
    """Half a mebibyte past the page cache, at one mebibyte a second."""
    need(layout_and_cgroup[1], "blkio", 1)
    device = os.stat(tmp_path).st_dev
    file = tmp_path / "file"
    file.write_bytes(bytes(MIB // 2))
    os.sync()
    code = f"""
import mmap, time
try:
    fd = os.open({str(file)!r}, os.O_RDONLY | os.O_DIRECT)
except OSError:
    print("no O_DIRECT")
    sys.exit()
buffer = mmap.mmap(-1, 1 << 16)
begin = time.monotonic()
while os.readv(fd, [buffer]): pass
print(time.monotonic() - begin > 0.3)
"""
    if not os.path.exists(f"/sys/dev/block/{os.major(device)}:{os.minor(device)}"):
        pytest.skip("the file system is on no disk")
    throttle = (ThrottleDevice(os.major(device), os.minor(device), MIB),)
    wanted = Resources(block_io=BlockIO(throttle_read_bps_device=throttle))
    status, printed = run(limit(layout_and_cgroup, wanted), code)
    if printed == "no O_DIRECT\n":
        pytest.skip("the file system has no O_DIRECT")
    assert (status, printed) == (0, "True\n")
    (used,) = layout_and_cgroup[1].stats().devices
    assert used.read_bytes >= MIB // 2


NOBODY = """
from auberge.container.cgroups import Cgroup
from auberge.container.cgroups_layout import read_layout
from auberge.refusal import Refusal
nodes = read_layout().place("/auberge-test-nobody", "x")
os.setgroups([])
os.setgid(65534)
os.setuid(65534)
print(Cgroup(nodes).create().nodes)
try: Cgroup(nodes).create({"pids"})
except Refusal as refusal: print(refusal)
"""


def test_nobody_goes_without_or_is_told(layout_and_cgroup):
    """Without a limit a container has no cgroup; with one, a line says what is missing."""
    need(layout_and_cgroup[1], "pids", 1)
    path = layout_and_cgroup[0].place("/auberge-test-nobody", "x")
    (pids,) = [node.path for node in path if "pids" in node.controllers]
    status, printed = run(layout_and_cgroup[1], NOBODY)
    assert (status, printed.splitlines()) == (
        0,
        [
            "()",
            f"{pids}: the cgroup for limits of pids cannot be made: permission denied; be root, or "
            "have cgroup v2 delegated (systemd-run --user --scope -p Delegate=yes ...), or leave "
            "the limits out",
        ],
    )


NETWORK = """
import ctypes, subprocess
libc = ctypes.CDLL(None)
assert libc.unshare(0x20000) == 0  # CLONE_NEWNS
assert libc.mount(None, b"/", None, 1 << 18 | 1 << 14, None) == 0  # MS_PRIVATE | MS_REC
place = sys.argv[2]
for name in ("net_cls", "net_prio"):
    os.mkdir(f"{place}/{name}")
    if libc.mount(b"none", f"{place}/{name}".encode(), b"cgroup", 0, name.encode()) != 0:
        print("none")
        sys.exit()
from auberge.container.cgroups import Cgroup
from auberge.container.cgroups_layout import read_layout
from auberge.container.cgroups_limits import limits
from auberge.container.config import InterfacePriority, Network, Resources
layout = read_layout()
wanted = Resources(network=Network(0x100001, (InterfacePriority("lo", 5),)))
nodes = [node for node in layout.place("one", "x") if node.mount.startswith(place)]
cgroup = Cgroup(nodes).create({"net_cls", "net_prio"})
cgroup.apply(limits(wanted, layout))
child = subprocess.Popen(["sleep", "60"])
cgroup.add(child.pid)
print(open(f"{place}/net_cls/one/net_cls.classid").read().strip())
print(cgroup.processes() == [child.pid])
print("lo 5" in open(f"{place}/net_prio/one/net_prio.ifpriomap").read().splitlines())
cgroup.delete()
child.wait()
"""


def test_class_and_priority_of_packets(layout_and_cgroup, tmp_path):
    """In hierarchies that are mounted for this test alone."""
    if {"net_cls", "net_prio"} & {
        n for node in layout_and_cgroup[1].nodes for n in node.controllers
    }:
        pytest.skip("they are mounted here already, and the test mounts them")
    process = start(layout_and_cgroup[1], NETWORK, str(tmp_path))
    out, err = process.communicate(timeout=60)
    if out == "none\n":
        pytest.skip("this kernel has no net_cls and net_prio")
    assert (out, err) == ("1048577\nTrue\nTrue\n", "")
