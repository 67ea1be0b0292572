"""SCMP_ACT_NOTIFY: an agent answers the container's calls (config-linux.md, "Seccomp"); runc and
crun first."""

import errno
import json
import os
from pathlib import Path

import pytest

from tests.container.agents import NUMBERS, Agent
from tests.container.bundles import command_of
from tests.until import until

pytestmark = pytest.mark.slow


@pytest.fixture(params=["ours", "runc", "crun"])
def asking(request, bundle):
    """A bundle and a runtime whose container is removed in the end."""
    command_of(request.param)
    yield bundle, request.param
    bundle.remove(request.param)


@pytest.fixture
def lived(asking):
    """The same of runtimes whose containers can be created here and started later."""
    if asking[1] == "crun":
        pytest.skip("crun 1.8 would leave them in a namespace of mounts of its own (bundles.py)")
    return asking


def profile(bundle, *names, **more):
    """A profile that asks an agent about these calls; where its socket will be."""
    path = bundle.path / "agent"
    rule = {"names": list(names), "action": "SCMP_ACT_NOTIFY"}
    bundle.linux["seccomp"] = {
        "defaultAction": "SCMP_ACT_ALLOW", "listenerPath": str(path), "syscalls": [rule],
    } | more  # fmt: skip
    bundle.config["root"]["readonly"] = False
    bundle.config["annotations"] = {"org.example.word": "value"}
    return path


@pytest.mark.parametrize("early", [True, False])
def test_an_agent_answers(asking, early):
    bundle, runtime = asking
    bundle.process["noNewPrivileges"] = not early  # the filter is loaded before the user is set
    path = profile(bundle, "mkdir", "getcwd", listenerMetadata="some words")
    with Agent(path, {"mkdir": -errno.ENOSPC, "getcwd": None}) as agent:
        said = bundle.said(runtime, "mkdir /one 2>&1 || ls -d /one 2>&1; /bin/pwd")
        # "exactly one container process state per connection", which "MUST be closed"
        assert [connection.recv(1) for connection in agent.connections] == [b""]
    assert "No space left on device" in said
    assert "ls: /one: No such file" in said
    assert said.splitlines()[-1] == "/"
    (state,) = agent.states
    assert state["fds"] == ["seccompFd"]
    assert state["found"] == 1
    assert state["metadata"] == "some words"
    assert state["pid"] == state["state"]["pid"]
    inner = state["state"]
    assert (inner["id"], inner["bundle"]) == (bundle.name, str(bundle.path))
    assert inner["status"] == "creating"
    assert inner["annotations"]["org.example.word"] == "value"
    assert inner["ociVersion"]
    assert NUMBERS["mkdir"] in {call for _, call in agent.asked}


def test_a_result_that_never_happened(asking):
    bundle, runtime = asking
    path = profile(bundle, "mkdir")
    with Agent(path, {"mkdir": 0}):
        said = bundle.said(runtime, "mkdir /one && echo made; ls -d /one 2>&1; true")
    assert said.splitlines()[0] == "made"
    assert "No such file" in said


def test_create_and_start(lived):
    bundle, runtime = lived
    path = profile(bundle, "mkdir")
    with Agent(path, {"mkdir": -errno.EDQUOT}) as agent:
        done = bundle.create(runtime, "mkdir /one 2>&1; echo end")
        assert done.returncode == 0, (bundle.path / "output").read_text()
        until(lambda: agent.states)
        assert agent.states[0]["pid"] == json.loads(
            bundle.call(runtime, "state", bundle.name).stdout
        )["pid"]  # fmt: skip
        assert bundle.call(runtime, "start", bundle.name).returncode == 0
        until(lambda: "end" in (bundle.path / "output").read_text())
    assert "uota exceeded" in (bundle.path / "output").read_text()


def test_one_more_process(lived):
    bundle, runtime = lived
    path = profile(bundle, "mkdir")
    with Agent(path, {"mkdir": -errno.EDQUOT}) as agent:
        assert bundle.create(runtime, "sleep 100").returncode == 0
        assert bundle.call(runtime, "start", bundle.name).returncode == 0
        done = bundle.call(runtime, "exec", bundle.name, "/bin/mkdir", "/two")
        assert (done.returncode, "uota exceeded" in done.stderr) == (1, True)
        until(lambda: len(agent.states) == 2)
        first, second = agent.states
        assert second["state"]["pid"] == first["pid"]
        assert second["state"]["status"] == "running"
        assert second["pid"] != first["pid"]
        assert any(pid == second["pid"] for pid, _ in agent.asked)


def test_the_program_does_not_hold_its_listener(asking):
    bundle, runtime = asking
    path = profile(bundle, "mkdir")
    with Agent(path, {"mkdir": 0}):
        said = bundle.said(runtime, "ls -l /proc/self/fd")
    assert "seccomp" not in said
    assert "socket" not in said


def test_calls_that_start_the_container_may_be_asked_about(bundle):
    names = ("read", "close", "execve", "openat2", "prctl", "capset", "setresuid", "fchdir")
    path = profile(bundle, *names)
    for early in (False, True):
        bundle.process["noNewPrivileges"] = not early
        path.unlink(missing_ok=True)
        with Agent(path, {}) as agent:
            assert bundle.said("ours", "echo fine") == "fine\n"
            assert NUMBERS["read"] in {call for _, call in agent.asked}


def test_all_flags_at_once(bundle):
    path = profile(bundle, "mkdir", flags=[
        "SECCOMP_FILTER_FLAG_TSYNC", "SECCOMP_FILTER_FLAG_LOG", "SECCOMP_FILTER_FLAG_SPEC_ALLOW",
        "SECCOMP_FILTER_FLAG_WAIT_KILLABLE_RECV",
    ])  # fmt: skip
    with Agent(path, {"mkdir": -errno.ENOSPC}):
        assert "No space left" in bundle.said("ours", "mkdir /one 2>&1; true")
    # without a rule that asks, the same flags are no reason to fail, and nobody has to listen
    path.unlink()
    bundle.linux["seccomp"]["syscalls"] = []
    assert bundle.said("ours", "mkdir /one && grep Seccomp: /proc/self/status").split()[1] == "2"


@pytest.mark.parametrize("knowing", ["ours", "crun"])
def test_the_flag_that_allows_speculation(bundle, knowing):
    """runc 1.1 does not know it. Where seccomp restricts nothing (prctl(2), PR_SPEC_PRCTL), or a
    processor needs not, it changes nothing; it never restricts."""
    command_of(knowing)
    bundle.linux["seccomp"] = {
        "defaultAction": "SCMP_ACT_ALLOW", "flags": ["SECCOMP_FILTER_FLAG_SPEC_ALLOW"],
        "syscalls": [{"names": ["sync"], "action": "SCMP_ACT_ERRNO"}],
    }  # fmt: skip
    said = bundle.said(knowing, "grep Speculation_Store_Bypass /proc/self/status")
    assert said in Path("/proc/self/status").read_text()


def refused(bundle, *words):
    """What ours says, in one line and with nothing left behind."""
    done = bundle.run("ours", "true")
    assert done.returncode != 0
    assert not (bundle.state / bundle.name).exists()
    assert len(done.stderr.splitlines()) == 1
    return done.stderr.removeprefix("auberge-oci: ")


def test_nobody_listens(asking):
    bundle, runtime = asking
    path = profile(bundle, "mkdir")
    done = bundle.run(runtime, "echo never")
    assert done.returncode != 0
    assert "never" not in done.stdout
    if runtime == "ours":
        mend = "start the agent that listens there\n"
        where = f"config.json: $.linux.seccomp.listenerPath: '{path}'"
        assert refused(bundle) == f"{where}: no such file or directory; {mend}"
        path.write_text("")
        assert refused(bundle) == f"{where}: connection refused; {mend}"
        bundle.linux["seccomp"]["listenerPath"] = "/" + "x" * 200
        assert refused(bundle).endswith(f"': af_unix path too long; {mend}")


@pytest.mark.parametrize("missing", ["listenerPath", None])
def test_what_cannot_work_is_refused(bundle, missing):
    profile(bundle, "mkdir")
    if missing:
        del bundle.linux["seccomp"][missing]
        assert refused(bundle) == (
            "config.json: $.linux.seccomp.listenerPath: SCMP_ACT_NOTIFY needs a listener; give the "
            "path of its socket\n"
        )
    else:
        bundle.linux["seccomp"]["syscalls"][0]["names"].append("sendmsg")
        assert refused(bundle) == (
            "config.json: $.linux.seccomp: SCMP_ACT_NOTIFY needs sendmsg(2) for the listener to be "
            "sent; give 'sendmsg' the action SCMP_ACT_ALLOW\n"
        )


def test_an_agent_that_dies_leaves_errors_not_processes_that_wait(bundle):
    path = profile(bundle, "mkdir")
    with Agent(path, {"mkdir": 0}) as agent:
        assert bundle.create("ours", "mkdir /one 2>&1; echo end").returncode == 0
        until(lambda: agent.states)
    assert bundle.call("ours", "start", bundle.name).returncode == 0
    until(lambda: "end" in (bundle.path / "output").read_text())
    assert "Function not implemented" in (bundle.path / "output").read_text()  # seccomp_unotify(2)


def test_somebody_without_privileges(run_as_user, open_path):
    def change(config):
        config["process"]["noNewPrivileges"] = True
        config["root"]["readonly"] = False
        config["linux"]["seccomp"] = {
            "defaultAction": "SCMP_ACT_ALLOW", "listenerPath": str(open_path / "agent"),
            "syscalls": [{"names": ["mkdir"], "action": "SCMP_ACT_NOTIFY"}],
        }  # fmt: skip

    with Agent(open_path / "agent", {"mkdir": -errno.ENOSPC}) as agent:
        os.chmod(open_path / "agent", 0o777)
        done = run_as_user("mkdir /one 2>&1; true", change)
    assert "No space left on device" in done.stdout, done.stderr
    assert len(agent.states) == 1
