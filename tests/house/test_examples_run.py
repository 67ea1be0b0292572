"""Every example is a complete thought of at most thirty written lines that runs."""

import ast
import os
import subprocess
import sys

import pytest

from auberge.image.oci.names import lookup
from tests.house.source import ROOT

EXAMPLES = sorted((ROOT / "examples").glob("*.py"))


CONTAINERS = {"a_container_each"}
"""Those that run containers of Debian, which they do not build."""


@pytest.mark.slow
@pytest.mark.parametrize("path", EXAMPLES, ids=lambda path: path.stem)
def test_an_example_runs(path, tmp_path):
    if path.stem in CONTAINERS and (os.geteuid() != 0 or lookup("debian") is None):
        pytest.skip("for root, with `auberge image build debian:amd64` done")
    done = subprocess.run(
        [sys.executable, "-W", "error", str(path)],
        cwd=tmp_path,
        capture_output=True,
        text=True,
        stdin=subprocess.DEVNULL,
        timeout=240,
    )
    assert (done.returncode, done.stderr) == (0, ""), done.stderr
    assert done.stdout, "an example shows something"


@pytest.mark.parametrize("path", EXAMPLES, ids=lambda path: path.stem)
def test_an_example_is_short_and_says_what_it_shows(path):
    text = path.read_text()
    assert sum(bool(line.strip()) for line in text.splitlines()) <= 30
    assert ast.get_docstring(ast.parse(text))
