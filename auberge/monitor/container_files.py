"""Files of a container's /etc that no image can know: hosts(5), hostname(5), resolv.conf(5)."""

import os

from auberge.container.network_resolver import resolv_conf
from auberge.monitor.container_config import FILES, hostname
from auberge.monitor.options import Options

HOSTS = "127.0.0.1\tlocalhost\n::1\tlocalhost ip6-localhost ip6-loopback\n"


def write_files(folder: str, options: Options, net: str) -> None:
    """Write them for a container that is about to start."""
    os.makedirs(folder, exist_ok=True)
    name = hostname(options)
    if net == "host":
        texts = (_text("/etc/hosts") or HOSTS, f"{name}\n", _text("/etc/resolv.conf"))
    else:
        own = f"127.0.0.1\t{name}\n" if net == "none" else ""
        texts = (HOSTS + own, f"{name}\n", resolv_conf())
    for file, text in zip(FILES, texts, strict=True):
        with open(os.path.join(folder, file), "w", encoding="utf-8") as opened:
            opened.write(text)


def add_address(folder: str, address: str, options: Options) -> None:
    """The container has an address now: by its name, programs in it find it."""
    with open(os.path.join(folder, "hosts"), "a", encoding="utf-8") as file:
        file.write(f"{address}\t{hostname(options)}\n")


def _text(path: str) -> str:
    try:
        with open(path, encoding="utf-8", errors="replace") as file:
            return file.read()
    except OSError:
        return ""
