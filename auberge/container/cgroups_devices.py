"""Which device nodes a container may use: lists in cgroup v1, a program of BPF in v2.

The rules are read in their order, and for each access (read, write, mknod) the last one that
matches decides: what v1 does with its lists (devices.rst), and what the program below does. Without
any rule nothing is limited. The two halves of the kernel's own check are the same for both.
"""

import errno
import os

from auberge.container.cgroups import Cgroup
from auberge.container.cgroups_files import Write
from auberge.container.config import DeviceRule
from auberge.container.light import NamedTuple, Sequence
from auberge.refusal import Refusal, reason

WHERE = "$.linux.resources.devices"

ANY = -1
_FULL = "rwm"


class Rule(NamedTuple):
    """A rule as v1 writes it; `kind` is a only for all devices and all accesses."""

    allow: bool
    kind: str
    major: int
    minor: int
    access: str
    where: str

    def __str__(self) -> str:
        if self.kind == "a":
            return "a"
        numbers = ":".join("*" if n == ANY else str(n) for n in (self.major, self.minor))
        return f"{self.kind} {numbers} {self.access}"


ALWAYS = (
    DeviceRule(True, "c", access="m"),  # to make a node is not to use it
    DeviceRule(True, "b", access="m"),
    *(
        DeviceRule(True, "c", major, minor, _FULL)
        for major, minor in (
            (1, 3),  # null
            (1, 5),  # zero
            (1, 7),  # full
            (1, 8),  # random
            (1, 9),  # urandom
            (5, 0),  # tty
            (5, 1),  # console
            (5, 2),  # ptmx
            (136, None),  # pts
        )
    ),
)
"""What "the runtime MUST also supply" (config-linux.md, "Default Devices") would be useless
without; it goes after the rules of config.json, as in runc and crun."""


def rules(wanted: Sequence[DeviceRule]) -> list[Rule]:
    """The rules to enforce: none if none are wanted. Raises Refusal."""
    if not wanted:
        return []
    asked = tuple(wanted)
    known = _rules.get(asked)
    if known is None:
        known = []
        for index, rule in enumerate([*wanted, *ALWAYS]):
            known += _normal(rule, f"{WHERE}[{index}]")
        _rules.clear()
        _rules[asked] = known
    return list(known)


# of the last container: the next one may well have the same
_rules: dict[tuple[DeviceRule, ...], list[Rule]] = {}
_writes: dict[tuple[Rule, ...], list[Write]] = {}


def _normal(rule: DeviceRule, where: str) -> list[Rule]:
    access = _FULL if rule.access is None else rule.access
    if not access or not set(access) <= set(_FULL):
        raise Refusal(
            f"config.json: {where}.access: {access!r} is not made of r, w and m; write 'rwm'"
        )
    numbers: list[int] = []
    for name, value in (("major", rule.major), ("minor", rule.minor)):
        if value is not None and not ANY <= value < 1 << 31:
            raise Refusal(
                f"config.json: {where}.{name}: {value} is no device number; leave it out for all"
            )
        numbers.append(ANY if value is None else value)
    major, minor = numbers
    access = "".join(sorted(set(access), key=_FULL.index))
    kind = rule.type or "a"
    if kind != "a":
        return [Rule(rule.allow, kind, major, minor, access, where)]
    if (major, minor, access) == (ANY, ANY, _FULL):
        return [Rule(rule.allow, "a", ANY, ANY, _FULL, where)]
    # v1 would take any other rule for "a" as one for everything
    return [Rule(rule.allow, kind, major, minor, access, where) for kind in "bc"]


def confine(cgroup: Cgroup, found: Sequence[Rule]) -> None:
    """Enforce the rules on a container; raises Refusal.

    A user without the right to is not held up: where he is not root, he cannot make device nodes.
    """
    if not found:
        return
    if cgroup.node("devices") is not None:
        known = tuple(found)
        wanted = _writes.get(known)
        if wanted is None:
            wanted = writes(found)
            _writes.clear()
            _writes[known] = wanted
        cgroup.apply(wanted)
        return
    node = cgroup.node("")
    if node is None:
        if os.geteuid() != 0:
            return
        raise Refusal(
            f"config.json: {WHERE}: this host has neither cgroup v2 nor the controller devices; "
            "leave it out"
        )
    from auberge.container.cgroups_bpf import attach_device_program

    try:
        attach_device_program(node.path, program(found))
    except OSError as error:
        if error.errno in (errno.EPERM, errno.EACCES) and os.geteuid() != 0:
            return
        why = reason(error)
        raise Refusal(
            f"config.json: {WHERE}: {node.path}: no program of BPF can be attached: {why}; "
            "use a kernel with CONFIG_CGROUP_BPF"
        ) from None


# -- v1 -------------------------------------------------------------------------------------------


def writes(found: Sequence[Rule]) -> list[Write]:
    """The rules for devices.allow and devices.deny; raises Refusal for what these lists cannot
    say: the kernel would silently ignore a rule that takes back a part of an earlier one."""
    exceptions: list[Rule] = []
    for rule in found:
        if rule.kind == "a":
            exceptions = []
            continue
        for other in exceptions:
            if rule.allow != other.allow and _overlap(rule, other) and rule[1:4] != other[1:4]:
                raise Refusal(
                    f"config.json: {rule.where}: '{rule}' takes back a part of '{other}', which "
                    "cgroup v1 cannot; write rules that do not overlap"
                )
        exceptions.append(rule)
    return [
        Write("devices", f"devices.{'allow' if rule.allow else 'deny'}", str(rule), rule.where)
        for rule in found
    ]


def _overlap(a: Rule, b: Rule) -> bool:
    def meet(x: int, y: int) -> bool:
        return ANY in (x, y) or x == y

    return (
        a.kind == b.kind
        and meet(a.major, b.major)
        and meet(a.minor, b.minor)
        and bool(set(a.access) & set(b.access))
    )


# -- v2 -------------------------------------------------------------------------------------------

# The parts of opcodes (linux/bpf.h; RFC 9669)
_LOAD_WORD = 0x61  # LDX | MEM | W
_RIGHT_SHIFT = 0x77  # ALU64 | RSH | K
_AND = 0x57  # ALU64 | AND | K
_MOVE = 0xB7  # ALU64 | MOV | K
_COPY = 0xBF  # ALU64 | MOV | X
_IF_EQUAL = 0x15  # JMP | JEQ | K
_IF_DIFFERENT = 0x55  # JMP | JNE | K
_EXIT = 0x95

_ANSWER, _CONTEXT, _KIND, _ACCESS, _MAJOR, _MINOR = range(6)  # r0 to r5

# struct bpf_cgroup_dev_ctx: access_type ("(access << 16) | type"), major, minor
_KINDS = {"b": 1, "c": 2}  # BPF_DEVCG_DEV_BLOCK, _CHAR
_ACCESSES = {"m": 1, "r": 2, "w": 4}  # BPF_DEVCG_ACC_MKNOD, _READ, _WRITE


def _op(code: int, to: int = 0, source: int = 0, offset: int = 0, value: int = 0) -> bytes:
    from struct import pack  # v1 needs none

    return pack("<BBhi", code, to | source << 4, offset, value)  # struct bpf_insn


def _answer(allow: bool) -> list[bytes]:
    return [_op(_MOVE, _ANSWER, value=int(allow)), _op(_EXIT)]


def program(found: Sequence[Rule]) -> bytes:
    """The rules as a program of type BPF_PROG_TYPE_CGROUP_DEVICE: 1 lets an access happen.

    The last rule comes first. `_ACCESS` holds what is still undecided of the accesses that are
    asked for: a rule that allows some takes them out, one that denies one of the rest decides.
    """
    code = [
        _op(_LOAD_WORD, _KIND, _CONTEXT, 0),
        _op(_COPY, _ACCESS, _KIND),
        _op(_RIGHT_SHIFT, _ACCESS, value=16),
        _op(_AND, _KIND, value=0xFFFF),
        _op(_LOAD_WORD, _MAJOR, _CONTEXT, 4),
        _op(_LOAD_WORD, _MINOR, _CONTEXT, 8),
    ]
    for rule in reversed(found):
        verdict = _verdict(rule)
        tests = [
            (register, value)
            for register, value in (
                (_KIND, _KINDS.get(rule.kind, ANY)),
                (_MAJOR, rule.major),
                (_MINOR, rule.minor),
            )
            if value != ANY
        ]
        for index, (register, value) in enumerate(tests):
            beyond = len(tests) - index - 1 + len(verdict)
            code.append(_op(_IF_DIFFERENT, register, offset=beyond, value=value))
        code += verdict
        if rule.kind == "a":  # nothing gets past it
            return b"".join(code)
    return b"".join(code + _answer(True))


def _verdict(rule: Rule) -> list[bytes]:
    """What a rule that matches decides; falls through if it does not."""
    if rule.access == _FULL:
        return _answer(rule.allow)
    bits = sum(_ACCESSES[access] for access in rule.access)
    if rule.allow:
        return [
            _op(_AND, _ACCESS, value=~bits),
            _op(_IF_DIFFERENT, _ACCESS, offset=2, value=0),
            *_answer(True),
        ]
    return [
        _op(_COPY, _ANSWER, _ACCESS),
        _op(_AND, _ANSWER, value=bits),
        _op(_IF_EQUAL, _ANSWER, offset=2, value=0),
        *_answer(False),
    ]
