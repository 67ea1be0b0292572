"""What a guest is to be: what `auberge run` says, in values that JSON can hold.

A supervisor keeps them in the guest's record (`written`, `read_options`), so that another one can
make the same guest again. They are words as a user writes them, already seen to be good ones.
"""

from auberge.container.light import NamedTuple, Sequence
from auberge.machine.net.forward import Forward, parse_forward
from auberge.machine.share.volume import Volume, parse_volumes
from auberge.monitor.names import check_name
from auberge.refusal import Refusal

CONTAINER, MACHINE = "container", "machine"
ISOLATIONS = (CONTAINER, MACHINE)
NETWORKS = ("none", "host", "user", "bridge")
LONGEST_HOSTNAME = 64
UNITS = "KMGT"
PERIOD = 100_000
"""Microseconds in which a guest has its quota of processors: the kernel's usual."""

_HEX = frozenset("0123456789abcdef")
_HOST = frozenset("abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789-.")


class Options(NamedTuple):
    """One guest. Empty or 0 is what the image says, or no limit."""

    id: str  # 64 hexadecimal digits that no other guest has (guests.fresh_id)
    image: str  # NAME or NAME:ARCH
    command: tuple[str, ...] = ()  # instead of the image's; its entry point stays
    name: str = ""
    isolation: str = ""  # container or machine; empty is chosen by the image's architecture
    env: tuple[str, ...] = ()  # NAME=VALUE
    cwd: str = ""
    user: str = ""  # USER[:GROUP], names or numbers
    volumes: tuple[str, ...] = ()  # HOST:GUEST[:ro], HOST being absolute
    memory: int = 0  # bytes
    millicpus: int = 0  # thousandths of a processor
    pids: int = 0
    net: str = ""  # none, host, bridge, or user: the best that this user can have; empty is that
    ports: tuple[str, ...] = ()  # [ADDRESS:]HOST:GUEST[/udp]
    hostname: str = ""  # else the first twelve digits of the id
    read_only: bool = False
    cap_add: tuple[str, ...] = ()  # CAP_NAME, or ALL
    cap_drop: tuple[str, ...] = ()
    labels: dict[str, str] = {}
    terminal: bool = False  # its streams are one terminal
    interactive: bool = False  # its standard input is somebody's
    remove: bool = False  # with its end
    sparing: bool = False  # nothing that costs time and is not asked for: fewer cgroups of v1
    entrypoint: tuple[str, ...] = ()  # instead of the image's, and then of its command; ("",): none
    stop_signal: str = ""  # as TERM
    tmpfs: tuple[str, ...] = ()  # PATH[:OPTION,...]
    ulimits: tuple[str, ...] = ()  # NAME=SOFT[:HARD]
    hosts: tuple[str, ...] = ()  # NAME:ADDRESS, for /etc/hosts
    dns: tuple[str, ...] = ()  # addresses, for /etc/resolv.conf


NEWER = frozenset(("entrypoint", "stop_signal", "tmpfs", "ulimits", "hosts", "dns"))
"""What records of guests that were made by earlier versions do not have."""


def check(options: Options) -> Options:
    """The options themselves; raises Refusal for what can be seen to be wrong without the image."""
    if len(options.id) != 64 or not _HEX.issuperset(options.id):
        raise Refusal(f"id: {options.id!r} is not 64 hexadecimal digits; leave it to Auberge")
    if options.name:
        check_name(options.name)
    if options.isolation and options.isolation not in ISOLATIONS:
        raise Refusal(
            f"--isolation: {options.isolation!r}: not for images; write one of "
            f"{', '.join(ISOLATIONS)}"
        )
    _check_texts(options)
    for text in options.env:
        if text.find("=") < 1:
            raise Refusal(f"-e: {text!r} is not NAME=VALUE; write it so")
    if options.cwd and not options.cwd.startswith("/"):
        raise Refusal(f"-w: {options.cwd!r} is not absolute; write /{options.cwd}")
    volumes(options)
    _check_network(options)
    _check_settings(options)
    for what, number in (
        ("--memory", options.memory), ("--cpus", options.millicpus), ("--pids", options.pids)
    ):  # fmt: skip
        if not 0 <= number < 1 << 62:
            raise Refusal(f"{what}: {number} is no limit; write more than 0, or leave it out")
    name = options.hostname
    if len(name) > LONGEST_HOSTNAME or not _HOST.issuperset(name) or name[:1] in ("-", "."):
        raise Refusal(
            f"--hostname: {name!r} is no name; write up to {LONGEST_HOSTNAME} letters, digits, "
            "'-' and '.'"
        )
    return options._replace(cap_add=capabilities(options.cap_add, "--cap-add"),
                            cap_drop=capabilities(options.cap_drop, "--cap-drop"))  # fmt: skip


def _check_texts(options: Options) -> None:
    """System calls take no NUL."""
    words = (
        *options.command, *options.entrypoint, *options.env, options.cwd, options.user,
        *options.volumes,
    )  # fmt: skip
    for text in words:
        if "\0" in text:
            raise Refusal(f"{text!r}: has a NUL in it; take it out")


def _check_network(options: Options) -> None:
    if options.net and options.net not in NETWORKS:
        raise Refusal(f"--net: {options.net!r} is no network; write none, host or user")
    found = forwards(options)
    if found and options.net in ("none", "host"):
        raise Refusal(
            f"ports: {found[0]}: with --net {options.net} no port is forwarded; "
            "use --net user, or leave it out"
        )


def _check_settings(options: Options) -> None:
    if options.stop_signal:
        from auberge.container.signals import signal_number

        signal_number(options.stop_signal)
    if options.tmpfs or options.ulimits or options.hosts or options.dns:
        from auberge.monitor import settings

        settings.parse_all_tmpfs(options.tmpfs, volumes(options))
        settings.parse_limits(options.ulimits)
        settings.parse_hosts(options.hosts)
        settings.parse_servers(options.dns)


def check_machine(options: Options) -> None:
    """Raises Refusal for what a machine cannot do."""
    for what, given in (
        ("--tmpfs", options.tmpfs), ("--ulimit", options.ulimits), ("--add-host", options.hosts),
        ("--dns", options.dns),
    ):  # fmt: skip
        if given:
            raise Refusal(
                f"{what}: {given[0]}: a machine cannot be told that; leave it out, or use "
                "--isolation container"
            )


def bytes_of(size: str | int, where: str = "--memory") -> int:
    """How many bytes `256M` or `1g` is; raises Refusal."""
    text = str(size).upper().removesuffix("B")
    digits, unit = (text[:-1], text[-1]) if text and text[-1] in UNITS else (text, "")
    if not (digits.isascii() and digits.isdecimal()) or len(digits) > 15 or not int(digits):
        raise Refusal(f"{where}: {size!r} is not a size; write it as 256M or 2G")
    return int(digits) << 10 * (UNITS.index(unit) + 1 if unit else 0)


def millicpus_of(cpus: str | float, where: str = "--cpus") -> int:
    """Thousandths of a processor; raises Refusal for what is no number of processors."""
    try:
        number = float(cpus)
    except ValueError:
        number = 0.0
    if not 0.01 <= number <= 1 << 16:
        raise Refusal(f"{where}: {cpus!r} is no number of processors; write 1.5, or 0.01 at least")
    return round(number * 1000)


def cpu_quota(millicpus: int) -> int:
    """Microseconds in each PERIOD; never less than the kernel takes (cgroup-v2.rst, "cpu.max")."""
    return max(1000, millicpus * PERIOD // 1000)


def capabilities(names: Sequence[str], where: str) -> tuple[str, ...]:
    """Capabilities as capabilities(7) writes them, from `NET_ADMIN`, `cap_net_admin` or `ALL`."""
    from auberge.container.clauses import CAPABILITIES

    found = []
    for name in names:
        upper = name.upper().removeprefix("CAP_")
        if upper != "ALL" and upper not in CAPABILITIES:
            raise Refusal(f"{where}: {name!r} is no capability; see capabilities(7), or write ALL")
        found.append(upper if upper == "ALL" else f"CAP_{upper}")
    return tuple(found)


def volumes(options: Options) -> list[Volume]:
    """The volumes, in the order in which they are mounted."""
    return parse_volumes(options.volumes) if options.volumes else []


def forwards(options: Options) -> tuple[Forward, ...]:
    """The ports of the host that lead to the guest."""
    return tuple(parse_forward(text) for text in options.ports)


# -- as JSON --------------------------------------------------------------------------------------


def written(options: Options) -> dict[str, object]:
    """The options as JSON holds them."""
    return options._asdict()


def read_options(values: object) -> Options:
    """Options that were written; raises Refusal for what was not."""
    damaged = Refusal("guest: its options are damaged; remove it with `auberge rm -f`")
    if not isinstance(values, dict) or not {*Options._fields} - NEWER <= {*values}:
        raise damaged
    if not {*values} <= {*Options._fields}:
        raise damaged
    model = Options("", "")
    given = {**model._asdict(), **values}
    found = {}
    for field, usual in model._asdict().items():
        value = given[field]
        if isinstance(usual, tuple):
            if not isinstance(value, list | tuple) or not all(isinstance(t, str) for t in value):
                raise damaged
            value = tuple(value)
        elif isinstance(usual, dict):
            if not isinstance(value, dict) or not all(isinstance(t, str) for t in value.values()):
                raise damaged
        elif type(value) is not type(usual):
            raise damaged
        found[field] = value
    return check(Options(**found))
