"""CVE-2024-21626: no descriptor of the host's is open in a container, early or late."""

import json
import os

import pytest

pytestmark = pytest.mark.slow


def test_no_descriptor_of_the_host_reaches_the_program(bundle):
    bundle.process["args"] = ["ls", "/proc/self/fd"]
    status, out, err = bundle.call_leaking("run", "--bundle", str(bundle.path), bundle.name)
    assert (status, out.split()) == (0, ["0", "1", "2", "3"]), err


def test_the_first_process_has_none_while_it_waits(bundle):
    bundle.create("ours", "true")
    pid = json.loads(bundle.call("ours", "state", bundle.name).stdout)["pid"]
    kinds = [os.readlink(f"/proc/{pid}/fd/{fd}") for fd in os.listdir(f"/proc/{pid}/fd")]
    folders = [kind for kind in kinds if kind.startswith("/") and os.path.isdir(kind)]
    assert folders in ([], ["/"])  # its own root
