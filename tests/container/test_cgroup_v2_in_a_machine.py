"""cgroup v2 alone, delegated too: this host may not have it, but a machine of ours has."""

import json
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from auberge.image import find

HERE = Path(__file__).parent
JOB = "cd /task && exec python3 -B in_a_v2_machine.py > /dev/console 2>&1"


@pytest.mark.slow
@pytest.mark.timeout(900)
def test_limits_bite_in_a_machine_with_v2_alone(tmp_path):
    debian = find("debian", "riscv64")
    if debian is None:
        pytest.skip("no image debian; auberge image build debian")
    shutil.copytree(HERE.parents[1] / "auberge", tmp_path / "work" / "auberge")
    shutil.copy(HERE / "in_a_v2_machine.py", tmp_path / "work")
    (tmp_path / "work" / "job").write_text(JOB)
    after = "systemd.run_success_action=poweroff systemd.run_failure_action=poweroff"
    command = [
        "boot", "debian", "--net", "none", "-v", f"{tmp_path}/work:/task:ro", "--timeout", "800",
        "--append", f'quiet systemd.run="/bin/sh /task/job" {after}',
    ]  # fmt: skip
    done = subprocess.run(
        [Path(sys.executable).with_name("auberge"), *command],
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        errors="replace",
        check=False,
    )
    results = [line for line in done.stdout.splitlines() if line.startswith("RESULT ")]
    assert results, done.stdout[-2000:] + done.stderr
    denied = (
        "/sys/fs/cgroup/auberge/u: the cgroup for limits of pids cannot be made: permission "
        "denied; be root, or have cgroup v2 delegated (systemd-run --user --scope -p Delegate=yes "
        "...), or leave the limits out"
    )
    mib = 1 << 20
    assert json.loads(results[0].removeprefix("RESULT ")) == {
        "kind": "v2",
        "memory": [-9, True, 1, 24 * mib, 0, True],  # killed, told, counted, limits, was reached
        "pids": ["EAGAIN", 4, 1, 3],
        "cpu": ["100", True, True, [0]],  # weight, throttled, counted, the set
        "frozen": [True, 0],  # and used no time
        "killed": -9,
        "devices": "0b101",  # kmsg to read, null; not kmsg to write, nor the disk
        "unified": [str(16 * mib), "max 50000"],
        "pressure": ["cpu", "io", "memory"],
        "left": False,
        "user": [denied, [], ["/sys/fs/cgroup/auberge/given/x"]],
    }
