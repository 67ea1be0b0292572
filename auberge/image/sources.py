"""Where the host's apt gets Debian from (sources.list(5)): mirrors and keys are its choice."""

import os
import re
import subprocess
from collections.abc import Iterator
from typing import NamedTuple

ONE_LINE = re.compile(
    r"deb\s+(?:\[(?P<options>[^\]]*)\]\s*)?(?P<uri>\S+)\s+(?P<suite>\S+)\s*(?P<rest>.*)"
)
GENERIC_SUITES = {"oldoldstable", "oldstable", "stable", "testing", "unstable", "sid"}


class Source(NamedTuple):
    """One URI of one enabled entry for binary packages."""

    where: str
    uri: str
    suites: tuple[str, ...]
    components: tuple[str, ...]
    signed_by: str
    """As written: paths, fingerprints or a key; empty when the keys that apt trusts decide."""


def host_sources() -> list[Source]:
    """All entries of the host's apt, in apt's order."""
    asked = [
        "apt-config",
        "shell",
        "LIST",
        "Dir::Etc::sourcelist/f",
        "PARTS",
        "Dir::Etc::sourceparts/d",
    ]
    said = subprocess.run(asked, capture_output=True, text=True, check=False).stdout
    places = dict(re.findall(r"^(LIST|PARTS)='(.*)'$", said, re.MULTILINE))
    paths = [places["LIST"]] if "LIST" in places else []
    parts = places.get("PARTS", "")
    if os.path.isdir(parts):
        paths += [os.path.join(parts, name) for name in sorted(os.listdir(parts))]
    found: list[Source] = []
    for path in paths:
        try:
            with open(path, encoding="utf-8", errors="replace") as file:
                text = file.read()
        except OSError:
            # apt itself only warns about what it may not read
            continue
        if path.endswith(".list"):
            found += parse_one_line(path, text)
        elif path.endswith(".sources"):
            found += parse_deb822(path, text)
    return found


def host_proxies() -> list[tuple[str, str]]:
    """The proxies in the configuration of the host's apt: for http or https, and where it is."""
    words = ["HTTP", "Acquire::http::Proxy", "HTTPS", "Acquire::https::Proxy"]
    asked = ["apt-config", "shell", *words]
    said = subprocess.run(asked, capture_output=True, text=True, check=False).stdout
    found = re.findall(r"^(HTTPS?)='([^\s'\"]+)'$", said, re.MULTILINE)
    return [(name.lower(), uri) for name, uri in found]


def parse_one_line(path: str, text: str) -> Iterator[Source]:
    """The entries of a one-line-style file."""
    for line in text.splitlines():
        entry = ONE_LINE.fullmatch(line.split("#", 1)[0].strip())
        if entry is None:
            continue
        options = dict(
            option.split("=", 1) for option in (entry["options"] or "").split() if "=" in option
        )
        signed_by = options.get("signed-by", "").replace(",", " ")
        components = tuple(entry["rest"].split())
        yield Source(path, entry["uri"], (entry["suite"],), components, signed_by)


def parse_deb822(path: str, text: str) -> Iterator[Source]:
    """The entries of a deb822-style file."""
    for paragraph in re.split(r"\n[ \t]*(?:\n|$)", text):
        fields: dict[str, str] = {}
        name = ""
        for line in paragraph.splitlines():
            if line.startswith("#"):
                continue
            if line[:1].isspace():
                fields[name] = fields.get(name, "") + "\n" + line
            elif ":" in line:
                name, value = line.split(":", 1)
                name = name.strip().lower()
                fields[name] = value.strip()
        enabled = fields.get("enabled", "yes").strip().lower() not in ("no", "false", "off", "0")
        if not enabled or "deb" not in fields.get("types", "").split():
            continue
        for uri in fields.get("uris", "").split():
            yield Source(
                path,
                uri,
                tuple(fields.get("suites", "").split()),
                tuple(fields.get("components", "").split()),
                fields.get("signed-by", ""),
            )


def read_os_release(path: str = "/etc/os-release") -> dict[str, str]:
    """The fields of os-release(5); none where there is no such file."""
    try:
        with open(path, encoding="utf-8", errors="replace") as file:
            lines = file.read().splitlines()
    except OSError:
        return {}
    pairs = (line.split("=", 1) for line in lines if "=" in line and not line.startswith("#"))
    return {name.strip(): value.strip().strip("\"'") for name, value in pairs}


def debian_sources(sources: list[Source], os_release: dict[str, str]) -> list[Source]:
    """The entries that may be Debian's main archive, each URI once.

    Not Ubuntu's: they look alike, but there is no Debian release behind them. Third parties that
    name their suite after Debian's are told apart later, by the Origin their index claims.
    """
    family = {os_release.get("ID", ""), *os_release.get("ID_LIKE", "").split()}
    if "ubuntu" in family:
        return []
    suites = {os_release.get("VERSION_CODENAME"), os_release.get("DEBIAN_CODENAME")}
    found: dict[str, Source] = {}
    for source in sources:
        if source.uri.startswith("cdrom:") or "main" not in source.components:
            continue
        if any(suite in suites or suite in GENERIC_SUITES for suite in source.suites):
            found.setdefault(source.uri, source)
    return list(found.values())
