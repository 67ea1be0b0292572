"""Devices, one file each: offsets, access widths and an interrupt line."""
