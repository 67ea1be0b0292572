"""The stub that runs a container's first steps (stub.py), generated once for all tests."""

import os
import shutil
from pathlib import Path

from auberge.container import stub


def share_stub(cache: Path) -> None:
    """Make a cache directory that has it: a user may have no compiler, and tests no time for it."""
    stub.code()
    code = cache / "code"
    code.mkdir(parents=True, mode=0o700)
    for name in os.listdir(stub.cache_folder()):
        if name.startswith("stub-"):
            shutil.copy(os.path.join(stub.cache_folder(), name), code)
