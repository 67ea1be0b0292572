"""A word to someone who waits at a terminal."""

import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager

SOON = 0.7
"""Seconds in which nobody wonders."""


@contextmanager
def patience(why: str) -> Iterator[None]:
    """Say `why` on a terminal, if what is done in this context takes longer than a moment."""
    if not sys.stderr.isatty():
        yield
        return
    word = threading.Timer(SOON, lambda: print(f"auberge: {why}", file=sys.stderr))
    word.daemon = True
    word.start()
    try:
        yield
    finally:
        word.cancel()
