"""Tells a service manager that we are ready (systemd's sd_notify), if one listens."""

import os
import socket


def sd_notify(*states: str) -> bool:
    """Send states such as READY=1 to `NOTIFY_SOCKET`; return whether somebody was told.

    The protocol is one datagram of lines (sd_notify(3)); nothing it can do may stop a node.
    """
    address = os.environ.get("NOTIFY_SOCKET", "")
    if not address.startswith(("/", "@")):
        return False
    if address.startswith("@"):
        address = "\0" + address[1:]
    try:
        with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM | socket.SOCK_CLOEXEC) as out:
            out.setblocking(False)
            out.sendto("\n".join(states).encode(), address)
    except OSError:
        return False
    return True
