"""The wall clock, in one place: only certificates, invites and sequence numbers look at it.

Everything that waits or measures uses trio's monotonic clock; a device whose wall clock is wrong
still takes part in the mesh.
"""

import time


def unix_now() -> float:
    """Return seconds since 1970 by this machine's wall clock."""
    return time.time()  # noqa: TID251 - the one reader of the wall clock
