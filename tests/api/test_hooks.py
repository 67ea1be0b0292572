"""Python functions at addresses: when they are called, what they may do, and what ends them."""

import threading

import pytest

import auberge
from auberge.isa.assembler import assemble
from auberge.isa.riscv.rv64 import rv64
from tests.engine.eager import ENGINES
from tests.machine.debug.client import Client, Running
from tests.machine.debug.guest import AT, BUILT, machine
from tests.machine.elves import BASE, elf

pytestmark = pytest.mark.timeout(200)
LOOP, FUNCTION, STORE, DATA = (AT[name] for name in ("loop", "function", "store", "data"))
AFTER_CALL = LOOP + 24  # where `function` returns to
NOP = (0x13).to_bytes(4, "little")


@pytest.fixture(params=ENGINES)
def guest(tmp_path, request):
    with machine(tmp_path, engine=request.param) as made:
        yield made


def count(guest, address, most):
    """What a0 was at each call, until there were so many."""
    seen = []

    @guest.at(address)
    def see(hart):
        seen.append(hart["a0"])
        if len(seen) == most:
            guest.pause()

    return seen


def test_each_time_before_the_instruction(guest):
    seen = count(guest, STORE, 50)
    stored = []
    guest.hook(STORE, lambda hart: stored.append(guest.memory.read(DATA + 8, 8)[0]))
    assert guest.run() == auberge.Paused()
    assert seen == list(range(1, 51))
    assert stored == [0, *(5 + n for n in range(1, 50))]


def test_a_run_after_a_pause_in_a_hook_does_not_call_it_again(guest):
    seen = count(guest, STORE, 3)
    assert guest.run() == auberge.Paused()
    assert guest.harts[0].pc == STORE
    assert guest.run(until=FUNCTION) == auberge.Reached(0, FUNCTION)
    assert seen == [1, 2, 3]
    assert guest.run(until=FUNCTION) == auberge.Reached(0, FUNCTION)
    assert seen == [1, 2, 3, 4]


def test_a_hook_changes_registers_and_memory(guest):
    @guest.at(FUNCTION)
    def change(hart):
        hart["a3"] += 10
        hart.x[14] = hart.pc
        guest.memory.write(DATA + 16, b"\1")
        hart.write(DATA, b"\2")

    assert guest.run(timeout=60) == auberge.PoweredOff(7)
    hart = guest.harts[0]
    assert (hart["a3"], hart["a4"], guest.memory.read(DATA, 1)) == (12, FUNCTION, b"\2")


def test_a_hook_returns_for_a_function_that_is_not_executed(guest):
    calls = []

    @guest.at(FUNCTION)
    def instead(hart):
        calls.append(hart.pc)
        hart.pc = hart["ra"]
        if len(calls) == 10:
            guest.pause()

    assert guest.run() == auberge.Paused()
    assert (guest.harts[0]["a3"], guest.harts[0].pc) == (0, AFTER_CALL)


def test_hooks_of_one_address_are_called_in_order_until_one_moves_the_hart(guest):
    order = []
    guest.hook(FUNCTION, lambda hart: order.append(1))
    guest.hook(FUNCTION, lambda hart: (order.append(2), setattr(hart, "pc", hart["ra"])))
    guest.hook(FUNCTION, lambda hart: order.append(3))
    guest.hook(AFTER_CALL, lambda hart: guest.pause())
    guest.run()
    assert order == [1, 2]


def test_removing(guest):
    hook = guest.hook(FUNCTION, lambda hart: None)
    other = guest.hook(FUNCTION, lambda hart: guest.pause())
    for n in range(1, 3):
        guest.run()
        assert (hook.calls, other.calls, hook.address) == (n, n, FUNCTION)
    hook.remove()
    hook.remove()
    guest.run()
    assert (hook.calls, other.calls) == (2, 3)
    other.remove()
    assert guest.run(timeout=0.02) == auberge.TimedOut()


def test_a_hook_removes_itself_and_adds_another(guest):
    """Where a function was called from is where its result is: a hook is put there each time."""
    results = []

    def entered(hart):
        def returned(hart):
            results.append(hart["a3"])
            at_return.remove()
            if len(results) == 5:
                entry.remove()
                guest.pause()

        at_return = guest.hook(hart["ra"], returned)

    entry = guest.hook(FUNCTION, entered)
    assert guest.run(timeout=60) == auberge.Paused()
    assert results == [2, 4, 6, 8, 10]
    assert guest.run(timeout=0.02) == auberge.TimedOut()


def test_what_a_hook_raises_is_what_run_raises(guest):
    @guest.at(STORE)
    def fails(hart):
        if hart["a0"] == 3:
            raise KeyError("three")

    with pytest.raises(KeyError) as error:
        guest.run()
    assert error.value.args == ("three",)
    assert guest.memory.read(DATA + 8, 1) == b"\7"  # the instruction was not executed
    guest.harts[0]["a0"] = 4
    assert guest.run(timeout=0.02) == auberge.TimedOut()


def test_a_hook_sees_its_own_hart_only(tmp_path):
    with machine(tmp_path, cpus=2) as guest:
        errors = {}

        @guest.at(FUNCTION)
        def look(hart):
            assert threading.current_thread().name == f"hart {hart.hartid}"
            with pytest.raises(RuntimeError) as error:
                guest.harts[1 - hart.hartid].pc  # noqa: B018
            errors[hart.hartid] = str(error.value)
            if len(errors) == 2:
                guest.pause()

        assert guest.run(timeout=60) == auberge.Paused()
        assert errors == {
            n: f"hart {1 - n} executes while hart {n} is in a hook, which sees that one only"
            for n in range(2)
        }


@pytest.mark.parametrize("engine", ENGINES)
def test_several_harts_call_it_one_at_a_time(tmp_path, engine):
    with machine(tmp_path, cpus=4, engine=engine) as guest:
        inside, seen = [], {n: [] for n in range(4)}

        @guest.at(FUNCTION)
        def see(hart):
            inside.append(hart)
            assert len(inside) == 1
            seen[hart.hartid].append(hart["a0"])
            inside.pop()
            if min(map(len, seen.values())) >= 100:
                guest.pause()

        assert guest.run(timeout=40) == auberge.Paused()
        for n, counted in seen.items():  # a0 is the hartid at first
            assert counted == list(range(n + 1, n + 1 + len(counted)))


def test_hooks_come_and_go_while_the_machine_runs(guest):
    running = Running(guest)
    for _ in range(5):
        called = threading.Event()
        hook = guest.hook(FUNCTION, lambda hart, called=called: called.set())
        assert called.wait(60)
        hook.remove()
        calls = hook.calls
        with guest.stopped():
            assert hook.calls == calls
    guest.pause()
    assert running.result() == auberge.Paused()


def test_a_virtual_address_in_every_mode(guest):
    """The hart translates: the hook is at the address that it fetches from."""
    memory, (hart,) = guest.memory, guest.harts
    root = BASE + (1 << 20)
    memory.write(root + 8, (BASE >> 2 | 0xCF).to_bytes(8, "little"))
    memory.write(root + 16, (BASE >> 2 | 0xCF).to_bytes(8, "little"))
    hart["satp"], hart.privilege = 8 << 60 | root >> 12, "S"
    hart["pmpaddr0"], hart["pmpcfg0"] = (1 << 54) - 1, 0x1F
    hart.pc = (1 << 30) + LOOP - BASE
    hart["s0"], hart["s1"] = (2 << 30) + DATA - BASE, 1
    seen = []
    guest.hook(FUNCTION, lambda hart: seen.append("physical"))

    @guest.at((1 << 30) + FUNCTION - BASE)
    def virtual(hart):
        seen.append(hart.read(hart["s0"], 1))
        guest.pause()

    assert guest.run(timeout=60) == auberge.Paused()
    assert seen == [b"\5"]


def test_a_reset_keeps_hooks(tmp_path):
    text = "li a0, 0x100000\nli a1, 0x7777\nsw a1, 0(a0)\nj ."
    kernel = tmp_path / "resets"
    kernel.write_bytes(elf([(BASE, assemble(rv64, text, BASE))]))
    with auberge.Machine.virt(kernel, memory="4M", console=print) as guest:
        hook = guest.hook(BASE, lambda hart: guest.pause() if hook.calls == 4 else None)
        assert guest.run(timeout=60) == auberge.Paused()
        assert hook.calls == 4


def test_what_a_hook_cannot_do(guest):
    errors = []

    @guest.at(FUNCTION)
    def tries(hart):
        for attempt in (guest.run, guest.close, guest.stopped().__enter__):
            with pytest.raises(RuntimeError) as error:
                attempt()
            errors.append(str(error.value))
        guest.pause()

    assert guest.run(timeout=60) == auberge.Paused()
    waits = "not in a hook, whose hart it would wait for; call pause() there"
    assert errors == ["the machine is running already, in another thread", waits, waits]


def test_a_measured_machine_has_hooks(tmp_path):
    kernel = tmp_path / "kernel"
    kernel.write_bytes(elf([(BASE, BUILT.code, len(BUILT.code) + 4096)]))
    with auberge.Machine.virt(kernel, memory="4M", console=print, measured=True) as guest:
        hook = guest.hook(FUNCTION, lambda hart: guest.pause() if hook.calls == 9 else None)
        assert guest.run(timeout=60) == auberge.Paused()
        assert guest.statistics().exits["Breakpoint"] == 9


def test_addresses_where_no_instruction_can_be(guest):
    for address in (-2, 1, 1 << 64):
        with pytest.raises(ValueError) as error:
            guest.hook(address, print)
        line = f"{address:#x}: no instruction can be there; it is even, of 64 bits"
        assert str(error.value) == line


def test_symbols(tmp_path):
    kernel = tmp_path / "kernel"
    names = [("loop", LOOP), ("function", FUNCTION)]
    kernel.write_bytes(elf([(BASE, BUILT.code, len(BUILT.code) + 4096)], symbols=names))
    with auberge.Machine.virt(kernel, memory="4M", console=print) as guest:
        assert guest.symbols == {"loop": LOOP, "function": FUNCTION}
        guest.symbols["store"] = STORE
        order = []
        guest.hook("store", lambda hart: order.append("store"))
        guest.hook("function", lambda hart: (order.append("function"), guest.pause()))
        guest.run()
        assert order == ["store", "function"]
        with pytest.raises(auberge.Refusal) as error:
            guest.at("nowhere")(print)
        line = "nowhere: no symbol of the kernel; give an address, or put it into symbols"
        assert str(error.value) == line


def test_beside_gdb(guest):
    """Both see each arrival once, whether the hart comes by running or by a step."""
    seen = count(guest, STORE, 1000)
    address = guest.gdb("0")
    running = Running(guest)
    with Client(address) as gdb:
        gdb.ask(b"Z0,%x,4" % STORE)
        for n in range(1, 4):
            gdb.ask(b"c")
            assert seen == list(range(1, n + 1))
            for _ in range(3):  # over the breakpoint, and on
                gdb.ask(b"s")
            assert seen == list(range(1, n + 1))
        gdb.ask(b"z0,%x,4" % STORE)
        while len(seen) == 3:
            gdb.ask(b"s")
        assert seen == [1, 2, 3, 4]
        gdb.ask(b"Z0,%x,4" % FUNCTION)
        gdb.ask(b"c")
        assert seen == [1, 2, 3, 4]
        gdb.ask(b"c")
        assert len(seen) in (4, 5)
        assert guest.harts[0].pc == FUNCTION  # one that gdb has stopped is looked at
        gdb.send(b"k")
    assert running.result() == auberge.Paused()
