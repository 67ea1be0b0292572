"""The reader of initramfs archives that tests have, which knows nothing of our writer."""


def read_back(data):
    """The entries of a newc archive: name, mode, data, device; by the format's text alone."""
    entries = []
    at = 0
    while True:
        assert data[at : at + 6] == b"070701"
        fields = [int(data[at + 6 + 8 * i : at + 14 + 8 * i], 16) for i in range(13)]
        name_size, size = fields[11], fields[6]
        name = data[at + 110 : at + 110 + name_size]
        assert name.endswith(b"\0") and fields[12] == 0 and fields[2:4] == [0, 0]
        start = (at + 110 + name_size + 3) & ~3
        if name == b"TRAILER!!!\0":
            assert start == len(data)
            return entries
        body = data[start : start + size]
        entries.append((name[:-1].decode(), fields[1], body, (fields[9], fields[10])))
        at = (start + size + 3) & ~3
