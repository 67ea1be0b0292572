"""W^X while regions are compiled, installed, dropped and loaded: by the host's own list."""

import subprocess
import sys

import pytest

from tests.engine.test_arena_is_never_writable_and_executable import mappings

# A guest on a thread, whose arena is too small for its regions, and the mappings meanwhile.
RUN = """
import threading
from auberge.memory.arena import Arena
from auberge.engine.region_file import RegionFile
from tests.engine.test_a_full_arena_makes_room import PROGRAM, works
from tests.engine.test_translator import board
shared = works(RegionFile("regions"))
b = board(PROGRAM, shared)
runs = threading.Thread(target=b.engine.run, args=(100_000,))
runs.start()
shown = set()
while True:
    alive = runs.is_alive()
    with open("/proc/self/maps") as file:
        shown.add(file.read())
    if not alive:
        break
assert shared.regions and shared.dropped and shared.loaded
print("===".join(shown))
"""


@pytest.mark.slow
def test_nothing_is_both(tmp_path: object) -> None:
    shown = subprocess.run(
        [sys.executable, "-c", RUN.replace('"regions"', repr(f"{tmp_path}/regions"))],
        capture_output=True,
        text=True,
        check=True,
    )
    looks = [mappings(text) for text in shown.stdout.split("===")]
    assert len(looks) > 1
    seen = {each.permissions for look in looks for each in look if "auberge-code" in each.name}
    assert seen == {"r-xs"}
    both = [each for look in looks for each in look if {"w", "x"} <= set(each.permissions)]
    assert both == []
