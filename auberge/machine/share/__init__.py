"""Folders of the host that a guest may use: 9P2000.L, served from behind a wall."""
