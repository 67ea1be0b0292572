"""A mirror that goes away, or a disk that fills up: one line says so, nothing half-made stays."""

import functools
import http.server
import os
import subprocess
import sys
import threading

import pytest

from auberge.image import build, find, store
from auberge.refusal import Refusal
from tests.image.debian import needs, raw_image

pytestmark = [pytest.mark.slow, needs("apt-get", "dpkg-deb", "gpgv", "gpg")]


class Leaving(http.server.SimpleHTTPRequestHandler):
    """Serves files, but for packages only as much as `server.left` has bytes left, and no word."""

    def do_GET(self):
        if "/pool/" not in self.path or self.server.left is None:
            super().do_GET()
            return
        with open(self.translate_path(self.path), "rb") as file:
            data = file.read()
        self.send_response(200)
        self.send_header("Content-Length", str(len(data)))
        self.end_headers()
        self.wfile.write(data[: self.server.left])
        self.close_connection = True

    def log_message(self, format, *args):
        pass


@pytest.fixture
def mirror(archive):
    handler = functools.partial(Leaving, directory=str(archive.root))
    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), handler) as server:
        server.left = None
        threading.Thread(target=server.serve_forever, daemon=True).start()
        yield server
        server.shutdown()


def build_from(archive, uri):
    return build("tiny", "riscv64", uri, str(archive.key.binary))


def test_a_mirror_that_goes_away_in_the_middle(cache, archive, mirror):
    uri = f"http://127.0.0.1:{mirror.server_port}"
    mirror.left = 100
    with pytest.raises(Refusal) as told:
        build_from(archive, uri)
    assert str(told.value) == (
        f"{uri}: stopped in the middle; build again, what was fetched is kept"
    )
    assert find("tiny", "riscv64") is None
    mirror.left = None
    store.verify(build_from(archive, uri))


FULL = """
import sys
from auberge.image import build
from auberge.refusal import Refusal
try:
    build("tiny", "riscv64", sys.argv[1], sys.argv[2])
except Refusal as refusal:
    print(refusal)
"""

ON_A_SMALL_DISK = """
mount -t tmpfs -o size=$1 tmpfs "$AUBERGE_CACHE_DIR"
shift
"$@"
ls -A "$AUBERGE_CACHE_DIR/images"
"""


def on_a_small_disk(cache, size, archive):
    """What a build says, and what it leaves, when its cache is a file system of this size."""
    cache.mkdir(exist_ok=True)
    inside = ["unshare", "--mount", *([] if os.geteuid() == 0 else ["--map-root-user"])]
    program = [sys.executable, "-c", FULL, archive.uri, str(archive.key.binary)]
    command = [*inside, "sh", "-c", ON_A_SMALL_DISK, "sh", size, *program]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    if "mount:" in done.stderr or "unshare:" in done.stderr:
        pytest.skip(f"no mounts here: {done.stderr.strip()}")
    assert done.stderr == ""
    return done.stdout.splitlines()


@needs("unshare", "mount")
@pytest.mark.parametrize("size", ["64k", "8m", "16m"])
def test_a_disk_that_is_full_is_named(cache, archive, size):
    archive.add_kernel(image=raw_image(10 << 20))
    archive.publish()
    said, *left = on_a_small_disk(cache, size, archive)
    assert "no space left on" in said
    assert left == [".tiny-riscv64.lock"]


@needs("unshare", "mount")
def test_a_disk_with_room_is_none_of_these(cache, archive):
    assert on_a_small_disk(cache, "64m", archive) == [".tiny-riscv64.lock", "tiny-riscv64"]
