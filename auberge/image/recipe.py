"""What images are made by: a recipe, what it is handed, and what it hands back."""

import hashlib
import os
from collections.abc import Callable, Mapping, Sequence
from typing import NamedTuple, Protocol

from auberge.image.apt import Apt, Archive, Package
from auberge.image.store import BootEntry

Progress = Callable[[str, int, int], None]
"""Hears the name of a stage, how much of it is done, and out of how much."""

UNPACK = "unpacking the kernel"
COPY = "unpacking packages"
INSTALL = "installing in a guest"
WRITE = "writing the image"


class Job(NamedTuple):
    """A guest that does a part of a build, and powers off."""

    kernel: str
    initrd: str
    append: str
    memory: str
    disks: Sequence[str]
    """As on the command line of `auberge boot`."""
    hear: Callable[[bytes], bytes]
    """Is given what the guest prints; what it returns is typed at the guest's console."""
    until: str
    """Ends the guest when it prints this."""
    cpus: int


Computer = Callable[[Job], None]
"""Runs a guest until it ends, whichever way; raises Refusal if there can be none."""


class Chosen(NamedTuple):
    """The packages an image is made of, and those a recipe can tell apart by name."""

    packages: Sequence[Package]
    groups: Mapping[str, Sequence[str]]
    archive: Archive
    files: Mapping[str, str] = {}
    """What is to be in the guest because of where the packages come from."""


class Made(NamedTuple):
    """What a recipe wrote into its directory."""

    kernel_version: str
    files: Sequence[str]
    boot: BootEntry | None


class Recipe(Protocol):
    """How images of one name are made."""

    @property
    def architectures(self) -> Sequence[str]:
        """The architectures of the guest."""
        ...

    @property
    def stages(self) -> Sequence[str]:
        """The names of what `make` does, in order, as `Progress` hears them."""
        ...

    def digest(self) -> str:
        """Changes with everything in Auberge that decides what the image contains."""
        ...

    def choose(self, apt: Apt) -> Chosen:
        """What to fetch; the index is there."""
        ...

    def make(
        self,
        chosen: Chosen,
        directory: str,
        kept: str,
        computer: Computer | None,
        progress: Progress,
    ) -> Made:
        """Make the image's files in `directory`, from packages that were fetched.

        What is in `kept` is there again if this is interrupted and done once more.
        """
        ...


def digest_of(*modules: str) -> str:
    """A digest of the text of these modules of this room."""
    digest = hashlib.sha256()
    for name in modules:
        with open(os.path.join(os.path.dirname(__file__), f"{name}.py"), "rb") as file:
            digest.update(file.read())
    return digest.hexdigest()
