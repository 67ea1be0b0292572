"""HOME is what the container's passwd says, where config.json says nothing."""

import pytest

pytestmark = pytest.mark.slow


@pytest.fixture
def bundle(bundle):
    (bundle.root / "etc").mkdir(exist_ok=True)
    (bundle.root / "etc/passwd").write_text(
        "root:x:0:0:root:/home/of/root:/bin/sh\nother:x:7:7::/home/of/other:/bin/sh\n"
    )
    return bundle


def test_of_root(bundle, runtime):
    assert bundle.said(runtime, "echo $HOME") == "/home/of/root\n"


def test_of_another_user(bundle, runtime):
    bundle.process["user"] = {"uid": 7, "gid": 7}
    assert bundle.said(runtime, "echo $HOME") == "/home/of/other\n"


def test_of_nobody_it_knows(bundle, runtime):
    bundle.process["user"] = {"uid": 8, "gid": 8}
    assert bundle.said(runtime, "echo $HOME") == "/\n"


def test_what_is_set_stays(bundle, runtime):
    bundle.process["env"].append("HOME=/mine")
    assert bundle.said(runtime, "echo $HOME") == "/mine\n"


def test_a_passwd_that_is_changed_between_two_runs(bundle):
    assert bundle.said("ours", "echo $HOME") == "/home/of/root\n"
    assert bundle.said("ours", "echo $HOME") == "/home/of/root\n"
    (bundle.root / "etc/passwd").write_text("root:x:0:0:root:/elsewhere:/bin/sh\n")
    assert bundle.said("ours", "echo $HOME") == "/elsewhere\n"


def test_a_link_to_the_hosts_is_not_followed(bundle):
    host = bundle.path / "host-passwd"
    host.write_text("root:x:0:0:root:/of/the/host:/bin/sh\n")
    (bundle.root / "etc/passwd").unlink()
    (bundle.root / "etc/passwd").symlink_to(host)
    assert bundle.said("ours", "echo $HOME") == "/\n"


def test_of_a_process_that_enters(bundle, runtime):
    bundle.create(runtime, "sleep 100")
    assert bundle.call(runtime, "start", bundle.name).returncode == 0
    words = ["exec", "--user", "7:7", bundle.name, "sh", "-c", "echo $HOME"]
    done = bundle.call(runtime, *words)
    bundle.remove(runtime)
    assert done.stdout == "/home/of/other\n", done.stderr
