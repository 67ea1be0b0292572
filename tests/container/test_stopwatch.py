"""Marks of where time goes are bounded, whoever notes them."""

import time
from types import SimpleNamespace

from auberge.container import stopwatch


def test_another_thread_notes_one_meanwhile(monkeypatch):
    """There is room for one, and each of the two has seen it."""
    monkeypatch.setattr(stopwatch, "_marks", [("before", 0.0, 0.0)] * (stopwatch.MOST - 1))

    def clock():
        if len(stopwatch._marks) < stopwatch.MOST:
            stopwatch._marks.append(("other", 0.0, 0.0))
        return 0.0

    other = SimpleNamespace(perf_counter=clock, process_time=time.process_time)
    monkeypatch.setattr(stopwatch, "time", other)
    stopwatch.mark("ours")
    assert [name for name, _, _ in stopwatch._marks[-2:]] == ["before", "other"]
    assert len(stopwatch._marks) == stopwatch.MOST
