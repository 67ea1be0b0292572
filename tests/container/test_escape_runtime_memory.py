"""Nothing of the runtime's memory is within a container's reach, at any moment."""

import json
import os

import pytest

pytestmark = pytest.mark.slow

SECRET = "a-secret-of-the-runtime-2718281828"


def memory_of(pid):
    """All that a process has mapped and can read."""
    found = b""
    with open(f"/proc/{pid}/maps") as maps, open(f"/proc/{pid}/mem", "rb", 0) as memory:
        for line in maps:
            ends, mode, *_ = line.split()
            if mode.startswith("r") and "[v" not in line:
                low, high = (int(end, 16) for end in ends.split("-"))
                memory.seek(low)
                found += memory.read(high - low)
    return found


def test_the_child_that_waits_for_start_holds_nothing_of_the_runtime(bundle):
    environment = {**os.environ, "SECRET": SECRET}
    assert bundle.create("ours", "true", env=environment).returncode == 0
    pid = json.loads(bundle.call("ours", "state", bundle.name).stdout)["pid"]
    with open(f"/proc/{pid}/maps") as maps:
        names = {line.split()[5] for line in maps if len(line.split()) > 5}
    ours = {name for name in names if not name.startswith("[v")}
    assert ours == {"/memfd:auberge-stub", "[stack]"}
    memory = memory_of(pid)
    assert b"auberge" in memory  # what is read is what there is: the hostname of the config
    assert SECRET.encode() not in memory


LOOK = """#!/bin/sh
for what in mem maps environ auxv exe cwd root; do
    cat /proc/1/$what > /dev/null 2>&1 && echo read $what
    echo x 2> /dev/null > /proc/1/$what && echo wrote $what
done
for fd in /proc/1/fd/*; do readlink $fd && echo link; done 2> /dev/null
true
"""


def test_a_hook_inside_cannot_look_into_the_first_process(bundle):
    """startContainer runs the container's own program, as its root, beside our child."""
    look = bundle.root / "look"
    look.write_text(LOOK)
    look.chmod(0o755)
    bundle.process["args"] = ["/bin/echo", "done"]
    bundle.config["hooks"] = {"startContainer": [{"path": "/look"}]}
    done = bundle.run("ours")
    assert (done.returncode, done.stdout) == (0, "done\n"), done.stderr


SPY = """
while true; do
    for p in /proc/[0-9]*; do
        [ $p = /proc/1 ] && continue
        tr '\\0' '\\n' < $p/environ 2> /dev/null | grep secret-of && echo environ $p
        grep -q -s libpython $p/maps && echo maps $p
        case "$(readlink $p/exe)" in *python*) echo exe $p;; esac
    done
done 2> /dev/null
"""


@pytest.mark.parametrize("userns", [False, True])
def test_who_enters_brings_nothing_of_the_runtime_along(bundle, userns):
    """`exec` joins namespaces in which the container's root looks at all processes, always."""
    if userns:
        bundle.linux["namespaces"].append({"type": "user"})
        for name in ("uidMappings", "gidMappings"):
            bundle.linux[name] = [{"containerID": 0, "hostID": 100000, "size": 65536}]
    bundle.process["capabilities"]["effective"].append("CAP_SYS_PTRACE")
    for name in ("bounding", "permitted"):
        bundle.process["capabilities"][name].append("CAP_SYS_PTRACE")
    assert bundle.create("ours", SPY).returncode == 0
    bundle.call("ours", "start", bundle.name)
    environment = {**os.environ, "SECRET": SECRET}
    for _ in range(5):
        done = bundle.call("ours", "exec", bundle.name, "true", env=environment)
        assert done.returncode == 0, done.stderr
    assert bundle.status("ours") == "running"
    bundle.remove("ours")
    assert (bundle.path / "output").read_text() == ""
