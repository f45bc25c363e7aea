"""Enter a host of the lab; as a program: `enter.py /proc/PID/fd/N command ...` runs it there."""

import ctypes
import os
import sys

CLONE_NEWNET = 0x40000000
libc = ctypes.CDLL(None, use_errno=True)


def enter(namespace_fd: int) -> None:
    """Move this thread into a network namespace. Raises OSError without the right to."""
    if libc.setns(namespace_fd, CLONE_NEWNET):
        raise OSError(ctypes.get_errno(), "setns")


if __name__ == "__main__":
    namespace = os.open(sys.argv[1], os.O_RDONLY)
    enter(namespace)
    os.close(namespace)
    os.execvp(sys.argv[2], sys.argv[2:])
