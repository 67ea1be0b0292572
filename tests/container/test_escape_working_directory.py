"""CVE-2024-21626: a working directory never leads through a descriptor of the host's."""

import pytest

pytestmark = pytest.mark.slow


@pytest.mark.parametrize("number", [3, 5, 8, 20, 64, 65])
def test_no_working_directory_leads_through_one(bundle, number):
    bundle.process["cwd"] = f"/proc/self/fd/{number}"
    bundle.process["args"] = ["/bin/ls", "../../../../etc"]
    status, out, _ = bundle.call_leaking("run", "--bundle", str(bundle.path), bundle.name)
    assert (status, out) == (1, "")


def test_nor_of_a_process_that_enters(bundle):
    bundle.create("ours", "ln -s /proc/self/fd/7 /tmp/way; sleep 100")
    bundle.call("ours", "start", bundle.name)
    for folder in ("/proc/self/fd/7", "/proc/1/cwd", "/proc/self/root"):
        status, out, err = bundle.call_leaking("exec", "--cwd", folder, bundle.name, "pwd")
        assert (status, out) == (1, "")
        assert "too many levels of symbolic links" in err
