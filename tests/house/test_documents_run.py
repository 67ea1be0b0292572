"""What the documents tell a reader to type does what they say."""

import os
import re

import pytest

from auberge.image import find
from auberge.image.oci.names import lookup
from tests.house.documents import DOCUMENTS, blocks, copy_repository, matches, play, steps
from tests.house.source import ROOT

NEEDED = {
    "boot-a-firmware.md": {
        "/usr/lib/riscv64-linux-gnu/opensbi": "opensbi",
        "/usr/lib/u-boot": "u-boot-qemu",
        "/usr/sbin/mke2fs": "e2fsprogs",
        "/usr/sbin/sfdisk": "fdisk",
    },
    "images-of-containers.md": {"/usr/bin/skopeo": "skopeo"},
    "limit-a-container.md": {"/bin/busybox": "busybox-static", "/usr/bin/unshare": "util-linux"},
    "run-an-oci-bundle.md": {"/bin/busybox": "busybox-static"},
    "debug-a-guest.md": {"/usr/bin/gdb-multiarch": "gdb-multiarch"},
}
"""What a document uses, and the package that brings it."""
CONTAINERS = {"images-of-containers.md", "run-a-container.md", "run-in-the-background.md"}
PRIVILEGED = {
    "limit-a-container.md", "run-a-container.md", "run-an-oci-bundle.md",
    "run-in-the-background.md",
}  # fmt: skip
"""What only root can do as it is written."""
DEBIAN = {"README.md", "live-in-debian.md", "run-in-a-machine.md"}
"""What boots it, but must not take the time to build it."""

RUN = [path for path in DOCUMENTS if any(b.language in ("python", "console") for b in blocks(path))]


@pytest.mark.slow
@pytest.mark.timeout(900)
@pytest.mark.parametrize("path", RUN, ids=lambda path: str(path.relative_to(ROOT)))
def test_a_document_does_what_it_says(path, tmp_path):
    for needed, package in NEEDED.get(path.name, {}).items():
        if not os.path.exists(needed):
            pytest.skip(f"no {needed} here; apt install {package}")
    if path.name in PRIVILEGED and os.geteuid() != 0:
        pytest.skip("for root; run the tests as root")
    if path.name in DEBIAN and find("debian", "riscv64") is None:
        pytest.skip("no image debian; auberge image build debian")
    if path.name in CONTAINERS and lookup("debian:amd64") is None:
        pytest.skip("no image debian:amd64; auberge image build debian:amd64")
    if path.name == "run-in-a-machine.md" and find("cell", "riscv64") is None:
        pytest.skip("no image cell; auberge image build cell")
    copy_repository(tmp_path)
    play(path, tmp_path, slow=True)


def test_every_block_is_run_or_plainly_text():
    """```text is for what nobody types; anything else is python or console, and so is run."""
    for path in DOCUMENTS:
        fences = [line for line in path.read_text().splitlines() if line.startswith("```")]
        assert len(fences) % 2 == 0, path
        kinds = {fence.split()[0] for fence in fences[::2]}
        assert kinds <= {"```python", "```console", "```text"}, (path, kinds)


def test_every_link_leads_somewhere():
    broken = [
        f"{path.relative_to(ROOT)}: {target}"
        for path in [*DOCUMENTS, ROOT / "CHANGELOG.md"]
        for target in re.findall(r"\]\(([^)#:]+)[^)]*\)", path.read_text())
        if not (path.parent / target).exists()
    ]
    assert not broken


def test_dots_stand_for_anything():
    assert matches("a ... z\n...\nend\n", "a b c z\nthis\nthat\nend\n")
    assert matches("...\nend\n", "end\n")
    assert not matches("a\nend\n", "a\nb\nend\n")


def test_a_session_is_commands_with_what_they_print():
    session = "$ cat <<X\n> one\n> X\none\n$ true\n"
    assert steps(session) == [("cat <<X\none\nX", "one\n"), ("true", "")]
