"""The one exception for what a guest, an image, a file or the host can cause."""


class Refusal(Exception):
    """One line a user can act on: `where: what; what to do`.

    The command line prints it and exits with 125; a program that uses Auberge as a library may
    catch it.
    """
