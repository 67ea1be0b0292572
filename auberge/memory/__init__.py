"""Floor 1: where bytes live."""
