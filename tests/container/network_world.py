"""Scenarios of container networks, each run as a program in a network namespace of its own.

`unshare --net --mount --pid ... python network_world.py SCENARIO FOLDER` prints what was seen as
JSON. The "host" is the namespace it starts in; "outside" is another one, at the other end of a
cable. It is the first process of a pid namespace, so all that it starts ends with it.
"""

import ctypes
import encodings.idna
import json
import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable

from auberge.container import network_leases, network_rules, network_user
from auberge.container.network_bridge import Bridge, Rates, attach, detach, remove
from auberge.container.network_netlink import Netlink
from auberge.machine.net.forward import parse_forward
from auberge.refusal import Refusal

CLONE_NEWNET = 0x4000_0000
LIBC = ctypes.CDLL(None, use_errno=True)
FOLDER = sys.argv[2]
BRIDGE = Bridge("br", "10.90.0.0/24", FOLDER)
HOST, OUTSIDE, METADATA = "198.51.100.1", "198.51.100.2", "169.254.169.254"


def box() -> int:
    """A process alone in a new network namespace."""
    reading, writing = os.pipe()
    pid = os.fork()
    if pid == 0:
        LIBC.prctl(1, signal.SIGKILL)
        assert LIBC.unshare(CLONE_NEWNET) == 0
        os.write(writing, b"x")
        signal.pause()
    os.read(reading, 1)
    return pid


def inside(pid: int, work: Callable[[], object]) -> str:
    """What `work` says in that namespace, which may be of another user namespace."""
    reading, writing = os.pipe()
    child = os.fork()
    if child == 0:
        if os.stat(f"/proc/{pid}/ns/user").st_ino != os.stat("/proc/self/ns/user").st_ino:
            assert LIBC.setns(os.open(f"/proc/{pid}/ns/user", os.O_RDONLY), 0) == 0
        assert LIBC.setns(os.open(f"/proc/{pid}/ns/net", os.O_RDONLY), CLONE_NEWNET) == 0
        os.write(writing, str(work()).encode())
        os._exit(0)
    os.close(writing)
    os.waitpid(child, 0)
    return os.read(reading, 4096).decode()


def serve(pid: int | None, port: int, work: Callable[[socket.socket], None]) -> int:
    """A server in that namespace; its process."""
    reading, writing = os.pipe()
    child = os.fork()
    if child == 0:
        LIBC.prctl(1, signal.SIGKILL)
        if pid is not None:
            assert LIBC.setns(os.open(f"/proc/{pid}/ns/net", os.O_RDONLY), CLONE_NEWNET) == 0
        listener = socket.create_server(("0.0.0.0", port))
        os.write(writing, b"x")
        while True:
            work(listener.accept()[0])
    os.read(reading, 1)
    return child


def tell_peer(connection: socket.socket) -> None:
    with connection:
        connection.sendall(connection.getpeername()[0].encode())


def ask(address: str, port: int, timeout: float = 3.0) -> str:
    """Who we are to that server, or why there is no answer."""
    try:
        with socket.create_connection((address, port), timeout) as connection:
            return connection.recv(100).decode()
    except OSError as error:
        return type(error).__name__


def end(pid: int) -> None:
    os.kill(pid, signal.SIGKILL)
    os.waitpid(pid, 0)


def links() -> list[str]:
    return sorted(name for _, name in socket.if_nameindex() if not name.startswith("ifb"))


def wait_for_no_cable() -> None:
    """The kernel removes a namespace, and with it the other end of a cable, by and by."""
    for _ in range(500):
        if not any(name.startswith("brv") for name in links()):
            return
        time.sleep(0.01)


def world() -> int:
    """The loopback, and an outside: its process. No router, whatever the host has become."""
    with open("/proc/sys/net/ipv4/ip_forward", "w") as file:
        file.write("0")
    outside = box()
    with Netlink() as netlink, Netlink(outside) as there:
        netlink.change("lo")
        netlink.add_pair("up0", "eth0", outside)
        netlink.change("up0")
        netlink.add_address("up0", HOST, 24)
        there.change("lo")
        there.change("eth0")
        there.add_address("eth0", OUTSIDE, 24)
        there.add_address("eth0", METADATA, 16)
    return outside


def reach() -> dict[str, object]:
    """Who reaches whom, and as whom."""
    outside = world()
    with Netlink() as netlink:
        netlink.add_address("up0", "169.254.1.1", 16)
    one, two = box(), box()
    mine = attach(BRIDGE, "one", one, (parse_forward("8080:80"), parse_forward("0.0.0.0:9090:80")))
    other = attach(BRIDGE, "two", two)
    serve(one, 80, tell_peer)
    serve(outside, 80, tell_peer)
    serve(None, 22, tell_peer)
    seen: dict[str, object] = {
        "addresses": [mine.address, other.address, mine.gateway],
        "two to one": inside(two, lambda: ask(mine.address, 80)),
        "two to outside": inside(two, lambda: ask(OUTSIDE, 80)),
        "two to the host": inside(two, lambda: ask(mine.gateway, 22)),
        "two to the host's other address": inside(two, lambda: ask(HOST, 22)),
        "two to the host's loopback": inside(two, loopback_of_others),
        "two to metadata": inside(two, lambda: ask(METADATA, 80)),
        "two to one's port of the host": inside(two, lambda: ask(HOST, 9090)),
        "host to one": ask(mine.address, 80),
        "host by loopback": ask("127.0.0.1", 8080),
        "host by any": ask("127.0.0.1", 9090),
        "outside by any": inside(outside, lambda: ask(HOST, 9090)),
        "outside by loopback's": inside(outside, lambda: ask(HOST, 8080, 0.3)),
    }
    if os.path.exists("/proc/net/if_inet6"):
        with open("/proc/net/if_inet6") as file:
            seen["by IPv6"] = [line for line in file if line.split()[-1] == "br"]
    with Netlink(outside) as there:  # even who knows the way
        there.add_default_route("eth0", HOST)
    seen["outside to one"] = inside(outside, lambda: ask(mine.address, 80, 0.3))
    detach(mine)
    detach(mine)
    seen["after detach"] = ask("127.0.0.1", 8080, 0.3)
    with open(f"{FOLDER}/br/{other.address}") as file:
        seen["lease"] = file.read()
    try:
        remove(BRIDGE)
    except Refusal as refusal:
        seen["remove"] = str(refusal)
    detach(other)
    remove(BRIDGE)
    seen["left"] = [links(), sorted(os.listdir(f"{FOLDER}/br"))]
    return seen


def loopback_of_others() -> str:
    """What a container with CAP_NET_ADMIN can do: send 127.0.0.1 to its gateway."""
    with open("/proc/sys/net/ipv4/conf/eth0/route_localnet", "w") as file:
        file.write("1")
    for words in (
        "addr del 127.0.0.1/8 dev lo",
        "route add 127.0.0.1 via 10.90.0.1 dev eth0 src 10.90.0.3",
    ):
        subprocess.run(["ip", *words.split()], check=True)
    return f"{ask('127.0.0.1', 22, 0.3)} {ask('127.0.0.1', 8080, 0.3)}"


def ports() -> dict[str, object]:
    """Ports that are taken, and any."""
    world()
    one, two = box(), box()
    seen: dict[str, object] = {}
    attached = attach(BRIDGE, "one", one, (parse_forward("0:80"), parse_forward("7000:80")))
    chosen = attached.lease.forwards[0].host
    seen["chosen"] = 1024 <= chosen < 65536
    with socket.create_server(("127.0.0.1", 7001)):
        for text in ("7000:80", "7001:80"):
            try:
                attach(BRIDGE, "two", two, (parse_forward(text),))
            except Refusal as refusal:
                seen[text] = str(refusal)
    seen["left"] = [links(), sorted(os.listdir(f"{FOLDER}/br"))]
    return seen


def forwarding() -> dict[str, object]:
    """A host that was no router, with two bridges, and another network behind it."""
    outside, behind, one, two = world(), box(), box(), box()
    with Netlink() as netlink, Netlink(behind) as there, Netlink(outside) as far:
        netlink.add_pair("down0", "eth0", behind)
        netlink.change("down0")
        netlink.add_address("down0", "203.0.113.1", 24)
        there.change("eth0")
        there.add_address("eth0", "203.0.113.2", 24)
        there.add_default_route("eth0", "203.0.113.1")
        far.add_default_route("eth0", HOST)
    serve(outside, 80, tell_peer)
    seen: dict[str, object] = {"before": inside(behind, lambda: ask(OUTSIDE, 80, 0.3))}
    second = Bridge("br2", "10.91.0.0/24", FOLDER)
    attach(BRIDGE, "one", one)
    attach(second, "two", two)

    def reached() -> list[str]:
        asking = [(behind, 0.3), (one, 3.0), (two, 3.0)]
        return [inside(pid, lambda: ask(OUTSIDE, 80, wait)) for pid, wait in asking]  # noqa: B023

    seen["after"] = reached()
    subprocess.run(["nft", "flush", "ruleset"], check=True)
    three, four = box(), box()
    attach(BRIDGE, "three", three)
    attach(second, "four", four)
    seen["rules anew"] = reached()
    return seen


def rules_again() -> dict[str, object]:
    """Somebody has flushed all rules."""
    world()
    one, two = box(), box()
    attach(BRIDGE, "one", one, (parse_forward("8080:80"),))
    serve(one, 80, tell_peer)
    with network_rules.Rules("br") as rules:
        rules.remove_all()
        before = ask("127.0.0.1", 8080, 0.3)
        attach(BRIDGE, "two", two)
        return {"exist": rules.exist, "before": before, "after": ask("127.0.0.1", 8080)}


def rates() -> dict[str, object]:
    """Seconds for a megabyte at a megabyte a second, and at as much as can be."""
    world()
    amount = 1 << 20

    def send(connection: socket.socket) -> None:
        with connection:
            connection.sendall(bytes(amount))

    def take(address: str, port: int) -> float:
        begin = time.monotonic()
        with socket.create_connection((address, port), 20) as connection:
            got = 0
            while data := connection.recv(1 << 16):
                got += len(data)
        assert got == amount
        return time.monotonic() - begin

    one, two = box(), box()
    slow = attach(BRIDGE, "one", one, (), Rates(down=amount, up=2 * amount))
    fast = attach(BRIDGE, "two", two)
    for pid in (one, two):
        serve(pid, 80, send)
    seen: dict[str, object] = {
        "from the slow": take(slow.address, 80),
        # the best of some: whoever else computes here makes it slow, and nothing makes it fast
        "from the fast": min(take(fast.address, 80) for _ in range(5)),
        "to the slow": float(inside(one, lambda: take(fast.address, 80))),
    }
    detach(slow)
    detach(fast)
    seen["left"] = links()
    return seen


def crashes() -> dict[str, object]:
    """kill -9 at every step of `attach`: the next one collects."""
    world()
    outcomes: list[str] = []
    for step in range(1, 100):
        one = box()
        child = os.fork()
        if child == 0:
            left_to_do = [None] * (step - 1)

            def counted(
                call: Callable[..., object], left_to_do: list[None] = left_to_do
            ) -> Callable[..., object]:
                def one_more(*arguments: object, **named: object) -> object:
                    if not left_to_do:
                        os.kill(os.getpid(), signal.SIGKILL)
                    left_to_do.pop()
                    return call(*arguments, **named)

                return one_more

            for kind, names in (
                (Netlink, ("add_bridge", "add_pair", "add_ifb", "change", "add_address", "limit",
                           "add_default_route", "redirect_arriving", "delete")),
                (network_rules.Rules, ("make", "add")),
                (network_leases.Leases, ("write",)),
            ):  # fmt: skip
                for name in names:
                    setattr(kind, name, counted(getattr(kind, name)))
            attach(
                BRIDGE, f"crash{step}", one, (parse_forward("8080:80"),), Rates(1 << 20, 1 << 20)
            )
            os._exit(0)
        killed = os.WIFSIGNALED(os.waitpid(child, 0)[1])
        end(one)
        wait_for_no_cable()
        two = box()
        attached = attach(BRIDGE, "after", two, (parse_forward("8080:80"),))
        serving = serve(two, 80, tell_peer)
        outcomes.append(f"{attached.address} {ask('127.0.0.1', 8080)}")
        detach(attached)
        end(serving)
        end(two)
        left = [name for name in links() if name.startswith(("bri", "brv"))]
        left += [name for name in os.listdir(f"{FOLDER}/br") if name[0].isdigit()]
        if left:
            return {"step": step, "left": left}
        if step % 3 == 0:
            remove(BRIDGE)
        if not killed:
            break
    return {"steps": step, "outcomes": sorted(set(outcomes))}


def many() -> dict[str, object]:
    """Two processes at once do not take the same address."""
    world()
    boxes = [box() for _ in range(8)]
    children = []
    for number, pid in enumerate(boxes):
        child = os.fork()
        if child == 0:
            attach(BRIDGE, f"c{number}", pid)
            os._exit(0)
        children.append(child)
    statuses = [os.waitpid(child, 0)[1] for child in children]
    names = sorted(name for name in os.listdir(f"{FOLDER}/br") if name[0].isdigit())
    return {"statuses": statuses, "leases": len(names)}


def user_box(user_namespace: bool) -> int:
    """A server at port 80 in namespaces of a user's, as a container in them is."""
    reading, writing = os.pipe()
    pid = os.fork()
    if pid == 0:
        LIBC.prctl(1, signal.SIGKILL)
        uid, gid = os.geteuid(), os.getegid()
        LIBC.prctl(4, 1)  # PR_SET_DUMPABLE: setuid has cleared it, and /proc/self would be root's
        assert LIBC.unshare(CLONE_NEWNET | (0x1000_0000 if user_namespace else 0)) == 0
        if user_namespace:
            for file, text in (
                ("setgroups", "deny"), ("uid_map", f"0 {uid} 1"), ("gid_map", f"0 {gid} 1"),
            ):  # fmt: skip
                with open(f"/proc/self/{file}", "w") as map_file:
                    map_file.write(text)
        listener = socket.create_server(("0.0.0.0", 80))
        os.write(writing, b"x")
        while True:
            tell_peer(listener.accept()[0])
    os.read(reading, 1)
    return pid


def user() -> dict[str, object]:
    """A network without root: argv has the folder with the program, the user, and whether there is
    a user namespace."""
    search, uid, user_namespace = sys.argv[3], int(sys.argv[4]), sys.argv[5] == "own"
    outside = world()
    with Netlink() as netlink:
        netlink.add_default_route("up0", OUTSIDE)
    serve(outside, 81, tell_peer)
    serve(None, 22, tell_peer)
    # Where udev runs, everybody may open this; here only root may.
    LIBC.mount(b"none", b"/dev/net", b"tmpfs", 0, None)
    os.umask(0)
    os.mknod("/dev/net/tun", 0o020666, os.makedev(10, 200))
    os.umask(0o022)
    assert subprocess and encodings.idna  # imported while their files can still be read
    if uid:
        os.setgroups([])
        os.setgid(uid)
        os.setuid(uid)
    pid = user_box(user_namespace)
    forwards = (parse_forward("0:80"), parse_forward("0:53/udp"))
    network = network_user.start(FOLDER, "box", pid, forwards, [search])
    port = network.forwards[0].host
    # By default the gateway is the host's loopback for both.
    gateway = "10.0.2.2" if network.program == "slirp4netns" else OUTSIDE
    seen: dict[str, object] = {
        "program": network.program,
        "by the port": "." in ask("127.0.0.1", port),
        "collected while it runs": network_user.collect(FOLDER),
        "to outside": inside(pid, lambda: ask(OUTSIDE, 81)),
        "to the host's loopback": "." in inside(pid, lambda: ask(gateway, 22, 1.0)),
    }
    with open(f"{FOLDER}/box") as file:
        seen["file"] = [line.split()[0] for line in file]
    end(pid)
    seen["collected"] = network_user.collect(FOLDER)
    seen["helper"] = network_user.running(network.helper.pid)
    seen["left"] = os.listdir(FOLDER)
    again = user_box(user_namespace)
    network = network_user.start(FOLDER, "box", again, (), [search])
    network_user.stop(network)
    network_user.stop(network)
    seen["stopped"] = [network_user.running(network.helper.pid), os.listdir(FOLDER)]
    child = os.fork()
    if child == 0:  # a crash after the program was started, before that is written down

        def crash(*_: object) -> None:
            os.kill(os.getpid(), signal.SIGKILL)

        setattr(network_user, "UserNetwork", crash)  # noqa: B010
        network_user.start(FOLDER, "box", again, (), [search])
    os.waitpid(child, 0)
    seen["crashed"] = [len(programs()), network_user.collect(FOLDER), programs()]
    return seen


def programs() -> list[int]:
    """The processes of this world that carry networks."""
    found = []
    for name in filter(str.isdecimal, os.listdir("/proc")):
        with open(f"/proc/{name}/comm") as file:
            if file.read().startswith(("pasta", "passt", "slirp4netns")):
                process = network_user.running(int(name))
                found += [process.pid] if process is not None else []
    return found


SCENARIOS = {
    work.__name__: work
    for work in (reach, ports, forwarding, rules_again, rates, crashes, many, user)
}

if __name__ == "__main__":
    print(json.dumps(SCENARIOS[sys.argv[1]]()), flush=True)
