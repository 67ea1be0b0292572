"""CVE-2021-30465: links that somebody exchanges while a container is made change nothing."""

import threading

import pytest

pytestmark = pytest.mark.slow


def test_links_that_are_exchanged_while_it_is_made(bundle, outside):
    """CVE-2021-30465: somebody else changes the image all the time."""
    (bundle.root / "a").mkdir()
    (bundle.root / "b").symlink_to("/" + "../" * 12 + str(outside).lstrip("/"))
    target = bundle.root / "place"
    over = threading.Event()

    def exchange():
        while not over.is_set():
            for name in ("a", "b"):
                temporary = bundle.root / "temporary"
                temporary.symlink_to(name)
                temporary.rename(target)

    target.symlink_to("a")
    thread = threading.Thread(target=exchange)
    thread.start()
    mounts = [{"destination": "/place", "type": "tmpfs", "source": "evil"}] * 8
    bundle.config["mounts"] += mounts
    try:
        for _ in range(10):
            done = bundle.run("ours", "cut -d' ' -f5,10 /proc/self/mountinfo | grep evil")
            places = {line.split()[0] for line in done.stdout.splitlines()}
            assert places <= {"/a"}, done.stdout
    finally:
        over.set()
        thread.join()
    with open("/proc/self/mountinfo") as mounted:
        assert "evil" not in mounted.read()
    assert [f.name for f in outside.iterdir()] == ["file"]
