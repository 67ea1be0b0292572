"""The benchmarks' own modules, found as their scripts find them."""

import os
import sys

BENCHMARKS = os.path.join(os.path.dirname(__file__), "..", "..", "benchmarks")
sys.path.append(os.path.abspath(BENCHMARKS))
