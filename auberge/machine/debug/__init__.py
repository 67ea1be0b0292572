"""A machine under a debugger: stopped, looked into, moved on; and GDB's way to ask for it."""
