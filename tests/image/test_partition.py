"""One partition from 1 MiB to the end of the disk, as sfdisk reads it."""

import json
import subprocess

import pytest

from auberge.image.partition import one_partition
from tests.image.debian import needs

SIZE = 4 << 30


def test_it_is_a_sector_that_boot_loaders_take():
    sector = one_partition(SIZE)
    assert len(sector) == 512
    assert sector[510:] == b"\x55\xaa"
    assert sector[446 + 16 : 510] == bytes(48)


@pytest.mark.parametrize("size", [SIZE, 2 << 20])
@needs("sfdisk")
def test_sfdisk_reads_it(tmp_path, size):
    disk = tmp_path / "disk"
    with open(disk, "wb") as file:
        file.write(one_partition(size))
        file.truncate(size)
    asked = ["sfdisk", "--json", str(disk)]
    said = subprocess.run(asked, capture_output=True, check=True).stdout
    table = json.loads(said)["partitiontable"]
    assert (table["label"], table["unit"], table["sectorsize"]) == ("dos", "sectors", 512)
    (partition,) = table["partitions"]
    del partition["node"]
    end = size // 512
    assert partition == {"start": 2048, "size": end - 2048, "type": "83", "bootable": True}
