"""A: each AMO's value, LR/SC and what breaks the pair, and misaligned addresses."""

import pytest

from auberge.isa.assembler import assemble
from auberge.isa.riscv.rv64 import rv64
from tests.isa.bench import CODE, DATA, Bench, M, Trap
from tests.isa.one import A0, A1, A2, MASK64

TOP = 1 << 63


def run(bench: Bench, text: str) -> Trap | None:
    return bench.run(int.from_bytes(assemble(rv64, text, CODE), "little"))


def bench_with(memory: int, operand: int = 0, at: int = DATA) -> Bench:
    bench = Bench()
    bench.ram.write(at, memory.to_bytes(8, "little"))
    bench.hart.x[A1], bench.hart.x[A2] = at, operand
    return bench


def memory(bench: Bench) -> int:
    return int.from_bytes(bench.ram.read(DATA, 8), "little")


# name, memory, operand, memory after; of the W form in the low word
AMOS = [
    ("amoswap", 5, 7, 7),
    ("amoadd", MASK64, 2, 1),
    ("amoxor", 0b1100, 0b1010, 0b0110),
    ("amoand", 0b1100, 0b1010, 0b1000),
    ("amoor", 0b1100, 0b1010, 0b1110),
    ("amomin", MASK64, 1, MASK64),
    ("amomin", 1, MASK64, MASK64),
    ("amomax", MASK64, 1, 1),
    ("amomax", 2, 1, 2),
    ("amominu", MASK64, 1, 1),
    ("amominu", 1, MASK64, 1),
    ("amomaxu", MASK64, 1, MASK64),
    ("amomaxu", 1, MASK64, MASK64),
]


@pytest.mark.parametrize(("name", "old", "operand", "new"), AMOS)
@pytest.mark.parametrize("ending", ["", ".aq", ".rl", ".aqrl"])
def test_an_amo_answers_the_old_value_and_stores_the_new(
    name: str, old: int, operand: int, new: int, ending: str
) -> None:
    bench = bench_with(old, operand)
    assert run(bench, f"{name}.d{ending} a0, a2, (a1)") is None
    assert (bench.hart.x[A0], memory(bench)) == (old, new)

    upper = 0x7777_7777 << 32
    bench = bench_with(upper | old & 0xFFFF_FFFF, upper | operand & 0xFFFF_FFFF)
    assert run(bench, f"{name}.w{ending} a0, a2, (a1)") is None
    assert memory(bench) == upper | new & 0xFFFF_FFFF
    assert bench.hart.x[A0] == old  # sign-extended


def test_an_amo_may_answer_into_its_own_address_or_operand() -> None:
    bench = bench_with(40, 2)
    assert run(bench, "amoadd.d a1, a2, (a1)") is None
    assert (bench.hart.x[A1], memory(bench)) == (40, 42)
    bench = bench_with(40, 2)
    assert run(bench, "amoadd.d a2, a2, (a1)") is None
    assert (bench.hart.x[A2], memory(bench)) == (40, 42)


@pytest.mark.parametrize("size", ["w", "d"])
def test_a_store_conditional_after_a_load_reserved_succeeds_once(size: str) -> None:
    bench = bench_with(0x1_8000_0000, 9)
    assert run(bench, f"lr.{size} a0, (a1)") is None
    assert bench.hart.x[A0] == (0xFFFF_FFFF_8000_0000 if size == "w" else 0x1_8000_0000)
    assert run(bench, f"sc.{size} a0, a2, (a1)") is None
    assert bench.hart.x[A0] == 0
    assert memory(bench) == (0x1_0000_0009 if size == "w" else 9)
    bench.hart.x[A2] = 10
    assert run(bench, f"sc.{size} a0, a2, (a1)") is None
    assert bench.hart.x[A0] == 1
    assert memory(bench) & 0xFFFF_FFFF == 9


def test_sc_w_looks_at_32_bits_only() -> None:
    bench = bench_with(5, 6)
    run(bench, "lr.w a0, (a1)")
    bench.ram.write(DATA + 4, b"\x01")
    run(bench, "sc.w a0, a2, (a1)")
    assert bench.hart.x[A0] == 0


def test_a_store_conditional_without_a_reservation_stores_nothing() -> None:
    bench = bench_with(5, 6)
    run(bench, "sc.d a0, a2, (a1)")
    assert (bench.hart.x[A0], memory(bench)) == (1, 5)


def test_a_store_conditional_elsewhere_fails_and_ends_the_reservation() -> None:
    bench = bench_with(5, 6)
    run(bench, "lr.d a0, (a1)")
    bench.hart.x[A1] = DATA + 64
    run(bench, "sc.d a0, a2, (a1)")
    assert bench.hart.x[A0] == 1
    bench.hart.x[A1] = DATA
    run(bench, "sc.d a0, a2, (a1)")
    assert (bench.hart.x[A0], memory(bench)) == (1, 5)


def test_a_store_in_between_makes_it_fail() -> None:
    bench = bench_with(5, 6)
    run(bench, "lr.d a0, (a1)")
    bench.ram.write(DATA, b"\x07")
    run(bench, "sc.d a0, a2, (a1)")
    assert (bench.hart.x[A0], memory(bench)) == (1, 7)


MISALIGNED = [
    ("lr.w a0, (a1)", 2, 4),
    ("lr.d a0, (a1)", 4, 4),
    ("sc.w a0, a2, (a1)", 1, 6),
    ("sc.d a0, a2, (a1)", 4, 6),
    ("amoadd.w a0, a2, (a1)", 2, 6),
    ("amoswap.d a0, a2, (a1)", 4, 6),
]


@pytest.mark.parametrize(("text", "offset", "cause"), MISALIGNED)
def test_a_misaligned_atomic_traps_and_does_nothing(text: str, offset: int, cause: int) -> None:
    bench = bench_with(5, 6)
    bench.hart.x[A0], bench.hart.x[A1] = 99, DATA + offset
    assert run(bench, text) == Trap(M, cause, DATA + offset)
    assert (bench.hart.x[A0], memory(bench)) == (99, 5)


@pytest.mark.parametrize(
    ("text", "cause"),
    [("lr.d a0, (a1)", 5), ("sc.d a0, a2, (a1)", 7), ("amoadd.w a0, a2, (a1)", 7)],
)
def test_an_atomic_outside_of_memory_is_an_access_fault(text: str, cause: int) -> None:
    bench = bench_with(0)
    bench.hart.x[A1] = 0x1000_0000
    assert run(bench, text) == Trap(M, cause, 0x1000_0000)
