"""The guest's apt asks whom the host's asks, unless only the host can, or nobody answers."""

import pytest

from auberge.image.apt import Archive
from auberge.image.guest_apt import guest_proxies, guest_sources
from auberge.image.sources import Source

KEYS = "/usr/share/keyrings/debian-archive-keyring.gpg"


def source(uri, *suites):
    return Source("sources", uri, suites, ("main",), "")


def test_the_guests_apt_uses_the_mirrors_of_the_hosts():
    archive = Archive("http://example.org/debian", "", "", "Debian")
    hosts = [
        source("http://example.org/debian", "bookworm", "bookworm-updates"),
        source("https://me:secret@example.org/debian-security", "bookworm-security"),
        source("http://example.com/other", "bookworm-updates", "other-security"),
    ]
    assert guest_sources(archive, hosts, lambda uri, suite: True) == (
        "Types: deb\nURIs: http://example.org/debian\nSuites: trixie trixie-updates\n"
        f"Components: main\nSigned-By: {KEYS}\n\n"
        "Types: deb\nURIs: https://example.org/debian-security\nSuites: trixie-security\n"
        f"Components: main\nSigned-By: {KEYS}\n"
    )


def test_a_mirror_that_the_user_vouches_for_is_the_only_one(tmp_path):
    keyring = tmp_path / "keys"
    keyring.write_bytes(b"\x98binary")
    archive = Archive("http://example.org/mine", "", str(keyring), "")
    hosts = [source("http://example.org/debian-security", "bookworm-security")]
    assert guest_sources(archive, hosts, lambda uri, suite: True) == (
        "Types: deb\nURIs: http://example.org/mine\nSuites: trixie\n"
        "Components: main\nSigned-By: /etc/apt/keyrings/mirror.gpg\n"
    )


@pytest.mark.parametrize(
    "uri", ["file:/srv/debian", "http://localhost:3142/debian", "http://[::1]/"]
)
def test_what_is_on_the_host_alone_is_no_mirror_for_a_guest(uri):
    assert guest_sources(Archive(uri, "", "", "Debian"), [], lambda uri, suite: True) == (
        "# The image was made without a mirror that a guest can reach.\n"
    )


def test_a_suite_that_cannot_be_read_does_not_fail_the_others():
    archive = Archive("http://example.org/debian", "", "", "Debian")
    hosts = [source("http://example.org/debian", "bookworm-updates")]
    assert guest_sources(archive, hosts, lambda uri, suite: False) == (
        "Types: deb\nURIs: http://example.org/debian\nSuites: trixie\n"
        f"Components: main\nSigned-By: {KEYS}\n\n"
        "# Could not be read when the image was made.\nEnabled: no\n"
        "Types: deb\nURIs: http://example.org/debian\nSuites: trixie-updates\n"
        f"Components: main\nSigned-By: {KEYS}\n"
    )


def test_proxies_are_the_hosts_unless_they_are_on_it_or_want_a_password():
    assert guest_proxies(
        [
            ("http", "http://proxy.example.org:3128"),
            ("http", "http://127.0.0.1:3142"),
            ("https", "http://me:secret@proxy.example.org"),
            ("https", "DIRECT"),
        ]
    ) == (
        'Acquire::http::Proxy "http://proxy.example.org:3128";\nAcquire::https::Proxy "DIRECT";\n'
    )
    assert guest_proxies([]) == ""
