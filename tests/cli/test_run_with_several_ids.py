"""`auberge run` by a user whom /etc/subuid grants ids: a container has all of its users, seen from
inside, and what they own can be saved and removed."""

import io
import os
import shutil
import stat
import subprocess
import tarfile

import pytest

from tests.box import fill, write_box
from tests.container.bundles import ROOT
from tests.somebody import COUNT, FIRST, Somebody
from tests.user import USER, give, temporary_home

pytestmark = [
    pytest.mark.slow,
    pytest.mark.timeout(150),
    pytest.mark.skipif(not ROOT, reason="only root can be others"),
]


def member(archive, name, uid, gid, mode, text=None):
    info = tarfile.TarInfo(name)
    info.uid, info.gid, info.mode = uid, gid, mode
    if text is None:
        info.type = tarfile.DIRTYPE
        archive.addfile(info)
    else:
        info.size = len(text)
        archive.addfile(info, io.BytesIO(text))


def owned_layer():
    """Files of several users, some closed to everybody else, and a whiteout."""
    out = io.BytesIO()
    with tarfile.open(fileobj=out, mode="w") as archive:
        member(archive, "srv/", 1000, 2000, 0o700)
        member(archive, "srv/mine", 1000, 1000, 0o600, b"a secret\n")
        member(archive, "srv/deep/", 999, 999, 0o700)
        member(archive, "srv/deep/file", 999, 998, 0o4755, b"x")
        member(archive, "srv/far", 70000, 70000, 0o644, b"nobody here has this one")
        member(archive, "etc/.wh.hostname", 0, 0, 0o644, b"")
    return out.getvalue()


@pytest.fixture(scope="module")
def world():
    """The user, with images that others had unpacked for one id."""
    with temporary_home() as home:
        somebody = Somebody(home)
        fill(home / "cache")
        where = write_box(home, "owned", more=[owned_layer()])
        give(home)
        done = somebody.auberge("image", "import", where)
        assert done.returncode == 0, done.stderr
        yield somebody


@pytest.fixture
def somebody(world):
    """The same for one test, which sees in the end that nothing is left."""
    yield world
    world.grant(COUNT)
    for place in ("guests", "oci/users", "oci/temporary"):
        folder = world.home / "cache" / place
        assert not folder.exists() or os.listdir(folder) == []


def sh(somebody, script, *options, image="box"):
    return somebody.auberge("run", "--rm", "--net", "none", *options, image, "sh", "-c", script)


def test_ids_are_the_users_and_those_that_are_granted(somebody):
    done = sh(somebody, "cat /proc/self/uid_map /proc/self/gid_map /proc/self/setgroups")
    both = ["0", str(USER), "1", "1", str(FIRST), str(COUNT)]
    assert done.stdout.split() == [*both, *both, "allow"], done.stderr
    assert done.stderr == ""


def test_chown_and_a_switch_of_users(somebody):
    script = """
        touch /x && chown 1000:2000 /x && stat -c %u:%g /x
        su guest -c 'id -u; id -G; echo mine > /tmp/y; cat /root/no; echo $?'
        stat -c %u:%g /tmp/y
        chown 65536 /x && chown 65537 /x || echo refused
    """
    done = sh(somebody, f"mkdir -m 700 -p /root; {script}")
    said = ["1000:2000", "1000", "1000", "2000", "1", "1000:1000", "refused"]
    assert done.stdout.split() == said, done.stderr


def test_another_user_from_the_beginning(somebody):
    script = "id -u; id -g; id -G; touch /no; touch /tmp/y; stat -c %u /tmp/y; stat -c %u /home"
    done = sh(somebody, script, "-u", "guest")
    assert done.stdout.split() == ["1000", "1000", "1000", "2000", "1000", "0"], done.stderr
    assert "Permission denied" in done.stderr
    assert sh(somebody, "id -u; id -g", "-u", "7:8").stdout.split() == ["7", "8"]
    done = sh(somebody, "true", "-u", "65537")
    assert (done.returncode, done.stderr) == (
        125,
        "auberge: -u: user 65537: a container has those up to 65536 here; take one of them, "
        "or have more granted in /etc/subuid\n",
    )


def test_files_of_an_image_have_their_owners(somebody):
    script = "cd /srv; stat -c '%n %u:%g %a' . mine deep deep/file far; cat mine; ls /etc/hostname"
    done = sh(somebody, script, image="owned")
    assert done.stdout.splitlines() == [
        ". 1000:2000 700", "mine 1000:1000 600", "deep 999:999 700", "deep/file 999:998 4755",
        "far 0:0 644", "a secret", "/etc/hostname",
    ]  # fmt: skip
    done = sh(somebody, "cat /srv/mine; cat /srv/deep/file", "-u", "1000", image="owned")
    assert done.stdout == "a secret\n" and "Permission denied" in done.stderr


def test_on_the_host_they_are_the_subordinate_ids(somebody):
    found = set()
    for folder, _, names in os.walk(somebody.home / "cache/oci/layers"):
        for name in names:
            status = os.lstat(os.path.join(folder, name))
            found.add((status.st_uid, status.st_gid))
    assert (FIRST + 999, FIRST + 999) in found and (FIRST + 998, FIRST + 997) in found
    assert all(uid == USER or FIRST <= uid < FIRST + COUNT for uid, _ in found)


def test_changes_are_saved_with_the_containers_ids_and_removed(somebody):
    script = """
        mkdir -m 700 /d; echo hi > /d/f; ln /d/f /d/g; chown -R 1000:2000 /d
        chown 5:6 /srv/mine; rm -r /srv/deep; mkdir /srv/deep; chmod 000 /d/f
    """
    somebody.auberge("run", "--net", "none", "--name", "a", "owned", "sh", "-c", script)
    try:
        changed = somebody.home / "cache/guests/a/upper/d"
        assert os.lstat(changed).st_uid == FIRST + 999
        assert somebody.auberge("commit", "a", "changed").stdout.startswith("changed:")
    finally:
        done = somebody.auberge("rm", "a")
    assert (done.returncode, done.stdout, done.stderr) == (0, "a\n", "")
    look = "stat -c '%n %u:%g %a' /d /d/f /srv/mine; stat -c %h /d/g; cat /d/g; ls -A /srv/deep"
    done = sh(somebody, look, image="changed")
    assert done.stdout.splitlines() == [
        "/d 1000:2000 700", "/d/f 1000:2000 0", "/srv/mine 5:6 600", "2", "hi",
    ]  # fmt: skip
    saved = somebody.home / "saved.tar"
    done = somebody.auberge("image", "export", "--format", "docker-archive", "changed", str(saved))
    assert done.returncode == 0, done.stderr
    assert owner_in(saved, "d/f") == (1000, 2000)
    saved.unlink()
    before = set(os.listdir(somebody.home / "cache/oci/layers"))
    assert somebody.auberge("image", "rm", "changed").returncode == 0
    assert len(before - set(os.listdir(somebody.home / "cache/oci/layers"))) == 1


def owner_in(path, name):
    with tarfile.open(path) as archive:
        for each in archive.getmembers():
            if each.name.endswith(".tar"):
                with tarfile.open(fileobj=archive.extractfile(each)) as inner:
                    if name in inner.getnames():
                        found = inner.getmember(name)
                        return found.uid, found.gid
    return None


def test_a_copy_where_overlays_cannot_be(somebody):
    cache = somebody.home / "cache/oci"
    trials = list(cache.glob("overlay-*"))
    assert trials
    texts = [trial.read_text() for trial in trials]
    try:
        for trial in trials:
            trial.write_text("no: a test's wish")
        script = "stat -c '%n %u:%g' /srv/mine; chown 3:4 /srv/mine; su guest -c 'touch /tmp/y'"
        done = somebody.auberge("run", "--net", "none", "--name", "c", "owned", "sh", "-c", script)
        assert done.stdout == "/srv/mine 1000:1000\n", done.stderr
        assert (somebody.home / "cache/guests/c/copied.json").exists()
        assert somebody.auberge("commit", "c", "copied").returncode == 0
        assert somebody.auberge("rm", "c").returncode == 0
        look = "stat -c '%n %u:%g' /srv/mine /tmp/y /srv/deep/file"
        done = sh(somebody, look, image="copied")
        assert done.stdout.split() == [
            "/srv/mine", "3:4", "/tmp/y", "1000:1000", "/srv/deep/file", "999:998"
        ], done.stderr  # fmt: skip
        assert somebody.auberge("image", "rm", "copied").returncode == 0
    finally:
        for trial, text in zip(trials, texts, strict=True):
            trial.write_text(text)


def test_volumes_are_the_users_and_root_is_he(somebody):
    shared = somebody.home / "shared"
    shared.mkdir()
    os.chown(shared, USER, USER)
    (shared / "roots").write_text("the host's root's")
    script = "stat -c %u /v /v/roots; touch /v/a /v/b; chown 1000 /v/b; su guest -c 'rm /v/a'"
    done = sh(somebody, script, "-v", f"{shared}:/v")
    assert done.stdout.split() == ["0", "65534"]
    assert "Permission denied" in done.stderr
    assert os.stat(shared / "a").st_uid == USER
    assert os.stat(shared / "b").st_uid == FIRST + 999
    shutil.rmtree(shared)


def test_in_the_background_and_one_more_command(somebody):
    done = somebody.auberge("run", "-d", "--net", "none", "--name", "bg", "box", "sleep", "100")
    assert done.stdout == "bg\n", done.stderr
    try:
        done = somebody.auberge("exec", "-u", "guest", "bg", "sh", "-c", "id -u; id -G; pwd")
        assert done.stdout.split() == ["1000", "1000", "2000", "/home"], done.stderr
        assert somebody.auberge("exec", "-u", "7", "bg", "sleep", "90", "&").returncode == 1
        assert somebody.auberge("exec", "bg", "chown", "9", "/home").returncode == 0
    finally:
        assert somebody.auberge("rm", "--force", "bg").stdout == "bg\n"


def test_its_end_removes_what_others_in_it_own(somebody):
    script = "mkdir -m 700 /tmp/d; touch /tmp/d/f; sleep 1"
    done = somebody.auberge(
        "run", "-d", "--rm", "--net", "none", "--name", "gone", "-u", "1000", "box", "sh", "-c",
        script,
    )  # fmt: skip
    assert done.stdout == "gone\n", done.stderr
    somebody.auberge("wait", "gone")
    for _ in range(100):
        if not os.listdir(somebody.home / "cache/guests"):
            break
        somebody.does("sleep", "0.1")


def test_from_python(somebody):
    code = """
import auberge
with auberge.Container("box", ["sh", "-c", "touch /tmp/$1; stat -c %u /tmp/$1; ls /tmp", "sh", "x"],
                       user="guest") as container:
    print([container.run().stdout for _ in range(2)])
"""
    done = somebody.does(somebody.interpreter, "-c", code)
    assert done.stdout == "['1000\\nx\\n', '1000\\nx\\n']\n", done.stderr


def test_layers_for_other_ids_are_not_taken(somebody):
    look = "stat -c %u:%g /srv/mine; tail -n 1 /proc/self/uid_map"

    def seen():
        done = sh(somebody, look, image="owned")
        return done.stdout.split(), done.stderr

    several = ["1000:1000", "1", str(FIRST), str(COUNT)]
    assert seen() == (several, "")
    somebody.grant(0)
    alone = ["0:0", "0", str(USER), "1"]
    said, told = seen()
    assert said == alone
    assert told.startswith("auberge: containers have one user here, so that chown and su fail in")
    assert "usermod --add-subuids" in told and told.count("\n") == 1
    assert seen() == (alone, "")  # once
    somebody.grant(1500)
    assert seen() == (["1000:1000", "1", str(FIRST), "1500"], "")
    somebody.grant(COUNT)
    assert seen() == (several, "")


def test_a_container_keeps_the_ids_that_it_was_made_with(somebody):
    words = ("run", "--net", "none", "--name")
    script = "touch /tmp/x; mkdir -m 700 /tmp/d; touch /tmp/d/y"
    done = somebody.auberge(*words, "many", "-u", "5", "box", "sh", "-c", script)
    assert done.returncode == 0, done.stderr
    try:
        somebody.grant(0)
        assert somebody.auberge(*words, "one", "box", "touch", "/tmp/x").returncode == 0
        somebody.grant(COUNT)
        for name, uid in (("many", 5), ("one", 0)):
            assert somebody.auberge("commit", name, f"from-{name}").returncode == 0
            done = sh(somebody, "stat -c %u /tmp/x", image=f"from-{name}")
            assert done.stdout == f"{uid}\n", done.stderr
            assert somebody.auberge("image", "rm", f"from-{name}").returncode == 0
        somebody.grant(0)
        done = somebody.auberge("rm", "many")
        assert done.returncode == 125 and "see /etc/subuid and" in done.stderr, done.stderr
        assert done.stderr.count("\n") == 1
    finally:
        somebody.grant(COUNT)
        for name in ("many", "one"):
            assert somebody.auberge("rm", name).returncode == 0


def test_a_newuidmap_that_may_not_is_as_none(somebody):
    tmp_path = somebody.home / "bin"
    tmp_path.mkdir()
    tool = tmp_path / "newuidmap"
    tool.write_text("#!/bin/sh\necho 'write to uid_map failed' >&2; exit 1\n")
    tool.chmod(0o755)
    script = f"PATH={tmp_path}:$PATH exec {somebody.interpreter} -m auberge.cli.main run --rm " + (
        "--net none box sh -c 'wc -l < /proc/self/uid_map'"
    )
    done = somebody.does("sh", "-c", script)
    assert done.stdout == "1\n"
    assert "newuidmap: write to uid_map failed; see /etc/subuid" in done.stderr


def test_doctor_tells(somebody):
    assert f"root and {COUNT} more" in somebody.auberge("doctor").stdout
    somebody.grant(0)
    said = somebody.auberge("doctor").stdout
    assert "one user" in said and "usermod --add-subuids" in said


def test_nothing_of_the_store_is_open_to_others(somebody):
    assert stat.S_IMODE(os.stat(somebody.home / "cache/oci").st_mode) == 0o700


def test_limits_and_folders_in_memory_without_root(somebody):
    script = "ulimit -n; stat -c %u /m; touch /m/x; stat -c %u /m/x"
    done = sh(somebody, script, "-u", "5", "--ulimit", "nofile=50:60", "--tmpfs", "/m:uid=5")
    assert done.stdout.split() == ["50", "5", "5"], done.stderr
    done = sh(somebody, "true", "--ulimit", "nofile=99999999")
    assert done.returncode == 125 and done.stderr.count("\n") == 1
    assert "nofile: 99999999 is more than may be had without root; write " in done.stderr


def test_a_disk_for_a_machine_has_the_images_owners(somebody):
    if not shutil.which("debugfs", path="/usr/sbin:/sbin:/usr/bin"):
        pytest.skip("e2fsprogs is not installed: apt install e2fsprogs")
    code = """
from auberge.image.oci.names import existing
from auberge.monitor.machine_root import disk_of
record = existing("owned")
assert record.ids
print(disk_of(record))
"""
    done = somebody.does(somebody.interpreter, "-c", code)
    assert done.returncode == 0, done.stderr
    disk = done.stdout.rstrip()
    seen = {}
    for name in ("/srv", "/srv/mine", "/srv/deep/file", "/bin/busybox"):
        asked = ["debugfs", "-R", f"stat {name}", disk]
        said = subprocess.run(
            asked, capture_output=True, text=True, env={"PATH": "/usr/sbin:/sbin:/usr/bin"}
        ).stdout.split()
        seen[name] = int(said[said.index("User:") + 1]), int(said[said.index("Group:") + 1])
    assert seen == {
        "/srv": (1000, 2000), "/srv/mine": (1000, 1000), "/srv/deep/file": (999, 998),
        "/bin/busybox": (0, 0),
    }  # fmt: skip
    assert os.listdir(os.path.dirname(disk)) == [os.path.basename(disk)]
