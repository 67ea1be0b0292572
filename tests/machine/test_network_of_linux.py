"""Linux on the network `user`: a lease, TCP both ways, DNS, a forward; only loopback beyond."""

import base64
import hashlib
import http.server
import socket
import socketserver
import threading

import pytest

import auberge
from auberge.image import build
from auberge.machine.net import user, wall
from auberge.machine.net.user import find_carrier
from tests.machine.net.own import own_address

pytestmark = [pytest.mark.slow, pytest.mark.timeout(280)]

MEGABYTES = 8
BODY = bytes(range(256)) * (MEGABYTES << 12)


@pytest.fixture(scope="module")
def tiny():
    """The image `tiny`, from the cache or built now."""
    try:
        return build("tiny", "riscv64")
    except auberge.Refusal as refusal:
        pytest.skip(str(refusal))


class Page(http.server.BaseHTTPRequestHandler):
    def do_GET(self):
        self.send_response(200)
        self.send_header("Content-Length", str(len(BODY)))
        self.end_headers()
        self.wfile.write(BODY)

    def log_message(self, *args):
        pass


class Resolver(socketserver.BaseRequestHandler):
    """Says that every name is 10.0.2.2 (RFC 1035, 4.1)."""

    def handle(self):
        query, sock = self.request
        end = query.index(b"\0", 12) + 5
        if query[end - 4 : end] == b"\0\1\0\1":  # A, IN
            head = query[:2] + b"\x81\x80\0\1\0\1\0\0\0\0"
            answer = b"\xc0\x0c\0\1\0\1\0\0\0\x3c\0\4" + bytes((10, 0, 2, 2))
        else:
            head, answer = query[:2] + b"\x81\x80\0\1\0\0\0\0\0\0", b""
        sock.sendto(head + query[12:end] + answer, self.client_address)


@pytest.fixture
def serve():
    servers = []

    def serve(kind, handler, address="127.0.0.1"):
        server = kind((address, 0), handler)
        threading.Thread(target=server.serve_forever, args=(0.01,), daemon=True).start()
        servers.append(server)
        return server.server_address[1]

    yield serve
    for server in servers:
        server.shutdown()
        server.server_close()


@pytest.fixture
def machine(tiny):
    """Makes a machine whose guest runs a shell command."""
    machines = []

    def machine(command, **options):
        word = base64.b64encode(f"echo @@; {command}".encode()).decode()
        made = auberge.Machine.virt(
            tiny.kernel,
            tiny.initrd,
            f"console=ttyS0 quiet auberge.run={word}",
            console=lambda data: None,
            **options,
        )
        machines.append(made)
        return made

    yield machine
    for each in machines:
        each.close()


def finish(machine):
    """What the command printed."""
    assert machine.run(timeout=240) == auberge.PoweredOff(0)
    return machine.console.output.replace("\r", "").split("@@\n", 1)[-1]


def test_none_is_really_none(machine):
    output = finish(machine("ls /sys/class/net; cat /sys/bus/virtio/devices/*/device; true"))
    assert "eth0" not in output and "0x0001" not in output
    assert "0x0003" in output  # the console is there


def test_a_lease_a_name_and_a_page(machine, serve, monkeypatch):
    page = serve(http.server.ThreadingHTTPServer, Page)
    dns = serve(socketserver.UDPServer, Resolver)
    monkeypatch.setattr(
        user.UserNetwork.__init__, "__defaults__", ("auto", lambda: ["127.0.0.1"], dns)
    )
    computer = machine(
        "ip -4 addr show eth0; ip route; ping -c 2 10.0.2.2 | tail -2;"
        f" wget -q -O - http://some.name:{page}/ | md5sum",
        net="user,host-loopback",
    )
    output = finish(computer)
    assert "inet 10.0.2.15/24" in output
    assert "default via 10.0.2.2 dev eth0" in output
    assert "2 packets transmitted, 2 packets received" in output
    assert hashlib.md5(BODY).hexdigest() in output
    counted = computer.statistics().network
    assert counted["received_bytes"] > len(BODY) and counted["dropped"] == 0
    lines = "\n".join(computer.statistics().lines())
    assert "network received_bytes" in lines and "network Python per packet" in lines


@pytest.mark.parametrize("carrier", ["passt", "builtin"])
def test_another_host(machine, serve, monkeypatch, carrier):
    """This host stands for it, by another address than its loopback's: the wall is told so."""
    address = own_address()
    if address is None:
        pytest.skip("this host has no address but its loopback's")
    try:
        process = find_carrier(carrier).process
    except auberge.Refusal as refusal:
        pytest.skip(str(refusal))
    if process is not None:
        process.close()
    page = serve(http.server.ThreadingHTTPServer, Page, address)
    monkeypatch.setattr(wall, "is_own", lambda name: False)
    computer = machine(
        f"for i in 1 2; do wget -q -O - http://{address}:{page}/ | md5sum; done",
        net=f"user,{carrier}",
    )
    assert finish(computer).count(hashlib.md5(BODY).hexdigest()) == 2
    assert computer.statistics().network["dropped"] == 0


@pytest.mark.parametrize("carrier", ["passt", "builtin"])
def test_the_hosts_own_address_is_out_of_reach(machine, serve, carrier):
    address = own_address()
    if address is None:
        pytest.skip("this host has no address but its loopback's")
    page = serve(http.server.ThreadingHTTPServer, Page, address)
    try:
        computer = machine(
            f"wget -T 5 -O - http://{address}:{page}/ 2>&1 | tail -1", net=f"user,{carrier}"
        )
    except auberge.Refusal as refusal:
        pytest.skip(str(refusal))
    assert f"can't connect to remote host ({address}): Connection refused" in finish(computer)


def test_the_host_is_out_of_reach(machine, serve):
    page = serve(http.server.ThreadingHTTPServer, Page)
    output = finish(
        machine(
            f"wget -T 5 -O - http://10.0.2.2:{page}/ 2>&1 | tail -1;"
            " ping -c 1 -W 5 10.0.2.2 | tail -2",
            net="user",
        )
    )
    assert "can't connect to remote host (10.0.2.2): Connection refused" in output
    assert "1 packets received" in output


def test_a_forward(machine):
    """The host fetches a file from the guest's httpd."""
    size = MEGABYTES << 20
    computer = machine(
        f"head -c {size} /dev/zero | tr '\\0' a > /tmp/f; httpd -p 80 -h /tmp;"
        " echo READY; read line; true",
        net="user",
        ports=["0:80"],
    )
    computer.console.expect("READY", timeout=200)
    port = computer.ports[0].host
    got = bytearray()

    def fetch():
        with socket.create_connection(("127.0.0.1", port), timeout=120) as sock:
            sock.sendall(b"GET /f HTTP/1.0\r\n\r\n")
            while piece := sock.recv(1 << 18):
                got.extend(piece)
        computer.console.send("\n")

    thread = threading.Thread(target=fetch)
    thread.start()
    finish(computer)
    thread.join()
    assert got.split(b"\r\n\r\n", 1)[1] == b"a" * size


def test_a_reboot_and_a_pause_keep_the_network(machine):
    """Forwards stay where they are; the new guest gets its lease again."""
    computer = machine("ip -4 addr show eth0; read line; $line -f", net="user", ports=["0:80"])
    port = computer.ports[0].host
    for word in ("reboot", "poweroff"):
        computer.console.expect("inet 10.0.2.15/24", timeout=200)
        assert computer.ports[0].host == port
        computer.console.send(f"{word}\n")
    assert computer.run(timeout=60) == auberge.PoweredOff(0)


def test_two_harts(machine, serve):
    page = serve(http.server.ThreadingHTTPServer, Page)
    output = finish(
        machine(
            f"for i in 1 2 3; do wget -q -O - http://10.0.2.2:{page}/ | wc -c & done; wait",
            net="user,host-loopback",
            cpus=2,
        )
    )
    assert output.count(str(len(BODY))) == 3
