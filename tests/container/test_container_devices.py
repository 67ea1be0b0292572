"""The nodes of a container's /dev, checked before any is made."""

import os
import stat

import pytest

from auberge.container.config import Device
from auberge.container.devices import LINKS, device_nodes, host_node
from auberge.refusal import Refusal

DEFAULT = {
    "/dev/null": (1, 3), "/dev/zero": (1, 5), "/dev/full": (1, 7), "/dev/random": (1, 8),
    "/dev/urandom": (1, 9), "/dev/tty": (5, 0),
}  # fmt: skip


def test_default_devices_have_the_numbers_of_this_host():
    nodes = device_nodes([])
    assert {node.path: (node.major, node.minor) for node in nodes} == DEFAULT
    for node in nodes:
        there = os.stat(node.path)
        assert there.st_rdev == os.makedev(node.major, node.minor)
        assert node.mode == stat.S_IFCHR | 0o666


def test_what_is_wanted_goes_before_the_default():
    nodes = {n.path: n for n in device_nodes([Device("c", "//dev/./null", 1, 5, 0o600, 7, 8)])}
    null = nodes["/dev/null"]
    assert (null.minor, stat.S_IMODE(null.mode), null.uid, null.gid) == (5, 0o600, 7, 8)
    assert len(nodes) == len(DEFAULT)


def test_kinds():
    wanted = [
        Device("b", "/dev/sda", 8, 0), Device("u", "/dev/fuse", 10, 229), Device("p", "/run/pipe"),
    ]  # fmt: skip
    block, unbuffered, pipe = device_nodes(wanted)[-3:]
    assert stat.S_ISBLK(block.mode) and stat.S_ISCHR(unbuffered.mode) and stat.S_ISFIFO(pipe.mode)
    assert (pipe.major, pipe.minor) == (0, 0)


COMPLAINTS = [
    (Device("c", "/dev/fuse", None, 229), ".major: missing; write the device's number"),
    (Device("b", "/dev/sda", 8), ".minor: missing; write the device's number"),
    (
        Device("c", "/dev/x", 4096, 0),
        ".major: 4096 is no device number; write one from 0 to 4095",
    ),
    (
        Device("c", "/dev/x", 1, -1),
        ".minor: -1 is no device number; write one from 0 to 1048575",
    ),
    (
        Device("c", "/", 1, 3),
        ".path: '/' is no place for a node; write a path such as '/dev/fuse'",
    ),
]


@pytest.mark.parametrize("device, complaint", COMPLAINTS)
def test_a_device_that_is_none(device, complaint):
    with pytest.raises(Refusal) as refusal:
        device_nodes([Device("p", "/ok"), device])
    assert str(refusal.value) == f"config.json: $.linux.devices[1]{complaint}"


def test_a_path_upwards_stays_inside():
    assert device_nodes([Device("c", "/dev/../../x", 1, 3)])[-1].path == "/x"


def test_the_host_has_it_at_the_same_path():
    assert host_node(device_nodes([])[0]) == "/dev/null"


@pytest.mark.skipif(os.geteuid() != 0, reason="makes device nodes; run the tests as root")
def test_the_host_has_it_under_its_numbers(tmp_path):
    (tmp_path / "char").mkdir()
    os.mknod(tmp_path / "char" / "1:3", stat.S_IFCHR | 0o600, os.makedev(1, 3))
    os.mknod(tmp_path / "mine", stat.S_IFCHR | 0o600, os.makedev(1, 5))
    wanted = device_nodes([Device("c", "/dev/mine", 1, 3)])[-1]
    assert host_node(wanted, str(tmp_path)) == f"{tmp_path}/char/1:3"


def test_another_device_of_that_name_is_not_it():
    (node,) = device_nodes([Device("c", "/dev/null", 1, 99)])[:1]
    with pytest.raises(Refusal) as refusal:
        host_node(node)
    assert str(refusal.value) == (
        "config.json: $.linux.devices[0]: device nodes cannot be made in a user namespace, and the "
        "host has no /dev/null with the numbers 1:99 to bind; leave it out"
    )


def test_links_lead_to_standard_streams():
    assert dict(LINKS)["/dev/stdout"] == "/proc/self/fd/1"
    assert dict(LINKS)["/dev/ptmx"] == "pts/ptmx"
