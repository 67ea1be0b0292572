"""What an image's configuration means for a bundle (image-spec 1.1, conversion.md)."""

from collections.abc import Sequence
from typing import NamedTuple

from auberge.image.oci import content
from auberge.image.oci.config import DEFAULT_PATH, ImageConfig, read_config
from auberge.image.oci.content import Record
from auberge.image.oci.identity import Identity, identify
from auberge.refusal import Refusal

ANNOTATION = "org.opencontainers.image."


class Defaults(NamedTuple):
    """What a runtime does unless a user says otherwise."""

    args: tuple[str, ...]
    env: tuple[str, ...]
    cwd: str
    user: Identity
    volumes: tuple[str, ...]
    """Where the image wants file systems of their own."""
    stop_signal: str
    annotations: dict[str, str]


def image_config(record: Record) -> ImageConfig:
    """The configuration of an image in the store."""
    return read_config(content.read_blob(record.config, record.reference), record.reference)


def defaults(
    record: Record,
    command: Sequence[str] = (),
    user: str = "",
    env: Sequence[str] = (),
    cwd: str = "",
    entrypoint: Sequence[str] = (),
) -> Defaults:
    """What to run in an image: its own choice, but for what a user says.

    A command takes the place of the image's, not of its entry point; an entry point takes that of
    both, and empty words in it are none. Variables join the image's.
    """
    config = image_config(record)
    args = (*config.entrypoint, *(command or config.cmd))
    if entrypoint:
        args = (*filter(None, entrypoint[:1]), *entrypoint[1:], *command)
    if not args:
        raise Refusal(f"{record.reference}: the image names no command; give one")
    identity = identify(user or config.user, record.layers, record.reference)
    variables = {text.partition("=")[0]: text for text in (DEFAULT_PATH, *config.env, *env)}
    variables.setdefault("HOME", f"HOME={identity.home}")
    return Defaults(
        args,
        tuple(variables.values()),
        cwd or config.working_dir or "/",
        identity,
        config.volumes,
        config.stop_signal or "SIGTERM",
        _annotations(config),
    )


def _annotations(config: ImageConfig) -> dict[str, str]:
    """What implementations should annotate; labels have the last word."""
    found = {
        "os": "linux",
        "architecture": config.arch,
        "variant": config.variant,
        "author": config.author,
        "created": config.created,
        "stopSignal": config.stop_signal,
        "exposedPorts": ",".join(f"{port.number}/{port.protocol}" for port in config.exposed_ports),
    }
    ours = {ANNOTATION + name: text for name, text in found.items() if text}
    return {**ours, **config.labels}
