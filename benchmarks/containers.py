"""A container of /bin/true, from start through exit: ours against crun, runc, bwrap and podman.

In one Python program: overlay, all namespaces, seccomp, cgroups that a limit needs; and with all
cgroups of v1, as the others make them. From the command line: the same bundle for all of them. A
thousand at once, and what they leave behind. What a program inside costs against crun's: computing,
and system calls. As root; needs busybox-static. crun refuses hosts that have cgroups of v1 and
controllers of v2: all is measured without the latter then, in a mount namespace of our own.
"""

import copy
import json
import os
import shutil
import statistics
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple

from harness.process import environment
from harness.report import Target, interleaved, median_ratio, missing, report, rounds

from auberge.cli.oci_about import template
from auberge.container.config import Config
from auberge.container.config_file import parse
from auberge.container.mounts import MountOverlay
from auberge.container.runtime import Container, Start, prepare_config

BUSYBOX = "/bin/busybox"
OURS = [str(Path(sys.executable).with_name("auberge-oci"))]
PEERS = {
    "runc": ["runc"],
    "crun": ["crun"],
}
FLIGHT = 1000  # containers at once
RATED = 3.0  # seconds
INSIDE = {
    "computing": "i=0; while [ $i -lt 60000 ]; do i=$((i+1)); done",
    "forks": "i=0; while [ $i -lt 150 ]; do (:); i=$((i+1)); done",
    "files": "i=0; while [ $i -lt 4000 ]; do [ -e /bin/true ]; : </dev/null; i=$((i+1)); done",
}
"""What is timed inside, by the shell's own clock: instructions of the processor; clone, wait and
exit; stat, open and close."""


class Bundle:
    """A folder with a root file system, and configurations for it."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.root = folder / "rootfs"
        for name in ("bin", "proc", "sys", "dev", "tmp"):
            (self.root / name).mkdir(parents=True)
        shutil.copy(BUSYBOX, self.root / "bin/busybox")
        (self.root / "bin/true").symlink_to("busybox")
        self.values = template(rootless=False)
        process = self.values["process"]
        assert isinstance(process, dict)
        process |= {"terminal": False, "args": ["/bin/true"]}
        (folder / "config.json").write_text(json.dumps(self.values))
        self.count = 0

    def whole(self, *args: str) -> Config:
        """With a seccomp filter and a time namespace, which not all peers can have."""
        values = copy.deepcopy(self.values)
        linux, process = values["linux"], values["process"]
        assert isinstance(linux, dict) and isinstance(process, dict)
        linux["namespaces"].append({"type": "time"})
        linux["seccomp"] = {
            "defaultAction": "SCMP_ACT_ALLOW",
            "syscalls": [{"names": ["kexec_load", "mount"], "action": "SCMP_ACT_ERRNO"}],
        }
        process["args"] = list(args) or ["/bin/true"]
        return parse(json.dumps(values).encode(), Config, "config.json")

    def name(self) -> str:
        """Of a container: another each time."""
        self.count += 1
        return f"bench-{os.getpid()}-{self.count}"

    def start(self, config: Config, null: int, sparing: bool = True) -> tuple[Container, int]:
        """Start a container in this program; its process is our child."""
        name = self.name()
        upper, work = self.folder / name / "upper", self.folder / name / "work"
        upper.mkdir(parents=True)
        work.mkdir()
        overlay = MountOverlay((str(self.root),), str(upper), str(work), str(self.root))
        how = Start(streams=(null, null, null), overlay=overlay, sparing=sparing)
        container = Container(str(self.folder / "state"), name)
        child = container.create(prepare_config(config, str(self.folder), name, how), how)
        child.close()
        return container, child.pid

    def program(self, config: Config, null: int, sparing: bool = True) -> float:
        """Milliseconds from start through exit, and all removed, in this program."""
        begin = time.perf_counter()
        container, pid = self.start(config, null, sparing)
        os.waitpid(pid, 0)
        container.delete(force=True)
        return (time.perf_counter() - begin) * 1000

    def command(self, words: list[str]) -> float:
        """Milliseconds of a runtime's command `run`."""
        own = ["--root", str(self.folder / "state")]
        return timed([*words, *own, "run", "--bundle", str(self.folder), self.name()])


def timed(command: list[str]) -> float:
    """Milliseconds of a command that must succeed."""
    begin = time.perf_counter()
    subprocess.run(
        command, check=True, env=environment(), stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    )  # fmt: skip
    return (time.perf_counter() - begin) * 1000


def bwrap(bundle: Bundle) -> list[str]:
    """bubblewrap's nearest: no cgroup, no overlay."""
    return ["bwrap", "--unshare-all", "--bind", str(bundle.root), "/", "--proc", "/proc",
            "--dev", "/dev", "/bin/true"]  # fmt: skip


def rate(bundle: Bundle, config: Config, null: int) -> float:
    """Containers a second, of as many threads as there are processors."""
    done: list[int] = []
    end = time.monotonic() + RATED

    def run() -> None:
        while time.monotonic() < end:
            bundle.program(config, null)
            done.append(1)

    threads = [threading.Thread(target=run) for _ in range(os.cpu_count() or 1)]
    begin = time.monotonic()
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    return len(done) / (time.monotonic() - begin)


class Left(NamedTuple):
    """What there is of this program's: after containers as many as before, or they leak."""

    descriptors: int
    mounts: int
    cgroups: int
    resident: float  # MiB


def left() -> Left:
    """What there is now."""
    with open("/proc/self/mountinfo", "rb") as mounts, open("/proc/self/statm") as memory:
        lines, pages = len(mounts.readlines()), int(memory.read().split()[1])
    ours = f"bench-{os.getpid()}-"
    cgroups = sum(
        name.startswith(ours) for _, names, _ in os.walk("/sys/fs/cgroup") for name in names
    )
    size = pages * os.sysconf("SC_PAGE_SIZE") / (1 << 20)
    return Left(len(os.listdir("/proc/self/fd")), lines, cgroups, size)


def flight(bundle: Bundle, null: int) -> None:
    """Many at once, twice: what the second time leaves is what would grow for ever."""
    config = bundle.whole("/bin/busybox", "sleep", "1000")
    before = left()
    for _ in range(2):
        before = left()
        begin = time.perf_counter()
        started = [bundle.start(config, null) for _ in range(FLIGHT)]
        report("containers.flight_started", FLIGHT / (time.perf_counter() - begin), "/s")
        assert all(os.path.exists(f"/proc/{pid}/exe") for _, pid in started)
        for container, pid in started:
            container.delete(force=True)
            os.waitpid(pid, 0)
    after = left()
    report("containers.flight", FLIGHT, "", Target(least=1000))
    report(
        "containers.descriptors_left", after.descriptors - before.descriptors, "", Target(most=0)
    )
    report("containers.mounts_left", after.mounts - before.mounts, "", Target(most=0))
    report("containers.cgroups_left", after.cgroups - before.cgroups, "", Target(most=0))
    report("containers.memory_left", after.resident - before.resident, "MiB", Target(most=4))


def inside(bundle: Bundle, words: list[str], script: str) -> float:
    """Milliseconds that a script takes inside a container, by a clock inside."""
    process = bundle.values["process"]
    assert isinstance(process, dict)
    clock = "t() { /bin/busybox adjtimex | /bin/busybox awk '/tv_/ {printf \"%s \", $2}'; }"
    shell = f"{clock}; t; {script}; t"
    values = bundle.values | {"process": process | {"args": ["/bin/busybox", "sh", "-c", shell]}}
    folder = bundle.folder / "inside"
    folder.mkdir(exist_ok=True)
    root = folder / "rootfs"
    if not root.is_symlink():
        root.symlink_to(bundle.root)
    (folder / "config.json").write_text(json.dumps(values))
    own = ["--root", str(bundle.folder / "state")]
    done = subprocess.run(
        [*words, *own, "run", "--bundle", str(folder), bundle.name()], check=True,
        env=environment(), stdin=subprocess.DEVNULL, stdout=subprocess.PIPE,
    )  # fmt: skip
    second, part, last, rest = map(int, done.stdout.split())
    return (last - second) * 1000 + (rest - part) / 1000


def podman(bundle: Bundle, runtime: str) -> list[str]:
    """podman with a runtime, of a root file system: it has much more to do than that."""
    storage = bundle.folder / "podman"
    limits = ["--ulimit", "nofile=1024:1024", "--ulimit", "nproc=1024:1024"]
    return ["podman", "--root", str(storage), "--runroot", str(storage / "run"),
            "--storage-driver", "vfs", "--cgroup-manager", "cgroupfs", "--runtime", runtime, "run",
            "--rm", "--network=none", *limits, "--rootfs", str(bundle.root),
            "/bin/true"]  # fmt: skip


HYBRID = "/sys/fs/cgroup/unified"


def without_v2() -> None:
    """Run this program once more where only cgroups of v1 are mounted."""
    script = f'umount {HYBRID} && exec "$@"'
    os.execvp("unshare", ["unshare", "--mount", "sh", "-c", script, "-", *sys.orig_argv])


def main() -> None:
    """All, in turn."""
    if os.geteuid() == 0 and os.path.ismount(HYBRID) and shutil.which("crun"):
        without_v2()
    if os.geteuid() or not os.path.exists(BUSYBOX):
        missing("busybox, or we are not root", "busybox-static")
        return
    count = rounds(15)
    shared = "/dev/shm"  # where /run would be: what runtimes record is on no disk
    with tempfile.TemporaryDirectory(dir=shared if os.path.ismount(shared) else None) as folder:
        bundle = Bundle(Path(folder))
        config, null = bundle.whole(), os.open(os.devnull, os.O_RDWR)
        measures: dict[str, Callable[[], float]] = {
            "program": lambda: bundle.program(config, null),
            "program_all_cgroups": lambda: bundle.program(config, null, sparing=False),
            "command": lambda: bundle.command(OURS),
        }
        for name, words in PEERS.items():
            if shutil.which(name):
                measures[name] = lambda words=words: bundle.command(words)
            else:
                missing(name, name)
        if shutil.which("bwrap"):
            measures["bwrap"] = lambda: timed(bwrap(bundle))
        for measure in measures.values():
            measure()
        found = dict(zip(measures, interleaved(count, *measures.values()), strict=True))
        if shutil.which("podman"):
            engines = [podman(bundle, OURS[0])]
            if "crun" in found:
                engines.append(podman(bundle, shutil.which("crun") or ""))
            for engine in engines:
                timed(engine)
            pairs = interleaved(3, *[lambda engine=engine: timed(engine) for engine in engines])
            found |= zip(("podman_with_ours", "podman_with_crun"), pairs, strict=False)
        for name, values in found.items():
            report(f"containers.{name}", statistics.median(values), "ms")
        if "crun" in found:
            for name, target in (("program", Target(most=0.5)), ("program_all_cgroups", None)):
                ratio = median_ratio(found[name], found["crun"])
                report(f"containers.{name}_to_crun", ratio, "x", target)
            report("containers.command_to_crun", median_ratio(found["command"], found["crun"]), "x")
        if "runc" in found:
            ratio = median_ratio(found["command"], found["runc"])
            report("containers.command_to_runc", ratio, "x", Target(most=0.75))
        report("containers.rate", rate(bundle, config, null), "/s", Target(least=250))
        flight(bundle, null)
        if "crun" in found:
            for name, script in INSIDE.items():
                ours, theirs = interleaved(
                    count,
                    lambda script=script: inside(bundle, OURS, script),
                    lambda script=script: inside(bundle, ["crun"], script),
                )
                ratio = median_ratio(ours, theirs)
                report(f"containers.inside_{name}_to_crun", ratio, "x", Target(most=1.05))


if __name__ == "__main__":
    main()
