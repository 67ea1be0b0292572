"""The network of `Machine.virt` and of `auberge boot`: defaults, ports, and what is refused."""

import argparse
import os
import socket
import threading

import pytest

import auberge
from auberge.cli import boot
from auberge.cli.main import main
from auberge.machine.virt import VIRTIO, VIRTIO_STEP
from tests.cli.guests import hello, write_elf


@pytest.fixture
def kernel(tmp_path):
    return str(write_elf(tmp_path / "kernel", hello()))


@pytest.mark.parametrize(
    ("options", "line"),
    [
        *(
            (
                {"net": net},
                f"net: {net!r} is no network; choose none or user; after user, with commas,"
                " host-loopback and one of passt and builtin are possible",
            )
            for net in ("tap", "", "user,", "user,tap", "none,passt", "user,passt,builtin")
        ),
        ({"net": "user", "icount": True},
         "icount: a network cannot be repeated exactly; use net none"),
        ({"ports": ["80:80"]},
         "ports: 127.0.0.1:80:80 leads to a guest without a network; use net user"),
        ({"net": "user", "ports": ["80"]},
         "ports: '80' is no forward; write HOST:GUEST, ADDRESS:HOST:GUEST, or /udp after it"),
        ({"net": "user", "disks": ["none"] * 6},
         "disks: there are 6; at most 5 are possible"),
    ],
)  # fmt: skip
def test_what_is_refused(kernel, options, line):
    with pytest.raises(auberge.Refusal) as refusal:
        auberge.Machine.virt(kernel, **options)
    assert str(refusal.value) == line


def test_a_library_has_no_network_unless_told(kernel):
    with auberge.Machine.virt(kernel, console=lambda data: None) as machine:
        assert machine.ports == []
        assert machine.run(timeout=60) == auberge.PoweredOff(0)
        assert machine.statistics().network == {}


def test_none_is_none(kernel, monkeypatch):
    """No device in the tree, no descriptor, no thread: that of a machine with one is told apart."""
    start = threading.Thread.start
    threads = []
    monkeypatch.setattr(
        threading.Thread, "start", lambda self: threads.append(self.name) or start(self)
    )

    def differences(net):
        before = descriptors()
        threads.clear()
        with auberge.Machine.virt(kernel, console=lambda data: None, net=net) as machine:
            machine.run(timeout=60)
            links = [os.readlink(f"/proc/self/fd/{fd}") for fd in descriptors() - before]
            ids = [device_id(machine, slot) for slot in range(8)]
        return ids.count(1), any(":[" in link for link in links), [*threads]

    cards, sockets, threads = differences("none")
    assert (cards, sockets, "service" in threads) == (0, False, False)
    cards, sockets, threads = differences("user")
    assert (cards, sockets, "service" in threads) == (1, True, True)


def descriptors():
    """The numbers of those that are open."""
    found = set()
    for fd in os.listdir("/proc/self/fd"):
        try:
            os.readlink(f"/proc/self/fd/{fd}")
        except FileNotFoundError:  # the one that listed
            continue
        found.add(fd)
    return found


def device_id(machine, slot):
    """DeviceID of a virtio transport (virtio 1.2, 4.2.2)."""
    return machine._machine.bus.read(VIRTIO + slot * VIRTIO_STEP + 8, 4)


def test_ports_are_given_back(kernel):
    with auberge.Machine.virt(
        kernel, console=lambda data: None, net="user", ports=["0:80", "0:7/udp"]
    ) as machine:
        tcp, udp = machine.ports
        assert (tcp.address, tcp.guest, udp.guest, udp.udp) == ("127.0.0.1", 80, 7, True)
        assert machine.run(timeout=60) == auberge.PoweredOff(0)
    with socket.create_server(("127.0.0.1", tcp.host)):
        pass


def test_a_refused_machine_gives_its_ports_back(tmp_path):
    with socket.create_server(("127.0.0.1", 0)) as server:
        port = server.getsockname()[1]
    for _ in range(2):
        with pytest.raises(auberge.Refusal) as refusal:
            auberge.Machine.virt(tmp_path / "no", net="user", ports=[f"{port}:80"])
        assert str(refusal.value).startswith(f"{tmp_path / 'no'}: ")


def net_of(monkeypatch, *words):
    """What `auberge boot` with these words asks for."""
    asked = {}

    def virt(**options):
        asked.update(options)
        raise auberge.Refusal("stop: here; enough")

    monkeypatch.setattr(boot.Machine, "virt", virt)
    parser = argparse.ArgumentParser()
    boot.arguments(parser)
    with pytest.raises(auberge.Refusal):
        boot.run(parser.parse_args(["--kernel", "k", *words]))
    return asked["net"], asked["ports"]


def test_boot_has_a_network_unless_it_must_repeat(monkeypatch):
    assert net_of(monkeypatch) == ("user", [])
    assert net_of(monkeypatch, "--icount") == ("none", [])
    assert net_of(monkeypatch, "--net", "none") == ("none", [])
    assert net_of(monkeypatch, "-p", "1:2", "-p", "3:4/udp") == ("user", ["1:2", "3:4/udp"])


def test_a_port_that_is_taken_is_one_line(kernel, capsys):
    with socket.create_server(("127.0.0.1", 0)) as server:
        port = server.getsockname()[1]
        assert main(["boot", "--kernel", kernel, "-p", f"{port}:80"]) == 125
    assert capsys.readouterr().err == (
        f"auberge: ports: 127.0.0.1:{port}:80: Address already in use;"
        " choose another port or address of this host\n"
    )
