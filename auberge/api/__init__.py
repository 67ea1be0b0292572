"""Floor 6: the promised public names."""
