"""The key of an unpacked layer: one for each way in which it can be unpacked."""

from itertools import product

from auberge.image.oci.adding import key_of

IDS = ("", "100000+65536/100000+65536", "100000+65536/100000+65535", "100000+1/100000+1")


def test_no_two_ways_have_one_key():
    below = ((), ("0" * 64,), ("0" * 64, "1" * 64))
    ways = list(product(("sha256:" + "a" * 64, "sha256:" + "b" * 64), below, IDS))
    keys = {key_of(diff_id, under, True, ids) for diff_id, under, ids in ways}
    assert len(keys) == len(ways)
    assert all(len(key) == 64 for key in keys)


def test_with_one_id_a_layer_is_its_diff_id_as_ever():
    assert key_of("sha256:" + "a" * 64, ("0" * 64,), False) == "a" * 64
    assert key_of("sha256:" + "a" * 64, ("0" * 64,), False, IDS[1]) != "a" * 64
