"""The one exception for what a guest, an image, a file or the host can cause."""


class Refusal(Exception):
    """One line a user can act on: `where: what; what to do`.

    The command line prints it and exits with 125; a program that uses Auberge as a library may
    catch it.
    """


def reason(error: OSError) -> str:
    """An error of the host in a few words, to be a part of such a line."""
    return (error.strerror or str(error)).lower()
