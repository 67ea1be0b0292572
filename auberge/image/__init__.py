"""Floor 2: kernels, root file systems and how they are built."""
