"""Our command line as users have it, run by the Python that runs the tests."""

import sys

AUBERGE = [sys.executable, "-m", "auberge.cli.main"]
