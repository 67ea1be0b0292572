"""auberge.Container: one command in an image, thousands of times, from threads and asyncio."""

import asyncio
import gc
import os
import resource
import signal
import subprocess
import sys
import threading
import time
from concurrent.futures import ThreadPoolExecutor

import pytest

import auberge
from auberge.container import processes, stopwatch
from auberge.monitor import programs
from tests.box import box as box
from tests.box import filled as filled
from tests.box import left
from tests.until import until

pytestmark = [pytest.mark.slow, pytest.mark.timeout(200), pytest.mark.usefixtures("box")]


def test_a_command_and_what_it_says():
    script = "cat; echo $A $(pwd) >&2; id -u; exit 3"
    with auberge.Container(
        "box", ["sh", "-c", script], env={"A": "b"}, cwd="/tmp", user=1000, memory="32M", pids=9
    ) as container:
        done = container.run(input="typed\n")
    assert (done.args, done.returncode) == (("sh", "-c", script), 3)
    assert (done.stdout, done.stderr) == ("typed\n1000\n", "b /tmp\n")
    assert repr(container).startswith(f"<auberge.Container {container.id[:12]} box:")


def test_text_and_bytes():
    with auberge.Container("box", "cat") as container:
        assert container.run(b"\xff\n").stdout == "\ufffd\n"
        assert container.run("größe").stdout == "größe"
        whole = "0123456789" * 100_000
        assert container.run(whole).stdout == whole


def test_what_it_has_changed_is_there_when_it_runs_again():
    script = "echo x >> /home/file; cat /home/file"
    with auberge.Container("box", ["sh", "-c", script]) as container:
        assert [container.run().stdout for _ in range(3)] == ["x\n", "x\nx\n", "x\nx\nx\n"]
    with auberge.Container("box", ["ls", "-A", "/home"]) as container:
        assert container.run().stdout == ""


def test_check_raises_what_subprocess_raises():
    with auberge.Container("box", ["sh", "-c", "echo out; exit 5"]) as container:
        with pytest.raises(subprocess.CalledProcessError) as error:
            container.run(check=True)
        assert (error.value.returncode, error.value.stdout) == (5, "out\n")


def test_a_timeout_ends_it():
    with auberge.Container("box", ["sh", "-c", "echo begun; sleep 100"]) as container:
        with pytest.raises(subprocess.TimeoutExpired) as error:
            container.run(timeout=3)
        assert (error.value.timeout, error.value.stdout) == (3, b"begun\n")
        assert container.wait() == 137
    closed = "exec > /dev/null 2>&1; sleep 100"  # nothing is to be heard of it any more
    with auberge.Container("box", ["sh", "-c", closed]) as container:
        with pytest.raises(subprocess.TimeoutExpired):
            container.run(timeout=0.5)


def test_output_has_a_bound():
    with auberge.Container("box", ["yes"]) as container:
        with pytest.raises(auberge.Refusal) as refusal:
            container.run(max_output=100_000)
        assert str(refusal.value) == (
            "output: more than 100000 bytes; it was ended. Have it write to a file of a volume, or "
            "give a higher max_output"
        )
        assert container.wait() == 137


@pytest.mark.parametrize(("command", "status"), [("none", 127), ("/etc/passwd", 126)])
def test_what_cannot_be_started(command, status):
    with auberge.Container("box", command) as container:
        with pytest.raises(auberge.NotStarted) as refusal:
            container.run()
        assert refusal.value.status == status


@pytest.mark.parametrize(
    ("more", "text"),
    [
        ({"image": "none"}, "none:.*: no such image"),
        ({"memory": "much"}, "memory: 'much' is not a size; write it as 256M or 2G"),
        ({"cpus": -1}, "cpus: -1 is no number of processors; write 1.5, or 0.01 at least"),
        ({"user": "ghost"}, "box:.*: no user 'ghost' in the image's /etc/passwd; give a number"),
        ({"isolation": "trust"}, "--isolation: 'trust': not for images"),
    ],
)
def test_what_cannot_be_is_refused_at_once(more, text):
    with pytest.raises(auberge.Refusal, match=text):
        auberge.Container(**{"image": "box", "command": "true"} | more)


def test_step_by_step(tmp_path):
    with auberge.Container("box", ["sh", "-c", "echo hi; sleep 100"], memory="64M") as container:
        assert container.pid == 0
        with pytest.raises(auberge.Refusal, match="it does not run"):
            container.kill()
        with open(tmp_path / "out", "wb") as file:
            container.start(stdout=file.fileno())
        with pytest.raises(RuntimeError, match="runs already"):
            container.run()
        done = container.exec(
            ["sh", "-c", "cat; ls -d /proc/[0-9]* | wc -l"], input="x\n", user=1000
        )
        assert done.returncode == 0 and done.stdout.splitlines()[0] == "x"
        assert int(done.stdout.splitlines()[1]) >= 3
        with pytest.raises(auberge.NotStarted):
            container.exec("none")
        with pytest.raises(subprocess.TimeoutExpired):
            container.exec(["sleep", "100"], timeout=0.3)
        usage = container.stats()
        assert usage.memory_limit == 64 << 20 and usage.memory > 0 and usage.pids >= 1
        until(lambda: "sleep 100" in {task.command for task in container.processes()})
        container.pause()
        with pytest.raises(auberge.Refusal, match="paused; resume it first"):
            container.exec("true")
        container.resume()
        with pytest.raises(subprocess.TimeoutExpired):
            container.wait(timeout=0.01)
        container.kill(signal.SIGKILL)
        assert container.wait() == 137 and not container.oom_killed
        assert (tmp_path / "out").read_text() == "hi\n"
    container.close()
    with pytest.raises(auberge.Refusal, match="it is closed; make another one"):
        container.run()


def test_lack_of_memory_is_told():
    script = "head -c 64000000 /dev/zero | tail -c 64000000 | wc -c"
    with auberge.Container("box", ["sh", "-c", script], memory="16M") as container:
        container.run()
        assert container.oom_killed


def test_from_threads():
    def work(n):
        with auberge.Container("box", ["echo", str(n)]) as container:
            return container.run().stdout

    with ThreadPoolExecutor(8) as pool:
        assert list(pool.map(work, range(80))) == [f"{n}\n" for n in range(80)]


def test_one_thread_stops_what_another_runs():
    with auberge.Container("box", ["sleep", "100"]) as container:
        with ThreadPoolExecutor(1) as pool:
            running = pool.submit(container.run)
            while not container.pid:
                time.sleep(0.001)
            with pytest.raises(RuntimeError, match="runs in another thread"):
                container.run()
            container.kill()
            assert running.result(60).returncode == 137


def test_from_asyncio():
    async def work(n):
        with auberge.Container("box", ["sh", "-c", f"sleep 0.1; echo {n}"]) as container:
            return (await asyncio.to_thread(container.run)).stdout

    async def all_of_them():
        return await asyncio.gather(*map(work, range(20)))

    assert asyncio.run(all_of_them()) == [f"{n}\n" for n in range(20)]


def test_hundreds_leave_nothing(filled):
    def some(count):
        for _ in range(count):
            with auberge.Container("box", "true", memory="32M", pids=9) as container:
                assert container.run().returncode == 0
        gc.collect()
        with open("/proc/self/mountinfo") as file:
            mounts = len(list(file))
        ours = len(os.listdir("/proc/self/fd")), threading.active_count(), mounts
        return ours, left(filled), resident()

    before, remains, size = some(50)
    after, remaining, grown = some(200)
    assert after == before and remains == remaining == [] and grown - size < 2 << 20
    assert len(stopwatch._marks) <= stopwatch.MOST


def resident():
    """Bytes of memory of this process."""
    with open("/proc/self/statm") as file:
        return int(file.read().split()[1]) * resource.getpagesize()


def test_many_at_once():
    made = [auberge.Container("box", ["sleep", "100"]) for _ in range(60)]
    try:
        for container in made:
            container.start()
        assert len({container.pid for container in made}) == 60
        assert all(len(container.processes()) == 1 for container in made)
    finally:
        for container in made:
            container.close()


KILLED = """
import auberge, os, sys, time
container = auberge.Container("box", ["sleep", "1000"], memory="32M")
container.start()
print(container.pid, flush=True)
time.sleep(1000)
"""


def test_what_a_killed_program_leaves_the_next_one_removes(filled):
    with subprocess.Popen([sys.executable, "-c", KILLED], stdout=subprocess.PIPE) as program:
        pid = int(program.stdout.readline())
        program.kill()
    started = processes.start_time(pid)
    assert processes.is_alive(pid, started) and len(left(filled)) > 1
    assert len(programs.sweep(str(filled / "programs"))) == 1
    assert left(filled) == [] and not processes.is_alive(pid, started)


def test_what_a_program_forgets_to_close_ends_with_it(filled):
    code = KILLED.partition("print")[0]
    subprocess.run([sys.executable, "-c", code], check=True, timeout=60)
    assert left(filled) == []


def test_a_fork_leaves_its_parents_containers_alone():
    with auberge.Container("box", ["sleep", "100"]) as container:
        container.start()
        child = os.fork()
        if child == 0:
            try:
                container.close()
                with auberge.Container("box", "true") as own:
                    status = own.run().returncode
                programs._leave(os.path.dirname(own._folder), os.getpid())
            except BaseException:
                status = 1
            os._exit(status)
        assert os.waitpid(child, 0)[1] == 0
        assert container.exec(["echo", "on"]).stdout == "on\n"
