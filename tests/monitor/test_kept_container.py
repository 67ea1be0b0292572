"""The end of a container, as its supervisor sees it, whatever others do to its folder meanwhile."""

import os

import pytest

from auberge.monitor import guests
from auberge.monitor.guests import Record, process
from auberge.monitor.kept_container import KeptContainer
from auberge.monitor.names import KEEPER, listen, socket_path


@pytest.fixture(autouse=True)
def home(tmp_path, monkeypatch):
    monkeypatch.setenv("AUBERGE_CACHE_DIR", str(tmp_path / "cache"))
    monkeypatch.setenv("XDG_RUNTIME_DIR", str(tmp_path))


def record(**more):
    return Record(guests.fresh_id(), "web", "container", "debian", ("true",), **more)


def test_a_guest_that_took_the_name_of_a_removed_one_keeps_its_record():
    pid = os.posix_spawn("/bin/true", ["true"], {})
    old = guests.create(record(process=process(pid), socket=socket_path("web", KEEPER)))
    new = record()

    class Raced(KeptContainer):
        def _hang_up(self):
            super()._hang_up()
            guests.create(new)  # by a command that has waited for the name

    kept = Raced(old, -1)
    with listen("web", KEEPER):
        old.remove()
        assert kept.end() == 0
    assert old.load() == new
