"""Mounts whose files have other owners inside (config.md, "Mounts"): ours, and crun first."""

import os
import subprocess
from pathlib import Path

import pytest

from tests.container.bundles import command_of
from tests.until import until

pytestmark = pytest.mark.slow

OWNERS = "stat -c '%u:%g' "


@pytest.fixture(params=["ours", "crun"])
def idmapper(request):
    """A runtime that maps mounts: runc of Debian 12 does not."""
    command_of(request.param)
    return request.param


def maps(*lines):
    """The same map for users and groups."""
    words = ("containerID", "hostID", "size")
    found = [dict(zip(words, line, strict=True)) for line in lines]
    return {"uidMappings": found, "gidMappings": found}


@pytest.fixture
def tmp_path(open_path):
    """Whoever is in a user namespace reaches the bundle."""
    return open_path


def shared(bundle, owner=0, options=("bind", "idmap"), where="source", **mapping):
    """A folder of the host's with a file of that owner's, mapped to /mnt."""
    folder = bundle.path / where
    folder.mkdir()
    (folder / "file").write_text("hello\n")
    for path in (folder, folder / "file"):
        os.chown(path, owner, owner)
    folder.chmod(0o777)
    bundle.config["mounts"].append(
        {"destination": "/mnt", "source": str(folder), "type": "bind", "options": list(options)}
        | mapping
    )
    return folder


def users(bundle):
    """A new user namespace."""
    bundle.linux["namespaces"].append({"type": "user"})
    bundle.linux |= maps((0, 100000, 65536))
    bundle.config["linux"].pop("resources", None)


def test_without_maps_of_its_own_it_has_the_containers(bundle, idmapper):
    folder = shared(bundle)
    users(bundle)
    bundle.config["root"]["readonly"] = False
    script = f"{OWNERS} /mnt /mnt/file; echo new > /mnt/made; {OWNERS} /mnt/made; cat /mnt/file"
    assert bundle.said(idmapper, script).split() == ["0:0", "0:0", "0:0", "hello"]
    made = (folder / "made").stat()
    assert (made.st_uid, made.st_gid) == (0, 0)  # root of the container is root on this disk
    assert (folder / "file").stat().st_uid == 0


def test_maps_of_its_own(bundle, idmapper):
    folder = shared(bundle, owner=5, **maps((5, 1000, 1), (0, 0, 1)))
    bundle.process["user"] = {"uid": 1000, "gid": 1000}
    script = f"{OWNERS} /mnt/file; echo x > /mnt/made; {OWNERS} /mnt/made; echo y >> /mnt/file"
    assert bundle.said(idmapper, script).split() == ["1000:1000", "1000:1000"]
    assert (folder / "made").stat().st_uid == 5
    assert (folder / "file").read_text() == "hello\ny\n"


def test_who_is_not_mapped_is_nobody_and_makes_nothing(bundle, idmapper):
    folder = shared(bundle, owner=6, **maps((5, 1000, 1)))
    said = bundle.said(idmapper, f"{OWNERS} /mnt/file; echo x > /mnt/made || echo refused; id -u")
    assert said.split() == ["65534:65534", "refused", "0"]
    assert not (folder / "made").exists()


def test_users_and_groups_have_maps_of_their_own(bundle, idmapper):
    mapping = maps((0, 7, 1)) | {"gidMappings": maps((0, 8, 1))["gidMappings"]}
    shared(bundle, **mapping)
    assert bundle.said(idmapper, f"{OWNERS} /mnt/file") == "7:8\n"


def test_its_own_maps_win_over_the_containers(bundle, idmapper):
    folder = shared(bundle, owner=5, **maps((5, 100000, 1)))
    users(bundle)
    assert bundle.said(idmapper, f"{OWNERS} /mnt/file; touch /mnt/made") == "0:0\n"
    assert (folder / "made").stat().st_uid == 5


def test_other_options_go_with_it(bundle, idmapper):
    shared(bundle, options=("bind", "ro", "idmap"), **maps((0, 7, 1)))
    said = bundle.said(idmapper, f"{OWNERS} /mnt/file; touch /mnt/made 2>&1; true")
    assert said.splitlines()[0] == "7:7"
    assert "Read-only" in said


def test_a_file_alone(bundle, idmapper):
    folder = shared(bundle, **maps((0, 7, 1)))
    bundle.config["mounts"][-1] |= {"destination": "/etc/one", "source": str(folder / "file")}
    bundle.config["root"]["readonly"] = False
    assert bundle.said(idmapper, f"cat /etc/one; {OWNERS} /etc/one") == "hello\n7:7\n"


@pytest.fixture
def below(bundle):
    """A tmpfs on the host, below the folder to be shared."""
    place = bundle.path / "source/below"
    mounted = []

    def mount():
        place.mkdir()
        subprocess.run(["mount", "-t", "tmpfs", "below", str(place)], check=True)
        mounted.append(place)
        (place / "deep").write_text("")
        return place

    yield mount
    for path in mounted:
        subprocess.run(["umount", str(path)], check=True)


def test_what_is_mounted_below_it_is_mapped_only_by_ridmap(bundle, below):
    shared(bundle, options=("rbind", "idmap"), **maps((0, 7, 1)))
    below()
    look = f"{OWNERS} /mnt/file /mnt/below/deep"
    assert bundle.said("ours", look).split() == ["7:7", "0:0"]
    bundle.config["mounts"][-1]["options"] = ["rbind", "ridmap"]
    assert bundle.said("ours", look).split() == ["7:7", "7:7"]
    bundle.config["mounts"][-1]["options"] = ["rbind"]  # maps without the word are `idmap`
    assert bundle.said("ours", look).split() == ["7:7", "0:0"]


def test_ids_of_a_user_namespace_that_is_joined(bundle):
    folder = shared(bundle)
    holder = subprocess.Popen(["unshare", "--user", "sleep", "100"])
    try:
        _map(holder.pid, "0 200000 65536")
        bundle.linux["namespaces"].append({"type": "user", "path": f"/proc/{holder.pid}/ns/user"})
        bundle.linux.pop("resources", None)
        said = bundle.said("ours", f"{OWNERS} /mnt/file; touch /mnt/made; cat /proc/self/uid_map")
    finally:
        holder.kill()
        holder.wait()
    assert said.split() == ["0:0", "0", "200000", "65536"]
    assert (folder / "made").stat().st_uid == 0


def _map(pid, line):
    """Once it is in a namespace of its own."""
    until(lambda: os.readlink(f"/proc/{pid}/ns/user") != os.readlink("/proc/self/ns/user"))
    for name in ("uid_map", "gid_map"):
        with open(f"/proc/{pid}/{name}", "w", encoding="ascii") as file:
            file.write(line)


def test_two_mounts_of_one_folder(bundle):
    shared(bundle, **maps((0, 7, 1)))
    again = bundle.config["mounts"][-1] | maps((0, 9, 1))
    bundle.config["mounts"] += [again, again | {"destination": "/srv"} | maps((0, 8, 1))]
    bundle.config["root"]["readonly"] = False
    assert bundle.said("ours", f"{OWNERS} /mnt/file /srv/file") == "9:9\n8:8\n"


@pytest.mark.parametrize("mapped", [True, False])
def test_what_is_mounted_inside_is_not_seen_outside(bundle, below, mapped):
    """The host's mount may be shared, and a copy of it is its peer unless it is made a slave."""
    shared(bundle, options=("rbind", "ridmap") if mapped else ("rbind",))
    users(bundle)
    place = below()
    subprocess.run(["mount", "--make-shared", str(place)], check=True)
    bundle.config["root"]["readonly"] = False
    (place / "folder").mkdir()
    for kind in ("bounding", "permitted", "effective"):
        bundle.process["capabilities"][kind] = ["CAP_SYS_ADMIN"]
    os.mkfifo(bundle.path / "source/go")
    inside = "mount -t tmpfs inner /mnt/below/folder && cat /proc/self/mountinfo"
    bundle.process["args"] = ["/bin/sh", "-c", f"{inside}; read x < /mnt/go"]
    bundle.write()
    words = bundle.command("ours", "run", "--bundle", str(bundle.path), bundle.name)
    with subprocess.Popen(words, stdout=subprocess.PIPE, text=True) as running:
        lines = []
        for line in running.stdout:
            lines.append(line)
            if " - tmpfs inner " in line:
                break
        outside = Path("/proc/self/mountinfo").read_text()
        (bundle.path / "source/go").write_text("go\n")
        running.communicate(timeout=60)
    assert " - tmpfs inner " in lines[-1]
    assert str(place) in outside
    assert str(place / "folder") not in outside
    below_line = next(line for line in lines if " /mnt/below " in line)
    assert "master:" in below_line
    assert "shared:" not in below_line


def refused(bundle):
    """What ours says, in one line and with nothing left behind."""
    done = bundle.run("ours", "true")
    assert done.returncode != 0
    assert not (bundle.state / bundle.name).exists()
    return done.stderr.removeprefix("auberge-oci: ")


def test_refusals_name_what_to_mend(bundle):
    shared(bundle)
    assert refused(bundle) == (
        "config.json: $.mounts[6]: 'idmap' has no maps; give uidMappings and gidMappings, or the "
        "container a user namespace\n"
    )
    mount = bundle.config["mounts"][-1]
    mount |= maps((0, 7, 0))
    assert refused(bundle) == (
        "config.json: $.mounts[6].uidMappings[0].size: maps nothing; write 1 at least\n"
    )
    mount |= maps((0, 7, 2), (1, 20, 2))
    assert refused(bundle) == (
        "config.json: $.mounts[6].uidMappings[1]: overlaps one before it; map each id once\n"
    )
    mount |= maps((0xFFFF_FFFF, 0xFFFF_FFFF, 0xFFFF_FFFF))
    assert refused(bundle) == (
        "config.json: $.mounts[6].uidMappings: 4294967295 4294967295 4294967295: invalid argument; "
        "map ids that you may use\n"
    )
    mount |= maps((0, 7, 1))
    mount["options"] = ["bind", "remount", "idmap"]
    assert refused(bundle) == (
        "config.json: $.mounts[6]: cannot be mapped once it is mounted; take 'remount' out\n"
    )


def test_a_file_system_that_cannot_map(bundle):
    mapping = maps((0, 7, 1))
    mount = {"destination": "/mnt", "source": "/proc/sys", "options": ["bind", "idmap"]} | mapping
    bundle.config["mounts"].append(mount)
    assert refused(bundle) == (
        "container: $.mounts[6]: /proc/sys: the file system cannot map ids (invalid argument); "
        "take one that can, such as ext4 or tmpfs, and is not mapped already\n"
    )
    mount["source"] = str(bundle.path / "nothing")
    assert "TakeMount" in (said := refused(bundle))
    assert "no such file or directory" in said


def test_descriptors_of_the_namespaces_do_not_reach_the_program(bundle):
    shared(bundle, **maps((0, 7, 1)))
    said = bundle.said("ours", "ls /proc/self/fd")
    assert said.split() == ["0", "1", "2", "3"]  # the last is of the folder that ls reads


def test_a_bundle_that_is_run_again_is_mapped_again(bundle):
    shared(bundle, **maps((0, 7, 1)))
    for _ in range(2):
        assert bundle.said("ours", f"{OWNERS} /mnt/file") == "7:7\n"
    bundle.config["mounts"][-1] |= maps((0, 8, 1))
    assert bundle.said("ours", f"{OWNERS} /mnt/file") == "8:8\n"


def test_only_root_may(run_as_user, tmp_path):
    def change(config):
        config["mounts"].append(
            {"destination": "/mnt", "source": str(tmp_path), "options": ["bind", "idmap"]}
        )

    done = run_as_user("true", change)
    assert done.stderr.endswith(
        ": only root may map the ids of a mount; take uidMappings, gidMappings and 'idmap' out\n"
    )
