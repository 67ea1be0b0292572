"""Which interrupt is taken, where, and when: Volume II, 3.1.9, 3.1.6.1, 3.1.7 and 4.1.2."""

from itertools import combinations, product

import pytest

from tests.isa.bench import CODE, M_HANDLER, S_HANDLER, Bench, M, S, U

pytestmark = pytest.mark.usefixtures("each_engine")

PRIORITY = (11, 3, 7, 9, 1, 5)  # MEI, MSI, MTI, SEI, SSI, STI
EXTERNAL = 1 << 11 | 1 << 3
SIE, MIE = 2, 8
XL = 2 << 34 | 2 << 32
INTERRUPT = 1 << 63


def pending(*numbers: int, **cells: int) -> Bench:
    """A bench on which these are pending and enabled; the machine timer because it is due."""
    mask = sum(1 << n for n in numbers)
    timer = {"mtimecmp": 0} if 7 in numbers else {}
    parts = {"lines": mask & EXTERNAL, "mip": mask & ~EXTERNAL, "mie": mask}
    return Bench(**parts | timer | cells)


def taken(bench: Bench) -> tuple[int, int] | None:
    """Run one instruction: the mode and number of the interrupt before it."""
    bench.step(1)
    for to, name, handler in ((M, "m", M_HANDLER), (S, "s", S_HANDLER)):
        if bench[name + "cause"] & INTERRUPT:
            number = bench[name + "cause"] & 63
            at = handler + 4 * number * (bench[name + "tvec"] & 1)
            assert (bench["pc"], bench[name + "epc"]) == (at + 4, CODE)
            assert (bench["priv"], bench[name + "tval"]) == (to, 0)
            return to, number
    assert bench["pc"] == CODE + 4
    return None


@pytest.mark.parametrize("number", PRIORITY)
@pytest.mark.parametrize("priv", [U, S, M])
@pytest.mark.parametrize("enabled", [False, True])
def test_to_m_when_m_is_open(number: int, priv: int, enabled: bool) -> None:
    bench = pending(number, priv=priv, mstatus=XL | MIE * enabled | SIE)
    assert taken(bench) == ((M, number) if priv < M or enabled else None)


@pytest.mark.parametrize("number", [9, 1, 5])
@pytest.mark.parametrize("priv", [U, S, M])
@pytest.mark.parametrize("enabled", [False, True])
def test_delegated_to_s_when_s_is_open(number: int, priv: int, enabled: bool) -> None:
    bench = pending(number, priv=priv, mideleg=0x222, mstatus=XL | SIE * enabled | MIE)
    opened = priv == U or (priv == S and enabled)
    assert taken(bench) == ((S, number) if opened else None)


@pytest.mark.parametrize(("first", "second"), list(combinations(PRIORITY, 2)))
def test_priority(first: int, second: int) -> None:
    assert taken(pending(second, first, priv=S, mstatus=XL)) == (M, first)


@pytest.mark.parametrize(("first", "second"), list(combinations((9, 1, 5), 2)))
def test_priority_within_s(first: int, second: int) -> None:
    assert taken(pending(second, first, priv=U, mideleg=0x222)) == (S, first)


def test_for_m_before_for_s() -> None:
    """ "Interrupts destined for M-mode" go before those for S, whatever their numbers."""
    assert taken(pending(5, 9, priv=U, mideleg=0x200)) == (M, 5)


@pytest.mark.parametrize("what", ["pending", "enabled"])
def test_both_bits_are_needed(what: str) -> None:
    one = {"pending": {"mip": 2, "mie": 0}, "enabled": {"mip": 0, "mie": 2}}[what]
    assert taken(Bench(priv=U, **one)) is None


@pytest.mark.parametrize(("number", "vectored"), list(product(PRIORITY, (0, 1))))
def test_vectored_to_m(number: int, vectored: int) -> None:
    bench = pending(number, priv=U, mtvec=M_HANDLER | vectored)
    assert taken(bench) == (M, number)


@pytest.mark.parametrize(("number", "vectored"), list(product((9, 1, 5), (0, 1))))
def test_vectored_to_s(number: int, vectored: int) -> None:
    bench = pending(number, priv=U, mideleg=0x222, stvec=S_HANDLER | vectored)
    assert taken(bench) == (S, number)


@pytest.mark.parametrize("priv", [U, S, M])
def test_entry_disables(priv: int) -> None:
    bench = pending(1, priv=priv, mstatus=XL | MIE)
    bench.step(3)
    assert bench["mstatus"] == XL | 1 << 7 | priv << 11
    assert bench["pc"] == M_HANDLER + 12


def test_enabling_takes_effect_on_the_next_instruction() -> None:
    for csr, value, cells in (
        ("mstatus", XL | MIE, {"mie": 2, "mip": 2}),
        ("mie", 2, {"mstatus": XL | MIE, "mip": 2}),
        ("mip", 2, {"mstatus": XL | MIE, "mie": 2}),
    ):
        bench = Bench(**cells)
        bench.write(csr, value)
        assert bench["pc"] == CODE + 4
        bench.step(1)
        assert (bench["mepc"], bench["mcause"]) == (CODE + 4, INTERRUPT | 1)


def test_a_software_seip_and_an_external_one_are_or_ed() -> None:
    for cells in ({"mip": 0x200}, {"lines": 0x200}, {"mip": 0x200, "lines": 0x200}):
        assert taken(Bench(priv=S, mie=0x200, **cells)) == (M, 9)
