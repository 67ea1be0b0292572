"""Folders of a machine: devices after the others, counted, and closed with it."""

import os
from collections import Counter

import pytest

import auberge
from tests.machine.fakes import image


@pytest.fixture
def kernel(tmp_path):
    path = tmp_path / "Image"
    path.write_bytes(image())
    return path


def places():
    """Where our descriptors lead."""
    paths = [f"/proc/self/fd/{number}" for number in os.listdir("/proc/self/fd")]
    return [os.readlink(path) for path in paths if os.path.lexists(path)]


def test_a_machine_holds_its_folders_until_it_is_closed(kernel, tmp_path):
    before = Counter(places())
    (tmp_path / "d").mkdir()
    with auberge.Machine.virt(
        kernel, memory="16M", engine="reference", volumes=[f"{tmp_path / 'd'}:/d"]
    ) as machine:
        assert [place for place in places() if place == str(tmp_path / "d")]
        assert machine.statistics().folders == {
            "requests": 0, "errors": 0, "read_bytes": 0, "written_bytes": 0, "python_ns": 0
        }  # fmt: skip
        lines = machine.statistics().lines()
        assert any(line.startswith("folders Python per request") for line in lines)
    # what an earlier test forgot may have been closed meanwhile
    assert not Counter(places()) - before


def test_a_machine_without_folders_does_not_speak_of_them(kernel):
    with auberge.Machine.virt(kernel, memory="16M", engine="reference") as machine:
        assert not any("folders" in line for line in machine.statistics().lines())


@pytest.mark.parametrize(
    "options, text",
    [
        ({"volumes": ["d:/d"] * 7},
         "volumes: 7, beside disks (0) and networks (0); at most 6 in all are possible, so share a"
         " folder above several"),
        ({"volumes": ["d:/d"] * 5, "disks": ["x"], "net": "user"},
         "volumes: 5, beside disks (1) and networks (1); at most 6 in all are possible, so share a"
         " folder above several"),
        ({"volumes": ["nowhere"]},
         "volumes: 'nowhere' is no volume; write HOST:GUEST, or HOST:GUEST:ro, where GUEST is an"
         " absolute path in the guest"),
        ({"volumes": ["/no/such:/d"]},
         "/no/such: No such file or directory; name a folder to share"),
    ],
)  # fmt: skip
def test_what_cannot_be(kernel, options, text):
    before = os.listdir("/proc/self/fd")
    with pytest.raises(auberge.Refusal) as refusal:
        auberge.Machine.virt(kernel, memory="16M", engine="reference", **options)
    assert str(refusal.value) == text
    assert os.listdir("/proc/self/fd") == before
