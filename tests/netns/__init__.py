"""Real nodes on hosts of their own: network namespaces joined by a switch that delays and loses.

Not every kernel has netem, so the switch is a process: each host's only device is a TUN whose
packets it reads. What becomes of a packet is decided by pure code (`fabric`, `gateway`), which the
default tests cover; the hosts need root on Linux and are skipped, with the reason, elsewhere.
"""
