"""Options of `auberge run` that docker's users expect, seen from inside."""

import json
import os
import time

import pytest

import auberge as api
from tests.box import auberge
from tests.box import box as box
from tests.box import filled as filled
from tests.until import until

pytestmark = [pytest.mark.slow, pytest.mark.timeout(200), pytest.mark.usefixtures("box")]


def run(*words, **more):
    """Run a container that is removed with its end, without a network."""
    return auberge("run", "--rm", "--net", "none", *words, **more)


def test_an_entry_point_takes_the_place_of_the_images_and_of_its_command():
    done = run("--entrypoint", "/bin/echo", "box")
    assert (done.stdout, done.returncode) == ("\n", 0), done.stderr
    assert run("--entrypoint", "/bin/echo", "box", "a", "b c").stdout == "a b c\n"
    assert run("--entrypoint", "", "box", "echo", "x").stdout == "x\n"
    done = run("--entrypoint", "", "box")
    assert done.returncode == 125 and "names no command" in done.stderr
    assert run("--entrypoint", "no-such", "box").returncode == 127


def test_a_file_of_variables(tmp_path):
    file = tmp_path / "vars"
    file.write_bytes(
        b"\xef\xbb\xbf# a comment\n\nA=1\n  B= two words # all of it\nC\nNONE_OF_OURS\n"
        b"D=a=b\r\nA=2\n"
    )
    done = run(
        "--env-file", str(file), "-e", "D=mine", "box", "sh", "-c", 'echo "$A|$B|$C|$D"; env',
        env={**os.environ, "C": "ours"},
    )  # fmt: skip
    lines = done.stdout.splitlines()
    assert lines[0] == "2| two words # all of it|ours|mine", done.stderr
    assert not [line for line in lines if line.startswith("NONE_OF_OURS")]


@pytest.mark.parametrize(
    ("text", "why"),
    [
        (b"A=1\nB C=2\n", "line 2: 'B C': a space in the name; take it out"),
        (b"=x\n", "line 1: '=x': not NAME=VALUE; write it so"),
        (b"\n\nA=\xff\n", "line 3: not UTF-8; write it so"),
        (b"A=\0\n", "line 1: 'A=\\x00': not NAME=VALUE; write it so"),
        (b"A" * (1 << 20) + b"=1", "more than 1048576 bytes; name a shorter file"),
    ],
)
def test_a_file_that_is_none_is_refused_with_its_line(tmp_path, text, why):
    file = tmp_path / "vars"
    file.write_bytes(text)
    done = run("--env-file", str(file), "box", "true")
    assert (done.returncode, done.stderr) == (125, f"auberge: --env-file: {file}: {why}\n")


def test_no_file_of_variables():
    done = run("--env-file", "/no/such", "box", "true")
    assert (done.returncode, done.stderr) == (
        125,
        "auberge: --env-file: /no/such: no such file or directory; name a file of lines "
        "NAME=VALUE\n",
    )


def test_folders_in_memory(tmp_path):
    (tmp_path / "x").write_text("the host's\n")
    script = """
        grep -E ' /(m|m/host|tmp|dev/shm) ' /proc/mounts; stat -c %a:%u /m; cat /m/host/x
        echo '#!/bin/sh' > /tmp/p; chmod +x /tmp/p; /tmp/p || echo no
    """
    done = run(
        "--tmpfs", "/m:size=64k,mode=700,uid=5,exec", "--tmpfs", "/tmp",
        "-v", f"{tmp_path}:/m/host", "--tmpfs", "/dev/shm:size=1m", "box", "sh", "-c", script,
    )  # fmt: skip
    lines = done.stdout.splitlines()
    mounts = {line.split()[1]: line.split() for line in lines if line.count(" ") == 5}
    assert sorted(mounts) == ["/dev/shm", "/m", "/m/host", "/tmp"], done.stderr
    assert mounts["/m"][2] == mounts["/tmp"][2] == "tmpfs"
    usual = {"rw", "nosuid", "nodev", "noexec"}
    assert usual <= {*mounts["/tmp"][3].split(",")}
    ours = {*mounts["/m"][3].split(",")}
    assert {"nosuid", "nodev", "size=64k", "mode=700", "uid=5"} <= ours and "noexec" not in ours
    assert "size=1024k" in mounts["/dev/shm"][3]
    assert lines[-3:] == ["700:5", "the host's", "no"]


def test_hosts_and_servers_of_names():
    done = run(
        "--add-host", "db:10.0.0.5", "--add-host", "six=[fd00::1]", "--dns", "9.9.9.9", "box",
        "sh", "-c", "cat /etc/hosts; echo --; cat /etc/resolv.conf",
    )  # fmt: skip
    hosts, _, servers = done.stdout.partition("--\n")
    assert "10.0.0.5\tdb\n" in hosts and "fd00::1\tsix\n" in hosts and "localhost" in hosts
    assert [line for line in servers.splitlines() if "nameserver" in line] == ["nameserver 9.9.9.9"]


def test_limits_of_a_process():
    done = run(
        "--ulimit", "nofile=99:100", "--ulimit", "core=0", "--ulimit", "nofile=64:128",
        "box", "sh", "-c", "ulimit -n; ulimit -Hn; ulimit -c; grep 'Max open' /proc/self/limits",
    )  # fmt: skip
    assert done.stdout.split()[:3] == ["64", "128", "0"], done.stderr


def test_the_signal_that_stops_it():
    script = (
        "trap 'echo heard; exit 5' HUP; trap '' TERM USR1; echo up; while :; do sleep 0.05; done"
    )
    done = auberge(
        "run", "-d", "--net", "none", "--name", "polite", "--stop-signal", "HUP", "box",
        "sh", "-c", script,
    )  # fmt: skip
    assert done.stdout == "polite\n", done.stderr
    try:
        until(lambda: auberge("logs", "polite").stdout == "up\n")
        assert auberge("stop", "-t", "30", "polite").returncode == 0
        assert auberge("logs", "polite").stdout == "up\nheard\n"
        assert json.loads(auberge("ps", "-a", "--json").stdout)[0]["exit_code"] == 5
    finally:
        auberge("rm", "-f", "polite")


def test_a_command_that_is_left_alone():
    auberge("run", "-d", "--net", "none", "--name", "host", "box", "sleep", "100")
    try:
        began = time.monotonic()
        done = auberge(
            "exec", "-d", "-e", "A=b", "-w", "/tmp", "host", "sh", "-c",
            "echo $A > x; readlink /proc/self/fd/1 >> x; sleep 1; echo later >> x; sleep 100",
        )  # fmt: skip
        assert (done.returncode, done.stdout, done.stderr) == (0, "", "")
        assert time.monotonic() - began < 50
        cat = ("exec", "host", "cat", "/tmp/x")
        until(lambda: auberge(*cat).stdout == "b\n/tmp/x\nlater\n")
        assert "sleep 100" in auberge("top", "host").stdout
        done = auberge("exec", "-d", "host", "no-such")
        assert done.returncode == 127 and done.stderr.count("\n") == 1
        done = auberge("exec", "-d", "-i", "host", "cat")
        assert done.returncode == 125 and "leave -i, -t out" in done.stderr
    finally:
        assert auberge("rm", "-f", "host").returncode == 0


@pytest.mark.parametrize(
    "words", [("--tmpfs", "/x"), ("--ulimit", "core=0"), ("--add-host", "a:1.2.3.4"),
              ("--dns", "1.2.3.4")]
)  # fmt: skip
def test_a_machine_refuses_what_it_cannot(words):
    done = auberge("run", "--rm", "--isolation", "machine", *words, "box", "true")
    assert (done.returncode, done.stderr) == (
        125,
        f"auberge: {words[0]}: {words[1]}: a machine cannot be told that; leave it out, or use "
        "--isolation container\n",
    )


def test_from_python():
    script = "ulimit -n; stat -f -c %T /m; grep -cw db /etc/hosts; grep nameserver /etc/resolv.conf"
    with api.Container(
        "box", ["-c", script], entrypoint="/bin/sh", tmpfs=["/m"], ulimits=["nofile=77"],
        add_host=["db:10.0.0.5"], dns=["9.9.9.9"],
    ) as container:  # fmt: skip
        assert container.command == ("/bin/sh", "-c", script)
        assert container.run().stdout.split() == ["77", "tmpfs", "1", "nameserver", "9.9.9.9"]
