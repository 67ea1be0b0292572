"""Guests that nobody waits for, and the verbs that find them by name: real containers."""

import json
import os
import signal
import subprocess
import threading

import pytest

from tests.command import AUBERGE
from tests.inn import inn as inn
from tests.signals import is_blocked_in_a_call
from tests.until import until

pytestmark = [pytest.mark.slow, pytest.mark.timeout(200)]

FOR_EVER = "trap 'exit 9' TERM; while :; do sleep 0.02; done"


@pytest.fixture
def web(inn):
    """A guest that ends with 9 when it is asked to."""
    assert inn.runs("web", f"echo up; {FOR_EVER}", "--label", "tier=front") == "web"
    inn.until("web", "up\n")
    yield inn.record("web")
    inn("rm", "-f", "web")


def test_a_life_from_end_to_end(inn, web):
    seen = inn.seen("web")
    assert (seen["status"], seen["image"], seen["exit_code"]) == ("running", "box:amd64", None)
    assert seen["labels"] == {"tier": "front"} and seen["isolation"] == "container"
    assert os.stat(f"/proc/{seen['pid']}").st_uid == 0
    assert os.getpgid(seen["supervisor"]) == seen["supervisor"], "of a session of its own"
    titles, line = inn.does("ps", "--filter", "name=web").splitlines()
    assert titles.split() == "ID NAME IMAGE COMMAND CREATED STATUS PORTS".split()
    assert line.split()[:4] == [web.id[:12], "web", "box:amd64", "sh"] and " running " in line
    assert inn.does("stop", "web") == "web\n"
    assert inn.seen("web")["status"] == "exited" and inn.seen("web")["exit_code"] == 9
    assert inn.does("wait", "web") == "9\n" and inn.does("logs", "web") == "up\n"
    assert inn.does("ps", "-q") == "" and inn.does("ps", "-aq") == f"{web.id[:12]}\n"
    assert "exited (9) " in inn.does("ps", "-a")
    assert inn.does("stop", "web") == "web\n", "it has ended, which is what is wanted"
    assert inn.does("rm", web.id[:6]) == f"{web.id[:6]}\n"
    assert inn.left(web.id) == []


def test_an_ended_guest_holds_nothing_of_the_host_but_its_files(inn, web):
    inn.does("kill", web.id)
    assert inn.seen("web")["exit_code"] == 137
    left = inn.left(web.id)
    assert left == [str(inn.guests / "web"), str(inn.path / "cache/oci/users" / web.id)]


def test_what_a_kill_sends(inn):
    inn.runs(
        "ears", "trap 'echo usr1' USR1; trap 'echo hup' 1; echo up; while :; do sleep .02; done"
    )
    inn.until("ears", "up\n")
    inn.does("kill", "-s", "USR1", "ears")
    inn.until("ears", "usr1\n")
    inn.does("kill", "--signal", "sighup", "ears")
    inn.until("ears", "hup\n")
    line = "NOPE: no such signal; write one of signal(7), such as TERM"
    assert inn.refuses("kill", "-s", "NOPE", "ears") == line
    inn.does("kill", "ears")
    assert inn.refuses("kill", "ears") == "ears: it is exited, not running; start another"
    inn.does("rm", "ears")


def test_a_stop_that_is_not_heard_becomes_a_kill(inn):
    inn.runs("deaf", "trap '' TERM; echo up; while :; do sleep 0.02; done", "--rm")
    inn.until("deaf", "up\n")
    inn.does("stop", "-t", "0.2", "deaf")
    assert inn.names() == []


def test_a_paused_guest_stands_still_and_can_be_ended(inn, web):
    inn.does("pause", "web")
    assert inn.seen("web")["status"] == "paused"
    assert inn.refuses("pause", "web") == "web: it is paused; resume it with `auberge resume`"
    assert inn.refuses("exec", "web", "true") == "web: it is paused; `auberge resume web` first"
    inn.does("resume", "web")
    assert inn.refuses("resume", "web") == "web: it is running, not paused"
    inn.does("pause", "web")
    inn.does("stop", "web")
    assert inn.seen("web")["exit_code"] == 9, "it was asked, and could answer"


@pytest.mark.parametrize("verb", ["kill", "rm -f"])
def test_a_paused_guest_is_killed(inn, web, verb):
    inn.does("pause", "web")
    inn.does(*verb.split(), "web")
    assert web.process.lives is False


def test_what_runs_is_not_removed(inn, web):
    line = "web: it is running; stop it first, or use --force"
    assert inn.refuses("rm", "web") == line
    inn.does("rm", "--force", "web")
    assert inn.left(web.id) == [] and not web.process.lives and not web.supervisor.lives


def test_exec_runs_one_more_command(inn, web):
    out = inn("exec", "web", "sh", "-c", "echo out; echo err >&2; exit 5")
    assert (out.returncode, out.stdout, out.stderr) == (5, "out\n", "err\n")
    script = "cat; echo $A $B; pwd; id -u; hostname; readlink /proc/self/ns/pid"
    done = subprocess.run(
        [*AUBERGE, "exec", "-i", "-e", "A=1", "-e", "B", "-w", "/tmp",
         "-u", "nobody", "web", "sh", "-c", script],
        input="typed\n", text=True, capture_output=True, env=inn.environment | {"B": "ours"},
    )  # fmt: skip
    space = os.readlink(f"/proc/{web.process.pid}/ns/pid")
    assert done.stdout.split() == ["typed", "1", "ours", "/tmp", "65534", web.id[:12], space]
    for command, status in (("nope", 127), ("/etc/passwd", 126), ("/", 126)):
        done = inn("exec", "web", command)
        assert done.returncode == status and done.stderr.startswith("auberge: box:amd64: ")
    killed = inn("exec", "web", "sh", "-c", "kill -9 $$")
    assert killed.returncode == 137
    assert inn("exec", "web", "cat").stdout == "", "without -i there is nothing to read"


def test_a_signal_to_exec_is_the_commands(inn, web):
    script = "trap 'echo heard; exit 3' INT; echo up; while :; do sleep 0.02; done"
    running = inn.start("exec", "web", "sh", "-c", script)
    assert running.stdout.readline() == b"up\n"
    running.send_signal(signal.SIGINT)
    out, _ = running.communicate(timeout=60)
    assert (running.returncode, out) == (3, b"heard\n")


def test_top_and_stats_tell_of_its_processes(inn, web):
    tasks = json.loads(inn.does("top", "--json", "web"))
    assert tasks[0]["pid"] == web.process.pid and tasks[0]["command"].startswith("sh -c echo up")
    titles = inn.does("top", "web").splitlines()[0]
    assert titles.split() == ["PID", "PPID", "USER", "TIME", "COMMAND"]
    (used,) = json.loads(inn.does("stats", "--no-stream", "--json", "web"))
    assert used["name"] == "web" and 0 < used["memory"] < 1 << 28 and used["pids"] >= 1
    assert "web " in inn.does("stats", "--no-stream").splitlines()[1]


def test_lack_of_memory_is_reported(inn):
    script = "dd if=/dev/zero of=/dev/null bs=200M count=1; echo $?"
    inn.runs("fat", f"{script}; sleep 0.1; exit 1", "--memory", "32M")
    inn.does("wait", "fat")
    assert inn.seen("fat")["oom_killed"] is True
    assert ", out of memory" in inn.does("ps", "-a")
    inn.does("rm", "fat")


def test_filters(inn, web):
    inn.runs("other", "exit 3", "--label", "tier=back", "--label", "x=")
    inn.does("wait", "other")

    def named(*filters):
        words = [word for each in filters for word in ("--filter", each)]
        return [each["name"] for each in json.loads(inn.does("ps", "-a", "--json", *words))]

    assert named() == ["other", "web"], "the last that was made is the first"
    assert named("label=tier") == ["other", "web"] and named("label=tier=front") == ["web"]
    assert named("label=tier", "label=x") == ["other"] and named("label=none") == []
    assert named("status=exited") == ["other"] and named("name=we") == ["web"]
    assert named(f"id={web.id[:20]}") == ["web"] and named("isolation=machine") == []
    line = (
        "--filter what: not a filter; write one of label=, name=, status=, isolation=, id= and what"
    )
    assert inn.refuses("ps", "--filter", "what") == line
    inn.does("rm", "other")


def test_logs(inn):
    inn.runs(
        "wordy", "for i in 1 2 3; do echo out $i; echo err $i >&2; sleep 0.6; done; printf end"
    )
    followed = inn("logs", "-f", "wordy")
    assert followed.stdout == "out 1\nout 2\nout 3\nend"
    assert followed.stderr == "err 1\nerr 2\nerr 3\n"
    assert inn("logs", "-n", "1", "wordy").stdout == "end"
    assert inn("logs", "--tail", "0", "wordy").stdout == ""
    both = inn("logs", "-n", "3", "wordy")
    assert both.stdout == "out 3\nend" and both.stderr == "err 3\n"
    stamped = inn("logs", "-t", "wordy").stdout.splitlines()
    assert [line.split(" ", 1)[1] for line in stamped] == ["out 1", "out 2", "out 3", "end"]
    since = stamped[2].split()[0]
    assert inn("logs", "--since", since, "wordy").stdout == "out 3\nend"
    assert inn("logs", "--since", "1h", "wordy").stdout == followed.stdout
    assert inn("logs", "-f", "-n", "2", "wordy").stdout.endswith("end")
    line = "--since x: not a time; write 2026-11-23T11:20:00Z, or 10m"
    assert inn.refuses("logs", "--since", "x", "wordy") == line
    for wrong in ("x", "9" * 5000):
        line = f"--tail {wrong}: not a number of lines; write 10, or all"
        assert inn.refuses("logs", "-n", wrong, "wordy") == line
    inn.does("rm", "wordy")


def test_wait_says_how_it_ends(inn):
    inn.runs("short", "read line; exit 42", "-i", "--rm")
    waiting = inn.start("wait", "short")
    until(lambda: is_blocked_in_a_call(waiting.pid))
    # whoever keeps the guest hears its clients one after the other: this one is the second
    attached = inn.start("attach", "short", stdin=subprocess.PIPE)
    attached.communicate(b"go\n", timeout=60)
    out, _ = waiting.communicate(timeout=60)
    assert (waiting.returncode, out) == (0, b"42\n")
    assert inn.names() == []


@pytest.mark.parametrize(
    "verb",
    ["attach", "exec", "inspect", "kill", "logs", "pause", "resume", "rm", "stop", "top", "wait"],
)  # fmt: skip
def test_a_guest_that_is_none(inn, verb):
    words = ["true"] if verb == "exec" else []
    assert inn.refuses(verb, "nobody", *words).startswith("nobody: no such guest")


def test_a_name_that_is_taken(inn, web):
    done = inn("run", "-d", "--name", "web", "box", "true")
    assert done.returncode == 125 and done.stderr == (
        "auberge: web: a guest has that name; remove it with `auberge rm web`, or choose another\n"
    )


@pytest.mark.parametrize(("command", "status"), [("nope", 127), ("/etc/passwd", 126)])
def test_what_cannot_be_started_leaves_nothing(inn, command, status):
    done = inn("run", "-d", "--name", "bad", "box", command)
    assert done.returncode == status and done.stderr.count("\n") == 1
    assert inn.names() == [] and inn.left("none") == []


def test_one_that_refuses_keeps_none_of_the_others_from_it(inn, web):
    done = inn("stop", "nobody", "web")
    assert (done.returncode, done.stdout) == (125, "web\n")
    assert done.stderr == "auberge: nobody: no such guest; see `auberge ps --all`\n"


def test_inspect_shows_the_record(inn, web):
    shown = json.loads(inn.does("inspect", "web"))
    assert shown["id"] == web.id and shown["supervised"] is True
    assert shown["process"]["pid"] == web.process.pid
    assert shown["folder"] == str(inn.guests / "web")
    done = inn("inspect", "web", "--registers")
    assert (done.returncode, done.stderr) == (
        125,
        "auberge: web: only machines that `auberge boot` runs show pages, registers and memory; "
        "leave the option out\n",
    )


def test_many_at_once_and_verbs_that_race(inn):
    names = [f"many-{number}" for number in range(6)]
    threads = [threading.Thread(target=inn.runs, args=(name, FOR_EVER, "--rm")) for name in names]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert sorted(inn.names()) == names
    verbs = [inn.start(verb, *flags, *names) for verb, *flags in (
        ("stop",), ("rm", "-f"), ("kill",), ("rm", "-f"), ("ps", "-a"), ("stats", "--no-stream"),
    )]  # fmt: skip
    for verb in verbs:
        _, errors = verb.communicate(timeout=90)
        assert verb.returncode in (0, 125) and b"Traceback" not in errors
    until(lambda: inn.names() == [])
    until(lambda: inn.left("none") == [])  # a supervisor removes what it has hidden from `ps`
    for name in names:
        assert inn.left(name) == []
