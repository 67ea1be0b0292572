"""A network without root: passt's pasta(1), or slirp4netns(1), between a namespace and our sockets.

Each container has a process of it. What belongs to whom is in a folder, one file for a container:

    FOLDER/NAME     pasta 4711 123456       the program, its process, and when that was started
                    container 4700 123400   the same of the container's first process

    FOLDER/.NAME.*  files of the program's own
    FOLDER/.lock    whoever changes anything here holds it (flock(2))

When a container's first process is gone, whoever looks next ends the other one (`collect`), and
also a program that was started but, for a crash, not written down. Times are those of
proc_pid_stat(5), so a process that has got the number later is not taken for it.
"""

import fcntl
import os
import signal
import socket
import time
from contextlib import contextmanager
from select import POLLIN, poll

from auberge.container.light import Iterator, NamedTuple, Sequence
from auberge.container.network_ports import free_port
from auberge.machine.net.forward import Forward
from auberge.refusal import Refusal

INSIDE = "eth0"
PATIENCE = 5.0
"""Seconds in which such a program has started, or ended."""

_STARTED = 21  # field of /proc/PID/stat, counted from 0


class Running(NamedTuple):
    """A process that cannot be mistaken for a later one with its number."""

    pid: int
    started: int


class UserNetwork(NamedTuple):
    """A container's network: all it takes to end it."""

    folder: str
    container: str
    program: str
    helper: Running
    first: Running
    forwards: tuple[Forward, ...] = ()


def find_program(user_namespace: bool, search: Sequence[str] | None = None) -> tuple[str, str]:
    """Which of them to use, and its path: `pasta` rather than `slirp4netns`, but for a container
    without a user namespace of its own: pasta gives its rights up before it could join that one.
    Raises Refusal with the names of the packages."""
    for name in ("pasta", "slirp4netns") if user_namespace else ("slirp4netns",):
        for folder in os.get_exec_path() if search is None else search:
            path = os.path.join(folder, name)
            if os.access(path, os.X_OK) and os.path.isfile(path):
                return name, path
    if user_namespace:
        raise Refusal(
            "network: neither pasta nor slirp4netns is installed; install the package passt, or "
            "use --net none or host"
        )
    raise Refusal(
        "network: slirp4netns is not installed, which a container without a user namespace needs; "
        "install the package slirp4netns, or use --net bridge"
    )


def start(
    folder: str,
    container: str,
    pid: int,
    forwards: Sequence[Forward] = (),
    search: Sequence[str] | None = None,
) -> UserNetwork:
    """Connect the namespaces of `pid`, which this user owns; raises Refusal."""
    first = running(pid)
    if first is None:
        raise Refusal(f"network: process {pid} is gone; start the container again")
    here, there = (os.stat(f"/proc/{who}/ns/user").st_ino for who in ("self", pid))
    name, path = find_program(here != there, search)
    if "/" in container or container.startswith("."):
        raise Refusal(f"network: {container!r} is no name of a container; rename it")
    chosen = tuple(free_port(forward) for forward in forwards)
    with _locked(folder):
        _collect(folder)
        with open(f"{folder}/.{container}.pid", "w"):
            pass  # from here on, a program without a file of its container's is a crash's
        launch = _pasta if name == "pasta" else _slirp4netns
        try:
            helper = launch(path, folder, container, pid, chosen)
        except BaseException:
            _forget(folder, container)
            raise
        network = UserNetwork(folder, container, name, helper, first, chosen)
        with open(f"{folder}/{container}", "w") as file:
            file.write(f"{name} {helper.pid} {helper.started}\n")
            file.write(f"container {pid} {first.started}\n")
    return network


def stop(network: UserNetwork) -> None:
    """End it; nothing to do if it has ended."""
    with _locked(network.folder):
        _end(network.helper)
        _forget(network.folder, network.container)


def stop_by_name(folder: str, container: str) -> None:
    """The same of a container that another process had connected, however far that one got."""
    if not os.path.isdir(folder):
        return
    with _locked(folder):
        known = _read(folder, container)
        if known is not None:
            _end(known[0])
        for helper in _unwritten(f"{folder}/.{container}."):
            _end(helper)
        _forget(folder, container)


def collect(folder: str) -> list[str]:
    """End the networks of containers that have ended; their names."""
    if not os.path.isdir(folder):
        return []
    with _locked(folder):
        return _collect(folder)


@contextmanager
def _locked(folder: str) -> Iterator[None]:
    os.makedirs(folder, mode=0o700, exist_ok=True)
    lock = os.open(f"{folder}/.lock", os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    try:
        fcntl.flock(lock, fcntl.LOCK_EX)
        yield
    finally:
        os.close(lock)


def _collect(folder: str) -> list[str]:
    ended: list[str] = []
    names = sorted(os.listdir(folder))
    for name in names:
        if name.startswith("."):
            container = name[1:].removesuffix(".pid")
            if name.endswith(".pid") and container not in names:
                for helper in _unwritten(f"{folder}/.{container}."):
                    _end(helper)
                _forget(folder, container)
                ended.append(container)
            continue
        known = _read(folder, name)
        if known is None:
            continue  # none of ours
        helper, first = known
        if running(first.pid) != first or running(helper.pid) != helper:
            _end(helper)
            _forget(folder, name)
            ended.append(name)
    return ended


def _read(folder: str, name: str) -> tuple[Running, Running] | None:
    """What a file says: the program, and the container's first process."""
    try:
        with open(f"{folder}/{name}") as file:
            helper, first = (
                Running(int(words[1]), int(words[2])) for words in map(str.split, file)
            )
    except (OSError, ValueError, IndexError):
        return None
    return helper, first


def _unwritten(prefix: str) -> list[Running]:
    """The programs of ours with an argument that names a file of that prefix."""
    found: list[Running] = []
    for name in filter(str.isdecimal, os.listdir("/proc")):
        try:
            with open(f"/proc/{name}/cmdline", "rb") as file:
                arguments = os.fsdecode(file.read()).split("\0")
        except OSError:
            continue
        ours = os.path.basename(arguments[0]).startswith(("pasta", "slirp4netns"))
        process = running(int(name))
        if ours and process is not None and any(prefix in argument for argument in arguments):
            found.append(process)
    return found


def running(pid: int) -> Running | None:
    """The process with that number, unless it has ended."""
    try:
        with open(f"/proc/{pid}/stat") as file:
            fields = file.read().rpartition(")")[2].split()
    except OSError:
        return None
    return None if fields[0] in "ZX" else Running(pid, int(fields[_STARTED - 2]))


def _end(process: Running) -> None:
    if running(process.pid) != process:
        return
    try:
        watch = os.pidfd_open(process.pid)
    except ProcessLookupError:
        return
    try:
        if running(process.pid) == process:  # and not another since
            signal.pidfd_send_signal(watch, signal.SIGKILL)
            ended = poll()
            ended.register(watch, POLLIN)
            ended.poll(PATIENCE * 1000)
    except ProcessLookupError:
        pass
    except PermissionError:  # another user's, who has only given it such arguments
        return
    finally:
        os.close(watch)
    try:
        os.waitpid(process.pid, 0)
    except ChildProcessError:
        pass  # its parent is init


def _forget(folder: str, container: str) -> None:
    for name in (container, f".{container}.pid", f".{container}.sock"):
        try:
            os.unlink(f"{folder}/{name}")
        except FileNotFoundError:
            pass


# -- pasta ----------------------------------------------------------------------------------------


def _pasta(
    path: str, folder: str, container: str, pid: int, forwards: tuple[Forward, ...]
) -> Running:
    """It goes into the background by itself when all is ready. Ports of the host's loopback are not
    led into the container (-T, -U), nor is the gateway the host (--no-map-gw)."""
    import subprocess

    pid_file = f"{folder}/.{container}.pid"
    ports: list[str] = []
    for option, udp in (("-t", False), ("-u", True)):
        mine = [f"{f.address}/{f.host}:{f.guest}" for f in forwards if f.udp == udp] or ["none"]
        ports += [word for port in mine for word in (option, port)]
    # Root's pasta would become nobody before it opens the namespaces, which nobody may.
    as_root = ["--runas", "0:0"] if os.geteuid() == 0 else []
    command = [
        path, "--config-net", "--quiet", "--no-map-gw", "-T", "none", "-U", "none", *ports,
        "--ns-ifname", INSIDE, "--pid", pid_file, *as_root, str(pid),
    ]  # fmt: skip
    done = subprocess.run(
        command,
        stdin=subprocess.DEVNULL,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.PIPE,
        text=True,
        errors="replace",
        check=False,
    )
    helper = None
    if done.returncode == 0:
        with open(pid_file) as file:
            helper = running(int(file.read()))
    if helper is None:
        raise Refusal(_failed(path, done.stderr))
    return helper


def _failed(path: str, said: str) -> str:
    lines = [line for line in said.splitlines() if line and "syslog" not in line]
    why = lines[-1].strip().rstrip(".") if lines else "no word of why"
    return f"{path}: it does not start: {why}; look at /dev/net/tun, or use --net none or host"


# -- slirp4netns ----------------------------------------------------------------------------------


def _slirp4netns(
    path: str, folder: str, container: str, pid: int, forwards: tuple[Forward, ...]
) -> Running:
    """It says on a descriptor that it is ready, and takes forwards through a socket."""
    import subprocess

    control = f"{folder}/.{container}.sock"
    ready, ready_inside = os.pipe()
    try:
        command = [
            path, "--configure", "--mtu=65520", "--disable-host-loopback",
            f"--ready-fd={ready_inside}", f"--api-socket={control}", str(pid), INSIDE,
        ]  # fmt: skip
        with open(f"{folder}/.{container}.pid", "w+") as log:
            process = subprocess.Popen(
                command,
                stdin=subprocess.DEVNULL,
                stdout=subprocess.DEVNULL,
                stderr=log,
                pass_fds=[ready_inside],
                start_new_session=True,
            )
            os.close(ready_inside)
            ready_inside = -1
            if os.read(ready, 1) != b"1":
                process.wait()
                log.seek(0)
                raise Refusal(_failed(path, log.read()))
    finally:
        os.close(ready)
        if ready_inside >= 0:
            os.close(ready_inside)
    helper = running(process.pid)
    process.returncode = 0  # it is not waited for here: it outlives this object
    if helper is None:
        raise Refusal(_failed(path, ""))
    try:
        for forward in forwards:
            _forward(control, forward)
    except BaseException:
        _end(helper)
        _forget(folder, container)
        raise
    return helper


def _forward(control: str, forward: Forward) -> None:
    """add_hostfwd of slirp4netns(1), "API SOCKET"."""
    import json

    arguments = {
        "proto": "udp" if forward.udp else "tcp",
        "host_addr": forward.address,
        "host_port": forward.host,
        "guest_port": forward.guest,
    }
    deadline = time.monotonic() + PATIENCE
    with socket.socket(socket.AF_UNIX) as api:
        api.settimeout(PATIENCE)
        while True:
            try:
                api.connect(control)
                break
            except (FileNotFoundError, ConnectionRefusedError):
                if time.monotonic() > deadline:
                    raise Refusal(f"{control}: no answer; use the package passt") from None
                time.sleep(0.001)
        api.sendall(json.dumps({"execute": "add_hostfwd", "arguments": arguments}).encode())
        api.shutdown(socket.SHUT_WR)
        answer = json.loads(api.recv(4096) or b"{}")
    if "return" not in answer:
        raise Refusal(f"ports: {forward}: slirp4netns refuses it; choose another port of the host")
