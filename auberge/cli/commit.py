"""`auberge commit`: saves what a guest has changed in its files as a new image."""

import argparse

from auberge.cli.patience import patience
from auberge.monitor import roster


def arguments(parser: argparse.ArgumentParser) -> None:
    """Declare whose changes, and the image."""
    parser.add_argument("guest", metavar="NAME", help="a guest, running or not")
    parser.add_argument("image", metavar="IMAGE", help="the new image's name")
    parser.add_argument("-m", "--message", default="", help="what its history says of it")


def run(args: argparse.Namespace) -> int:
    """Save them: one more layer, which holds what has changed. It is paused meanwhile."""
    _, record, folder = roster.kept(args.guest)
    with patience("saving what has changed"):
        print(roster.guest(record, folder).commit(args.image, args.message))
    return 0
