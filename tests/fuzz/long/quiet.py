"""Lets guests log as much as they like, to nobody: what is fuzzed is that they may."""

import logging


def quiet_guests() -> None:
    """Take every line of a guest, down to debug, and show none."""
    log = logging.getLogger("meshnode.guest")
    log.setLevel(logging.DEBUG)
    log.propagate = False
    log.addHandler(logging.NullHandler())
