"""The test finisher: three commands, all else is silence."""

import pytest

from auberge.machine.devices import test_finisher as finisher


@pytest.fixture
def told():
    return []


@pytest.fixture
def device(told):
    return finisher.TestFinisher(told.append, lambda: told.append("reset"))


@pytest.mark.parametrize(
    ("width", "value", "heard"),
    [
        (4, 0x5555, [0]),
        (2, 0x5555, [0]),
        (4, 0x0007_3333, [7]),
        (4, 0xFFFF_3333, [0xFFFF]),
        (2, 0x3333, [0]),
        (4, 0x7777, ["reset"]),
        (4, 0x1234, []),
        (4, 0, []),
    ],
)
def test_a_command_is_heard_once(device, told, width, value, heard):
    device.write(0, width, value)
    assert told == heard


def test_other_offsets_are_silent(device, told):
    device.write(4, 4, 0x5555)
    assert told == []
    assert device.read(0, 4) == 0


def test_its_state_is_nothing():
    assert finisher.TestFinisher(print, print, finisher.FinisherState()).state == ()
