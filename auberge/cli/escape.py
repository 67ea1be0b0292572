"""Ctrl-A: the one key that speaks to Auberge and not to the guest."""

CTRL_A = 0x01
LEAVE = ord("x")
HELP = ord("h")

LEGEND = (
    "\r\n"
    "Ctrl-A X       leave: stop the guest\r\n"
    "Ctrl-A A       send Ctrl-A to the guest (Ctrl-A Ctrl-A too)\r\n"
    "Ctrl-A H       show this\r\n"
)


class Escape:
    """Splits what is typed into what the guest gets and what is for us, as QEMU's keys do.

    The key after Ctrl-A may come in a later read. A key that means nothing after Ctrl-A is dropped.
    """

    __slots__ = ("_armed",)

    def __init__(self) -> None:
        self._armed = False

    def split(self, typed: bytes) -> tuple[bytes, bytes]:
        """For the guest; for us, of which each byte is `LEAVE` or `HELP`."""
        if not self._armed and CTRL_A not in typed:
            return typed, b""
        guest, ours = bytearray(), bytearray()
        for key in typed:
            if not self._armed:
                if key == CTRL_A:
                    self._armed = True
                else:
                    guest.append(key)
                continue
            self._armed = False
            if key in b"aA\x01":
                guest.append(CTRL_A)
            elif key in b"xX":
                ours.append(LEAVE)
            elif key in b"hH?":
                ours.append(HELP)
        return bytes(guest), bytes(ours)
