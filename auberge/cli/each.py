"""What is done to several guests, one after the other."""

import sys
from collections.abc import Callable, Sequence

from auberge.cli.main import FAILED, one_line
from auberge.refusal import Refusal


def each(names: Sequence[str], act: Callable[[str], object]) -> int:
    """Do it to each, and print its name; one that refuses keeps none of the others from it. The
    exit status says whether all went well."""
    status = 0
    for name in names:
        try:
            act(name)
            print(name, flush=True)
        except Refusal as refusal:
            print(f"auberge: {one_line(str(refusal))}", file=sys.stderr)
            status = FAILED
    return status
