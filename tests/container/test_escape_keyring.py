"""keyrings(7): the keys of whoever runs a container are out of its reach."""

import ctypes
import os
import subprocess

import pytest

from auberge.container.kernel import SYSCALLS
from tests.container.tables import program

pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(not os.path.exists("/proc/keys"), reason="this kernel has no keyrings"),
]
SEARCH, SESSION, JOIN = 10, -3, 1
ENOKEY = 126


def with_a_key():
    """In a child: a session keyring of its own, with a key in it."""
    libc = ctypes.CDLL(None, use_errno=True)
    keyctl = SYSCALLS[os.uname().machine]["keyctl"]
    add_key = {"x86_64": 248, "aarch64": 217}[os.uname().machine]
    assert libc.syscall(keyctl, JOIN, b"of-the-runtime") > 0
    assert libc.syscall(add_key, b"user", b"secret", b"value", 5, SESSION) > 0


@pytest.fixture
def finds(bundle):
    """A program that looks for the key."""
    return program(bundle.root / "finds", "keyctl", SEARCH, SESSION, "user", "secret", 0)


def test_the_key_is_found_where_it_is(finds):
    assert subprocess.run([finds], preexec_fn=with_a_key).returncode == 0


def test_a_container_does_not_find_it(bundle, runtime, finds):
    bundle.process["args"] = ["/finds"]
    done = bundle.run(runtime, preexec_fn=with_a_key)
    assert done.returncode == ENOKEY, done.stderr


def test_nor_does_a_process_that_enters(bundle, finds):
    bundle.create("ours", "sleep 100")
    assert bundle.call("ours", "start", bundle.name).returncode == 0
    done = bundle.call("ours", "exec", bundle.name, "/finds", preexec_fn=with_a_key)
    assert done.returncode == ENOKEY, done.stderr


def test_without_a_keyring_of_its_own_it_would(bundle, finds):
    """--no-new-keyring says what it does."""
    bundle.process["args"] = ["/finds"]
    done = bundle.run("ours", None, "--no-new-keyring", preexec_fn=with_a_key)
    assert done.returncode == 0, done.stderr
