"""CVE-2025-31133, CVE-2023-27561: a masked path is masked, whatever an image has in its place."""

import threading

import pytest

pytestmark = pytest.mark.slow


def test_a_mask_is_the_hosts_null_device(bundle, outside):
    """CVE-2025-31133: an image whose /dev/null is a link to what is to be mounted instead."""
    bundle.config["mounts"] = [m for m in bundle.config["mounts"] if "/dev" not in m["destination"]]
    (bundle.root / "secret").write_text("masked")
    (bundle.root / "dev/null").symlink_to("/etc/passwd")
    bundle.linux["maskedPaths"] = ["/secret"]
    said = bundle.said("ours", "wc -c < /secret; grep ' /secret ' /proc/mounts | cut -d' ' -f1")
    assert said == "0\ndevtmpfs\n"


def test_a_masked_link_masks_what_it_means_inside(bundle, outside):
    (bundle.root / "link").symlink_to(outside / "file")
    bundle.linux["maskedPaths"] = ["/link"]
    assert bundle.said("ours", "echo fine") == "fine\n"
    assert (outside / "file").read_text() == "of the host\n"


def test_a_mask_exchanged_for_a_link_while_it_is_made(bundle, outside):
    """Either what was there is masked, or what is there now; the host's never is, nor is shown."""
    secret = bundle.root / "place/secret"
    secret.parent.mkdir()
    secret.write_text("masked\n")
    (bundle.root / "other").mkdir()
    (bundle.root / "other/secret").symlink_to("/" + "../" * 12 + str(outside / "file").lstrip("/"))
    over = threading.Event()

    def exchange():
        away = bundle.root / "away"
        while not over.is_set():
            secret.parent.rename(away)
            (bundle.root / "other").rename(secret.parent)
            secret.parent.rename(bundle.root / "other")
            away.rename(secret.parent)

    bundle.linux["maskedPaths"] = ["/place/secret"]
    bundle.process["args"] = ["/bin/sh", "-c", "cat /place/secret /other/secret"]
    thread = threading.Thread(target=exchange)
    thread.start()
    try:
        for _ in range(10):
            done = bundle.run("ours")
            assert "of the host" not in done.stdout + done.stderr
    finally:
        over.set()
        thread.join()
    assert (outside / "file").read_text() == "of the host\n"


def test_a_bind_mount_over_a_masked_path_is_masked_too(bundle, runtime):
    """Masks come after mounts: what config.json binds there is what is hidden."""
    source = bundle.path / "source"
    source.write_text("bound\n")
    (bundle.root / "secret").write_text("of the image\n")
    bundle.config["mounts"].append(
        {"destination": "/secret", "source": str(source), "options": ["bind"]}
    )
    bundle.linux["maskedPaths"] = ["/secret"]
    assert bundle.said(runtime, "wc -c < /secret") == "0\n"


def test_a_masked_folder_shows_and_takes_nothing(bundle, runtime):
    for name in ("one", "two"):
        (bundle.root / name).mkdir()
        (bundle.root / name / "secret").write_text("masked")
    bundle.linux["maskedPaths"] = ["/one", "/two"]
    bundle.config["root"]["readonly"] = False
    script = "ls -A /one /two; for d in one two; do touch /$d/x && echo written; done; true"
    said = bundle.said(runtime, script)
    assert said.split() == ["/one:", "/two:"]
