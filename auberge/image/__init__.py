"""Floor 2: kernels, root file systems and how they are built."""

from typing import TYPE_CHECKING

from auberge.image.store import Image, find

if TYPE_CHECKING:
    from auberge.image.recipe import Computer, Progress

__all__ = ["Image", "build", "find", "stages"]


def build(
    name: str,
    arch: str,
    mirror: str | None = None,
    keyring: str | None = None,
    progress: "Progress" = lambda stage, done, total: None,
    update: bool = False,
    computer: "Computer | None" = None,
) -> Image:
    """The image, complete: the cached one if this version of Auberge built it, else a new one.

    `update` looks for newer packages even so. `computer` runs the guests that some images need to
    be made; see recipe.py.
    """
    # most starts find an image in the cache and need none of this
    from auberge.image import builder

    return builder.build(name, arch, mirror, keyring, progress, update, computer)


def stages(name: str) -> list[str]:
    """What building such an image consists of, in order, as `progress` hears it."""
    from auberge.image import builder

    return builder.stages(name)
