"""Broken: what every check of a run raises when something does not hold."""


class Broken(AssertionError):
    """An invariant does not hold."""
