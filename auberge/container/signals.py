"""Signals by name or number, as users and images write them (signal(7))."""

from auberge.refusal import Refusal

SIGTERM, LARGEST = 15, 64


def signal_number(text: str) -> int:
    """A signal by number, `KILL`, `SIGKILL` or `SIGRTMIN+3`; raises Refusal."""
    import signal

    if text.isascii() and text.isdigit() and len(text) < 3 and 0 < int(text) <= LARGEST:
        return int(text)
    name = text.upper().removeprefix("SIG")
    sign = "+" if name.startswith("RTMIN+") else "-" if name.startswith("RTMAX-") else ""
    base, _, more = name.partition(sign) if sign else (name, "", "0")
    for number in signal.valid_signals():
        if isinstance(number, signal.Signals) and number.name == f"SIG{base}":
            if not (more.isascii() and more.isdigit() and len(more) < 3):
                break
            found = number + int(f"{sign}{more}")
            if signal.SIGRTMIN <= found <= signal.SIGRTMAX or not sign:
                return found
    raise Refusal(f"{text}: no such signal; write one of signal(7), such as TERM")


def stop_number(text: str) -> int:
    """The same of what an image says ends its program; TERM, as docker has it, if that is none."""
    try:
        return signal_number(text)
    except Refusal:
        return SIGTERM
