"""Device rules: a program of BPF decides as v1's lists do, access by access."""

from struct import iter_unpack

import pytest
from hypothesis import given
from hypothesis import strategies as st

from auberge.container.cgroups_devices import ALWAYS, program, rules, writes
from auberge.container.config import DeviceRule
from auberge.refusal import Refusal

MKNOD, READ, WRITE = 1, 2, 4
LETTERS = {"m": MKNOD, "r": READ, "w": WRITE}
DENY_ALL = DeviceRule(False)


def decide(code: bytes, kind: str, major: int, minor: int, access: int) -> int:
    """What the kernel's interpreter answers: the instructions of RFC 9669 that are used."""
    context = {0: access << 16 | {"b": 1, "c": 2}[kind], 4: major, 8: minor}
    instructions = list(iter_unpack("<BBhi", code))
    registers = [0] * 6
    at = 0
    while True:
        op, both, offset, value = instructions[at]
        to, source = both & 15, both >> 4
        at += 1
        match op:
            case 0x61:
                assert source == 1
                registers[to] = context[offset]
            case 0x77:
                registers[to] >>= value
            case 0x57:
                registers[to] &= value & (1 << 64) - 1
            case 0xB7:
                registers[to] = value
            case 0xBF:
                registers[to] = registers[source]
            case 0x15:
                at += offset if registers[to] == value else 0
            case 0x55:
                at += offset if registers[to] != value else 0
            case 0x95:
                return registers[0]
            case _:
                raise AssertionError(f"{op:#x}")


def model(wanted: list[DeviceRule], kind: str, major: int, minor: int, access: int) -> int:
    """The sentence: for each access, the last rule that matches decides; without one, it may."""
    verdicts = []
    for letter, bit in LETTERS.items():
        if not access & bit:
            continue
        allowed = True
        for rule in wanted:
            matches = (
                rule.type in (None, "a", kind)
                and rule.major in (None, -1, major)
                and rule.minor in (None, -1, minor)
                and letter in (rule.access or "rwm")
            )
            if matches:
                allowed = rule.allow
        verdicts.append(allowed)
    return int(all(verdicts))


NUMBERS = st.sampled_from([None, -1, 0, 1, 3, 200])
RULES = st.builds(
    DeviceRule,
    st.booleans(),
    st.sampled_from([None, "a", "b", "c"]),
    NUMBERS,
    NUMBERS,
    st.sampled_from([None, "r", "w", "m", "rw", "rwm", "mr"]),
)


@pytest.mark.slow
@given(
    st.lists(RULES, min_size=1, max_size=6),
    st.sampled_from("bc"),
    st.sampled_from([0, 1, 3, 200, 7]),
    st.sampled_from([0, 1, 3, 200, 7]),
    st.integers(1, 7),
)
def test_the_last_rule_that_matches_decides(wanted, kind, major, minor, access):
    code = program(rules(wanted))
    assert decide(code, kind, major, minor, access) == model(
        [*wanted, *ALWAYS], kind, major, minor, access
    )


def test_without_rules_nothing_is_limited():
    assert rules([]) == []


def test_what_every_container_has_stays():
    code = program(rules([DENY_ALL]))
    assert decide(code, "c", 1, 3, READ | WRITE)
    assert decide(code, "c", 136, 7, READ | WRITE)
    assert decide(code, "b", 8, 0, MKNOD)
    assert not decide(code, "b", 8, 0, READ)
    assert not decide(code, "c", 1, 1, READ)


def test_lists_of_v1():
    wanted = [DENY_ALL, DeviceRule(True, "c", 10, 229, "wr"), DeviceRule(True, "b", 8, None, "r")]
    told = [(one.file, one.text) for one in writes(rules(wanted))]
    assert told[:3] == [
        ("devices.deny", "a"), ("devices.allow", "c 10:229 rw"), ("devices.allow", "b 8:* r"),
    ]  # fmt: skip
    assert len(told) == 3 + len(ALWAYS)


def test_any_with_numbers_is_not_everything():
    """In v1, `a 1:3 r` is all devices and all accesses, whatever follows the letter."""
    told = [one.text for one in writes(rules([DENY_ALL, DeviceRule(True, "a", 1, 3, "r")]))]
    assert told[1:3] == ["b 1:3 r", "c 1:3 r"]


COMPLAINTS = [
    (
        DeviceRule(True, "c", 1, 3, "rx"),
        "[1].access: 'rx' is not made of r, w and m; write 'rwm'",
    ),
    (DeviceRule(True, "c", 1, 3, ""), "[1].access: '' is not made of r, w and m; write 'rwm'"),
    (
        DeviceRule(True, "c", -2, 3, "r"),
        "[1].major: -2 is no device number; leave it out for all",
    ),
    (
        DeviceRule(True, "c", 1, 1 << 31, "r"),
        "[1].minor: 2147483648 is no device number; leave it out for all",
    ),
]


@pytest.mark.parametrize("rule, complaint", COMPLAINTS)
def test_a_rule_that_is_none(rule, complaint):
    with pytest.raises(Refusal) as refusal:
        rules([DENY_ALL, rule])
    assert str(refusal.value) == f"config.json: $.linux.resources.devices{complaint}"


def test_v1_cannot_take_back_a_part():
    """The kernel would answer that all is well, and go on allowing it (devices.rst)."""
    wanted = [DENY_ALL, DeviceRule(True, "c", 10, None), DeviceRule(False, "c", 10, 229)]
    with pytest.raises(Refusal) as refusal:
        writes(rules(wanted))
    assert str(refusal.value) == (
        "config.json: $.linux.resources.devices[2]: 'c 10:229 rwm' takes back a part of "
        "'c 10:* rwm', which cgroup v1 cannot; write rules that do not overlap"
    )
    code = program(rules(wanted))
    assert decide(code, "c", 10, 1, READ) and not decide(code, "c", 10, 229, READ)


def test_v1_can_take_back_the_same():
    wanted = [DENY_ALL, DeviceRule(True, "c", 10, 229), DeviceRule(False, "c", 10, 229, "w")]
    assert [one.text for one in writes(rules(wanted))][:3] == ["a", "c 10:229 rwm", "c 10:229 w"]
