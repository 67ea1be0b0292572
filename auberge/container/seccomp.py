"""`linux.seccomp` of config.json as a program that the kernel runs before each system call.

config-linux.md, "Seccomp", says what a profile means; libseccomp makes the program. That takes some
milliseconds, so programs are kept: in this process, and in a folder that may be named.
"""

import os
from binascii import crc32
from errno import ENOSYS, EPERM
from struct import Struct

from auberge.container import kernel as k
from auberge.container.config import Seccomp, SeccompSyscall, SyscallArg
from auberge.container.light import NamedTuple
from auberge.container.listener import NOTIFY, WHERE, asks
from auberge.container.seccomp_library import ACTIONS, UNKNOWN, FilterContext, Library
from auberge.refusal import Refusal, reason

FLAGS = {
    "SECCOMP_FILTER_FLAG_TSYNC": k.SECCOMP_FILTER_FLAG_TSYNC,
    "SECCOMP_FILTER_FLAG_LOG": k.SECCOMP_FILTER_FLAG_LOG,
    "SECCOMP_FILTER_FLAG_SPEC_ALLOW": k.SECCOMP_FILTER_FLAG_SPEC_ALLOW,
    "SECCOMP_FILTER_FLAG_WAIT_KILLABLE_RECV": k.SECCOMP_FILTER_FLAG_WAIT_KILLABLE_RECV,
}
"""seccomp(2), linux/seccomp.h."""

LONGEST = 4096
"""BPF_MAXINSNS: more instructions the kernel does not take."""

_INSTRUCTION = Struct("=HBBI")  # struct sock_filter: code, jt, jf, k
_WITH_ERRNO = ("SCMP_ACT_ERRNO", "SCMP_ACT_TRACE")
_REFUSING = ("SCMP_ACT_ERRNO", "SCMP_ACT_KILL", "SCMP_ACT_KILL_THREAD", "SCMP_ACT_KILL_PROCESS")
_MOST_KEPT = 16


class Filter(NamedTuple):
    """What seccomp(2) SECCOMP_SET_MODE_FILTER takes; `listener` is where the descriptor of a filter
    that notifies has to be sent."""

    program: bytes
    flags: int = 0
    listener: str | None = None
    metadata: str = ""


_kept: dict[Seccomp, Filter] = {}


def compile_filter(profile: Seccomp, cache: str | None = None) -> Filter:
    """The filter of a profile; `cache` is a folder for what is made. Raises Refusal."""
    found = _kept.get(profile)
    if found is None:
        found = Filter(
            _program(profile, cache),
            sum(FLAGS[flag] for flag in set(profile.flags)),
            _listener(profile),
            profile.listener_metadata or "",
        )
        if len(_kept) >= _MOST_KEPT:
            _kept.clear()
        _kept[profile] = found
    return found


def kernel_flags(flags: int, asks: bool) -> int:
    """The flags of a profile as the kernel takes them, with a listener or without (seccomp(2))."""
    if not asks:  # EINVAL otherwise: nobody receives
        return flags & ~k.SECCOMP_FILTER_FLAG_WAIT_KILLABLE_RECV
    if flags & k.SECCOMP_FILTER_FLAG_TSYNC:  # its result would be a thread or a descriptor
        flags |= k.SECCOMP_FILTER_FLAG_TSYNC_ESRCH
    return flags | k.SECCOMP_FILTER_FLAG_NEW_LISTENER


def _listener(profile: Seccomp) -> str | None:
    """Where a descriptor goes; only if the profile has a use for one, and then it must."""
    if not asks(profile):
        if profile.listener_metadata and not profile.listener_path:
            raise Refusal(
                f"config.json: {WHERE}.listenerMetadata: there is no listener; give listenerPath"
            )
        return None
    if not profile.listener_path:
        raise Refusal(
            f"config.json: {WHERE}.listenerPath: {NOTIFY} needs a listener; give the path of its "
            "socket"
        )
    _check_sendmsg(profile)
    return profile.listener_path


def _check_sendmsg(profile: Seccomp) -> None:
    """The container's process sends its listener itself: nobody could take it out of a process that
    hides (PR_SET_DUMPABLE) without being root over the host. No agent has it then."""
    actions = {rule.action for rule in profile.syscalls if "sendmsg" in rule.names}
    if not (actions or {profile.default_action}) & {"SCMP_ACT_ALLOW", "SCMP_ACT_LOG"}:
        raise Refusal(
            f"config.json: {WHERE}: {NOTIFY} needs sendmsg(2) for the listener to be sent; give "
            "'sendmsg' the action SCMP_ACT_ALLOW"
        )


# -- kept on disk ---------------------------------------------------------------------------------


def _program(profile: Seccomp, cache: str | None) -> bytes:
    if cache is None:
        return make_program(profile)
    # The whole profile stands in the file, so a name that two profiles share does no harm.
    key = f"1 {os.uname().machine} {profile!r}\n".encode("utf-8", "surrogateescape")
    path = os.path.join(cache, f"seccomp-{crc32(key):08x}")
    try:
        with open(path, "rb") as file:
            data = file.read()
    except OSError:
        data = b""
    program = data[len(key) :]
    if data.startswith(key) and program and len(program) % _INSTRUCTION.size == 0:
        return program
    program = make_program(profile)
    temporary = f"{path}.{os.getpid()}"
    try:
        os.makedirs(cache, mode=0o700, exist_ok=True)
        with open(temporary, "xb") as file:
            file.write(key + program)
        os.rename(temporary, path)
    except OSError:
        pass  # then it is made again next time
    return program


# -- made -----------------------------------------------------------------------------------------


def make_program(profile: Seccomp) -> bytes:
    """The instructions of classic BPF for a profile; raises Refusal."""
    library = Library()
    default = _action(profile.default_action, profile.default_errno_ret, f"{WHERE}.default")
    if profile.default_action == NOTIFY:
        raise Refusal(
            f"config.json: {WHERE}.defaultAction: {NOTIFY} would ask about the calls that start "
            "the container; give it to some system calls only"
        )
    architectures = [library.native()]
    with library.filter(default) as context:
        for index, name in enumerate(profile.architectures):
            token = library.architecture(name.removeprefix("SCMP_ARCH_").lower())
            if token is None or not name.startswith("SCMP_ARCH_"):
                raise Refusal(
                    f"config.json: {WHERE}.architectures[{index}]: libseccomp does not know "
                    f"{name!r}; write a name such as 'SCMP_ARCH_X86_64'"
                )
            context.add_architecture(token)
            architectures.append(token)
        for index, rule in enumerate(profile.syscalls):
            _add(library, context, rule, default, f"{WHERE}.syscalls[{index}]")
        try:
            program = context.export()
        except OSError as error:
            raise _unmade(WHERE, error) from None
    program = _newer(library, profile, dict.fromkeys(architectures)) + program
    count = len(program) // _INSTRUCTION.size
    if count > LONGEST:
        raise Refusal(
            f"config.json: {WHERE}: the profile makes {count} instructions, and the kernel takes "
            f"{LONGEST}; write fewer rules"
        )
    return program


def _action(name: str, errno: int | None, where: str) -> int:
    """SCMP_ACT_*; "when the action doesn't support an errno, the runtime MUST ... fail"."""
    if name not in _WITH_ERRNO:
        if errno is not None:
            field = "ErrnoRet" if where.endswith("default") else ".errnoRet"
            raise Refusal(f"config.json: {where}{field}: {name} has no errno; leave it out")
        return ACTIONS[name]
    return ACTIONS[name] | ((EPERM if errno is None else errno) & 0xFFFF)


def _add(
    library: Library, context: FilterContext, rule: SeccompSyscall, default: int, where: str
) -> None:
    action = _action(rule.action, rule.errno_ret, where)
    for index, condition in enumerate(rule.args):
        if condition.index_ > 5:
            raise Refusal(
                f"config.json: {where}.args[{index}].index: a system call has six arguments; write "
                "a number from 0 to 5"
            )
    for name in rule.names:
        # What tells us of a failure, too; runc and crun refuse it as well.
        if rule.action == NOTIFY and name == "write":
            raise Refusal(
                f"config.json: {where}.names: {NOTIFY} cannot be for 'write', which starts the "
                "container; leave it out"
            )
        number = library.number(library.native(), name)
        if number == UNKNOWN or action == default:
            continue  # a profile is written for many kernels and libraries
        try:
            for conditions in _alternatives(rule.args):
                context.add_rule(action, number, conditions)
        except OSError as error:
            raise _unmade(f"{where} ({name})", error) from None


def _alternatives(args: tuple[SyscallArg, ...]) -> list[tuple[SyscallArg, ...]]:
    """Conditions on different arguments must all hold; of two on the same argument, one must:
    libseccomp compares an argument once in a rule, and so this is what runc and crun do."""
    if len({condition.index_ for condition in args}) == len(args):
        return [args]
    return [(condition,) for condition in args]


def _unmade(where: str, error: OSError) -> Refusal:
    return Refusal(f"config.json: {where}: libseccomp refuses: {reason(error)}; change the rule")


# -- system calls that came later -----------------------------------------------------------------

# linux/bpf_common.h, struct seccomp_data
_LOAD, _IF_EQUAL, _IF_GREATER, _RETURN = 0x20, 0x15, 0x25, 0x06
_NUMBER_AT, _ARCHITECTURE_AT = 0, 4
_X32 = 0x4000_0000


def _newer(library: Library, profile: Seccomp, architectures: dict[int, None]) -> bytes:
    """Instructions that say ENOSYS, "there is no such call", to calls with numbers beyond all that
    the profile names, where it would say EPERM: its author could not know them, and a C library
    falls back to an older call only when told so. (runc does the same.)"""
    if profile.default_action not in _REFUSING or profile.default_errno_ret is not None:
        return b""
    names = [name for rule in profile.syscalls for name in rule.names]
    code: list[bytes] = []
    for token in architectures:
        last = max((library.number(token, name) for name in names), default=UNKNOWN)
        if last < 0 or last >= _X32:
            continue
        code += [
            _INSTRUCTION.pack(_LOAD, 0, 0, _ARCHITECTURE_AT),
            _INSTRUCTION.pack(_IF_EQUAL, 0, 4, token),
            _INSTRUCTION.pack(_LOAD, 0, 0, _NUMBER_AT),
            _INSTRUCTION.pack(_IF_GREATER, 2, 0, _X32 - 1),  # the filter's own business
            _INSTRUCTION.pack(_IF_GREATER, 0, 1, last),
            _INSTRUCTION.pack(_RETURN, 0, 0, ACTIONS["SCMP_ACT_ERRNO"] | ENOSYS),
        ]
    return b"".join(code)
