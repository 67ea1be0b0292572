"""How the guest's apt is set up: as the host's, as far as a guest can reach what that names."""

import ipaddress
import re
from collections.abc import Callable, Sequence
from urllib.parse import urlsplit

from auberge.image.apt import DEBIAN_KEYRING, SUITE, Archive
from auberge.image.sources import Source

SOURCES = "etc/apt/sources.list.d/debian.sources"
PROXY = "etc/apt/apt.conf.d/50proxy"

NO_MIRROR = "# The image was made without a mirror that a guest can reach.\n"
UNREAD = "# Could not be read when the image was made.\nEnabled: no\n"


def guest_sources(
    archive: Archive, hosts: Sequence[Source], can_read: Callable[[str, str], bool]
) -> str:
    """Where the guest's apt gets packages from (sources.list(5)).

    The archive of security updates is another; it is taken from the host's entries if they have it.
    What `can_read` denies, a URI and a suite, is there but not enabled: apt fails as a whole.
    """
    uris = {archive.uri: [SUITE]}
    for source in () if archive.keyring else hosts:
        for suite in source.suites:
            part = suite.partition("-")[2]
            is_security = part == "security" and source.uri.rstrip("/").endswith("debian-security")
            suites = uris.setdefault(source.uri, []) if is_security else uris.get(source.uri, [])
            if part in ("security", "updates") and f"{SUITE}-{part}" not in suites:
                suites.append(f"{SUITE}-{part}")
    signed_by = guest_keyring(archive) if archive.keyring else DEBIAN_KEYRING
    entries = []
    for uri, suites in uris.items():
        if not guest_can_reach(uri):
            continue
        good = [suite for suite in suites if suite == SUITE or can_read(uri, suite)]
        bad = [suite for suite in suites if suite not in good]
        entries += [
            f"{start}Types: deb\nURIs: {without_credentials(uri)}\nSuites: {' '.join(some)}\n"
            f"Components: main\nSigned-By: {signed_by}\n"
            for start, some in (("", good), (UNREAD, bad))
            if some
        ]
    return "\n".join(entries) or NO_MIRROR


def guest_proxies(proxies: Sequence[tuple[str, str]]) -> str:
    """The host's proxies (apt.conf(5), Acquire::http::Proxy) that a guest can reach too."""
    return "".join(
        f'Acquire::{scheme}::Proxy "{uri}";\n'
        for scheme, uri in proxies
        if uri == "DIRECT" or (guest_can_reach(uri) and without_credentials(uri) == uri)
    )


def guest_can_reach(uri: str) -> bool:
    """Whether a URI names a server, and not this host itself."""
    try:
        parts = urlsplit(uri)
        name = parts.hostname or ""
    except ValueError:
        return False
    if parts.scheme not in ("http", "https") or name == "localhost":
        return False
    try:
        address = ipaddress.ip_address(name)
    except ValueError:
        return bool(name)
    return not (address.is_loopback or address.is_unspecified or address.is_link_local)


def without_credentials(uri: str) -> str:
    """The URI without a user and password in it: an image may be given to others."""
    return re.sub(r"(?<=://)[^/@]*@", "", uri)


def guest_keyring(archive: Archive) -> str:
    """Where in the guest the keys are that the user named; apt goes by the extension."""
    with open(archive.keyring, "rb") as file:
        armored = file.read(5) == b"-----"
    return f"/etc/apt/keyrings/mirror.{'asc' if armored else 'gpg'}"
