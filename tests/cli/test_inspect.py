"""`auberge inspect`: a guest that has a name is looked into, runs on, and suffers nothing."""

import json
import signal
import subprocess
import time

import pytest

import auberge
from auberge.cli.main import main
from auberge.monitor.names import running
from tests.command import AUBERGE
from tests.engine import eager
from tests.machine.debug.client import Client, Running
from tests.machine.debug.guest import AT, BUILT, write
from tests.machine.elves import BASE, elf

pytestmark = pytest.mark.timeout(200)
DATA = AT["data"]
RAM = f"{BASE:#x} to {BASE + (4 << 20) - 1:#x}"


@pytest.fixture(autouse=True)
def run_time(tmp_path, monkeypatch):
    monkeypatch.setenv("XDG_RUNTIME_DIR", str(tmp_path))


@pytest.fixture(params=["interpreter", eager.NAME])
def guest(tmp_path, request):
    kernel = tmp_path / "kernel"
    symbols = [("loop", AT["loop"]), ("data", DATA)]
    kernel.write_bytes(elf([(BASE, BUILT.code, len(BUILT.code) + 4096)], symbols=symbols))
    options = {"memory": "4M", "cpus": 2, "console": print, "engine": request.param}
    with auberge.Machine.virt(kernel, name="web", **options) as made:
        yield made
    assert running() == []


@pytest.fixture
def look(capsys):
    def inspect(*words):
        assert main(["inspect", "web", *words]) == 0
        return capsys.readouterr().out

    return inspect


def test_an_overview(guest, look):
    lines = look().splitlines()
    assert lines[:3] == [
        "machine: stopped",
        f"hart 0: started, in M, pc {BASE:#018x}",
        f"hart 1: started, in M, pc {BASE:#018x}",
    ]
    assert "0x0010000000        0x100  ns16550a, interrupt 10" in lines
    assert "0x0080000000     0x400000  RAM" in lines
    assert "instructions: 0" in lines
    shown = json.loads(look("--json"))
    assert shown["harts"][1] == {
        "hart": 1, "state": "started", "privilege": "M", "pc": hex(BASE),
    }  # fmt: skip
    assert shown["ram"] == {"address": hex(BASE), "size": 4 << 20}
    serial = {"name": "serial", "address": "0x10000000", "size": 256, "interrupt": 10}
    assert serial | {"compatible": "ns16550a"} in shown["devices"]


def test_a_machine_that_runs_goes_on(guest, look):
    running = Running(guest)
    counts = []
    while len(counts) < 10 or counts[-1] == counts[0]:  # its threads may wait for a processor
        shown = json.loads(look("--json"))
        counts.append(shown["statistics"]["instructions"])
    assert shown["state"] == "running"
    assert sorted(counts) == counts
    guest.memory.write(DATA + 16, b"\1")
    assert running.result() == auberge.PoweredOff(7)
    assert look().startswith("machine: PoweredOff(code=7)\n")


def test_registers(guest, look):
    guest.harts[1]["a0"] = 0x1234
    text = look("--registers", "--hart", "1")
    assert text.startswith(f"hart 1: started, in M, pc {BASE:#018x}\n")
    assert "           a0 0x0000000000001234" in text
    shown = json.loads(look("--registers", "--hart", "1", "--json"))
    assert shown["registers"]["a0"] == "0x1234"
    assert shown["registers"]["mhartid"] == "0x1"
    assert {"pc", "fa0", "satp", "mstatus", "time"} <= set(shown["registers"])


def test_memory(guest, look):
    guest.memory.write(DATA, b"Auberge \x00\xff" + bytes(8))
    where = f"{DATA:#012x}"
    assert look("--memory", f"{DATA:#x}:18") == (
        f"{where}  41 75 62 65 72 67 65 20 00 ff 00 00 00 00 00 00  Auberge ........\n"
        f"{DATA + 16:#012x}  00 00                                            ..\n"
    )
    assert look("--memory", "data:2").startswith(f"{where}  41 75 ")
    shown = json.loads(look("--memory", f"{DATA}:0x3", "--json"))
    assert shown == {"address": hex(DATA), "bytes": "417562"}


def paged(guest):
    root, hart = BASE + (1 << 20), guest.harts[0]
    for at, value in (
        (root + 8, (root + 4096) >> 2 | 1),
        (root + 4096, (root + 8192) >> 2 | 1),
        (root + 8192, BASE >> 2 | 0xCB),
        (root + 8200, 0x1000_0000 >> 2 | 0xC7),
    ):
        guest.memory.write(at, value.to_bytes(8, "little"))
    hart["satp"], hart.privilege = 8 << 60 | root >> 12, "S"
    hart["pmpaddr0"], hart["pmpcfg0"] = (1 << 54) - 1, 0x1F
    return root, hart.translate(1 << 30).hva


def test_a_page_table(guest, look):
    root, hva = paged(guest)
    assert look("--page-table", "0x40000004").splitlines() == [
        f"hart 0: started, in S, pc {BASE:#018x}",
        "gva 0x0000000040000004  Sv39",
        f"  level 2  {root + 8:#014x}: {(root + 4096) >> 2 | 1:#018x}  -------V",
        f"  level 1  {root + 4096:#014x}: {(root + 8192) >> 2 | 1:#018x}  -------V",
        f"  level 0  {root + 8192:#014x}: {BASE >> 2 | 0xCB:#018x}  DA--X-RV",
        f"gpa {BASE + 4:#018x}  in a page of 4 KiB",
        f"hva {hva + 4:#018x}",
        "fetch: allowed",
        "load: allowed",
        "store: store/AMO page fault",
        "TLB: nothing of this page",
    ]
    shown = json.loads(look("--page-table", "0x40000004", "--json"))
    assert (shown["gpa"], shown["hva"]) == (hex(BASE + 4), hex(hva + 4))
    assert (shown["mode"], shown["page_size"], shown["fault"]) == ("Sv39", 4096, None)
    assert shown["levels"][2] == {
        "level": 0,
        "address": hex(root + 8192),
        "entry": f"{BASE >> 2 | 0xCB:#018x}",
        "flags": "DA--X-RV",
    }


def test_what_is_no_ram_or_nowhere(guest, look):
    paged(guest)
    assert "hva none: not RAM\n" in look("--page-table", "0x40001000")
    assert "gpa none: load page fault\n" in look("--page-table", "0x40002000")
    text = look("--page-table", "0x1000000000000000")  # its sign is not extended
    assert "level" not in text and "gpa none: load page fault\n" in text
    assert "Bare" in look("--page-table", "0", "--hart", "1")


def test_the_tlb(guest, look):
    _, hva = paged(guest)
    hart = guest.harts[0]
    hart.pc = (1 << 30) + AT["loop"] - BASE
    hart["s0"] = (1 << 30) + DATA - BASE
    hart["stvec"] = hart.pc
    guest.run(until=(1 << 30) + AT["store"] - BASE)
    lines = look("--page-table", "0x40000000").splitlines()
    tlb = [line for line in lines if line.startswith("TLB: ")]
    assert len(tlb) == 2
    assert tlb[0].startswith("TLB: fetch, bank ") and tlb[0].endswith(", in force")
    assert tlb[1].startswith("TLB: load, bank ") and tlb[1].endswith(f", in force, hva {hva:#x}")
    at = BASE + (1 << 20) + 8192
    guest._machine.ram.write(at, ((BASE + 4096) >> 2 | 0xCB).to_bytes(8, "little"))
    text = look("--page-table", "0x40000000")
    assert f"in force, hva {hva:#x}, stale: the tables have changed since\n" in text


def test_a_machine_that_gdb_has_stopped(guest, look):
    address = guest.gdb("0")
    running = Running(guest)
    with Client(address) as gdb:
        gdb.ask(b"Z0,%x,4" % AT["store"])
        gdb.ask(b"c")
        assert f"pc {AT['store']:#018x}" in look()
        assert look().startswith("machine: stopped\n")
        gdb.send(b"k")
    assert running.result() == auberge.Paused()


@pytest.mark.parametrize(
    ("words", "line"),
    [
        (["--hart", "2"], "hart 2: there is none; the last is 1"),
        (["--hart", "-1"], "hart -1: there is none; the last is 1"),
        (["--memory", "0x10000000:4"], f"memory: 0x10000000:4 is not all RAM, which is {RAM};"),
        (["--memory", f"{BASE - 1}:2"], f"memory: {BASE - 1:#x}:2 is not all RAM, which is {RAM};"),
        (["--memory", f"{BASE}:0"], "memory: 0 bytes; ask for 1 to 65536"),
        (["--memory", f"{BASE}:-1"], "memory: -1 bytes; ask for 1 to 65536"),
        (["--memory", f"{BASE}:{1 << 70}"], f"memory: {1 << 70} bytes; ask for 1 to 65536"),
        (["--page-table", "main"], "main: neither an address nor a symbol of "),
        (["--page-table", "-1"], "-1: not a 64-bit address; write it as 0x80000000"),
        (["--page-table", hex(1 << 64)], f"{1 << 64:#x}: not a 64-bit address;"),
    ],
)
def test_refusals_of_the_guest(guest, capsys, words, line):
    assert main(["inspect", "web", *words]) == 125
    printed = capsys.readouterr()
    assert printed.out == ""
    assert printed.err.startswith(f"auberge: web: {line}") and printed.err.count("\n") == 1


@pytest.mark.parametrize(
    ("words", "line"),
    [
        (["nobody"], "nobody: no such guest runs; start one with `auberge boot --name nobody`"),
        (["../web"], "'../web': not a name; write letters, digits, '_', '.' and '-', at most 63"),
        (
            ["web", "--memory", "0x80000000"],
            "--memory 0x80000000: not an address and a length; write 0x80000000:64",
        ),
        (
            ["web", "--memory", "1:2:3"],
            "--memory 1:2:3: not an address and a length; write 0x80000000:64",
        ),
        (
            ["web", "--registers", "--page-table", "0"],
            "inspect: --page-table, --registers and --memory: ask for one at a time",
        ),
    ],
)
def test_refusals(capsys, words, line):
    assert main(["inspect", *words]) == 125
    assert capsys.readouterr() == ("", f"auberge: {line}\n")


def test_another_name(guest, capsys):
    assert main(["inspect", "wbe"]) == 125
    assert capsys.readouterr().err == "auberge: wbe: no such guest runs; these do: web\n"


def test_a_name_that_is_taken(guest, tmp_path):
    with pytest.raises(auberge.Refusal) as refusal:
        auberge.Machine.virt(write(tmp_path / "other"), memory="4M", name="web")
    assert str(refusal.value) == "web: a guest of that name runs already; choose another name"


def boot(tmp_path):
    return subprocess.Popen(
        [*AUBERGE, "boot", "--memory", "4M", "--net", "none",
         "--kernel", write(tmp_path / "program"), "--name", "web"],
        stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
    )  # fmt: skip


def wait_for_it():
    for _ in range(600):
        if "web" in running():
            return
        time.sleep(0.05)


@pytest.mark.slow
def test_a_guest_that_was_booted_with_a_name(tmp_path, look):
    with boot(tmp_path) as process:
        wait_for_it()
        assert look().startswith("machine: ")
        process.send_signal(signal.SIGTERM)
        assert process.wait(60) == 128 + signal.SIGTERM
    assert running() == []


@pytest.mark.slow
def test_a_guest_that_was_killed(tmp_path, look, capsys):
    with boot(tmp_path) as process:
        wait_for_it()
        process.kill()
        process.wait(60)
    assert main(["inspect", "web"]) == 125
    line = "auberge: web: no such guest runs; start one with `auberge boot --name web`\n"
    assert capsys.readouterr().err == line
    with boot(tmp_path) as process:
        for _ in range(600):
            if main(["inspect", "web"]) == 0:
                break
            time.sleep(0.05)
        assert capsys.readouterr().out.startswith("machine: ")
        process.terminate()
