"""A request of another thread is cleared before what it is about is looked at, fenced off from it.

The other order loses one that comes between; without the fence the host's store buffer makes it the
other order now and then, too seldom for a test that waits for it to happen.
"""

import pytest

from auberge.engine.slices import ATTEND

LINES = [line.partition(";")[0].strip() for line in ATTEND.splitlines()]


@pytest.mark.parametrize("what", ["attention", "posted_ssip", "request_sfence", "request_fence_i"])
def test_a_fence_follows_the_clearing(what: str) -> None:
    cleared = LINES.index(f"put {what}, 0")
    assert LINES[cleared + 1] == "fence seq_cst"
    look = f"get {what}"
    assert all(not line.endswith(look) for line in LINES[cleared + 1 :])
