"""What an author may get wrong is refused when the text is traced, not when a guest runs."""

from collections.abc import Callable

import pytest

from auberge.bits.bits import Bits, const, leaf
from auberge.engine.describe import layout_of
from auberge.engine.handlers import Handler
from auberge.engine.lowering import Context
from auberge.engine.reference import Reference
from auberge.engine.routine import Routine
from auberge.isa.hart import LOAD, PC, STORE, Hart
from auberge.isa.riscv.csrs import mepc, mscratch, mstatus
from auberge.isa.riscv.rv64 import rv64
from auberge.isa.spec import Insn, Isa

CONTEXT = Context.of(rv64, layout_of(rv64), fuses=True)
ZERO = const(0, 64)


def routine(text: Callable[[Hart], None]) -> str:
    return Routine(CONTEXT, "text", text).text


def instruction(text: Callable[..., None]) -> str:
    insn = Insn("X", "0000000 rs2 rs1 000 rd 0001011", "new {rd}, {rs1}, {rs2}", text)
    return Handler(CONTEXT, "new", insn, 4).text


def refusal(text: Callable[..., None], trace: Callable[..., str] = routine) -> str:
    with pytest.raises(TypeError) as error:
        trace(text)
    return str(error.value)


def test_if_on_what_the_guest_decides() -> None:
    def text(h: Hart) -> None:
        if h[mstatus.SUM]:
            h[mscratch] = ZERO

    said = refusal(text)
    assert said.startswith("(extract@18:1 (leaf@")
    assert said.endswith("is not known until the guest runs; use select(cond, a, b), not 'if'")


def test_int_of_what_the_guest_decides() -> None:
    def text(h: Hart) -> None:
        h[mscratch] = const(1 << int(h[mstatus.SUM]), 64)

    assert refusal(text).endswith("is not known until the guest runs; it has no value yet")


def test_a_value_born_in_a_when_dies_there() -> None:
    def text(h: Hart) -> None:
        with h.when(h[mstatus.SUM]):
            v = h.peek(h.physical(ZERO), 8)
        h[mscratch] = v

    assert refusal(text) == (
        "a value born in a `when` is used after it; get it out with h.either()"
    )


def test_either_gets_it_out() -> None:
    def text(h: Hart) -> None:
        peeked = h.either(h[mstatus.SUM], lambda: h.peek(h.physical(ZERO), 8), const(7, 64))
        h[mscratch] = peeked

    assert "phi i64" in routine(text)


def test_a_trap_cannot_undo_a_memory_write() -> None:
    def text(h: Hart) -> None:
        h.poke(h.physical(ZERO), 8, const(1, 64))
        h.trap(2)

    assert refusal(text) == "this trap follows a memory write, which it could not undo"


def test_two_stores() -> None:
    def text(h: Hart, rd: Bits, rs1: Bits, rs2: Bits) -> None:
        h.store(h.x[rs1], 8, h.x[rs2])
        h.store(h.x[rs1] + 8, 8, h.x[rs2])

    assert refusal(text, instruction) == "a second store could trap, and not undo the first"


def test_a_load_after_a_store() -> None:
    def text(h: Hart, rd: Bits, rs1: Bits, rs2: Bits) -> None:
        h.store(h.x[rs1], 8, h.x[rs2])
        h.x[rd] = h.load(h.x[rs1], 8)

    assert refusal(text, instruction) == (
        "a load that follows a memory write could trap, and not undo it"
    )


def test_a_place_after_a_write() -> None:
    def text(h: Hart, rd: Bits, rs1: Bits, rs2: Bits) -> None:
        h.poke(h.place(h.x[rs1], 8, STORE), 8, h.x[rs2])
        h.place(h.x[rs2], 8, LOAD)

    assert refusal(text, instruction) == (
        "a second access may trap after a memory write; place both first"
    )


def test_two_places_before_any_write_are_fine() -> None:
    def text(h: Hart, rd: Bits, rs1: Bits, rs2: Bits) -> None:
        one, two = h.place(h.x[rs1], 8, STORE), h.place(h.x[rs2], 8, LOAD)
        h.poke(one, 8, h.peek(two, 8))

    assert "musttail" in instruction(text)


def test_a_write_to_a_register_that_is_not_rd() -> None:
    def text(h: Hart, rd: Bits, rs1: Bits, rs2: Bits) -> None:
        h.x[rs1] = h.x[rs2]

    def one(h: Hart, rs1: Bits, rs2: Bits) -> None:
        h.x[rs1] = h.x[rs2]

    insn = Insn("X", "0000000 rs2 rs1 000 00000 0001011", "new {rs1}, {rs2}", one)
    with pytest.raises(TypeError) as error:
        Handler(CONTEXT, "new", insn, 4)
    assert str(error.value) == "an integer register is written that is not rd"
    assert refusal(text, instruction) == "an integer register is written that is not rd"


@pytest.mark.parametrize("width", [1, 32, 65])
def test_widths_of_registers_and_cells(width: int) -> None:
    def register(h: Hart, rd: Bits, rs1: Bits, rs2: Bits) -> None:
        h.x[rd] = const(0, width)

    def cell(h: Hart) -> None:
        h[mscratch] = const(0, width)

    assert refusal(register, instruction) == (
        f"a register holds 64 bits, not {width}; widen with .sext() or .zext()"
    )
    assert refusal(cell) == (
        f"Cell('mscratch') holds 64 bits, not {width}; widen with .sext() or .zext()"
    )


def test_mixed_widths() -> None:
    def text(h: Hart) -> None:
        h[mscratch] = h[mepc] + h[mstatus.MPP]

    assert refusal(text) == ("add of 64-bit and 2-bit values; widen one with .sext() or .zext()")


def test_a_routine_that_waits_and_an_instruction_that_answers() -> None:
    def waits(h: Hart) -> None:
        h.wait()

    def answers(h: Hart, rd: Bits, rs1: Bits, rs2: Bits) -> None:
        h.answer(ZERO)

    assert refusal(waits) == "only an instruction waits"
    assert refusal(answers, instruction) == "only a routine answers"


def test_an_operation_without_a_native_form() -> None:
    def text(h: Hart) -> None:
        h[mscratch] = Bits("cosine", 64, (h[mepc],))

    assert refusal(text) == "cosine has no native form"


def test_reads_see_the_state_before_so_fields_swap() -> None:
    def text(h: Hart) -> None:
        h[mstatus.MIE], h[mstatus.MPIE] = h[mstatus.MPIE], h[mstatus.MIE]

    assert routine(text).count("load i64") == 1


def test_an_extract_from_bit_0_is_not_a_zero() -> None:
    x, y = leaf(64, 1), leaf(64, 2)
    assert (x[1:0] + y[1:0]).op == "add"


def test_two_encodings_of_one_word() -> None:
    isa = Isa("new")
    x = isa.extension("X", "1.0", "New")
    x.insn("0000000 rs2 rs1 000 rd 0110011", "one {rd}, {rs1}, {rs2}")(lambda h, rd, rs1, rs2: None)
    with pytest.raises(ValueError) as error:
        x.insn("0000000 00000 rs1 000 rd 0110011", "two {rd}, {rs1}")(lambda h, rd, rs1: None)
    assert str(error.value) == "new: two overlaps one"


def test_two_routines_of_one_name() -> None:
    isa = Isa("new")
    isa.routine("walk")(lambda h: None)
    with pytest.raises(ValueError) as error:
        isa.routine("walk")(lambda h: None)
    assert str(error.value) == "new: two routines are called walk"


def test_the_reference_refuses_widths_too() -> None:
    from tests.engine.board import Board

    engine = Board("reference", "nop").engine
    assert isinstance(engine, Reference)
    with pytest.raises(TypeError) as error:
        engine.x[const(1, 5)] = const(0, 32)
    assert str(error.value) == "a register holds 64 bits, not 32; widen with .sext() or .zext()"
    engine[PC] = const(8, 64)
    assert engine.pending[PC] == const(8, 64)
