"""Which servers of names a container asks (resolv.conf(5))."""

_RESOLVED = "/run/systemd/resolve/resolv.conf"
"""Where systemd-resolved(8) has the servers that it asks itself."""


def resolv_conf(path: str = "/etc/resolv.conf", resolved: str = _RESOLVED) -> str:
    """What a container's /etc/resolv.conf has to say (resolv.conf(5)): the host's servers, but for
    those on its loopback, which a container cannot reach."""
    text = _without_loopback(path)
    if "nameserver" not in text:
        text = _without_loopback(resolved) or text
    return text


def _without_loopback(path: str) -> str:
    try:
        with open(path) as file:
            lines = file.read().splitlines(keepends=True)
    except OSError:
        return ""
    return "".join(line for line in lines if not _is_on_loopback(line.split()))


def _is_on_loopback(words: list[str]) -> bool:
    return words[:1] == ["nameserver"] and words[1:2] != [] and (
        words[1].startswith("127.") or words[1] == "::1"
    )  # fmt: skip
