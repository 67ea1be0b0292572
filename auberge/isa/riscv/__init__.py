"""RISC-V, written in the order and the words of its manuals."""
