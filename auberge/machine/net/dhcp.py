"""The DHCP server of a network with one guest (RFC 2131, 2132)."""

from struct import Struct

_MESSAGE = Struct("!BBBBIHH4s4s4s4s16s64s128s4s")
_COOKIE = b"\x63\x82\x53\x63"

SERVER_PORT, CLIENT_PORT = 67, 68
BOOTREQUEST, BOOTREPLY = 1, 2

DISCOVER, OFFER, REQUEST, DECLINE, ACK, NAK, RELEASE, INFORM = range(1, 9)

# RFC 2132
PAD, END = 0, 255
SUBNET_MASK, ROUTER, DOMAIN_NAME_SERVER, INTERFACE_MTU = 1, 3, 6, 26
REQUESTED_ADDRESS, LEASE_TIME, MESSAGE_TYPE, SERVER_IDENTIFIER = 50, 51, 53, 54

LEASE = 86400
_SHORTEST = 300  # RFC 1542, 2.1: of a BOOTP message


class Network:
    """The addresses that a guest is told."""

    __slots__ = ("dns", "gateway", "guest", "mask")

    def __init__(self, guest: bytes, gateway: bytes, dns: bytes, mask: bytes) -> None:
        self.guest = guest
        self.gateway = gateway
        self.dns = dns
        self.mask = mask


def options(data: bytes) -> dict[int, bytes]:
    """The options of a message, as far as they are whole."""
    found: dict[int, bytes] = {}
    at = 0
    while at < len(data) and data[at] != END:
        if data[at] == PAD:
            at += 1
            continue
        if at + 2 > len(data) or at + 2 + data[at + 1] > len(data):
            break
        found[data[at]] = data[at + 2 : at + 2 + data[at + 1]]
        at += 2 + data[at + 1]
    return found


def answer(request: bytes, network: Network, mtu: int) -> tuple[bytes, bytes] | None:
    """The reply to a client's message and the address it goes to; None if there is no reply."""
    if len(request) < _MESSAGE.size:
        return None
    message = _MESSAGE.unpack_from(request)
    (op, hardware, size, _, xid, _, flags, ciaddr, _, _, _, chaddr, _, _, cookie) = message
    if op != BOOTREQUEST or hardware != 1 or size != 6 or cookie != _COOKIE:
        return None
    asked = options(request[_MESSAGE.size :])
    kind = asked.get(MESSAGE_TYPE, b"\0")[:1]
    wanted = asked.get(REQUESTED_ADDRESS, ciaddr)
    address = network.guest
    if kind == bytes([DISCOVER]):
        reply = OFFER
    elif kind == bytes([INFORM]):
        reply, address = ACK, bytes(4)  # RFC 2131, 4.3.5: it has one already
    elif kind != bytes([REQUEST]) or asked.get(SERVER_IDENTIFIER, network.gateway) != (
        network.gateway
    ):
        return None
    elif wanted == network.guest:
        reply = ACK
    else:
        reply, address = NAK, bytes(4)
    told = [(MESSAGE_TYPE, bytes([reply])), (SERVER_IDENTIFIER, network.gateway)]
    if reply != NAK:
        told += [
            (SUBNET_MASK, network.mask),
            (ROUTER, network.gateway),
            (DOMAIN_NAME_SERVER, network.dns),
            (INTERFACE_MTU, mtu.to_bytes(2, "big")),
        ]
        if kind != bytes([INFORM]):
            told.append((LEASE_TIME, LEASE.to_bytes(4, "big")))
    known = ciaddr if reply != NAK else bytes(4)
    head = _MESSAGE.pack(
        BOOTREPLY, 1, 6, 0, xid, 0, flags, known, address, bytes(4), bytes(4),
        chaddr, bytes(64), bytes(128), _COOKIE,
    )  # fmt: skip
    body = b"".join(bytes([code, len(value)]) + value for code, value in told)
    packet = (head + body + bytes([END])).ljust(_SHORTEST, b"\0")
    # RFC 2131, 4.1: to the address that the client has, else to all (it can't be asked by ARP)
    return packet, network.guest if known == network.guest else b"\xff" * 4
