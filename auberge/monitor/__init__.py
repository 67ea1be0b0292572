"""Floor 5: guests by name, for other processes of their user."""
