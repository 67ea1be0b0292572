"""An image is built from verified packages, wholly or not at all."""

import json
import os
import shutil
import signal
import subprocess
import sys
import threading

import pytest

from auberge.image import apt, build, builder, find, recipe, store
from auberge.refusal import Refusal
from tests.image.debian import APPLETS, BUSYBOX, OS_RELEASE, RELEASE, needs, raw_image
from tests.image.newc import read_back

pytestmark = [pytest.mark.slow, needs("apt-get", "dpkg-deb", "gpgv", "gpg")]

STAGES = [builder.INDEX, builder.FETCH, recipe.UNPACK, recipe.WRITE]


def build_from(archive, progress=lambda stage, done, total: None, update=False, key=None):
    keyring = str(key or archive.key.binary)
    return build("tiny", "riscv64", archive.uri, keyring, progress, update)


def leftovers(cache):
    """What is in the cache besides the image and its lock."""
    names = sorted(os.listdir(cache / "images")) + sorted(os.listdir(cache / "apt"))
    return [name for name in names if name not in ("tiny-riscv64", ".tiny-riscv64.lock")]


def contents(image):
    with open(image.initrd, "rb") as file:
        entries = read_back(file.read())
    return {name: (mode, data) for name, mode, data, _ in entries}


def test_a_build_holds_what_the_packages_hold(cache, archive):
    heard = []
    image = build_from(archive, lambda *said: heard.append(said))
    assert image == find("tiny", "riscv64")
    with open(image.kernel, "rb") as file:
        assert file.read() == raw_image()
    files = contents(image)
    assert files["bin/busybox"] == (0o100755, BUSYBOX)
    assert files["etc/os-release"] == (0o100644, OS_RELEASE)
    assert files["init"][0] == 0o100755
    assert files["dev/console"][0] == 0o020600
    assert {name for name in files if files[name] == (0o120777, b"busybox")} == {
        f"bin/{name}" for name in APPLETS
    }
    modules = f"lib/modules/{RELEASE}"
    assert files[f"{modules}/modules.dep"][1] == (
        b"virtio_mmio.ko:\nvirtio_ring.ko:\nvirtio_blk.ko: virtio_ring.ko\nvirtio_rng.ko:\n"
        b"virtio_net.ko:\n9p.ko:\n9pnet_virtio.ko:\n"
    )
    assert files[f"{modules}/modules.alias"][1] == b"alias of:N*T*Cvirtio,mmio virtio_mmio\n"
    assert f"{modules}/virtio_ring.ko" in files and f"{modules}/other.ko" not in files

    manifest = store.read_manifest(image)
    assert manifest["kernel_version"] == RELEASE
    versions = {package["name"]: package["version"] for package in manifest["packages"]}
    assert versions == {
        f"linux-image-{RELEASE}": "6.12.1-1",
        "busybox-static": "1:1.37-1",
        "base-files": "13.8",
    }
    store.verify(image)
    assert leftovers(cache) == []
    # each stage is heard from its start to its end, in order
    assert list(dict.fromkeys(stage for stage, _, _ in heard)) == STAGES
    for stage in STAGES:
        done = [done / total for name, done, total in heard if name == stage]
        assert done[0] == 0 and done[-1] == 1 and done == sorted(done)


def test_the_same_packages_make_the_same_image(cache, archive, monkeypatch):
    one = build_from(archive)
    monkeypatch.setenv("AUBERGE_CACHE_DIR", str(cache.parent / "other"))
    two = build_from(archive)
    assert one.directory != two.directory
    assert store.read_manifest(one) == store.read_manifest(two)


def test_a_cached_image_needs_no_archive(cache, archive):
    built = build_from(archive)
    archive.root.rename(archive.root.parent / "gone")
    heard = []
    assert build_from(archive, lambda *said: heard.append(said)) == built
    assert heard == []


def test_without_an_image_or_an_archive_one_line_says_what_to_do(cache, archive):
    archive.root.rename(archive.root.parent / "gone")
    with pytest.raises(Refusal) as told:
        build_from(archive)
    assert str(told.value) == (
        f"{archive.uri}: has no trixie;"
        " give a Debian mirror with --mirror URL and its keys with --keyring FILE"
    )
    assert find("tiny", "riscv64") is None


def test_an_archive_that_cannot_be_reached(cache, archive, monkeypatch):
    # port 9 of the loopback: nobody listens
    archive.uri = "http://127.0.0.1:9/debian"
    with pytest.raises(Refusal) as told:
        build_from(archive)
    complaint = "cannot be reached; go online to build the image, or check the proxy"
    assert str(told.value) == f"http://127.0.0.1:9/debian: {complaint}"


def test_armored_keys_do_as_well(cache, archive):
    assert build_from(archive, key=archive.key.armored) == find("tiny", "riscv64")


def refused(archive):
    with pytest.raises(Refusal) as told:
        build_from(archive)
    assert find("tiny", "riscv64") is None
    return str(told.value)


def test_a_bad_signature_is_refused(cache, archive):
    release = archive.root / "dists/trixie/InRelease"
    release.write_bytes(release.read_bytes().replace(b"Suite: stable", b"Suite: stolen"))
    assert refused(archive) == (
        f"{archive.uri}: the index has a bad signature; try another mirror with --mirror URL"
    )


def test_an_index_without_a_signature_is_refused(cache, archive):
    archive.publish(signed=False)
    assert refused(archive) == (
        f"{archive.uri}: the index is not signed; try another mirror with --mirror URL"
    )


def test_a_strangers_signature_is_refused(cache, archive, tmp_path):
    from tests.image.debian import Key

    stranger = Key(tmp_path / "stranger", "Stranger <stranger@example.org>")
    with pytest.raises(Refusal) as told:
        build_from(archive, key=stranger.binary)
    stranger.close()
    assert str(told.value) == (
        f"{archive.uri}: {stranger.binary} cannot verify the signature of trixie;"
        " update the package debian-archive-keyring, or use --keyring FILE"
    )


def test_the_hosts_leniency_is_not_ours(cache, archive, tmp_path, monkeypatch):
    lenient = tmp_path / "lenient.conf"
    lenient.write_text(
        'Acquire::AllowInsecureRepositories "true";\nAPT::Get::AllowUnauthenticated "true";\n'
        'Acquire::AllowWeakRepositories "true";\n'
        f'APT::Update::Post-Invoke {{ "touch {tmp_path}/hook-ran"; }};\n'
    )
    monkeypatch.setenv("APT_CONFIG", str(lenient))
    archive.publish(signed=False)
    assert refused(archive) == (
        f"{archive.uri}: the index is not signed; try another mirror with --mirror URL"
    )
    archive.publish()
    build_from(archive)
    assert not (tmp_path / "hook-ran").exists()


MISMATCH = (
    "a file is not what the signed index says; try again later, or another mirror with --mirror URL"
)


def test_a_changed_package_is_refused(cache, archive):
    package = archive.package("busybox-static")
    data = bytearray(package.read_bytes())
    data[-20] ^= 1
    package.write_bytes(data)
    assert refused(archive) == f"{archive.uri}: {MISMATCH}"


def test_a_changed_index_is_refused(cache, archive, monkeypatch):
    monkeypatch.setattr(apt, "PAUSES", (0.0, 0.0))
    packages = archive.index / "Packages"
    packages.write_bytes(packages.read_bytes().replace(b"13.8", b"13.9"))
    assert refused(archive) == f"{archive.uri}: {MISMATCH}"


def test_a_mirror_that_is_just_being_renewed_is_waited_for(cache, archive, monkeypatch):
    packages = archive.index / "Packages"
    whole = packages.read_bytes()
    packages.write_bytes(whole.replace(b"13.8", b"13.9"))
    paused = []

    def pause(seconds):
        paused.append(seconds)
        packages.write_bytes(whole)

    monkeypatch.setattr(apt.time, "sleep", pause)
    build_from(archive)
    assert paused == [apt.PAUSES[0]]


def half_renewed(archive, codename="trixie"):
    """The suite's index is older than its signature; under its other name both are of one age."""
    older = archive.root / "dists/stable"
    shutil.copytree(archive.root / "dists/trixie", older)
    release = (older / "Release").read_bytes()
    release = release.replace(b"Codename: trixie", b"Codename: " + codename.encode())
    (older / "InRelease").write_bytes(archive.key.sign(release))
    packages = archive.index / "Packages"
    packages.write_bytes(packages.read_bytes().replace(b"13.8", b"13.9"))


def test_a_half_renewed_suite_is_read_by_its_other_name(cache, archive, monkeypatch):
    monkeypatch.setattr(apt, "PAUSES", (0.0,))
    half_renewed(archive)
    assert contents(build_from(archive))["bin/busybox"] == (0o100755, BUSYBOX)


def test_another_suite_of_that_name_is_not_taken(cache, archive, monkeypatch):
    monkeypatch.setattr(apt, "PAUSES", (0.0,))
    half_renewed(archive, codename="forky")
    assert refused(archive) == f"{archive.uri}: {MISMATCH}"


def test_a_package_that_is_missing_is_named(cache, archive):
    archive.package("base-files").unlink()
    archive.publish()
    assert refused(archive) == (
        f"{archive.uri}: no package base-files;"
        " give a Debian mirror with --mirror URL and its keys with --keyring FILE"
    )


def test_an_archive_without_the_architecture_is_refused(cache, archive):
    for package in archive.pool.iterdir():
        package.unlink()
    archive.publish()
    assert refused(archive) == (
        f"{archive.uri}: trixie lacks the guest's architecture;"
        " give a Debian mirror with --mirror URL and its keys with --keyring FILE"
    )


def test_a_package_without_a_kernel_is_refused(cache, archive):
    archive.add_kernel(image=b"\x1f\x8b" + bytes(100))
    archive.publish()
    complaint = "not a raw RISC-V kernel image; use another archive"
    text = refused(archive)
    assert text.endswith(f"_riscv64.deb: boot/vmlinux-{RELEASE}: {complaint}")


def test_an_archive_of_the_host_has_to_be_debians(cache, archive, tmp_path, monkeypatch):
    parts = tmp_path / "parts"
    parts.mkdir()
    (parts / "debian.sources").write_text(
        f"Types: deb\nURIs: {archive.uri}\nSuites: stable\nComponents: main\n"
        f"Signed-By: {archive.key.binary}\n"
    )
    configuration = tmp_path / "host.conf"
    configuration.write_text(
        f'Dir::Etc::sourcelist "/dev/null";\nDir::Etc::sourceparts "{parts}";\n'
    )
    monkeypatch.setenv("APT_CONFIG", str(configuration))
    monkeypatch.setattr("auberge.image.apt.read_os_release", lambda: {"ID": "debian"})
    archive.publish(origin="Somebody")
    with pytest.raises(Refusal) as told:
        build("tiny", "riscv64")
    assert str(told.value) == (
        f"{archive.uri}: not Debian's archive;"
        " give a Debian mirror with --mirror URL and its keys with --keyring FILE"
    )
    archive.publish()
    assert build("tiny", "riscv64") == find("tiny", "riscv64")


def test_update_builds_again_only_for_newer_packages(cache, archive):
    image = build_from(archive)
    built = os.stat(image.manifest).st_ino
    heard = []
    build_from(archive, lambda *said: heard.append(said[0]), update=True)
    assert set(heard) == {builder.INDEX}
    assert os.stat(image.manifest).st_ino == built

    archive.add_kernel("6.12.1-2", raw_image(text=b"newer"))
    archive.publish()
    build_from(archive)
    assert os.stat(image.manifest).st_ino == built
    build_from(archive, update=True)
    with open(image.kernel, "rb") as file:
        assert file.read() == raw_image(text=b"newer")
    assert leftovers(cache) == []


def test_an_image_of_another_recipe_is_built_again(cache, archive):
    image = build_from(archive)
    manifest = store.read_manifest(image)
    manifest["recipe"] = "older"
    with open(image.manifest, "w") as file:
        json.dump(manifest, file)
    # good enough to boot, so that an upgrade does not need the network
    assert find("tiny", "riscv64") == image
    build_from(archive)
    assert store.read_manifest(image)["recipe"] != "older"


KILLED = """
import os, signal, sys
from auberge.image import build
uri, keyring, stage, at, update = sys.argv[1:]
def progress(name, done, total):
    if name == stage and at == {0: "start", total: "end"}.get(done, f"{done}/{total}"):
        os.kill(os.getpid(), signal.SIGKILL)
build("tiny", "riscv64", uri, keyring, progress, update == "update")
"""


def killed(archive, stage, at, update=""):
    """Build in a process that is killed at a point of a stage."""
    argv = [sys.executable, "-c", KILLED, archive.uri, str(archive.key.binary), stage, at, update]
    done = subprocess.run(argv, capture_output=True, text=True, check=False)
    assert done.returncode == -signal.SIGKILL, done.stderr


POINTS = [(stage, at) for stage in STAGES for at in ("start", "end")]
POINTS += [(recipe.WRITE, "1/3"), (recipe.WRITE, "2/3")]


@pytest.mark.parametrize(("stage", "at"), POINTS)
def test_a_build_killed_at_any_stage_leaves_no_half_image(cache, archive, stage, at):
    killed(archive, stage, at)
    complete = (stage, at) == (recipe.WRITE, "end")
    assert (find("tiny", "riscv64") is not None) == complete
    image = build_from(archive)
    store.verify(image)
    if not complete:
        assert leftovers(cache) == []


@pytest.mark.parametrize(("stage", "at"), POINTS)
def test_a_killed_update_leaves_an_image_that_is_whole(cache, archive, stage, at):
    build_from(archive)
    archive.add_kernel("6.12.1-2", raw_image(text=b"newer"))
    archive.publish()
    killed(archive, stage, at, "update")
    image = find("tiny", "riscv64")
    assert image is not None
    store.verify(image)
    with open(image.kernel, "rb") as file:
        newer = file.read() == raw_image(text=b"newer")
    assert newer == ((stage, at) == (recipe.WRITE, "end"))


def test_what_was_fetched_is_not_fetched_again(cache, archive):
    killed(archive, recipe.UNPACK, "start")
    for package in archive.pool.iterdir():
        package.unlink()
    store.verify(build_from(archive))


def test_what_was_fetched_badly_is_fetched_again(cache, archive):
    killed(archive, recipe.UNPACK, "start")
    for package in cache.glob("apt/*/packages/*.deb"):
        package.write_bytes(package.read_bytes()[:-1] + b"\xff")
    store.verify(build_from(archive))


def test_of_two_builds_at_once_one_works_and_one_waits(cache, archive):
    heard = {}
    images = {}

    def run(name, started, go_on):
        def progress(stage, done, total):
            heard.setdefault(name, []).append(stage)
            started.set()
            assert go_on.wait(60)

        images[name] = build_from(archive, progress)

    first_started, second_started, always = threading.Event(), threading.Event(), threading.Event()
    always.set()
    first = threading.Thread(target=run, args=("first", first_started, second_started))
    first.start()
    assert first_started.wait(60)
    # the first builder goes on only when the second has begun to wait
    second = threading.Thread(target=run, args=("second", second_started, always))
    second.start()
    first.join()
    second.join()
    assert list(dict.fromkeys(heard["first"])) == STAGES
    assert heard["second"] == [builder.WAIT, builder.WAIT]
    assert images["first"] == images["second"]


def test_the_lock_is_held_until_apt_has_ended_too(cache, archive, tmp_path, monkeypatch):
    started, go_on = tmp_path / "started", tmp_path / "go-on"
    os.mkfifo(started)
    os.mkfifo(go_on)
    slow = tmp_path / "bin/apt-get"
    slow.parent.mkdir()
    slow.write_text(f"#!/bin/sh\necho yes > {started}\nread answer < {go_on}\n")
    slow.chmod(0o755)
    path = os.environ["PATH"]
    monkeypatch.setenv("PATH", f"{slow.parent}:{path}")
    argv = [sys.executable, "-c", KILLED, archive.uri, str(archive.key.binary), "none", "", ""]
    with subprocess.Popen(argv) as orphaning:
        assert started.read_text() == "yes\n"
        orphaning.kill()
    monkeypatch.setenv("PATH", path)
    heard = []

    def progress(stage, done, total):
        heard.append(stage)
        if stage == builder.WAIT and done == 0:
            go_on.write_text("go\n")

    store.verify(build_from(archive, progress))
    assert list(dict.fromkeys(heard)) == [builder.WAIT, *STAGES]


def test_a_damaged_image_says_so_and_is_built_again(cache, archive):
    image = build_from(archive)
    again = "run `auberge image build tiny:riscv64`"
    os.truncate(image.initrd, 100)
    size = store.read_manifest(image)["files"]["initrd"]["size"]
    with pytest.raises(Refusal) as told:
        find("tiny", "riscv64")
    assert str(told.value) == f"{image.initrd}: has 100 bytes, not {size}; {again}"
    build_from(archive)
    store.verify(image)

    with open(image.kernel, "r+b") as file:
        file.seek(100)
        file.write(b"x")
    assert find("tiny", "riscv64") == image
    with pytest.raises(Refusal) as told:
        store.verify(image)
    assert str(told.value) == f"{image.kernel}: its SHA-256 is not the manifest's; {again}"


def test_a_cache_with_a_space_in_its_name(archive, tmp_path, monkeypatch):
    monkeypatch.setenv("AUBERGE_CACHE_DIR", str(tmp_path / "my cache; it's"))
    store.verify(build_from(archive))


def test_a_cache_that_apt_cannot_use(archive, tmp_path, monkeypatch):
    monkeypatch.setenv("AUBERGE_CACHE_DIR", str(tmp_path / 'my "cache"'))
    with pytest.raises(Refusal) as told:
        build_from(archive)
    assert str(told.value).endswith("apt cannot work there; set AUBERGE_CACHE_DIR")


def test_a_cache_that_is_a_file(archive, tmp_path, monkeypatch):
    (tmp_path / "file").write_text("")
    monkeypatch.setenv("AUBERGE_CACHE_DIR", str(tmp_path / "file"))
    with pytest.raises(Refusal) as told:
        build_from(archive)
    assert str(told.value) == (
        f"{tmp_path}/file/images: not a directory; AUBERGE_CACHE_DIR may name another place"
    )
