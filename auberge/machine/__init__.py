"""Floor 3: boards, the bus, devices and boot."""
