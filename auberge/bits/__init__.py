"""Floor 0: fixed-width values, patterns and structure layouts."""
