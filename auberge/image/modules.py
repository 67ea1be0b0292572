"""Kernel modules in an initramfs: the few we want and what they need, laid out for modprobe(8)."""

import lzma
from collections.abc import Iterable, Mapping

from auberge.refusal import Refusal


class Module:
    """One module of a kernel: its object file and what its `.modinfo` section says."""

    __slots__ = ("aliases", "depends", "name", "object")

    def __init__(self, where: str, data: bytes) -> None:
        self.name = module_name(where)
        self.object = data
        info = [entry for entry in data.split(b"\0") if b"=" in entry and len(entry) < 256]
        depends = [entry[8:] for entry in info if entry.startswith(b"depends=")]
        if not data.startswith(b"\x7fELF") or len(depends) != 1:
            raise Refusal(f"{where}: not a kernel module; use another archive")
        self.depends = [name for name in depends[0].decode("ascii", "replace").split(",") if name]
        self.aliases = [
            entry[6:].decode("ascii", "replace") for entry in info if entry.startswith(b"alias=")
        ]


def module_name(path: str) -> str:
    """The kernel's name of the module in a file: `virtio-rng.ko.xz` is `virtio_rng`."""
    return path.rsplit("/", 1)[-1].split(".", 1)[0].replace("-", "_")


def load_modules(files: Mapping[str, bytes]) -> dict[str, Module]:
    """Modules by name, from files named `*.ko` or `*.ko.xz`."""
    modules: dict[str, Module] = {}
    for path, data in files.items():
        if path.endswith(".xz"):
            try:
                data = lzma.decompress(data)
            except lzma.LZMAError as broken:
                raise Refusal(f"{path}: {broken}; use another archive") from broken
        modules[module_name(path)] = Module(path, data)
    return modules


def closure(roots: Iterable[str], modules: Mapping[str, Module]) -> list[str]:
    """The roots and all they depend on, dependencies first."""
    order: list[str] = []

    def visit(name: str, above: tuple[str, ...]) -> None:
        if name in above:
            raise Refusal(f"{name}.ko: depends on itself; use another archive")
        if name not in order:
            for dependency in modules[name].depends:
                visit(dependency, (*above, name))
            order.append(name)

    for root in roots:
        visit(root, ())
    return order


def modules_dep(names: Iterable[str], modules: Mapping[str, Module]) -> str:
    """The text of modules.dep(5): after each file, all it needs, nearest first."""
    lines = []
    for name in names:
        needs = closure(modules[name].depends, modules)[::-1]
        lines.append(f"{name}.ko:" + "".join(f" {need}.ko" for need in needs) + "\n")
    return "".join(lines)


def modules_alias(names: Iterable[str], modules: Mapping[str, Module]) -> str:
    """The text of modules.alias: which module drives which device."""
    return "".join(f"alias {alias} {name}\n" for name in names for alias in modules[name].aliases)
