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
    if options.hosts or options.dns:
        texts = _with_settings(options, *texts)
    for file, text in zip(FILES, texts, strict=True):
        with open(os.path.join(folder, file), "w", encoding="utf-8") as opened:
            opened.write(text)


def _with_settings(options: Options, hosts: str, name: str, resolv: str) -> tuple[str, str, str]:
    """The same with the user's entries, and with his servers instead of the host's."""
    from auberge.monitor.settings import parse_hosts, parse_servers

    if hosts and not hosts.endswith("\n"):
        hosts += "\n"
    hosts += "".join(f"{each.address}\t{each.name}\n" for each in parse_hosts(options.hosts))
    if servers := parse_servers(options.dns):
        lines = resolv.splitlines(keepends=True)
        others = "".join(line for line in lines if line.split()[:1] != ["nameserver"])
        if others and not others.endswith("\n"):
            others += "\n"
        resolv = others + "".join(f"nameserver {server}\n" for server in servers)
    return hosts, name, resolv


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
