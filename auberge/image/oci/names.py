"""Which image of the store a user means, and the host's architecture as images call it."""

import os

from auberge.image.oci import content
from auberge.image.oci.content import Record
from auberge.image.store import parse_reference
from auberge.refusal import Refusal

ARCHITECTURES = {
    "x86_64": "amd64",
    "aarch64": "arm64",
    "riscv64": "riscv64",
    "armv7l": "arm-v7",
    "i686": "386",
    "ppc64le": "ppc64le",
    "s390x": "s390x",
}
"""What the kernel says (uname(2)), and Go, whose names images have."""


def host_architecture() -> str:
    """The architecture whose programs this host runs by itself."""
    machine = os.uname().machine
    return ARCHITECTURES.get(machine, machine)


def lookup(reference: str) -> Record | None:
    """The image of `NAME[:ARCH]`; without an architecture it is the host's."""
    return content.find(*parse_reference(reference, host_architecture()))


def existing(reference: str) -> Record:
    """The same, or a refusal that says how to get one."""
    record = lookup(reference)
    if record is not None:
        return record
    name, arch = parse_reference(reference, host_architecture())
    others = [each.reference for each in content.records() if each.name == name]
    there = f"; there is {', '.join(others)}" if others else ""
    raise Refusal(
        f"{name}:{arch}: no such image{there}; make it with `auberge image build debian:{arch}`,"
        " or `auberge image import FILE`"
    )
