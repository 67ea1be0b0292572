"""create, start, state, kill, delete, exec, ps, pause, resume, list: ours, and runc first."""

import json
import os
import signal
import subprocess

import pytest

from tests.until import until

pytestmark = pytest.mark.slow


@pytest.fixture
def both(bundle, runtime):
    """A bundle and a runtime whose container is removed in the end."""
    yield bundle, runtime
    bundle.remove(runtime)


def test_created_started_stopped_deleted(both):
    bundle, runtime = both
    assert bundle.create(runtime, "echo run; exit 3").returncode == 0
    assert bundle.status(runtime) == "created"
    assert (bundle.path / "output").read_text() == ""
    assert bundle.call(runtime, "start", bundle.name).returncode == 0
    until(lambda: bundle.status(runtime) == "stopped")
    assert (bundle.path / "output").read_text() == "run\n"
    assert bundle.call(runtime, "delete", bundle.name).returncode == 0
    assert bundle.call(runtime, "state", bundle.name).returncode == 1


def test_the_state(both):
    bundle, runtime = both
    bundle.config["annotations"] = {"a.b": "c"}
    bundle.create(runtime, "sleep 100")
    state = json.loads(bundle.call(runtime, "state", bundle.name).stdout)
    assert state["id"] == bundle.name
    assert state["bundle"] == str(bundle.path)
    assert state["annotations"] == {"a.b": "c"}
    assert os.path.exists(f"/proc/{state['pid']}")
    listed = json.loads(bundle.call(runtime, "list", "--format", "json").stdout)
    assert [(one["id"], one["pid"], one["status"]) for one in listed] == [
        (bundle.name, state["pid"], "created")
    ]
    assert bundle.call(runtime, "list", "-q").stdout.split() == [bundle.name]


def test_signals_by_name_and_number(both):
    bundle, runtime = both
    for word in ("KILL", "SIGKILL", "9"):
        bundle.create(runtime, "sleep 100")
        bundle.call(runtime, "start", bundle.name)
        assert bundle.call(runtime, "kill", bundle.name, word).returncode == 0
        until(lambda: bundle.status(runtime) == "stopped")
        assert bundle.call(runtime, "kill", bundle.name, word).returncode == 1
        assert bundle.call(runtime, "delete", bundle.name).returncode == 0


def test_one_that_runs_is_deleted_by_force_alone(both):
    bundle, runtime = both
    bundle.create(runtime, "sleep 100")
    bundle.call(runtime, "start", bundle.name)
    assert bundle.call(runtime, "delete", bundle.name).returncode == 1
    assert bundle.call(runtime, "delete", "--force", bundle.name).returncode == 0
    assert bundle.call(runtime, "delete", bundle.name).returncode == 1
    assert bundle.call(runtime, "delete", "--force", bundle.name).returncode == 0


def test_exec(both):
    bundle, runtime = both
    bundle.create(runtime, "sleep 100")
    bundle.call(runtime, "start", bundle.name)
    name = bundle.name
    done = bundle.call(runtime, "exec", "-e", "WORD=x", "--cwd", "/etc", name, "/bin/sh", "-c",
                       "echo $WORD $$ $(pwd); cat /proc/self/cgroup; exit 4")  # fmt: skip
    lines = done.stdout.splitlines()
    assert done.returncode == 4
    assert lines[0].startswith("x ") and lines[0].endswith(" /etc")
    with open(f"/proc/{json.loads(bundle.call(runtime, 'state', name).stdout)['pid']}/cgroup") as f:
        outside = f.read()
    assert sorted(line.split(":")[1] for line in lines[1:]) == sorted(
        line.split(":")[1] for line in outside.splitlines()
    )
    assert all(line.endswith("/") for line in lines[1:])  # seen from their cgroup namespace
    done = bundle.call(runtime, "exec", "-u", "7:8", name, "id")
    assert done.stdout.startswith("uid=7 gid=8")
    process = bundle.path / "process.json"
    process.write_text(json.dumps(bundle.process | {"args": ["echo", "hello"]}))
    assert bundle.call(runtime, "exec", "-p", str(process), name).stdout == "hello\n"


def test_a_program_that_is_not_there(both):
    bundle, runtime = both
    bundle.process["args"] = ["nosuch"]
    done = bundle.run(runtime)
    assert done.returncode == 1
    assert not list(bundle.state.glob("*")) or runtime == "runc"
    if runtime == "ours":
        assert done.stderr == (
            "auberge-oci: container: $.process.args[0]: 'nosuch': no such file or directory; "
            "give a program that is in the container\n"
        )


def test_processes(both):
    bundle, runtime = both
    bundle.create(runtime, "sleep 100 & wait")
    bundle.call(runtime, "start", bundle.name)
    until(lambda: len(json.loads(ps(bundle, runtime))) == 2)
    table = bundle.call(runtime, "ps", bundle.name).stdout.splitlines()
    assert "PID" in table[0] and len(table) == 3


def ps(bundle, runtime):
    return bundle.call(runtime, "ps", "--format", "json", bundle.name).stdout


def test_paused_and_resumed(both):
    bundle, runtime = both
    bundle.create(runtime, "while true; do echo x; done | cat > /dev/null")
    bundle.call(runtime, "start", bundle.name)
    assert bundle.call(runtime, "pause", bundle.name).returncode == 0
    assert bundle.status(runtime) == "paused"
    assert bundle.call(runtime, "exec", bundle.name, "true").returncode != 0
    assert bundle.call(runtime, "resume", bundle.name).returncode == 0
    assert bundle.status(runtime) == "running"


def test_limits_are_changed_and_use_is_told(both):
    bundle, runtime = both
    bundle.linux["resources"]["pids"] = {"limit": 50}
    bundle.create(runtime, "sleep 100")
    bundle.call(runtime, "start", bundle.name)
    event = json.loads(bundle.call(runtime, "events", "--stats", bundle.name).stdout)
    assert (event["type"], event["id"]) == ("stats", bundle.name)
    assert event["data"]["pids"]["limit"] == 50
    # runc's own first process may still be ending there, with its threads
    assert event["data"]["pids"]["current"] == 1 or runtime == "runc"
    assert bundle.call(runtime, "update", "--pids-limit", "40", bundle.name).returncode == 0
    event = json.loads(bundle.call(runtime, "events", "--stats", bundle.name).stdout)
    assert event["data"]["pids"]["limit"] == 40


def test_pid_file_and_signals_are_passed_on(both):
    bundle, runtime = both
    bundle.process["args"] = [
        "/bin/sh",
        "-c",
        "trap 'exit 9' TERM; echo up; while :; do sleep 0.05; done",
    ]
    bundle.write()
    words = bundle.command(
        runtime, "run", "--bundle", str(bundle.path), "--pid-file", str(bundle.path / "pid"),
        bundle.name,
    )  # fmt: skip
    with subprocess.Popen(words, stdout=subprocess.PIPE, stdin=subprocess.DEVNULL) as running:
        assert running.stdout.readline() == b"up\n"
        until((bundle.path / "pid").exists)
        pid = int((bundle.path / "pid").read_text())
        assert pid == json.loads(bundle.call(runtime, "state", bundle.name).stdout)["pid"]
        running.send_signal(signal.SIGTERM)
        assert running.wait(60) == 9


def test_two_of_a_name(both):
    bundle, runtime = both
    bundle.create(runtime, "sleep 100")
    done = bundle.run(runtime, "true")
    assert done.returncode == 1
    assert bundle.status(runtime) == "created"


def test_no_folder_is_named_by_an_id(bundle):
    for name in ("../x", "a/b", ".", "..", "", "a b"):
        bundle.write()
        done = bundle.call("ours", "create", "--bundle", str(bundle.path), name)
        assert done.returncode == 1
        assert done.stderr == (
            f"auberge-oci: container id {name!r}: not a name; "
            "write letters, digits and any of '_+-.'\n"
        )


def test_a_terminal_is_sent_to_the_console_socket(both):
    import array
    import socket

    bundle, runtime = both
    bundle.process["terminal"] = True
    bundle.process["consoleSize"] = {"height": 30, "width": 90}
    path = bundle.path / "console"
    with socket.socket(socket.AF_UNIX) as listener:
        listener.bind(str(path))
        listener.listen()
        bundle.process["args"] = ["/bin/sh", "-c", "tty; stty size; read x; echo got $x"]
        bundle.write()
        done = bundle.call(
            runtime, "create", "--bundle", str(bundle.path), "--console-socket", str(path),
            bundle.name,
        )  # fmt: skip
        assert done.returncode == 0, done.stderr
        connection, _ = listener.accept()
        _, ancillary, _, _ = connection.recvmsg(4096, 64)
        master = array.array("i", ancillary[0][2])[0]
        connection.close()
    bundle.call(runtime, "start", bundle.name)
    os.write(master, b"hello\n")
    said = b""
    until(lambda: bundle.status(runtime) == "stopped")
    while True:
        try:
            said += os.read(master, 4096)
        except OSError:
            break
    os.close(master)
    lines = [line for line in said.decode().splitlines() if line != "hello"]
    assert lines == ["/dev/pts/0", "30 90", "got hello"]


HOOK = """#!/bin/sh
echo "$1 $(readlink /proc/self/ns/mnt) $(cat)" >> {log}
"""


def test_hooks_run_at_their_moments_in_their_namespaces(both):
    bundle, runtime = both
    log, hook = bundle.path / "log", bundle.path / "hook"
    hook.write_text(HOOK.format(log=log))
    hook.chmod(0o755)
    log.touch()
    inner = bundle.root / "hook"
    inner.write_text(HOOK.format(log="/tmp/log"))
    inner.chmod(0o755)
    tmp = bundle.path / "tmp"
    tmp.mkdir()
    bundle.config["mounts"].append({"destination": "/tmp", "source": str(tmp), "options": ["bind"]})
    names = ("prestart", "createRuntime", "createContainer", "poststart", "poststop")
    bundle.config["hooks"] = {name: [{"path": str(hook), "args": ["hook", name]}] for name in names}
    bundle.config["hooks"]["startContainer"] = [
        {"path": "/hook", "args": ["hook", "startContainer"]}
    ]
    bundle.create(runtime, "readlink /proc/self/ns/mnt; echo main >> /tmp/log; sleep 100")
    before = [line.split()[0] for line in log.read_text().splitlines()]
    if runtime == "runc":  # 1.1 runs poststart at `create` already, before the program
        before.remove("poststart")
    assert before == ["prestart", "createRuntime", "createContainer"]
    assert not (tmp / "log").exists()
    bundle.call(runtime, "start", bundle.name)
    until(lambda: (bundle.path / "output").read_text())
    until(lambda: (tmp / "log").exists() and "main" in (tmp / "log").read_text())
    bundle.remove(runtime)
    lines = [line.split(" ", 2) for line in log.read_text().splitlines()]
    assert [line[0] for line in lines] == list(names)
    inside = (bundle.path / "output").read_text().strip()
    host = os.readlink("/proc/self/ns/mnt")
    assert [line[1] for line in lines] == [host, host, inside, host, host]
    states = [json.loads(line[2]) for line in lines]
    assert {state["id"] for state in states} == {bundle.name}
    assert states[2]["pid"] in (1, states[0]["pid"])  # "the pid as seen by the container"
    assert states[-1]["status"] == "stopped"
    inner_lines = (tmp / "log").read_text().splitlines()
    assert inner_lines[0].startswith(f"startContainer {inside} ")
    assert inner_lines[1] == "main"


@pytest.mark.parametrize("when", ["createRuntime", "createContainer"])
def test_a_hook_that_fails_ends_it(both, when):
    bundle, runtime = both
    bundle.config["hooks"] = {when: [{"path": "/bin/false"}]}
    done = bundle.run(runtime, "echo never")
    assert (done.returncode, done.stdout) == (1, "")
    if runtime == "ours":
        how = "it failed" if when == "createContainer" else "it ended with status 1"
        front = "container: " if when == "createContainer" else ""
        assert done.stderr == (
            f"auberge-oci: {front}hook /bin/false ({when}): {how}; mend it or take it out\n"
        )


def test_a_hook_inside_that_takes_too_long_is_killed(both):
    bundle, runtime = both
    hook = {"path": "/bin/sleep", "args": ["sleep", "50"], "timeout": 1}
    bundle.config["hooks"] = {"createContainer": [hook]}
    done = bundle.run(runtime, "echo never")
    assert (done.returncode, done.stdout) == (1, "")
