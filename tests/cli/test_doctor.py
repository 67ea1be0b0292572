"""`auberge doctor` looks for real, says what the choosing functions say, and never fails."""

import json
import os
import re
import subprocess
import sys

import pytest

from auberge.cli import doctor
from auberge.cli.main import main
from auberge.image.store import cache_directory
from auberge.machine import offers
from auberge.machine.net.user import Found
from auberge.machine.offers import Fact
from auberge.refusal import Refusal


class Kind:
    name = "abacus"


@pytest.fixture
def choosing(monkeypatch):
    """The functions that choose, answering at once."""
    monkeypatch.setattr(doctor, "choose", lambda name: Kind)
    monkeypatch.setattr(doctor, "find_carrier", lambda wish: Found("pigeons", "it is windy"))
    monkeypatch.setattr(doctor, "archives", lambda mirror, keyring: [])
    monkeypatch.setattr(doctor, "images", list)


def told(capsys):
    assert main(["doctor", "--json"]) == 0
    out, err = capsys.readouterr()
    assert err == ""
    return json.loads(out)


def test_it_says_what_the_commands_will_choose(choosing, capsys):
    choices = told(capsys)["choices"]
    assert choices["boot --engine"]["chosen"] == "abacus"
    assert choices["boot --net"] == {"chosen": "user,pigeons", "why": "it is windy"}
    assert choices["boot IMAGE"] == {"chosen": None, "why": "`auberge image build tiny`"}


def test_what_cannot_be_chosen_is_said_and_why(choosing, capsys, monkeypatch):
    def refuse(*_):
        raise Refusal("somewhere: something; do something")

    def fail(*_):
        raise PermissionError(13, "Permission denied")

    monkeypatch.setattr(doctor, "choose", refuse)
    monkeypatch.setattr(doctor, "archives", refuse)
    monkeypatch.setattr(doctor, "images", fail)
    choices = told(capsys)["choices"]
    no = {"chosen": None, "why": "somewhere: something; do something"}
    assert choices["boot --engine"] == choices["image build"] == no
    assert choices["boot IMAGE"] == {"chosen": None, "why": "permission denied"}


def test_facts(choosing, capsys):
    facts = told(capsys)["facts"]
    assert {"kvm", "user namespaces", "cgroups", "apt-get", "passt", "mke2fs", "cores"} <= {*facts}
    assert all({*fact} == {"works", "what"} for fact in facts.values())
    assert facts["cores"]["what"].startswith(f"{len(os.sched_getaffinity(0))} of ")
    assert facts["cache"]["what"].startswith(f"{cache_directory()}; ")


def test_text_is_aligned_and_never_steers_a_terminal(choosing, capsys, monkeypatch):
    monkeypatch.setattr(offers, "kvm", lambda: Fact("kvm", False, "a\nb\x1b[2J"))
    assert main(["doctor"]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert lines[0] == "what this host offers"
    end = lines.index("what will be chosen")
    assert all(re.match(r"  (yes|no ) .{20}\S", line) for line in lines[1:end])
    assert "  no  kvm                 a\\nb\\x1b[2J" in lines
    assert all(line.startswith("  ") for line in lines[end + 1 :])


@pytest.mark.slow
@pytest.mark.parametrize("as_root", [True, False], ids=["as we are", "as nobody"])
@pytest.mark.parametrize(
    "strange",
    [
        {},
        {"HOME": "/nonexistent"},
        {"AUBERGE_CACHE_DIR": "/dev/null/x"},
        {"AUBERGE_CACHE_DIR": "/proc/x"},
        {"HOME": "relative", "XDG_CACHE_HOME": "", "XDG_RUNTIME_DIR": "/etc/passwd"},
    ],
    ids=lambda strange: " ".join(strange.values()) or "nothing set",
)
def test_in_a_strange_place(strange, as_root, tmp_path):
    """Without apt, passt or anything else on the PATH; it may not be able to keep what it makes."""
    if not as_root and os.geteuid():
        pytest.skip("only root can be nobody")
    script = "import os, sys; from auberge.cli.main import main;"
    if not as_root:  # once everything is imported, which nobody may not be able to
        script += (
            "out, sys.stdout = sys.stdout, open(os.devnull, 'w'); main(['doctor']);"
            "sys.stdout = out; os.setgroups([]); os.setgid(65534); os.setuid(65534);"
        )
    script += "sys.exit(main(['doctor', '--json']))"
    environment = {"PATH": "/nonexistent", "PYTHONPATH": os.getcwd(), **strange}
    if "AUBERGE_CACHE_DIR" not in strange:
        environment["XDG_CACHE_HOME"] = str(tmp_path)
    monkey = "import auberge.cli.doctor as d; d.choose = lambda name: d.Choice; d.Choice.name = '';"
    done = subprocess.run(
        [sys.executable, "-c", monkey + script], capture_output=True, timeout=60, env=environment
    )
    assert (done.returncode, done.stderr) == (0, b"")
    answer = json.loads(done.stdout)
    assert answer["facts"]["apt-get"] == {"works": False, "what": "not installed"}
    assert answer["choices"]["boot --net"] == {
        "chosen": "user,builtin",
        "why": "passt: not installed",
    }
    assert answer["choices"]["image build"]["chosen"] is None


# -- the probes ---------------------------------------------------------------------------------


def test_a_program_that_fails_hangs_or_is_none(tmp_path, monkeypatch):
    monkeypatch.setenv("PATH", str(tmp_path))
    for name, text in (
        ("good", "#!/bin/sh\necho good 1.0\necho more\n"),
        ("bad", "#!/bin/sh\necho no >&2\nexit 1\n"),
        ("slow", "#!/bin/sh\nexec /bin/sleep 60\n"),
        ("none", "\x7fELF"),
    ):
        (tmp_path / name).write_text(text)
        (tmp_path / name).chmod(0o755)
    assert offers.program("good", "-V") == Fact("good", True, f"{tmp_path}/good: good 1.0")
    assert offers.program("bad") == Fact("bad", False, f"{tmp_path}/bad: no")
    assert offers.program("none") == Fact("none", False, f"{tmp_path}/none: exec format error")
    assert offers.program("absent") == Fact("absent", False, "not installed")
    monkeypatch.setattr(offers, "PATIENCE", 0.1)
    assert offers.program("slow") == Fact("slow", False, f"{tmp_path}/slow: does not answer")


def test_the_cache_folder(tmp_path):
    fact = offers.cache_folder(str(tmp_path / "not" / "yet"))
    assert fact.works and re.fullmatch(rf"{tmp_path}/not/yet; \d+ MiB free", fact.what)
    file = tmp_path / "file"
    file.write_bytes(b"")
    assert offers.cache_folder(str(file / "x")) == Fact(
        "cache", False, f"{file}/x: cannot be written; set AUBERGE_CACHE_DIR"
    )


def test_layouts_of_cgroups(monkeypatch):
    v2 = "31 30 0:27 / /sys/fs/cgroup rw - cgroup2 cgroup2 rw"
    v1 = "32 30 0:28 / /sys/fs/cgroup/cpu rw - cgroup cgroup rw,cpu"
    mounts = []
    tables = {"/proc/self/mountinfo": mounts}
    monkeypatch.setattr(offers, "lines", lambda path: tables.get(path, []))
    assert offers.cgroups() == Fact("cgroups", False, "not mounted")
    mounts[:] = [v1]
    assert offers.cgroups() == Fact("cgroups", True, "v1")
    mounts[:] = [v1, v2]
    assert offers.cgroups().what.startswith("hybrid; ")
    mounts[:] = [v2]
    assert offers.cgroups().what.startswith("v2; ")


def test_user_namespaces_are_tried_in_a_child():
    before = os.readlink("/proc/self/ns/user"), os.listdir("/proc/self/fd")
    fact = offers.user_namespaces()
    assert fact.works == (fact.what.startswith("can be made; at most "))
    assert (os.readlink("/proc/self/ns/user"), os.listdir("/proc/self/fd")) == before
