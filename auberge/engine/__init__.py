"""Floor 2: what runs a hart: run(budget) -> Exit."""
