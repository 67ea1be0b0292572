"""Packets and their answers, over a socket: Debugging with GDB, appendix E."""

import socket
import xml.etree.ElementTree as ET

import pytest
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st

from auberge.machine.debug.packets import escape, frame
from auberge.machine.debug.server import Server
from auberge.machine.debug.stub import Stub
from auberge.machine.debug.target import NUMBERS, description
from auberge.machine.outcome import Paused, PoweredOff
from auberge.refusal import Refusal
from tests.machine.debug.client import Client, Running
from tests.machine.debug.guest import AT, BUILT, machine
from tests.machine.elves import BASE

pytestmark = pytest.mark.timeout(60)
LOOP, STORE, FUNCTION, DATA = (AT[name] for name in ("loop", "store", "function", "data"))


class Session:
    """A machine of `cpus` harts that runs, and a client of its server."""

    def __init__(self, path, cpus=1):
        self.machine = machine(path, cpus)
        self.address = self.machine.gdb("0")
        self.running = Running(self.machine)
        self.clients = []
        self.client = self.connect()

    def connect(self):
        self.clients.append(Client(self.address))
        return self.clients[-1]

    def ask(self, packet):
        return self.client.ask(packet)

    def close(self):
        for client in self.clients:
            client.close()
        self.machine.pause()
        self.running.result()
        self.machine.close()


@pytest.fixture
def session(tmp_path):
    opened = []

    def open_(cpus=1):
        opened.append(Session(tmp_path, cpus))
        return opened[-1]

    yield open_
    for each in opened:
        each.close()


def word(value):
    return value.to_bytes(8, "little").hex().encode()


def test_an_ordinary_session(session):
    it = session()
    features = it.ask(b"qSupported:swbreak+;hwbreak+;xmlRegisters=i386")
    assert b"QStartNoAckMode+" in features and b"qXfer:features:read+" in features
    assert it.ask(b"QStartNoAckMode") == b"OK"
    it.client.acknowledges = False
    assert it.ask(b"?") == b"T05thread:1;"
    assert it.ask(b"qAttached") == b"1"
    assert it.ask(b"qC") == b"QC1"
    assert it.ask(b"vCont?") == b"vCont;c;C;s;S"
    registers = it.ask(b"g")
    assert len(registers) == 16 * 65 and registers[16 * 32 : 16 * 33] == word(BASE)
    assert it.ask(b"m%x,4" % BASE) == BUILT.code[:4].hex().encode()
    assert it.ask(b"Z0,%x,4" % FUNCTION) == b"OK"
    assert it.ask(b"vCont;c") == b"T05swbreak:;thread:1;"
    assert it.ask(b"p20") == word(FUNCTION)
    assert it.ask(b"z0,%x,4" % FUNCTION) == b"OK"
    assert it.ask(b"vCont;s:1;c") == b"T05thread:1;"
    assert it.ask(b"M%x,1:01" % (DATA + 16)) == b"OK"
    assert it.ask(b"c") == b"W07"
    assert it.running.result() == PoweredOff(7)


def test_registers_by_number(session):
    it = session()
    for number, value in ((10, 5), (32, LOOP), (33, 1 << 63), (65 + 0x340, 77)):
        assert it.ask(b"P%x=%s" % (number, word(value))) == b"OK"
        assert it.ask(b"p%x" % number) == word(value)
    assert it.ask(b"P%x=%s" % (65 + 0x301, word(1))) == b"E01"  # misa
    assert it.ask(b"p1") == word(0)
    assert it.ask(b"pffff") == b"E01"
    assert it.ask(b"G" + b"".join(word(n) for n in range(33))) == b"OK"
    assert it.ask(b"pa") == word(10)
    assert it.ask(b"p20") == word(32)
    assert it.ask(b"p0") == word(0)


def test_every_register_of_the_description_can_be_read(session):
    it = session()
    ids = [int(reg.get("regnum")) for reg in ET.fromstring(description()).iter("reg")]
    assert sorted(ids) == sorted(NUMBERS)
    for number in ids:
        assert len(it.ask(b"p%x" % number)) == 16


def test_the_description_comes_in_pieces(session):
    it = session()
    text, size = b"", 1000
    while True:
        piece = it.ask(b"qXfer:features:read:target.xml:%x,%x" % (len(text), size))
        text += piece[1:]
        if piece[:1] == b"l":
            break
        assert piece[:1] == b"m" and len(piece) == 1 + size
    assert text.decode() == description()
    assert it.ask(b"qXfer:features:read:other.xml:0,10") == b"E00"
    assert it.ask(b"qXfer:auxv:read::0,10") == b""


def test_memory(session):
    it = session()
    data = bytes(range(256))
    assert it.ask(b"X%x,100:%s" % (DATA + 256, escape(data))) == b"OK"
    assert it.ask(b"m%x,100" % (DATA + 256)) == data.hex().encode()
    assert it.ask(b"X%x,0:" % DATA) == b"OK"
    assert it.ask(b"m10000000,1") == b"E0e"  # a device
    assert it.ask(b"mffffffffffffffff,ff") == b"E0e"
    assert it.ask(b"m10000000000000000,1") == b"E16"
    assert it.ask(b"M%x,2:00" % DATA) == b"E16"
    assert len(it.ask(b"m%x,ffffffff" % BASE)) == 1 << 14


@pytest.mark.parametrize(("kind", "name", "at"), [
    (2, b"watch", DATA + 8), (3, b"rwatch", DATA), (4, b"awatch", DATA + 8),
])  # fmt: skip
def test_watchpoints(session, kind, name, at):
    it = session()
    assert it.ask(b"Z%d,%x,8" % (kind, at)) == b"OK"
    assert it.ask(b"c") == b"T05%s:%x;thread:1;" % (name, at)
    assert it.ask(b"z%d,%x,8" % (kind, at)) == b"OK"
    for n in range(4):
        assert it.ask(b"Z%d,%x,8" % (kind, 64 * n)) == b"OK"
    assert it.ask(b"Z%d,1000,8" % kind) == b"E1c"


def test_hardware_and_software_breakpoints_at_one_place(session):
    it = session()
    it.ask(b"qSupported:swbreak+;hwbreak+")
    for kind in (0, 1):
        assert it.ask(b"Z%d,%x,4" % (kind, LOOP)) == b"OK"
    assert it.ask(b"c") == b"T05swbreak:;thread:1;"
    assert it.ask(b"z0,%x,4" % LOOP) == b"OK"
    assert it.ask(b"c") == b"T05hwbreak:;thread:1;"
    assert it.ask(b"Z5,0,4") == b""


def test_threads(session):
    it = session(cpus=2)
    assert it.ask(b"qfThreadInfo") == b"m1,2"
    assert it.ask(b"qsThreadInfo") == b"l"
    assert it.ask(b"T2") == b"OK"
    assert it.ask(b"T3") == b"E16"
    assert bytes.fromhex(it.ask(b"qThreadExtraInfo,2").decode()) == b"hart 1: in M"
    assert it.ask(b"Hg2") == b"OK"
    assert it.ask(b"Z0,%x,4" % FUNCTION) == b"OK"
    assert it.ask(b"vCont;c:2") == b"T05thread:2;"
    assert it.ask(b"Hg1") == b"OK"
    assert it.ask(b"p20") == word(BASE)
    assert it.ask(b"vCont;s:1") == b"T05thread:1;"
    assert it.ask(b"p20") == word(BASE + 4)
    assert it.ask(b"Hg2") == b"OK"
    assert it.ask(b"p20") == word(FUNCTION)
    assert it.ask(b"vCont;x:1") == b"E16"
    assert bytes.fromhex(it.ask(b"qRcmd," + b"info".hex().encode()).decode()).count(b"\n") == 2
    assert b"info" in bytes.fromhex(it.ask(b"qRcmd," + b"dance".hex().encode()).decode())


def test_control_c(session):
    it = session()
    for _ in range(3):
        it.client.send(b"c")
        it.client.raw(b"\x03")
        assert it.client.answer() == b"T02thread:1;"


def test_what_comes_while_it_runs_is_dropped(session):
    it = session()
    it.client.send(b"c")
    it.client.send(b"g")
    it.client.send(b"M%x,1:01" % (DATA + 16))
    it.client.raw(b"\x03")
    assert it.client.answer() == b"T02thread:1;"
    assert it.ask(b"m%x,1" % (DATA + 16)) == b"00"


def test_detached_the_machine_runs_without_breakpoints(session):
    it = session()
    it.ask(b"Z0,%x,4" % FUNCTION)
    it.ask(b"Z2,%x,4" % (DATA + 8))
    assert it.ask(b"D") == b"OK"
    assert it.client.closed()
    while not it.machine.statistics().instructions:  # it may take its time to begin
        it.running.thread.join(0.001)
    it.client = it.connect()
    assert it.ask(b"?") == b"T02thread:1;"  # the client's coming interrupted it
    assert it.ask(b"pa") != word(0)
    assert it.ask(b"M%x,1:01" % (DATA + 16)) == b"OK"
    it.ask(b"D")
    assert it.running.result() == PoweredOff(7)


def test_a_connection_that_breaks_leaves_it_stopped(session):
    it = session()
    it.ask(b"Z0,%x,4" % FUNCTION)
    assert it.ask(b"c")[:3] == b"T05"
    it.client.close()
    it.client = it.connect()
    assert it.ask(b"p20") == word(FUNCTION)
    it.ask(b"M%x,1:01" % (DATA + 16))
    assert it.ask(b"c") == b"W07"  # no breakpoint


def test_a_connection_that_breaks_leaves_it_running(session):
    it = session()
    it.ask(b"Z0,%x,4" % (AT["end"] + 64))
    it.client.send(b"c")
    it.client.close()
    it.client = it.connect()
    assert it.ask(b"?") == b"T02thread:1;"
    it.ask(b"M%x,1:01" % (DATA + 16))
    assert it.ask(b"c") == b"W07"


def test_one_client_at_a_time(session):
    it = session()
    assert it.ask(b"qC") == b"QC1"
    other = it.connect()
    assert other.closed()
    assert it.ask(b"qC") == b"QC1"


def test_a_web_page_is_no_debugger(session):
    it = session()
    it.client.close()
    noise = it.connect()
    noise.raw(b"POST / HTTP/1.1\r\n\r\n" + frame(b"M%x,1:01" % (DATA + 16)) + frame(b"k"))
    assert noise.closed()
    it.client = it.connect()
    assert it.ask(b"m%x,1" % (DATA + 16)) == b"00"


def test_what_goes_wrong_in_the_server_is_raised_where_the_machine_runs(tmp_path, monkeypatch):
    opened = machine(tmp_path)
    with opened, Client(opened.gdb("0")) as client:
        monkeypatch.setattr(Stub, "answer", lambda stub, packet: 1 / 0)
        client.send(b"g")
        with pytest.raises(ZeroDivisionError):
            opened.run(timeout=20)


def test_closing_ends_a_run_that_waits(tmp_path):
    opened = machine(tmp_path)
    opened.gdb("0")
    running = Running(opened)
    opened.close()
    assert running.result() in (Paused(), PoweredOff(0))


def test_kill(session):
    it = session()
    it.client.send(b"k")
    assert it.running.result() == Paused()
    assert it.client.closed()


def test_a_packet_that_arrived_broken_is_asked_for_again(session):
    it = session()
    it.client.raw(b"$qC#00")
    assert it.client.take(1) == b"-"
    it.client.raw(frame(b"qC"))
    assert it.client.take(8) == b"+$QC1#c5"
    it.client.raw(b"-")
    assert it.client.take(7) == b"$QC1#c5"


def test_what_is_not_known_is_answered_by_nothing(session):
    it = session()
    for packet in (b"vMustReplyEmpty", b"", b"!", b"R00", b"qUnheardOf", b"jThreadsInfo", b"\xff"):
        assert it.ask(packet) == b""


def test_closing_the_machine_says_goodbye(session):
    it = session()
    assert it.ask(b"qC") == b"QC1"
    it.machine.pause()
    assert it.running.result() == Paused()
    it.machine.close()
    assert it.client.closed()


@pytest.mark.parametrize(("address", "message"), [
    ("", "gdb: '' is not an address; write PORT or HOST:PORT"),
    pytest.param("9" * 5000, f"gdb: '{'9' * 5000}' is not an address; write PORT or HOST:PORT",
                 id="long"),
    ("localhost", "gdb: 'localhost' is not an address; write PORT or HOST:PORT"),
    ("127.0.0.1:65536", "gdb: '127.0.0.1:65536' is not an address; write PORT or HOST:PORT"),
    ("192.0.2.1:0", "gdb 192.0.2.1:0: Cannot assign requested address; choose another address"),
])  # fmt: skip
def test_addresses_that_are_none(tmp_path, address, message):
    with machine(tmp_path) as it, pytest.raises(Refusal) as error:
        it.gdb(address)
    assert str(error.value) == message


def test_an_address_that_is_taken(tmp_path):
    with machine(tmp_path) as it, socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        with pytest.raises(Refusal) as error:
            it.gdb(str(port))
        assert str(error.value) == (
            f"gdb 127.0.0.1:{port}: Address already in use; choose another address"
        )


def test_it_listens_on_loopback_only(tmp_path):
    with machine(tmp_path) as it:
        assert it.gdb("0").startswith("127.0.0.1:")
        with pytest.raises(Refusal) as error:
            it.gdb("0")
        assert str(error.value) == (
            "gdb: one debugger is served already; one is what a machine can have"
        )


# -- whatever a client may send -----------------------------------------------------------------

HEX = st.text("0123456789abcdef-,:;=", max_size=24).map(str.encode)
NAMES = [name.encode() for name in
         "? D g G p P m M X H Hg Hc T Z z Z0, Z2, s S vCont vCont;s vCont;s: qSupported qC qRcmd,"
         " qXfer:features:read:target.xml: qThreadExtraInfo, QStartNoAckMode".split()]  # fmt: skip
PACKETS = st.one_of(st.binary(max_size=40), st.builds(bytes.__add__, st.sampled_from(NAMES), HEX))


@pytest.fixture(scope="module")
def stub(tmp_path_factory):
    """A stub whose machine runs in nobody's thread, so that nothing ever waits."""
    opened = machine(tmp_path_factory.mktemp("stub"), cpus=2)
    server = Server(opened._machine, "127.0.0.1", 0)
    yield Stub(server.debugger)
    server.close()
    opened.close()


@settings(
    suppress_health_check=[HealthCheck.function_scoped_fixture], max_examples=600, deadline=None
)
@given(PACKETS.filter(lambda p: p[:1] not in (b"c", b"C") and b"vCont" not in p))
@example(b"m0,")
@example(b"P20=")
@example(b"Z2,ffffffffffffffff,1")
@example(b"Z2,ffffffffffffffff,2")
@example(b"H")
@example(b"Hg-2")
@example(b"T0")
@example(b"T-1")
@example(b"G00")
@example(b"s1")
@example(b"qRcmd,ff")
@example(b"P%x=0300000000000000" % (65 + 4096))
@example(b"P%x=ffffffffffffffff" % (65 + 0x180))
def test_any_packet_is_answered(stub, packet):
    stub.answer(packet)


@settings(max_examples=100, deadline=None)
@given(
    st.lists(st.one_of(st.sampled_from([b"s", b"c", b"S05", b"C05", b"x", b""]), HEX), max_size=4),
    st.lists(
        st.sampled_from([b"", b":1", b":2", b":3", b":-1", b":0", b":p1.1", b":zz"]), max_size=4
    ),
)
def test_any_vcont_is_understood_or_refused(stub, actions, threads):
    parts = [a + t for a, t in zip(actions, threads, strict=False) if a[:1].lower() != b"c"]
    stub.answer(b"vCont;" + b";".join(parts))


@settings(
    suppress_health_check=[HealthCheck.function_scoped_fixture], max_examples=25, deadline=None
)
@given(st.binary(max_size=200))
def test_any_bytes_leave_the_server_listening(shared, data):
    it, address = shared
    noise = Client(address)
    noise.raw(data)
    noise.close()
    client = Client(address)
    try:
        while True:  # the last client may be there still
            try:
                assert client.ask(b"qAttached") == b"1"
                break
            except (EOFError, ConnectionError):
                client.close()
                client = Client(address)
    finally:
        client.close()


@pytest.fixture(scope="module")
def shared(tmp_path_factory):
    opened = machine(tmp_path_factory.mktemp("server"))
    address = opened.gdb("0")
    yield opened, address
    opened.close()
