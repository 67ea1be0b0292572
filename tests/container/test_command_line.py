"""The command line of `auberge-oci`: options as runc takes them; errors in a line and a log."""

import json
import subprocess
import sys

import pytest

from auberge.cli.oci import COMMANDS, main, parse
from auberge.cli.oci_limits import seconds
from auberge.refusal import Refusal


def said(capsys, *words):
    status = main(list(words))
    captured = capsys.readouterr()
    return status, captured.out, captured.err


def test_options_as_go_takes_them():
    for words in (
        ["--bundle", "b", "x"],
        ["-b", "b", "x"],
        ["-bundle=b", "x"],
        ["x", "--bundle=b"],
    ):
        given, rest = parse(words, "detach,d", "bundle,b", stops=False)
        assert (given.value("bundle"), rest) == ("b", ["x"])
    given, rest = parse(["-d=false", "x", "-y"], "detach,d", "", stops=True)
    assert (given.flag("detach"), rest) == (False, ["x", "-y"])
    given, rest = parse(["--", "-x"], "", "", stops=False)
    assert rest == ["-x"]


@pytest.mark.parametrize(
    "words, text",
    [
        (["nosuch"], "nosuch: no such command; see `auberge-oci --help`"),
        (["run", "--nosuch", "x"], "--nosuch: no such option; see `auberge-oci --help`"),
        (["run"], "run: no CONTAINER; see `auberge-oci run --help`"),
        (["exec", "x"], "exec: no COMMAND; see `auberge-oci exec --help`"),
        (["run", "--bundle"], "--bundle: no value; give one"),
        (["run", "--preserve-fds", "x", "y"], "--preserve-fds: 'x' is no number; write digits"),
        (["--root", "/nonexistent", "state", "x"],
         "container x: container does not exist; see `auberge-oci list`"),
        (["--root", "/nonexistent", "kill", "x", "NOSUCH"],
         "NOSUCH: no such signal; write one of signal(7), such as TERM"),
    ],
)  # fmt: skip
def test_what_is_wrong_is_one_line(capsys, words, text):
    assert said(capsys, *words) == (1, "", f"auberge-oci: {text}\n")


def test_the_log_has_it_too(capsys, tmp_path):
    log = tmp_path / "log"
    words = ["--log", str(log), "--root", str(tmp_path), "state", "x"]
    text = "container x: container does not exist; see `auberge-oci list`"
    main(["--log-format", "json", *words])
    main(words)
    first, second = log.read_text().splitlines()
    entry = json.loads(first)
    assert (entry["level"], entry["msg"]) == ("error", text)
    assert second.endswith(f' level=error msg="{text}"')


def test_every_command_has_help(capsys):
    for name in COMMANDS:
        status, out, _ = said(capsys, name, "--help")
        assert (status, out.splitlines()[0].split()[:3]) == (0, ["usage:", "auberge-oci", name])
        assert name in said(capsys, "--help")[1]
    assert said(capsys, "--version")[1].splitlines()[1] == "spec: 1.1.0"


def test_a_template_is_written_once(capsys, tmp_path):
    assert said(capsys, "spec", "--bundle", str(tmp_path))[0] == 0
    assert json.loads((tmp_path / "config.json").read_text())["ociVersion"] == "1.1.0"
    assert said(capsys, "spec", "--bundle", str(tmp_path))[2] == (
        f"auberge-oci: {tmp_path}/config.json: it exists already; remove it first\n"
    )


def test_features(capsys):
    found = json.loads(said(capsys, "features")[1])
    assert found["ociVersionMax"] == "1.1.0"
    assert {"rro", "bind", "rslave"} <= set(found["mountOptions"])
    assert "time" in found["linux"]["namespaces"]
    assert "SCMP_ACT_ERRNO" in found["linux"]["seccomp"]["actions"]
    assert "SCMP_ACT_NOTIFY" in found["linux"]["seccomp"]["actions"]
    assert "SECCOMP_FILTER_FLAG_WAIT_KILLABLE_RECV" in found["linux"]["seccomp"]["supportedFlags"]
    assert {"idmap", "ridmap"} <= set(found["mountOptions"])
    assert found["linux"]["mountExtensions"]["idmap"]["enabled"] is True
    assert found["linux"]["cgroup"]["systemd"] is True
    assert found["linux"]["intelRdt"]["enabled"] is True


def test_an_empty_list(capsys, tmp_path):
    root = str(tmp_path / "none")
    assert said(capsys, "--root", root, "list", "-q") == (0, "", "")
    assert said(capsys, "--root", root, "list", "--format", "json") == (0, "null\n", "")
    assert said(capsys, "--root", root, "list", "--format", "x")[2] == (
        "auberge-oci: --format: 'x' is not known; write table or json\n"
    )


def test_no_folder_in_tmp_is_taken_for_ours(capsys, monkeypatch):
    monkeypatch.delenv("XDG_RUNTIME_DIR", raising=False)
    monkeypatch.setattr("os.geteuid", lambda: 1000)
    assert said(capsys, "list")[2] == (
        "auberge-oci: XDG_RUNTIME_DIR: not set; set it, or name a folder of yours with --root\n"
    )


@pytest.mark.slow
def test_where_the_time_goes(bundle):
    bundle.process["args"] = ["/bin/true"]
    bundle.write()
    done = bundle.call("ours", "--stats", "run", "--bundle", str(bundle.path), bundle.name)
    names = [line[:24].strip() for line in done.stderr.splitlines()]
    assert names == [
        "command line", "imports", "configuration and plan", "record and cgroups",
        "table and start", "namespaces", "limits and hooks", "root file system", "exec",
        "program", "the rest", "all",
    ]  # fmt: skip


def test_durations():
    assert [seconds(text) for text in ("5s", "500ms", "2m", "1.5", "0.25s")] == [
        5.0, 0.5, 120.0, 1.5, 0.25
    ]  # fmt: skip
    for text in ("", "s", "0s", "-1s", "1h", "\u00b2s", "9" * 400 + "s", "1.2.3"):
        with pytest.raises(Refusal):
            seconds(text)


FOLLOW = """
import os, signal
from auberge.cli.oci_life import Console
child = os.fork()
if not child:
    signal.alarm(10)
    signal.pause()
real = os.waitpid
def wait(pid, flags):
    assert signal.getsignal(signal.SIGTERM) is signal.SIG_IGN
    return real(pid, flags)
os.waitpid = wait
signal.setitimer(signal.ITIMER_REAL, 0.1)  # passed on
assert Console(False, "", False).follow(child) == 128 + signal.SIGALRM
os.kill(os.getpid(), signal.SIGTERM)
print("lives")
"""


def test_signals_are_passed_on_until_the_number_may_be_anothers():
    done = subprocess.run([sys.executable, "-c", FOLLOW], capture_output=True, text=True)
    assert (done.stdout, done.stderr) == ("lives\n", "")
