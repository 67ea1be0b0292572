"""Virtio devices over the MMIO transport (Virtio 1.2)."""
