"""systemd's manager, as far as a runtime talks to it, on a real bus: it makes the cgroup, moves the
process there, and keeps what it was told. `manner` says how it fails."""

import os
import subprocess
import threading

from jeepney import (
    DBusAddress,
    HeaderFields,
    MessageType,
    new_error,
    new_method_return,
    new_signal,
)
from jeepney.bus_messages import message_bus
from jeepney.io.blocking import open_dbus_connection

from auberge.container.cgroups import Cgroup
from auberge.container.cgroups_layout import Node

NAME = "org.freedesktop.systemd1"
PATH = "/org/freedesktop/systemd1"
CONFIG = """<busconfig>
  <type>system</type>
  <listen>unix:path={path}</listen>
  <auth>EXTERNAL</auth>
  <policy context="default">
    <allow send_destination="*"/><allow own="*"/><allow receive_sender="*"/><allow user="*"/>
  </policy>
</busconfig>"""


class FakeSystemd:
    """It and its bus; a context. Units are cgroups below `top` of the hierarchy at `mount`."""

    def __init__(self, folder, mount, top, owns=True):
        self.address = f"unix:path={folder}/bus"
        self.mount, self.top = mount, top
        self.manner = "done"
        self.nonsense = ()
        self.calls = []
        self.units = {}
        (folder / "bus.conf").write_text(CONFIG.format(path=folder / "bus"))
        self.daemon = subprocess.Popen(
            ["dbus-daemon", f"--config-file={folder}/bus.conf", "--nofork", "--print-address"],
            stdout=subprocess.PIPE,
        )
        self.daemon.stdout.readline()
        self.connection = open_dbus_connection(self.address)
        if owns:
            self.connection.send_and_get_reply(message_bus.RequestName(NAME))
        self.thread = threading.Thread(target=self.serve, daemon=True)
        self.thread.start()

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.daemon.kill()
        self.daemon.wait()
        self.daemon.stdout.close()
        self.thread.join()
        self.connection.close()

    def serve(self):
        """Answer until the bus ends."""
        while True:
            try:
                message = self.connection.receive()
                if message.header.message_type == MessageType.method_call:
                    self.answer(message)
            except OSError:
                return

    def answer(self, message):
        """One call."""
        method = message.header.fields[HeaderFields.member]
        self.calls.append((method, message.body))
        error = {"denied": "org.freedesktop.DBus.Error.AccessDenied",
                 "exists": f"{NAME}.UnitExists"}.get(self.manner)  # fmt: skip
        if self.manner == "nonsense" and method != "Subscribe":
            self.connection.send(new_method_return(message, *self.nonsense))
        elif method == "StartTransientUnit" and error:
            text = f"No, {self.manner}.\nReally"
            self.connection.send(new_error(message, error, "s", (text,)))
        elif method == "Get":
            values = {"Version": ("s", "252.1-fake"), "ControlGroup": ("s", self.top)}
            values["Description"] = ("s", next(iter(self.units.values()), "?"))
            self.connection.send(new_method_return(message, "v", (values[message.body[1]],)))
        elif method in ("StartTransientUnit", "StopUnit"):
            self.job(message, method)
        elif method == "GetUnit" and message.body[0] not in self.units:
            self.connection.send(new_error(message, f"{NAME}.NoSuchUnit", "s", ("Not loaded.",)))
        elif method == "GetUnit":
            self.connection.send(new_method_return(message, "o", (f"{PATH}/unit/x",)))
        else:
            self.connection.send(new_method_return(message))

    def job(self, message, method):
        """Make a unit, or remove it; and what is told of that."""
        name = message.body[0]
        path = f"{self.mount}{self.top}/system.slice/{name}"
        if method == "StartTransientUnit":
            told = dict(message.body[2])
            self.units[name] = told["Description"][1]
            os.makedirs(path, exist_ok=True)
            with open(f"{path}/cgroup.procs", "w") as file:
                file.write(str(told["PIDs"][1][0]))
        else:
            self.units.pop(name, None)
            Cgroup([Node(1, ("name=systemd",), self.mount, path)]).delete()  # kills, as systemd
        job = f"{PATH}/job/7"
        manager = DBusAddress(PATH, interface=f"{NAME}.Manager")
        self.connection.send(new_method_return(message, "o", (job,)))
        if self.manner == "silent":
            return
        other = new_signal(manager, "JobRemoved", "uoss", (8, f"{PATH}/job/8", "x", "failed"))
        self.connection.send(other)
        result = "done" if method == "StopUnit" else self.manner
        self.connection.send(new_signal(manager, "JobRemoved", "uoss", (7, job, name, result)))
