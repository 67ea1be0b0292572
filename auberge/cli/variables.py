"""What `-e` says of a guest's environment, as docker's users write it."""

import os
from collections.abc import Sequence

from auberge.refusal import Refusal


def variables(texts: Sequence[str]) -> tuple[str, ...]:
    """NAME=VALUE as it is; NAME alone has our own value, and is left out if we have none.

    Raises Refusal for what has no name.
    """
    found = []
    for text in texts:
        name, equals, _ = text.partition("=")
        if not name:
            raise Refusal(f"-e: {text!r} is not NAME=VALUE; write it so")
        if equals or name in os.environ:
            found.append(text if equals else f"{name}={os.environ[name]}")
    return tuple(found)
