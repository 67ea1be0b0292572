"""What `-p` says: which port of the host leads to which of the guest."""

from typing import NamedTuple

from auberge.refusal import Refusal

LOOPBACK = "127.0.0.1"


class Forward(NamedTuple):
    """`address`:`host` on the host leads to port `guest`, by TCP or else UDP."""

    address: str
    host: int
    guest: int
    udp: bool

    def __str__(self) -> str:
        return f"{self.address}:{self.host}:{self.guest}{'/udp' if self.udp else ''}"


def parse_forward(text: str) -> Forward:
    """`[HOSTADDR:]HOST:GUEST[/udp]`; the host's port is opened on the loopback address alone
    unless another is named; port 0 is any free one."""
    ports, slash, protocol = text.partition("/")
    fields = ports.split(":")
    if len(fields) == 2:
        fields.insert(0, LOOPBACK)
    if (
        len(fields) != 3
        or not (_is_address(fields[0]) and _is_port(fields[1], 0) and _is_port(fields[2], 1))
        or protocol not in (("tcp", "udp") if slash else ("",))
    ):
        raise Refusal(
            f"ports: {text!r} is no forward; write HOST:GUEST, ADDRESS:HOST:GUEST, or /udp after it"
        )
    return Forward(fields[0], int(fields[1]), int(fields[2]), protocol == "udp")


def _is_port(text: str, least: int) -> bool:
    return text.isascii() and text.isdecimal() and len(text) < 6 and least <= int(text) <= 0xFFFF


def _is_address(text: str) -> bool:
    parts = text.split(".")
    return len(parts) == 4 and all(_is_port(part, 0) and int(part) < 256 for part in parts)
