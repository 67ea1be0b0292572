"""What each CSR holds after a write: The RISC-V Instruction Set Manual, Volume II, 20211203."""

import pytest

from tests.isa.bench import ALL, NUMBER, Bench, S

pytestmark = pytest.mark.usefixtures("each_engine")

UXL_SXL = 2 << 34 | 2 << 32
SD = 1 << 63
MISA = 2 << 62 | 0x14112D

# register: what it holds after a write of zeros, and of ones
EXTREMES = {
    "mvendorid": (0, 0), "marchid": (0, 0), "mimpid": (0, 0), "mhartid": (0, 0),
    "mconfigptr": (0, 0),
    "mstatus": (UXL_SXL, UXL_SXL | SD | 0x7E79AA),
    "misa": (MISA, MISA),
    "medeleg": (0, 0xB3FF), "mideleg": (0, 0x222), "mie": (0, 0xAAA), "mip": (0, 0x222),
    "mtvec": (0, 0), "stvec": (0, 0),  # ones ask for a reserved mode
    "mcounteren": (0, 0xFFFFFFFF), "scounteren": (0, 0xFFFFFFFF),
    "mscratch": (0, ALL), "sscratch": (0, ALL),
    "mepc": (0, ALL - 1), "sepc": (0, ALL - 1),
    "mcause": (0, ALL), "scause": (0, ALL), "mtval": (0, ALL), "stval": (0, ALL),
    "menvcfg": (0, 7 << 61 | 0xF1), "senvcfg": (0, 0xF1),
    "mcountinhibit": (0, 5),
    "pmpcfg0": (0, 0x9F9F9F9F9F9F9F9F), "pmpcfg2": (0, 0x9F9F9F9F9F9F9F9F),
    "pmpaddr0": (0, (1 << 54) - 1 & ~0x3FF), "pmpaddr15": (0, (1 << 54) - 1 & ~0x3FF),
    "tselect": (0, 0), "tdata1": (0, 0), "tdata2": (0, 0),
    "sstatus": (2 << 32, 2 << 32 | SD | 0xC6122),
    "sie": (0, 0), "sip": (0, 0),  # nothing is delegated
    "satp": (0, 0),  # ones ask for a mode that there is not
    "stimecmp": (0, ALL),
    "fflags": (0, 0x1F), "frm": (0, 7), "fcsr": (0, 0xFF),
}  # fmt: skip
ZEROS = [
    *(f"mhpmcounter{n}" for n in range(3, 32)),
    *(f"mhpmevent{n}" for n in range(3, 32)),
    *(f"pmpaddr{n}" for n in range(16, 64)),
    *(f"pmpcfg{n}" for n in range(4, 16, 2)),
]
COUNT = ("mcycle", "minstret", "cycle", "time", "instret")  # see test_csr_counters
READ_ONLY = {name for name, number in NUMBER.items() if number >= 0xC00}
FS_ON, MODE = 1 << 13, 1 << 60


@pytest.mark.parametrize("name", EXTREMES)
def test_a_register_holds_what_is_legal(name: str) -> None:
    bench = Bench(mtvec=0, stvec=0, pmpcfg0=0, pmpaddr0=0)
    if name in ("fflags", "frm", "fcsr"):
        bench["mstatus"] |= FS_ON
    if name in READ_ONLY:
        assert bench.read(name) == EXTREMES[name][0]
        return
    for value, held in zip((0, ALL), EXTREMES[name], strict=True):
        bench.write(name, value)
        assert bench.read(name) == held


@pytest.mark.parametrize("name", ZEROS)
def test_a_register_that_does_nothing_reads_zero(name: str) -> None:
    bench = Bench()
    bench.write(name, ALL)
    assert bench.read(name) == 0


def test_the_tables_name_every_register() -> None:
    hpm = {f"hpmcounter{n}" for n in range(3, 32)}
    others = {f"pmpaddr{n}" for n in range(1, 15)}  # as pmpaddr0 and pmpaddr15: see test_pmp
    assert set(EXTREMES) | set(ZEROS) | set(COUNT) | hpm | others == set(NUMBER)


@pytest.mark.parametrize("name", ["menvcfg", "senvcfg"])
@pytest.mark.parametrize("old", [0, 1, 3])
def test_cbie_2_keeps_the_value_before(name: str, old: int) -> None:
    bench = Bench()
    bench.write(name, old << 4)
    bench.write(name, 2 << 4 | 0x41)
    assert bench.read(name) == old << 4 | 0x41


@pytest.mark.parametrize("old", [0, 1, 3])
def test_mpp_2_keeps_the_mode_before(old: int) -> None:
    bench = Bench()
    bench.write("mstatus", old << 11)
    bench.write("mstatus", 2 << 11 | 8)
    assert bench.read("mstatus") == UXL_SXL | old << 11 | 8


@pytest.mark.parametrize("fs", range(4))
def test_sd_says_whether_fs_is_dirty(fs: int) -> None:
    bench = Bench()
    bench.write("mstatus", fs << 13)
    assert bench.read("mstatus") >> 63 == (fs == 3)
    assert bench.read("sstatus") >> 63 == (fs == 3)


def test_sstatus_is_a_window_on_mstatus() -> None:
    bench = Bench()
    bench.write("mstatus", 0x7E79AA)
    assert bench.read("sstatus") == SD | 2 << 32 | 0xC6122
    bench.write("sstatus", 0)
    assert bench.read("mstatus") == UXL_SXL | 0x7E79AA & ~0xC6122


@pytest.mark.parametrize("name", ["mtvec", "stvec"])
@pytest.mark.parametrize("mode", range(4))
def test_a_trap_vector_is_direct_or_vectored(name: str, mode: int) -> None:
    bench = Bench()
    before = bench.read(name)
    bench.write(name, 0xFFFF_FFFF_8000_0004 | mode)
    assert bench.read(name) == (0xFFFF_FFFF_8000_0004 | mode if mode < 2 else before)


@pytest.mark.parametrize("mode", range(16))
def test_satp_ignores_a_write_of_a_mode_that_there_is_not(mode: int) -> None:
    bench = Bench(satp=0x1234)
    new = mode * MODE | 0xBEEF << 44 | 0xFFF_FFFF_FFFF
    bench.write("satp", new)
    assert bench.read("satp") == (new if mode in (0, 8, 9, 10) else 0x1234)


@pytest.mark.parametrize("delegated", [0, 2, 0x20, 0x200, 0x222])
def test_sie_and_sip_show_what_is_delegated(delegated: int) -> None:
    bench = Bench(mie=0xAAA, mip=0x222, mideleg=delegated)
    assert bench.read("sie") == delegated
    assert bench.read("sip") == delegated
    bench.write("sie", 0)
    bench.write("sip", 0)
    assert bench["mie"] == 0xAAA & ~delegated
    assert bench["mip"] == 0x222 & ~(delegated & 2)  # of sip only SSIP is writable
    bench["mip"] = 0
    bench.write("sie", ALL)
    bench.write("sip", ALL)
    assert bench["mie"] == 0xAAA
    assert bench["mip"] == delegated & 2


def test_set_and_clear_do_not_copy_the_external_seip() -> None:
    """3.1.9: only the software-writable SEIP bit participates in csrrs and csrrc."""
    bench = Bench(lines=0x200)
    assert bench.set("mip", 2) == 0x200
    assert bench["mip"] == 2
    assert bench.set("mip", 0x200) == 0x202
    assert bench["mip"] == 0x202
    bench["lines"] = 0
    assert bench.clear("mip", 2) == 0x202
    assert bench["mip"] == 0x200
    assert bench.clear("mip", 0x200) == 0x200
    assert bench["mip"] == 0


def test_external_inputs_are_read_only_in_mip() -> None:
    bench = Bench(lines=0xA08)
    bench.write("mip", 0)
    assert bench.read("mip") == 0xA08


def test_fcsr_is_frm_above_fflags() -> None:
    bench = Bench(mstatus=FS_ON)
    bench.write("fcsr", 0xFFA5)
    assert (bench.read("frm"), bench.read("fflags"), bench.read("fcsr")) == (5, 5, 0xA5)
    bench.write("frm", 8 + 2)
    bench.write("fflags", 32 + 3)
    assert bench.read("fcsr") == 2 << 5 | 3
    assert bench.set("fflags", 4) == 3
    assert bench.clear("fcsr", 0x41) == 0x47
    assert bench.read("fcsr") == 6


@pytest.mark.parametrize("name", ["fflags", "frm", "fcsr"])
def test_floating_point_registers_are_illegal_when_off_and_dirty_when_written(name: str) -> None:
    bench = Bench()
    assert bench.try_read(name) is not None
    assert bench.try_write(name, 0) is not None
    bench["mstatus"] = 2 << 13
    bench.read(name)
    assert bench["mstatus"] == 2 << 13
    bench.write(name, 0)
    assert bench["mstatus"] == 3 << 13


def test_immediate_forms_write_five_bits() -> None:
    bench = Bench(mscratch=0xFF)
    number = NUMBER["mscratch"]
    assert bench.insn("csrrci", rd=10, csr=number, uimm=0x11) is None
    assert (bench.hart.x[10], bench["mscratch"]) == (0xFF, 0xEE)
    assert bench.insn("csrrsi", rd=10, csr=number, uimm=1) is None
    assert (bench.hart.x[10], bench["mscratch"]) == (0xEE, 0xEF)
    assert bench.insn("csrrwi", rd=10, csr=number, uimm=31) is None
    assert (bench.hart.x[10], bench["mscratch"]) == (0xEF, 31)


def test_a_supervisor_sees_its_own_registers() -> None:
    bench = Bench(priv=S)
    for name in ("sscratch", "stval", "scause"):
        bench.write(name, 0x1234_5678_9ABC_DEF0)
        assert bench.read(name) == 0x1234_5678_9ABC_DEF0
