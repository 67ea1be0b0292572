"""Our side of the conversation with systemd, with a fake one on a real bus: what is told, what
comes of it in the host's cgroups, and every way in which it can fail."""

import glob
import json
import os
import shutil
import socket
import subprocess
import threading

import pytest

from auberge.container import systemd_bus
from auberge.container.cgroups_layout import read_layout
from auberge.container.systemd import description, stop
from auberge.refusal import Refusal
from tests.container.bundles import ROOT
from tests.container.fake_systemd import FakeSystemd

pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(not ROOT, reason="only root may make cgroups as systemd does"),
    pytest.mark.skipif(
        shutil.which("dbus-daemon") is None, reason="no dbus-daemon here; apt install dbus-daemon"
    ),
]


def managed():
    """Where systemd would keep its units here."""
    found = [h for h in read_layout().hierarchies if "name=systemd" in h.controllers]
    return (found or [h for h in read_layout().hierarchies if h.version == 2])[0].mount


@pytest.fixture
def fake(tmp_path, monkeypatch):
    """A fake systemd that our runtime will ask."""
    top = f"/auberge-fake-{os.getpid()}"
    with FakeSystemd(tmp_path, managed(), top) as made:
        monkeypatch.setenv("DBUS_SYSTEM_BUS_ADDRESS", made.address)
        yield made
    for mount in {h.mount for h in read_layout().hierarchies}:
        for path in (f"{mount}{top}/system.slice", f"{mount}{top}"):
            if os.path.isdir(path):
                os.rmdir(path)  # and so nothing of a container is left in it


@pytest.fixture
def box(bundle, fake):
    """A bundle, and how to run it with systemd."""

    def run(*words, **more):
        bundle.write()
        return bundle.call("ours", "--systemd-cgroup", *words, **more)

    bundle.asked = run
    return bundle


def create(box):
    box.write()
    words = box.command("ours", "--systemd-cgroup", "create", "--bundle", str(box.path), box.name)
    with open(box.path / "output", "w+") as output:  # a container keeps what it was given
        done = subprocess.run(
            words, stdin=subprocess.DEVNULL, stdout=output, stderr=output, timeout=60
        )
        output.seek(0)
        assert done.returncode == 0, output.read()


def limited(box):
    box.linux["resources"] = {"memory": {"limit": 1 << 25}, "pids": {"limit": 20},
                              "cpu": {"shares": 512}}  # fmt: skip


def test_what_is_told_and_what_comes_of_it(box, fake):
    limited(box)
    box.process["args"] = ["/bin/sh", "-c", "cat /proc/self/cgroup; exec sleep 0"]
    box.linux["namespaces"] = [s for s in box.linux["namespaces"] if s["type"] != "cgroup"]
    done = box.asked("run", "--bundle", str(box.path), box.name)
    assert done.returncode == 0, done.stderr
    where = f"{fake.top}/system.slice/auberge-{box.name}.scope"
    found = [line.split(":")[2] for line in done.stdout.splitlines()]
    assert found.count(where) == len(read_layout().hierarchies)  # the others are not mounted
    told = next(body for method, body in fake.calls if method == "StartTransientUnit")
    properties = dict(told[2])
    assert told[:2] == (f"auberge-{box.name}.scope", "replace") and told[3] == []
    assert properties.pop("PIDs")[0] == "au"
    kind = read_layout().kind
    memory, shares = ("MemoryMax", "CPUWeight") if kind == "v2" else ("MemoryLimit", "CPUShares")
    assert properties == {
        "Description": ("s", f"auberge-oci container {box.name}"),
        "Slice": ("s", "system.slice"),
        "Delegate": ("b", True),
        "MemoryAccounting": ("b", True),
        "CPUAccounting": ("b", True),
        "TasksAccounting": ("b", True),
        ("IOAccounting" if kind == "v2" else "BlockIOAccounting"): ("b", True),
        "DefaultDependencies": ("b", False),
        memory: ("t", 1 << 25),
        shares: ("t", 512 if kind != "v2" else 59),
        "TasksMax": ("t", 20),
    }
    assert not glob.glob(f"/sys/fs/cgroup/*{where}")
    assert [m for m, _ in fake.calls][-4:] == ["GetUnit", "Get", "StopUnit", "ResetFailedUnit"]


def test_update(box, fake):
    limited(box)
    box.process["args"] = ["/bin/sleep", "1000"]
    create(box)
    assert box.call("ours", "update", "--pids-limit", "33", box.name).returncode == 0
    assert (
        "SetUnitProperties",
        (f"auberge-{box.name}.scope", True, [("TasksMax", ("t", 33))]),
    ) in (fake.calls)
    where = f"{fake.top}/system.slice/auberge-{box.name}.scope/pids.max"
    found = [open_text(h.mount + where) for h in read_layout().hierarchies
             if "pids" in h.controllers]  # fmt: skip
    assert found == ["33\n"]
    assert box.call("ours", "delete", "--force", box.name).stderr == ""


def open_text(path):
    with open(path) as file:
        return file.read()


@pytest.mark.parametrize(
    "manner, told",
    [
        ("failed", "systemd: the job for {unit} ended as 'failed'; see `systemctl status {unit}`"),
        ("denied", "systemd: StartTransientUnit: no, denied. Really; be root, or leave "
                   "--systemd-cgroup out"),
        ("exists", "systemd: StartTransientUnit: no, exists. Really; choose another "
                   "linux.cgroupsPath"),
    ],
)  # fmt: skip
def test_refusals(box, fake, manner, told):
    fake.manner = manner
    done = box.asked("run", "--bundle", str(box.path), box.name)
    unit = f"auberge-{box.name}.scope"
    assert (done.returncode, done.stderr) == (1, f"auberge-oci: {told.format(unit=unit)}\n")
    assert box.call("ours", "list", "-q").stdout == ""
    methods = [method for method, _ in fake.calls]
    assert ("StopUnit" in methods) is (manner == "failed")  # what was not made is not stopped


def test_a_job_that_does_not_end(box, fake, monkeypatch):
    fake.manner = "silent"
    bus = systemd_bus.Bus(False, patience=0.5)
    with bus:
        bus.listen()
        with pytest.raises(Refusal) as refusal:
            bus.job("StopUnit", "ss", ("x.scope", "replace"))
    assert str(refusal.value) == (
        "systemd: no answer in 0 seconds; see `systemctl status`, and try again"
    )


def test_a_container_can_be_deleted_without_a_bus(box, fake, monkeypatch):
    box.process["args"] = ["/bin/sleep", "1000"]
    create(box)
    fake.daemon.kill()
    fake.daemon.wait()
    done = box.call("ours", "delete", "--force", box.name)
    assert done.returncode == 0
    path = fake.address.removeprefix("unix:path=")
    assert done.stderr == (
        f"auberge-oci: --systemd-cgroup: no bus with systemd: {path}: connection refused; start "
        "systemd and dbus there, or leave the option out\n"
    )
    assert box.call("ours", "list", "-q").stdout == ""


def test_a_unit_that_is_somebody_elses_by_now(fake):
    fake.units["x.scope"] = "the neighbour's"
    stop("x.scope", False, description("box"))
    assert "StopUnit" not in [method for method, _ in fake.calls]


@pytest.mark.parametrize(
    "nonsense",
    [(), ("s", ("x",)), ("u", (7,)), ("ss", ("a", "b")), ("(s)", (("a",),)), ("v", (("s", ".."),)),
     ("v", (("u", 7),)), ("o", ("/",))],
)  # fmt: skip
def test_answers_that_are_none(box, fake, nonsense):
    fake.manner, fake.nonsense = "nonsense", nonsense
    done = box.asked("run", "--bundle", str(box.path), box.name)
    assert (done.returncode, done.stdout) == (1, "")
    assert done.stderr.startswith("auberge-oci: systemd: ") and done.stderr.count("\n") == 1
    if nonsense and nonsense[0] == "v":
        return  # a description that is another's, and no path
    with pytest.raises(Refusal) as refusal:
        stop("x.scope", False, description("box"))
    # what is no path of D-Bus is not even sent
    ends = ("; is that socket a bus?", "Object path ('x') must start with /; correct it")
    assert str(refusal.value).endswith(ends)


def test_nobody_has_systemds_name(tmp_path, monkeypatch):
    with FakeSystemd(tmp_path, "", "", owns=False) as made:
        monkeypatch.setenv("DBUS_SYSTEM_BUS_ADDRESS", made.address)
        with systemd_bus.Bus(False) as bus, pytest.raises(Refusal) as refusal:
            bus.listen()
    assert str(refusal.value).startswith("systemd: Subscribe: ")
    assert str(refusal.value).endswith("; start systemd, or leave --systemd-cgroup out")


def test_a_signal_of_another(fake):
    from jeepney import DBusAddress, HeaderFields, new_signal
    from jeepney.io.blocking import open_dbus_connection

    fake.manner = "silent"
    with systemd_bus.Bus(False, patience=1.0) as bus, open_dbus_connection(fake.address) as other:
        bus.listen()
        manager = DBusAddress(systemd_bus.PATH, interface=systemd_bus.MANAGER)
        lie = (7, f"{systemd_bus.PATH}/job/7", "x.scope", "done")
        signal = new_signal(manager, "JobRemoved", "uoss", lie)
        signal.header.fields[HeaderFields.destination] = ":1.1"  # ours: the second on this bus
        other.send(signal)
        with pytest.raises(Refusal) as refusal:
            bus.job("StopUnit", "ss", ("x.scope", "replace"))
    assert str(refusal.value).startswith("systemd: no answer")


ANSWERS = [
    (b"", "systemd: the bus has ended the conversation; try again"),
    (b"REJECTED EXTERNAL\r\n", "systemd: it does not ask who we are; is that socket a bus?"),
    (b"A" * 2000, "systemd: a line without end; is that socket a bus?"),
    (b"DATA\r\nREJECTED\r\n",
     "--systemd-cgroup: the bus does not let this user in; be root, or the user whose bus it is"),
    (b"DATA\r\nOK 1\r\n" + b"\xff" * 64,
     "systemd: a message that is none of D-Bus; is that socket a bus?"),
    (b"DATA\r\nOK 1\r\nl\2\0\1" + b"\xff\xff\xff\x7f" + b"\0" * 8 + b"\0" * (1 << 21),
     "systemd: a message of more than 1048576 bytes; is that socket a bus?"),
]  # fmt: skip


@pytest.mark.parametrize("answer, told", ANSWERS)
def test_what_is_no_bus(tmp_path, monkeypatch, answer, told):
    path = tmp_path / "bus"
    with socket.socket(socket.AF_UNIX) as listener:
        listener.bind(str(path))
        listener.listen()

        def serve():
            with listener.accept()[0] as peer:
                try:
                    peer.sendall(answer)
                    peer.shutdown(socket.SHUT_WR)
                    while peer.recv(4096):
                        pass
                except OSError:
                    pass

        thread = threading.Thread(target=serve)
        thread.start()
        monkeypatch.setenv("DBUS_SYSTEM_BUS_ADDRESS", f"unix:path={path}")
        with pytest.raises(Refusal) as refusal:
            systemd_bus.Bus(False, patience=5.0)
        thread.join()
    assert str(refusal.value) == told


@pytest.mark.parametrize(
    "address, path",
    [
        ("unix:path=/run/x", "/run/x"),
        ("tcp:host=x;unix:path=/a%20b,guid=1", "/a b"),
        ("unix:abstract=/x", "\0/x"),
    ],
)
def test_addresses(monkeypatch, address, path):
    monkeypatch.setenv("DBUS_SESSION_BUS_ADDRESS", address)
    assert systemd_bus.addresses(True) == [(path, False)]


def test_addresses_that_are_not_said(monkeypatch):
    monkeypatch.delenv("DBUS_SESSION_BUS_ADDRESS", raising=False)
    monkeypatch.delenv("DBUS_SYSTEM_BUS_ADDRESS", raising=False)
    monkeypatch.setenv("XDG_RUNTIME_DIR", "/run/user/7")
    assert systemd_bus.addresses(False) == [
        ("/run/dbus/system_bus_socket", False), ("/run/systemd/private", True),
    ]  # fmt: skip
    assert systemd_bus.addresses(True) == [
        ("/run/user/7/bus", False), ("/run/user/7/systemd/private", True),
    ]  # fmt: skip
    monkeypatch.delenv("XDG_RUNTIME_DIR")
    with pytest.raises(Refusal) as refusal:
        systemd_bus.addresses(True)
    assert str(refusal.value) == (
        "--systemd-cgroup: the user's systemd is not known: XDG_RUNTIME_DIR is not set; log in, "
        "or leave the option out"
    )


def test_a_recorded_unit(box, fake):
    box.process["args"] = ["/bin/sleep", "1000"]
    create(box)
    with open(box.state / box.name / "state.json") as file:
        state = json.load(file)
    assert (state["unit"], state["unit_of_user"]) == (f"auberge-{box.name}.scope", False)
    box.call("ours", "delete", "--force", box.name)
