"""Networks without root, through pasta and slirp4netns, in namespaces of the tests' own."""

import os
import shutil
import tempfile

import pytest

from auberge.container.network import MODES, connect, disconnect
from auberge.container.network_bridge import Rates
from auberge.container.network_resolver import resolv_conf
from auberge.container.network_user import Running, collect, find_program, running
from auberge.machine.net.forward import parse_forward
from auberge.refusal import Refusal
from tests.container.test_container_bridge import run_world

NOBODY = 65534
PACKAGES = {"pasta": "passt", "slirp4netns": "slirp4netns"}


@pytest.fixture
def folder():
    """One that others may enter, unlike pytest's."""
    with tempfile.TemporaryDirectory() as name:
        os.chmod(name, 0o755)
        for part in ("search", "networks"):
            os.mkdir(f"{name}/{part}")
        yield name


@pytest.mark.slow
@pytest.mark.parametrize("program", PACKAGES)
@pytest.mark.parametrize("uid, namespace", [(NOBODY, "own"), (0, "own"), (0, "shared")])
def test_a_container_is_connected_and_collected(program, uid, namespace, folder):
    if os.geteuid() != 0:
        pytest.skip("makes a host of its own; run the tests as root")
    path = shutil.which(program)
    if path is None:
        pytest.skip(f"no {program} here; apt install {PACKAGES[program]}")
    if namespace == "shared" and program == "pasta":
        pytest.skip("pasta cannot; see find_program")
    os.symlink(path, f"{folder}/search/{program}")
    os.chown(f"{folder}/networks", uid, uid)
    arguments = [f"{folder}/networks", f"{folder}/search", str(uid), namespace]
    assert run_world("user", *arguments) == {
        "program": program,
        "by the port": True,
        "collected while it runs": [],
        "to outside": "198.51.100.1",
        "to the host's loopback": False,
        "file": [program, "container"],
        "collected": ["box"],
        "helper": None,
        "left": [".lock"],
        "stopped": [None, [".lock"]],
        "crashed": [1, ["box"], []],
    }


def test_packages_are_named():
    with pytest.raises(Refusal) as refusal:
        find_program(True, [])
    assert str(refusal.value) == (
        "network: neither pasta nor slirp4netns is installed; install the package passt, or use "
        "--net none or host"
    )
    with pytest.raises(Refusal) as refusal:
        find_program(False, [])
    assert str(refusal.value) == (
        "network: slirp4netns is not installed, which a container without a user namespace needs; "
        "install the package slirp4netns, or use --net bridge"
    )


def test_a_later_process_with_the_number_is_another():
    mine = running(os.getpid())
    assert mine is not None and mine.pid == os.getpid()
    assert running(os.getpid()) == mine
    assert mine != Running(mine.pid, mine.started - 1)
    assert running(1 << 22) is None


def test_files_that_are_none_of_ours_are_left_alone(tmp_path):
    (tmp_path / "notes").write_text("hello\n")
    mine = running(os.getpid())
    (tmp_path / "late").write_text(f"pasta 1 1\ncontainer {mine.pid} {mine.started + 1}\n")
    assert collect(str(tmp_path)) == ["late"]  # and nobody was killed for it
    assert sorted(os.listdir(tmp_path)) == [".lock", "notes"]
    assert collect(str(tmp_path / "nowhere")) == []


# -- by one word ----------------------------------------------------------------------------------


@pytest.mark.parametrize("mode", ["none", "host"])
def test_nothing_to_give(mode):
    connection = connect(mode, "box", os.getpid())
    assert connection.forwards == ()
    disconnect(connection)


def test_what_does_not_go_together():
    def said(*arguments):
        with pytest.raises(Refusal) as refusal:
            connect(arguments[0], "box", os.getpid(), *arguments[1:])
        return str(refusal.value)

    assert said("lan") == f"--net: 'lan' is no network; write one of {', '.join(MODES)}"
    assert said("none", (parse_forward("80:80"),)) == (
        "ports: 127.0.0.1:80:80: with --net none no port is forwarded; use --net user or bridge, "
        "or leave it out"
    )
    assert said("user", (), Rates(1, 1)) == (
        "rates: with --net user they cannot be limited; use --net bridge"
    )


def test_servers_on_the_hosts_loopback_are_not_for_a_container(tmp_path):
    host, resolved = tmp_path / "resolv.conf", tmp_path / "resolved"
    host.write_text("search example.org\nnameserver 127.0.0.53\nnameserver 192.0.2.1\n")
    assert resolv_conf(str(host)) == "search example.org\nnameserver 192.0.2.1\n"
    host.write_text("nameserver 127.0.0.53\nnameserver ::1\noptions edns0\n")
    assert resolv_conf(str(host), str(resolved)) == "options edns0\n"
    resolved.write_text("nameserver 192.0.2.2\n")
    assert resolv_conf(str(host), str(resolved)) == "nameserver 192.0.2.2\n"
    assert resolv_conf(str(tmp_path / "none"), str(tmp_path / "none")) == ""
