"""The host's apt says where Debian is, in either of its two formats."""

import pytest

from auberge.image import apt, sources
from auberge.image.sources import Source, debian_sources, parse_deb822, parse_one_line
from auberge.refusal import Refusal
from tests.image.debian import needs

BOOKWORM = {"ID": "debian", "VERSION_CODENAME": "bookworm"}


def source(uri="http://a/debian", suites=("bookworm",), components=("main",), signed_by=""):
    return Source("x", uri, suites, components, signed_by)


def test_one_line_entries():
    text = """# deb http://commented/debian bookworm main
deb http://a/debian bookworm main contrib # why
deb-src http://a/debian bookworm main
deb [ arch=amd64,arm64 signed-by=/k/one.gpg ] http://b/debian bookworm main
deb [signed-by=/k/one.gpg,/k/two.gpg]  tor+http://c/debian  stable  main
deb cdrom:[Debian GNU/Linux 12]/ bookworm main
deb http://flat/ ./
debug http://d bookworm main
"""
    assert list(parse_one_line("x", text)) == [
        source(components=("main", "contrib")),
        source("http://b/debian", signed_by="/k/one.gpg"),
        source("tor+http://c/debian", ("stable",), signed_by="/k/one.gpg /k/two.gpg"),
        source("cdrom:[Debian", ("GNU/Linux",), ("12]/", "bookworm", "main")),
        source("http://flat/", ("./",), ()),
    ]


def test_deb822_entries():
    text = """# about
Types: deb deb-src
URIs: http://a/debian
# in between
 mirror+file:/etc/apt/mirrors
suites: bookworm bookworm-updates
Components: main contrib
Signed-By: /k/one.gpg
Trusted: yes

Enabled: no
Types: deb
URIs: http://off/debian
Suites: bookworm
Components: main
 \t
Types: deb-src
URIs: http://src/debian

Types: deb
URIs: http://inline/debian
Suites: bookworm
Components: main
Signed-By:
 -----BEGIN PGP PUBLIC KEY BLOCK-----
 .
 mDMEYCQjIxYJKwYBBAHaRw8BAQdAD/P5Nvvnvk66SxBBHDbhRml9ORg1WV5CvzKY
"""
    inline = "".join("\n" + line for line in text.splitlines()[-3:])
    both = ("bookworm", "bookworm-updates")
    assert list(parse_deb822("x", text)) == [
        source(suites=both, components=("main", "contrib"), signed_by="/k/one.gpg"),
        source("mirror+file:/etc/apt/mirrors", both, ("main", "contrib"), "/k/one.gpg"),
        source("http://inline/debian", signed_by=inline),
    ]


def test_the_main_archive_is_chosen():
    good = [source("http://one/debian"), source("http://two/debian", ("stable",))]
    others = [
        source("cdrom:[Debian"),
        source("http://sec/debian", ("bookworm-security",)),
        source("http://third/", ("nodistro",)),
        source("http://docker/", components=("stable",)),
        source("http://one/debian", ("bookworm",), signed_by="second mention"),
    ]
    assert debian_sources([*others[:4], *good, others[4]], BOOKWORM) == good


def test_a_derivative_names_the_release_it_is_made_from():
    mint = {"ID": "linuxmint", "ID_LIKE": "debian", "VERSION_CODENAME": "faye"}
    mint["DEBIAN_CODENAME"] = "bookworm"
    assert debian_sources([source("http://mint/", ("faye",)), source()], mint)[-1] == source()


@pytest.mark.parametrize(
    "host", [{"ID": "ubuntu"}, {"ID": "linuxmint", "ID_LIKE": "ubuntu debian"}]
)
def test_ubuntu_is_not_debian(host):
    assert debian_sources([source(suites=("noble",))], {**host, "VERSION_CODENAME": "noble"}) == []


def test_os_release_is_read(tmp_path):
    path = tmp_path / "os-release"
    path.write_text("# c\nID=debian\nVERSION_CODENAME=\"bookworm\"\n\nNAME='A = B'\n")
    found = {"ID": "debian", "VERSION_CODENAME": "bookworm", "NAME": "A = B"}
    assert sources.read_os_release(str(path)) == found
    assert sources.read_os_release(str(tmp_path / "none")) == {}


@pytest.fixture
def host(tmp_path, monkeypatch):
    """A host's apt configuration to write into."""
    (tmp_path / "parts").mkdir()
    configuration = tmp_path / "apt.conf"
    configuration.write_text(
        f'Dir::Etc::sourcelist "{tmp_path}/sources.list";\n'
        f'Dir::Etc::sourceparts "{tmp_path}/parts";\n'
        'Dir::Etc::parts "/dev/null";\nDir::Etc::main "/dev/null";\n'
    )
    monkeypatch.setenv("APT_CONFIG", str(configuration))
    return tmp_path


@needs("apt-config")
def test_all_files_that_apt_reads_are_read(host):
    (host / "sources.list").write_text("deb http://a/debian bookworm main\n")
    (host / "parts/b.list").write_text("deb http://b/debian bookworm main\n")
    (host / "parts/a.sources").write_text(
        "Types: deb\nURIs: http://c/debian\nSuites: bookworm\nComponents: main\n"
    )
    (host / "parts/a.sources.save").write_text("deb http://old/debian bookworm main\n")
    found = [(entry.uri, entry.where) for entry in sources.host_sources()]
    assert found == [
        ("http://a/debian", f"{host}/sources.list"),
        ("http://c/debian", f"{host}/parts/a.sources"),
        ("http://b/debian", f"{host}/parts/b.list"),
    ]


OVERRIDE = "give a Debian mirror with --mirror URL and its keys with --keyring FILE"


@needs("apt-get", "dpkg-deb", "gpgv")
def test_a_host_without_debian_says_what_is_needed(host):
    with pytest.raises(Refusal) as told:
        apt.archives(None, None)
    assert str(told.value) == f"apt: no Debian archive among this host's sources; {OVERRIDE}"


@needs("apt-get", "dpkg-deb", "gpgv")
def test_a_mirror_alone_needs_keys(host, monkeypatch):
    monkeypatch.setattr(apt, "DEBIAN_KEYRING", str(host / "none"))
    with pytest.raises(Refusal) as told:
        apt.archives("http://a/debian", None)
    complaint = "nothing to verify it with; add --keyring FILE"
    assert str(told.value) == f"--mirror http://a/debian: {complaint}"


@needs("apt-get", "dpkg-deb", "gpgv")
@pytest.mark.parametrize("mirror", ["", "debian", "http://a b/", "http://a/\nTrusted: yes", "[x]"])
def test_a_mirror_is_a_url(host, mirror):
    with pytest.raises(Refusal) as told:
        apt.archives(mirror, None)
    complaint = "not a URL; write it as apt would, scheme://host/path"
    assert str(told.value) == f"--mirror {mirror!r}: {complaint}"


@needs("apt-get", "dpkg-deb", "gpgv")
def test_a_keyring_is_one(host):
    text = host / "text"
    text.write_text("hello")
    with pytest.raises(Refusal) as told:
        apt.archives("http://a/debian", str(text))
    complaint = "not an OpenPGP keyring; use `gpg --export > FILE`"
    assert str(told.value) == f"--keyring {text}: {complaint}"
    with pytest.raises(Refusal) as told:
        apt.archives("http://a/debian", str(host / "none"))
    complaint = "No such file or directory; name a readable file"
    assert str(told.value) == f"--keyring {host / 'none'}: {complaint}"


def test_a_missing_tool_is_named(monkeypatch, tmp_path):
    monkeypatch.setenv("PATH", str(tmp_path))
    with pytest.raises(Refusal) as told:
        apt.archives(None, None)
    complaint = "not found; images are built with Debian's apt and dpkg, install those"
    assert str(told.value) == f"apt-get: {complaint}"
    for tool in ("apt-get", "apt-cache", "apt-config", "dpkg-deb"):
        (tmp_path / tool).symlink_to("/bin/true")
    with pytest.raises(Refusal) as told:
        apt.archives(None, None)
    assert str(told.value) == ("gpgv: not found; apt verifies signatures with it: apt install gpgv")


HTTP = apt.Archive("http://a/debian", "/k.gpg", "", "Debian")
COMPLAINTS = {
    "E: Failed to fetch http://a/debian/dists/trixie/InRelease  Temporary failure resolving 'a'": (
        "http://a/debian: cannot be reached; go online to build the image, or check the proxy"
    ),
    "E: Failed to fetch http://a/x  Could not connect to a:80 (1.2.3.4), connection timed out": (
        "http://a/debian: cannot be reached; go online to build the image, or check the proxy"
    ),
    "E: The repository 'http://a/debian trixie Release' does not have a Release file.": (
        f"http://a/debian: has no trixie; {OVERRIDE}"
    ),
    "W: GPG error: The following signatures couldn't be verified: NO_PUBKEY 6ED0E7B82643E131": (
        "http://a/debian: /k.gpg cannot verify the signature of trixie;"
        " update the package debian-archive-keyring, or use --keyring FILE"
    ),
    "W: Sub-process /usr/bin/sqv returned an error code (1), error message is: Missing key 4D": (
        "http://a/debian: /k.gpg cannot verify the signature of trixie;"
        " update the package debian-archive-keyring, or use --keyring FILE"
    ),
    "W: The following signatures were invalid: BADSIG 6ED0E7B82643E131": (
        "http://a/debian: the index has a bad signature; try another mirror with --mirror URL"
    ),
    "E: Failed to fetch http://a/p.deb  Hash Sum mismatch": (
        "http://a/debian: a file is not what the signed index says;"
        " try again later, or another mirror with --mirror URL"
    ),
    "E: Write error - write (28: No space left on device)": (
        "apt: no space left on the device; free some, or set AUBERGE_CACHE_DIR"
    ),
    "W: something\nE: Method gave a blank filename\nE: more": (
        "apt: Method gave a blank filename; see the host's apt"
    ),
    "": "apt: failed without a word; see the host's apt",
}


@pytest.mark.parametrize("said", COMPLAINTS)
def test_apts_complaints_become_one_line(said):
    assert apt.explain(HTTP, said) == COMPLAINTS[said]
