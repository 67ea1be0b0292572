"""Floor 1: what instructions mean."""
