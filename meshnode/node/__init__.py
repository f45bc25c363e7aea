"""The node: one nursery that joins machines to sockets, disk and runtime. Floor 4."""
