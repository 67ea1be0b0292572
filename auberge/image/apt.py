"""Debian packages of another suite and architecture, by the host's apt (apt.conf(5), apt-get(8)).

The host's proxies, credentials and mirrors apply; its package state is neither read nor changed,
and nothing needs root. Apt verifies signatures and hashes.
"""

import hashlib
import os
import re
import shutil
import subprocess
import tempfile
import time
from collections.abc import Callable, Sequence
from typing import NamedTuple

from auberge.image.sources import Source, debian_sources, host_sources, read_os_release
from auberge.refusal import Refusal

SUITE = "trixie"
OTHER_NAMES = ("stable", "oldstable")
"""What an archive also calls the suite, from its release to the end of its support."""

DEBIAN_KEYRING = "/usr/share/keyrings/debian-archive-keyring.gpg"
OVERRIDE = "give a Debian mirror with --mirror URL and its keys with --keyring FILE"

MISMATCH = "a file is not what the signed index says"

PAUSES = (3.0, 10.0)
"""Seconds that a mirror is given, each time, to become consistent while it is being renewed."""

NO_SPACE = "apt: no space left on the device; free some, or set AUBERGE_CACHE_DIR"

Moved = Callable[[int, int], None]
"""Hears how much of a step is done, and out of how much."""


class Archive(NamedTuple):
    """A Debian archive as apt will be told about it."""

    uri: str
    signed_by: str
    """What the host's entry says; empty when `keyring` or apt's trusted keys decide."""
    keyring: str
    """A file of keys the user named; empty otherwise."""
    origin: str
    """The Origin its index has to claim; empty when the user vouches for the mirror."""


class Package(NamedTuple):
    """A package as the signed index has it, and where it is once it was fetched."""

    name: str
    version: str
    path: str
    size: int
    sha256: str


def archives(mirror: str | None, keyring: str | None) -> list[Archive]:
    """Where to look for Debian: what the user names, else the likely entries of the host's apt."""
    for tool in ("apt-get", "apt-cache", "apt-config", "dpkg-deb"):
        if shutil.which(tool) is None:
            raise Refusal(
                f"{tool}: not found; images are built with Debian's apt and dpkg, install those"
            )
    if shutil.which("gpgv") is None and shutil.which("sqv") is None:
        raise Refusal("gpgv: not found; apt verifies signatures with it: apt install gpgv")
    hosts = debian_sources(host_sources(), read_os_release())
    if mirror is not None:
        return [_overridden(mirror, keyring, hosts)]
    if not hosts:
        raise Refusal(f"apt: no Debian archive among this host's sources; {OVERRIDE}")
    checked = _checked_keyring(keyring) if keyring is not None else ""
    return [
        Archive(source.uri, "" if checked else source.signed_by, checked, "Debian")
        for source in hosts
    ]


def _overridden(mirror: str, keyring: str | None, hosts: list[Source]) -> Archive:
    if not re.fullmatch(r"[a-z][a-z0-9+]*:[!-Z\\^-~]+", mirror):
        raise Refusal(f"--mirror {mirror!r}: not a URL; write it as apt would, scheme://host/path")
    if keyring is not None:
        return Archive(mirror, "", _checked_keyring(keyring), "")
    if hosts:
        return Archive(mirror, hosts[0].signed_by, "", "")
    if os.path.exists(DEBIAN_KEYRING):
        return Archive(mirror, "", DEBIAN_KEYRING, "")
    raise Refusal(f"--mirror {mirror}: nothing to verify it with; add --keyring FILE")


def _checked_keyring(path: str) -> str:
    try:
        with open(path, "rb") as file:
            start = file.read(64)
    except OSError as error:
        raise Refusal(f"--keyring {path}: {error.strerror}; name a readable file") from error
    # an OpenPGP packet has its top bit set (RFC 9580, 4.2)
    if not start.startswith(b"-----BEGIN PGP PUBLIC KEY BLOCK") and not start[:1] >= b"\x80":
        raise Refusal(f"--keyring {path}: not an OpenPGP keyring; use `gpg --export > FILE`")
    return os.path.abspath(path)


class Mismatch(Refusal):
    """What an archive has is not what its signed index says."""


class Apt:
    """The host's apt on one archive, with state of its own in a directory.

    What was fetched stays there, so that a build that was interrupted goes on where it stopped;
    others may keep there what they want to find then.
    `keep_open` is a descriptor that apt inherits: a lock is then held until apt has ended too.
    """

    def __init__(self, archive: Archive, architecture: str, directory: str, keep_open: int) -> None:
        if '"' in directory or "\n" in directory:
            raise Refusal(f"{directory!r}: apt cannot work there; set AUBERGE_CACHE_DIR")
        self.archive = archive
        self._architecture = architecture
        self.directory = directory
        self._keep_open = keep_open
        self._packages = os.path.join(directory, "packages")
        for name in (
            "lists/partial",
            "cache/archives/partial",
            "keys",
            "packages",
            "others/partial",
        ):
            os.makedirs(os.path.join(directory, name), exist_ok=True)
        self._write("status", "")
        self._write("apt.conf", self._configuration())
        if archive.keyring:
            self._copy_keys(archive.keyring)

    def update(self, moved: Moved) -> None:
        """Fetch the signed index of the suite; of a mirror that is just being renewed, again."""
        try:
            self._update_patiently(moved)
        except Mismatch as mismatch:
            # proxies keep each file for a time of its own; under another name all may be of one age
            if not self._update_by_another_name(moved):
                raise mismatch
        if self.archive.origin:
            asked = ["apt-get", "indextargets", "--format", "$(ORIGIN)"]
            origins = set(self._run(asked, None).split("\n")) - {""}
            if origins != {self.archive.origin}:
                raise Refusal(f"{self.archive.uri}: not Debian's archive; {OVERRIDE}")

    def _update_patiently(self, moved: Moved) -> None:
        self._write("debian.sources", self._sources(self.archive.uri, SUITE))
        for pause in PAUSES:
            try:
                self._run(["apt-get", "update"], moved)
                return
            except Mismatch:
                time.sleep(pause)
        self._run(["apt-get", "update", "-o", "Acquire::http::No-Cache=true"], moved)

    def _update_by_another_name(self, moved: Moved) -> bool:
        asked = ["apt-get", "indextargets", "--format", "$(CODENAME)"]
        for name in OTHER_NAMES:
            self._write("debian.sources", self._sources(self.archive.uri, name))
            try:
                self._run(["apt-get", "update"], moved)
            except Refusal:
                continue
            if self._run(asked, None).split() == [SUITE]:
                return True
        return False

    def can_read(self, uri: str, suite: str) -> bool:
        """Whether apt, with the same keys, gets the index of another suite."""
        self._write("other.sources", self._sources(uri, suite))
        asked = ["apt-get", "update"]
        for option, name in (("Etc::sourcelist", "other.sources"), ("State::lists", "others")):
            asked += ["-o", f"Dir::{option}={os.path.join(self.directory, name)}"]
        try:
            self._run(asked, None)
        except Refusal:
            return False
        return True

    def dependency(self, package: str, prefix: str) -> str:
        """The one package of such a name that a package depends on, as the index has it."""
        found = [name for name in self._dependencies(package) if name.startswith(prefix)]
        if len(found) != 1:
            raise Refusal(
                f"{self.archive.uri}: {package} depends on {len(found)} packages {prefix}*;"
                " try another mirror with --mirror URL"
            )
        return found[0]

    def solve(self, wanted: Sequence[str]) -> list[str]:
        """All that has to be installed where nothing is, in an order that apt would unpack it in.

        `wanted` are names or apt-patterns(7). What is only recommended is left out.
        """
        asked = ["apt-get", "install", "--yes", "--no-install-recommends", "--print-uris"]
        printed = self._run([*asked, *wanted], None)
        return re.findall(r"^'.*' ([^_\s]+)_\S+ \d+ ", printed, re.MULTILINE)

    def _dependencies(self, package: str) -> list[str]:
        shown = self._run(["apt-cache", "show", "--no-all-versions", package], None)
        depends = re.search(r"^Depends: (.*)$", shown, re.MULTILINE)
        return re.findall(r"(?:^|, )([a-z0-9][a-z0-9+.-]+)", depends[1]) if depends else []

    def locate(self, names: Sequence[str]) -> list[Package]:
        """The newest packages of these names, in this order."""
        # apt says nothing about a file that is in its working directory
        asked = ["apt-get", "download", "--print-uris", *names]
        printed = self._run(asked, None, self.directory)
        found: dict[str, Package] = {}
        for file, size, digest in re.findall(r"^'.*' (\S+) (\d+) SHA256:(\S+)$", printed, re.M):
            name, version, _ = file.split("_")
            path = os.path.join(self._packages, file)
            found[name] = Package(name, version.replace("%3a", ":"), path, int(size), digest)
        unhashed = [name for name in names if name not in found]
        if unhashed:
            raise Refusal(f"{self.archive.uri}: no SHA-256 of {unhashed[0]}; {OVERRIDE}")
        return [found[name] for name in names]

    def fetch(self, packages: Sequence[Package], moved: Moved) -> None:
        """Fetch what is not there yet; all are there and what the index says on return."""
        missing = [package for package in packages if not _is_intact(package)]
        for package in missing:
            _remove(package.path)
        if missing:
            self._run(["apt-get", "download", *(package.name for package in missing)], moved)
        for package in missing:
            if not _is_intact(package):
                # apt does not always say so
                if shutil.disk_usage(self.directory).free < package.size:
                    raise Refusal(NO_SPACE)
                raise Refusal(f"{package.path}: not what the index says; build again")

    def forget(self) -> None:
        """Remove the directory: the packages are some hundred megabytes."""
        shutil.rmtree(self.directory)

    def _configuration(self) -> str:
        def at(name: str) -> str:
            return f'"{os.path.join(self.directory, name)}"'

        keys = (
            f'Dir::Etc::trusted "/dev/null";\nDir::Etc::trustedparts {at("keys")};\n'
            if self.archive.keyring
            else ""
        )
        # the host's hooks are about the host; its leniency about signatures is not for us; a suite
        # becomes oldstable some day
        return f"""#clear APT::Update::Pre-Invoke;
#clear APT::Update::Post-Invoke;
#clear APT::Update::Post-Invoke-Success;
#clear APT::Architectures;
APT::Architecture "{self._architecture}";
APT::Architectures {{ "{self._architecture}"; }};
APT::Default-Release "";
APT::Sandbox::User "root";
APT::Update::Error-Mode "any";
APT::Get::AllowUnauthenticated "false";
Acquire::AllowReleaseInfoChange "true";
Acquire::AllowInsecureRepositories "false";
Acquire::AllowWeakRepositories "false";
Acquire::AllowDowngradeToInsecureRepositories "false";
Acquire::Languages "none";
Dir::State {at("")};
Dir::State::lists {at("lists")};
Dir::State::status {at("status")};
Dir::Cache {at("cache")};
Dir::Cache::archives {at("cache/archives")};
Dir::Etc::sourcelist {at("debian.sources")};
Dir::Etc::sourceparts "/dev/null";
Dir::Etc::preferences "/dev/null";
Dir::Etc::preferencesparts "/dev/null";
{keys}"""

    def _sources(self, uri: str, suite: str) -> str:
        signed_by = self.archive.signed_by
        return f"""Types: deb
URIs: {uri}
Suites: {suite}
Components: main
Architectures: {self._architecture}
Targets: Packages
PDiffs: no
""" + (f"Signed-By: {signed_by}\n" if signed_by else "")

    def _copy_keys(self, keyring: str) -> None:
        with open(keyring, "rb") as file:
            data = file.read()
        for old in ("keys.asc", "keys.gpg"):
            _remove(os.path.join(self.directory, "keys", old))
        # apt goes by the extension
        name = "keys.asc" if data.startswith(b"-----") else "keys.gpg"
        with open(os.path.join(self.directory, "keys", name), "wb") as file:
            file.write(data)

    def _write(self, name: str, text: str) -> None:
        with open(os.path.join(self.directory, name), "w", encoding="utf-8") as file:
            file.write(text)

    def _run(self, argv: list[str], moved: Moved | None, where: str | None = None) -> str:
        """Run one of apt's tools; its output, or a refusal that says why it failed."""
        status, told = os.pipe()
        options = ["-q", "-c", os.path.join(self.directory, "apt.conf")]
        options += ["-o", f"APT::Status-Fd={told}"] if moved is not None else []
        with (
            open(status, encoding="utf-8", errors="replace") as lines,
            tempfile.TemporaryFile() as out,
            tempfile.TemporaryFile() as err,
        ):
            try:
                tool = subprocess.Popen(
                    [argv[0], *options, *argv[1:]],
                    stdin=subprocess.DEVNULL,
                    stdout=out,
                    stderr=err,
                    cwd=where or self._packages,
                    env={**os.environ, "LC_ALL": "C.UTF-8"},
                    pass_fds=(told, self._keep_open),
                )
            finally:
                os.close(told)
            try:
                for line in lines:
                    # dlstatus:FILE:PERCENT:TEXT (README.progress-reporting of apt)
                    words = line.split(":")
                    if moved is not None and words[0] == "dlstatus" and len(words) > 3:
                        moved(int(float(words[2])), 100)
                tool.wait()
            except BaseException:
                tool.terminate()
                tool.wait()
                raise
            out.seek(0)
            err.seek(0)
            output, errors = (file.read().decode(errors="replace") for file in (out, err))
        if tool.returncode:
            why = explain(self.archive, errors)
            raise Mismatch(why) if MISMATCH in why else Refusal(why)
        return output


def _remove(path: str) -> None:
    if os.path.lexists(path):
        os.unlink(path)


def _is_intact(package: Package) -> bool:
    try:
        if os.path.getsize(package.path) != package.size:
            return False
        with open(package.path, "rb") as file:
            return hashlib.file_digest(file, "sha256").hexdigest() == package.sha256
    except FileNotFoundError:
        return False


def explain(archive: Archive, errors: str) -> str:
    """One line for what apt complained about, most telling first."""
    keys = archive.keyring or archive.signed_by.split("\n")[0] or "the keys apt trusts"

    def has(pattern: str) -> bool:
        return re.search(pattern, errors) is not None

    if has(r"BADSIG|signatures? (were|was) invalid|[Bb]ad signature|Message has been manipulated"):
        return f"{archive.uri}: the index has a bad signature; try another mirror with --mirror URL"
    if has(r"NO_PUBKEY|Missing key|EXPKEYSIG|REVKEYSIG|key .* is not bound"):
        return (
            f"{archive.uri}: {keys} cannot verify the signature of {SUITE};"
            " update the package debian-archive-keyring, or use --keyring FILE"
        )
    if has(r"is not signed|Clearsigned file isn't valid|NOSPLIT|NODATA"):
        return f"{archive.uri}: the index is not signed; try another mirror with --mirror URL"
    if has(r"Hash Sum mismatch|Hashes of expected file|unexpected size|Size mismatch"):
        return f"{archive.uri}: {MISMATCH}; try again later, or another mirror with --mirror URL"
    if has(r"No space left"):
        return NO_SPACE
    if has(
        r"resolv|[Cc]onnect|Network is unreachable|No route to host|timed out|Temporary failure"
    ):
        return f"{archive.uri}: cannot be reached; go online to build the image, or check the proxy"
    if has(r"Undetermined Error|Error reading from server|closed the connection"):
        return f"{archive.uri}: stopped in the middle; build again, what was fetched is kept"
    if has(r"Release' does not|404|File not found|does ?n.t have (a|the) "):
        return f"{archive.uri}: has no {SUITE}; {OVERRIDE}"
    if absent := re.search(r"Unable to locate package (\S+)", errors):
        return f"{archive.uri}: no package {absent[1]}; {OVERRIDE}"
    if has(r"No packages found"):
        return f"{archive.uri}: {SUITE} lacks the guest's architecture; {OVERRIDE}"
    complaints = [line[2:].strip() for line in errors.splitlines() if line.startswith("E:")]
    return f"apt: {complaints[0] if complaints else 'failed without a word'}; see the host's apt"
