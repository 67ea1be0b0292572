"""CVE-2019-5736: the program that makes a container cannot be overwritten from inside."""

import json
import os
import subprocess

import pytest

pytestmark = pytest.mark.slow


def test_the_program_in_the_middle_cannot_be_overwritten(bundle):
    """CVE-2019-5736: even the host's root cannot write to what /proc/PID/exe is meanwhile."""
    assert bundle.create("ours", "true").returncode == 0
    pid = json.loads(bundle.call("ours", "state", bundle.name).stdout)["pid"]
    assert os.readlink(f"/proc/{pid}/exe") == "/memfd:auberge-stub (deleted)"
    for flags in (os.O_WRONLY, os.O_RDWR, os.O_WRONLY | os.O_TRUNC):
        with pytest.raises(OSError):
            os.open(f"/proc/{pid}/exe", flags)


def test_an_image_that_executes_whatever_executes_it_gets_nothing(bundle):
    """The classic way in: the container's program is `#!/proc/self/exe`."""
    evil = bundle.root / "evil"
    evil.write_text("#!/proc/self/exe\n")
    evil.chmod(0o755)
    bundle.process["args"] = ["/evil"]
    done = bundle.run("ours")
    assert (done.returncode, done.stdout) == (125, "")
    python = os.path.realpath(subprocess.sys.executable)
    assert os.access(python, os.X_OK)
