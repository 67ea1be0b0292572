"""The container's image `debian`: what Debian cannot be without, apt, and Python."""

from auberge.image.apt import Apt
from auberge.image.debian import ESSENTIAL
from auberge.image.guest_apt import PROXY, SOURCES, guest_proxies, guest_sources
from auberge.image.oci.config import DEFAULT_PATH, ImageConfig
from auberge.image.recipe import Chosen, digest_of
from auberge.image.sources import debian_sources, host_proxies, host_sources, read_os_release
from auberge.refusal import Refusal

PACKAGES = ("apt", "passwd", "mount", "ca-certificates", "python3")
"""Besides the essential ones; apt adds what these depend on."""

FIRST = "1"
"""The essential packages: they are unpacked before there is anything that could install them."""

DEBIAN = {"386": "i386", "arm-v7": "armhf", "ppc64le": "ppc64el"}
"""What Debian calls the architectures that it does not call as Go does."""


def debian_architecture(arch: str) -> str:
    """Debian's name of an image's architecture."""
    return DEBIAN.get(arch, arch)


def digest() -> str:
    """Changes with everything in Auberge that decides what the image contains."""
    modules = ("changes", "debian", "layer_writer", "namespace", "staging", "tar_writer")
    return digest_of("guest_apt", *(f"oci/{name}" for name in modules))


def choose(apt: Apt) -> Chosen:
    """What to fetch; the index is there."""
    essential = apt.solve([ESSENTIAL])
    names = apt.solve([ESSENTIAL, *PACKAGES])
    if not essential or not set(essential) <= set(names):
        raise Refusal(f"{apt.archive.uri}: apt's choice lacks packages; try another mirror")
    hosts = host_sources()
    if not debian_sources(hosts, read_os_release()):
        # elsewhere than on Debian and what derives from it, names of suites mean something else
        hosts = []
    files = {
        SOURCES: guest_sources(apt.archive, hosts, apt.can_read),
        PROXY: guest_proxies(host_proxies()),
        "etc/default/locale": "LANG=C.UTF-8\n",
    }
    rest = [name for name in names if name not in essential]
    return Chosen(apt.locate([*essential, *rest]), {FIRST: essential}, apt.archive, files)


def configuration(arch: str, version: str) -> ImageConfig:
    """What the image says of itself."""
    return ImageConfig(
        arch,
        env=(DEFAULT_PATH, "LANG=C.UTF-8"),
        cmd=("bash",),
        labels={
            "org.opencontainers.image.title": "debian",
            "org.opencontainers.image.version": version,
        },
    )
