"""Run inside a machine that has cgroup v2 alone: limits that bite there, printed as one JSON line.

test_cgroup_v2_in_a_machine.py starts it; it needs the package auberge and nothing of the tests.
"""

import errno
import json
import os
import signal
import subprocess
import sys
import time

from auberge.container.cgroups import Cgroup
from auberge.container.cgroups_devices import confine, rules
from auberge.container.cgroups_events import OomWatch
from auberge.container.cgroups_layout import read_layout
from auberge.container.cgroups_limits import limits
from auberge.container.config import CPU, DeviceRule, Memory, Pids, Resources

MIB = 1 << 20
layout = read_layout()
found: dict[str, object] = {"kind": layout.kind}
count = 0


def fresh(resources: Resources) -> Cgroup:
    global count
    count += 1
    writes = limits(resources, layout)
    cgroup = Cgroup(layout.place(f"/auberge/{count}", "x"))
    made = cgroup.create({one.controller for one in writes})
    made.apply(writes)
    return made


def child(cgroup: Cgroup, work: object) -> int:
    pid = os.fork()
    if pid == 0:
        try:
            for node in cgroup.nodes:
                with open(node.file("cgroup.procs"), "w") as file:
                    file.write("0")
            assert callable(work)
            os._exit(work() or 0)
        except BaseException as error:
            print(error, file=sys.stderr)
            os._exit(99)
    return pid


def status(pid: int) -> int:
    return os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1])


def spin() -> int:
    while True:
        pass


def refused_forks() -> int:
    try:
        while True:
            if not os.fork():
                signal.pause()
    except OSError as error:
        return error.errno


def memory() -> None:
    cgroup = fresh(Resources(memory=Memory(limit=24 * MIB, swap=24 * MIB, reservation=MIB)))
    watch = OomWatch(cgroup.nodes)
    ended = status(child(cgroup, lambda: len(bytearray(48 * MIB)) and 0))
    told = watch.wait(60)
    use = cgroup.stats().memory
    found["memory"] = [ended, told, cgroup.oom_kills(), use.limit, use.swap_limit, use.at_limit > 0]
    watch.close()
    cgroup.delete()


def pids() -> None:
    cgroup = fresh(Resources(pids=Pids(4)))
    ended = status(child(cgroup, refused_forks))
    use = cgroup.stats().pids
    found["pids"] = [errno.errorcode[ended], use.limit, use.refused, len(cgroup.processes())]
    cgroup.delete()


def processor() -> None:
    cgroup = fresh(Resources(cpu=CPU(quota=2000, period=20_000, shares=1024, cpus="0", mems="0")))
    node = cgroup.node("cpu")
    assert node is not None
    with open(node.file("cpu.weight")) as file:
        weight = file.read().strip()
    pid = child(cgroup, spin)
    for _ in range(500):
        if cgroup.stats().cpu.throttled_periods:
            break
        time.sleep(0.02)
    use = cgroup.stats().cpu
    found["cpu"] = [
        weight,
        use.throttled_periods > 0,
        use.total > 0,
        sorted(os.sched_getaffinity(pid)),
    ]
    cgroup.freeze()
    before = cgroup.stats().cpu.total
    time.sleep(0.1)
    found["frozen"] = [cgroup.frozen, cgroup.stats().cpu.total - before]
    cgroup.kill()
    found["killed"] = status(pid)
    cgroup.delete()


def devices() -> None:
    cgroup = fresh(Resources())
    confine(cgroup, rules([DeviceRule(False), DeviceRule(True, "c", 1, 11, "r")]))

    def attempt() -> int:
        answers = 0
        for bit, (path, mode) in enumerate(
            [
                ("kmsg", os.O_RDONLY),
                ("kmsg", os.O_WRONLY),
                ("null", os.O_RDWR),
                ("vda", os.O_RDONLY),
            ]
        ):
            try:
                os.close(os.open(f"/dev/{path}", mode | os.O_NONBLOCK))
                answers |= 1 << bit
            except PermissionError:
                pass
        return answers

    found["devices"] = bin(status(child(cgroup, attempt)))
    cgroup.delete()


def unified() -> None:
    cgroup = fresh(Resources(unified={"memory.high": "16M", "cpu.max": "max 50000"}))
    node = cgroup.node("")
    assert node is not None
    with open(node.file("memory.high")) as high, open(node.file("cpu.max")) as most:
        found["unified"] = [high.read().strip(), most.read().strip()]
    found["pressure"] = sorted(cgroup.stats().pressure)
    cgroup.delete()
    found["left"] = os.path.exists(node.path)


def user() -> None:
    """A user to whom nothing was delegated, and one to whom a cgroup was."""
    code = """
import json, sys
from auberge.container.cgroups import Cgroup
from auberge.container.cgroups_layout import read_layout
from auberge.refusal import Refusal
layout = read_layout()
said = []
for path, needed in (("/auberge/u", {"pids"}), ("/auberge/u", set()), (sys.argv[1], {"pids"})):
    try:
        cgroup = Cgroup(layout.place(path, "x")).create(needed)
        said.append([node.path for node in cgroup.nodes])
        cgroup.delete()
    except Refusal as refusal:
        said.append(str(refusal))
print(json.dumps(said))
"""
    place = f"{layout.hierarchies[0].mount}/auberge/given"
    os.makedirs(place)
    for name in ("", "cgroup.procs", "cgroup.subtree_control", "cgroup.threads"):
        os.chown(f"{place}/{name}", 65534, 65534)
    done = subprocess.run(
        [sys.executable, "-c", code, "/auberge/given/x"],
        user=65534,
        group=65534,
        extra_groups=[],
        capture_output=True,
        text=True,
        check=False,
    )
    found["user"] = json.loads(done.stdout) if done.stdout else done.stderr
    os.rmdir(place)


for part in (memory, pids, processor, devices, unified, user):
    try:
        part()
    except Exception as error:
        found[part.__name__] = repr(error)
print("\nRESULT " + json.dumps(found), flush=True)
