"""What `--tmpfs`, `--ulimit`, `--add-host` and `--dns` say, as docker's users write it."""

from auberge.container.clauses import LARGEST_ID, RLIMITS
from auberge.container.config import Rlimit
from auberge.container.light import NamedTuple, Sequence
from auberge.machine.share.volume import Volume, parse_volume
from auberge.refusal import Refusal

UNLIMITED = (1 << 64) - 1
"""RLIM_INFINITY of getrlimit(2)."""
MOST = 256  # entries of hosts(5) that somebody adds
NAME_SERVERS = 3
"""Those that resolv.conf(5) takes (MAXNS)."""
LONGEST_NAME = 253  # of a host in the domain name system
_NAME = frozenset("abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789-._")

FLAGS = frozenset(("ro", "rw", "exec", "noexec", "suid", "nosuid", "nodev", "noatime", "relatime"))
USUAL = ("nosuid", "nodev", "noexec")
"""docker's of a tmpfs. `dev` cannot be said: what is in there is no device."""


class Tmpfs(NamedTuple):
    """A file system in memory, and the options of its mount (mount(2), tmpfs(5))."""

    guest: str
    options: tuple[str, ...]


class Entry(NamedTuple):
    """A line of hosts(5)."""

    name: str
    address: str


def parse_tmpfs(text: str) -> Tmpfs:
    """`PATH[:OPTION,...]`, where PATH has no colon in it; raises Refusal."""
    path, colon, words = text.partition(":")
    if not path.startswith("/") or (colon and not words) or "\0" in text:
        raise Refusal(f"--tmpfs: {text!r}: write PATH or PATH:OPTIONS, as /tmp:size=64m,mode=1777")
    guest = parse_volume(f"/:{path}").guest  # which refuses what no guest can have
    options = words.split(",") if words else []
    for option in options:
        if option not in FLAGS and not _is_data(option):
            raise Refusal(
                f"--tmpfs: {option!r} is no option of a tmpfs here; write ro, exec, suid, noatime, "
                "size=64m, mode=1777, uid=0, gid=0, nr_inodes=1k or nr_blocks=1k"
            )
    return Tmpfs(guest, (*USUAL, *options))


def _is_data(option: str) -> bool:
    key, _, value = option.partition("=")
    if not (value.isascii() and value.isalnum() or (key == "size" and value[-1:] == "%")):
        return False
    match key:
        case "mode":
            return len(value) <= 4 and set(value) <= set("01234567")
        case "uid" | "gid":
            return value.isdecimal() and len(value) <= 10 and int(value) <= LARGEST_ID
        case "size" | "nr_inodes" | "nr_blocks":
            digits = value[:-1] if value[-1] in "kKmMgG%" else value
            return digits.isascii() and digits.isdecimal() and len(digits) <= 15
    return False


def parse_all_tmpfs(texts: Sequence[str], volumes: Sequence[Volume]) -> list[Tmpfs]:
    """All of them; raises Refusal if one is where another is, or a volume."""
    found = [parse_tmpfs(text) for text in texts]
    taken = {volume.guest for volume in volumes}
    for each in found:
        if each.guest in taken:
            raise Refusal(f"--tmpfs: {each.guest}: something else is to be there; leave one out")
        taken.add(each.guest)
    return found


def parse_limit(text: str) -> Rlimit:
    """`NAME=SOFT[:HARD]`, each a number or `unlimited`, which -1 is too; raises Refusal."""
    name, equals, rest = text.partition("=")
    soft, colon, hard = rest.partition(":")
    upper = name.upper().removeprefix("RLIMIT_")
    if upper not in RLIMITS:
        names = ", ".join(known.lower() for known in RLIMITS)
        raise Refusal(f"--ulimit: {name!r} is no limit; write NAME=SOFT:HARD, NAME one of {names}")
    numbers = [_amount(word) for word in ([soft, hard] if colon else [soft, soft])]
    low, high = numbers
    if not equals or low is None or high is None:
        raise Refusal(f"--ulimit: {text!r}: write {name}=SOFT or {name}=SOFT:HARD, as nofile=1024")
    if low > high:
        raise Refusal(f"--ulimit: {text!r}: the soft limit is above the hard one; exchange them")
    return Rlimit(f"RLIMIT_{upper}", low, high)


def _amount(text: str) -> int | None:
    if text in ("-1", "unlimited"):
        return UNLIMITED
    number = int(text) if text.isascii() and text.isdecimal() and len(text) <= 20 else -1
    return number if 0 <= number <= UNLIMITED else None


def parse_limits(texts: Sequence[str]) -> list[Rlimit]:
    """All of them; of one that is there twice, the last, as docker has it."""
    return list({limit.type: limit for limit in map(parse_limit, texts)}.values())


def parse_host(text: str) -> Entry:
    """`NAME:ADDRESS` or `NAME=ADDRESS`, an address of IPv6 perhaps in brackets; raises Refusal."""
    name = text[: min((text.find(sign) for sign in ":=" if sign in text), default=0)]
    address = text[len(name) + 1 :].removeprefix("[").removesuffix("]")
    if not name or len(name) > LONGEST_NAME or not _NAME.issuperset(name):
        raise Refusal(f"--add-host: {text!r}: write NAME:ADDRESS, as db:10.0.0.5")
    return Entry(name, _address(address, "--add-host"))


def parse_hosts(texts: Sequence[str]) -> list[Entry]:
    """All of them."""
    if len(texts) > MOST:
        raise Refusal(f"--add-host: {len(texts)} times; {MOST} is the most, show a file with -v")
    return [parse_host(text) for text in texts]


def parse_servers(texts: Sequence[str]) -> list[str]:
    """Addresses of name servers; raises Refusal."""
    if len(texts) > NAME_SERVERS:
        raise Refusal(f"--dns: {len(texts)} times; resolv.conf(5) takes {NAME_SERVERS}, leave out")
    return [_address(text, "--dns") for text in texts]


def _address(text: str, where: str) -> str:
    import ipaddress

    try:
        if not _NAME.union(":%").issuperset(text):  # of IPv6, a scope may be anything
            raise ValueError
        return str(ipaddress.ip_address(text))
    except ValueError:
        raise Refusal(f"{where}: {text!r} is no address; write one, as 10.0.0.5") from None
