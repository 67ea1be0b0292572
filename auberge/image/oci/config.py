"""An image's configuration (image-spec 1.1, config.md): what to run in it, and how."""

from typing import NamedTuple

from auberge.image.oci.digest import read_digest
from auberge.image.oci.document import Json, Node, parse
from auberge.image.oci.limits import LAYERS

DEFAULT_PATH = "PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"

PROTOCOLS = ("tcp", "udp", "sctp")


class Port(NamedTuple):
    """A port that a container listens on."""

    number: int
    protocol: str


class ImageConfig(NamedTuple):
    """A configuration, validated: nothing in it is of a wrong type or form."""

    arch: str
    variant: str = ""
    created: str = ""
    author: str = ""
    user: str = ""
    """`USER[:GROUP]`, names or numbers; see identity.py."""
    exposed_ports: tuple[Port, ...] = ()
    env: tuple[str, ...] = ()
    entrypoint: tuple[str, ...] = ()
    cmd: tuple[str, ...] = ()
    volumes: tuple[str, ...] = ()
    working_dir: str = ""
    labels: dict[str, str] = {}
    stop_signal: str = ""
    diff_ids: tuple[str, ...] = ()

    @property
    def platform(self) -> str:
        """How its architecture is named after a colon: `arm64`, `arm-v7`."""
        # all of arm64 is v8, and amd64 v1 where it is not said
        usual = {"arm64": "v8", "amd64": "v1"}.get(self.arch, "")
        return self.arch if self.variant in ("", usual) else f"{self.arch}-{self.variant}"


def read_config(data: bytes, where: str) -> ImageConfig:
    """The configuration in a blob; `where` names the blob to those who have to mend it."""
    document = parse(data, where)
    arch, system = document.get("architecture"), document.get("os")
    if system.text() != "linux":
        raise system.refusal("is not linux")
    rootfs = document.get("rootfs")
    if rootfs.get("type").text() != "layers":
        raise rootfs.get("type").refusal("is not layers")
    diff_ids = rootfs.get("diff_ids")
    if len(diff_ids.array()) > LAYERS:
        raise diff_ids.refusal(f"has more than {LAYERS} layers")
    config = document.get("config")
    return ImageConfig(
        _word(arch),
        _word(document.get("variant")) if document.get("variant").text("") else "",
        document.get("created").text(""),
        document.get("author").text(""),
        config.get("User").text(""),
        tuple(_port(port) for port in config.get("ExposedPorts").table().items()),
        tuple(_variable(element) for element in config.get("Env").array()),
        config.get("Entrypoint").texts(),
        config.get("Cmd").texts(),
        tuple(_absolute(*volume) for volume in config.get("Volumes").table().items()),
        _working_directory(config.get("WorkingDir")),
        config.get("Labels").text_table(),
        config.get("StopSignal").text(""),
        tuple(read_digest(diff_id) for diff_id in diff_ids.array()),
    )


def write_config(config: ImageConfig, event: Json, before: dict[str, Json]) -> Json:
    """The document that says the same, and as another did what has no field here.

    `event`, about the topmost layer, joins its history.
    """
    old = before.get("config")
    settings: dict[str, Json] = dict(old) if isinstance(old, dict) else {}
    settings |= {
        "User": config.user,
        "ExposedPorts": {f"{port.number}/{port.protocol}": {} for port in config.exposed_ports},
        "Env": list(config.env),
        "Entrypoint": list(config.entrypoint),
        "Cmd": list(config.cmd),
        "Volumes": {volume: {} for volume in config.volumes},
        "WorkingDir": config.working_dir,
        "Labels": dict(config.labels),
        "StopSignal": config.stop_signal,
    }
    document: dict[str, Json] = before | {
        "architecture": config.arch,
        "os": "linux",
        "config": {name: value for name, value in settings.items() if value},
        "rootfs": {"type": "layers", "diff_ids": list(config.diff_ids)},
        "history": [*_history(before.get("history"), len(config.diff_ids) - 1), event],
    }
    for name, text in (
        ("variant", config.variant),
        ("created", config.created),
        ("author", config.author),
    ):
        if text:
            document[name] = text
    return document


def _history(old: Json, layers: int) -> list[Json]:
    """A history with an event for each of so many layers: peers refuse images that have others."""
    events = old if isinstance(old, list) else []
    told = sum(1 for each in events if isinstance(each, dict) and not each.get("empty_layer"))
    unknown: list[Json] = [{"created_by": "unknown"} for _ in range(layers - told)]
    return [*unknown, *events]


def _word(node: Node) -> str:
    """An architecture or variant: a part of a name that users type."""
    text = node.text()
    if not text.isascii() or not text.isalnum() or len(text) > 20:
        raise node.refusal("is not the name of an architecture")
    return text


def _port(item: tuple[str, Node]) -> Port:
    """`NUMBER`, `NUMBER/tcp` or `NUMBER/udp`."""
    number, slash, protocol = item[0].partition("/")
    protocol = protocol if slash else "tcp"
    if not (number.isascii() and number.isdigit() and len(number) < 6):
        raise item[1].refusal("is the value of what is no port")
    if not 0 < int(number) < 65536 or protocol not in PROTOCOLS:
        raise item[1].refusal("is the value of what is no port")
    return Port(int(number), protocol)


def _variable(node: Node) -> str:
    text = node.text()
    if text.find("=") < 1:
        raise node.refusal("is not NAME=VALUE")
    return text


def _absolute(path: str, node: Node) -> str:
    if not path.startswith("/") or "\0" in path or ".." in path.split("/"):
        raise node.refusal("is the value of what is no absolute path")
    return path


def _working_directory(node: Node) -> str:
    path = node.text("")
    if path and not path.startswith("/"):
        raise node.refusal("is not an absolute path")
    return path
