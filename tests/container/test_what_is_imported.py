"""What runs again imports nothing that takes long: a library of Python's costs 0.3 ms."""

import os
import subprocess
import sys

import pytest

from tests.shared_stub import share_stub

pytestmark = pytest.mark.slow

COMMAND = """
import sys
sys.path.insert(0, sys.argv.pop(1))
from auberge.cli.oci import main
main()
"""


def test_a_bundle_that_was_run_before_imports_no_library_that_it_can_do_without(
    bundle, monkeypatch
):
    share_stub(bundle.path / "cache")
    monkeypatch.setenv("AUBERGE_CACHE_DIR", str(bundle.path / "cache"))
    assert bundle.run("ours", "exit 0").returncode == 0
    words = ["--root", str(bundle.state), "run", "--bundle", str(bundle.path), bundle.name]
    done = subprocess.run(
        [sys.executable, "-I", "-S", "-X", "importtime", "-c", COMMAND, os.getcwd(), *words],
        capture_output=True, text=True, check=True, stdin=subprocess.DEVNULL,
    )  # fmt: skip
    imported = {line.rpartition("|")[2].strip() for line in done.stderr.splitlines()}
    assert {"auberge.container.kept", "resource"} <= imported
    slow = {"zlib", "struct", "_struct", "_json", "encodings.ascii", "auberge.container.plan"}
    assert not slow & imported
