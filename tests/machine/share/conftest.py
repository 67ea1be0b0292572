"""A folder to share, with something beside it that no guest may see or change."""

import pytest

from tests.machine.share.client import Client


class World:
    """`share` is the folder, `outside` its neighbour; `clients` are closed at the end."""

    def __init__(self, path):
        self.share, self.outside = path / "share", path / "outside"
        self.share.mkdir()
        self.outside.mkdir()
        (self.outside / "secret").write_text("secret")
        self.clients = []

    def client(self, path=None, **options):
        client = Client(path or self.share, **options)
        self.clients.append(client)
        return client

    def untouched(self):
        """What is outside is as it was."""
        return [each.name for each in self.outside.iterdir()] == ["secret"] and (
            self.outside / "secret"
        ).read_text() == "secret"


@pytest.fixture
def world(tmp_path):
    world = World(tmp_path)
    yield world
    for client in world.clients:
        client.close()
