"""A container of /bin/true, from start through exit: ours against crun, runc, bwrap and podman.

In one Python program: overlay, all namespaces, seccomp, cgroup. From the command line: a bundle.
As root; needs busybox-static. crun refuses hosts that have cgroups of v1 and controllers of v2: all
is measured without the latter then, in a mount namespace of our own.
"""

import copy
import json
import os
import resource
import shutil
import statistics
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable
from pathlib import Path

from harness.process import environment
from harness.report import Target, interleaved, median_ratio, missing, report, rounds

from auberge.cli.oci_about import template
from auberge.container.config import Config
from auberge.container.config_file import parse
from auberge.container.mounts import MountOverlay
from auberge.container.runtime import Container, Start, prepare_config

BUSYBOX = "/bin/busybox"
OURS = [sys.executable, "-c", "import sys\nfrom auberge.cli.oci import main\nsys.exit(main())"]
PEERS = {
    "runc": ["runc"],
    "crun": ["crun"],
}
FLIGHT = 200  # containers at once; each has a process and a pipe


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

    def start(self, config: Config, null: int) -> tuple[Container, int]:
        """Start a container in this program; its process is our child."""
        name = self.name()
        upper, work = self.folder / name / "upper", self.folder / name / "work"
        upper.mkdir(parents=True)
        work.mkdir()
        overlay = MountOverlay((str(self.root),), str(upper), str(work), str(self.root))
        how = Start(streams=(null, null, null), overlay=overlay, sparing=True)
        container = Container(str(self.folder / "state"), name)
        child = container.create(prepare_config(config, str(self.folder), name, how), how)
        child.close()
        return container, child.pid

    def program(self, config: Config, null: int) -> float:
        """Milliseconds from start through exit, and all removed, in this program."""
        begin = time.perf_counter()
        container, pid = self.start(config, null)
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


def rate(bundle: Bundle, config: Config, null: int, seconds: float = 3.0) -> float:
    """Containers a second, of as many threads as there are processors."""
    done: list[int] = []
    end = time.monotonic() + seconds

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


def flight(bundle: Bundle, config: Config, null: int) -> tuple[int, float]:
    """Many at once: descriptors that are left open in the end, and MiB that we have grown by."""
    before = len(os.listdir("/proc/self/fd"))
    size = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    started = [bundle.start(config, null) for _ in range(FLIGHT)]
    for container, pid in started:
        container.delete(force=True)
        os.waitpid(pid, 0)
    grown = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - size
    return len(os.listdir("/proc/self/fd")) - before, grown / 1024


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
    with tempfile.TemporaryDirectory() as folder:
        bundle = Bundle(Path(folder))
        config, null = bundle.whole(), os.open(os.devnull, os.O_RDWR)
        measures: dict[str, Callable[[], float]] = {
            "program": lambda: bundle.program(config, null),
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
        for name, values in found.items():
            report(f"containers.{name}", statistics.median(values), "ms")
        if "crun" in found:
            ratio = median_ratio(found["program"], found["crun"])
            report("containers.program_to_crun", ratio, "x", Target(most=0.5))
        if "runc" in found:
            ratio = median_ratio(found["command"], found["runc"])
            report("containers.command_to_runc", ratio, "x", Target(most=0.75))
        report("containers.rate", rate(bundle, config, null), "/s", Target(least=250))
        left, grown = flight(bundle, bundle.whole("/bin/busybox", "sleep", "1000"), null)
        report("containers.descriptors_left", left, "", Target(most=0))
        report("containers.memory_of_flight", grown, "MiB")


if __name__ == "__main__":
    main()
