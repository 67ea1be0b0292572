"""`auberge image`: the images that guests are made of: build, import, export, list, remove."""

import argparse
import json
import os
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import NamedTuple

from auberge.cli import container_images
from auberge.image import Image, build, find, stages, store
from auberge.image.apt import Moved
from auberge.image.oci import content, removal
from auberge.image.recipe import Job, Progress
from auberge.refusal import Refusal

ARCH = "riscv64"  # the board `virt`

IMPORT = "importing layers"
FORMATS = ("oci-archive", "oci-dir", "docker-archive")
"""As podman calls them."""


def arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the verbs and what each takes."""
    verbs = parser.add_subparsers(dest="verb", metavar="VERB", required=True)
    verb = verbs.add_parser("build", help="make an image from Debian's packages, if need be")
    verb.add_argument(
        "image",
        metavar="IMAGE",
        help="`tiny`: kernel and busybox; `debian`: all of it; `debian:ARCH` of this host: a"
        " container's",
    )
    verb.add_argument("--mirror", metavar="URL", help="a Debian archive instead of apt's own")
    verb.add_argument("--keyring", metavar="FILE", help="the keys the archive is signed with")
    verb.add_argument("--update", action="store_true", help="look for newer packages")
    verb = verbs.add_parser("ls", help="list the images that are built")
    verb.add_argument("--json", action="store_true", help="print JSON")
    verb = verbs.add_parser("import", help="take a container's image out of a file or folder")
    verb.add_argument("file", metavar="FILE", help="an OCI layout or its archive, or docker's")
    verb.add_argument("--name", help="what to call it, instead of what the file says")
    verb = verbs.add_parser("export", help="write a container's image for other programs")
    verb.add_argument("image", metavar="IMAGE")
    verb.add_argument("file", metavar="FILE", help="a new file or folder; - is standard output")
    verb.add_argument(
        "--format", choices=FORMATS, default=FORMATS[0], help="which kind (default: %(default)s)"
    )
    verb = verbs.add_parser("inspect", help="verify an image and print its manifest as JSON")
    verb.add_argument("image", metavar="IMAGE")
    verb = verbs.add_parser("rm", help="remove images")
    verb.add_argument("images", metavar="IMAGE", nargs="+")


def run(args: argparse.Namespace) -> int:
    """Do what the verb says."""
    match args.verb:
        case "build":
            name, arch = store.parse_reference(args.image, ARCH)
            if arch != ARCH:
                title = f"{name}:{arch}"
                with shown_progress(title, container_images.stages(name, arch)) as progress:
                    container_images.build(
                        name, arch, args.mirror, args.keyring, progress, args.update
                    )
                return 0
            with shown_progress(f"{name}:{arch}", stages(name)) as progress:
                image = build(
                    name, arch, args.mirror, args.keyring, progress, args.update, run_guest
                )
            version = store.read_manifest(image)["kernel_version"]
            print(f"{name}:{arch}: Linux {version} in {image.directory}", file=sys.stderr)
        case "ls":
            list_images(args.json)
        case "import":
            with shown_import(args.file) as moved:
                container_images.take(args.file, args.name, moved)
        case "export":
            container_images.give(args.image, args.file, args.format)
        case "inspect":
            if (record := container_images.meant(args.image)) is not None:
                print(container_images.inspected(record))
                return 0
            image = existing(args.image)
            store.verify(image)
            print(
                json.dumps({**store.read_manifest(image), "directory": image.directory}, indent=1)
            )
        case "rm":
            for reference in args.images:
                if (record := container_images.meant(reference)) is not None:
                    removal.remove(record)
                else:
                    store.remove(store.place(*store.parse_reference(reference, ARCH)))
    return 0


def run_guest(job: Job) -> None:
    """Run a guest that does a part of a build."""
    # only some builds need the machine, and most find the image in the cache
    from auberge.api.machine import Machine

    def hear(data: bytes) -> None:
        machine.console.send(job.hear(data))

    with Machine.virt(
        job.kernel,
        job.initrd,
        job.append,
        job.memory,
        job.cpus,
        disks=job.disks,
        console=hear,
    ) as machine:
        machine.run(until=job.until)


def existing(reference: str) -> Image:
    """The image of this name, or a refusal."""
    name, arch = store.parse_reference(reference, ARCH)
    image = find(name, arch)
    if image is None:
        raise Refusal(f"{name}:{arch}: no such image; see `auberge image ls`")
    return image


class Row(NamedTuple):
    """What a listing says about an image."""

    name: str
    arch: str
    kernel_version: str
    """Or that it is a container's, which has none."""
    size: int


def row(image: Image) -> Row:
    """An image's row; also for one that is damaged, so that it can be seen and removed."""
    try:
        manifest = store.read_manifest(image)
    except Refusal:
        return Row(image.name, image.arch, "damaged", 0)
    size = sum(entry["size"] for entry in manifest["files"].values())
    return Row(image.name, image.arch, manifest["kernel_version"], size)


def list_images(as_json: bool) -> None:
    """Print one line, or one JSON object, for each image."""
    rows = [row(image) for image in store.images()]
    for record in content.records():
        rows.append(Row(record.name, record.arch, *container_images.describe(record)))
    if as_json:
        print(json.dumps([row._asdict() for row in rows], indent=1))
        return
    print(f"{'IMAGE':20} {'KERNEL':28} {'SIZE':>10}")
    for name, arch, version, size in rows:
        print(f"{f'{name}:{arch}':20} {version:28} {f'{size / (1 << 20):.1f} MiB':>10}")


@contextmanager
def shown_import(file: str) -> Iterator[Moved]:
    """Show on a terminal how many layers of a file are done."""
    if not sys.stderr.isatty():
        yield lambda done, total: None
        return
    with shown_progress(file, (IMPORT,)) as progress:
        yield lambda done, total: progress(IMPORT, done, max(total, 1))


@contextmanager
def shown_progress(what: str, stages: Sequence[str]) -> Iterator[Progress]:
    """Show on stderr how far the stages are: as bars on a terminal, else by lines."""
    if not sys.stderr.isatty() or os.environ.get("TERM") == "dumb":
        yield Lines(what, stages, time.monotonic).hear
        return

    # a third of a second to import: only for those who watch
    from rich.console import Console
    from rich.progress import BarColumn, TaskID, TextColumn, TimeRemainingColumn
    from rich.progress import Progress as Bars

    columns = (
        TextColumn(what + ": {task.description}"),
        BarColumn(),
        TextColumn("{task.percentage:>3.0f} %"),
        TimeRemainingColumn(),
    )
    with Bars(*columns, console=Console(stderr=True)) as bars:
        tasks: dict[str, TaskID] = {}

        def bar(stage: str, done: int, total: int) -> None:
            # all that is still to come is there from the first on; waiting is no stage
            for name in (*stages, stage) if stage in stages else (stage,):
                if name not in tasks:
                    tasks[name] = bars.add_task(name, start=False, total=None)
            task = tasks[stage]
            if not bars.tasks[task].started:
                bars.start_task(task)
            bars.update(task, completed=done, total=total)

        yield bar


class Lines:
    """Progress for a file: a line when a stage begins, and at each quarter of a long one."""

    LONG = 5.0
    """Seconds between lines, at least."""

    def __init__(self, what: str, stages: Sequence[str], now: Callable[[], float]) -> None:
        self._what = what
        self._stages = stages
        self._now = now
        self._stage = ""
        self._quarter = 0
        self._said = 0.0

    def hear(self, stage: str, done: int, total: int) -> None:
        """Take how much of a stage is done, and print what is worth a line."""
        if stage != self._stage:
            self._stage, self._quarter = stage, 4 * done // total
            self._say(stage)
        elif 4 * done // total > self._quarter and self._now() > self._said + self.LONG:
            self._quarter = 4 * done // total
            self._say(f"{stage}: {100 * done // total} %")

    def _say(self, text: str) -> None:
        self._said = self._now()
        number = ""
        if self._stage in self._stages:
            number = f"{self._stages.index(self._stage) + 1}/{len(self._stages)} "
        print(f"{self._what}: {number}{text}", file=sys.stderr, flush=True)
