"""What a value of config.json may be like: a function of the value, saying what is wrong with it.

Each returns the complaint, `what; what to do`, or None. They stand in the types of config.py.
"""

from auberge.container.light import Annotated, Callable, Sized

CAPABILITIES = (
    "CHOWN", "DAC_OVERRIDE", "DAC_READ_SEARCH", "FOWNER", "FSETID", "KILL", "SETGID", "SETUID",
    "SETPCAP", "LINUX_IMMUTABLE", "NET_BIND_SERVICE", "NET_BROADCAST", "NET_ADMIN", "NET_RAW",
    "IPC_LOCK", "IPC_OWNER", "SYS_MODULE", "SYS_RAWIO", "SYS_CHROOT", "SYS_PTRACE", "SYS_PACCT",
    "SYS_ADMIN", "SYS_BOOT", "SYS_NICE", "SYS_RESOURCE", "SYS_TIME", "SYS_TTY_CONFIG", "MKNOD",
    "LEASE", "AUDIT_WRITE", "AUDIT_CONTROL", "SETFCAP", "MAC_OVERRIDE", "MAC_ADMIN", "SYSLOG",
    "WAKE_ALARM", "BLOCK_SUSPEND", "AUDIT_READ", "PERFMON", "BPF", "CHECKPOINT_RESTORE",
)  # fmt: skip
"""capabilities(7) by their numbers (linux/capability.h)."""

RLIMITS = (
    "CPU", "FSIZE", "DATA", "STACK", "CORE", "RSS", "NPROC", "NOFILE", "MEMLOCK", "AS", "LOCKS",
    "SIGPENDING", "MSGQUEUE", "NICE", "RTPRIO", "RTTIME",
)  # fmt: skip
"""getrlimit(2) by their numbers (asm-generic/resource.h)."""


def between(low: int, high: int) -> Callable[[int], str | None]:
    """A whole number of that range."""

    def complaint(value: int) -> str | None:
        if low <= value <= high:
            return None
        return f"{value} is out of range; write a number from {low} to {high}"

    return complaint


U16 = Annotated[int, between(0, 0xFFFF)]
U32 = Annotated[int, between(0, 0xFFFF_FFFF)]
U64 = Annotated[int, between(0, 0xFFFF_FFFF_FFFF_FFFF)]
LARGEST_ID = 0xFFFF_FFFE
"""-1 is "leave it as it is" to setresuid(2): whoever asks for that user would be root."""
Id = Annotated[int, between(0, LARGEST_ID)]
I32 = Annotated[int, between(-(1 << 31), (1 << 31) - 1)]
I64 = Annotated[int, between(-(1 << 63), (1 << 63) - 1)]


def without_nul(text: str) -> str | None:
    """The kernel's strings end at a NUL byte, and are bytes."""
    if "\0" in text:
        return f"{text!r} has a NUL character; take it out"
    try:
        text.encode("utf-8", "surrogateescape")
    except UnicodeEncodeError:
        return f"{text!r} has half a surrogate pair; write UTF-8"
    return None


def absolute(path: str) -> str | None:
    """A path from the root."""
    return None if path.startswith("/") else f"{path!r} is not absolute; write {'/' + path!r}"


def program(path: str) -> str | None:
    """Some path."""
    return None if path else "empty; write a path"


def namespace_path(path: str) -> str | None:
    """config-linux.md, "Namespaces": "This value MUST be an absolute path"; empty means new."""
    return absolute(path) if path else None


def not_empty(value: Sized) -> str | None:
    """At least one."""
    return None if len(value) else "empty; give at least one"


def positive(seconds: int) -> str | None:
    """config.md, "POSIX-platform Hooks": "If set, timeout MUST be greater than zero"."""
    return None if seconds > 0 else f"{seconds} is not greater than zero; write seconds, from 1"


def capability(name: str) -> str | None:
    """capabilities(7), as `CAP_CHOWN`."""
    if name.startswith("CAP_") and name[4:] in CAPABILITIES:
        return None
    return f"{name!r} is no capability; write one of capabilities(7), such as 'CAP_CHOWN'"


def rlimit_number(name: str) -> int:
    """The kernel's number of a limit that `rlimit_name` has no complaint about."""
    return RLIMITS.index(name.removeprefix("RLIMIT_"))


def rlimit_name(name: str) -> str | None:
    """getrlimit(2), as `RLIMIT_NOFILE`."""
    if name.startswith("RLIMIT_") and name[7:] in RLIMITS:
        return None
    return f"{name!r} is no resource limit; write one of getrlimit(2), such as 'RLIMIT_NOFILE'"


LONGEST_NAME = 255
"""NAME_MAX of limits.h, in bytes."""
_PAGE = 4096  # as much as the kernel takes of a schemata file in one write
_OWN = ("info", "mon_groups", "mon_data")
_NAMES = frozenset("ABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789_")
_DIGITS = frozenset("0123456789")
_HEX = _DIGITS | frozenset("abcdefABCDEF")
BANDWIDTHS = ("MB", "SMBA")
"""Resources whose values are decimal numbers; of the others, which are caches, bit masks."""


def class_of_service(name: str) -> str | None:
    """A folder of resctrl's root (resctrl.rst, "Resource alloc and monitor groups"); empty is
    none."""
    if "/" in name or name in (".", ".."):
        return f"{name!r} is not the name of one folder; write it without '/'"
    if name in _OWN:
        return f"{name!r} is the kernel's own folder; choose another name"
    if name and not name.isprintable():
        return f"{name!r} has characters that cannot be printed; take them out"
    if len(name.encode("utf-8", "surrogateescape")) > LONGEST_NAME:
        return f"longer than {LONGEST_NAME} bytes; shorten it"
    return None


def cache_schema(text: str) -> str | None:
    """Lines of a schemata file (resctrl.rst, "Schemata files - general concepts"); empty is
    none."""
    if len(text) >= _PAGE:
        return f"longer than {_PAGE - 1} characters; shorten it"
    return next(filter(None, map(_schema_line, filter(None, text.split("\n")))), None)


def bandwidth_schema(text: str) -> str | None:
    """config-linux.md, "IntelRdt": "The value MUST start with `MB:` and MUST NOT contain
    newlines"; empty is none."""
    if "\n" in text:
        return f"{text!r} has a newline; write one line, as 'MB:0=20;1=70'"
    if text and not text.startswith("MB:"):
        return f"{text!r} does not start with 'MB:'; write as 'MB:0=20;1=70'"
    return cache_schema(text)


def _schema_line(line: str) -> str | None:
    """`NAME:DOMAIN=VALUE;DOMAIN=VALUE`, and nothing else: the kernel takes no spaces either."""
    name, _, rest = line.partition(":")
    digits = _DIGITS if name in BANDWIDTHS else _HEX
    example = "MB:0=20;1=70" if name in BANDWIDTHS else "L3:0=7f0;1=1f"
    settings = [part.partition("=") for part in rest.removesuffix(";").split(";")]
    if (
        name and _NAMES.issuperset(name)
        and all(d and v and _DIGITS.issuperset(d) and digits.issuperset(v) for d, _, v in settings)
    ):  # fmt: skip
        return None
    return f"{line!r} is no line of a schemata file; write as {example!r}"
