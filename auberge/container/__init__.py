"""Floor 4: containers of the Open Container Initiative, from a bundle to its end."""
